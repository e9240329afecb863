"""Pooling over windows and over whole images, and the reverse of max-pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import in_f32, like
from mlc.frontends.onnx.ops.linear import check_lengths
from mlc.frontends.onnx.ops.normalization import widened
from mlc.frontends.onnx.ops.resize import settled
from mlc.frontends.onnx.table import Value, handles
from mlc.frontends.onnx.windows import Window, crop_or_pad, pad_window, window_of
from mlc.ir import builder as g
from mlc.ir.dims import Extent, prod
from mlc.ir.types import dtype_of, lowest, rank_of, shape_of


def pooling_window(node: Node, x: Value) -> Window:
    spatial, kernel = shape_of(x)[2:], node.ints("kernel_shape")
    if len(spatial) != len(kernel):
        raise node.error(f"X has {len(spatial)} spatial axes, kernel_shape has {len(kernel)}")
    return window_of(node, spatial, kernel, ceil_mode=bool(node.int("ceil_mode", 0)), pools=True)


def reduce_spatial(x: Value, kind: str, window: Window) -> Value:
    """reduce_window over the last axes of x; padding and overhang count as the identity."""
    window = window.with_overhang()
    if window.crops:
        x, window = pad_window(x, window, lowest(dtype_of(x)) if kind == "max" else 0)
    return g.reduce_window(x, kind, *over_all_axes(rank_of(x), window))


def over_all_axes(rank: int, window: Window) -> tuple[list[int], list[int], list[tuple[Extent, Extent]], list[int]]:
    """Window, strides, padding and dilations with the axes before the spatial ones left alone."""
    outer = rank - len(window.kernel)
    return (
        [1] * outer + list(window.kernel),
        [1] * outer + list(window.strides),
        [(0, 0)] * outer + list(window.padding),
        [1] * outer + list(window.dilations),
    )


@handles("MaxPool", since=(1, 8, 10, 11, 12, 22))
def max_pool(node: Node, x: Value) -> Sequence[Value | None]:
    window = pooling_window(node, x)
    values = reduce_spatial(x, "max", window)
    return [values, max_positions(node, x, values, window) if node.wants(1) else None]


def max_positions(node: Node, x: Value, values: Value, window: Window) -> Value:
    """Flat position in the whole of x of each window's maximum, -1 of none; storage_order = 1 counts the first spatial axis fastest."""
    window = window.with_overhang()
    if window.crops:
        raise node.unsupported("output Indices with negative pads")
    windows = over_all_axes(rank_of(x), window)
    places, inside = g.positions_of(g.window_place(x, values, *windows), shape_of(x), *windows)
    places = g.select(inside, places, like(places, -1))
    return column_major(places, shape_of(x)[2:]) if node.int("storage_order", 0) == 1 else places


def column_major(places: Value, spatial: Sequence[Extent]) -> Value:
    """Flat positions whose part within `spatial` is counted with the first axis fastest."""

    def everywhere(extent: Extent) -> Value:
        return g.broadcast(g.dimension(extent), shape_of(places), [])

    total = like(places, 0)
    for axis in reversed(range(len(spatial))):
        total = g.add(total, g.mul(g.mod(places, everywhere(spatial[axis])), everywhere(prod(spatial[:axis]))))
        places = g.div(places, everywhere(spatial[axis]))
    return g.add(total, g.mul(places, everywhere(prod(spatial))))


@handles("AveragePool", since=(1, 7, 10, 11, 19, 22))
def average_pool(node: Node, x: Value) -> Value:
    """Sum over each window by the number of elements in it; padding is counted with count_include_pad, overhang of ceil_mode never."""
    window, padding_counts = pooling_window(node, x), bool(node.int("count_include_pad", 0))
    total = reduce_spatial(widened(x), "sum", window)
    if padding_counts and node.version < 19 and not node.int("ceil_mode", 0):
        # a window larger than the axis: onnxruntime counts all of it up to opset 18, and what is inside from there on
        window = replace(window, overhang=(0,) * len(window.kernel))
    return g.cast(divided_by_counts(total, shape_of(x)[2:], window, padding_counts), dtype_of(x))


def divided_by_counts(total: Value, spatial: Sequence[Extent], window: Window, include_padding: bool) -> Value:
    """Counts are a product of one factor per axis."""
    dtype, shape = dtype_of(total), shape_of(total)
    constant = 1
    factors = []
    for i, n in enumerate(spatial):
        (low, high), over = window.padding[i], window.overhang[i]
        padded: tuple[Extent, Extent] = (0, 0)
        if include_padding:
            n, low, high = n + low + high, 0, 0
        padded = (low, high + over)
        if padded == (0, 0):
            constant *= window.kernel[i]
            continue
        ones = crop_or_pad(g.full([n], 1, dtype), [padded], 0)
        counts = g.reduce_window(ones, "sum", [window.kernel[i]], [window.strides[i]], [(0, 0)], [window.dilations[i]])
        factors.append(g.broadcast(settled(counts), shape, [len(shape) - len(spatial) + i]))
    for counts in factors:
        total = g.div(total, counts)
    return g.div(total, like(total, constant)) if constant != 1 else total


@handles("LpPool", since=(2, 11, 18, 22))
def lp_pool(node: Node, x: Value) -> Value:
    p = norm_order(node)
    return in_f32(lambda wide: root(reduce_spatial(power(wide, p), "sum", pooling_window(node, wide)), p), x)


def norm_order(node: Node) -> int:
    p = node.int("p")
    if p < 1:
        raise node.invalid(f"p is {p}, expected at least 1")
    return p


def power(x: Value, p: int) -> Value:
    """|x| ** p."""
    return g.abs(x) if p == 1 else g.mul(x, x) if p == 2 else g.pow(g.abs(x), like(x, p))


def root(x: Value, p: int) -> Value:
    return x if p == 1 else g.sqrt(x) if p == 2 else g.pow(x, like(x, 1 / p))


@handles("GlobalAveragePool", since=(1, 22))
def global_average_pool(node: Node, x: Value) -> Value:
    return g.mean(x, list(range(2, rank_of(x))), keepdims=True)


@handles("GlobalMaxPool", since=(1, 22))
def global_max_pool(node: Node, x: Value) -> Value:
    return g.reduce(x, list(range(2, rank_of(x))), "max", keepdims=True)


@handles("GlobalLpPool", since=(2, 22))
def global_lp_pool(node: Node, x: Value) -> Value:
    p = norm_order(node)
    axes = list(range(2, rank_of(x)))
    return in_f32(lambda wide: root(g.reduce(power(wide, p), axes, "sum", keepdims=True), p), x)


@handles("MaxUnpool", since=(9, 11, 22))
def max_unpool(node: Node, x: Value, indices: Value, output_shape: Value | None = None) -> Value:
    """Zeros with x's values at flat positions in the tensor that was pooled.

    Its shape is output_shape, no smaller than the one that kernel, strides and pads lead to, else that one. As onnxruntime has it, the positions
    count in the result.
    """
    shape = shape_of(x)
    kernel = node.ints("kernel_shape")
    count = len(kernel)
    strides, pads = node.ints("strides", [1] * count), node.ints("pads", [0] * 2 * count)
    check_lengths(node, len(shape) - 2, kernel_shape=kernel, strides=strides, pads=pads)
    inferred = [
        *shape[:2],
        *((n - 1) * s + k - lo - hi
          for n, s, k, lo, hi in zip(shape[2:], strides, kernel, pads[:count], pads[count:], strict=True)),
    ]  # fmt: skip
    wanted = inferred if output_shape is None else node.extents(2, "output_shape")
    if len(wanted) != len(inferred):
        raise node.error(f"output_shape has {len(wanted)} entries, X has {len(inferred)} axes")
    for axis, (found, least) in enumerate(zip(wanted, inferred, strict=True)):
        if axis < 2:
            g.require_equal(found, least, f"axis {axis} of output_shape")
        else:
            g.require_at_least(found, least, f"axis {axis} of output_shape")
    flat = g.full([prod(wanted)], 0, dtype_of(x))
    size = prod(shape)
    flat = g.scatter_elements(flat, g.reshape(indices, [size]), g.reshape(x, [size]), 0, "set")
    return g.reshape(flat, wanted)
