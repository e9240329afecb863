"""Matrix products and convolutions: MatMul, Gemm, Einsum, Conv, ConvTranspose and their integer forms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.table import Value, handles
from mlc.frontends.onnx.windows import crop_or_pad, taken_away, window_of
from mlc.ir import builder as g
from mlc.ir.dims import Extent, prod
from mlc.ir.types import dtype_of, is_float, numpy_dtype, rank_of, shape_of, shape_text


@handles("MatMul", since=(1, 9, 13))
def matmul(node: Node, a: Value, b: Value) -> Value:
    return g.matmul(a, b)


@handles("Gemm", since=(7, 9, 11, 13))
def gemm(node: Node, a: Value, b: Value, c: Value | None = None) -> Value:
    """alpha * a' b' + beta * c, c broadcast to the product's shape."""
    return scaled_product(node, a, b, c)


def scaled_product(node: Node, a: Value, b: Value, c: Value | None) -> Value:
    if rank_of(a) != 2 or rank_of(b) != 2:
        raise node.error(f"A has {rank_of(a)} axes and B has {rank_of(b)}, expected 2")
    lhs = "km" if node.int("transA") else "mk"
    rhs = "nk" if node.int("transB") else "kn"
    inner = shape_of(a)[lhs.index("k")], shape_of(b)[rhs.index("k")]
    if all(isinstance(k, int) for k in inner) and inner[0] != inner[1]:
        raise node.error(f"inner dimensions differ, {inner[0]} and {inner[1]}")
    y = scaled(node, g.contract(a, b, f"{lhs},{rhs}->mn"), "alpha")
    if c is None or node.float("beta") == 0:
        return y
    return g.add(y, g.broadcast_to(scaled(node, c, "beta"), shape_of(y)))


def scaled(node: Node, x: Value, attribute: str) -> Value:
    factor = node.float(attribute)
    if factor == 1:
        return x
    if not is_float(dtype_of(x)) and factor != int(factor):
        raise node.unsupported(f"{attribute} = {factor:g} times integers")
    return g.mul(x, g.scalar_like(x, factor))


@handles("Gemm", since=(1, 6))
def gemm_with_broadcast(node: Node, a: Value, b: Value, c: Value) -> Value:
    """C broadcasts only where the attribute says so."""
    y = scaled_product(node, a, b, c)
    if not node.int("broadcast") and shape_of(c) != shape_of(y):
        raise node.error(
            f"C has shape {shape_text(shape_of(c))}, the product {shape_text(shape_of(y))}; broadcast is 0"
        )
    return y


@handles("Einsum", since=(12, 28))
def einsum(node: Node, *xs: Value) -> Value:
    return g.einsum(node.string("equation"), list(xs))


@handles("Conv", since=(1, 11, 22))
def conv(node: Node, x: Value, weight: Value, bias: Value | None = None) -> Value:
    y = convolve(node, x, weight)
    return y if bias is None else g.add(y, per_channel(node, "B", bias, y))


def per_channel(node: Node, name: str, v: Value, x: Value) -> Value:
    """v[c] repeated to x's shape along every axis but the channels, axis 1. `name` is the operand's in an error."""
    check_channels(node, x, **{name: v})
    return g.broadcast(v, shape_of(x), [1])


def check_channels(node: Node, x: Value, **vectors: Value) -> None:
    """Raises ShapeError where one of the operands, by name, has not one element per channel of x, axis 1."""
    channels = shape_of(x)[1]
    for name, v in vectors.items():
        found = shape_of(v)[0] if rank_of(v) == 1 else -1
        if isinstance(found, int) and (found < 0 or (isinstance(channels, int) and found != channels)):
            raise node.error(f"{name} has shape {shape_text(shape_of(v))}, there are {channels} channels")


def convolve(node: Node, x: Value, weight: Value) -> Value:
    """Conv without its bias. x [n, c, spatial...], weight [o, c / group, kernel...]."""
    spatial, kernel = shape_of(x)[2:], static_kernel(node, weight)
    if len(spatial) != len(kernel) or not spatial:
        raise node.error(f"X has {len(spatial)} spatial axes, W has {len(kernel)}")
    window = window_of(node, spatial, kernel)
    return g.convolution(
        x,
        weight,
        channels_first(len(kernel)),
        window.strides,
        window.padding,
        window.dilations,
        groups=node.int("group"),
    )


def channels_first(spatial: int) -> str:
    """ONNX's order of axes: batch, channels, then the spatial axes 0, 1, ..."""
    axes = "".join(str(i) for i in range(spatial))
    return f"nc{axes},oc{axes}->no{axes}"


def static_kernel(node: Node, weight: Value) -> list[int]:
    kernel = shape_of(weight)[2:]
    if not all(isinstance(k, int) for k in kernel):
        raise node.unsupported(f"the kernel's extents {[str(k) for k in kernel]} must be numbers")
    declared = node.ints("kernel_shape", None)
    if declared is not None and list(kernel) != declared:
        raise node.error(f"kernel_shape is {declared}, the weight's kernel is {list(kernel)}")
    return list(kernel)  # type: ignore[arg-type]


@handles("ConvTranspose", since=(1, 11, 22))
def conv_transpose(node: Node, x: Value, weight: Value, bias: Value | None = None) -> Value:
    """A convolution over x with strides - 1 zeros between its elements and the kernel turned around.

    x [n, c, spatial...], weight [c, o / group, kernel...]; each axis has (in - 1) * stride + output_padding + span - low - high results.
    """
    spatial, kernel = shape_of(x)[2:], static_kernel(node, weight)
    if len(spatial) != len(kernel) or not spatial:
        raise node.error(f"X has {len(spatial)} spatial axes, W has {len(kernel)}")
    count = len(kernel)
    strides = node.ints("strides", None) or [1] * count
    dilations = node.ints("dilations", None) or [1] * count
    extra = node.ints("output_padding", None) or [0] * count
    check_lengths(node, count, strides=strides, dilations=dilations, output_padding=extra)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    low, high = transpose_padding(node, spatial, strides, spans, extra)
    groups = node.int("group")
    trimmed = [hi - more for hi, more in zip(high, extra, strict=True)]
    y = transposed_convolution(x, turned_around(node, weight, groups), strides, dilations, low, trimmed, groups)
    return y if bias is None else g.add(y, per_channel(node, "B", bias, y))


def check_lengths(node: Node, count: int, **lists: Sequence[Extent]) -> None:
    """Raises InvalidModel unless each list has one positive entry per spatial axis; pads have two of any sign."""
    for name, values in lists.items():
        wanted = 2 * count if name == "pads" else count
        if len(values) != wanted:
            raise node.invalid(f"{name} has {len(values)} entries for {count} spatial axes")
        if name in ("strides", "dilations") and any(isinstance(v, int) and v < 1 for v in values):
            raise node.invalid(f"{name} {list(values)} must be positive")


def transposed_convolution(
    x: Value,
    weight: Value,
    strides: Sequence[int],
    dilations: Sequence[int],
    low: Sequence[Extent],
    high: Sequence[Extent],
    groups: int,
) -> Value:
    """weight [o, c / groups, kernel...] is turned around already; low and high are what the full result loses at its ends."""
    kernel = [int(k) for k in shape_of(weight)[2:]]  # type: ignore[arg-type]
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    cut = [
        0 if isinstance(lo, int) else lo for lo in low
    ]  # of the result: which taps see an element must not depend on sizes
    padding = [(far - lo + by, far - hi) for far, lo, hi, by in zip(reach, low, high, cut, strict=True)]
    y = g.convolution(x, weight, channels_first(len(kernel)), None, padding, dilations, strides, groups)
    return crop_or_pad(y, [(0, 0), (0, 0), *((-1 * by, 0) for by in cut)], 0)


@handles("Col2Im", since=(18,))
def col2im(node: Node, x: Value, image_shape: Value, block_shape: Value) -> Value:
    """Sum overlapping blocks into an image: x [n, c * block, blocks] -> [n, c, image...].

    A transposed convolution with the identity as its weight puts each element of a block in its place.
    """
    if rank_of(x) != 3:
        raise node.error(f"the input has {rank_of(x)} axes, expected 3")
    batch, columns, blocks = shape_of(x)
    image, block = node.extents(1, "image_shape"), node.constants(2, "block_shape").ravel().tolist()
    count, size = len(block), math.prod(block)
    strides = node.ints("strides", None) or [1] * count
    dilations = node.ints("dilations", None) or [1] * count
    pads = node.ints("pads", None) or [0] * 2 * count
    check_lengths(node, count, image_shape=image, strides=strides, dilations=dilations, pads=pads)
    if not isinstance(columns, int) or size < 1 or columns % size:
        raise node.error(f"{columns} columns do not hold blocks of {size} elements")
    spans = [(b - 1) * d + 1 for b, d in zip(block, dilations, strict=True)]
    padded = [n + lo + hi for n, lo, hi in zip(image, pads[:count], pads[count:], strict=True)]
    counts = [(n - span) // s + 1 for n, span, s in zip(padded, spans, strides, strict=True)]
    g.require_equal(blocks, prod(counts), "blocks of the image")
    x = g.reshape(x, [batch * (columns // size), size, *counts])
    weight = np.flip(np.eye(size, dtype=numpy_dtype(dtype_of(x))).reshape(1, size, *block), tuple(range(2, count + 2)))
    full = [(c - 1) * s + span for c, s, span in zip(counts, strides, spans, strict=True)]
    high = [f - lo - n for f, lo, n in zip(full, pads[:count], image, strict=True)]
    y = transposed_convolution(
        x, g.constant(np.ascontiguousarray(weight), name="fold"), strides, dilations, pads[:count], high, 1
    )
    return g.reshape(y, [batch, columns // size, *image])


def transpose_padding(
    node: Node, spatial: Sequence[Extent], strides: Sequence[int], spans: Sequence[int], extra: Sequence[int]
) -> tuple[list[Extent], list[Extent]]:
    """What ConvTranspose removes at both ends of each spatial axis."""
    auto = node.string("auto_pad")
    given = node.ints("output_shape", None)
    output: Sequence[Extent]
    if given:
        if len(given) < len(spans):
            raise node.invalid(f"output_shape has {len(given)} entries for {len(spans)} spatial axes")
        output = given[-len(spans) :]
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        output = tuple(n * s for n, s in zip(spatial, strides, strict=True))
    elif auto in ("NOTSET", "VALID"):
        zeros = [0] * 2 * len(spans)
        check_lengths(node, len(spans), pads=node.ints("pads", zeros))
        pads: list[Extent] = list(node.ints("pads", zeros) if auto == "NOTSET" else zeros)
        return pads[: len(spans)], pads[len(spans) :]
    else:
        raise node.invalid(f"auto_pad '{auto}' is none of NOTSET, SAME_UPPER, SAME_LOWER, VALID")
    low: list[Extent] = []
    high: list[Extent] = []
    for n, s, span, more, size in zip(spatial, strides, spans, extra, output, strict=True):
        total = (n - 1) * s + more + span - size
        # of a result larger than there is, onnxruntime has the zeros behind
        beyond = taken_away(total)
        smaller = (total + beyond) // 2
        low.append(smaller if auto == "SAME_UPPER" else total + beyond - smaller)
        high.append(total - low[-1])
    return low, high


def turned_around(node: Node, weight: Value, groups: int) -> Value:
    """The weight of the transposed convolution as one of a convolution: [c, o / group, kernel...] -> [o, c / group, kernel reversed...]."""
    inputs, outputs, *kernel = shape_of(weight)
    if not isinstance(inputs, int) or groups < 1 or inputs % groups:
        raise node.error(f"the weight's {inputs} input channels do not form {groups} groups")
    rank = rank_of(weight)
    w = g.reverse(weight, list(range(2, rank)))
    w = g.reshape(w, [groups, inputs // groups, outputs, *kernel])
    w = g.transpose(w, [0, 2, 1, *range(3, rank + 1)])
    return g.reshape(w, [outputs * groups, inputs // groups, *kernel])


def centred(node: Node, x: Value, zero_point: Value | None, index: int, axis: int | None) -> Value:
    """x - zero_point in i32. A zero point with one entry per `axis` of x is aligned with it; a known 0 costs nothing."""
    x = g.cast(x, "i32")
    if zero_point is None:
        return x
    known = node.constant(index)
    if known is not None and not known.any():
        return x
    z = g.cast(zero_point, "i32")
    if rank_of(z) == 1 and shape_of(z) != (1,) and axis is not None:
        z = g.broadcast(z, [n if i == axis % rank_of(x) else 1 for i, n in enumerate(shape_of(x))], [axis % rank_of(x)])
    return g.sub(x, g.broadcast_to(z, shape_of(x)))


@handles("MatMulInteger", since=(10,))
def matmul_integer(
    node: Node, a: Value, b: Value, a_zero_point: Value | None = None, b_zero_point: Value | None = None
) -> Value:
    """i32 product of (a - a_zero_point) and (b - b_zero_point); zero points per tensor, per row of a, per column of b."""
    lhs = centred(node, a, a_zero_point, 2, -2 if rank_of(a) > 1 else None)
    return g.matmul(lhs, centred(node, b, b_zero_point, 3, -1))


@handles("ConvInteger", since=(10,))
def conv_integer(
    node: Node, x: Value, weight: Value, x_zero_point: Value | None = None, w_zero_point: Value | None = None
) -> Value:
    """i32 convolution of the centred operands: the border holds x's zero point."""
    return convolve(node, centred(node, x, x_zero_point, 2, None), centred(node, weight, w_zero_point, 3, 0))
