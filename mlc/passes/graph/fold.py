"""Compute at compile time what depends on constants alone.

    transpose(weight @w)                 -> weight @w.transposed     made when first asked for, so compiling moves no bytes
    add(constant 1, constant 2)          -> constant 3
    broadcast(constant 0) to 64x56x56    stays: the result would be large, its source is not

The chain behind a folded weight runs once, when its bytes are wanted; what lies between is not kept. In the body of a loop or branch a
constant is known too; a weight made there is made outside, and goes in. What a chain takes is known before: where anything inside of it is
too large, or it computes too long, it is left for run time, where it takes memory that a call asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

import numpy as np
from xdsl.builder import Builder
from xdsl.dialects.func import FuncOp
from xdsl.ir import Block, Operation, SSAValue
from xdsl.rewriter import InsertPoint
from xdsl.traits import Pure

from mlc.ir import dims, work
from mlc.ir.dims import Extent
from mlc.ir.dtypes import TABLE
from mlc.ir.graph.base import GraphOp, building, emit, node_name
from mlc.ir.graph.collective import CollectiveOp
from mlc.ir.graph.constants import IN_TEXT, ConstantOp, DimensionOp, IotaOp, WeightOp
from mlc.ir.graph.control import ControlOp
from mlc.ir.graph.elementwise import CastOp
from mlc.ir.graph.parts import SliceOp
from mlc.ir.graph.shape import BroadcastOp, ReshapeOp, TransposeOp
from mlc.ir.module import Module
from mlc.ir.types import DimsAttr, dtype_of, extent, is_static, itemsize, shape_of
from mlc.ir.weight_origin import Move
from mlc.ir.weights import WeightStore
from mlc.passes.base import Pass
from mlc.passes.graph.rewrite import before, erase, is_dead

_EAGER = 4096  # bytes up to which a result is computed at once: later folds may look at it
_GROWTH = 4  # a result may be this many times larger than the constants it is made of
_INSIDE = 64 << 20  # bytes that one op on the way to a result may touch whatever it is made of
_WORK = 1 << 31  # operations on the way to a result
_DEEP = 64  # ops behind a result that is not computed yet; beyond that the chain so far is computed
_FREE = 1 << 18  # bytes that a result may have whatever it is made of (masks from iota, tables of positions)


@dataclass
class Known:
    """A value known at compile time: how to get it, the bytes of constants behind it, its name, whether storing it is worth it; the operations
    and the ops in a row that getting it takes; the weights that it is made from, and how to make it anew from what they hold by then, where
    that is neither a long chain nor much work; of what is a weight with its elements moved that weight, and the moves."""

    get: Callable[[], np.ndarray]
    source_bytes: int
    name: str
    storable: bool = True
    cache: list[np.ndarray] = field(default_factory=list)
    work: int = 0
    depth: int = 0
    sources: frozenset[str] = frozenset()
    remake: Callable[[], np.ndarray] | None = None
    effort: int = 0  # operations that making it anew takes
    moved: tuple[str, tuple[Move, ...]] | None = None

    def array(self) -> np.ndarray:
        return self.cache[0] if self.cache else self.get()


@dataclass(frozen=True)
class Fold(Pass):
    """Compute what depends on constants alone."""

    name: ClassVar[str] = "fold"

    def run(self, module: Module) -> None:
        for op in module.op.ops:
            if isinstance(op, FuncOp) and op.body.blocks:
                _fold_block(op.body.block, module, {})


def _fold_block(block: Block, module: Module, known: dict[SSAValue, Known]) -> None:
    """`known` holds the arguments of the block that are known."""
    for op in block.ops:
        work.on(op)
        _learn(op, known, module.weights)
        if isinstance(op, ControlOp):
            for body in op.blocks:
                inside = zip(op.inside(body), op.constants, strict=True)
                _fold_block(body, module, {argument: known[value] for argument, value in inside if value in known})
    for op in list(block.ops):
        work.on(op)
        if not all(result in known for result in op.results) or not op.results:
            for operand in dict.fromkeys(op.operands):
                _settle(operand, known, module)
    for op in reversed(list(block.ops)):
        if op.results and op.results[0] in known and is_dead(op):
            erase(op)


def _learn(op: Operation, known: dict[SSAValue, Known], weights: WeightStore) -> None:
    """Enter the results of an op whose operands are known."""
    if isinstance(op, WeightOp):
        key = op.weight_key
        get = partial(weights.get, key)
        known[op.result] = Known(get, weights.nbytes(key), key, sources=frozenset([key]), remake=get, moved=(key, ()))
        return
    if isinstance(op, ConstantOp):
        known[op.result] = Known(lambda: op.value, _bytes(op.result), "", cache=[op.value], remake=lambda: op.value)
        return
    if isinstance(op, DimensionOp):
        if isinstance(value := extent(op.extent.data), int):
            known[op.result] = _at_once(np.array(value, np.int64), 8, "")
        return
    if not isinstance(op, GraphOp) or op.regions or not op.has_trait(Pure) or len(op.results) != 1:
        return
    if isinstance(op, CollectiveOp):  # the constants of all ranks are not known
        return
    result = op.results[0]
    if any(operand not in known for operand in op.operands) or not is_static(shape_of(result)) or _asks_for_sizes(op):
        return
    operands = [known[operand] for operand in op.operands]
    source = sum(k.source_bytes for k in operands)
    if isinstance(op, IotaOp):
        source = min(_bytes(result), _INSIDE)
    inside = _bytes(result) + sum(map(_bytes, op.operands))
    work = dims.evaluate(op.flops, {}) + sum(k.work for k in operands)
    if inside > max(_GROWTH * source, _INSIDE) or work > _WORK:
        return
    name = next((k.name for k in operands if k.name), "")
    name = f"{name}.{_suffix(op)}" if name else node_name(op) or "folded"
    name = _without_repeats(name)
    repeats = isinstance(op, BroadcastOp) and _bytes(result) > source
    repeats |= TABLE[dtype_of(result)].packed  # it is smaller as the bytes that hold it
    storable = not repeats and _bytes(result) <= max(_GROWTH * source, _FREE)
    depth = 1 + max((k.depth for k in operands), default=0)
    small = _bytes(result) <= _EAGER and all(k.cache or _is_small(k) for k in operands)
    body = _closed(op)
    sources = frozenset[str]().union(*(k.sources for k in operands))
    effort = dims.evaluate(op.flops, {}) + sum(k.effort for k in operands)
    makers = [k.remake for k in operands if k.remake is not None]
    bounded = depth <= _DEEP and effort <= _WORK and len(makers) == len(operands)
    remake = (lambda: _evaluate(body, [make() for make in makers])) if bounded else None
    if small or depth > _DEEP:
        entry = _at_once(_evaluate(op, [k.array() for k in operands]), source, name, storable)
        if sources:
            entry = replace(entry, sources=sources, remake=remake, depth=depth if remake else 0, effort=effort)
        known[result] = entry
        return
    thunks = [k.array for k in operands]
    moved = _moved(op, operands[0]) if len(operands) == 1 else None
    known[result] = Known(
        lambda: _evaluate(body, [t() for t in thunks]),
        source,
        name,
        storable,
        [],
        work,
        depth,
        sources,
        remake,
        effort,
        moved,
    )


def _moved(op: GraphOp, x: Known) -> tuple[str, tuple[Move, ...]] | None:
    """The weight whose elements an op moves further, and all moves, if that is what it does."""
    sizes = tuple(map(int, shape_of(op.results[0])))  # type: ignore[arg-type]
    match op:
        case TransposeOp():
            move = Move("transpose", tuple(op.permutation.get_values()))
        case ReshapeOp():
            move = Move("reshape", sizes)
        case SliceOp():
            starts = tuple(map(int, op.starts.extents()))  # type: ignore[arg-type]
            move = Move("slice", (*starts, *op.steps.get_values(), *sizes))
        case _:
            return None
    return None if x.moved is None else (x.moved[0], (*x.moved[1], move))


def _asks_for_sizes(op: GraphOp) -> bool:
    """Whether the op itself depends on sizes of a call, as a slice that begins at N."""
    return any(isinstance(a, DimsAttr) and not is_static(a.extents()) for a in op.properties.values())


def _is_small(k: Known) -> bool:
    return k.source_bytes <= 1 << 16


def _at_once(array: np.ndarray, source: int, name: str, storable: bool = True) -> Known:
    array = np.ascontiguousarray(array).reshape(array.shape)
    return Known(lambda: array, source, name, storable, [array], remake=lambda: array)


def _closed(op: GraphOp) -> GraphOp:
    """A copy of the op that does not use the module's values."""
    holder = Block(arg_types=[operand.type for operand in op.operands])
    copy = op.clone(value_mapper=dict(zip(op.operands, holder.args, strict=True)))
    holder.add_op(copy)
    return copy


def _evaluate(op: GraphOp, arrays: Sequence[np.ndarray]) -> np.ndarray:
    def at(e: Extent) -> int:
        return dims.evaluate(e, {})

    with np.errstate(all="ignore"):
        result = op.evaluate(at, *arrays)
    return np.ascontiguousarray(result[0] if isinstance(result, tuple) else result).reshape(
        [at(e) for e in shape_of(op.results[0])]
    )


def _settle(value: SSAValue, known: dict[SSAValue, Known], module: Module) -> None:
    """A known value that stays in use becomes a constant or a weight, unless the op that makes it is better kept: then what it reads does."""
    waiting = [value]
    seen: set[SSAValue] = set()
    while waiting:
        current = waiting.pop()
        if current in known and current not in seen and not isinstance(current.owner, WeightOp | ConstantOp):
            seen.add(current)
            waiting += reversed(_settled(current, known, module))


def _settled(value: SSAValue, known: dict[SSAValue, Known], module: Module) -> list[SSAValue]:
    """What else is to be settled, where the op that makes the value stays."""
    op, entry = value.owner, known[value]
    small = _elements(value) <= IN_TEXT
    if isinstance(op, Block):
        if small:
            module.weights.look_at(entry.sources)
            with _at_start(op, module):
                new = emit(ConstantOp(entry.array()))[0]
            known[new] = entry
            value.replace_all_uses_with(new)
        return []
    if not (small or entry.storable):
        return list(dict.fromkeys(op.operands))
    if small:
        module.weights.look_at(entry.sources)
        with before(op, module):
            new = emit(ConstantOp(entry.array()))[0]
    else:
        shape = tuple(int(e) for e in shape_of(value))  # type: ignore[arg-type]
        if entry.cache:
            key = module.weights.add(entry.cache[0], entry.name)
            if entry.remake is None:
                module.weights.look_at(entry.sources)
            elif entry.sources:
                module.weights.derive(key, entry.remake, entry.sources)
        else:
            make = entry.remake or entry.get
            key = module.weights.add_lazy(
                entry.name, shape, dtype_of(value), make, entry.sources, moved=entry.moved if entry.remake else None
            )
            if entry.remake is None:
                module.weights.look_at(entry.sources)
        new = _weight_before(op, WeightOp(key, shape, dtype_of(value)), module)
    known[new] = entry
    value.replace_all_uses_with(new)
    return []


def _weight_before(op: Operation, weight: WeightOp, module: Module) -> SSAValue:
    """The weight as a value that an op can read: from in front of the loop or branch that the op is in, where it is in one."""
    parent = op.parent_op()
    if not isinstance(parent, ControlOp):
        with before(op, module):
            return emit(weight)[0]
    parent.add_constant(_weight_before(parent, weight, module))
    assert op.parent is not None
    return op.parent.args[-1]


def _at_start(block: Block, module: Module) -> AbstractContextManager[object]:
    return building(Builder(InsertPoint.at_start(block)), module.checks)


def _suffix(op: Operation) -> str:
    if isinstance(op, TransposeOp):
        return "transposed"
    if isinstance(op, ReshapeOp):
        return "reshaped"
    return "cast" if isinstance(op, CastOp) else "folded"


def _without_repeats(name: str) -> str:
    """w.folded.folded -> w.folded"""
    parts: list[str] = []
    for part in name.split("."):
        if not parts or parts[-1] != part or part.isdigit():
            parts.append(part)
    return ".".join(parts)


def _elements(value: SSAValue) -> int:
    return int(dims.prod(shape_of(value)))  # type: ignore[arg-type]


def _bytes(value: SSAValue) -> int:
    return _elements(value) * itemsize(dtype_of(value))
