"""Reductions over axes, running sums, and the positions of extremes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from xdsl.dialects.builtin import BoolAttr, DenseArrayBase, IntegerAttr, StringAttr, TensorType, i64
from xdsl.ir import SSAValue
from xdsl.irdl import ParsePropInAttrDict, irdl_op_definition, operand_def, prop_def, result_def, traits_def
from xdsl.traits import Pure

from mlc.errors import DTypeError, ShapeError
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph import constants, elementwise
from mlc.ir.graph import shape as shapes
from mlc.ir.graph.base import Evaluate, GraphOp, as_array, emit, ints, require_at_least, widened
from mlc.ir.graph.derivative import Algebra, Tangent, Tangents
from mlc.ir.graph.index import GatherOp
from mlc.ir.types import (
    DimsAttr,
    dtype_of,
    extent,
    highest,
    is_float,
    is_half,
    is_storage,
    lowest,
    numpy_dtype,
    shape_of,
    shape_text,
    tensor,
)

KINDS = ("sum", "prod", "max", "min", "and", "or")
_NUMPY: dict[str, Callable[..., Any]] = {
    "sum": np.add.reduce,
    "prod": np.multiply.reduce,
    "max": np.maximum.reduce,
    "min": np.minimum.reduce,
    "and": np.logical_and.reduce,
    "or": np.logical_or.reduce,
}

_ACCUMULATE: dict[str, Callable[..., Any]] = {
    "sum": np.add.accumulate,
    "prod": np.multiply.accumulate,
    "max": np.maximum.accumulate,
    "min": np.minimum.accumulate,
}


def identity(kind: str, dtype: str) -> float | int | bool:
    """What a reduction over nothing gives."""
    values = {"sum": 0, "prod": 1, "max": lowest(dtype), "min": highest(dtype), "and": True, "or": False}
    return values[kind]


@irdl_op_definition
class ReduceOp(GraphOp):
    """Fold the named axes (ascending), which vanish. kind: sum, prod, max, min; and, or of bool. Over nothing: the identity.

    A NaN wins in max and min. f16 and bf16 sums accumulate in f32.
    """

    name = "graph.reduce"
    x = operand_def(TensorType)
    axes = prop_def(DenseArrayBase)
    kind = prop_def(StringAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x $kind attr-dict `:` type($x) `->` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, x: SSAValue, axes: Sequence[int], kind: str):
        super().__init__(
            operands=[x],
            properties={"axes": ints(axes), "kind": StringAttr(kind)},
            result_types=[self.infer(x, axes, kind)],
        )

    @staticmethod
    def infer(x: SSAValue, axes: Sequence[int], kind: str) -> TensorType:
        shape, dtype = shape_of(x), dtype_of(x)
        if list(axes) != sorted(set(axes)) or not all(0 <= a < len(shape) for a in axes):
            raise ShapeError(f"reduce: axes {list(axes)} are not axes of {shape_text(shape)} in ascending order")
        of_bool = ("and", "or", "max", "min")
        if kind not in KINDS or (kind in of_bool[:2] and dtype != "bool") or (dtype == "bool" and kind not in of_bool):
            raise DTypeError(f"reduce: no {kind} of {dtype}")
        return tensor([e for a, e in enumerate(shape) if a not in axes], dtype)

    def infer_types(self) -> Sequence[TensorType]:
        return [self.infer(self.x, self.axes.get_values(), self.kind.data)]

    def evaluator(self, at: Evaluate) -> Callable[..., np.ndarray]:
        name, kind, axes = dtype_of(self.result), self.kind.data, tuple(self.axes.get_values())
        dtype, fold = numpy_dtype(name), partial(_NUMPY[kind], axis=axes)
        if kind in ("max", "min"):
            fold = partial(fold, initial=identity(kind, name))
        elif kind == "sum" and (name == "f32" or is_half(name)):
            fold = partial(fold, dtype=np.float64)  # compiled code adds by pieces, NumPy's order depends on the axes

        return lambda x: as_array(fold(widened(x)), dtype)

    @property
    def flops(self) -> Extent:
        return dims.prod(shape_of(self.x))

    @property
    def linear(self) -> tuple[int, ...]:
        return (0,) if self.kind.data == "sum" else ()

    def jvp(self, g: Algebra, tangents: Tangents) -> Sequence[Tangent]:
        """Equal elements share the derivative of a max or min evenly; that of a product is right at zeros too."""
        (t,), axes, x = tangents, self.axes.get_values(), self.x
        if t is None or self.kind.data == "sum":
            return super().jvp(g, tangents)
        if self.kind.data == "prod":
            return [g.reduce(g.mul(t, self._products_of_others(g)), axes)]
        ties = g.cast(g.apply("eq", x, g.spread(self.result, shape_of(x), axes)), dtype_of(x))
        return [g.div(g.reduce(g.mul(t, ties), axes), g.reduce(ties, axes))]

    def transpose_rule(self, g: Algebra, cotangent: SSAValue, position: int) -> Tangent:
        return g.spread(cotangent, shape_of(self.x), self.axes.get_values())

    def _products_of_others(self, g: Algebra) -> SSAValue:
        """For each element the product of all others that fall together with it: of those before it times those behind."""
        shape, axes = shape_of(self.x), list(self.axes.get_values())
        order = [*(a for a in range(len(shape)) if a not in axes), *axes]
        moved = g.transpose(self.x, order)
        rows = [*(shape[a] for a in order[: len(order) - len(axes)]), dims.prod([shape[a] for a in axes])]
        lines = g.reshape(moved, rows)
        before, behind = (cumulative(lines, -1, "prod", exclusive=True, reverse=turned) for turned in (False, True))
        product = g.reshape(g.mul(before, behind), shape_of(moved))
        return g.transpose(product, [order.index(a) for a in range(len(order))])


@irdl_op_definition
class ArgReduceOp(GraphOp):
    """Index of the largest (kind max) or smallest (min) element along an axis, which vanishes: the first of equals, or the `last`. i64.

    Over nothing: 0.
    """

    name = "graph.arg_reduce"
    x = operand_def(TensorType)
    axis = prop_def(IntegerAttr)
    kind = prop_def(StringAttr)
    last = prop_def(BoolAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x $kind attr-dict `:` type($x) `->` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, x: SSAValue, axis: int, kind: str, last: bool):
        super().__init__(
            operands=[x],
            properties={
                "axis": IntegerAttr(axis, i64),
                "kind": StringAttr(kind),
                "last": IntegerAttr.from_bool(last),
            },
            result_types=[self.infer(x, axis)],
        )

    @staticmethod
    def infer(x: SSAValue, axis: int) -> TensorType:
        shape = shape_of(x)
        if not 0 <= axis < len(shape):
            raise ShapeError(f"arg_reduce: axis {axis} is not one of the {len(shape)} axes")
        return tensor([e for a, e in enumerate(shape) if a != axis], "i64")

    def infer_types(self) -> Sequence[TensorType]:
        return [self.infer(self.x, self.axis.value.data)]

    @property
    def flops(self) -> Extent:
        return dims.prod(shape_of(self.x))

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        (x,) = operands
        axis, best = self.axis.value.data, np.argmax if self.kind.data == "max" else np.argmin
        if not x.shape[axis]:
            return np.zeros([at(e) for e in shape_of(self.result)], np.int64)
        x = widened(x)
        if self.last.value.data:
            return (x.shape[axis] - 1 - best(np.flip(x, axis), axis)).astype(np.int64)
        return best(x, axis).astype(np.int64)


@irdl_op_definition
class CumulativeOp(GraphOp):
    """Running sum, prod, max or min along an axis; `exclusive` leaves the element itself out, `reverse` runs from the end.

    Over nothing: the identity. A NaN wins in max and min. f16 and bf16 totals are f32. Of bool there are max and min.
    """

    name = "graph.cumulative"
    x = operand_def(TensorType)
    axis = prop_def(IntegerAttr)
    kind = prop_def(StringAttr)
    exclusive = prop_def(BoolAttr)
    reverse = prop_def(BoolAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x $kind attr-dict `:` type($x) `->` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, x: SSAValue, axis: int, kind: str, exclusive: bool, reverse: bool):
        super().__init__(
            operands=[x],
            properties={
                "axis": IntegerAttr(axis, i64),
                "kind": StringAttr(kind),
                "exclusive": IntegerAttr.from_bool(exclusive),
                "reverse": IntegerAttr.from_bool(reverse),
            },
            result_types=[self.infer(x, axis, kind)],
        )

    @staticmethod
    def infer(x: SSAValue, axis: int, kind: str) -> TensorType:
        if not 0 <= axis < len(shape_of(x)):
            raise ShapeError(f"cumulative: axis {axis} is not one of the {len(shape_of(x))} axes")
        if kind not in _ACCUMULATE or is_storage(dtype_of(x)) or (dtype_of(x) == "bool" and kind in ("sum", "prod")):
            raise DTypeError(f"cumulative: no {kind} of {dtype_of(x)}")
        return tensor(shape_of(x), dtype_of(x))

    def infer_types(self) -> Sequence[TensorType]:
        return [self.infer(self.x, self.axis.value.data, self.kind.data)]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        (x,) = operands
        axis, kind, wide = self.axis.value.data, self.kind.data, widened(x)
        wide = np.flip(wide, axis) if self.reverse.value.data else wide
        if self.exclusive.value.data and x.shape[axis]:
            first = np.full_like(np.take(wide, [0], axis), identity(kind, dtype_of(self.x)))
            wide = np.concatenate([first, np.delete(wide, -1, axis)], axis)
        result = _ACCUMULATE[kind](wide, axis=axis, dtype=wide.dtype)
        return (np.flip(result, axis) if self.reverse.value.data else result).astype(x.dtype)

    @property
    def flops(self) -> Extent:
        return dims.prod(shape_of(self.x))

    @property
    def linear(self) -> tuple[int, ...]:
        return (0,) if self.kind.data == "sum" else ()

    def jvp(self, g: Algebra, tangents: Tangents) -> Sequence[Tangent]:
        """A max or min takes from the latest of equals; a product is right at zeros too."""
        (t,), axis, kind = tangents, self.axis.value.data, self.kind.data
        if t is None or kind == "sum":
            return super().jvp(g, tangents)
        return [self._product(g, t, axis) if kind == "prod" else self._latest(g, t, axis)]

    def transpose_rule(self, g: Algebra, cotangent: SSAValue, position: int) -> Tangent:
        turned = not self.reverse.value.data
        return cumulative(cotangent, self.axis.value.data, "sum", bool(self.exclusive.value.data), turned)

    def _product(self, g: Algebra, t: SSAValue, axis: int) -> SSAValue:
        """d = 0; for each element: d, before = d * x + before * t, before * x"""
        reverse, exclusive = bool(self.reverse.value.data), bool(self.exclusive.value.data)
        rank = len(shape_of(t))
        order = [axis, *(a for a in range(rank) if a != axis)]
        xs, ts = g.transpose(self.x, order), g.transpose(t, order)
        before = cumulative(xs, 0, "prod", exclusive=True, reverse=reverse)

        def step(carries: Slices, slices: Slices, _: Slices) -> tuple[list[SSAValue], list[SSAValue]]:
            (d,), (x, change, product) = carries, slices
            after = g.add(g.mul(d, x), g.mul(change, product))
            return [after], [d if exclusive else after]

        start = shapes.full(shape_of(xs)[1:], 0, dtype_of(xs))
        _, (found,) = g.scan(step, [start], [xs, ts, before], shape_of(xs)[0], reverse=reverse)
        return g.transpose(found, [order.index(a) for a in range(rank)])

    def _latest(self, g: Algebra, t: SSAValue, axis: int) -> SSAValue:
        """t at the place of the running extreme, which moves on to each element that equals it or is NaN."""
        x, reverse, shape = self.x, bool(self.reverse.value.data), shape_of(self.x)
        best = cumulative(x, axis, self.kind.data, reverse=reverse)
        place = constants.iota(shape, axis, "i64")
        there = g.apply("logical_or", g.apply("eq", x, best), g.apply("is_nan", x))
        first = (
            shapes.broadcast(constants.dimension(shape[axis] - 1), shape, []) if reverse else shapes.full_like(place, 0)
        )
        places = cumulative(g.select(there, place, first), axis, "min" if reverse else "max", reverse=reverse)
        found = taken(t, places, axis)
        if not self.exclusive.value.data:
            return found
        low, high = ([int(a == axis and edge != reverse) for a in range(len(shape))] for edge in (True, False))
        return g.pad(
            found, [e - f for e, f in zip(low, high, strict=True)], [f - e for e, f in zip(low, high, strict=True)]
        )


@irdl_op_definition
class TopKOp(GraphOp):
    """The `k` largest (or smallest) elements along an axis in order, and their indices (i64); ties go to the lower index."""

    name = "graph.top_k"
    x = operand_def(TensorType)
    axis = prop_def(IntegerAttr)
    k = prop_def(DimsAttr)
    largest = prop_def(BoolAttr)
    values = result_def(TensorType)
    indices = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` type($x) `->` type($values) `,` type($indices)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, x: SSAValue, k: Extent, axis: int, largest: bool):
        super().__init__(
            operands=[x],
            properties={
                "axis": IntegerAttr(axis, i64),
                "k": DimsAttr.of([k]),
                "largest": IntegerAttr.from_bool(largest),
            },
            result_types=self.infer(x, k, axis),
        )

    @staticmethod
    def infer(x: SSAValue, k: Extent, axis: int) -> list[TensorType]:
        shape = shape_of(x)
        if not 0 <= axis < len(shape):
            raise ShapeError(f"top_k: axis {axis} is not one of the {len(shape)} axes")
        whole = shape[axis]
        if isinstance(k, int) and isinstance(whole, int) and not 0 <= k <= whole:
            raise ShapeError(f"top_k: {k} of the {whole} elements along axis {axis}")
        out = [k if a == axis else e for a, e in enumerate(shape)]
        return [tensor(out, dtype_of(x)), tensor(out, "i64")]

    def infer_types(self) -> Sequence[TensorType]:
        return self.infer(self.x, self.k.extents()[0], self.axis.value.data)

    def misfit(self, at: Evaluate) -> str | None:
        k, axis = at(self.k.extents()[0]), self.axis.value.data
        whole = at(shape_of(self.x)[axis])
        return None if k <= whole else f"it takes {k} elements of axis {axis}, which has {whole}"

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = operands
        axis, k = self.axis.value.data, at(self.k.extents()[0])
        keys = widened(x)
        if self.largest.value.data:  # a stable descending order: sort the reversed array ascending and reverse back
            order = x.shape[axis] - 1 - np.flip(np.argsort(np.flip(keys, axis), axis=axis, kind="stable"), axis)
        else:
            order = np.argsort(keys, axis=axis, kind="stable")
        order = np.take(order, range(k), axis)
        return np.take_along_axis(x, order, axis), order.astype(np.int64)

    def jvp(self, g: Algebra, tangents: Tangents) -> list[Tangent]:
        """From the places that were chosen, the first of equals."""
        (t,) = tangents
        return [None if t is None else taken(t, self.indices, self.axis.value.data), None]


Slices = tuple[SSAValue, ...]


def taken(x: SSAValue, places: SSAValue, axis: int) -> SSAValue:
    """The elements of x at places along an axis, which are there."""
    rank = len(shape_of(x))
    axes = [-1 if a == axis else a for a in range(rank)]
    return emit(GatherOp(x, shapes.unsqueeze(places, [rank]), list(range(rank)), axes))[0]


# Builder functions -------------------------------------------------------------------------------------------------------


def _axes(x: SSAValue, axes: Sequence[int] | None, what: str) -> list[int]:
    rank = len(shape_of(x))
    return list(range(rank)) if axes is None else sorted({shapes.normal_axis(a, rank, what) for a in axes})


def reduce(x: SSAValue, axes: Sequence[int] | None, kind: str, keepdims: bool = False) -> SSAValue:
    """kind: sum prod max min, and or of bool; axes None means all."""
    found = _axes(x, axes, f"reduce {kind}")
    result = emit(ReduceOp(x, found, kind))[0] if found else x
    return shapes.reshape(result, [1 if a in found else e for a, e in enumerate(shape_of(x))]) if keepdims else result


def mean(x: SSAValue, axes: Sequence[int] | None, keepdims: bool = False) -> SSAValue:
    """The sum over the axes divided by their number of elements; of f16 and bf16 both in f32: neither need fit in 16 bits."""
    found = _axes(x, axes, "mean")
    dtype = dtype_of(x)
    if is_half(dtype):
        return elementwise.apply_cast(mean(elementwise.apply_cast(x, "f32"), found, keepdims), dtype)
    total = reduce(x, found, "sum", keepdims)
    count = dims.prod([shape_of(x)[a] for a in found])
    if isinstance(count, int) and is_float(dtype):
        inverse = shapes.full_like(total, count)
        return elementwise.apply("div", total, inverse)
    number = elementwise.apply_cast(constants.dimension(count), dtype)
    return elementwise.apply("div", total, shapes.broadcast_to(number, shape_of(total)))


def arg_max(x: SSAValue, axis: int, keepdims: bool = False, last: bool = False, kind: str = "max") -> SSAValue:
    """i64 index of the largest element, the first (or last) of equals."""
    axis = shapes.normal_axis(axis, len(shape_of(x)), f"arg_{kind}")
    result = emit(ArgReduceOp(x, axis, kind, last))[0]
    return shapes.unsqueeze(result, [axis]) if keepdims else result


def arg_min(x: SSAValue, axis: int, keepdims: bool = False, last: bool = False) -> SSAValue:
    """i64 index of the smallest element, the first (or last) of equals."""
    return arg_max(x, axis, keepdims, last, "min")


def cumulative(x: SSAValue, axis: int, kind: str = "sum", exclusive: bool = False, reverse: bool = False) -> SSAValue:
    """Running sum, prod, max or min along an axis."""
    return emit(CumulativeOp(x, shapes.normal_axis(axis, len(shape_of(x)), "cumulative"), kind, exclusive, reverse))[0]


def top_k(x: SSAValue, k: Extent, axis: int = -1, largest: bool = True) -> tuple[SSAValue, SSAValue]:
    """(values, i64 indices) of the k largest or smallest elements along an axis, in order."""
    axis = shapes.normal_axis(axis, len(shape_of(x)), "top_k")
    require_at_least(shape_of(x)[axis], k, f"axis {axis} has the elements that are asked for")
    values, indices = emit(TopKOp(x, extent(k), axis, largest))
    return values, indices


def sort(x: SSAValue, axis: int = -1, descending: bool = False) -> tuple[SSAValue, SSAValue]:
    """(values, i64 indices) of all elements along an axis in order; equals keep theirs. A NaN counts as the largest, as numpy.sort has it."""
    axis = shapes.normal_axis(axis, len(shape_of(x)), "sort")
    return top_k(x, shape_of(x)[axis], axis, descending)
