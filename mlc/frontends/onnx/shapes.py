"""Partial evaluation: integer tensors whose elements are dimension expressions, so that no shape arithmetic reaches the graph.

    Shape(x) -> Gather(0) -> Unsqueeze -> Concat(., [-1]) -> Reshape(y, .)      becomes      reshape(y, [N, ...])

Entries are held in object arrays: integers, booleans, `Dim`s and, between a division in floating point and the Floor or Ceil that rounds it,
`Ratio`s. A rule gives the entries of a node's outputs or declines (`Undecided`): a comparison is evaluated where the bounds of the
symbols decide it, and becomes an expression that is 0 or 1 where it is one and sizes decide, an integer division only where truncation is floor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from mlc.frontends.onnx.element_types import DTYPES
from mlc.frontends.onnx.node import Node
from mlc.ir import dims
from mlc.ir.dims import Bounds, Dim, Extent
from mlc.ir.types import Shape, dtype_name, highest, is_float, is_half, is_integer, lowest

LARGEST = 4096  # elements of a tensor that is evaluated entry by entry
_EXACT_DENOMINATOR = 1024  # f32 products of a size below 2**14 with such a fraction are exact


class Undecided(Exception):
    """This node cannot be evaluated on what is known; `sign` is the extent whose sign would have to be, where that is what is missing."""

    def __init__(self, sign: Extent | None = None):
        super().__init__()
        self.sign = sign


@dataclass(frozen=True)
class Ratio:
    """An exact quotient that is not an integer expression."""

    top: Extent
    bottom: Extent


Entry = int | bool | Dim | Ratio


@dataclass(frozen=True)
class Entries:
    """A tensor by its entries."""

    dtype: str
    entries: np.ndarray

    @property
    def is_constant(self) -> bool:
        return all(isinstance(e, int) for e in self.entries.flat)


def entries_of(array: np.ndarray, dtype: str) -> Entries | None:
    """Entries of a constant array; None where it is too large, or holds a number that is no exact entry (NaN, 0.1)."""
    if array.size > LARGEST:
        return None
    entries = np.empty(array.shape, object)
    for at, number in np.ndenumerate(array):
        try:
            entries[at] = _entry(number.item())
        except Undecided:
            return None
    return Entries(dtype, entries)


def _entry(number: float) -> Entry:
    if isinstance(number, int):
        return number
    if not math.isfinite(number):
        raise Undecided
    fraction = Fraction(number)
    if fraction.denominator > _EXACT_DENOMINATOR:
        raise Undecided
    return _quotient(fraction.numerator, fraction.denominator)


# Arithmetic of entries


def _parts(x: Entry) -> tuple[Extent, Extent]:
    return (x.top, x.bottom) if isinstance(x, Ratio) else (x if isinstance(x, Dim) else int(x), 1)


def _quotient(top: Extent, bottom: Extent) -> Entry:
    if bottom == 0:
        raise Undecided
    whole = dims.exact_quotient(top, bottom)
    if whole is not None:
        return whole
    if isinstance(top, int) and isinstance(bottom, int):
        common = math.gcd(top, bottom)
        return Ratio(top // common, bottom // common)
    return Ratio(top, bottom)


def _add(x: Entry, y: Entry) -> Entry:
    (a, b), (c, d) = _parts(x), _parts(y)
    return _quotient(a * d + c * b, b * d)


def _negate(x: Entry) -> Entry:
    top, bottom = _parts(x)
    return _quotient(-top, bottom)


def _multiply(x: Entry, y: Entry) -> Entry:
    (a, b), (c, d) = _parts(x), _parts(y)
    return _quotient(a * c, b * d)


def _divide_float(x: Entry, y: Entry) -> Entry:
    (a, b), (c, d) = _parts(x), _parts(y)
    return _quotient(a * d, b * c)


def indicator(difference: Extent, test: Callable[[int], bool]) -> Extent:
    """1 where the sign of a difference passes the test, else 0."""
    above, below = (dims.dmax(0, dims.dmin(1, d)) for d in (difference, -difference))
    holds: Extent = 0
    for sign, part in ((1, above), (-1, below), (0, 1 - above - below)):
        if test(sign):
            holds = holds + part
    return holds


def is_equal(x: Extent, y: Extent) -> Extent:
    """1 where two extents are equal, else 0."""
    return indicator(x - y, lambda sign: sign == 0)


class _Rules:
    """The rules for one node: its operands as entries (None where not known), the operands' shapes, the bounds of symbols."""

    def __init__(self, node: Node, operands: Sequence[Entries | None], shapes: Sequence[Shape | None], bounds: Bounds):
        self.node = node
        self.operands = operands
        self.shapes = shapes
        self.bounds = bounds

    def given(self, i: int) -> bool:
        return self.node.given(i)

    def entries(self, i: int) -> np.ndarray:
        operand = self.operands[i] if self.given(i) else None
        if operand is None:
            raise Undecided
        return operand.entries

    def numbers(self, i: int) -> list[int]:
        """Operand i as plain integers."""
        values = list(self.entries(i).flat)
        if not all(isinstance(v, int) for v in values):
            raise Undecided
        return [int(v) for v in values]

    def axes(self, i: int) -> list[int] | None:
        """Axes from the attribute of older versions or from input i; None where neither is given."""
        if self.node.has("axes"):
            return self.node.ints("axes")
        return self.numbers(i) if self.given(i) else None

    def shape(self) -> Shape:
        shape = self.shapes[0]
        if shape is None:
            raise Undecided
        return shape

    @property
    def dtype(self) -> str:
        operand = self.operands[0]
        if operand is None:
            raise Undecided
        return operand.dtype

    # Decisions

    def difference(self, x: Entry, y: Entry) -> Extent:
        """What has the sign of x - y."""
        (a, b), (c, d) = _parts(x), _parts(y)
        for bottom in (b, d):
            if isinstance(bottom, int) and bottom < 0:
                raise Undecided
        return a * d - c * b

    def sign(self, x: Entry, y: Entry) -> int | None:
        """-1, 0, 1 as x is less than, equal to, greater than y for all sizes; None where sizes decide."""
        return dims.compare(self.difference(x, y), 0, self.bounds)

    def compared(self, x: Entry, y: Entry, test: Callable[[int], bool]) -> Entry:
        """A comparison; where sizes decide, 0 or 1 as an expression of them."""
        sign = self.sign(x, y)
        if sign is not None:
            return test(sign)
        if isinstance(x, Ratio) or isinstance(y, Ratio):
            raise Undecided(self.difference(x, y))
        try:
            return indicator(x - y, test)
        except dims.TooLong:
            raise Undecided from None

    def decided(self, x: Entry, y: Entry, test: Callable[[int], bool]) -> bool:
        sign = self.sign(x, y)
        if sign is None:
            raise Undecided(self.difference(x, y))
        return test(sign)

    def at_least(self, x: Extent, low: Extent) -> bool:
        least = dims.bounds_of(x - low, self.bounds)[0]
        return least is not None and least >= 0

    def require_at_least(self, x: Extent, low: Extent) -> None:
        if not self.at_least(x, low):
            raise Undecided(x - low + 1)

    def divide(self, x: Entry, y: Entry) -> Entry:
        """Integer division toward zero."""
        if isinstance(x, Ratio) or isinstance(y, Ratio) or y == 0:
            raise Undecided
        if isinstance(x, int) and isinstance(y, int):
            return abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
        whole = dims.exact_quotient(x, y)
        if whole is not None:
            return whole
        self.require_at_least(y, 0)
        if self.at_least(x, 0):
            return dims.floordiv(x, y)
        up, down = dims.dmax(x, 0), dims.dmax(-x, 0)
        return dims.simplify(dims.floordiv(up, y) - dims.floordiv(down, y), self.bounds)

    def modulo(self, x: Entry, y: Entry) -> Entry:
        if isinstance(x, Ratio) or isinstance(y, Ratio) or y == 0:
            raise Undecided
        if self.node.int("fmod", 0):
            self.require_at_least(x, 0)
            self.require_at_least(y, 0)
        return x % y

    def extreme(self, x: Entry, y: Entry, largest: bool) -> Entry:
        sign = self.sign(x, y)
        if sign is not None:
            return x if (sign >= 0) == largest else y
        if isinstance(x, Ratio) or isinstance(y, Ratio):
            raise Undecided(self.difference(x, y))
        return dims.simplify(dims.dmax(x, y) if largest else dims.dmin(x, y), self.bounds)

    # Element by element

    def each(self, function: Callable[..., Any], *operands: np.ndarray) -> np.ndarray:
        arrays = np.broadcast_arrays(*operands) if operands else []
        out = np.empty(arrays[0].shape, object)
        for at in np.ndindex(out.shape):
            out[at] = function(*(a[at] for a in arrays))
        return out

    def unary(self, function: Callable[[Any], Entry]) -> np.ndarray:
        return self.each(function, self.entries(0))

    def binary(self, function: Callable[[Any, Any], Entry]) -> np.ndarray:
        return self.each(function, self.entries(0), self.entries(1))

    def fold(self, function: Callable[[Any, Any], Entry]) -> np.ndarray:
        out = self.entries(0)
        for i in range(1, len(self.node.inputs)):
            out = self.each(function, out, self.entries(i))
        return out

    def cast(self) -> Entries:
        dtype = DTYPES.get(self.node.int("to"))
        if dtype is None:
            raise Undecided

        def convert(x: Entry) -> Entry:
            if dtype == "bool":
                if self.dtype == "bool":
                    return x
                return self.decided(x, 0, lambda s: s != 0)
            if is_float(dtype):  # sizes are exact in f32; f16 and bf16 are too narrow
                if is_half(dtype):
                    raise Undecided
                return x
            if isinstance(x, Ratio):
                self.require_at_least(x.top, 0)
                return dims.floordiv(x.top, x.bottom)
            if isinstance(x, Dim):
                if dtype not in ("i64", "i32"):
                    raise Undecided
                return x
            return int(x)

        return Entries(dtype, self.unary(convert))

    # Structure

    def squeeze(self) -> np.ndarray:
        x, axes = self.entries(0), self.axes(1)
        return np.squeeze(x) if axes is None else np.squeeze(x, tuple(axes))

    def slice(self) -> np.ndarray:
        x = self.entries(0)
        if self.node.has("starts"):
            starts, ends, steps = self.node.ints("starts"), self.node.ints("ends"), None
            axes = self.node.ints("axes", None)
        else:
            starts, ends = self.numbers(1), list(self.entries(2).flat)
            axes = self.numbers(3) if self.given(3) else None
            steps = self.numbers(4) if self.given(4) else None
        index: list[slice] = [slice(None)] * x.ndim
        for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
            axis = axes[i] if axes else i
            step = steps[i] if steps else 1
            extent = x.shape[axis]  # IndexError: the handler reports it
            if isinstance(
                end, Dim
            ):  # "up to the end", written as the size of something: only if it is no less than the extent
                if step < 0:
                    raise Undecided
                self.require_at_least(end, extent)
                end = extent
            index[axis] = _slice(start, int(end), step, extent)
        return x[tuple(index)]

    def reshape(self) -> np.ndarray:
        x = self.entries(0)
        shape = self.node.ints("shape", None) or self.numbers(1)
        if not self.node.int("allowzero", 0):
            shape = [x.shape[i] if s == 0 else s for i, s in enumerate(shape)]
        return x.reshape(shape)

    def expand(self) -> np.ndarray:
        x, shape = self.entries(0), self.numbers(1)
        out = np.broadcast_shapes(x.shape, tuple(shape))
        if math.prod(out) > LARGEST:
            raise Undecided
        return np.broadcast_to(x, out)

    def constant_of_shape(self) -> Entries:
        shape = self.numbers(0)
        if math.prod(shape) > LARGEST or min(shape, default=0) < 0:
            raise Undecided
        value = self.node.tensor("value", None)
        value = np.zeros(1, np.float32) if value is None else value
        if value.dtype.kind not in "iub":
            raise Undecided
        out = np.empty(shape, object)
        out[...] = value.ravel()[0].item()
        return Entries(dtype_name(value.dtype), out)

    def range(self) -> np.ndarray:
        start, limit, step = (self.numbers(i)[0] for i in (0, 1, 2))
        if step == 0 or is_float(self.dtype) or len(range(start, limit, step)) > LARGEST:
            raise Undecided
        return _objects(list(range(start, limit, step)))

    def where(self) -> np.ndarray:
        def pick(condition: Entry, x: Entry, y: Entry) -> Entry:
            if not isinstance(condition, Dim):
                return x if condition else y
            if isinstance(x, Ratio) or isinstance(y, Ratio):
                raise Undecided
            return y + (x - y) * condition

        return self.each(pick, self.entries(0), self.entries(1), self.entries(2))

    def split(self) -> list[np.ndarray]:
        x, axis = self.entries(0), self.node.int("axis", 0)
        if self.node.has("split"):
            sizes = self.node.ints("split")
        elif self.given(1):
            sizes = self.numbers(1)
        else:
            count = len(self.node.outputs)
            each = -(-x.shape[axis] // count)
            sizes = [min(each, x.shape[axis] - i * each) for i in range(count)]
        return np.split(x, np.cumsum(sizes)[:-1], axis)

    def reduce(self, function: Callable[[Any, Any], Entry], initial: Entry | None) -> np.ndarray:
        x, axes = self.entries(0), self.axes(1)
        if not axes and self.node.int("noop_with_empty_axes", 0):
            return x
        axes = sorted(range(x.ndim)[a] for a in axes) if axes else list(range(x.ndim))
        moved = np.moveaxis(x, axes, range(len(axes)))
        rest = moved.shape[len(axes) :]
        rows = list(moved.reshape(-1, *rest))
        if initial is None and not rows:
            raise Undecided
        out = np.full(rest, initial, object) if initial is not None else rows.pop(0)
        for row in rows:
            out = self.each(function, np.asarray(out, object), np.asarray(row, object))
        out = np.asarray(out, object)
        return np.expand_dims(out, tuple(axes)) if self.node.int("keepdims", 1) else out

    def nonzero(self) -> np.ndarray:
        x = self.entries(0)
        hits = [at for at, entry in np.ndenumerate(x) if self.decided(entry, 0, lambda s: s != 0)]
        return _objects([list(axis) for axis in zip(*hits, strict=True)] if hits else []).reshape(x.ndim, len(hits))

    def tile(self) -> np.ndarray:
        x, repeats = self.entries(0), self.numbers(1)
        if x.size * math.prod(repeats) > LARGEST:
            raise Undecided
        return np.tile(x, repeats)

    def scatter(self) -> np.ndarray:
        """ScatterND without reduction."""
        if self.node.string("reduction", "none") != "none":
            raise Undecided
        x, updates = self.entries(0).copy(), self.entries(2)
        index_shape = self.entries(1).shape
        indices = np.array(self.numbers(1)).reshape(index_shape)
        for at in np.ndindex(index_shape[:-1]):
            x[tuple(indices[at])] = updates[at]
        return x


def _objects(values: Any) -> np.ndarray:
    return np.array(values, dtype=object)


def _slice(start: int, end: int, step: int, extent: int) -> slice:
    """The Python slice of an ONNX one: bounds clamped, a negative step may run off the front."""
    if step == 0:
        raise Undecided
    low, high = (0, extent) if step > 0 else (-1, extent - 1)
    start, end = (v + extent if v < 0 else v for v in (start, end))
    start, end = max(low if step > 0 else 0, min(start, high)), max(low, min(end, high))
    return slice(start, None if end < 0 else end, step)


def _shape_of(r: _Rules) -> Entries:
    shape = r.shape()
    start, end = r.node.int("start", 0), r.node.int("end", None)
    return Entries("i64", np.array([*shape[slice(start, end)], None], object)[:-1])


def _whole(round_up: bool) -> Callable[[_Rules], np.ndarray]:
    def rule(r: _Rules) -> np.ndarray:
        def rounded(x: Entry) -> Entry:
            top, bottom = _parts(x)
            return dims.ceildiv(top, bottom) if round_up else dims.floordiv(top, bottom)

        return r.unary(rounded)

    return rule


def _compare(test: Callable[[int], bool]) -> Callable[[_Rules], Entries]:
    def rule(r: _Rules) -> Entries:
        one = r.entries(0).size == r.entries(1).size == 1  # whole masks are left to the ops
        return Entries("bool", r.binary(lambda x, y: (r.compared if one else r.decided)(x, y, test)))

    return rule


def _and(x: Entry, y: Entry) -> Entry:
    if isinstance(x, Dim) or isinstance(y, Dim):
        return _multiply(int(x) if isinstance(x, bool) else x, int(y) if isinstance(y, bool) else y)
    return bool(x) and bool(y)


def _not(x: Entry) -> Entry:
    return _add(1, _negate(x)) if isinstance(x, Dim) else not x


def _or(x: Entry, y: Entry) -> Entry:
    return _not(_and(_not(x), _not(y)))


def _divide(r: _Rules) -> np.ndarray:
    return r.binary(_divide_float if is_float(r.dtype) else r.divide)


_RULES: Mapping[str, Callable[[_Rules], Entries | np.ndarray | list[np.ndarray]]] = {
    "Abs": lambda r: r.unary(lambda x: x if r.decided(x, 0, lambda s: s >= 0) else _negate(x)),
    "Add": lambda r: r.binary(_add),
    "And": lambda r: Entries("bool", r.binary(_and)),
    "Cast": lambda r: r.cast(),
    "Ceil": _whole(round_up=True),
    "Concat": lambda r: np.concatenate([r.entries(i) for i in range(len(r.node.inputs))], r.node.int("axis", 1)),
    "ConstantOfShape": lambda r: r.constant_of_shape(),
    "Div": _divide,
    "Equal": _compare(lambda s: s == 0),
    "Expand": lambda r: r.expand(),
    "Floor": _whole(round_up=False),
    "Gather": lambda r: np.take(
        r.entries(0), np.array(r.numbers(1)).reshape(r.entries(1).shape), r.node.int("axis", 0)
    ),
    "Greater": _compare(lambda s: s > 0),
    "GreaterOrEqual": _compare(lambda s: s >= 0),
    "Identity": lambda r: r.entries(0),
    "Less": _compare(lambda s: s < 0),
    "LessOrEqual": _compare(lambda s: s <= 0),
    "Max": lambda r: r.fold(lambda x, y: r.extreme(x, y, largest=True)),
    "Min": lambda r: r.fold(lambda x, y: r.extreme(x, y, largest=False)),
    "Mod": lambda r: r.binary(r.modulo),
    "Mul": lambda r: r.binary(_multiply),
    "Neg": lambda r: r.unary(_negate),
    "NonZero": lambda r: Entries("i64", r.nonzero()),
    "Not": lambda r: r.unary(_not),
    "Or": lambda r: Entries("bool", r.binary(_or)),
    "Range": lambda r: r.range(),
    "ReduceMax": lambda r: r.reduce(lambda x, y: r.extreme(x, y, largest=True), None),
    "ReduceMin": lambda r: r.reduce(lambda x, y: r.extreme(x, y, largest=False), None),
    "ReduceProd": lambda r: r.reduce(_multiply, 1),
    "ReduceSum": lambda r: r.reduce(_add, 0),
    "Reshape": lambda r: r.reshape(),
    "ScatterND": lambda r: r.scatter(),
    "Shape": _shape_of,
    "Size": lambda r: Entries("i64", _objects(dims.prod(r.shape()))),
    "Slice": lambda r: r.slice(),
    "Split": lambda r: r.split(),
    "Squeeze": lambda r: r.squeeze(),
    "Sub": lambda r: r.binary(lambda x, y: _add(x, _negate(y))),
    "Tile": lambda r: r.tile(),
    "Transpose": lambda r: np.transpose(r.entries(0), r.node.ints("perm", None)),
    "Unsqueeze": lambda r: np.expand_dims(r.entries(0), tuple(r.axes(1) or ())),
    "Where": lambda r: r.where(),
}


def has_rule(node: Node) -> bool:
    """Whether this kind of node can be evaluated at all (it then pays to find out what its operands are)."""
    return node.domain == "" and node.op_type in _RULES


def evaluate(
    node: Node, operands: Sequence[Entries | None], shapes: Sequence[Shape | None], bounds: Bounds
) -> list[Entries] | None:
    """The outputs of a node by their entries, or None.

    Floating-point arithmetic on plain numbers is left to the ops, which round as the dtype does; here it concerns sizes only.
    """
    rule = _RULES.get(node.op_type) if node.domain == "" else None
    if rule is None:
        return None
    floats = [k for k in operands if k is not None and is_float(k.dtype)]
    if floats and not any(_is_symbolic(k) for k in floats):
        return None
    try:
        result = rule(_Rules(node, operands, shapes, bounds))
    except Undecided as undecided:
        if undecided.sign is not None:
            node.scope.leave_open(undecided.sign)
        return None
    except (ValueError, IndexError, TypeError):
        return None  # malformed operands are the handler's to report
    if isinstance(result, Entries):
        outputs = [result]
    else:
        data = next((k for k in (operands[1:] if node.op_type == "Where" else operands) if k is not None), None)
        if data is None:
            return None
        pieces = result if isinstance(result, list) else [result]
        outputs = [Entries(data.dtype, np.asarray(piece, object)) for piece in pieces]
    return outputs if all(_is_exact(k) for k in outputs) else None


def _is_exact(tensor: Entries) -> bool:
    """Whether its dtype holds the numbers among the entries; where they wrap, the ops compute them."""
    if not is_integer(tensor.dtype):
        return True
    low, high = lowest(tensor.dtype), highest(tensor.dtype)
    return all(low <= e <= high for e in tensor.entries.flat if isinstance(e, int))


def _is_symbolic(tensor: Entries) -> bool:
    return any(isinstance(part, Dim) for e in tensor.entries.flat for part in _parts(e))
