"""Cuts that make a module of the graph dialect smaller, of which something may still hold. Each leaves the module that it is given as it is.

without_ops    (x, w) -> relu(add(matmul(x, w), b))   ->   (v) -> relu(v)         what read an op reads an input in its place
bypassed       f(g(x))                                ->   f(x)                   in bodies too, where types allow it
opened         if c then a(x) else b(x)               ->   a(x)                   also calls and groups
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
from xdsl.ir import Operation, SSAValue

from mlc.errors import MlcError
from mlc.ir import builder as g
from mlc.ir.graph.base import emit, location_name
from mlc.ir.graph.constants import WeightOp
from mlc.ir.graph.control import CallOp, GroupOp, IfOp, YieldOp, inlined
from mlc.ir.graph.counted import PrefixOp
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, numpy_dtype, shape_of
from mlc.ir.weights import WeightStore
from mlc.passes.graph.dce import sweep
from mlc.passes.graph.rewrite import before, replace

Outputs = list[tuple[str, SSAValue]]


def ops_of(module: Module) -> list[Operation]:
    """The ops of @main that compute something."""
    block = module.main.body.block
    return [op for op in block.ops if op is not block.last_op and not isinstance(op, WeightOp)]


def outputs_of(module: Module) -> Outputs:
    last = module.main.body.block.last_op
    assert last is not None
    return list(zip(module.output_names, last.operands, strict=True))


def is_sound(module: Module) -> bool:
    try:
        module.verify()
    except MlcError:
        return False
    return True


def without_ops(module: Module, gone: Collection[int]) -> Module | None:
    """The module without some of ops_of(module), by their numbers. In place of an output that they gave, what they read is given."""
    every = ops_of(module)
    dropped = {every[number] for number in gone}
    kept: dict[SSAValue, str] = {}
    waiting = outputs_of(module)[::-1]
    seen: set[SSAValue] = set()
    while waiting:
        name, value = waiting.pop()
        owner = value.owner
        if value in seen or not isinstance(owner, Operation) or isinstance(owner, WeightOp):
            continue
        seen.add(value)
        if owner in dropped:
            waiting += [(_title(operand), operand) for operand in reversed(owner.operands)]
        else:
            kept.setdefault(value, name)
    return _made(module, dropped, [(name, value) for value, name in kept.items()]) if kept else None


def with_outputs(module: Module, names: Collection[str]) -> Module | None:
    """The module with these of its outputs, and what they need."""
    kept = [(name, value) for name, value in outputs_of(module) if name in names]
    return _made(module, set(), kept) if kept else None


def bypassed(module: Module, number: int) -> Iterator[Module]:
    """Candidates in which what reads an op (by its number in places_of) reads one of its operands instead."""
    op = places_of(module)[number]
    used = [n for n, result in enumerate(op.results) if result.first_use is not None]
    types = {op.results[n].type for n in used}
    if len(types) != 1:
        return
    for position in dict.fromkeys(n for n, operand in enumerate(op.operands) if operand.type in types):
        copy = module.clone()
        twin = places_of(copy)[number]
        for n in used:
            twin.results[n].replace_all_uses_with(twin.operands[position])
        yield _swept(copy)


def opened(module: Module, number: int) -> Iterator[Module]:
    """Candidates in which one body of an op stands in its place."""
    op = places_of(module)[number]
    if not isinstance(op, IfOp | CallOp | GroupOp):
        return
    for body in range(len(op.regions)):
        copy = module.clone()
        twin = places_of(copy)[number]
        given = twin.constants if isinstance(twin, IfOp) else list(twin.operands)
        with before(twin, copy):
            results = inlined(twin.regions[body].block, given)
        replace(twin, results)
        yield _swept(copy)


def places_of(module: Module) -> list[Operation]:
    """All ops, those in bodies too, that have results."""
    return [op for op in module.main.body.walk() if op.results and not isinstance(op, WeightOp | YieldOp)]


def weights_of(module: Module) -> list[str]:
    """Keys of the weights that @main names."""
    return list(dict.fromkeys(op.weight_key for op in module.main.body.walk() if isinstance(op, WeightOp)))


def plain_weights(module: Module, keys: Collection[str], value: int) -> Module:
    """The module with weights that are all 0, or all 1."""
    copy, store = module.clone(), WeightStore()
    for key in weights_of(module):
        shape, dtype = module.weights.type_of(key)
        array = np.full(shape, value, numpy_dtype(dtype)) if key in keys else module.weights.get(key).view()
        assert store.add(array, key) == key
    copy.weights = store
    return copy


def _swept(module: Module) -> Module:
    sweep(module.main.body.block)
    return module


def _title(value: SSAValue) -> str:
    return (location_name(value.owner) if isinstance(value.owner, Operation) else None) or value.name_hint or "value"


def _made(module: Module, dropped: set[Operation], outputs: Outputs) -> Module:
    """A module of what outputs need, in which values of ops that are dropped are inputs."""
    block = module.main.body.block
    read: dict[SSAValue, None] = dict.fromkeys(value for _, value in outputs)
    needed: list[Operation] = []
    for op in reversed([op for op in block.ops if op not in dropped]):
        if any(result in read for result in op.results):
            needed.append(op)
            read.update(dict.fromkeys(op.operands))
    given = {result for op in needed for result in op.results}
    names = dict(zip(block.args, module.input_names, strict=True))
    open_values = [value for value in (*block.args, *(r for op in block.ops for r in op.results)) if value in read]
    inputs = [value for value in open_values if value not in given]
    taken: list[str] = []
    labels = [_unique(names.get(value) or _title(value), taken) for value in inputs]
    made = g.module_builder(module.name, module.weights.branch())
    typed = [(label, shape_of(v), dtype_of(v)) for label, v in zip(labels, inputs, strict=True)]
    with made.function(inputs=typed, name="main") as arguments:
        values: dict[SSAValue, SSAValue] = dict(zip(inputs, arguments, strict=True))
        for op in reversed(needed):
            copy = op.clone(value_mapper=values)
            copy.location = op.location
            values.update(zip(op.results, emit(copy), strict=True))
        taken = []
        made.outputs([(_unique(name, taken), values[value]) for name, value in outputs])
    counted = {op.symbol.data for op in needed if isinstance(op, PrefixOp)}
    made.symbols = {
        name: module.symbols.get(name, bounds) for name, bounds in made.symbols.items() if name not in counted
    }
    made.checks = [check for check in module.checks if check.symbols <= made.symbols.keys() | counted]
    return made.finish()


def _unique(name: str, taken: list[str]) -> str:
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    taken.append(found)
    return found
