"""RoiAlign: the mean or the largest of bilinear samples in each cell of regions of an image. He et al. 2017."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import like, plus, times
from mlc.frontends.onnx.ops.grid import neighbours, weighted_taps
from mlc.frontends.onnx.ops.resize import extent_like
from mlc.frontends.onnx.table import Value, handles
from mlc.ir import builder as g
from mlc.ir.dims import Extent
from mlc.ir.types import dtype_of, rank_of, shape_of


@handles("RoiAlign", since=(10, 16, 22))
def roi_align(node: Node, x: Value, rois: Value, batch_indices: Value) -> Value:
    """The average (or maximum) of bilinear samples in each cell of each region. rois [r, 4] are x1, y1, x2, y2."""
    mode, samples = node.string("mode"), node.int("sampling_ratio")
    if mode not in ("avg", "max"):
        raise node.invalid(f"mode '{mode}' is neither avg nor max")
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
        along = [Samples(corners[1 - i], spans[i], cells[i], image[i]) for i in range(2)]
        if mode == "max":
            return largest_samples(g.gather(x, batch_indices, 0), *along)
        rows, across = (adaptive_weights(s) for s in along)
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


@dataclass(frozen=True)
class Samples:
    """The samples of the cells of regions along one axis of n elements, of which a cell has ceil(span / cells), evenly spaced.

    How many that is, only the data tell, but what a pass over them would find has a closed form. All values are f64 [regions, cells, n].
    """

    start: Value
    span: Value
    cells: int
    n: Extent

    @property
    def shape(self) -> list[Extent]:
        return [shape_of(self.span)[0], self.cells, self.n]

    def spread(self, v: Value) -> Value:
        return g.broadcast(g.cast(v, "f64"), self.shape, [0])

    @cached_property
    def count(self) -> Value:
        """How many samples each cell has; 0 where a region has no extent."""
        number = g.ceil(g.div(self.span, like(self.span, self.cells)))
        return self.spread(g.maximum(number, like(self.span, 0)))

    @cached_property
    def safe(self) -> Value:
        """The count where there are samples, else 1."""
        return g.maximum(self.count, like(self.count, 1))

    @cached_property
    def step(self) -> Value:
        """From one sample to the next; 1 where there are none."""
        step = g.div(self.cell, self.safe)
        return g.select(g.gt(step, like(step, 0)), step, like(step, 1))

    @cached_property
    def cell(self) -> Value:
        return times(self.spread(self.span), 1 / self.cells)

    @cached_property
    def first(self) -> Value:
        """The position of the first sample."""
        begin = g.add(self.spread(self.start), g.mul(g.iota(self.shape, 1, "f64"), self.cell))
        return g.add(begin, times(self.step, 0.5))

    @cached_property
    def place(self) -> Value:
        return g.iota(self.shape, 2, "f64")

    @cached_property
    def last(self) -> Value:
        """The last element."""
        return plus(extent_like(self.place, self.n), -1)

    def position(self, number: Value) -> Value:
        return g.add(self.first, g.mul(number, self.step))

    def below(self, point: Value, inclusive: bool) -> Value:
        """The number of samples before a point, or up to it."""
        steps = g.div(g.sub(point, self.first), self.step)
        number = plus(g.floor(steps), 1) if inclusive else g.ceil(steps)
        return g.minimum(g.maximum(number, like(number, 0)), self.count)


def adaptive_weights(samples: Samples) -> Value:
    """What each element counts in the mean of each cell, [regions, cells, n].

    The sum of the distances by which an evenly spaced row of samples lies below a point has a closed form, and linear interpolation is a
    second difference of such sums.
    """
    place, step, first, below = samples.place, samples.step, samples.first, samples.below

    def distances(point: Value) -> Value:
        k = below(point, inclusive=False)
        return g.sub(g.mul(k, g.sub(point, first)), g.mul(step, times(g.mul(k, plus(k, -1)), 0.5)))

    before, here, behind = (distances(plus(place, k)) for k in (-1, 0, 1))
    # rising towards the element: 1 for each sample less what it lacks; falling behind it
    zero = like(place, 0)
    at = below(place, inclusive=True)
    rising = g.add(g.sub(before, here), at)  # over samples in (place - 1, place]
    falling = g.add(g.sub(behind, here), g.neg(at))  # over samples in (place, place + 1)
    # up to one element outside, the element at the edge counts in full
    edge_low = g.sub(at, below(like(place, -1), inclusive=False))
    edge_high = g.sub(below(extent_like(place, samples.n), inclusive=True), at)
    rising = g.select(g.eq(place, zero), edge_low, rising)
    falling = g.select(g.eq(place, samples.last), edge_high, falling)
    return g.div(g.add(rising, falling), samples.safe)


@dataclass(frozen=True)
class Taps:
    """How an element takes part in the samples of a cell along one axis, [regions, cells, n]: the largest and the least weight that it has in
    one, and whether it is in any. inside, outside [regions, cells]: whether a cell has samples in the image, and besides it."""

    most: Value
    least: Value
    used: Value
    inside: Value
    outside: Value


def extreme_weights(samples: Samples) -> Taps:
    """Of the samples that have an element as a tap, the nearest has the largest weight for it and the farthest, on either side, the least."""
    place, zero, last = samples.place, like(samples.place, 0), samples.last
    edge = extent_like(place, samples.n)
    begin = samples.below(like(place, -1), inclusive=False)  # up to one element outside, samples are moved to the edge
    end = plus(samples.below(edge, inclusive=True), -1)
    some = g.le(begin, end)
    at = plus(samples.below(place, inclusive=True), -1)
    reach = g.select(g.le(place, like(place, 1)), like(place, -1), plus(place, -1))
    far = samples.below(reach, inclusive=False)
    close = g.select(g.eq(place, last), end, plus(samples.below(plus(place, 1), inclusive=False), -1))
    most, least = like(place, -1), like(place, 2)
    for number in (at, plus(at, 1), far, close):
        number = g.maximum(g.minimum(number, end), begin)
        position = g.maximum(g.minimum(samples.position(number), last), zero)
        distance = g.abs(g.sub(position, place))
        tap = g.logical_and(g.ge(position, plus(place, -1)), g.lt(position, plus(place, 1)))
        tap = g.logical_and(tap, some)
        weight = plus(g.neg(distance), 1)
        most = g.select(tap, g.maximum(most, weight), most)
        least = g.select(tap, g.minimum(least, weight), least)
    # at the last element both taps are that element, the second with weight 0
    upper = g.maximum(g.minimum(samples.position(g.maximum(end, begin)), last), zero)
    both = g.logical_and(g.logical_and(some, g.eq(place, last)), g.ge(upper, last))
    least = g.select(both, zero, least)
    outside = g.logical_or(g.gt(begin, zero), g.lt(end, plus(samples.count, -1)))
    per_cell = [g.squeeze(g.slice_axis(v, 2, 0, 1), [2]) for v in (some, outside)]
    return Taps(most, least, g.ge(most, zero), *per_cell)


def largest_samples(x: Value, rows: Samples, columns: Samples) -> Value:
    """The largest weighted tap of all samples of each cell, x [regions, channels, y, x] -> [regions, channels, cells, cells].

    A sample has weights of its row and its column: of elements that are positive the largest weights count, of others the least. Samples
    outside of the image are 0.
    """
    regions, channels, height, width = shape_of(x)
    for extent in (height, width):
        g.require_at_least(extent, 1, "the image has elements")
    across, down = extreme_weights(columns), extreme_weights(rows)
    lowest = float("-inf")

    def weighted(v: Value, taps: Taps, axes: Sequence[int]) -> Value:
        most, least, used = (g.broadcast(t, shape_of(v), axes) for t in (taps.most, taps.least, taps.used))
        weight = g.select(g.ge(v, like(v, 0)), g.cast(most, dtype_of(v)), g.cast(least, dtype_of(v)))
        return g.select(used, g.mul(v, weight), like(v, lowest))

    wide = g.broadcast(x, [regions, channels, height, columns.cells, width], [0, 1, 2, 4])
    best = g.reduce(weighted(wide, across, [0, 3, 4]), [4], "max")
    tall = g.broadcast(best, [regions, channels, rows.cells, height, columns.cells], [0, 1, 3, 4])
    y = g.reduce(weighted(tall, down, [0, 2, 3]), [3], "max")
    vertical, horizontal = (
        [g.broadcast(v, shape_of(y), axes) for v in (t.inside, t.outside)]
        for t, axes in ((down, [0, 2]), (across, [0, 3]))
    )
    inside = g.logical_and(vertical[0], horizontal[0])
    outside = g.logical_or(vertical[1], horizontal[1])
    zero = like(y, 0)
    return g.select(inside, g.select(outside, g.maximum(y, zero), y), zero)


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
