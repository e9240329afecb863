"""What every op of the graph dialect shares: the place where new ops go, where they came from, and the interface of an op class.

An op class states its type rule once (`infer`, used by the constructor and the verifier) and its meaning in NumPy (`evaluate`).
Ops are built by functions beside their classes, at the current position:

    with building(block), location("conv1", file="model.onnx", index=4):
        y = add(x, bias)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from xdsl.builder import Builder
from xdsl.dialects.builtin import (
    ArrayAttr,
    DenseArrayBase,
    FileLineColLoc,
    IntAttr,
    LocationAttr,
    NameLoc,
    StringAttr,
    TensorType,
    UnknownLoc,
    i64,
)
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.irdl import IRDLOperation
from xdsl.rewriter import InsertPoint
from xdsl.utils.exceptions import VerifyException

from mlc.errors import MlcError, NoDerivative, ShapeError
from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.dtypes import TABLE
from mlc.ir.graph.derivative import Algebra, Tangent, Tangents
from mlc.ir.types import type_text

Evaluate = Callable[[Extent], int]  # resolves an extent under the binding of a run


@dataclass(frozen=True)
class Check:
    """Two extents that must be equal and could not be proved so: tested at call time. `message` says who asks."""

    lhs: Extent
    rhs: Extent
    message: str

    @property
    def symbols(self) -> frozenset[str]:
        return frozenset(s for e in (self.lhs, self.rhs) if isinstance(e, Dim) for s in e.symbols())

    def needs(self, symbols: Collection[str]) -> bool:
        """Whether any of the symbols decides it."""
        return not self.symbols.isdisjoint(symbols)

    def where(self, condition: Extent) -> Check:
        """The check that asks for nothing where the condition, an extent that is 0 or 1, is 0."""
        return Check((self.lhs - self.rhs) * condition, 0, f"{self.message}: {self.lhs} must equal {self.rhs}")


@dataclass
class _Position:
    builder: Builder | None = None
    location: LocationAttr = field(default_factory=UnknownLoc)
    checks: list[Check] | None = None
    steps: tuple[Extent, ...] = ()  # of the loops around


_position: ContextVar[_Position] = ContextVar("position")


def _current() -> _Position:
    return _position.get(None) or _Position()


def current_block() -> Block | None:
    """Where ops go now."""
    builder = _current().builder
    return None if builder is None else builder.insertion_point.block


def steps_around() -> tuple[Extent, ...]:
    """How many steps each of the loops around has; where one has none, what is built now never runs."""
    return _current().steps


@contextmanager
def building(at: Block | Builder, checks: list[Check] | None = None, steps: Sequence[Extent] = ()) -> Iterator[Builder]:
    """Ops built inside go to the end of a block, or where a builder stands. New checks go to `checks`. `steps` is of a loop whose body it is."""
    outer = _current()
    builder = at if isinstance(at, Builder) else Builder(InsertPoint.at_end(at))
    checks = outer.checks if checks is None else checks
    token = _position.set(_Position(builder, outer.location, checks, (*outer.steps, *steps)))
    try:
        yield builder
    finally:
        _position.reset(token)


@contextmanager
def checks_apart() -> Iterator[list[Check]]:
    """New checks inside go to the list that comes out, and not to the module."""
    outer, apart = _current(), []  # type: tuple[_Position, list[Check]]
    token = _position.set(replace(outer, checks=apart))
    try:
        yield apart
    finally:
        _position.reset(token)


@contextmanager
def location(name: str | LocationAttr, file: str | None = None, index: int = 0) -> Iterator[None]:
    """Ops built inside come from this ONNX node (or Python function) of this file; `index` is the node's number or the line."""
    outer = _current()
    if isinstance(name, str):
        where = FileLineColLoc(StringAttr(file), IntAttr(index), IntAttr(0)) if file else UnknownLoc()
        name = NameLoc(StringAttr(name), where)
    token = _position.set(replace(outer, location=_in_role(name)))
    try:
        yield
    finally:
        _position.reset(token)


_role: ContextVar[str] = ContextVar("role", default="")
ROLES = ("backward", "update")


@contextmanager
def role(name: str) -> Iterator[None]:
    """What is located inside belongs to this part of a step of training, one of ROLES. Its locations say so: loc("conv1"("backward"("m.onnx":4:0)))."""
    token = _role.set(name)
    try:
        yield
    finally:
        _role.reset(token)


def _in_role(place: LocationAttr) -> LocationAttr:
    name, part = _name(place), _role.get()
    if not part or name is None or _role_of(place):
        return place
    inner = place.parameters[1] if isinstance(place, NameLoc) else place
    return NameLoc(StringAttr(name), NameLoc(StringAttr(part), inner))


def _role_of(place: LocationAttr) -> str:
    inner = place.parameters[1] if isinstance(place, NameLoc) else None
    found = _name(inner) if isinstance(inner, NameLoc) else None
    return found if found in ROLES else ""


def role_of(op: Operation) -> str:
    """The part of a step of training that an op belongs to: "backward", "update", or "" for everything else."""
    return _role_of(op.location)


def location_name(op: Operation) -> str | None:
    """The name of the node that an op came from, or its line."""
    return _name(op.location)


def node_name(op: Operation) -> str | None:
    """The name of the node that an op came from; a line of a program is no name."""
    name = _name(op.location)
    return None if name == _name(line_of(op)) else name


def line_of(op: Operation) -> LocationAttr:
    """Where an op came from, without names."""
    place = op.location
    while isinstance(place, NameLoc):
        place = place.parameters[1]  # type: ignore[assignment]
    return place


def _name(location: LocationAttr) -> str | None:
    match location:
        case NameLoc() as loc:
            return loc.loc_name.data if hasattr(loc, "loc_name") else loc.parameters[0].data  # type: ignore[attr-defined]
        case FileLineColLoc() as loc:
            return f"{loc.filename.data}:{loc.line.data}"
    return None


def emit(op: Operation) -> tuple[SSAValue, ...]:
    """Insert an op at the current position and return its results."""
    position = _current()
    if position.builder is None:
        raise RuntimeError(f"{op.name}: no function is being built; use `with building(block)`")
    if isinstance(op.location, UnknownLoc):
        op.location = position.location
    position.builder.insert(op)
    return tuple(op.results)


def require(check: Check) -> None:
    """Leave a check to the module under construction, which has it once."""
    checks = _current().checks
    if checks is None:
        raise ShapeError(
            f"{check.message}: {check.lhs} and {check.rhs} may differ, and there is no module to keep the check"
        )
    if not any({check.lhs, check.rhs} == {known.lhs, known.rhs} for known in checks):
        checks.append(check)


def require_equal(lhs: Extent, rhs: Extent, what: str) -> Extent:
    """The extent to go on with where two must be the same: proved, refused, or left as a check of the module."""
    if lhs == rhs:
        return lhs
    if isinstance(lhs, int) and isinstance(rhs, int):
        raise ShapeError(f"{what}: {lhs} and {rhs} differ")
    if dims.compare(lhs, rhs, {}) in (-1, 1):
        raise ShapeError(f"{what}: {lhs} and {rhs} are never equal")
    require(Check(lhs, rhs, what))
    if isinstance(lhs, int) or isinstance(rhs, int):
        return lhs if isinstance(lhs, int) else rhs
    return min(lhs, rhs, key=lambda e: (len(str(e)), str(e)))


def require_at_least(extent: Extent, low: Extent, what: str) -> None:
    """`extent >= low` for every size: proved, refused, or left as a check of the module, written min(extent, low) == low.

    Passes rewrite what has its checks already: outside of a module under construction nothing is kept.
    """
    difference = extent - low
    least, most = dims.bounds_of(difference, {})
    if least is not None and least >= 0:
        return
    if most is not None and most < 0:
        raise ShapeError(f"{what}: {extent} is below {low}")
    position = _current()
    if position.checks is None or isinstance(difference, int):
        return
    # what is added on one side, what is taken away on the other: N >= 3 and not N - 3 >= 0
    more: Extent = 0
    for atoms, coefficient in difference.terms:
        if coefficient > 0:
            more = more + (Dim(((atoms, coefficient),)) if atoms else coefficient)
    less = more - difference
    check = (dims.dmax(more, less), more) if isinstance(more, int) else (dims.dmin(more, less), less)
    if check[0] != check[1] and not any(_at_least(more, less, known) for known in position.checks):
        asking = _name(position.location)
        position.checks.append(Check(*check, f"{asking}: {what}" if asking else what))


def _at_least(more: Extent, less: Extent, known: Check) -> bool:
    """Whether a check asks for more >= less, or for more than that."""
    if isinstance(more, int):
        return (known.lhs, known.rhs) == (dims.dmax(more, less), more)
    enough = isinstance(less, int) and isinstance(known.rhs, int) and known.rhs >= less
    return known.lhs == dims.dmin(more, known.rhs) and (enough or known.rhs == less)


def location_file(op: Operation) -> str | None:
    """file:line, or the file, that an op came from."""
    place = op.location
    while isinstance(place, NameLoc):
        place = place.parameters[1]  # type: ignore[assignment]
    return f"{place.filename.data}:{place.line.data}" if isinstance(place, FileLineColLoc) else None


class GraphOp(IRDLOperation):
    """An op on tensors. Subclasses state `infer_types` from operands and attributes, `evaluate`, and what derivatives need of them.

    flops   floating-point operations, bodies included; none where data is only moved
    flat    whatever its operands are, derivatives take the results for constants
    linear  the operands in each of which, the others being given, the op is linear: those that `transpose_rule` knows
    """

    def infer_types(self) -> Sequence[TensorType]:
        """The result types that operands and attributes decide. Raises ShapeError."""
        raise NotImplementedError(self.name)

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray | tuple[np.ndarray, ...]:
        """The meaning in NumPy. `at` gives the value of a symbolic extent. Who calls it has set NumPy's error state (`np.errstate`)."""
        if type(self).evaluator is GraphOp.evaluator:
            raise NotImplementedError(self.name)
        return self.evaluator(at)(*operands)

    def evaluator(self, at: Evaluate) -> Callable[..., np.ndarray | tuple[np.ndarray, ...]]:
        """`evaluate` as a function of the operands alone, for many calls: an op that is called often states this one, with what its attributes
        and sizes decide looked up beforehand."""
        return partial(self.evaluate, at)

    @property
    def flops(self) -> Extent:
        return 0

    @property
    def flat(self) -> bool:
        return False

    @property
    def linear(self) -> tuple[int, ...]:
        return ()

    def jvp(self, g: Algebra, tangents: Tangents) -> Sequence[Tangent]:
        """The tangents of the results, given those of the operands. This one is of ops that are linear in each of their operands alone.

        Raises NoDerivative where the op states no derivative.
        """
        total: Tangent = None
        for position, t in enumerate(tangents):
            if t is not None:
                if position not in self.linear:
                    raise self.no_derivative()
                copy = self.clone()
                copy.operands = [t if n == position else x for n, x in enumerate(self.operands)]
                total = g.accumulate(total, emit(copy)[0])
        return [total]

    def transpose_rule(self, g: Algebra, cotangent: SSAValue, position: int) -> Tangent:
        """The cotangent of the operand in this position, one of `linear`, given that of the result."""
        raise self.no_derivative()

    def no_derivative(self, reason: str = "", remedy: str | None = None) -> NoDerivative:
        """The error that says where the op stands."""
        title = self.name.removeprefix("graph.")
        return NoDerivative(title, reason, node=location_name(self), file=location_file(self), remedy=remedy)

    def misfit(self, at: Evaluate) -> str | None:
        """What the op would read or write outside of its operands where extents are what `at` gives; None where it stays inside. Its builder proves
        that it does, or leaves a check to the module; of IR text, which may have lost that, size_faults.py asks."""
        return None

    def verify_(self) -> None:
        try:
            expected = tuple(self.infer_types())
        except MlcError as error:
            raise VerifyException(str(error)) from error
        except (
            ArithmeticError,
            LookupError,
            TypeError,
            ValueError,
        ) as error:  # text can hold attributes that no builder makes
            raise VerifyException(f"{self.name}: an attribute is malformed: {error}") from error
        found = tuple(result.type for result in self.results)
        if found != expected:
            show = ", ".join(type_text(t) if isinstance(t, TensorType) else str(t) for t in found)
            rule = ", ".join(type_text(t) for t in expected)
            raise VerifyException(f"{self.name}: the result is {show}, the type rule gives {rule}")


def flops_in(block: Block) -> Extent:
    """Of all ops of a block."""
    total: Extent = 0
    for op in block.ops:
        total = total + (op.flops if isinstance(op, GraphOp) else 0)
    return total


def shaped(op: str, condition: bool, message: str) -> None:
    if not condition:
        raise ShapeError(f"{op}: {message}")


def ints(values: Sequence[int]) -> Attribute:
    """An array of i64 as it stands in attributes: array<i64: 1, 2>."""
    return DenseArrayBase.from_list(i64, [int(v) for v in values])


HALF = frozenset(row.numpy for row in TABLE.values() if row.half)


def as_array(found: object, dtype: np.dtype) -> np.ndarray:
    """What a function of NumPy gives, a number where there are no axes, as an array of a dtype."""
    if type(found) is np.ndarray and found.dtype == dtype:
        return found
    return np.asarray(found).astype(dtype, copy=False)


def widened(x: np.ndarray) -> np.ndarray:
    """f16 and bf16 in f32, in which their arithmetic is done; other dtypes as they are."""
    return x.astype(np.float32) if x.dtype in HALF else x


def strings(values: Sequence[str]) -> ArrayAttr[StringAttr]:
    return ArrayAttr([StringAttr(v) for v in values])
