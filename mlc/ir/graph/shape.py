"""Values that come from nowhere (constant, weight, dimension, iota) and ops that only move elements.

Extents in attributes are dimension expressions; a result shape that operands do not decide stands in the result type.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
from xdsl.dialects.builtin import (
    DenseArrayBase,
    IntegerAttr,
    StringAttr,
    SymbolRefAttr,
    TensorType,
    i64,
)
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
from mlc.ir.dtypes import TABLE
from mlc.ir.graph.base import Evaluate, GraphOp, emit, ints, require_at_least, require_equal, shaped
from mlc.ir.types import (
    DimsAttr,
    Shape,
    dtype_name,
    dtype_of,
    extent,
    numpy_dtype,
    shape_of,
    shape_text,
    tensor,
    tensor_type,
)

IN_TEXT = 16  # elements of a constant that stand in the text; larger ones are weights


@irdl_op_definition
class ConstantOp(GraphOp):
    """A small tensor whose elements stand in the text, row-major: graph.constant "0.5, 1.0" : tensor<2xf32>.

    The text is a string because xDSL prints some floats of dense attributes as integers; Python's shortest spelling is exact.
    """

    name = "graph.constant"
    elements = prop_def(StringAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$elements attr-dict `:` type($result)"

    def __init__(self, value: np.ndarray):
        dtype = dtype_name(value.dtype)
        text = ", ".join(_spelling(v, dtype) for v in value.reshape(-1).tolist())
        super().__init__(properties={"elements": StringAttr(text)}, result_types=[tensor(value.shape, dtype)])

    @property
    def value(self) -> np.ndarray:
        dtype = dtype_of(self.result)
        words = [word.strip() for word in self.elements.data.split(",")] if self.elements.data else []
        real = TABLE[dtype].kind == "float"
        read = float if real else int
        values = [word == "true" if dtype == "bool" else read(word) for word in words]
        shape = tuple(int(e) for e in shape_of(self.result))  # type: ignore[arg-type]
        return np.array(values, np.float64 if real else None).astype(numpy_dtype(dtype)).reshape(shape)

    def infer_types(self) -> Sequence[TensorType]:
        shape = shape_of(self.result)
        shaped("constant", all(isinstance(e, int) for e in shape), f"the shape {shape_text(shape)} is symbolic")
        return [tensor_type(self.result)]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        return self.value


def _spelling(value: float | bool, dtype: str) -> str:
    if dtype == "bool":
        return "true" if value else "false"
    if TABLE[dtype].kind != "float" or dtype == "f64" or math.isnan(value):
        return repr(value)
    return str(numpy_dtype(dtype).type(value)) if dtype in ("f32", "f16") else repr(float(value))


@irdl_op_definition
class WeightOp(GraphOp):
    """A tensor of the module's weight store, by key. The bytes are never in the IR."""

    name = "graph.weight"
    key = prop_def(SymbolRefAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$key attr-dict `:` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, key: str, shape: Sequence[int], dtype: str):
        super().__init__(properties={"key": SymbolRefAttr(key)}, result_types=[tensor(shape, dtype)])

    @property
    def weight_key(self) -> str:
        return self.key.root_reference.data

    def infer_types(self) -> Sequence[TensorType]:
        return [tensor_type(self.result)]


@irdl_op_definition
class DimensionOp(GraphOp):
    """The value of a dimension expression, as a scalar i64 tensor."""

    name = "graph.dimension"
    extent = prop_def(StringAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$extent attr-dict `:` type($result)"

    def __init__(self, value: Extent):
        super().__init__(properties={"extent": StringAttr(str(value))}, result_types=[tensor((), "i64")])

    def infer_types(self) -> Sequence[TensorType]:
        return [tensor((), "i64")]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        return np.array(at(extent(self.extent.data)), np.int64)


@irdl_op_definition
class IotaOp(GraphOp):
    """result[i0, i1, ...] = i_axis, in any dtype but bool."""

    name = "graph.iota"
    axis = prop_def(IntegerAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "attr-dict `:` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, shape: Sequence[Extent], axis: int, dtype: str):
        shaped("iota", 0 <= axis < len(shape), f"axis {axis} is not one of the {len(shape)} axes")
        super().__init__(properties={"axis": IntegerAttr(axis, i64)}, result_types=[tensor(shape, dtype)])

    def infer_types(self) -> Sequence[TensorType]:
        return [tensor_type(self.result)]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        shape, axis = [at(e) for e in shape_of(self.result)], self.axis.value.data
        line = np.arange(shape[axis]).astype(numpy_dtype(dtype_of(self.result)))
        return np.broadcast_to(line.reshape([-1 if a == axis else 1 for a in range(len(shape))]), shape)


@irdl_op_definition
class BroadcastOp(GraphOp):
    """x's axis i is the result's axis axes[i] (ascending), with the same extent; the result's other axes repeat x."""

    name = "graph.broadcast"
    x = operand_def(TensorType)
    axes = prop_def(DenseArrayBase)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, x: SSAValue, shape: Sequence[Extent], axes: Sequence[int]):
        super().__init__(operands=[x], properties={"axes": ints(axes)}, result_types=[self.infer(x, shape, axes)])

    @staticmethod
    def infer(x: SSAValue, shape: Sequence[Extent], axes: Sequence[int]) -> TensorType:
        source = shape_of(x)
        ascending = all(a < b for a, b in pairwise(axes))
        if len(axes) != len(source) or not ascending or not all(0 <= a < len(shape) for a in axes):
            raise ShapeError(
                f"broadcast: {list(axes)} does not place the {len(source)} axes of x in {shape_text(shape)}"
            )
        if any(source[i] != shape[a] for i, a in enumerate(axes)):
            raise ShapeError(
                f"broadcast: {shape_text(source)} does not fit the axes {list(axes)} of {shape_text(shape)}"
            )
        return tensor(shape, dtype_of(x))

    def infer_types(self) -> Sequence[TensorType]:
        return [self.infer(self.x, shape_of(self.result), self.axes.get_values())]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        shape, axes = [at(e) for e in shape_of(self.result)], self.axes.get_values()
        (x,) = operands
        return np.broadcast_to(x.reshape([shape[a] if a in axes else 1 for a in range(len(shape))]), shape)


@irdl_op_definition
class ReshapeOp(GraphOp):
    """The same elements in row-major order under another shape, which stands in the result type."""

    name = "graph.reshape"
    x = operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue, shape: Sequence[Extent]):
        before, after = dims.prod(shape_of(x)), dims.prod(shape)
        if isinstance(before, int) and isinstance(after, int) and before != after:
            raise ShapeError(
                f"reshape: {shape_text(shape_of(x))} has {before} elements, {shape_text(shape)} has {after}"
            )
        require_equal(before, after, f"reshape of {shape_text(shape_of(x))} to {shape_text(shape)}: number of elements")
        super().__init__(operands=[x], result_types=[tensor(shape, dtype_of(x))])

    def infer_types(self) -> Sequence[TensorType]:
        before, after = dims.prod(shape_of(self.x)), dims.prod(shape_of(self.result))
        shaped(
            "reshape",
            not (isinstance(before, int) and isinstance(after, int) and before != after),
            f"{before} elements become {after}",
        )
        return [tensor(shape_of(self.result), dtype_of(self.x))]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        return operands[0].reshape([at(e) for e in shape_of(self.result)])


@irdl_op_definition
class TransposeOp(GraphOp):
    """Permute axes: result.shape[i] == x.shape[permutation[i]]. Semantics: numpy.transpose."""

    name = "graph.transpose"
    x = operand_def(TensorType)
    permutation = prop_def(DenseArrayBase)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, x: SSAValue, permutation: Sequence[int]):
        super().__init__(
            operands=[x], properties={"permutation": ints(permutation)}, result_types=[self.infer(x, permutation)]
        )

    @staticmethod
    def infer(x: SSAValue, permutation: Sequence[int]) -> TensorType:
        shape = shape_of(x)
        if sorted(permutation) != list(range(len(shape))):
            raise ShapeError(f"transpose: {list(permutation)} does not permute the {len(shape)} axes of x")
        return tensor([shape[axis] for axis in permutation], dtype_of(x))

    def infer_types(self) -> Sequence[TensorType]:
        return [self.infer(self.x, self.permutation.get_values())]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        return np.transpose(operands[0], self.permutation.get_values())


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

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        (x,) = operands
        index = []
        for start, size, step in zip(
            self.starts.extents(), shape_of(self.result), self.steps.get_values(), strict=True
        ):
            index.append(at(start) + step * np.arange(at(size)))
        return x[np.ix_(*index)] if index else x


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


# Builder functions -------------------------------------------------------------------------------------------------------


def dimension(value: Extent) -> SSAValue:
    """A dimension expression (or number) as a scalar i64 tensor."""
    return constant(np.array(value, np.int64)) if isinstance(value, int) else emit(DimensionOp(value))[0]


def constant(value: np.ndarray | float | bool | Sequence[object]) -> SSAValue:
    """A small constant in the text. For larger arrays use builder.constant, which goes to the weight store."""
    array = np.asarray(value)
    if array.size > IN_TEXT:
        raise ValueError(f"a constant of {array.size} elements belongs in the weight store")
    return emit(ConstantOp(array))[0]


def scalar(value: float | bool, dtype: str) -> SSAValue:
    """A scalar tensor."""
    return emit(ConstantOp(np.array(value).astype(numpy_dtype(dtype))))[0]


def full(shape: Sequence[Extent], value: float | bool, dtype: str) -> SSAValue:
    one = scalar(value, dtype)
    return broadcast(one, shape, []) if len(shape) else one


def full_like(x: SSAValue, value: float | bool) -> SSAValue:
    return full(shape_of(x), value, dtype_of(x))


def iota(shape: Sequence[Extent], axis: int, dtype: str) -> SSAValue:
    return emit(IotaOp(shape, axis, dtype))[0]


def broadcast(x: SSAValue, shape: Sequence[Extent], axes: Sequence[int]) -> SSAValue:
    """x's axis i becomes the result's axis axes[i], whose extent it has."""
    if all(a < len(shape) for a in axes):
        x = fitted(x, [shape[a] for a in axes], "broadcast")
    if tuple(shape) == shape_of(x):
        return x
    return emit(BroadcastOp(x, shape, axes))[0]


def reshape(x: SSAValue, shape: Sequence[Extent]) -> SSAValue:
    return x if tuple(shape) == shape_of(x) else emit(ReshapeOp(x, tuple(shape)))[0]


def fitted(x: SSAValue, shape: Sequence[Extent], what: str) -> SSAValue:
    """x under the shape that an op wants of it. What sizes decide is proved, refused or left as a check: an extent may have another name in
    either shape, or be a number in one of them. Numbers that differ, and ranks, are left to the op, whose type rule says what it wants."""
    source = shape_of(x)
    if source == tuple(shape) or len(source) != len(shape):
        return x
    if any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in zip(source, shape, strict=True)):
        return x
    for axis, (found, wanted) in enumerate(zip(source, shape, strict=True)):
        require_equal(found, wanted, f"{what}: axis {axis} of {shape_text(source)} and of {shape_text(shape)}")
    return reshape(x, shape)


def squeeze(x: SSAValue, axes: Sequence[int]) -> SSAValue:
    """Drop axes of extent 1 (a symbolic one is checked)."""
    shape = shape_of(x)
    axes = [normal_axis(a, len(shape), "squeeze") for a in axes]
    for a in axes:
        require_equal(shape[a], 1, f"squeeze: axis {a} of {shape_text(shape)}")
    return reshape(x, [e for a, e in enumerate(shape) if a not in axes])


def unsqueeze(x: SSAValue, axes: Sequence[int]) -> SSAValue:
    """New axes of extent 1 at these positions of the result."""
    rank = len(shape_of(x)) + len(axes)
    places = sorted(normal_axis(a, rank, "unsqueeze") for a in axes)
    shaped("unsqueeze", len(set(places)) == len(places), f"axes {list(axes)} name one axis twice")
    rest = iter(shape_of(x))
    return reshape(x, [1 if a in places else next(rest) for a in range(rank)])


def transpose(x: SSAValue, permutation: Sequence[int]) -> SSAValue:
    return x if list(permutation) == list(range(len(shape_of(x)))) else emit(TransposeOp(x, permutation))[0]


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


def broadcast_to(x: SSAValue, shape: Sequence[Extent]) -> SSAValue:
    """numpy.broadcast_to: trailing axes align, an axis of extent 1 repeats. A symbolic extent repeats only where it is at most 1, as min(1, N)."""
    source, shape = shape_of(x), tuple(shape)
    if source == shape:
        return x
    lead = len(shape) - len(source)
    single = [
        a for a, e in enumerate(source) if isinstance(e, Dim) and lead >= 0 and e != shape[lead + a] and _at_most_one(e)
    ]
    if single:
        for a in single:
            require_equal(source[a], 1, f"broadcast of {shape_text(source)} to {shape_text(shape)}: axis {a}")
        x = reshape(x, [1 if a in single else e for a, e in enumerate(source)])
        source = shape_of(x)
    if lead < 0 or any(e != 1 and e != shape[lead + a] for a, e in enumerate(source)):
        fixed = []
        for a, e in enumerate(source) if lead >= 0 else ():
            fixed.append(
                e
                if e == 1
                else require_equal(e, shape[lead + a], f"broadcast of {shape_text(source)} to {shape_text(shape)}")
            )
        if lead < 0:
            raise ShapeError(f"broadcast: {shape_text(source)} does not broadcast to {shape_text(shape)}")
        x = reshape(x, [1 if e == 1 else shape[lead + a] for a, e in enumerate(source)])
        source = shape_of(x)
    kept = [a for a, e in enumerate(source) if not (e == 1 and shape[lead + a] != 1)]
    return broadcast(reshape(x, [source[a] for a in kept]), shape, [lead + a for a in kept])


def common_shape(shapes: Sequence[Shape], what: str = "broadcast") -> Shape:
    """numpy.broadcast_shapes; unequal symbolic extents become a check. One that is at most 1, as min(1, N), is 1 beside another."""
    rank = max((len(s) for s in shapes), default=0)
    result: list[Extent] = []
    for axis in range(rank):
        places = [axis - (rank - len(shape)) for shape in shapes]
        found = [shape[place] for place, shape in zip(places, shapes, strict=True) if place >= 0 and shape[place] != 1]
        larger = [e for e in found if not (isinstance(e, Dim) and _at_most_one(e))]
        extent_: Extent = 1
        for e in larger or found:
            extent_ = e if extent_ == 1 else require_equal(extent_, e, f"{what}: axis {axis}")
        result.append(extent_)
    return tuple(result)


def _at_most_one(e: Dim) -> bool:
    most = dims.bounds_of(e, {})[1]
    return most is not None and most <= 1


def lift(*xs: SSAValue) -> tuple[SSAValue, ...]:
    """The operands broadcast to their common shape, as NumPy does."""
    shape = common_shape([shape_of(x) for x in xs], "broadcast of " + " and ".join(shape_text(shape_of(x)) for x in xs))
    return tuple(broadcast_to(x, shape) for x in xs)


def tile(x: SSAValue, repeats: Sequence[Extent]) -> SSAValue:
    """numpy.tile with one count per axis."""
    shape = shape_of(x)
    shaped("tile", len(repeats) == len(shape), f"{len(repeats)} counts for {shape_text(shape)}")
    if all(isinstance(r, int) and r == 1 for r in repeats):
        return x
    pairs = [e for pair in zip(repeats, shape, strict=True) for e in pair]
    wide = broadcast(x, pairs, [2 * a + 1 for a in range(len(shape))])
    return reshape(wide, [r * e for r, e in zip(repeats, shape, strict=True)])


def normal_axis(axis: int, rank: int, what: str) -> int:
    """A negative axis counts from the end. Raises ShapeError outside -rank..rank-1."""
    if not -rank <= axis < rank:
        raise ShapeError(f"{what}: axis {axis} is not one of the {rank} axes")
    return axis % rank if rank else 0
