"""Sampling images at computed positions: GridSample, RoiAlign and DeformConv, as gathers of neighbouring elements with weights."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import like, plus, times
from mlc.frontends.onnx.ops.linear import per_channel
from mlc.frontends.onnx.ops.resize import cubic, extent_like
from mlc.frontends.onnx.table import Value, handles
from mlc.frontends.onnx.windows import Window, window_of
from mlc.ir import builder as g
from mlc.ir.dims import Extent, prod
from mlc.ir.types import dtype_of, rank_of, shape_of

CUBIC_SLOPE = -0.75


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


@handles("RoiAlign", since=(10, 16, 22))
def roi_align(node: Node, x: Value, rois: Value, batch_indices: Value) -> Value:
    """The average (or maximum) of bilinear samples in each cell of each region. rois [r, 4] are x1, y1, x2, y2."""
    mode, samples = node.string("mode"), node.int("sampling_ratio")
    if mode not in ("avg", "max"):
        raise node.invalid(f"mode '{mode}' is neither avg nor max")
    if samples <= 0 and mode == "max":
        raise node.unsupported("the largest of as many samples as each region's size asks for (sampling_ratio 0)")
    for name, v, rank in (("X", x, 4), ("rois", rois, 2), ("batch_indices", batch_indices, 1)):
        if rank_of(v) != rank:
            raise node.error(f"{name} has {rank_of(v)} axes, expected {rank}")
    half_pixel = node.version >= 16 and node.string("coordinate_transformation_mode") == "half_pixel"
    image = shape_of(x)[2:]
    count, channels = shape_of(rois)[0], shape_of(x)[1]
    cells = (node.int("output_height"), node.int("output_width"))
    points = (cells[0] * samples, cells[1] * samples)
    shape = [count, *points]
    offset = -0.5 if half_pixel else 0.0
    corners = [plus(times(v, node.float("spatial_scale")), offset) for v in columns(rois)]
    spans = [g.sub(corners[3 - i], corners[1 - i]) for i in range(2)]
    if not half_pixel:
        spans = [g.maximum(span, like(span, 1)) for span in spans]
    if samples <= 0:
        rows, across = (adaptive_weights(corners[1 - i], spans[i], cells[i], image[i]) for i in range(2))
        y = g.contract(g.cast(rows, dtype_of(x)), g.gather(x, batch_indices, 0), "rpy,rcyx->rcpx")
        return g.contract(y, g.cast(across, dtype_of(x)), "rcpx,rqx->rcpq")
    axes = []
    valid: Value | None = None
    for i, n in enumerate(image):
        start, span = corners[1 - i], spans[i]
        step = g.broadcast(g.div(span, like(span, points[i])), shape, [0])
        index = g.iota(shape, 1 + i, dtype_of(x))
        position = g.add(g.broadcast(start, shape, [0]), g.mul(plus(index, 0.5), step))
        position = g.reshape(position, [count, points[0] * points[1]])
        inside = g.logical_and(g.ge(position, like(position, -1)), g.le(position, extent_like(position, n)))
        valid = inside if valid is None else g.logical_and(valid, inside)
        zero, last = like(position, 0), plus(extent_like(position, n), -1)
        axes.append(neighbours(g.maximum(g.minimum(position, last), zero), "linear"))
    assert valid is not None
    chosen = g.gather(x, batch_indices, 0)
    merge: Callable[[Value], Value] = (
        (lambda v: g.mean(v, [3, 5])) if mode == "avg" else (lambda v: g.reduce(v, [3, 5], "max"))
    )
    y = weighted_taps(chosen, axes, masked=False) if mode == "avg" else largest_tap(chosen, axes)
    y = g.select(g.broadcast(valid, shape_of(y), [0, 2]), y, like(y, 0))
    return merge(g.reshape(y, [count, channels, cells[0], samples, cells[1], samples]))


def adaptive_weights(start: Value, span: Value, cells: int, n: Extent) -> Value:
    """What each of n elements counts in the mean of each cell along one axis, [regions, cells, n] of f64.

    A cell has ceil(span / cells) samples, evenly spaced. How many that is, only the data tell; but the sum of the distances by which an
    evenly spaced row of samples lies below a point has a closed form, and linear interpolation is a second difference of such sums.
    """
    (regions,) = shape_of(span)
    shape = [regions, cells, n]

    def spread(v: Value) -> Value:
        return g.broadcast(g.cast(v, "f64"), shape, [0])

    samples = g.maximum(g.ceil(g.div(span, like(span, cells))), like(span, 0))
    count = spread(samples)
    safe = g.maximum(count, like(count, 1))
    cell = times(spread(span), 1 / cells)
    step = g.div(cell, safe)
    step = g.select(g.gt(step, like(step, 0)), step, like(step, 1))  # a region without extent has no samples
    first = g.add(g.add(spread(start), g.mul(g.iota(shape, 1, "f64"), cell)), times(step, 0.5))
    place = g.iota(shape, 2, "f64")

    def below(point: Value, inclusive: bool) -> Value:
        """The number of samples before a point, or up to it."""
        steps = g.div(g.sub(point, first), step)
        number = plus(g.floor(steps), 1) if inclusive else g.ceil(steps)
        return g.minimum(g.maximum(number, like(number, 0)), count)

    def distances(point: Value) -> Value:
        k = below(point, inclusive=False)
        return g.sub(g.mul(k, g.sub(point, first)), g.mul(step, times(g.mul(k, plus(k, -1)), 0.5)))

    before, here, behind = (distances(plus(place, k)) for k in (-1, 0, 1))
    # rising towards the element: 1 for each sample less what it lacks; falling behind it
    last, zero = plus(extent_like(place, n), -1), like(place, 0)
    at = below(place, inclusive=True)
    rising = g.add(g.sub(before, here), at)  # over samples in (place - 1, place]
    falling = g.add(g.sub(behind, here), g.neg(at))  # over samples in (place, place + 1)
    # up to one element outside, the element at the edge counts in full
    edge_low = g.sub(at, below(like(place, -1), inclusive=False))
    edge_high = g.sub(below(extent_like(place, n), inclusive=True), at)
    rising = g.select(g.eq(place, zero), edge_low, rising)
    falling = g.select(g.eq(place, last), edge_high, falling)
    return g.div(g.add(rising, falling), safe)


def largest_tap(x: Value, axes: Sequence[Sequence[tuple[Value, Value | None]]]) -> Value:
    """The largest weighted tap instead of their sum."""
    best: Value | None = None
    for combination in itertools.product(*axes):
        one = weighted_taps(x, [[tap] for tap in combination], masked=False)
        best = one if best is None else g.maximum(best, one)
    assert best is not None
    return best


def columns(rois: Value) -> list[Value]:
    count = shape_of(rois)[0]
    return [g.squeeze(g.slice(rois, [0, i], [count, 1], [1, 1]), [1]) for i in range(4)]


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
