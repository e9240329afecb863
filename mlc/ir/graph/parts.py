"""Pieces of a value, and values made of pieces: slice, pad, concatenate, and what is written with them."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
from xdsl.dialects.builtin import DenseArrayBase, IntegerAttr, TensorType, i64
from xdsl.ir import SSAValue
from xdsl.irdl import (
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import Pure

from mlc.errors import DTypeError, ShapeError
from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.graph.base import Evaluate, GraphOp, emit, ints, require_at_least, require_equal, shaped
from mlc.ir.graph.constants import IN_TEXT, constant, dimension, scalar
from mlc.ir.graph.derivative import Algebra, Tangent, Tangents
from mlc.ir.graph.shape import fitted, full, normal_axis, reshape
from mlc.ir.types import DimsAttr, dtype_of, shape_of, shape_text, tensor


@irdl_op_definition
class SliceOp(GraphOp):
    """result[i] = x[starts + i * steps] on every axis; steps are non-zero and may be negative, the result shape gives the sizes."""

    name = "graph.slice"
    x = operand_def(TensorType)
    starts = prop_def(DimsAttr)
    steps = prop_def(DenseArrayBase)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, x: SSAValue, starts: Sequence[Extent], sizes: Sequence[Extent], steps: Sequence[int]):
        super().__init__(
            operands=[x],
            properties={"starts": DimsAttr.of(starts), "steps": ints(steps)},
            result_types=[self.infer(x, starts, sizes, steps)],
        )

    @staticmethod
    def infer(x: SSAValue, starts: Sequence[Extent], sizes: Sequence[Extent], steps: Sequence[int]) -> TensorType:
        shape = shape_of(x)
        if not len(starts) == len(sizes) == len(steps) == len(shape) or 0 in steps:
            raise ShapeError(
                f"slice: {len(starts)} starts, {len(sizes)} sizes, steps {list(steps)} for {shape_text(shape)}"
            )
        for axis, (start, size, step, whole) in enumerate(zip(starts, sizes, steps, shape, strict=True)):
            if isinstance(start, int) and isinstance(size, int) and isinstance(whole, int) and size:
                last = start + (size - 1) * step
                if not (0 <= start < whole and 0 <= last < whole):
                    raise ShapeError(f"slice: axis {axis} of {shape_text(shape)} has no elements {start}..{last}")
        return tensor(sizes, dtype_of(x))

    def infer_types(self) -> Sequence[TensorType]:
        return [self.infer(self.x, self.starts.extents(), shape_of(self.result), self.steps.get_values())]

    def misfit(self, at: Evaluate) -> str | None:
        counts = [at(size) for size in shape_of(self.result)]
        if any(count <= 0 for count in counts):
            return None
        rows = zip(self.starts.extents(), counts, self.steps.get_values(), shape_of(self.x), strict=True)
        for axis, (start, count, step, whole) in enumerate(rows):
            first, extent = at(start), at(whole)
            last = first + (count - 1) * step
            if not (0 <= first < extent and 0 <= last < extent):
                return f"it reads elements {first}..{last} of axis {axis}, which has {extent}"
        return None

    def evaluator(self, at: Evaluate) -> Callable[..., np.ndarray]:
        index = []
        for start, size, step in zip(
            self.starts.extents(), shape_of(self.result), self.steps.get_values(), strict=True
        ):
            first, count = at(start), at(size)
            stop = first + count * step
            # an axis of none may start anywhere; no stop leads to the beginning from behind
            index.append(builtins.slice(first, stop if stop >= 0 else None, step) if count else builtins.slice(0, 0))
        found = tuple(index)
        return lambda x: x[found]

    @property
    def linear(self) -> tuple[int, ...]:
        return (0,)

    def transpose_rule(self, g: Algebra, cotangent: SSAValue, position: int) -> Tangent:
        """Zeros around and between, of which a slice that runs backwards is turned round first."""
        low: list[Extent] = []
        high: list[Extent] = []
        steps, sizes = self.steps.get_values(), shape_of(self.result)
        for start, step, size, whole in zip(self.starts.extents(), steps, sizes, shape_of(self.x), strict=True):
            if isinstance(size, int) and size == 0:
                start = 0
            elif step < 0:
                start = start + (size - 1) * step
            low.append(start)
            high.append(whole - start - dilated(size, abs(step)))
        backwards = [a for a, step in enumerate(steps) if step < 0]
        turned = reverse(cotangent, backwards) if backwards else cotangent
        return g.pad(turned, low, high, interior=[abs(step) - 1 for step in steps])


@irdl_op_definition
class PadOp(GraphOp):
    """`low` elements before and `high` after x on every axis, `interior` ones between its elements, filled with the scalar tensor `value`.

    A negative `low` or `high` takes elements away, of x and of what lies between. As XLA's Pad.
    """

    name = "graph.pad"
    x = operand_def(TensorType)
    value = operand_def(TensorType)
    low = prop_def(DimsAttr)
    high = prop_def(DimsAttr)
    interior = opt_prop_def(DenseArrayBase)  # none: nothing lies between
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x `,` $value attr-dict `:` type($x) `,` type($value) `->` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(
        self,
        x: SSAValue,
        value: SSAValue,
        low: Sequence[Extent],
        high: Sequence[Extent],
        interior: Sequence[int] | None = None,
    ):
        interior = [0] * len(low) if interior is None else interior
        super().__init__(
            operands=[x, value],
            properties={
                "low": DimsAttr.of(low),
                "high": DimsAttr.of(high),
                "interior": ints(interior) if any(interior) else None,
            },
            result_types=[self.infer(x, value, low, high, interior)],
        )

    @property
    def between(self) -> list[int]:
        """How many elements lie between two of x, per axis."""
        return [0] * len(self.low.extents()) if self.interior is None else list(self.interior.get_values())

    @staticmethod
    def infer(
        x: SSAValue, value: SSAValue, low: Sequence[Extent], high: Sequence[Extent], interior: Sequence[int]
    ) -> TensorType:
        shape = shape_of(x)
        if shape_of(value) != () or dtype_of(value) != dtype_of(x):
            raise DTypeError(f"pad: the value is {dtype_of(value)}{shape_text(shape_of(value))}, x is {dtype_of(x)}")
        if not len(low) == len(high) == len(interior) == len(shape) or min((*interior, 0)) < 0:
            raise ShapeError(
                f"pad: {shape_text(low)} before, {shape_text(high)} after and {list(interior)} between do not fit {shape_text(shape)}"
            )
        result = [lo + dilated(e, i + 1) + hi for lo, e, hi, i in zip(low, shape, high, interior, strict=True)]
        for axis, e in enumerate(result):
            if isinstance(e, int) and e < 0:
                raise ShapeError(
                    f"pad: {low[axis]} before and {high[axis]} after take away more than axis {axis} of {shape_text(shape)} has"
                )
        return tensor(result, dtype_of(x))

    def infer_types(self) -> Sequence[TensorType]:
        return [self.infer(self.x, self.value, self.low.extents(), self.high.extents(), self.between)]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        x, value = operands
        low, high = ([at(e) for e in edge.extents()] for edge in (self.low, self.high))
        return padded(x, value, low, high, [i + 1 for i in self.between])

    @property
    def linear(self) -> tuple[int, ...]:
        return (0, 1)

    def jvp(self, g: Algebra, tangents: Tangents) -> list[Tangent]:
        """Linear in both at once."""
        x, value = g.zeros(self.operands, tangents)
        return [g.pad(x, self.low.extents(), self.high.extents(), value, self.between)]

    def transpose_rule(self, g: Algebra, cotangent: SSAValue, position: int) -> Tangent:
        """x: its places, with zeros for what was taken away. The value: the sum over all others."""
        low, high = self.low.extents(), self.high.extents()
        if position == 1:
            mine = full(shape_of(self.x), False, "bool")
            filled = pad(mine, low, high, True, self.between)
            return g.reduce(g.select(filled, cotangent, g.like(cotangent, 0)), range(len(low)))
        before, behind = ([dims.dmax(0, -1 * e) for e in edge] for edge in (low, high))
        whole = g.pad(cotangent, before, behind)
        return g.slice(whole, [dims.dmax(0, e) for e in low], shape_of(self.x), [i + 1 for i in self.between])


def dilated(extent: Extent, by: int) -> Extent:
    """The extent of an axis whose elements stand `by` apart; 0 of none."""
    if by == 1:
        return extent
    return dims.dmax(0, (extent - 1) * by + 1)


def padded(
    x: np.ndarray, value: np.ndarray | float, low: Sequence[int], high: Sequence[int], apart: Sequence[int]
) -> np.ndarray:
    """The elements of x `apart` from each other, behind `low` others and in front of `high`; what is not x is `value`."""
    whole = [max(0, lo + (n and (n - 1) * d + 1) + hi) for n, lo, hi, d in zip(x.shape, low, high, apart, strict=True)]
    source, target = [], []
    for n, lo, d, size in zip(x.shape, low, apart, whole, strict=True):
        first = max(0, -(lo // d))  # the first that is not taken away, and how many are left
        count = max(0, min(n, -((lo - size) // d)) - first)
        source.append(builtins.slice(first, first + count))
        start = lo + first * d
        target.append(builtins.slice(start, start + count * d, d) if count else builtins.slice(0, 0))
    result = np.full(whole, value, x.dtype)
    result[tuple(target)] = x[tuple(source)]
    return result


@irdl_op_definition
class ConcatenateOp(GraphOp):
    """The operands one after another along `axis`; their other extents are equal."""

    name = "graph.concatenate"
    xs = var_operand_def(TensorType)
    axis = prop_def(IntegerAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$xs attr-dict `:` type($xs) `->` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, xs: Sequence[SSAValue], axis: int):
        super().__init__(
            operands=[list(xs)], properties={"axis": IntegerAttr(axis, i64)}, result_types=[self.infer(xs, axis)]
        )

    @staticmethod
    def infer(xs: Sequence[SSAValue], axis: int) -> TensorType:
        if not xs:
            raise ShapeError("concatenate: nothing to concatenate")
        shapes = [shape_of(x) for x in xs]
        rank, dtype = len(shapes[0]), dtype_of(xs[0])
        shaped("concatenate", 0 <= axis < rank, f"axis {axis} is not one of the {rank} axes")
        for x, shape in zip(xs, shapes, strict=True):
            others = [a for a in range(rank) if a != axis]
            if len(shape) != rank or any(shape[a] != shapes[0][a] for a in others):
                raise ShapeError(
                    f"concatenate along axis {axis}: {shape_text(shapes[0])} and {shape_text(shape)} do not fit"
                )
            if dtype_of(x) != dtype:
                raise DTypeError(f"concatenate: dtypes {dtype} and {dtype_of(x)} differ")
        total: Extent = 0
        for shape in shapes:
            total = total + shape[axis]
        return tensor([total if a == axis else e for a, e in enumerate(shapes[0])], dtype)

    def infer_types(self) -> Sequence[TensorType]:
        return [self.infer(tuple(self.xs), self.axis.value.data)]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        return np.concatenate(operands, self.axis.value.data)

    @property
    def linear(self) -> tuple[int, ...]:
        return tuple(range(len(self.xs)))

    def jvp(self, g: Algebra, tangents: Tangents) -> list[Tangent]:
        """Linear in all operands at once."""
        return [g.concatenate(g.zeros(self.operands, tangents), self.axis.value.data)]

    def transpose_rule(self, g: Algebra, cotangent: SSAValue, position: int) -> Tangent:
        axis, sizes = self.axis.value.data, shape_of(self.xs[position])
        start: Extent = 0
        for x in self.xs[:position]:
            start = start + shape_of(x)[axis]
        return g.slice(cotangent, [start if a == axis else 0 for a in range(len(sizes))], sizes)


# Builder functions -------------------------------------------------------------------------------------------------------


def slice(
    x: SSAValue,
    starts: Sequence[Extent],
    sizes: Sequence[Extent],
    steps: Sequence[int] | None = None,
    inside: bool = False,
) -> SSAValue:
    """result[i] = x[starts + i * steps], one start, size and step per axis.

    That these are elements of x is proved, refused, or becomes a check of the module; a caller that has clamped them says `inside`.
    """
    steps = [1] * len(starts) if steps is None else steps
    whole = tuple(sizes) == shape_of(x) and all(s == 0 for s in starts) and all(s == 1 for s in steps)
    if whole:
        return x
    made = SliceOp(x, starts, sizes, steps)
    if not inside:
        for axis, (start, size, step, whole_) in enumerate(zip(starts, sizes, steps, shape_of(x), strict=True)):
            _require_inside(f"slice of axis {axis}", start, size, step, whole_)
    return emit(made)[0]


def _require_inside(what: str, start: Extent, size: Extent, step: int, whole: Extent) -> None:
    """Elements start, start + step, ... are there; of none of them, the start may be the end of the axis."""
    if isinstance(size, int) and size == 0 or (size == whole and isinstance(start, int) and start == 0 and step == 1):
        return
    require_at_least(size, 0, what)
    last = start + (size - 1) * step
    least, most = (start, last) if step > 0 else (last, start)
    require_at_least(least, 0, what)
    require_at_least(whole, most + 1, what)


def slice_axis(x: SSAValue, axis: int, start: Extent, size: Extent, step: int = 1) -> SSAValue:
    """A slice of one axis, the others whole."""
    shape = shape_of(x)
    starts = [start if a == axis else 0 for a in range(len(shape))]
    return slice(
        x,
        starts,
        [size if a == axis else e for a, e in enumerate(shape)],
        [step if a == axis else 1 for a in range(len(shape))],
    )


def reverse(x: SSAValue, axes: Sequence[int]) -> SSAValue:
    shape = shape_of(x)
    starts: list[Extent] = [e - 1 if a in axes else 0 for a, e in enumerate(shape)]
    return slice(x, starts, shape, [-1 if a in axes else 1 for a in range(len(shape))], inside=True)


def split(x: SSAValue, sizes: Sequence[Extent], axis: int) -> list[SSAValue]:
    """Pieces along an axis; the sizes sum up to its extent."""
    axis = normal_axis(axis, len(shape_of(x)), "split")
    ends: list[Extent] = list(accumulate(sizes, lambda a, b: a + b))
    require_equal(ends[-1] if ends else 0, shape_of(x)[axis], f"split along axis {axis}: the sizes {shape_text(sizes)}")
    return [slice_axis(x, axis, end - size, size) for end, size in zip(ends, sizes, strict=True)]


def pad(
    x: SSAValue,
    low: Sequence[Extent],
    high: Sequence[Extent],
    value: SSAValue | float = 0,
    interior: Sequence[int] | None = None,
) -> SSAValue:
    """Constant padding, and between elements; a negative edge crops. `value` is a number or a scalar tensor of x's dtype."""
    if all(isinstance(e, int) and e == 0 for e in (*low, *high, *(interior or ()))):
        return x
    filler = value if isinstance(value, SSAValue) else scalar(value, dtype_of(x))
    made = PadOp(x, filler, low, high, interior)
    for axis, e in enumerate(shape_of(made.result)):
        require_at_least(e, 0, f"padding of axis {axis}")
    return emit(made)[0]


WIDE = 128  # operands of a concatenation; each is copied by a kernel of its own


def concatenate(xs: Sequence[SSAValue], axis: int) -> SSAValue:
    """The operands one after another along an axis; their other extents must be equal. More than WIDE of them are joined by so many first,
    and these then: equal runs of equal operands share their kernels."""
    axis = normal_axis(axis, len(shape_of(xs[0])), "concatenate") if xs else axis
    if len(xs) > 1 and len({shape_of(x)[:axis] + shape_of(x)[axis + 1 :] for x in xs}) > 1:
        common = list(shape_of(xs[0]))
        for x in xs[1:]:
            for a, (e, other) in enumerate(zip(common, shape_of(x), strict=False)):
                common[a] = other if isinstance(e, Dim) and isinstance(other, int) else e
        xs = [
            fitted(x, [shape_of(x)[a] if a == axis else e for a, e in enumerate(common)], "concatenate")
            if len(shape_of(x)) == len(common)
            else x
            for x in xs
        ]
    while len(xs) > WIDE:
        xs = [concatenate(xs[at : at + WIDE], axis) for at in range(0, len(xs), WIDE)]
    return xs[0] if len(xs) == 1 else emit(ConcatenateOp(xs, axis))[0]


def extents(values: Sequence[Extent]) -> SSAValue:
    """Dimension expressions as a one-dimensional i64 tensor."""
    if all(isinstance(e, int) for e in values) and len(values) <= IN_TEXT:
        return constant(np.array(values, np.int64))
    return concatenate([reshape(dimension(e), (1,)) for e in values], 0)
