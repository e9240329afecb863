"""Operators on quantised tensors as onnxruntime's static and dynamic quantisers write them.

Most compute in floating point between dequantising and quantising: y = quantize(f(dequantize(x))).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops import quantize
from mlc.frontends.onnx.ops.activation import like, times
from mlc.frontends.onnx.ops.linear import centred
from mlc.frontends.onnx.ops.microsoft import contributed
from mlc.frontends.onnx.ops.pooling import average_pool, pooling_window, reduce_spatial
from mlc.frontends.onnx.ops.quantize import along, dynamically_quantized, requantized
from mlc.frontends.onnx.table import Value
from mlc.ir import builder as g
from mlc.ir.dims import prod
from mlc.ir.types import dtype_of, rank_of, shape_of


def dequantized(x: Value, scale: Value, zero_point: Value | None) -> Value:
    """(x - zero_point) * scale in f32, with one scale and zero point."""
    shape = shape_of(x)
    value = g.cast(x, "i32")
    if zero_point is not None:
        value = g.sub(value, along(g.cast(zero_point, "i32"), shape, 0))
    return g.mul(g.cast(value, "f32"), along(scale, shape, 0))


def quantized(y: Value, scale: Value, zero_point: Value | None, dtype: str) -> Value:
    """saturate(round(y / scale) + zero_point) with one scale and zero point; without the latter 0 of `dtype`."""
    shape = shape_of(y)
    offset = None if zero_point is None else along(zero_point, shape, 0)
    return requantized(g.div(y, along(scale, shape, 0)), offset, dtype if zero_point is None else dtype_of(zero_point))


@contributed("QuantizeLinear")
def quantize_linear(node: Node, x: Value, scale: Value, zero_point: Value | None) -> Value:
    """The standard's operator, which had 8-bit types alone when this one was made."""
    return quantize.quantize_linear(node.standing_for("QuantizeLinear", 21), x, scale, zero_point)


@contributed("DequantizeLinear")
def dequantize_linear(node: Node, x: Value, scale: Value, zero_point: Value | None) -> Value:
    return quantize.dequantize_linear(node.standing_for("DequantizeLinear", 21), x, scale, zero_point)


def _binary(op_type: str, combine: Callable[[Value, Value], Value]) -> None:
    def handler(
        node: Node,
        a: Value,
        a_scale: Value,
        a_zero_point: Value | None,
        b: Value,
        b_scale: Value,
        b_zero_point: Value | None,
        c_scale: Value,
        c_zero_point: Value | None,
    ) -> Value:
        lhs, rhs = g.lift(dequantized(a, a_scale, a_zero_point), dequantized(b, b_scale, b_zero_point))
        return quantized(combine(lhs, rhs), c_scale, c_zero_point, dtype_of(a))

    contributed(op_type)(handler)


_binary("QLinearAdd", g.add)
_binary("QLinearMul", g.mul)


def _leaky_relu(node: Node, x: Value) -> Value:
    return g.select(g.lt(x, like(x, 0)), times(x, node.float("alpha", 0.01)), x)


def _softmax(node: Node, x: Value) -> Value:
    """Up to opset 12 all axes from `axis` on are one row."""
    rank = rank_of(x)
    axis = node.axis(node.int("axis", -1 if node.int("opset", 13) >= 13 else 1), rank)
    if node.int("opset", 13) >= 13 or axis == rank - 1:
        return g.softmax(x, axis)
    shape = shape_of(x)
    rows = g.reshape(x, [*shape[:axis], prod(shape[axis:])])
    return g.reshape(g.softmax(rows, axis), shape)


def _global_average_pool(node: Node, x: Value) -> Value:
    rank = rank_of(x)
    spatial = range(1, rank - 1) if node.int("channels_last", 0) else range(2, rank)
    return g.mean(x, list(spatial), keepdims=True)


def _average_pool(node: Node, x: Value) -> Value:
    """With count_include_pad the sum is divided by the size of the window, also where it hangs over the padding (ceil_mode)."""
    rank = rank_of(x)
    last = bool(node.int("channels_last", 0))
    x = g.transpose(x, [0, rank - 1, *range(1, rank - 1)]) if last else x
    if node.int("count_include_pad", 0):
        window = pooling_window(node, x)
        y = times(reduce_spatial(x, "sum", window), 1 / math.prod(window.kernel))
    else:
        y = average_pool(node.standing_for("AveragePool", 11), x)
    return g.transpose(y, [0, *range(2, rank), 1]) if last else y


def _reduce_mean(node: Node, x: Value) -> Value:
    axes = [node.axis(axis, rank_of(x)) for axis in node.ints("axes", None) or range(rank_of(x))]
    return g.mean(x, axes, keepdims=bool(node.int("keepdims", 1)))


def _unary(op_type: str, compute: Callable[[Node, Value], Value]) -> None:
    def handler(
        node: Node,
        x: Value,
        x_scale: Value,
        x_zero_point: Value | None,
        y_scale: Value,
        y_zero_point: Value | None,
    ) -> Value:
        y = compute(node, dequantized(x, x_scale, x_zero_point))
        return quantized(y, y_scale, y_zero_point, dtype_of(x))

    contributed(op_type)(handler)


_unary("QLinearSigmoid", lambda node, x: g.sigmoid(x))
_unary("QLinearLeakyRelu", _leaky_relu)
_unary("QLinearSoftmax", _softmax)
_unary("QLinearGlobalAveragePool", _global_average_pool)
_unary("QLinearAveragePool", _average_pool)
_unary("QLinearReduceMean", _reduce_mean)


@contributed("QLinearConcat")
def qlinear_concat(node: Node, y_scale: Value, y_zero_point: Value, *xs: Value) -> Value:
    """xs are triples of a tensor, its scale and its zero point."""
    if not xs or len(xs) % 3:
        raise node.invalid(f"{len(xs)} operands do not form triples of a tensor, its scale and its zero point")
    pieces = [dequantized(*xs[i : i + 3]) for i in range(0, len(xs), 3)]
    y = g.concatenate(pieces, node.axis(node.int("axis"), rank_of(pieces[0])))
    return quantized(y, y_scale, y_zero_point, dtype_of(y_zero_point))


@contributed("QLinearWhere")
def qlinear_where(
    node: Node,
    condition: Value,
    x: Value,
    x_scale: Value,
    x_zero_point: Value,
    y: Value,
    y_scale: Value,
    y_zero_point: Value,
    z_scale: Value,
    z_zero_point: Value,
) -> Value:
    chosen = g.select(*g.lift(condition, dequantized(x, x_scale, x_zero_point), dequantized(y, y_scale, y_zero_point)))
    return quantized(chosen, z_scale, z_zero_point, dtype_of(z_zero_point))


@contributed("QLinearConv")
@wraps(quantize.qlinear_conv, assigned=())  # its operands are the standard's
def qlinear_conv(node: Node, x: Value, *others: Any) -> Value:
    """The standard's operator with the channels of x and y first or last; the weight's stay [o, i, kernel...]."""
    standard, rank = node.standing_for("QLinearConv", 10), rank_of(x)
    if not node.int("channels_last", 0):
        return quantize.qlinear_conv(standard, x, *others)
    y = quantize.qlinear_conv(standard, g.transpose(x, [0, rank - 1, *range(1, rank - 1)]), *others)
    return g.transpose(y, [0, *range(2, rank), 1])


@contributed("QGemm")
def qgemm(
    node: Node,
    a: Value,
    a_scale: Value,
    a_zero_point: Value,
    b: Value,
    b_scale: Value,
    b_zero_point: Value,
    c: Value | None,
    y_scale: Value | None,
    y_zero_point: Value | None,
) -> Value:
    """alpha * a' b' + c, quantised where y_scale is given and f32 otherwise; c is i32 in units of alpha * a_scale * b_scale."""
    if rank_of(a) != 2 or rank_of(b) != 2:
        raise node.error(f"A has {rank_of(a)} axes and B has {rank_of(b)}, expected 2")
    columns = 0 if node.int("transB", 0) else 1
    lhs, rhs = centred(node, a, a_zero_point, 2, None), centred(node, b, b_zero_point, 5, columns)
    y = g.contract(lhs, rhs, f"{'km' if node.int('transA', 0) else 'mk'},{'kn' if columns else 'nk'}->mn")
    if c is not None:
        y = g.add(y, g.broadcast_to(c, shape_of(y)))
    shape = shape_of(y)
    factor = g.mul(along(a_scale, shape, 1), along(b_scale, shape, 1))
    real = g.mul(g.cast(y, "f32"), times(factor, node.float("alpha", 1.0)))
    if y_scale is None:
        return real
    return quantized(real, y_scale, y_zero_point, dtype_of(a))


@contributed("MatMulIntegerToFloat")
def matmul_integer_to_float(
    node: Node,
    a: Value,
    b: Value,
    a_scale: Value,
    b_scale: Value,
    a_zero_point: Value | None,
    b_zero_point: Value | None,
    bias: Value | None,
) -> Value:
    """The integer product of a and b times their scales (b's per tensor or per column), plus a bias."""
    lhs = centred(node, a, a_zero_point, 4, None)
    return scaled_columns(lhs, a_scale, centred(node, b, b_zero_point, 5, -1), b_scale, bias)


@contributed("DynamicQuantizeMatMul")
def dynamic_quantize_matmul(
    node: Node, a: Value, b: Value, b_scale: Value, b_zero_point: Value | None, bias: Value | None
) -> Value:
    """MatMulIntegerToFloat of a quantised by its own range."""
    quantized_a, a_scale, a_zero_point = dynamically_quantized(a)
    zero = g.broadcast(g.cast(a_zero_point, "i32"), shape_of(a), [])
    lhs = g.sub(g.cast(quantized_a, "i32"), zero)
    return scaled_columns(lhs, a_scale, centred(node, b, b_zero_point, 3, -1), b_scale, bias)


def scaled_columns(lhs: Value, a_scale: Value, rhs: Value, b_scale: Value, bias: Value | None) -> Value:
    y = g.matmul(lhs, rhs)
    shape, column = shape_of(y), rank_of(y) - 1
    factor = g.mul(along(a_scale, shape, column), along_columns(b_scale, y))
    y = g.mul(g.cast(y, dtype_of(a_scale)), factor)
    return y if bias is None else g.add(y, g.broadcast_to(bias, shape))


def along_columns(scale: Value, y: Value) -> Value:
    """One scale, one per column, or one per matrix and column [..., 1, n], repeated to the product's shape."""
    return along(scale, shape_of(y), rank_of(y) - 1)


@contributed("MatMulNBits")
def matmul_n_bits(
    node: Node,
    a: Value,
    b: Value,
    scales: Value,
    zero_points: Value | None,
    group_index: Value | None,
    bias: Value | None,
) -> Value:
    """a times a weight [n, k] of 2, 4 or 8 bits, quantised in blocks along k; zero points are packed alike, or of a's type."""
    k, n, block = node.int("K"), node.int("N"), node.int("block_size")
    bits = node.int("bits", 4)
    if bits not in (2, 4, 8):
        raise node.unsupported(f"weights of {bits} bits")
    if min(k, n, block) < 1:
        raise node.invalid(f"K = {k}, N = {n} and block_size = {block} must be positive")
    blocks = -(-k // block)
    packed = node.constants(1, "B")
    if packed.size % n:
        raise node.error(f"B has {packed.size} bytes for {n} rows")
    values = unpacked(packed.reshape(n, -1), bits)[:, : blocks * block]
    if values.shape[1] < k:
        raise node.error(f"B holds {values.shape[1]} values a row, K is {k}")
    whole = g.cast(g.constant(values, node.inputs[1]), "f32")
    columns = groups(node, group_index, k, blocks, block)
    if columns is not None and values.shape[1] > k:
        whole = g.slice(whole, [0, 0], [n, k], [1, 1])

    def each(v: Value) -> Value:
        """A value per block [n, blocks] for each element of a row."""
        v = g.cast(v, "f32")
        if columns is not None:
            return g.gather(v, columns, 1)
        return g.reshape(g.broadcast(v, [n, blocks, block], [0, 1]), [n, blocks * block])

    if zero_points is None:
        centre = g.full(shape_of(whole), 1 << (bits - 1), "f32")
    elif dtype_of(zero_points) == "u8":
        found = unpacked(node.constants(3, "zero_points").reshape(n, -1), bits)[:, :blocks]
        centre = each(g.constant(found, "zero_points"))
    else:
        centre = each(g.reshape(zero_points, [n, blocks]))
    real = g.mul(g.sub(whole, centre), each(g.reshape(scales, [n, blocks])))
    real = real if shape_of(real)[1] == k else g.slice(real, [0, 0], [n, k], [1, 1])
    y = g.matmul(a, g.transpose(g.cast(real, dtype_of(a)), [1, 0]))
    return y if bias is None else g.add(y, g.broadcast_to(bias, shape_of(y)))


def groups(node: Node, index: Value | None, k: int, blocks: int, block: int) -> Value | None:
    """The block of each of k elements, i64; None where they lie in order."""
    if index is None:
        return None
    known = node.constants(4, "g_idx").ravel()[:k].astype(np.int64)
    if len(known) < k or known.min(initial=0) < 0 or known.max(initial=0) >= blocks:
        raise node.error(f"g_idx must name one of {blocks} blocks for each of {k} elements")
    return None if np.array_equal(known, np.arange(k) // block) else g.constant(known, "g_idx")


def unpacked(packed: np.ndarray, bits: int) -> np.ndarray:
    """The values of rows of bytes, the lowest bits first, as u8."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    values = packed[..., None] >> shifts & np.uint8((1 << bits) - 1)
    return values.reshape(packed.shape[0], -1)


@contributed("MulInteger")
def mul_integer(node: Node, a: Value, a_zero_point: Value | None, b: Value, b_zero_point: Value | None) -> Value:
    return g.mul(*g.lift(centred(node, a, a_zero_point, 1, None), centred(node, b, b_zero_point, 3, None)))


@contributed("ReduceSumInteger")
def reduce_sum_integer(node: Node, x: Value) -> Value:
    """Sums of 8-bit integers in 32 bits, with the sign that they have."""
    if dtype_of(x) not in ("i8", "u8"):
        raise node.invalid(f"the data is {dtype_of(x)}, expected i8 or u8")
    axes = [node.axis(axis, rank_of(x)) for axis in node.ints("axes")]
    return g.reduce(
        g.cast(x, "u32" if dtype_of(x) == "u8" else "i32"), axes, "sum", keepdims=bool(node.int("keepdims", 1))
    )
