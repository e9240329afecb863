"""Functions along axes: sums, extremes, statistics, running sums, sorting. axis is None (all), a number, or several."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import SSAValue

from mlc.errors import ShapeError
from mlc.frontends.trace.functions.promotion import Operand, floating, value
from mlc.ir import builder as g
from mlc.ir.dtypes import TABLE
from mlc.ir.types import dtype_of, is_half, shape_of, shape_text

Axis = int | tuple[int, ...] | None


def axes_of(x: SSAValue, axis: Axis, what: str) -> list[int]:
    """The axes, ascending. Raises ShapeError for one that x has not, or twice."""
    rank = len(shape_of(x))
    if axis is None:
        return list(range(rank))
    found = [_axis(x, a, what) for a in (axis if isinstance(axis, tuple) else (axis,))]
    if len(set(found)) < len(found):
        raise ShapeError(f"{what}: axis {axis} names one axis twice")
    return sorted(found)


def _axis(x: SSAValue, axis: int, what: str) -> int:
    rank = len(shape_of(x))
    if not -rank <= axis < rank:
        raise ShapeError(f"{what}: axis {axis} is not one of the {rank} axes of {shape_text(shape_of(x))}")
    return axis % rank


def _wide(x: SSAValue, dtype: str | None) -> SSAValue:
    """Sums of integers are 64 bits wide."""
    if dtype is None:
        kind = TABLE[dtype_of(x)].kind
        dtype = {"bool": "i64", "signed": "i64", "unsigned": "u64"}.get(kind, dtype_of(x))
    return g.cast(x, dtype)


def sum(x: Operand, axis: Axis = None, keepdims: bool = False, dtype: str | None = None) -> SSAValue:
    found = _wide(value(x), dtype)
    return g.reduce(found, axes_of(found, axis, "sum"), "sum", keepdims)


def prod(x: Operand, axis: Axis = None, keepdims: bool = False, dtype: str | None = None) -> SSAValue:
    found = _wide(value(x), dtype)
    return g.reduce(found, axes_of(found, axis, "prod"), "prod", keepdims)


def _extreme(x: Operand, axis: Axis, keepdims: bool, kind: str) -> SSAValue:
    found = value(x)
    axes = axes_of(found, axis, kind)
    sizes = [shape_of(found)[a] for a in axes]
    if 0 in sizes:
        raise ShapeError(f"{kind} over no elements: the shape is {shape_text(shape_of(found))}")
    return g.reduce(found, axes, kind, keepdims)


def max(x: Operand, axis: Axis = None, keepdims: bool = False) -> SSAValue:
    return _extreme(x, axis, keepdims, "max")


def min(x: Operand, axis: Axis = None, keepdims: bool = False) -> SSAValue:
    return _extreme(x, axis, keepdims, "min")


def any(x: Operand, axis: Axis = None, keepdims: bool = False) -> SSAValue:
    found = g.cast(value(x), "bool")
    return g.reduce(found, axes_of(found, axis, "any"), "or", keepdims)


def all(x: Operand, axis: Axis = None, keepdims: bool = False) -> SSAValue:
    found = g.cast(value(x), "bool")
    return g.reduce(found, axes_of(found, axis, "all"), "and", keepdims)


def _as_floats(x: Operand) -> SSAValue:
    """Means of integers are f64."""
    found = value(x)
    return found if TABLE[dtype_of(found)].kind == "float" else g.cast(found, "f64")


def mean(x: Operand, axis: Axis = None, keepdims: bool = False) -> SSAValue:
    found = _as_floats(x)
    return g.mean(found, axes_of(found, axis, "mean"), keepdims)


def var(x: Operand, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> SSAValue:
    """The mean square distance from the mean; the sum is divided by the number of elements less ddof."""
    given = _as_floats(x)
    wide = g.cast(given, "f32") if is_half(dtype_of(given)) else given
    axes = axes_of(wide, axis, "var")
    centred = g.sub(wide, g.broadcast_to(g.mean(wide, axes, keepdims=True), shape_of(wide)))
    square = g.mul(centred, centred)
    if ddof == 0:
        return g.cast(g.mean(square, axes, keepdims), dtype_of(given))
    total = g.reduce(square, axes, "sum", keepdims)
    count = g.dims.prod([shape_of(wide)[a] for a in axes]) - ddof
    number = g.cast(g.dimension(g.dims.dmax(count, 0)), dtype_of(total))
    return g.cast(g.div(total, g.broadcast_to(number, shape_of(total))), dtype_of(given))


def std(x: Operand, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> SSAValue:
    """The derivative at equal numbers is 0."""
    return _root(var(x, axis, keepdims, ddof))


def _root(x: SSAValue) -> SSAValue:
    """The square root, whose derivative at 0 is 0 here: that of what is summed up to 0 is 0 too."""
    zero = g.eq(x, g.full_like(x, 0))
    return g.select(zero, g.full_like(x, 0), g.sqrt(g.select(zero, g.full_like(x, 1), x)))


def logsumexp(x: Operand, axis: Axis = None, keepdims: bool = False) -> SSAValue:
    """log(sum(exp(x))) without overflow. The largest element cancels out: to derivatives it is a constant."""
    found = floating(x)
    axes = axes_of(found, axis, "logsumexp")
    top = g.stop_gradient(g.reduce(found, axes, "max", keepdims=True))
    safe = g.select(g.is_inf(top), g.full_like(top, 0), top)
    total = g.reduce(g.exp(g.sub(found, g.broadcast_to(safe, shape_of(found)))), axes, "sum", keepdims=True)
    result = g.add(g.log(total), safe)
    return result if keepdims else g.reshape(result, [e for a, e in enumerate(shape_of(found)) if a not in axes])


def softmax(x: Operand, axis: int = -1) -> SSAValue:
    return g.softmax(floating(x), axis)


def log_softmax(x: Operand, axis: int = -1) -> SSAValue:
    return g.log_softmax(floating(x), axis)


def _flat(x: SSAValue, axis: int | None) -> tuple[SSAValue, int]:
    return (g.reshape(x, [g.dims.prod(shape_of(x))]), 0) if axis is None else (x, axis)


def _position(x: Operand, axis: int | None, keepdims: bool, kind: str) -> SSAValue:
    whole = value(x)
    found, along = _flat(whole, axis)
    along = _axis(found, along, f"arg{kind}")
    if shape_of(found)[along] == 0:
        raise ShapeError(f"arg{kind} over no elements: the shape is {shape_text(shape_of(whole))}")
    result = g.arg_max(found, along, kind=kind)
    if not keepdims:
        return result
    return g.reshape(result, [1 if axis is None or a == along else e for a, e in enumerate(shape_of(whole))])


def argmax(x: Operand, axis: int | None = None, keepdims: bool = False) -> SSAValue:
    """The first of equals; a NaN counts as the largest."""
    return _position(x, axis, keepdims, "max")


def argmin(x: Operand, axis: int | None = None, keepdims: bool = False) -> SSAValue:
    """The first of equals; a NaN counts as the smallest."""
    return _position(x, axis, keepdims, "min")


def cumsum(x: Operand, axis: int | None = None) -> SSAValue:
    found, along = _flat(_wide(value(x), None), axis)
    return g.cumulative(found, _axis(found, along, "cumsum"), "sum")


def cumprod(x: Operand, axis: int | None = None) -> SSAValue:
    found, along = _flat(_wide(value(x), None), axis)
    return g.cumulative(found, _axis(found, along, "cumprod"), "prod")


def sort(x: Operand, axis: int | None = -1, descending: bool = False) -> SSAValue:
    found, along = _flat(value(x), axis)
    return g.sort(found, _axis(found, along, "sort"), descending)[0]


def argsort(x: Operand, axis: int | None = -1, descending: bool = False) -> SSAValue:
    """Equals keep their order."""
    found, along = _flat(value(x), axis)
    return g.sort(found, _axis(found, along, "argsort"), descending)[1]


def top_k(x: Operand, k: int, axis: int = -1, largest: bool = True) -> Sequence[SSAValue]:
    """The k largest elements along an axis and where they are."""
    return g.top_k(value(x), k, axis, largest)


def norm(x: Operand, axis: Axis = None, keepdims: bool = False) -> SSAValue:
    """The Euclidean length. Its derivative at 0 is 0."""
    found = _as_floats(x)
    return _root(g.reduce(g.mul(found, found), axes_of(found, axis, "norm"), "sum", keepdims))


def count_nonzero(x: Operand, axis: Axis = None, keepdims: bool = False) -> SSAValue:
    found = g.cast(g.cast(value(x), "bool"), "i64")
    return g.reduce(found, axes_of(found, axis, "count_nonzero"), "sum", keepdims)
