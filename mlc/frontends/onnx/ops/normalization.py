"""Normalisations: by stored statistics (BatchNormalization), by those of the value itself, and by neighbours (LRN)."""

from __future__ import annotations

from collections.abc import Sequence

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import in_f32, like, plus, times
from mlc.frontends.onnx.table import Value, handles
from mlc.ir import builder as g
from mlc.ir.types import dtype_of, is_half, rank_of, shape_of, shape_text


@handles("BatchNormalization", since=(7, 9))
def batch_normalization(node: Node, x: Value, scale: Value, bias: Value, mean: Value, variance: Value) -> Value:
    """Extra outputs mean training in these versions, which nothing else in the file states."""
    return normalized_by_stored(node, x, scale, bias, mean, variance)


def normalized_by_stored(node: Node, x: Value, scale: Value, bias: Value, mean: Value, variance: Value) -> Value:
    x, scale, bias, mean, variance = with_channels(node, x, scale=scale, B=bias, input_mean=mean, input_var=variance)
    if any(node.wants(i) for i in range(1, 5)):
        raise node.unsupported("outputs of the training form (mean, var, saved_mean, saved_var) at this opset")
    if node.int("spatial", 1) != 1:
        raise node.unsupported("spatial = 0 (statistics per element)")
    return g.batch_norm(x, scale, bias, mean, variance, node.float("epsilon"))


@handles("BatchNormalization", since=(1, 6))
def batch_normalization_in_test(node: Node, x: Value, scale: Value, bias: Value, mean: Value, variance: Value) -> Value:
    """An attribute states whether this is training."""
    if not node.int("is_test"):
        raise node.unsupported("training (is_test = 0) at this opset")
    return normalized_by_stored(node, x, scale, bias, mean, variance)


@handles("BatchNormalization", since=(14, 15))
def batch_normalization_with_training(
    node: Node, x: Value, scale: Value, bias: Value, mean: Value, variance: Value
) -> Sequence[Value | None]:
    """training_mode normalises by the batch's statistics and returns the running ones: momentum * old + (1 - momentum) * batch."""
    x, scale, bias, mean, variance = with_channels(node, x, scale=scale, B=bias, input_mean=mean, input_var=variance)
    epsilon = node.float("epsilon")
    if not node.int("training_mode"):
        if node.wants(1) or node.wants(2):
            raise node.invalid("running_mean and running_var are outputs of training_mode only")
        return [normalized_by(x, scale, bias, mean, variance, epsilon)]
    axes = [axis for axis in range(rank_of(x)) if axis != 1]
    wide = widened(x)
    batch_mean = g.mean(wide, axes, keepdims=False)
    batch_variance = variance_of(wide, axes, keepdims=False)
    y = normalized_by(x, scale, bias, batch_mean, batch_variance, epsilon)
    momentum = node.float("momentum")
    running = [
        g.add(times(old, momentum), times(g.cast(batch, dtype_of(old)), 1 - momentum))
        for old, batch in ((mean, batch_mean), (variance, batch_variance))
    ]
    return [y, *running]


def with_channels(node: Node, x: Value, **vectors: Value) -> list[Value]:
    """x, and vectors by the name of their input with one element per channel of x each. Raises ShapeError where they have not."""
    if rank_of(x) < 2:
        raise node.error(f"X has {rank_of(x)} axes, batch and channels are needed")
    channels = shape_of(x)[1]
    for name, v in vectors.items():
        found = shape_of(v)
        if len(found) != 1 or (isinstance(found[0], int) and isinstance(channels, int) and found[0] != channels):
            raise node.error(f"{name} has shape {shape_text(found)}, X has {channels} channels")
        channels = channels if isinstance(channels, int) else found[0]
    x = g.fitted(x, [channels if axis == 1 else e for axis, e in enumerate(shape_of(x))], f"{node.title}: channels")
    return [x, *(g.fitted(v, [channels], f"{node.title}: channels") for v in vectors.values())]


def normalized_by(x: Value, scale: Value, bias: Value, mean: Value, variance: Value, epsilon: float) -> Value:
    """batch_norm where parameters, statistics and x may have different float types; the result has x's."""
    dtype = dtype_of(x)
    if all(dtype_of(v) == dtype for v in (scale, bias, mean, variance)):
        return g.batch_norm(x, scale, bias, mean, variance, epsilon)
    wide = "f64" if dtype == "f64" else "f32"
    scale, bias, mean, variance = (g.cast(v, wide) for v in (scale, bias, mean, variance))
    return g.cast(g.batch_norm(g.cast(x, wide), scale, bias, mean, variance, epsilon), dtype)


def widened(x: Value) -> Value:
    """Statistics of 16-bit values are taken in f32."""
    return g.cast(x, "f32") if is_half(dtype_of(x)) else x


def variance_of(x: Value, axes: Sequence[int], keepdims: bool) -> Value:
    """Mean of squared deviations (no Bessel correction)."""
    deviation = g.sub(x, g.broadcast_to(g.mean(x, axes, keepdims=True), shape_of(x)))
    return g.mean(g.mul(deviation, deviation), axes, keepdims=keepdims)


@handles("InstanceNormalization", since=(6, 22))
def instance_normalization(node: Node, x: Value, scale: Value, bias: Value) -> Value:
    x, scale, bias = with_channels(node, x, scale=scale, B=bias)
    return g.instance_norm(x, scale, bias, node.float("epsilon"))


@handles("GroupNormalization", since=(21,))
def group_normalization(node: Node, x: Value, scale: Value, bias: Value) -> Value:
    """Statistics over each group of channels, scale and bias per channel. Version 18, which scaled groups, was withdrawn."""
    shape, groups = shape_of(x), node.int("num_groups")
    if len(shape) < 2 or groups < 1:
        raise node.error(f"X has {len(shape)} axes and num_groups is {groups}; batch, channels and a group are needed")
    if isinstance(shape[1], int) and shape[1] % groups:
        raise node.error(f"{shape[1]} channels cannot form {groups} groups")
    x, scale, bias = with_channels(node, x, scale=scale, B=bias)
    return g.group_norm(x, scale, bias, groups, node.float("epsilon"))


@handles("LayerNormalization", since=(17,))
def layer_normalization(node: Node, x: Value, scale: Value, bias: Value | None = None) -> Sequence[Value | None]:
    """The second and third output are mean and 1 / sqrt(variance + epsilon) in the type of the statistics."""
    return layer_normalized(node, x, scale, bias, node.axis(node.int("axis", -1), rank_of(x)), node.float("epsilon"))


def layer_normalized(
    node: Node, x: Value, scale: Value, bias: Value | None, axis: int, epsilon: float
) -> list[Value | None]:
    """The normalised value over the axes from `axis` on, with mean and inverse deviation where outputs 1 and 2 are wanted."""
    shape = shape_of(x)
    axes = list(range(axis, len(shape)))
    scale = g.broadcast_to(scale, shape[axis:]) if shape_of(scale) != shape[axis:] else scale
    if bias is not None and shape_of(bias) != shape[axis:]:
        bias = g.broadcast_to(bias, shape[axis:])
    if node.wants(1) or node.wants(2):
        y, mean, inverse = g.standardized(widened(x), axes, epsilon)
        y = g.mul(g.cast(y, dtype_of(x)), g.broadcast_to(scale, shape))
        return [y if bias is None else g.add(y, g.broadcast_to(bias, shape)), mean, inverse]
    if bias is None:
        bias = g.full(shape[axis:], 0, dtype_of(x))
    return [g.layer_norm(x, scale, bias, axes, epsilon)]


@handles("RMSNormalization", since=(23,))
def rms_normalization(node: Node, x: Value, scale: Value) -> Value:
    axis, shape = node.axis(node.int("axis", -1), rank_of(x)), shape_of(x)
    if shape_of(scale) != shape[axis:]:
        scale = g.broadcast_to(scale, shape[axis:])
    return g.rms_norm(x, scale, list(range(axis, len(shape))), node.float("epsilon"))


@handles("LRN", since=(1, 13))
def local_response_normalization(node: Node, x: Value) -> Value:
    """x / (bias + alpha / size * sum of squares over `size` neighbouring channels) ** beta."""
    return in_f32(lambda wide: divided_by_neighbours(node, wide), x)


def divided_by_neighbours(node: Node, x: Value) -> Value:
    size, rank = node.int("size"), rank_of(x)
    before = (size - 1) // 2
    squares = g.reduce_window(
        g.mul(x, x),
        "sum",
        [1, size, *[1] * (rank - 2)],
        [1] * rank,
        [(0, 0), (before, size - 1 - before), *[(0, 0)] * (rank - 2)],
        [1] * rank,
    )
    denominator = plus(times(squares, node.float("alpha") / size), node.float("bias"))
    return g.div(x, g.pow(denominator, like(x, node.float("beta"))))


@handles("MeanVarianceNormalization", since=(9, 13))
def mean_variance_normalization(node: Node, x: Value) -> Value:
    """(x - mean) / (sqrt(variance) + 1e-9), as the standard's function body has it."""
    axes = [axis % rank_of(x) for axis in node.ints("axes", [0, 2, 3])]
    shape = shape_of(x)

    def of(x: Value) -> Value:
        deviation = g.sub(x, g.broadcast_to(g.mean(x, axes, keepdims=True), shape))
        spread = g.sqrt(g.mean(g.mul(deviation, deviation), axes, keepdims=True))
        return g.div(deviation, g.broadcast_to(plus(spread, 1e-9), shape))

    return in_f32(of, x)


@handles("LpNormalization", since=(1, 22))
def lp_normalization(node: Node, x: Value) -> Value:
    """x / norm along an axis; a zero norm gives zeros."""
    axis, p = node.axis(node.int("axis", -1), rank_of(x)), node.int("p")
    if p not in (1, 2):
        raise node.invalid(f"p is {p}, expected 1 or 2")

    def of(x: Value) -> Value:
        magnitude = g.reduce(g.abs(x) if p == 1 else g.mul(x, x), [axis], "sum", keepdims=True)
        norm = g.broadcast_to(magnitude if p == 1 else g.sqrt(magnitude), shape_of(x))
        return g.select(g.eq(norm, like(norm, 0)), like(x, 0), g.div(x, norm))

    return in_f32(of, x)
