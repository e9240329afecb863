"""Quantisation to integers with a scale and a zero point, and the operators that work on quantised tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import like
from mlc.frontends.onnx.ops.linear import centred, convolve, per_channel
from mlc.frontends.onnx.table import Value, handles
from mlc.ir import builder as g
from mlc.ir.dims import Extent, ceildiv
from mlc.ir.dtypes import TABLE
from mlc.ir.types import dtype_of, highest, is_storage, lowest, rank_of, shape_of, shape_text


@handles("QuantizeLinear", since=(10, 13, 19, 21, 23, 24, 25, 28))
def quantize_linear(node: Node, x: Value, scale: Value, zero_point: Value | None = None) -> Value:
    """saturate(round(x / scale) + zero_point), rounding half to even; per tensor, per axis or per block.

    Small floats round by themselves, with their own rule for what is out of range.
    """
    dtype = "u8" if zero_point is None else dtype_of(zero_point)
    if zero_point is None and node.int("output_dtype", 0):
        dtype = node.dtype("output_dtype")
    row = TABLE[dtype]
    if row.kind == "bool" or (row.kind == "float" and not row.storage) or dtype == "f8e8m0":
        raise node.invalid(f"x is quantised to {dtype}, which is no type of quantised tensors")
    precision = node.int("precision", 0)
    wide = node.dtype_name(precision) if precision else dtype_of(scale) if dtype_of(scale) == "f64" else "f32"
    shape = shape_of(x)
    inner = in_blocks(node, scale, shape)
    ratio = g.div(g.cast(g.reshape(x, inner), wide), spread(node, g.cast(scale, wide), shape, inner))
    offset = None if zero_point is None or is_zero(node, 2) else spread(node, zero_point, shape, inner)
    if row.kind != "float":
        result = requantized(ratio, offset, dtype)
    else:
        ratio = ratio if offset is None else g.add(ratio, g.cast(offset, wide))
        result = g.cast(ratio, dtype, bool(node.int("saturate", 1)))
    return g.reshape(result, shape)


def is_zero(node: Node, i: int) -> bool:
    """Whether a zero point is known to be all zeros."""
    value = node.constant(i)
    return value is not None and not value.astype(np.float32).any()


def requantized(ratio: Value, zero_point: Value | None, dtype: str) -> Value:
    """saturate(round(ratio) + zero_point); `ratio` is a float and the zero point has its shape."""
    rounded = g.round(ratio)
    if zero_point is not None:
        rounded = g.add(rounded, g.cast(zero_point, dtype_of(ratio)))
    low, high = like(rounded, float(lowest(dtype))), like(rounded, float(highest(dtype)))
    return g.cast(g.minimum(g.maximum(rounded, low), high), dtype)


@handles("DequantizeLinear", since=(10, 13, 19, 21, 23, 24, 25, 28))
def dequantize_linear(node: Node, x: Value, scale: Value, zero_point: Value | None = None) -> Value:
    """(x - zero_point) * scale in the scale's type, or in output_dtype; a scale that is a power of two (f8e8m0) gives f32."""
    row = TABLE[dtype_of(x)]
    if row.kind == "bool" or (row.kind == "float" and not row.storage):
        raise node.invalid(f"x is {row.name}, which is no type of quantised tensors")
    result = "f32" if is_storage(dtype_of(scale)) else dtype_of(scale)
    if node.int("output_dtype", 0):
        result = node.dtype("output_dtype")
    wide = "f64" if dtype_of(scale) == "f64" else "f32"
    shape = shape_of(x)
    inner = in_blocks(node, scale, shape)
    between = "f32" if row.kind == "float" else "i32"
    value = g.cast(g.reshape(x, inner), between)
    if zero_point is not None and not is_zero(node, 2):
        value = g.sub(value, spread(node, g.cast(zero_point, between), shape, inner))
    y = g.cast(g.mul(g.cast(value, wide), spread(node, g.cast(scale, wide), shape, inner)), result)
    return g.reshape(y, shape)


def in_blocks(node: Node, scale: Value, shape: Sequence[Extent]) -> Sequence[Extent]:
    """The shape to compute in: an axis of whole blocks becomes two, for then a value per block is a broadcast that kernels read through."""
    block = node.int("block_size", 0)
    if not block or rank_of(scale) != len(shape) or rank_of(scale) == 0:
        return shape
    axis = node.axis(node.int("axis", 1), len(shape))
    blocks = shape_of(scale)[axis]
    if shape[axis] != blocks * block or shape_of(scale) == (1,):
        return shape
    return [*shape[:axis], blocks, block, *shape[axis + 1 :]]


def spread(node: Node, v: Value, shape: Sequence[Extent], inner: Sequence[Extent]) -> Value:
    """A scale or zero point repeated to the shape that x, of `shape`, is computed in: one value, one per index of `axis`, or one per block."""
    if rank_of(v) == 0 or (rank_of(v) == 1 and shape_of(v) == (1,)):
        return g.broadcast(g.reshape(v, []), inner, [])
    axis = node.axis(node.int("axis", 1), len(shape))
    block = node.int("block_size", 0)
    if rank_of(v) != (len(shape) if block else 1):
        each, axes = ("block", len(shape)) if block else ("index of an axis", 1)
        raise node.error(f"a value per {each} needs {axes} axes, found {shape_text(shape_of(v))}")
    if not block:
        return g.broadcast(v, shape, [axis])
    if len(inner) != len(shape):
        return g.broadcast(v, inner, [a for a in range(len(inner)) if a != axis + 1])
    blocks = shape_of(v)[axis]
    what = f"axis {axis} in blocks of {block}"
    g.require_equal(blocks, ceildiv(shape[axis], block), what)
    others = [n if a == axis else g.require_equal(n, shape[a], f"axis {a}") for a, n in enumerate(shape_of(v))]
    v = g.reshape(v, others)
    repeated = [*shape_of(v)[: axis + 1], block, *shape_of(v)[axis + 1 :]]
    v = g.broadcast(v, repeated, [i for i in range(len(repeated)) if i != axis + 1])
    v = g.reshape(v, [*repeated[:axis], blocks * block, *repeated[axis + 2 :]])
    return v if shape_of(v) == tuple(shape) else g.slice(v, [0] * len(shape), shape, [1] * len(shape))


@handles("DynamicQuantizeLinear", since=(11,))
def dynamic_quantize_linear(node: Node, x: Value) -> Sequence[Value]:
    return dynamically_quantized(x)


def dynamically_quantized(x: Value) -> tuple[Value, Value, Value]:
    """(x as u8, scale, zero point) by the range of x, which always holds 0. Zeros alone have scale 1."""
    axes, dtype = list(range(rank_of(x))), dtype_of(x)
    zero = g.scalar(0, dtype)
    top = g.maximum(g.reduce(x, axes, "max"), zero)
    bottom = g.minimum(g.reduce(x, axes, "min"), zero)
    scale = g.div(g.sub(top, bottom), g.scalar(255, dtype))
    scale = g.select(g.eq(scale, zero), g.scalar(1, dtype), scale)
    zero_point = requantized(g.neg(g.div(bottom, scale)), None, "u8")
    shape = shape_of(x)
    y = requantized(g.div(x, g.broadcast(scale, shape, [])), g.broadcast(zero_point, shape, []), "u8")
    return y, scale, zero_point


@handles("QLinearMatMul", since=(10, 21))
def qlinear_matmul(
    node: Node,
    a: Value,
    a_scale: Value,
    a_zero_point: Value,
    b: Value,
    b_scale: Value,
    b_zero_point: Value,
    y_scale: Value,
    y_zero_point: Value,
) -> Value:
    """Product of dequantised a (scale per tensor or row) and b (per tensor or column), quantised again."""
    y = g.matmul(centred(node, a, a_zero_point, 2, -2), centred(node, b, b_zero_point, 5, -1))
    shape = shape_of(y)
    row, column = max(len(shape) - 2, 0), len(shape) - 1
    real = g.mul(along(g.cast(a_scale, "f32"), shape, row), along(g.cast(b_scale, "f32"), shape, column))
    ratio = g.mul(g.cast(y, "f32"), g.div(real, along(g.cast(y_scale, "f32"), shape, row)))
    return requantized(ratio, along(y_zero_point, shape, row), dtype_of(y_zero_point))


def along(v: Value, shape: Sequence[Extent], axis: int) -> Value:
    """A scalar, or one value per index of an axis, repeated to a shape."""
    if rank_of(v) == 0 or shape_of(v) == (1,):
        return g.broadcast(g.reshape(v, []), shape, [])
    return g.broadcast(v, shape, [axis]) if rank_of(v) == 1 else g.broadcast_to(v, shape)


@handles("QLinearConv", since=(10,))
def qlinear_conv(
    node: Node,
    x: Value,
    x_scale: Value,
    x_zero_point: Value,
    w: Value,
    w_scale: Value,
    w_zero_point: Value,
    y_scale: Value,
    y_zero_point: Value,
    bias: Value | None = None,
) -> Value:
    """i32 convolution of centred operands plus an i32 bias, scaled by x_scale * w_scale / y_scale (w per output channel)."""
    y = convolve(node, centred(node, x, x_zero_point, 2, None), centred(node, w, w_zero_point, 5, 0))
    if bias is not None:
        y = g.add(y, per_channel(node, "B", bias, y))
    shape = shape_of(y)
    real = g.mul(along(x_scale, shape, 1), along(w_scale, shape, 1))
    ratio = g.mul(g.cast(y, "f32"), g.div(real, along(y_scale, shape, 1)))
    return requantized(ratio, along(y_zero_point, shape, 1), dtype_of(y_zero_point))
