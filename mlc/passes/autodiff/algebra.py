"""Builders for derivative rules, which leave out what changes nothing: no pass has to clean up behind them.

    mul(t, 1) -> t        add(t, 0) -> t        add(x, neg(y)) -> sub(x, y)        mul(broadcast(a), broadcast(b)) -> broadcast(mul(a, b))

x + 0 for x is right of tangents alone: of other values the sum may have lost the sign of a zero. This module is an
mlc.ir.graph.derivative.Algebra.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from xdsl.ir import SSAValue

from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph import constants, control, elementwise, linear, parts, pick
from mlc.ir.graph import reduce as reductions
from mlc.ir.graph import shape as shapes
from mlc.ir.graph.base import emit
from mlc.ir.graph.derivative import Tangent, Tangents
from mlc.ir.graph.elementwise import OPS, CastOp
from mlc.ir.graph.reduce import ReduceOp
from mlc.ir.graph.shape import BroadcastOp, ReshapeOp, TransposeOp
from mlc.ir.types import dtype_of, is_float, is_half, numpy_dtype, rank_of, shape_of
from mlc.passes.graph.facts import made_by, number

Value = SSAValue
scan = control.scan
window_place = pick.window_place
window_pick = pick.window_pick


def like(x: Value, value: float) -> Value:
    return shapes.full_like(x, value)


def zeros(values: Sequence[Value], tangents: Tangents) -> list[Value]:
    return [like(x, 0) if t is None else t for x, t in zip(values, tangents, strict=True)]


def accumulate(x: Tangent, y: Tangent) -> Tangent:
    return y if x is None else x if y is None else add(x, y)


# Element by element -------------------------------------------------------------------------------------------------------


def apply(name: str, *operands: Value) -> Value:
    """Of constants a constant; of values that repeat, what their elements give, repeated."""
    row = OPS[name].ROW
    known = [number(x) for x in operands]
    if not row.to_bool and is_float(dtype_of(operands[-1])) and all(value is not None for value in known):
        arrays = [np.array(value).astype(numpy_dtype(dtype_of(x))) for value, x in zip(known, operands, strict=True)]
        with np.errstate(all="ignore"):
            return like(operands[-1], float(row.evaluate(*arrays)))
    repeats = [x.owner for x in operands if isinstance(x.owner, BroadcastOp)]
    if len(repeats) < len(operands):
        return elementwise.apply(name, *operands)
    shape = shape_of(operands[0])
    axes = sorted({a for op in repeats for a in op.axes.get_values()})
    if all(e == 1 for a, e in enumerate(shape) if a not in axes):
        return elementwise.apply(name, *operands)
    small = [
        shapes.broadcast(op.x, [shape[a] for a in axes], [axes.index(a) for a in op.axes.get_values()])
        for op in repeats
    ]
    return broadcast(elementwise.apply(name, *small), shape, axes)


def neg(x: Value) -> Value:
    inner = made_by(x, OPS["neg"])
    return inner.operands[0] if inner is not None else apply("neg", x)


def negated(x: Value) -> Value | None:
    """What x is the negative of, where that is known."""
    minus = made_by(x, OPS["neg"])
    if minus is not None:
        return minus.operands[0]
    repeat = made_by(x, BroadcastOp)
    minus = None if repeat is None else made_by(repeat.x, OPS["neg"])
    if repeat is None or minus is None:
        return None
    return shapes.broadcast(minus.operands[0], shape_of(x), repeat.axes.get_values())


def add(x: Value, y: Value) -> Value:
    if number(x) is not None:
        x, y = y, x
    if number(y) == 0:
        return x
    if (minus := negated(y)) is not None:
        return apply("sub", x, minus)
    if (minus := negated(x)) is not None:
        return apply("sub", y, minus)
    first, second = made_by(x, OPS["select"]), made_by(y, OPS["select"])
    if first is not None and second is not None and first.operands[0] is second.operands[0]:
        condition, t, nothing = first.operands
        if number(nothing) == 0 == number(second.operands[1]):  # the tangents of both sides of a select
            return select(condition, t, second.operands[2])
    return apply("add", *_in_order(x, y))


def sub(x: Value, y: Value) -> Value:
    if number(y) == 0:
        return x
    if number(x) == 0:
        return neg(y)
    minus = negated(y)
    return apply("sub", x, y) if minus is None else apply("add", x, minus)


def mul(x: Value, y: Value) -> Value:
    if number(x) is not None:
        x, y = y, x
    value = number(y)
    if value == 1:
        return x
    if value == -1:
        return neg(x)
    (x, first), (y, second) = _unsigned(x), _unsigned(y)
    product = apply("mul", *_in_order(x, y))
    return neg(product) if first != second else product


def _unsigned(x: Value) -> tuple[Value, bool]:
    """(what negations stand in front of, is it negative)"""
    negative = False
    while (minus := made_by(x, OPS["neg"])) is not None:
        x, negative = minus.operands[0], not negative
    return x, negative


def div(x: Value, y: Value) -> Value:
    value = number(y)
    if value == 1:
        return x
    if number(x) == 1:
        return apply("reciprocal", y)
    if value and math.isfinite(value) and abs(math.frexp(value)[0]) == 0.5 and 2.0**-10 <= abs(value) <= 2.0**10:
        return mul(x, like(x, 1 / value))
    return apply("div", x, y)


def _in_order(x: Value, y: Value) -> tuple[Value, Value]:
    """What repeats stands at the right, as simplify has it."""
    return (y, x) if isinstance(x.owner, BroadcastOp) and not isinstance(y.owner, BroadcastOp) else (x, y)


def scale(x: Value, by: float) -> Value:
    return mul(x, like(x, by))


def select(condition: Value, x: Value, y: Value) -> Value:
    known = number(condition)
    if known is not None or x is y:
        return y if known is False else x
    if (inverse := made_by(condition, OPS["logical_not"])) is not None:
        return apply("select", inverse.operands[0], y, x)
    return apply("select", condition, x, y)


def cast(x: Value, dtype: str) -> Value:
    if dtype_of(x) == dtype:
        return x
    value = number(x)
    if value is not None and is_float(dtype):
        return like(elementwise.apply_cast(x, dtype), value)
    inner = made_by(x, CastOp)
    if inner is not None and dtype_of(inner.x) == dtype and is_half(dtype) and dtype_of(x) in ("f32", "f64"):
        return inner.x  # there and back
    return elementwise.apply_cast(x, dtype)


# Shapes ---------------------------------------------------------------------------------------------------------------------


def reduce(x: Value, axes: Sequence[int], kind: str = "sum") -> Value:
    """A sum of what repeats is a product with how often it does."""
    if not axes:
        return x
    shape = shape_of(x)
    if all(shape[a] == 1 for a in axes):
        return reshape(x, [e for a, e in enumerate(shape) if a not in axes])
    if kind == "sum":
        x, negative = _unsigned(x)
        if negative:
            return neg(reduce(x, axes))
    repeat = made_by(x, BroadcastOp)
    if kind == "sum" and repeat is not None:
        own = list(repeat.axes.get_values())
        new = [a for a in axes if a not in own]
        count = dims.prod([shape[a] for a in new])
        if new and isinstance(count, int):
            inner = reduce(repeat.x, [own.index(a) for a in axes if a in own])
            left = [a for a in range(len(shape)) if a not in axes]
            kept = [left.index(a) for a in own if a not in axes]
            return broadcast(scale(inner, count), [shape[a] for a in left], kept)
    fold = made_by(x, ReduceOp)
    if fold is not None and fold.kind.data == kind and x.first_use is None:
        first = list(fold.axes.get_values())
        left = [a for a in range(rank_of(fold.x)) if a not in first]
        return reductions.reduce(fold.x, sorted([*first, *(left[a] for a in axes)]), kind)
    return reductions.reduce(x, axes, kind)


def mean(x: Value, axes: Sequence[int]) -> Value:
    total, count = reduce(x, axes), dims.prod([shape_of(x)[a] for a in axes])
    if isinstance(count, int):
        return scale(total, 1 / count) if count else apply("div", total, like(total, 0))
    number_ = shapes.broadcast(elementwise.apply_cast(constants.dimension(count), dtype_of(x)), shape_of(total), [])
    return apply("div", total, number_)


def spread(x: Value, shape: Sequence[Extent], axes: Sequence[int]) -> Value:
    return broadcast(x, shape, [a for a in range(len(shape)) if a not in axes])


def broadcast(x: Value, shape: Sequence[Extent], axes: Sequence[int]) -> Value:
    if tuple(shape) == shape_of(x):
        return x
    while (inner := made_by(x, BroadcastOp)) is not None:
        x, axes = inner.x, [axes[a] for a in inner.axes.get_values()]
    return shapes.broadcast(x, shape, axes)


def reshape(x: Value, shape: Sequence[Extent]) -> Value:
    if tuple(shape) == shape_of(x):
        return x
    value = number(x)
    if value is not None:
        return shapes.full(shape, value, dtype_of(x))
    while (inner := made_by(x, ReshapeOp)) is not None:
        x = inner.x
    return shapes.reshape(x, shape)


def transpose(x: Value, permutation: Sequence[int]) -> Value:
    while (inner := made_by(x, TransposeOp)) is not None:
        first = inner.permutation.get_values()
        x, permutation = inner.x, [first[a] for a in permutation]
    value = number(x)
    if value is not None:
        return shapes.full([shape_of(x)[a] for a in permutation], value, dtype_of(x))
    return shapes.transpose(x, permutation)


def slice(x: Value, starts: Sequence[Extent], sizes: Sequence[Extent], steps: Sequence[int] | None = None) -> Value:
    """Of places that are there."""
    value = number(x)
    if value is not None:
        return shapes.full(sizes, value, dtype_of(x))
    return parts.slice(x, starts, sizes, steps, inside=True)


def pad(
    x: Value,
    low: Sequence[Extent],
    high: Sequence[Extent],
    value: Value | float = 0,
    interior: Sequence[int] | None = None,
) -> Value:
    return parts.pad(x, low, high, value, interior)


def concatenate(xs: Sequence[Value], axis: int) -> Value:
    return parts.concatenate(xs, axis)


def contract(lhs: Value, rhs: Value, spec: str) -> Value:
    (lhs, first), (rhs, second) = _unsigned(lhs), _unsigned(rhs)
    (found,) = emit(linear.ContractOp(lhs, rhs, spec))
    return neg(found) if first != second else found
