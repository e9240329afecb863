"""NumPy's functions on tensors: `import mlc.numpy as mnp`.

Names, arguments and dtypes are NumPy's. NumPy's own functions on tensors (`numpy.sin(x)`) come here too. Python floats become f32 tensors.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Literal

import numpy as np

from mlc.errors import DTypeError, MlcError, ShapeError
from mlc.frontends.trace import tape
from mlc.frontends.trace.eager import GraphFunction
from mlc.frontends.trace.functions import arrangement, elementwise, linear, reductions
from mlc.frontends.trace.functions import index as indexing
from mlc.frontends.trace.functions.promotion import joined
from mlc.frontends.trace.parameters import axes_from, dtype_text, shape_from
from mlc.frontends.trace.tensor import (
    FUNCTIONS,
    UFUNCS,
    Tensor,
    array_of,
    bind,
    clipped,
    raised,
    record,
    reduced,
    type_text,
    wrap,
)
from mlc.frontends.trace.tracing import current_trace, user_line
from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.types import dtype_name
from mlc.other_frameworks import missing_name

tape.use_derivatives(lambda call, active: import_module("mlc.eager_gradient").pullback(call, active))

pi, e, inf, nan, newaxis = math.pi, math.e, math.inf, math.nan, None
float64, float32, float16 = np.float64, np.float32, np.float16
int64, int32, int16, int8 = np.int64, np.int32, np.int16, np.int8
uint64, uint32, uint16, uint8, bool_ = np.uint64, np.uint32, np.uint16, np.uint8, np.bool_


def _unary(function: GraphFunction, name: str) -> Callable[[Any], Tensor]:
    def call(x: Any, /) -> Tensor:
        return bind(function, (x,))

    return _named(call, function, name)


def _binary(function: GraphFunction, name: str) -> Callable[[Any, Any], Tensor]:
    def call(x: Any, y: Any, /) -> Tensor:
        return bind(function, (x, y))

    return _named(call, function, name)


def _named(call: Callable[..., Tensor], function: GraphFunction, name: str) -> Callable[..., Tensor]:
    """The function under NumPy's name; NumPy's ufunc of that name leads to it."""
    call.__name__ = call.__qualname__ = name
    call.__doc__ = function.__doc__ or f"As numpy.{name}, element by element."
    ufunc = getattr(np, name, None)
    if isinstance(ufunc, np.ufunc):
        UFUNCS[ufunc] = call
    return call


exp, exp2, expm1 = (_unary(getattr(elementwise, n), n) for n in ("exp", "exp2", "expm1"))
log, log2, log10, log1p = (_unary(getattr(elementwise, n), n) for n in ("log", "log2", "log10", "log1p"))
sqrt, square, reciprocal = (_unary(getattr(elementwise, n), n) for n in ("sqrt", "square", "reciprocal"))
sin, cos, tan = (_unary(getattr(elementwise, n), n) for n in ("sin", "cos", "tan"))
arcsin, arccos, arctan = (_unary(getattr(elementwise, n), n) for n in ("arcsin", "arccos", "arctan"))
sinh, cosh, tanh = (_unary(getattr(elementwise, n), n) for n in ("sinh", "cosh", "tanh"))
arcsinh, arccosh, arctanh = (_unary(getattr(elementwise, n), n) for n in ("arcsinh", "arccosh", "arctanh"))
floor, ceil, trunc, rint = (_unary(getattr(elementwise, n), n) for n in ("floor", "ceil", "trunc", "rint"))
negative, absolute, sign = (_unary(getattr(elementwise, n), n) for n in ("negative", "absolute", "sign"))
isnan, isinf, isfinite = (_unary(getattr(elementwise, n), n) for n in ("isnan", "isinf", "isfinite"))
invert, logical_not = (_unary(getattr(elementwise, n), n) for n in ("invert", "logical_not"))
add, subtract, multiply = (_binary(getattr(elementwise, n), n) for n in ("add", "subtract", "multiply"))
divide, floor_divide = (_binary(getattr(elementwise, n), n) for n in ("divide", "floor_divide"))
remainder, fmod = (_binary(getattr(elementwise, n), n) for n in ("remainder", "fmod"))
maximum, minimum = (_binary(getattr(elementwise, n), n) for n in ("maximum", "minimum"))
logaddexp, hypot, arctan2 = (_binary(getattr(elementwise, n), n) for n in ("logaddexp", "hypot", "arctan2"))
equal, not_equal = (_binary(getattr(elementwise, n), n) for n in ("equal", "not_equal"))
less, less_equal = (_binary(getattr(elementwise, n), n) for n in ("less", "less_equal"))
greater, greater_equal = (_binary(getattr(elementwise, n), n) for n in ("greater", "greater_equal"))
bitwise_and, bitwise_or = (_binary(getattr(elementwise, n), n) for n in ("bitwise_and", "bitwise_or"))
bitwise_xor = _binary(elementwise.bitwise_xor, "bitwise_xor")
left_shift, right_shift = (_binary(getattr(elementwise, n), n) for n in ("left_shift", "right_shift"))
logical_and, logical_or = (_binary(getattr(elementwise, n), n) for n in ("logical_and", "logical_or"))
logical_xor = _binary(elementwise.logical_xor, "logical_xor")
matmul = _binary(linear.matmul, "matmul")
abs, mod, true_divide, bitwise_not = absolute, remainder, divide, invert


def _ours(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """NumPy's functions of these names (that of the function itself, where none is given) lead to this one."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names or (function.__name__,):
            theirs = getattr(np, name, None) if "." not in name else getattr(np.linalg, name.split(".")[1])
            if isinstance(theirs, np.ufunc):
                UFUNCS[theirs] = function
            elif theirs is not None:
                FUNCTIONS[theirs] = function
        return function

    return register


@_ours("power")
def power(x: Any, y: Any, /) -> Tensor:
    """x ** y."""
    return raised(asarray(x), y)


# Making tensors ------------------------------------------------------------------------------------------------------------


def array(value: Any, dtype: Any = None) -> Tensor:
    """A tensor of a copy of the numbers."""
    if isinstance(value, Tensor):
        return value if dtype is None else value.astype(dtype)
    if isinstance(value, list | tuple) and _holds_tensors(value):
        found = stack([array(row) for row in value])
        return found if dtype is None else found.astype(dtype)
    if isinstance(value, Dim):
        return bind(elementwise.astype, (value,), (("dtype", "i64" if dtype is None else dtype_text(dtype)),))
    return wrap(array_of(value, dtype, copy=True))


def _holds_tensors(value: Sequence[Any]) -> bool:
    return builtins.any(
        isinstance(v, Tensor | Dim) or (isinstance(v, list | tuple) and _holds_tensors(v)) for v in value
    )


def asarray(value: Any, dtype: Any = None) -> Tensor:
    """A tensor of the numbers, without a copy where the value is an array: who writes into that changes the tensor."""
    if isinstance(value, np.ndarray):
        return wrap(array_of(value, dtype, copy=False))
    return array(value, dtype)


def _filled(fill: Any, shape: Any, dtype: Any) -> Tensor:
    extents = shape_from(shape)
    if current_trace() is None and builtins.any(isinstance(e, Dim) for e in extents):
        raise ShapeError(f"the shape {extents} is symbolic, and nothing is being traced", file=user_line())
    return _made(arrangement.full, (fill,), (("shape", extents), ("dtype", dtype_text(dtype))))


def _made(function: GraphFunction, operands: Sequence[Any], params: tuple[tuple[str, Any], ...]) -> Tensor:
    """In a trace what a function makes of numbers alone is made when the code runs, and not kept as a constant."""
    trace = current_trace()
    if trace is None:
        return bind(function, operands, params)
    return record(function, operands, params)


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Tensor:
    kind = (
        array_of(fill_value, None, copy=False).dtype if dtype is None and not isinstance(fill_value, Tensor) else None
    )
    return _filled(fill_value, shape, dtype or (fill_value.dtype if kind is None else kind))


def zeros(shape: Any, dtype: Any = "f32") -> Tensor:
    return _filled(0, shape, dtype)


def ones(shape: Any, dtype: Any = "f32") -> Tensor:
    return _filled(1, shape, dtype)


def empty(shape: Any, dtype: Any = "f32") -> Tensor:
    """Zeros: a tensor has numbers."""
    return zeros(shape, dtype)


@_ours()
def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Tensor:
    params = () if dtype is None else (("dtype", dtype_text(dtype)),)
    return bind(arrangement.full_like, (x, fill_value), params)


@_ours()
def zeros_like(x: Any, dtype: Any = None) -> Tensor:
    return full_like(x, 0, dtype)


@_ours()
def ones_like(x: Any, dtype: Any = None) -> Tensor:
    return full_like(x, 1, dtype)


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> Tensor:
    if stop is None:
        start, stop = 0, start
    if step == 0:
        raise MlcError("arange: the step is 0", file=user_line())
    if dtype is None:
        real = builtins.any(isinstance(v, float) for v in (start, stop, step))
        dtype = "f32" if real else "i64"
    size: Extent
    if isinstance(start, Dim) or isinstance(stop, Dim):
        size = dims.dmax(0, dims.ceildiv(stop - start, step) if step > 0 else dims.ceildiv(start - stop, -step))
    else:
        size = builtins.max(0, math.ceil((stop - start) / step))
    return _made(arrangement.arange, (start, step), (("size", size), ("dtype", dtype_text(dtype))))


def linspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = "f32") -> Tensor:
    """num numbers from start to stop, evenly spaced; computed in f64."""
    if num < 0:
        raise MlcError(f"linspace: {num} numbers are asked for", file=user_line())
    return wrap(np.linspace(start, stop, num, endpoint).astype(array_of(0, dtype, copy=False).dtype))


def eye(N: Extent, M: Extent | None = None, k: int = 0, dtype: Any = "f32") -> Tensor:
    columns = N if M is None else M
    return _made(arrangement.identity, (), (("rows", N), ("columns", columns), ("k", k), ("dtype", dtype_text(dtype))))


def identity(n: Extent, dtype: Any = "f32") -> Tensor:
    return eye(n, dtype=dtype)


# Along axes ------------------------------------------------------------------------------------------------------------------


@_ours()
def sum(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    return reduced(reductions.sum, a, axis, keepdims, dtype)


@_ours()
def prod(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    return reduced(reductions.prod, a, axis, keepdims, dtype)


@_ours()
def mean(a: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return reduced(reductions.mean, a, axis, keepdims)


@_ours("max", "amax")
def max(a: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return reduced(reductions.max, a, axis, keepdims)


@_ours("min", "amin")
def min(a: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return reduced(reductions.min, a, axis, keepdims)


amax, amin = max, min


@_ours()
def any(a: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return reduced(reductions.any, a, axis, keepdims)


@_ours()
def all(a: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return reduced(reductions.all, a, axis, keepdims)


@_ours()
def var(a: Any, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    return asarray(a).var(axis, ddof, keepdims)


@_ours()
def std(a: Any, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    return asarray(a).std(axis, ddof, keepdims)


@_ours()
def count_nonzero(a: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return reduced(reductions.count_nonzero, a, axis, keepdims)


def logsumexp(a: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(a))) without overflow."""
    return reduced(reductions.logsumexp, a, axis, keepdims)


@_ours("linalg.norm")
def norm(a: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The Euclidean length of all elements, or along axes."""
    return reduced(reductions.norm, a, axis, keepdims)


@_ours()
def argmax(a: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    return asarray(a).argmax(axis, keepdims)


@_ours()
def argmin(a: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    return asarray(a).argmin(axis, keepdims)


@_ours()
def cumsum(a: Any, axis: int | None = None) -> Tensor:
    return bind(reductions.cumsum, (a,), (("axis", axis),))


@_ours()
def cumprod(a: Any, axis: int | None = None) -> Tensor:
    return bind(reductions.cumprod, (a,), (("axis", axis),))


@_ours()
def sort(a: Any, axis: int | None = -1) -> Tensor:
    return bind(reductions.sort, (a,), (("axis", axis),))


@_ours()
def argsort(a: Any, axis: int | None = -1) -> Tensor:
    """Stable: equals keep their order."""
    return bind(reductions.argsort, (a,), (("axis", axis),))


def top_k(a: Any, k: int, axis: int = -1, largest: bool = True) -> tuple[Tensor, Tensor]:
    """The k largest (or smallest) elements along an axis in order, and their indices."""
    return bind(reductions.top_k, (a,), (("k", k), ("axis", axis), ("largest", largest)))


# Shapes and axes -------------------------------------------------------------------------------------------------------------


@_ours()
def reshape(a: Any, shape: Any) -> Tensor:
    return bind(arrangement.reshape, (a,), (("shape", shape_from(shape)),))


@_ours()
def ravel(a: Any) -> Tensor:
    return reshape(a, -1)


@_ours()
def transpose(a: Any, axes: Any = None) -> Tensor:
    return bind(arrangement.transpose, (a,), (("axes", None if axes is None else tuple(axes)),))


@_ours()
def swapaxes(a: Any, axis1: int, axis2: int) -> Tensor:
    return bind(arrangement.swapaxes, (a,), (("axis1", axis1), ("axis2", axis2)))


@_ours()
def moveaxis(a: Any, source: Any, destination: Any) -> Tensor:
    return bind(arrangement.moveaxis, (a,), (("source", axes_from(source)), ("destination", axes_from(destination))))


@_ours()
def expand_dims(a: Any, axis: Any) -> Tensor:
    return bind(arrangement.expand_dims, (a,), (("axis", axes_from(axis)),))


@_ours()
def squeeze(a: Any, axis: Any = None) -> Tensor:
    return bind(arrangement.squeeze, (a,), (("axis", axes_from(axis)),))


@_ours()
def broadcast_to(a: Any, shape: Any) -> Tensor:
    return bind(arrangement.broadcast_to, (a,), (("shape", shape_from(shape)),))


def broadcast_shapes(*shapes: Any) -> tuple[Extent, ...]:
    """The shape that these broadcast to."""
    return np.broadcast_shapes(*shapes)


@_ours()
def concatenate(arrays: Sequence[Any], axis: int | None = 0) -> Tensor:
    return bind(arrangement.concatenate, _several("concatenate", arrays), (("axis", axis),))


@_ours()
def stack(arrays: Sequence[Any], axis: int = 0) -> Tensor:
    return bind(arrangement.stack, _several("stack", arrays), (("axis", axis),))


@_ours()
def vstack(arrays: Sequence[Any]) -> Tensor:
    return concatenate([a if a.ndim > 1 else reshape(a, (1, -1)) for a in map(asarray, arrays)], 0)


@_ours()
def hstack(arrays: Sequence[Any]) -> Tensor:
    found = [a if a.ndim else reshape(a, 1) for a in map(asarray, arrays)]
    return concatenate(found, 0 if found and found[0].ndim == 1 else 1)


def _several(what: str, arrays: Any) -> tuple[Any, ...]:
    found = tuple(arrays)
    if not found:
        raise MlcError(f"{what} of no tensors", file=user_line())
    return found


@_ours()
def split(a: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    sections = indices_or_sections if isinstance(indices_or_sections, int) else tuple(indices_or_sections)
    return list(bind(arrangement.split, (a,), (("sections", sections), ("axis", axis))))


@_ours()
def flip(a: Any, axis: Any = None) -> Tensor:
    return bind(arrangement.flip, (a,), (("axis", axes_from(axis)),))


@_ours()
def roll(a: Any, shift: int, axis: int | None = None) -> Tensor:
    return bind(arrangement.roll, (a,), (("shift", shift), ("axis", axis)))


@_ours()
def tile(a: Any, reps: Any) -> Tensor:
    return bind(arrangement.tile, (a,), (("reps", axes_from(reps)),))


@_ours()
def repeat(a: Any, repeats: int, axis: int | None = None) -> Tensor:
    return bind(arrangement.repeat, (a,), (("repeats", repeats), ("axis", axis)))


@_ours()
def pad(a: Any, pad_width: Any, mode: str = "constant", constant_values: float = 0) -> Tensor:
    try:
        widths = tuple(map(tuple, np.broadcast_to(np.asarray(pad_width), (asarray(a).ndim, 2)).tolist()))
    except ValueError as error:
        raise ShapeError(
            f"pad: {pad_width!r} is no pair (before, after) for each of the {asarray(a).ndim} axes", file=user_line()
        ) from error
    return bind(arrangement.pad, (a,), (("widths", widths), ("mode", mode), ("value_", constant_values)))


@_ours()
def tril(m: Any, k: int = 0) -> Tensor:
    return bind(arrangement.triangle, (m,), (("k", k), ("upper", False)))


@_ours()
def triu(m: Any, k: int = 0) -> Tensor:
    return bind(arrangement.triangle, (m,), (("k", k), ("upper", True)))


@_ours()
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The elements (i, i + offset) of two axes, as the last axis."""
    return bind(arrangement.diagonal, (a,), (("offset", offset), ("axis1", axis1), ("axis2", axis2)))


@_ours()
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The sum of the diagonal of two axes."""
    return diagonal(a, offset, axis1, axis2).sum(-1)


# Choosing ----------------------------------------------------------------------------------------------------------------------


@_ours()
def where(condition: Any, x: Any, y: Any) -> Tensor:
    return bind(elementwise.where, (condition, x, y))


@_ours()
def clip(a: Any, a_min: Any = None, a_max: Any = None) -> Tensor:
    return clipped(a, a_min, a_max)


@_ours()
def take(a: Any, indices: Any, axis: int | None = None) -> Tensor:
    return bind(indexing.take, (a, indices), (("axis", axis),))


@_ours()
def take_along_axis(arr: Any, indices: Any, axis: int) -> Tensor:
    return bind(indexing.take_along_axis, (arr, indices), (("axis", axis),))


def one_hot(x: Any, classes: int, dtype: Any = "f32") -> Tensor:
    """A last axis of `classes` with 1 at the position that x names; all 0 where it names none."""
    return bind(indexing.one_hot, (x,), (("classes", classes), ("dtype", dtype_text(dtype))))


@_ours("round", "around")
def round(a: Any) -> Tensor:
    """To whole numbers, halves to the even neighbour."""
    return rint(a)


@_ours()
def nan_to_num(x: Any, nan: float = 0.0) -> Tensor:
    """NaN becomes a number; infinities stay."""
    return where(isnan(x), nan, x)


# Products ----------------------------------------------------------------------------------------------------------------------


@_ours()
def dot(a: Any, b: Any) -> Tensor:
    return bind(linear.dot, (a, b))


@_ours()
def inner(a: Any, b: Any) -> Tensor:
    lhs, rhs = asarray(a), asarray(b)
    return tensordot(lhs, rhs, ((-1,), (-1,))) if lhs.ndim and rhs.ndim else lhs * rhs


@_ours()
def outer(a: Any, b: Any) -> Tensor:
    return bind(linear.outer, (a, b))


@_ours()
def tensordot(a: Any, b: Any, axes: Any = 2) -> Tensor:
    named = axes if isinstance(axes, int) else tuple(axes_from(each) for each in axes)
    return bind(linear.tensordot, (a, b), (("axes", named),))


@_ours()
def einsum(subscripts: str, *operands: Any) -> Tensor:
    return bind(linear.einsum, operands, (("equation", subscripts),))


# About tensors -------------------------------------------------------------------------------------------------------------------


def shape(a: Any) -> tuple[Extent, ...]:
    return asarray(a).shape


def ndim(a: Any) -> int:
    return asarray(a).ndim


FUNCTIONS[np.shape], FUNCTIONS[np.ndim] = shape, ndim


def result_type(*xs: Any) -> np.dtype:
    """The dtype that tensors, arrays and dtypes are promoted to."""
    names = [dtype_name(x.dtype) if isinstance(x, Tensor | np.ndarray) else dtype_text(x) for x in xs]
    try:
        return np.dtype(array_of(0, joined(*names), copy=False).dtype)
    except DTypeError as error:
        error.file = user_line()
        raise


# Made of others ----------------------------------------------------------------------------------------------------------------


@_ours()
def isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    a, b = asarray(a), asarray(b)
    near = logical_and(isfinite(b), abs(a - b) <= atol + rtol * abs(b))
    near = logical_or(near, a == b)
    return logical_or(near, logical_and(isnan(a), isnan(b))) if equal_nan else near


@_ours()
def diff(a: Any, n: int = 1, axis: int = -1) -> Tensor:
    """The differences of neighbours, n times over."""
    a = moveaxis(a, axis, -1)
    for _ in range(n):
        a = not_equal(a[..., 1:], a[..., :-1]) if a.dtype == np.bool_ else a[..., 1:] - a[..., :-1]
    return moveaxis(a, -1, axis)


@_ours()
def average(a: Any, axis: int | None = None, weights: Any = None) -> Tensor:
    """The mean, by weights of the shape of `a` or, along one axis, of its length."""
    a = asarray(a)
    if weights is None:
        return mean(a, axis)
    weights = asarray(weights)
    if weights.ndim == 1 and axis is not None and a.ndim > 1:
        weights = weights.reshape([-1 if n == axis % a.ndim else 1 for n in range(a.ndim)])
    weights = broadcast_to(weights, a.shape)
    return sum(a * weights, axis) / sum(weights, axis)


@_ours()
def nansum(a: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return sum(nan_to_num(a), axis, keepdims=keepdims)


@_ours()
def nanmean(a: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The mean of what is no NaN; NaN where all are."""
    total = nansum(a, axis, keepdims)
    return total / count_nonzero(logical_not(isnan(a)), axis, keepdims).astype(total.dtype)


@_ours()
def nanmax(a: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The largest of what is no NaN; NaN where all are."""
    largest = max(where(isnan(a), -inf, a), axis, keepdims)
    return where(all(isnan(a), axis, keepdims), nan, largest)


@_ours()
def nanmin(a: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return -nanmax(-asarray(a), axis, keepdims)


@_ours()
def median(a: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The middle, or the mean of the two in the middle; NaN where one is. The length is a number that is not 0."""
    a = asarray(a)
    rows = moveaxis(a, axis, 0) if axis is not None else ravel(a)
    if isinstance(rows.shape[0], Dim) or rows.shape[0] == 0:
        raise ShapeError(
            f"the median along {rows.shape[0]} elements", file=user_line(), remedy="Give a length of at least 1."
        )
    ordered, count = sort(rows, 0), rows.shape[0]
    middle = mean(ordered[(count - 1) // 2 : count // 2 + 1], 0)
    if rows.dtype.kind not in "iub":
        middle = where(any(isnan(rows), 0), nan, middle)
    if not keepdims:
        return middle
    return expand_dims(middle, axis) if axis is not None else middle.reshape([1] * a.ndim)


def meshgrid(*xs: Any, indexing: Literal["xy", "ij"] = "xy") -> list[Tensor]:
    """The coordinates of a grid: tensors of as many axes as there are coordinates; "xy" has the first two exchanged."""
    lines = [ravel(x) for x in xs]
    order = [1, 0, *range(2, len(lines))] if indexing == "xy" and len(lines) > 1 else list(range(len(lines)))
    sizes = [lines[n].shape[0] for n in order]
    placed = [line.reshape([-1 if n == own else 1 for n in order]) for own, line in enumerate(lines)]
    return [broadcast_to(line, sizes) for line in placed]


@_ours()
def diag(v: Any, k: int = 0) -> Tensor:
    """The diagonal of a matrix, or the matrix that has this one and else zeros."""
    v = asarray(v)
    if v.ndim == 2:
        return diagonal(v, k)
    if v.ndim != 1:
        raise ShapeError(f"diag takes a vector or a matrix, not {type_text(v)}", file=user_line())
    line = pad(v, (builtins.max(-k, 0), builtins.max(k, 0)))
    return where(eye(line.shape[0], k=k, dtype="bool"), line[:, None], zeros((), v.dtype))


@_ours()
def kron(a: Any, b: Any) -> Tensor:
    """Each element of a times b, in blocks."""
    a, b = asarray(a), asarray(b)
    rank = builtins.max(a.ndim, b.ndim)
    a, b = (x.reshape([1] * (rank - x.ndim) + list(x.shape)) for x in (a, b))
    rows = a.reshape([e for size in a.shape for e in (size, 1)]) * b.reshape([e for size in b.shape for e in (1, size)])
    return rows.reshape([one * other for one, other in zip(a.shape, b.shape, strict=True)])


@_ours()
def vdot(a: Any, b: Any) -> Tensor:
    return dot(ravel(a), ravel(b))


@_ours()
def atleast_1d(*xs: Any) -> Any:
    found = tuple([x if x.ndim else x.reshape(1) for x in map(asarray, xs)])
    return found[0] if len(found) == 1 else found


@_ours()
def atleast_2d(*xs: Any) -> Any:
    found = tuple([x if x.ndim > 1 else x.reshape(1, -1) for x in map(asarray, xs)])
    return found[0] if len(found) == 1 else found


@_ours()
def allclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8) -> bool:
    return bool(np.allclose(asarray(a).numpy(), asarray(b).numpy(), rtol, atol))


@_ours()
def array_equal(a: Any, b: Any) -> bool:
    return bool(np.array_equal(asarray(a).numpy(), asarray(b).numpy()))


_ELSEWHERE = {
    "as_tensor": "asarray makes a tensor.",
    "cat": "NumPy's name is concatenate.",
    "clamp": "NumPy's name is clip.",
    "permute": "NumPy's name is transpose.",
    "rand": "mlc.random.uniform(mlc.random.key(0), shape) draws numbers.",
    "randn": "mlc.random.normal(mlc.random.key(0), shape) draws numbers.",
    "random": "mlc.random draws numbers.",
    "relu": "It is mlc.nn.functional.relu.",
    "sigmoid": "It is mlc.nn.functional.sigmoid.",
    "softmax": "It is mlc.nn.functional.softmax.",
    "tensor": "array makes a tensor.",
    "unsqueeze": "NumPy's name is expand_dims.",
}


def __getattr__(name: str) -> Any:
    known = [each for each, value in globals().items() if not each.startswith("_") and callable(value)]
    raise missing_name("mlc.numpy", name, known, _ELSEWHERE)
