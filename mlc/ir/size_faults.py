"""Sizes at which IR text would read or write outside of its tensors, though its checks and bounds allow them.

A builder proves that an op stays inside, or leaves a check to the module. Text may have lost that check, or never had it: a size at which
all checks of the text hold, and an op does not fit its operands or an extent is negative, is an error. Some small sizes are tried, so what
is found is a fault, and finding none is no proof. Bodies that do not run at a size, where sizes alone decide so, are left out at it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
from xdsl.dialects.builtin import TensorType
from xdsl.dialects.func import FuncOp
from xdsl.ir import Block, Operation, SSAValue

from mlc.errors import InvalidModel, MlcError, ShapeError
from mlc.ir import dims
from mlc.ir.alias import fronts_of
from mlc.ir.dims import Dim, Extent
from mlc.ir.graph.base import Check, Evaluate, GraphOp, building, location_name
from mlc.ir.graph.composites import CompositeOp
from mlc.ir.graph.constants import ConstantOp, DimensionOp, IotaOp
from mlc.ir.graph.control import IfOp, ScanOp, WhileOp, source_of
from mlc.ir.graph.counted import PrefixOp
from mlc.ir.graph.elementwise import CastOp
from mlc.ir.graph.shape import ReshapeOp
from mlc.ir.indexing import IndexRange
from mlc.ir.sample_sizes import Sized, sample_binding
from mlc.ir.types import dtype_of, is_integer, numpy_dtype, shape_of

_SIZES = (2, 1, 3, 5, 8, 17, 64)  # of all symbols at once
_DRAWN = 16  # sets of different sizes
_LARGEST = 9  # of a drawn size, above its lower bound
_FEW = 3  # sets at which checks hold: if there are less, some that solve the checks are looked for
_LOOKED_AT = 200  # ops behind a condition
_ELEMENTS = 4096  # of a value on the way to it

Around = tuple[tuple[Operation, int], ...]  # the ops in whose bodies an op stands, each with the number of the body


@dataclass(frozen=True)
class _Question:
    """What is asked of an op at sizes: that extents are not negative, that checks hold, and that it fits its operands."""

    op: Operation
    around: Around
    extents: tuple[Dim, ...]
    checks: tuple[Check, ...]

    def fault(self, at: Evaluate) -> str | None:
        for extent in self.extents:
            if at(extent) < 0:
                return f"the extent {extent} is {at(extent)}"
        for check in self.checks:
            if at(check.lhs) != at(check.rhs):
                return f"{check.message}: {check.lhs} is {at(check.lhs)}, and {check.rhs} is {at(check.rhs)}"
        return self.op.misfit(at) if isinstance(self.op, GraphOp) else None


class _Open(Exception):
    """An extent is no number."""


def _number(extent: Extent) -> int:
    if isinstance(extent, Dim):
        raise _Open
    return extent


class _At:
    """Extents at some sizes."""

    def __init__(self, sizes: Mapping[str, int]):
        self.sizes = sizes
        self.known: dict[Extent, int] = {}

    def __call__(self, extent: Extent) -> int:
        if isinstance(extent, int):
            return extent
        if extent not in self.known:
            self.known[extent] = dims.evaluate(extent, self.sizes)
        return self.known[extent]


def verify_sizes(module: Sized) -> None:
    """Raises InvalidModel naming the op, what does not fit, and the sizes. Of a graph; what was lowered is code."""
    main = module.main
    for each in module.indices:
        if each.input not in module.input_names:
            raise _invalid(main, f"graph.indices test the values of '{each.input}', which is no input", {})
    if module.is_program:
        return
    _require_told(module, main)
    waiting = []
    for question in _questions(main):
        try:
            if (fault := question.fault(_number)) is not None and _runs(question.around, _number, {}):
                raise _invalid(question.op, fault, {})
        except _Open:
            waiting.append(question)
    fronts = fronts_of(main)
    if not waiting and not fronts and not module.indices:
        return
    truths = _truths(main.body.block)
    for sizes in _bindings(module):
        at = _At(sizes)
        for output, argument in fronts.items():
            less, more = at(module.input_types[argument][0][0]), at(module.output_types[output][0][0])
            if less > more:
                raise _invalid(main, f"a result of {more} rows begins with an argument of {less}", sizes)
        for each in module.indices:
            if (fault := _unviewed(module, each, at)) is not None:
                raise _invalid(main, f"graph.indices test {fault}", sizes)
        for question in waiting:
            try:
                if (fault := question.fault(at)) is not None and _runs(question.around, at, truths):
                    raise _invalid(question.op, fault, sizes)
            except dims.DivisionByZero:  # a call is refused at these sizes
                continue


def _require_told(module: Sized, main: FuncOp) -> None:
    """Raises InvalidModel for a size in a check or a type that neither an input tells nor a run counts."""
    inputs = [e for shape, _ in module.input_types for e in shape if isinstance(e, Dim)]
    told = {symbol for e in inputs for symbol in e.symbols()} | module.counted.keys()
    for check in module.checks:
        if not check.symbols <= told:
            raise _invalid(main, f"no input tells the size {', '.join(sorted(check.symbols - told))} of a check", {})
    for op in main.walk():
        for value in op.results:
            for e in shape_of(value) if isinstance(value.type, TensorType) else ():
                if isinstance(e, Dim) and not e.symbols() <= told:
                    raise _invalid(op, f"no input tells the size {', '.join(sorted(e.symbols() - told))}", {})


def _invalid(op: Operation, fault: str, sizes: Mapping[str, int]) -> InvalidModel:
    place = f" of node '{name}'" if (name := location_name(op)) else ""
    at = ", ".join(f"{name} = {value}" for name, value in sizes.items())
    remedy = "Correct it, or write a check of the sizes into graph.checks." if at else None
    return InvalidModel(f"{op.name}{place}: {f'at {at} ' if at else ''}{fault}", remedy=remedy)


def _unviewed(module: Sized, tested: IndexRange, at: Evaluate) -> str | None:
    """What an index range tests that is not there: its input, a size, or a view."""
    types = dict(zip(module.input_names, module.input_types, strict=True))
    if not is_integer(types[tested.input][1]):
        return f"the values of '{tested.input}', which are no integers"
    try:
        shape = [at(e) for e in types[tested.input][0]]
        at(tested.low), at(tested.high)
        for view in tested.views:
            if (fault := view.misfit(shape, at)) is not None:
                return f"'{tested.input}' through a view that does not fit: {fault}"
            shape = [at(e) for e in view.shape]
    except KeyError as missing:
        return f"'{tested.input}' for the size {missing}, which no input tells"
    return None


# What is asked -------------------------------------------------------------------------------------------------------------


def _questions(main: FuncOp) -> Iterator[_Question]:
    """Of all ops, those in bodies and in decompositions of composites too."""
    stack: list[tuple[Block, Around]] = [(main.body.block, ())]
    asked: set[tuple[Dim, Around]] = set()
    while stack:
        block, around = stack.pop()
        for op in block.ops:
            extents = [e for value in op.results if isinstance(value.type, TensorType) for e in shape_of(value)]
            new = [e for e in dict.fromkeys(extents) if isinstance(e, Dim) and (e, around) not in asked and _signed(e)]
            asked.update((e, around) for e in new)
            checks: list[Check] = []
            if isinstance(op, CompositeOp):
                stack.append((_decomposition(op, checks), around))
            for number, region in enumerate(op.regions):
                stack.append((region.block, (*around, (op, number))))
            if new or checks or (isinstance(op, GraphOp) and type(op).misfit is not GraphOp.misfit):
                yield _Question(op, around, tuple(new), tuple(checks))


@lru_cache(maxsize=4096)
def _signed(extent: Dim) -> bool:
    """Whether it is not known to be 0 or more."""
    low = dims.bounds_of(extent, {})[0]
    return low is None or low < 0


def _decomposition(op: CompositeOp, checks: list[Check]) -> Block:
    """Its decomposition, with the operands as arguments; what it asks of sizes goes to `checks`."""
    block = Block(arg_types=[operand.type for operand in op.operands])
    try:
        with building(block, checks):
            op.decompose(*block.args)
    except MlcError as error:
        raise _invalid(op, error.message, {}) from error
    except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
        raise _invalid(op, f"an attribute is malformed: {error}", {}) from error
    return block


# Which bodies run ----------------------------------------------------------------------------------------------------------


def _runs(around: Around, at: Evaluate, truths: Mapping[SSAValue, Dim]) -> bool:
    """Whether what stands in these bodies may run: not where sizes decide that it does not."""
    for op, number in around:
        most = op.extent if isinstance(op, ScanOp | WhileOp) else None
        if most is not None and at(most) <= 0:
            return False
        if isinstance(op, IfOp | WhileOp):
            condition = _decided(op.condition, at, truths)
            if condition is not None and condition != (number == 0):
                return False
    return True


def _truths(block: Block) -> dict[SSAValue, Dim]:
    """The conditions that a run counts as a size of 0 or 1, each with that size."""
    prefixes = [op for op in block.ops if isinstance(op, PrefixOp) and op.most == 1]
    return {_plain(op.count): dims.dim_of(op.symbol.data) for op in prefixes}


def _plain(value: SSAValue) -> SSAValue:
    """The value without casts and reshapes, which keep the truth of one element."""
    value = source_of(value)
    while isinstance(value.owner, CastOp | ReshapeOp):
        value = source_of(value.owner.x)
    return value


def _decided(condition: SSAValue, at: Evaluate, truths: Mapping[SSAValue, Dim]) -> bool | None:
    """The condition, where it is made of sizes alone; None of any other."""
    if (counted := truths.get(_plain(condition))) is not None:
        return at(counted) > 0
    found: dict[SSAValue, np.ndarray] = {}
    stack, steps = [source_of(condition)], 0
    while stack:
        value, steps = stack[-1], steps + 1
        op = value.owner
        if value in found:
            stack.pop()
            continue
        if (counted := truths.get(value)) is not None:
            found[value] = np.full([at(e) for e in shape_of(value)], at(counted), numpy_dtype(dtype_of(value)))
            continue
        if steps > _LOOKED_AT or not isinstance(op, GraphOp) or op.regions or isinstance(op, PrefixOp):
            return None
        if not op.operands and not isinstance(op, ConstantOp | DimensionOp | IotaOp):
            return None
        if any(prod([at(e) for e in shape_of(result)]) > _ELEMENTS for result in op.results):
            return None
        operands = [source_of(operand) for operand in op.operands]
        if missing := [operand for operand in operands if operand not in found]:
            stack += missing
            continue
        try:
            with np.errstate(all="ignore"):
                made = op.evaluator(at)(*(found[operand] for operand in operands))
        except MlcError:
            return None
        found.update(zip(op.results, made if isinstance(made, tuple) else (made,), strict=True))
    return bool(found[source_of(condition)].all())


# Sizes ---------------------------------------------------------------------------------------------------------------------


def _bindings(module: Sized) -> Iterator[dict[str, int]]:
    """Sizes within their bounds at which the checks hold."""
    counted, inputs = module.counted, [e for shape, _ in module.input_types for e in shape if isinstance(e, Dim)]
    names = [*module.symbols, *(symbol for e in inputs for symbol in sorted(e.symbols()))]
    limits = {name: module.symbols.get(name, (0, None)) for name in names if name not in counted}
    rng = random.Random(0)
    found = 0
    for number in range(len(_SIZES) + _DRAWN):
        sizes = {}
        for name, (low, high) in limits.items():
            wanted = _SIZES[number] if number < len(_SIZES) else low + rng.randrange(_LARGEST)
            sizes[name] = max(low, wanted if high is None else min(wanted, high))
        if _allowed(module, inputs, sizes, counted, rng):
            found += 1
            yield sizes
    if found < _FEW and limits:
        try:
            sizes = sample_binding(module)
        except ShapeError:
            return
        if _allowed(module, inputs, sizes, counted, rng):
            yield sizes


def _allowed(
    module: Sized, inputs: list[Dim], sizes: dict[str, int], counted: Mapping[str, Extent], rng: random.Random
) -> bool:
    """Whether a call may have the sizes, to which what its data might count is added."""
    try:
        for name, most in counted.items():
            top = max(0, dims.evaluate(most, sizes))
            sizes[name] = rng.choice((0, top, rng.randint(0, top)))
        at = _At(sizes)
        return all(at(e) >= 0 for e in inputs) and all(at(check.lhs) == at(check.rhs) for check in module.checks)
    except (dims.DivisionByZero, KeyError):
        return False
