"""Sampling images at computed positions: AffineGrid, GridSample and DeformConv, as gathers of neighbouring elements with weights."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import like, plus, times
from mlc.frontends.onnx.ops.linear import per_channel
from mlc.frontends.onnx.ops.resize import cubic, extent_like
from mlc.frontends.onnx.table import Value, handles
from mlc.frontends.onnx.windows import Window, window_of
from mlc.ir import builder as g
from mlc.ir.dims import Extent, prod
from mlc.ir.types import dtype_of, rank_of, shape_of, shape_text

CUBIC_SLOPE = -0.75


@handles("AffineGrid", since=(20,))
def affine_grid(node: Node, theta: Value, size: Value) -> Value:
    """The positions of an image's pixels, each axis of which spans [-1, 1], under the affine map theta [n, k, k + 1] of each image.

    size is [n, c, d1..dk]; the result [n, d1..dk, k] holds (x, y, ...), the last image axis first. An axis of one pixel has it at 1 with
    aligned corners, as onnxruntime has it, and else in the middle.
    """
    batch, _, *image = image_size(node, node.extents(1, "size"))
    count, aligned = len(image), bool(node.int("align_corners"))
    if rank_of(theta) != 3 or shape_of(theta)[1:] != (count, count + 1):
        raise node.error(f"theta has shape {shape_text(shape_of(theta))}, expected [N, {count}, {count + 1}]")
    g.require_equal(shape_of(theta)[0], batch, "images of theta and of size")
    wide = "f64" if dtype_of(theta) == "f64" else "f32"
    columns = [unit_line(image, axis, aligned, wide) for axis in reversed(range(count))]
    columns.append(g.full(image, 1, wide))
    places = g.concatenate([g.reshape(column, [prod(image), 1]) for column in columns], 1)
    grid = g.contract(places, g.cast(theta, wide), "pj,nij->npi")
    return g.reshape(g.cast(grid, dtype_of(theta)), [batch, *image, count])


def image_size(node: Node, size: Sequence[Extent]) -> Sequence[Extent]:
    if len(size) not in (4, 5):
        raise node.error(f"size has {len(size)} elements, expected 4 (N, C, H, W) or 5 (N, C, D, H, W)")
    for extent in size:
        if isinstance(extent, int) and extent < 0:
            raise node.error(f"size holds {extent}")
    return size


def unit_line(image: Sequence[Extent], axis: int, aligned: bool, dtype: str) -> Value:
    """Where each pixel of an image lies along one axis: from -1 to 1 (aligned corners) or from -1 + 1/n to 1 - 1/n."""
    place, n = g.iota(image, axis, dtype), image[axis]
    length = extent_like(place, n)
    if not aligned:
        return plus(g.div(plus(times(place, 2), 1), length), -1)
    if n == 1:
        return like(place, 1)
    line = plus(g.div(times(place, 2), plus(g.maximum(length, like(place, 2)), -1)), -1)
    return line if isinstance(n, int) else g.select(g.eq(length, like(place, 1)), like(place, 1), line)


@handles("GridSample", since=(16, 20, 22))
def grid_sample(node: Node, x: Value, grid: Value) -> Value:
    """x [n, c, d1..dk] at grid [n, o1..ok, k], whose last axis holds (x, y, ...) in [-1, 1], the last image axis first."""
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(node.string("mode"), node.string("mode"))
    border = node.string("padding_mode")
    aligned = bool(node.int("align_corners"))
    if rank_of(x) < 3 or rank_of(grid) != rank_of(x):
        raise node.error(f"X has {rank_of(x)} axes and the grid {rank_of(grid)}")
    batch, channels, *image = shape_of(x)
    results = shape_of(grid)[1:-1]
    grid = g.fitted(grid, [batch, *results, len(image)], f"{node.title}: grid")
    if shape_of(grid)[-1] != len(image):
        raise node.error(f"the grid has {shape_of(grid)[-1]} coordinates, X has {len(image)} spatial axes")
    if mode not in ("linear", "nearest", "cubic"):
        raise node.invalid(f"mode '{mode}' is none of linear, nearest, cubic")
    if border not in ("zeros", "border", "reflection"):
        raise node.invalid(f"padding_mode '{border}' is none of zeros, border, reflection")
    count = prod(results)
    grid = g.cast(g.reshape(grid, [batch, count, len(image)]), dtype_of(x))

    axes = []
    for i, n in enumerate(image):
        unit = g.squeeze(g.slice(grid, [0, 0, len(image) - 1 - i], [batch, count, 1], [1, 1, 1]), [2])
        position = pixel_position(unit, n, aligned)
        if mode != "cubic":
            position = folded(position, n, border, aligned)
        axes.append([(folded(p, n, border, aligned), w) for p, w in neighbours(position, mode)])
    y = weighted_taps(x, axes, masked=border == "zeros")
    return g.reshape(y, [batch, channels, *results])


def pixel_position(unit: Value, n: Extent, aligned: bool) -> Value:
    """[-1, 1] to [0, n - 1] (aligned corners) or to [-1/2, n - 1/2]."""
    size = extent_like(unit, n)
    if aligned:
        return times(g.mul(plus(unit, 1), plus(size, -1)), 0.5)
    return times(plus(g.mul(plus(unit, 1), size), -1), 0.5)


def folded(position: Value, n: Extent, border: str, aligned: bool) -> Value:
    """A position outside the image brought back: to the edge, or mirrored at it. With `zeros` it stays."""
    zero, last = like(position, 0), plus(extent_like(position, n), -1)
    if border == "zeros":
        return position
    if border == "reflection":
        low, high = (zero, last) if aligned else (like(position, -0.5), plus(last, 0.5))
        span = g.sub(high, low)
        safe = g.select(g.eq(span, zero), like(span, 1), span)
        # A triangle wave of period 2 * span; an image of one pixel has span 0 and only its edge.
        phase = g.mod(g.sub(position, low), times(safe, 2))
        mirrored = g.add(low, g.sub(safe, g.abs(g.sub(phase, safe))))
        position = g.select(g.eq(span, zero), zero, mirrored)
        inside = g.logical_and(g.ge(position, low), g.le(position, high))
        return g.select(inside, position, zero)
    return g.maximum(g.minimum(position, last), zero)


def neighbours(position: Value, mode: str) -> list[tuple[Value, Value | None]]:
    """(place, weight) of the taps around each position along one axis."""
    if mode == "nearest":
        return [(g.round(position), None)]
    base = g.floor(position)
    fraction = g.sub(position, base)
    if mode == "linear":
        return [(base, plus(g.neg(fraction), 1)), (plus(base, 1), fraction)]
    return [(plus(base, k), cubic(g.abs(plus(g.neg(fraction), k)), CUBIC_SLOPE)) for k in (-1, 0, 1, 2)]


def weighted_taps(x: Value, axes: Sequence[Sequence[tuple[Value, Value | None]]], masked: bool) -> Value:
    """Sum over all combinations of taps. x [n, c, image...]; places and weights [n, points]; result [n, c, points].

    Places are clipped to the image; where `masked`, those outside count as 0.
    """
    batch, channels, *image = shape_of(x)
    flat = g.reshape(x, [batch, channels, prod(image)])
    prepared = [[clipped_tap(*tap, n, masked) for tap in taps] for taps, n in zip(axes, image, strict=True)]
    total: Value | None = None
    for combination in itertools.product(*prepared):
        place: Value | None = None
        weight: Value | None = None
        for (p, w), n in zip(combination, image, strict=True):
            place = p if place is None else g.add(g.mul(place, extent_like(place, n)), p)
            weight = w if weight is None else weight if w is None else g.mul(weight, w)
        assert place is not None
        shape = [batch, channels, shape_of(place)[1]]
        taps = g.gather_elements(flat, g.broadcast(place, shape, [0, 2]), 2)
        if weight is not None:
            taps = g.mul(taps, g.broadcast(weight, shape, [0, 2]))
        total = taps if total is None else g.add(total, taps)
    assert total is not None
    return total


def clipped_tap(place: Value, weight: Value | None, n: Extent, masked: bool) -> tuple[Value, Value | None]:
    zero, last = like(place, 0), plus(extent_like(place, n), -1)
    if masked:
        inside = g.logical_and(g.ge(place, zero), g.le(place, last))
        weight = g.select(inside, like(place, 1) if weight is None else weight, zero)
    return g.cast(g.maximum(g.minimum(place, last), zero), "i64"), weight


@handles("DeformConv", since=(19, 22))
def deform_conv(
    node: Node, x: Value, weight: Value, offset: Value, bias: Value | None = None, mask: Value | None = None
) -> Value:
    """A convolution whose taps are moved by offsets and interpolated, each weighted by the mask. Dai et al. 2017, Zhu et al. 2019.

    offset [n, groups * taps * axes, results...], mask [n, groups * taps, results...]; outside the image is 0.
    """
    if not rank_of(x) == rank_of(weight) == rank_of(offset) >= 3:
        raise node.error(f"X, W and offset have {rank_of(x)}, {rank_of(weight)} and {rank_of(offset)} axes")
    batch, channels, *image = shape_of(x)
    outputs, _, *kernel = (static(node, e, "W") for e in shape_of(weight))
    window = window_of(node, image, kernel)
    groups, offset_groups = node.int("group"), node.int("offset_group")
    results = shape_of(offset)[2:]
    taps, points = math.prod(kernel), prod(results)
    count = len(kernel)
    channels = static(node, channels, "X")
    if channels % offset_groups or channels % groups or outputs % groups:
        raise node.error(
            f"{channels} and {outputs} channels do not form {groups} groups and {offset_groups} offset groups"
        )
    moves = g.reshape(offset, [batch, offset_groups, taps, count, *results])
    shape = (batch, taps, *results)
    sampled = []
    for group in range(offset_groups):
        axes = []
        for i in range(count):
            places = regular_places(shape, i, kernel, window, dtype_of(x))
            one = g.slice(moves, [0, group, 0, i, *[0] * count], [batch, 1, taps, 1, *results], [1] * (count + 4))
            places = g.reshape(g.add(places, g.reshape(one, shape)), [batch, taps * points])
            axes.append(neighbours(places, "linear"))
        part = channels // offset_groups
        values = weighted_taps(g.slice_axis(x, 1, group * part, part), axes, masked=True)
        if mask is not None:
            factor = g.reshape(g.slice_axis(mask, 1, group * taps, taps), [batch, taps * points])
            values = g.mul(values, g.broadcast(factor, shape_of(values), [0, 2]))
        sampled.append(values)
    values = g.reshape(g.concatenate(sampled, 1), [batch, groups, channels // groups, taps, points])
    w = g.reshape(weight, [groups, outputs // groups, channels // groups, taps])
    y = g.reshape(g.contract(values, w, "ngckp,gock->ngop"), [batch, outputs, *results])
    return y if bias is None else g.add(y, per_channel(node, "B", bias, y))


def static(node: Node, extent: Extent, name: str) -> int:
    if not isinstance(extent, int):
        raise node.unsupported(f"the symbolic extent {extent} of {name}")
    return extent


def regular_places(shape: Sequence[Extent], i: int, kernel: Sequence[int], window: Window, dtype: str) -> Value:
    """Where the taps of a plain convolution lie along image axis i; shape is [batch, taps, results...]."""
    result = g.iota(shape, 2 + i, dtype)
    tap = g.iota(shape, 1, "i64")
    tap = g.mod(g.div(tap, like(tap, math.prod(kernel[i + 1 :]))), like(tap, kernel[i]))
    start = plus(times(result, window.strides[i]), -int(window.padding[i][0]))  # type: ignore[arg-type]
    return g.add(start, times(g.cast(tap, dtype), window.dilations[i]))
