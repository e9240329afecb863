"""Reductions along axes, positions of extremes, TopK and running sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import in_f32
from mlc.frontends.onnx.table import Value, handles
from mlc.ir import builder as g
from mlc.ir.types import dtype_of, is_float, rank_of, shape_of


def reduced_axes(node: Node, x: Value) -> list[int]:
    """The axes of a reduction, from the attribute or the input. Omitted or empty means all, or none with noop_with_empty_axes."""
    rank = rank_of(x)
    axes = node.ints("axes", None)
    if axes is None and node.given(1):
        axes = [int(axis) for axis in node.constants(1, "axes").ravel()]
    if not axes:
        return [] if node.int("noop_with_empty_axes", 0) else list(range(rank))
    return sorted({node.axis(axis, rank) for axis in axes})


def reduced(node: Node, x: Value, kind: str) -> Value:
    axes = reduced_axes(node, x)
    return g.reduce(x, axes, kind, keepdims=bool(node.int("keepdims"))) if axes else x


@handles("ReduceSum", since=(1, 11, 13))
def reduce_sum(node: Node, x: Value, axes: Value | None = None) -> Value:
    return reduced(node, x, "sum")


@handles("ReduceProd", since=(1, 11, 13, 18))
def reduce_prod(node: Node, x: Value, axes: Value | None = None) -> Value:
    return reduced(node, x, "prod")


@handles("ReduceMax", since=(1, 11, 12, 13, 18, 20))
def reduce_max(node: Node, x: Value, axes: Value | None = None) -> Value:
    return reduced(node, x, "or" if dtype_of(x) == "bool" else "max")


@handles("ReduceMin", since=(1, 11, 12, 13, 18, 20))
def reduce_min(node: Node, x: Value, axes: Value | None = None) -> Value:
    return reduced(node, x, "and" if dtype_of(x) == "bool" else "min")


@handles("ReduceMean", since=(1, 11, 13, 18))
def reduce_mean(node: Node, x: Value, axes: Value | None = None) -> Value:
    over = reduced_axes(node, x)
    return g.mean(x, over, keepdims=bool(node.int("keepdims"))) if over else x


@handles("ReduceL1", since=(1, 11, 13, 18))
def reduce_l1(node: Node, x: Value, axes: Value | None = None) -> Value:
    return reduced(node, g.abs(x), "sum")


@handles("ReduceL2", since=(1, 11, 13, 18))
def reduce_l2(node: Node, x: Value, axes: Value | None = None) -> Value:
    """The root of an integer sum is taken in f64 and truncated."""
    if is_float(dtype_of(x)):
        return in_f32(lambda wide: g.sqrt(reduced(node, g.mul(wide, wide), "sum")), x)
    return g.cast(g.sqrt(g.cast(reduced(node, g.mul(x, x), "sum"), "f64")), dtype_of(x))


@handles("ReduceSumSquare", since=(1, 11, 13, 18))
def reduce_sum_square(node: Node, x: Value, axes: Value | None = None) -> Value:
    return in_f32(lambda wide: reduced(node, g.mul(wide, wide), "sum"), x)


@handles("ReduceLogSum", since=(1, 11, 13, 18, 28))
def reduce_log_sum(node: Node, x: Value, axes: Value | None = None) -> Value:
    return through_float(x, lambda wide: g.log(reduced(node, wide, "sum")))


@handles("ReduceLogSumExp", since=(1, 11, 13, 18, 28))
def reduce_log_sum_exp(node: Node, x: Value, axes: Value | None = None) -> Value:
    return through_float(x, lambda wide: log_sum_exp(node, wide))


def through_float(x: Value, function: Callable[[Value], Value]) -> Value:
    """Integers go through f64 and are truncated back; 16-bit floats go through f32."""
    if is_float(dtype_of(x)):
        return in_f32(function, x)
    return g.cast(function(g.cast(x, "f64")), dtype_of(x))


def log_sum_exp(node: Node, x: Value) -> Value:
    """max + log(sum(exp(x - max))). An infinite maximum is not subtracted: inf - inf has no value."""
    axes, keepdims = reduced_axes(node, x), bool(node.int("keepdims"))
    if not axes:
        return x
    top = g.reduce(x, axes, "max", keepdims=True)
    top = g.select(g.is_inf(top), g.scalar_like(top, 0), top)
    shifted = g.sub(x, g.broadcast_to(top, shape_of(x)))
    total = g.add(g.log_of_sum(shifted, axes, keepdims=True), top)
    return total if keepdims else g.squeeze(total, axes)


@handles("ArgMax", since=(1, 11, 12, 13))
def arg_max(node: Node, x: Value) -> Value:
    return position(node, x, "max")


@handles("ArgMin", since=(1, 11, 12, 13))
def arg_min(node: Node, x: Value) -> Value:
    return position(node, x, "min")


def position(node: Node, x: Value, kind: str) -> Value:
    """Where the largest or smallest element along an axis stands, which must have one."""
    axis, last = node.axis(node.int("axis", 0), rank_of(x)), bool(node.int("select_last_index", 0))
    g.require_at_least(shape_of(x)[axis], 1, f"axis {axis} has an element whose place is asked for")
    return g.arg_max(x, axis, keepdims=bool(node.int("keepdims")), last=last, kind=kind)


@handles("TopK", since=(1,))
def top_k_attribute(node: Node, x: Value) -> Sequence[Value]:
    return g.top_k(x, node.int("k"), node.axis(node.int("axis", -1), rank_of(x)))


@handles("TopK", since=(10, 11, 24))
def top_k(node: Node, x: Value, k: Value) -> Sequence[Value]:
    """Always sorted: `sorted = 0` allows any order."""
    counts = node.extents(1, "k")
    if len(counts) != 1:
        raise node.error(f"K has {len(counts)} elements, expected 1")
    return g.top_k(x, counts[0], node.axis(node.int("axis", -1), rank_of(x)), largest=bool(node.int("largest", 1)))


@handles("CumSum", since=(11, 14))
def cumulative_sum(node: Node, x: Value, axis: Value) -> Value:
    return cumulative(node, x, "sum")


@handles("CumProd", since=(26,))
def cumulative_product(node: Node, x: Value, axis: Value) -> Value:
    return cumulative(node, x, "prod")


def cumulative(node: Node, x: Value, kind: str) -> Value:
    axis = node.axis(node.number(1, "axis"), rank_of(x))
    return g.cumulative(x, axis, kind, exclusive=bool(node.int("exclusive")), reverse=bool(node.int("reverse")))
