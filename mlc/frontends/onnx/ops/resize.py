"""Resampling: Resize and Upsample, one axis after the other, each result element a weighted sum of a few taps.

    y[i] = sum over k of weight[k, i] * x[clip(floor(position[i]) + first + k)]

Nearest is one tap without a weight, linear two, cubic four, and an antialiased filter as many as its stretched support reaches.
Positions are built as f64 ops, so one formula serves numbers and symbolic sizes; where sizes are numbers they become constants.
Nearest by a whole factor is no gather at all: every element is repeated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from mlc.frontends.onnx.folding import constant_value
from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import like, plus, times
from mlc.frontends.onnx.table import Value, handles
from mlc.ir import builder as g
from mlc.ir.dims import Extent, floordiv
from mlc.ir.types import dtype_of, rank_of, shape_of
from mlc.ir.weights import WeightStore

TRANSFORMS = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
)


@dataclass(frozen=True)
class Axis:
    """One resized axis: its extents, scale (None: result / source, a ratio of symbolic extents) and region of interest."""

    index: int
    source: Extent
    result: Extent
    scale: float | None
    start: float = 0.0
    end: float = 1.0


@dataclass(frozen=True)
class Method:
    """How positions and weights come about; the attributes of Resize."""

    mode: str
    transform: str
    nearest: str = "round_prefer_floor"
    cubic: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False
    extrapolation: float = 0.0


@handles("Upsample", since=(7,))
def upsample_attribute(node: Node, x: Value) -> Value:
    return resized(
        node,
        x,
        scaled_axes(node, x, node.finite(node.floats("scales"), "scale"), range(rank_of(x))),
        early_method(node),
    )


@handles("Upsample", since=(9,))
@handles("Resize", since=(10,))
def resize_by_scales(node: Node, x: Value, scales: Value) -> Value:
    factors = node.finite(node.constants(1, "scales"), "scale")
    return resized(node, x, scaled_axes(node, x, factors, range(rank_of(x))), early_method(node))


def early_method(node: Node) -> Method:
    """Before version 11: positions are i / scale; nearest takes the floor when it enlarges and the ceiling when it shrinks."""
    mode = node.string("mode")
    return Method(mode="linear" if mode in ("linear", "bilinear") else mode, transform="asymmetric", nearest="simple")


@handles("Resize", since=(11, 13, 18, 19))
def resize(
    node: Node, x: Value, roi: Value | None = None, scales: Value | None = None, sizes: Value | None = None
) -> Value:
    method = Method(
        mode=node.string("mode"),
        transform=node.string("coordinate_transformation_mode"),
        nearest=node.string("nearest_mode"),
        cubic=node.float("cubic_coeff_a"),
        exclude_outside=bool(node.int("exclude_outside")),
        antialias=bool(node.int("antialias", 0)),
        extrapolation=node.float("extrapolation_value"),
    )
    if method.transform not in TRANSFORMS:
        raise node.invalid(f"coordinate_transformation_mode '{method.transform}' is not known")
    rank = rank_of(x)
    indices = list(node.ints("axes", None) or range(rank))
    if any(not -rank <= axis < rank for axis in indices):
        raise node.invalid(f"axes {indices} are not all of the {rank} axes")
    indices = [axis % rank for axis in indices]
    regions = [(0.0, 1.0)] * len(indices)
    if method.transform == "tf_crop_and_resize":
        bounds = node.finite(node.constants(1, "roi"), "roi")
        if len(bounds) != 2 * len(indices):
            raise node.error(f"roi has {len(bounds)} entries for {len(indices)} axes")
        regions = list(zip(bounds[: len(indices)], bounds[len(indices) :], strict=True))
    known = node.constant(2)
    if node.given(3) and (not node.given(2) or (known is not None and known.size == 0)):
        axes = sized_axes(node, x, node.extents(3, "sizes"), indices, regions)
    else:
        axes = scaled_axes(node, x, node.finite(node.constants(2, "scales"), "scale"), indices, regions)
    return resized(node, x, axes, method)


def scaled_axes(
    node: Node,
    x: Value,
    scales: Sequence[float],
    indices: Sequence[int],
    regions: Sequence[tuple[float, float]] | None = None,
) -> list[Axis]:
    """result = floor(source * (end - start) * scale)."""
    regions = regions or [(0.0, 1.0)] * len(indices)
    if len(scales) != len(indices):
        raise node.error(f"{len(scales)} scales are given for {len(indices)} axes")
    shape = shape_of(x)
    axes = []
    for i, scale, (start, end) in zip(indices, scales, regions, strict=True):
        if not scale > 0:
            raise node.error(f"scale {scale:g} of axis {i} is not positive")
        axes.append(Axis(i, shape[i], scaled_extent(node, shape[i], scale * (end - start)), scale, start, end))
    return axes


def scaled_extent(node: Node, n: Extent, factor: float) -> Extent:
    """floor(n * factor), the product rounded to f32 as onnxruntime does: ten times 1.3, which f32 has slightly below, are thirteen.

    A symbolic extent is multiplied by the fraction that f32 rounds to the factor, the first that small denominators have.
    """
    if isinstance(n, int):
        with np.errstate(over="ignore"):  # whole refuses what is beyond
            return node.whole(float(np.float32(n) * np.float32(factor)), "the extent")
    fraction = exact = Fraction(float(np.float32(factor)))
    for largest in (64, 1024, 16384):
        fraction = exact.limit_denominator(largest)
        if np.float32(fraction.numerator / fraction.denominator) == np.float32(factor):
            break
    else:
        fraction = exact
    return floordiv(n * fraction.numerator, fraction.denominator)


def sized_axes(
    node: Node, x: Value, sizes: Sequence[Extent], indices: Sequence[int], regions: Sequence[tuple[float, float]]
) -> list[Axis]:
    if len(sizes) != len(indices):
        raise node.error(f"{len(sizes)} sizes are given for {len(indices)} axes")
    shape = shape_of(x)
    policy = node.string("keep_aspect_ratio_policy", "stretch")
    if policy not in ("stretch", "not_larger", "not_smaller"):
        raise node.invalid(f"keep_aspect_ratio_policy '{policy}' is none of stretch, not_larger, not_smaller")
    if policy == "stretch":
        return [
            Axis(i, shape[i], size, ratio(size, shape[i]), *region)
            for i, size, region in zip(indices, sizes, regions, strict=True)
        ]
    ratios = [ratio(size, shape[i]) for i, size in zip(indices, sizes, strict=True)]
    if any(r is None for r in ratios):
        raise node.unsupported(f"keep_aspect_ratio_policy '{policy}' with symbolic extents")
    scale = (min if policy == "not_larger" else max)(r for r in ratios if r is not None)
    return [
        Axis(i, shape[i], math.floor(scale * int(shape[i]) + 0.5), scale, *region)  # type: ignore[arg-type]
        for i, region in zip(indices, regions, strict=True)
    ]


def ratio(result: Extent, source: Extent) -> float | None:
    """result / source where that is one number for every size."""
    if isinstance(result, int) and isinstance(source, int):
        return result / source if source else 1.0
    return next((float(k) for k in range(1, 33) if result == source * k), None)


def resized(node: Node, x: Value, axes: Sequence[Axis], method: Method) -> Value:
    if method.mode not in ("nearest", "linear", "cubic"):
        raise node.invalid(f"mode '{method.mode}' is none of nearest, linear, cubic")
    dtype = dtype_of(x)
    crops = method.transform == "tf_crop_and_resize"
    moving = [a for a in axes if crops or a.scale != 1 or a.source != a.result]
    if method.mode == "nearest":
        for axis in moving:
            count = repetitions(axis, method)
            if count is None:
                x = g.gather(x, settled(nearest_positions(node, axis, method)), axis.index)
            else:
                x = repeated(x, axis.index, count)
    elif moving:
        y = g.cast(x, "f64" if dtype == "f64" else "f32")
        for axis in moving:
            y = interpolated(node, y, axis, method)
        x = g.cast(y, dtype)
    return outside_replaced(x, moving, method) if crops else x


def repetitions(axis: Axis, method: Method) -> int | None:
    """The whole factor by which nearest repeats elements: where position i rounds to i // factor, with no tie."""
    if axis.scale is None or axis.scale != int(axis.scale) or axis.result != axis.source * int(axis.scale):
        return None
    centred = method.transform in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric")
    if centred and method.nearest in ("round_prefer_floor", "round_prefer_ceil"):
        return int(axis.scale)
    return int(axis.scale) if method.transform == "asymmetric" and method.nearest in ("floor", "simple") else None


def repeated(x: Value, axis: int, count: int) -> Value:
    """numpy.repeat along an axis."""
    shape = shape_of(x)
    wide = [*shape[: axis + 1], count, *shape[axis + 1 :]]
    x = g.broadcast(x, wide, [i for i in range(len(wide)) if i != axis + 1])
    return g.reshape(x, [*shape[:axis], shape[axis] * count, *shape[axis + 1 :]])


def settled(v: Value) -> Value:
    """A value that depends on no symbol, as the constant it is."""
    array = constant_value(v, WeightStore(), {})
    return v if array is None else g.constant(array)


def extent_like(x: Value, extent: Extent) -> Value:
    """An extent in x's type and shape."""
    if isinstance(extent, int):
        return like(x, extent)
    return g.broadcast(g.cast(g.dimension(extent), dtype_of(x)), shape_of(x), [])


def source_positions(axis: Axis, method: Method) -> Value:
    """Where each result element lies in the source, as f64 [result]."""
    i = g.iota([axis.result], 0, "f64")

    def by_scale(v: Value) -> Value:
        if axis.scale is not None:
            return g.div(v, like(v, axis.scale))
        return g.div(g.mul(v, extent_like(v, axis.source)), extent_like(v, axis.result))

    match method.transform:
        case "asymmetric":
            return by_scale(i)
        case "tf_half_pixel_for_nn":
            return by_scale(plus(i, 0.5))
        case "half_pixel":
            return plus(by_scale(plus(i, 0.5)), -0.5)
        case "pytorch_half_pixel":
            centred = plus(by_scale(plus(i, 0.5)), -0.5)
            return g.select(g.gt(extent_like(i, axis.result), like(i, 1)), centred, like(i, 0))
        case "half_pixel_symmetric":
            # The centre of the source is the centre of the result although its extent was rounded down.
            exact = (
                extent_like(i, axis.result) if axis.scale is None else times(extent_like(i, axis.source), axis.scale)
            )
            adjustment = g.div(extent_like(i, axis.result), exact)
            offset = g.mul(times(extent_like(i, axis.source), 0.5), g.sub(like(i, 1), adjustment))
            return g.add(offset, plus(by_scale(plus(i, 0.5)), -0.5))
        case "align_corners":
            length, one = extent_like(i, axis.result), like(i, 1)
            span = g.select(g.eq(length, one), one, g.sub(length, one))
            position = g.div(g.mul(i, plus(extent_like(i, axis.source), -1)), span)
            return g.select(g.eq(length, one), like(i, 0), position)
        case "tf_crop_and_resize":
            last = plus(extent_like(i, axis.source), -1)
            if axis.result == 1:
                return times(last, 0.5 * (axis.start + axis.end))
            step = g.div(times(last, axis.end - axis.start), plus(extent_like(i, axis.result), -1))
            return g.add(times(last, axis.start), g.mul(i, step))
    raise AssertionError(method.transform)


def clipped(place: Value, axis: Axis) -> Value:
    """Positions held within the source, as i64."""
    last = plus(extent_like(place, axis.source), -1)
    return g.cast(g.maximum(g.minimum(place, last), like(place, 0)), "i64")


def nearest_positions(node: Node, axis: Axis, method: Method) -> Value:
    position = source_positions(axis, method)
    match method.nearest:
        case "round_prefer_floor":
            position = g.ceil(plus(position, -0.5))
        case "round_prefer_ceil":
            position = g.floor(plus(position, 0.5))
        case "floor":
            position = g.floor(position)
        case "ceil":
            position = g.ceil(position)
        case "simple":
            position = g.ceil(position) if axis.scale is not None and axis.scale < 1 else g.floor(position)
        case other:
            raise node.invalid(f"nearest_mode '{other}' is not known")
    return clipped(position, axis)


def interpolated(node: Node, x: Value, axis: Axis, method: Method) -> Value:
    """x resampled along one axis."""
    position = source_positions(axis, method)
    base = g.floor(position)
    fraction = g.sub(position, base)
    first, weights = tap_weights(node, fraction, axis, method)
    places = [plus(base, first + k) for k in range(len(weights))]
    if method.exclude_outside:
        zero, last = like(position, 0), plus(extent_like(position, axis.source), -1)
        inside = [g.logical_and(g.ge(place, zero), g.le(place, last)) for place in places]
        weights = normalized([g.select(keep, w, zero) for keep, w in zip(inside, weights, strict=True)])
    result: Value | None = None
    for place, weight in zip(places, weights, strict=True):
        taps = g.gather(x, settled(clipped(place, axis)), axis.index)
        term = g.mul(taps, g.broadcast(settled(g.cast(weight, dtype_of(x))), shape_of(taps), [axis.index]))
        result = term if result is None else g.add(result, term)
    assert result is not None
    return result


def tap_weights(node: Node, fraction: Value, axis: Axis, method: Method) -> tuple[int, list[Value]]:
    """Offset of the first tap from floor(position), and each tap's weights [result]."""
    if method.mode == "linear" and not method.antialias:
        return 0, [plus(g.neg(fraction), 1), fraction]
    kernel = hat if method.mode == "linear" else lambda distance: cubic(distance, method.cubic)
    reach = 1 if method.mode == "linear" else 2
    scale = 1.0
    if method.antialias:
        if axis.scale is None:
            raise node.unsupported(f"antialias with a scale of {axis.result} / {axis.source}, which is not a number")
        scale = min(axis.scale or 1.0, 1.0)  # 0 where the result is empty
    first = math.floor(-reach / scale) + 1
    weights = [kernel(times(g.abs(plus(g.neg(fraction), k)), scale)) for k in range(first, 2 - first)]
    return first, normalized(weights) if method.antialias else weights


def normalized(weights: Sequence[Value]) -> list[Value]:
    total = weights[0]
    for weight in weights[1:]:
        total = g.add(total, weight)
    return [g.div(weight, total) for weight in weights]


def hat(distance: Value) -> Value:
    """max(0, 1 - distance): linear interpolation."""
    return g.maximum(plus(g.neg(distance), 1), like(distance, 0))


def cubic(distance: Value, a: float) -> Value:
    """Keys' cubic convolution kernel with its slope parameter a; 0 from distance 2 on."""
    d = distance
    near = plus(g.mul(g.mul(plus(times(d, a + 2), -(a + 3)), d), d), 1)
    far = plus(g.mul(plus(g.mul(plus(times(d, a), -5 * a), d), 8 * a), d), -4 * a)
    return g.select(g.le(d, like(d, 1)), near, g.select(g.lt(d, like(d, 2)), far, like(d, 0)))


def outside_replaced(y: Value, axes: Sequence[Axis], method: Method) -> Value:
    """tf_crop_and_resize: elements whose position lies outside the source hold the extrapolation value."""
    for axis in axes:
        position = source_positions(axis, method)
        outside = g.logical_or(
            g.lt(position, like(position, 0)),
            g.gt(position, plus(extent_like(position, axis.source), -1)),
        )
        y = g.select(g.broadcast(outside, shape_of(y), [axis.index]), like(y, method.extrapolation), y)
    return y
