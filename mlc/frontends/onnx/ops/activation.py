"""Activations beyond the element-wise primitives, and the softmax family."""

from __future__ import annotations

from collections.abc import Callable

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.table import Value, handles
from mlc.ir import builder as g
from mlc.ir.dims import Extent, prod
from mlc.ir.types import dtype_of, is_float, is_half, rank_of, shape_of


def like(x: Value, value: float) -> Value:
    return g.scalar_like(x, value)


def plus(x: Value, value: float) -> Value:
    return g.add(x, like(x, value))


def times(x: Value, value: float) -> Value:
    return x if value == 1 else g.mul(x, like(x, value))


def in_f32(function: Callable[[Value], Value], x: Value) -> Value:
    """16-bit floats go through f32: a sum or power on the way need not fit in 16 bits, and would lose most of its digits."""
    dtype = dtype_of(x)
    return g.cast(function(g.cast(x, "f32")), dtype) if is_half(dtype) else function(x)


@handles("LeakyRelu", since=(1, 6, 16))
def leaky_relu(node: Node, x: Value) -> Value:
    return g.select(g.gt(x, like(x, 0)), x, times(x, node.float("alpha")))  # the slope at 0 is alpha


@handles("PRelu", since=(1, 6))
def prelu_per_channel(node: Node, x: Value, slope: Value) -> Value:
    """The slope is one number or one per channel, axis 1."""
    if shape_of(slope) == (1,):
        slope = g.reshape(slope, [])
    wide = g.broadcast(slope, shape_of(x), [1] if rank_of(slope) else [])
    return g.select(g.lt(x, like(x, 0)), g.mul(x, wide), x)


@handles("PRelu", since=(7, 9, 16))
def prelu(node: Node, x: Value, slope: Value) -> Value:
    return g.select(g.lt(x, like(x, 0)), g.mul(x, g.broadcast_to(slope, shape_of(x))), x)


@handles("Elu", since=(1, 6, 22))
def elu(node: Node, x: Value) -> Value:
    return in_f32(lambda v: exponential_below_zero(v, node.float("alpha")), x)


def exponential_below_zero(x: Value, alpha: float) -> Value:
    """x above 0, alpha * (exp(x) - 1) below."""
    return g.add(g.maximum(x, like(x, 0)), times(g.expm1(g.minimum(x, like(x, 0))), alpha))


@handles("Selu", since=(1, 6, 22))
def selu(node: Node, x: Value) -> Value:
    alpha, gamma = node.float("alpha"), node.float("gamma")
    return in_f32(lambda v: times(exponential_below_zero(v, alpha), gamma), x)


@handles("Celu", since=(12, 28))
def celu(node: Node, x: Value) -> Value:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""
    alpha = node.float("alpha")

    def of(x: Value) -> Value:
        curve = times(g.expm1(g.div(x, like(x, alpha))), alpha)
        return g.add(g.maximum(x, like(x, 0)), g.minimum(curve, like(x, 0)))

    return in_f32(of, x)


@handles("ThresholdedRelu", since=(10, 22))
def thresholded_relu(node: Node, x: Value) -> Value:
    return g.select(g.gt(x, like(x, node.float("alpha"))), x, like(x, 0))


@handles("Shrink", since=(9,))
def shrink(node: Node, x: Value) -> Value:
    """x + bias below -lambd, x - bias above lambd, 0 between."""
    lambd, bias = node.float("lambd"), node.float("bias")
    if not is_float(dtype_of(x)) and not (lambd.is_integer() and bias.is_integer()):
        raise node.unsupported(f"lambd {lambd:g} and bias {bias:g} with integers")
    inner = g.select(g.gt(x, like(x, lambd)), plus(x, -bias), like(x, 0))
    return g.select(g.lt(x, like(x, -lambd)), plus(x, bias), inner)


@handles("HardSigmoid", since=(1, 6, 22))
def hard_sigmoid(node: Node, x: Value) -> Value:
    return clipped_line(x, node.float("alpha"), node.float("beta"))


def clipped_line(x: Value, alpha: float, beta: float) -> Value:
    """max(0, min(1, alpha * x + beta))."""
    return g.maximum(g.minimum(plus(times(x, alpha), beta), like(x, 1)), like(x, 0))


@handles("HardSwish", since=(14, 22))
def hard_swish(node: Node, x: Value) -> Value:
    return g.mul(x, clipped_line(x, 1 / 6, 0.5))


@handles("Softplus", since=(1, 22))
def softplus(node: Node, x: Value) -> Value:
    return g.softplus(x)


@handles("Softsign", since=(1, 22))
def softsign(node: Node, x: Value) -> Value:
    return g.div(x, plus(g.abs(x), 1))


@handles("Mish", since=(18, 22))
def mish(node: Node, x: Value) -> Value:
    """x * tanh(softplus(x)) = x * n / (n + 2), n = exp(x) * (exp(x) + 2); both are taken at 20 beyond."""

    def of(x: Value) -> Value:
        half = g.exp(times(g.minimum(x, like(x, 20)), 0.5))  # exp(x) itself is 0 where x * exp(x) is not yet
        e = g.mul(half, half)
        n = g.mul(e, plus(e, 2))
        return g.mul(g.mul(x, g.div(g.mul(half, plus(e, 2)), plus(n, 2))), half)

    return in_f32(of, x)


@handles("Swish", since=(24,))
def swish(node: Node, x: Value) -> Value:
    alpha = node.float("alpha")
    return g.silu(x) if alpha == 1 else g.mul(x, g.sigmoid(times(x, alpha)))


@handles("Gelu", since=(20,))
def gelu(node: Node, x: Value) -> Value:
    approximate = node.string("approximate")
    if approximate not in ("none", "tanh"):
        raise node.invalid(f"approximate '{approximate}' is neither none nor tanh")
    return g.gelu(x, approximate)


@handles("Softmax", since=(13,))
def softmax(node: Node, x: Value) -> Value:
    return g.softmax(x, node.axis(node.int("axis", -1), rank_of(x)))


@handles("LogSoftmax", since=(13,))
def log_softmax(node: Node, x: Value) -> Value:
    return g.log_softmax(x, node.axis(node.int("axis", -1), rank_of(x)))


@handles("Hardmax", since=(13,))
def hardmax(node: Node, x: Value) -> Value:
    return one_at_maximum(x, node.axis(node.int("axis", -1), rank_of(x)))


@handles("Softmax", since=(1, 11))
def softmax_of_rows(node: Node, x: Value) -> Value:
    rows, shape = flattened(node, x)
    return g.reshape(g.softmax(rows, rank_of(rows) - 1), shape)


@handles("LogSoftmax", since=(1, 11))
def log_softmax_of_rows(node: Node, x: Value) -> Value:
    rows, shape = flattened(node, x)
    return g.reshape(g.log_softmax(rows, rank_of(rows) - 1), shape)


@handles("Hardmax", since=(1, 11))
def hardmax_of_rows(node: Node, x: Value) -> Value:
    rows, shape = flattened(node, x)
    return g.reshape(one_at_maximum(rows, rank_of(rows) - 1), shape)


def flattened(node: Node, x: Value) -> tuple[Value, tuple[Extent, ...]]:
    """Up to version 11 all axes from `axis` on are one row. The axes before it stay as they are: rows are independent."""
    shape = shape_of(x)
    axis = node.int("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise node.invalid(f"axis {axis} is out of range for {len(shape)} axes")
    axis += len(shape) if axis < 0 else 0
    return g.reshape(x, [*shape[:axis], prod(shape[axis:])]), shape


def one_at_maximum(x: Value, axis: int) -> Value:
    """1 at the first maximum along an axis, 0 elsewhere."""
    shape = shape_of(x)
    place = g.broadcast_to(g.arg_max(x, axis, keepdims=True), shape)
    return g.cast(g.eq(g.iota(shape, axis, "i64"), place), dtype_of(x))


def activation(node: Node, name: str, alpha: float | None, beta: float | None, x: Value) -> Value:
    """One of the activations that recurrent layers name; None takes the name's default."""

    def given(value: float | None, default: float) -> float:
        return default if value is None else value

    match name.lower():
        case "sigmoid":
            return g.sigmoid(x)
        case "tanh":
            return g.tanh(x)
        case "relu":
            return g.relu(x)
        case "affine":
            return plus(times(x, given(alpha, 1.0)), given(beta, 0.0))
        case "leakyrelu":
            return g.select(g.lt(x, like(x, 0)), times(x, given(alpha, 0.01)), x)
        case "thresholdedrelu":
            return g.select(g.gt(x, like(x, given(alpha, 1.0))), x, like(x, 0))
        case "scaledtanh":
            return times(g.tanh(times(x, given(beta, 1.0))), given(alpha, 1.0))
        case "hardsigmoid":
            return clipped_line(x, given(alpha, 0.2), given(beta, 0.5))
        case "elu":
            return exponential_below_zero(x, given(alpha, 1.0))
        case "softsign":
            return g.div(x, plus(g.abs(x), 1))
        case "softplus":
            return g.softplus(x)
    raise node.unsupported(f"activation '{name}' is not known")
