"""Which element of each window is the largest: where it is, reading such elements, and putting values back there (max-pooling and its gradient).

y      = reduce_window max(x)          the largest element of each window
places = window_place(x, y)            its number in the window, a byte: windows have the same elements in the same order
window_pick(t, places)                 the elements of t there
window_put(c, places)                  c added up there, in zeros of the shape of x: the transpose of window_pick
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import prod
from operator import mul

import numpy as np
from xdsl.dialects.builtin import TensorType
from xdsl.ir import SSAValue
from xdsl.irdl import irdl_op_definition, operand_def

from mlc.errors import DTypeError, ShapeError
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph import constants, index, parts
from mlc.ir.graph import shape as shapes
from mlc.ir.graph.base import Evaluate, emit, widened
from mlc.ir.graph.composites import CompositeOp
from mlc.ir.graph.derivative import Algebra, Padding, Tangent
from mlc.ir.graph.elementwise import apply, apply_cast
from mlc.ir.graph.reduce import identity
from mlc.ir.graph.window import WindowOp, WindowsOp, filled, geometry, infer
from mlc.ir.types import dtype_of, is_storage, numpy_dtype, shape_of, shape_text, tensor, tensor_type, type_text


def place_dtype(window: Sequence[int]) -> str:
    """The smallest dtype that counts the elements of a window."""
    count = prod(window)
    return "u8" if count <= 1 << 8 else "u16" if count <= 1 << 16 else "u32"


@irdl_op_definition
class WindowPlaceOp(WindowOp):
    """For each window the number, in row-major order, of its first element that equals y there, or is NaN. u8; u16 or u32 for windows of more elements.

    Padding counts as the lowest number, as in the maximum that y is. Where no element equals y: the last.
    """

    name = "graph.window_place"
    x = operand_def(TensorType)  # named again: an op's own operands come before those of its family
    y = operand_def(TensorType)
    assembly_format = "$x `,` $y attr-dict `:` type($x) `,` type($y) `->` type($result)"

    def __init__(
        self,
        x: SSAValue,
        y: SSAValue,
        window: Sequence[int],
        strides: Sequence[int],
        padding: Padding,
        dilations: Sequence[int],
    ):
        shape = infer(shape_of(x), window, strides, padding, dilations)
        super().__init__(
            operands=[x, y],
            properties=geometry(window, strides, padding, dilations),
            result_types=[tensor(shape, place_dtype(window))],
        )
        self.infer_types()

    def infer_types(self) -> Sequence[TensorType]:
        dtype, shape = dtype_of(self.x), self.positions()
        if dtype == "bool" or is_storage(dtype):
            raise DTypeError(f"window_place: takes numbers, not {dtype}")
        _require("window_place: y", self.y, shape, dtype)
        return [tensor(shape, place_dtype(self.window.get_values()))]

    @property
    def flops(self) -> Extent:
        return self.visits

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        x, y = map(widened, operands)
        last = prod(self.window.get_values()) - 1
        found = np.full(y.shape, last, np.int64)
        for number, (_, part) in enumerate(self.taps(at, x, identity("max", dtype_of(self.x)))):
            equal = (part == y) | np.isnan(part) if part.dtype.kind == "f" else part == y
            found = np.where(equal, np.minimum(found, number), found)
        return found.astype(numpy_dtype(dtype_of(self.result)))


def _require(what: str, value: SSAValue, shape: Sequence[Extent], dtype: str) -> None:
    if tensor_type(value) != tensor(shape, dtype):
        raise ShapeError(f"{what} is {type_text(tensor_type(value))}, the windows ask for {dtype}{shape_text(shape)}")


@irdl_op_definition
class WindowPickOp(WindowOp, CompositeOp):
    """The element of each window of x that has this number in it; 0 where that lies in padding. A number beyond the window counts as the last."""

    name = "graph.window_pick"
    x = operand_def(TensorType)
    places = operand_def(TensorType)
    assembly_format = "$x `,` $places attr-dict `:` type($x) `,` type($places) `->` type($result)"

    def __init__(
        self,
        x: SSAValue,
        places: SSAValue,
        window: Sequence[int],
        strides: Sequence[int],
        padding: Padding,
        dilations: Sequence[int],
    ):
        shape = infer(shape_of(x), window, strides, padding, dilations)
        super().__init__(
            operands=[x, places],
            properties=geometry(window, strides, padding, dilations),
            result_types=[tensor(shape, dtype_of(x))],
        )
        self.infer_types()

    def infer_types(self) -> Sequence[TensorType]:
        shape = self.positions()
        _require("window_pick: places", self.places, shape, place_dtype(self.window.get_values()))
        return [tensor(shape, dtype_of(self.x))]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> tuple[np.ndarray, ...]:
        x, places = operands
        flat, inside = numbers_of(self, at, places, x.shape)
        found = x.reshape(-1)[np.where(inside, flat, 0)] if x.size else np.zeros(places.shape, x.dtype)
        return (np.where(inside, found, np.zeros((), x.dtype)),)

    def decompose(self, *operands: SSAValue) -> SSAValue:
        x, places = operands
        low, high = self.low.extents(), self.high.extents()
        x = parts.pad(x, low, high)
        lists = [p.get_values() for p in (self.window, self.strides, self.dilations)]
        flat, _ = positions_of(places, shape_of(x), lists[0], lists[1], None, lists[2])
        found = index.gather(shapes.reshape(x, [dims.prod(list(shape_of(x)))]), flat, 0)
        return shapes.reshape(found, shape_of(self.result))

    @property
    def linear(self) -> tuple[int, ...]:
        return (0,)

    def transpose_rule(self, g: Algebra, cotangent: SSAValue, position: int) -> Tangent:
        lists = [p.get_values() for p in (self.window, self.strides, self.dilations)]
        return window_put(cotangent, self.places, shape_of(self.x), lists[0], lists[1], self.padding, lists[2])


@irdl_op_definition
class WindowPutOp(WindowsOp):
    """Zeros of the shape in the result type, with each of the values added to the element of its window that has this number in it.

    Those in padding are left out; a number beyond the window counts as the last. f16 and bf16 add up in f32.
    """

    name = "graph.window_put"
    values = operand_def(TensorType)
    places = operand_def(TensorType)
    assembly_format = "$values `,` $places attr-dict `:` type($values) `,` type($places) `->` type($result)"

    def __init__(
        self,
        values: SSAValue,
        places: SSAValue,
        shape: Sequence[Extent],
        window: Sequence[int],
        strides: Sequence[int],
        padding: Padding,
        dilations: Sequence[int],
    ):
        super().__init__(
            operands=[values, places],
            properties=geometry(window, strides, padding, dilations),
            result_types=[tensor(shape, dtype_of(values))],
        )
        self.infer_types()

    def infer_types(self) -> Sequence[TensorType]:
        shape, dtype = self.positions_in(shape_of(self.result)), dtype_of(self.values)
        if dtype == "bool" or is_storage(dtype):
            raise DTypeError(f"window_put: takes numbers, not {dtype}")
        _require("window_put: values", self.values, shape, dtype)
        _require("window_put: places", self.places, shape, place_dtype(self.window.get_values()))
        return [tensor(shape_of(self.result), dtype)]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        values, places = operands
        shape = [at(e) for e in shape_of(self.result)]
        flat, inside = numbers_of(self, at, places, shape)
        result = np.zeros(prod(shape), widened(values).dtype)
        np.add.at(result, flat[inside], widened(values[inside]))
        return result.reshape(shape).astype(values.dtype)

    @property
    def flops(self) -> Extent:
        return dims.prod(shape_of(self.values))

    @property
    def linear(self) -> tuple[int, ...]:
        return (0,)

    def transpose_rule(self, g: Algebra, cotangent: SSAValue, position: int) -> Tangent:
        lists = [p.get_values() for p in (self.window, self.strides, self.dilations)]
        return window_pick(cotangent, self.places, lists[0], lists[1], self.padding, lists[2])


def numbers_of(op: WindowsOp, at: Evaluate, places: np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """(row-major numbers in a tensor of this shape of the elements that places name, are they there)"""
    flat, inside = np.zeros(places.shape, np.int64), np.ones(places.shape, bool)
    window, grid = op.window.get_values(), np.indices(places.shape, sparse=True)
    number = np.minimum(places.astype(np.int64), prod(window) - 1)
    steps = zip(shape, window, op.strides.get_values(), op.dilations.get_values(), op.low.extents(), strict=True)
    for axis, (size, taps, stride, dilation, low) in enumerate(steps):
        tap = number // prod(window[axis + 1 :]) % taps
        spot = grid[axis] * stride + tap * dilation - at(low)
        flat, inside = flat * size + spot, inside & (spot >= 0) & (spot < size)
    return flat, inside


# Builder functions -------------------------------------------------------------------------------------------------------


def window_place(
    x: SSAValue,
    y: SSAValue,
    window: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding | None = None,
    dilations: Sequence[int] | None = None,
) -> SSAValue:
    """The number in each window of x of its first element that equals y, which is reduce_window max of x."""
    return emit(WindowPlaceOp(x, y, window, *filled(len(shape_of(x)), strides, padding, dilations)))[0]


def window_pick(
    x: SSAValue,
    places: SSAValue,
    window: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding | None = None,
    dilations: Sequence[int] | None = None,
) -> SSAValue:
    """The element of each window of x that has this number in it."""
    return emit(WindowPickOp(x, places, window, *filled(len(shape_of(x)), strides, padding, dilations)))[0]


def window_put(
    values: SSAValue,
    places: SSAValue,
    shape: Sequence[Extent],
    window: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding | None = None,
    dilations: Sequence[int] | None = None,
) -> SSAValue:
    """Zeros of a shape, with each value added to the element of its window that has this number in it."""
    return emit(WindowPutOp(values, places, shape, window, *filled(len(shape), strides, padding, dilations)))[0]


def positions_of(
    places: SSAValue,
    shape: Sequence[Extent],
    window: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding | None = None,
    dilations: Sequence[int] | None = None,
) -> tuple[SSAValue, SSAValue]:
    """(row-major numbers, i64, in a tensor of this shape of the elements that places name, are they there)"""
    strides, padding, dilations = filled(len(shape), strides, padding, dilations)
    number = lambda value: shapes.broadcast(constants.dimension(value), shape_of(places), [])
    wide = apply("minimum", apply_cast(places, "i64"), number(prod(window) - 1))
    flat, inside = number(0), shapes.full(shape_of(places), True, "bool")
    behind = list(accumulate(reversed(window), mul, initial=1))[-2::-1]
    for axis, (size, taps, (low, high)) in enumerate(zip(shape, window, padding, strict=True)):
        spot = constants.iota(shape_of(places), axis, "i64")
        spot = apply("mul", spot, number(strides[axis])) if strides[axis] != 1 else spot
        if taps != 1:
            tap = apply("div", wide, number(behind[axis])) if behind[axis] != 1 else wide
            tap = apply("fmod", tap, number(taps)) if taps != prod(window) else tap
            spot = apply("add", spot, apply("mul", tap, number(dilations[axis])) if dilations[axis] != 1 else tap)
        if low != 0:
            spot = apply("sub", spot, number(low))
        if low != 0 or high != 0:
            for fine in (apply("ge", spot, number(0)), apply("lt", spot, number(size))):
                inside = apply("logical_and", inside, fine)
        flat = apply("add", apply("mul", flat, number(size)), spot) if axis else spot
    return flat, inside
