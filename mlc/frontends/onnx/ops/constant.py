"""Operators that make tensors from nothing: Constant, ConstantOfShape, Range, EyeLike, Shape, Size."""

from __future__ import annotations

import math

import numpy as np

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.table import Result, Value, handles
from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.types import dtype_of, is_float, is_half, shape_of


@handles("Constant", since=(1, 9, 11, 12, 13, 19, 21, 23, 24, 25))
def constant(node: Node) -> Result:
    """Exactly one attribute gives the value."""
    given = [a.name for a in node.proto.attribute]
    if len(given) != 1:
        raise node.invalid(f"{len(given)} attributes give its value, expected 1")
    match given[0]:
        case "value":
            return node.tensor("value")
        case "value_int":
            return np.array(node.int("value_int"), np.int64)
        case "value_ints":
            return np.array(node.ints("value_ints"), np.int64)
        case "value_float":
            return np.array(node.float("value_float"), np.float32)
        case "value_floats":
            return np.array(node.floats("value_floats"), np.float32)
        case "sparse_value":
            return node.sparse_tensor("sparse_value")
    raise node.unsupported(f"a value given as '{given[0]}' is not supported")


@handles("ConstantOfShape", since=(9, 20, 21, 23, 24, 25))
def constant_of_shape(node: Node, shape: Value) -> Value:
    value = node.tensor("value", None)
    value = np.zeros(1, np.float32) if value is None else value
    if value.size != 1:
        raise node.invalid(f"value has {value.size} elements, expected 1")
    extents = node.extents(0)
    for extent in extents:
        if isinstance(extent, int) and extent < 0:
            raise node.error(f"the shape has the negative extent {extent}")
    one = g.constant(value.reshape(()))
    return g.broadcast(one, extents, [])


@handles("Range", since=(11, 27))
def range_(node: Node, start: Value, limit: Value, delta: Value) -> Value:
    """start + i * delta, below limit. The count must be known; in f16 and bf16 the elements are computed in f32."""
    dtype = dtype_of(start)
    entries = [node.entries(i) for i in range(3)]
    if is_float(dtype) and any(e is None or not all(isinstance(n, int | dims.Dim) for n in e.flat) for e in entries):
        first, last, step = (node.number(i, name) for i, name in enumerate(("start", "limit", "delta")))
        if step == 0:
            raise node.error("delta is 0")
        count: dims.Extent = max(0, -node.whole(-_quotient(last - first, step), "the number of elements"))
    else:
        begin, end, stride = (node.extent(i, name) for i, name in enumerate(("start", "limit", "delta")))
        if not isinstance(stride, int):
            raise node.unsupported(f"delta is the size {stride}, only numbers are supported")
        if stride == 0:
            raise node.error("delta is 0")
        distance = dims.ceildiv(end - begin, stride)
        count = node.simplify(dims.dmax(distance, 0))
    wide = "f32" if is_half(dtype) else dtype
    start, delta = (g.broadcast(g.reshape(g.cast(v, wide), ()), (count,), []) for v in (start, delta))
    return g.cast(g.add(start, g.mul(g.iota((count,), 0, wide), delta)), dtype)


def _quotient(distance: float, step: float) -> float:
    """Infinite where it is beyond f64."""
    try:
        return distance / step
    except OverflowError:
        return math.inf


@handles("EyeLike", since=(9, 22))
def eye_like(node: Node, x: Value) -> Value:
    if len(shape_of(x)) != 2:
        raise node.error(f"the input has {len(shape_of(x))} axes, expected 2")
    rows, columns = (g.iota(shape_of(x), axis, "i64") for axis in (0, 1))
    diagonal = g.eq(g.add(rows, g.full_like(rows, node.int("k", 0))), columns)
    return g.cast(diagonal, node.dtype("dtype", None) or dtype_of(x))


@handles("Shape", since=(1, 13, 15, 19, 21, 23, 24, 25))
def shape(node: Node, x: Value) -> Value:
    """Used where the shape is data; where it decides another shape no op is built."""
    return g.extents(shape_of(x)[node.int("start", 0) : node.int("end", None)])


@handles("Size", since=(1, 13, 19, 21, 23, 24, 25))
def size(node: Node, x: Value) -> Value:
    return g.dimension(dims.prod(shape_of(x)))


def _window(node: Node, length: Value, cosine: tuple[float, ...]) -> Value:
    """sum over k of (-1)^k cosine[k] cos(2 pi k n / N), where N is the length, or the length - 1 of a symmetric window."""
    count = node.extent(0, "size")
    dtype = node.dtype("output_datatype", None) or "f32"
    work = "f64" if dtype == "f64" else "f32"
    line = g.iota((count,), 0, work)
    period = count if node.int("periodic") else node.simplify(dims.dmax(count - 1, 1))
    angle = g.div(
        g.mul(line, g.full_like(line, 2 * math.pi)), g.broadcast(g.cast(g.dimension(period), work), (count,), [])
    )
    total = g.full_like(line, cosine[0])
    for k, coefficient in enumerate(cosine[1:], 1):
        term = g.mul(g.cos(g.mul(angle, g.full_like(line, k))), g.full_like(line, coefficient))
        total = g.sub(total, term) if k % 2 else g.add(total, term)
    return g.cast(total, dtype)


@handles("HannWindow", since=(17,))
def hann_window(node: Node, length: Value) -> Value:
    return _window(node, length, (0.5, 0.5))


@handles("HammingWindow", since=(17,))
def hamming_window(node: Node, length: Value) -> Value:
    return _window(node, length, (25 / 46, 21 / 46))


@handles("BlackmanWindow", since=(17,))
def blackman_window(node: Node, length: Value) -> Value:
    return _window(node, length, (0.42, 0.5, 0.08))
