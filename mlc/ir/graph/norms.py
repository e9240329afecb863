"""Normalisations as composites: over trailing axes (layer, rms), by stored statistics (batch), and over the places of each channel or group of
channels (instance, group)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from xdsl.dialects.builtin import DenseArrayBase, FloatAttr, IntegerAttr, TensorType, f64, i64
from xdsl.ir import SSAValue
from xdsl.irdl import (
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import Pure

from mlc.errors import DTypeError, ShapeError
from mlc.ir import dims
from mlc.ir.graph import reduce
from mlc.ir.graph import shape as shapes
from mlc.ir.graph.base import emit, ints, require_equal
from mlc.ir.graph.composites import CompositeOp, at_least_f32, require_float
from mlc.ir.graph.derivative import Algebra, Tangent, Tangents
from mlc.ir.graph.elementwise import apply, apply_cast
from mlc.ir.types import Shape, dtype_of, is_float, shape_of, shape_text, tensor_type, type_text


class NormalizationOp(CompositeOp):
    """An op on the last axes of x, `axes`, whose parameters have the shape of those axes and x's dtype; the result has x's type."""

    inputs = var_operand_def(TensorType)
    axes = prop_def(DenseArrayBase)
    epsilon = prop_def(FloatAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$inputs attr-dict `:` type($inputs) `->` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, x: SSAValue, parameters: Sequence[SSAValue], axes: Sequence[int], epsilon: float):
        require_float(self.title, x)
        _trailing(self.title, x, parameters, axes)
        super().__init__(
            operands=[[x, *parameters]],
            properties={"axes": ints(axes), "epsilon": FloatAttr(epsilon, f64)},
            result_types=[x.type],
        )

    def infer_types(self) -> Sequence[TensorType]:
        _trailing(self.title, self.inputs[0], self.inputs[1:], self.axes.get_values())
        return [tensor_type(self.inputs[0])]

    @property
    def lead(self) -> list[int]:
        """The axes in front of the normalised ones."""
        return list(range(self.axes.get_values()[0]))

    @abstractmethod
    def normalized(self, x: SSAValue) -> tuple[SSAValue, SSAValue]:
        """(x normalised, in f32 at least; the factor that x was multiplied by)"""

    def inverse(self, square: SSAValue, shape: Shape) -> SSAValue:
        """1 / sqrt(square + epsilon), repeated along the normalised axes."""
        shifted = apply("add", square, shapes.full_like(square, self.epsilon.value.data))
        return shapes.broadcast(apply("rsqrt", shifted), shape, self.lead)

    def changed(self, g: Algebra, tangents: Tangents, centre: bool) -> Tangent:
        """The tangent of the result. The row statistics are computed again as `decompose` does, whose values CSE finds."""
        x, *parameters = self.inputs
        tx, *others = tangents
        axes, shape = list(self.axes.get_values()), shape_of(x)
        y, inverse = self.normalized(x)
        total: Tangent = None
        if tx is not None:
            t = at_least_f32(tx)
            moved = g.sub(t, g.mul(y, g.spread(g.mean(g.mul(y, t), axes), shape, axes)))
            moved = g.sub(moved, g.spread(g.mean(t, axes), shape, axes)) if centre else moved
            total = g.mul(moved, inverse)
            if parameters:
                total = g.mul(total, g.broadcast(at_least_f32(parameters[0]), shape, axes))
        for number, change in enumerate(others):
            if change is not None:
                wide = g.broadcast(at_least_f32(change), shape, axes)
                total = g.accumulate(total, g.mul(wide, y) if number == 0 else wide)
        return None if total is None else g.cast(total, dtype_of(x))


@irdl_op_definition
class LayerNormOp(NormalizationOp):
    """(x - mean) / sqrt(var + epsilon) * scale + bias over `axes` (trailing ones); scale and bias have the shape of those axes.

    Operands: x, then scale, then bias; both may be left out. Ba, Kiros, Hinton 2016.
    """

    name = "graph.layer_norm"

    def decompose(self, *operands: SSAValue) -> SSAValue:
        x, *parameters = operands
        return _scaled(self.normalized(x)[0], parameters, self.axes.get_values(), dtype_of(x))

    def normalized(self, x: SSAValue) -> tuple[SSAValue, SSAValue]:
        axes, wide = list(self.axes.get_values()), at_least_f32(x)
        mean = shapes.broadcast(reduce.mean(wide, axes), shape_of(x), self.lead)
        centred = apply("sub", wide, mean)
        inverse = self.inverse(reduce.mean(apply("mul", centred, centred), axes), shape_of(x))
        return apply("mul", centred, inverse), inverse

    def jvp(self, g: Algebra, tangents: Tangents) -> list[Tangent]:
        """r * (t - mean(t) - y * mean(y * t)) of y, the normalised x, and r = 1 / sqrt(var + epsilon)"""
        return [self.changed(g, tangents, centre=True)]


@irdl_op_definition
class RmsNormOp(NormalizationOp):
    """x / sqrt(mean(x * x) + epsilon) * scale over `axes` (trailing ones). Zhang, Sennrich 2019."""

    name = "graph.rms_norm"

    def decompose(self, *operands: SSAValue) -> SSAValue:
        x, *parameters = operands
        return _scaled(self.normalized(x)[0], parameters, self.axes.get_values(), dtype_of(x))

    def normalized(self, x: SSAValue) -> tuple[SSAValue, SSAValue]:
        wide = at_least_f32(x)
        inverse = self.inverse(reduce.mean(apply("mul", wide, wide), list(self.axes.get_values())), shape_of(x))
        return apply("mul", wide, inverse), inverse

    def jvp(self, g: Algebra, tangents: Tangents) -> list[Tangent]:
        """r * (t - y * mean(y * t)) of y, the normalised x, and r = 1 / sqrt(mean(x * x) + epsilon)"""
        return [self.changed(g, tangents, centre=False)]


def _trailing(op: str, x: SSAValue, parameters: Sequence[SSAValue], axes: Sequence[int]) -> None:
    shape = shape_of(x)
    if not axes or list(axes) != list(range(len(shape) - len(axes), len(shape))):
        raise ShapeError(f"{op}: axes {list(axes)} are not the last axes of {shape_text(shape)}")
    for value in parameters:
        if shape_of(value) != shape[axes[0] :] or dtype_of(value) != dtype_of(x):
            raise ShapeError(
                f"{op}: a parameter is {type_text(tensor_type(value))}, the axes of x are "
                f"{dtype_of(x)}{shape_text(shape[axes[0] :])}"
            )


def _scaled(y: SSAValue, parameters: Sequence[SSAValue], axes: Sequence[int], dtype: str) -> SSAValue:
    for op, value in zip(("mul", "add"), parameters, strict=False):
        y = apply(op, y, shapes.broadcast(at_least_f32(value), shape_of(y), list(axes)))
    return apply_cast(y, dtype)


# Per channel -------------------------------------------------------------------------------------------------------------


def _require_per_channel(op: str, x: SSAValue, axis: int, vectors: dict[str, SSAValue]) -> None:
    """Floats, one per channel of x."""
    for name, value in vectors.items():
        if not is_float(dtype_of(value)) or shape_of(value) != shape_of(x)[axis : axis + 1]:
            raise ShapeError(
                f"{op}: {name} is {type_text(tensor_type(value))}, axis {axis} of {shape_text(shape_of(x))} has the channels"
            )


@irdl_op_definition
class BatchNormOp(CompositeOp):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias per channel, those of `axis`, as x * factor + offset. Ioffe, Szegedy 2015.

    Parameters and statistics are floats of any dtypes; f16 and bf16 are computed in f32.
    """

    name = "graph.batch_norm"
    x = operand_def(TensorType)
    scale = operand_def(TensorType)
    bias = operand_def(TensorType)
    mean = operand_def(TensorType)
    variance = operand_def(TensorType)
    epsilon = prop_def(FloatAttr)
    axis = prop_def(IntegerAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x `,` $scale `,` $bias `,` $mean `,` $variance attr-dict `:` type($x) `,` type($scale) `,` type($bias) `,` type($mean) `,` type($variance) `->` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(
        self,
        x: SSAValue,
        scale: SSAValue,
        bias: SSAValue,
        mean: SSAValue,
        variance: SSAValue,
        epsilon: float,
        axis: int,
    ):
        super().__init__(
            operands=[x, scale, bias, mean, variance],
            properties={"epsilon": FloatAttr(epsilon, f64), "axis": IntegerAttr(axis, i64)},
            result_types=[x.type],
        )
        self.infer_types()

    def infer_types(self) -> Sequence[TensorType]:
        require_float("batch_norm", self.x)
        names = ("scale", "bias", "mean", "variance")
        _require_per_channel(
            "batch_norm", self.x, self.axis.value.data, dict(zip(names, self.operands[1:], strict=True))
        )
        return [tensor_type(self.x)]

    def factor_and_offset(
        self, scale: SSAValue, bias: SSAValue, mean: SSAValue, variance: SSAValue
    ) -> tuple[SSAValue, SSAValue]:
        """What x is multiplied by and what is added, per channel, in the widest of their dtypes and f32."""
        dtype = "f64" if any(dtype_of(v) == "f64" for v in (scale, bias, mean, variance)) else "f32"
        scale, bias, mean, variance = (apply_cast(v, dtype) for v in (scale, bias, mean, variance))
        shifted = apply("add", variance, shapes.full_like(variance, self.epsilon.value.data))
        factor = apply("mul", scale, apply("rsqrt", shifted))
        return factor, apply("sub", bias, apply("mul", mean, factor))

    def decompose(self, *operands: SSAValue) -> SSAValue:
        x, *vectors = operands
        values = at_least_f32(x)
        factor, offset = (
            shapes.broadcast(apply_cast(v, dtype_of(values)), shape_of(x), [self.axis.value.data])
            for v in self.factor_and_offset(*vectors)
        )
        return apply_cast(apply("add", apply("mul", values, factor), offset), dtype_of(x))


class SpatialNormOp(CompositeOp):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, scale and bias per channel, axis 1 of x [batch, channels, ...], of its dtype.

    f16 and bf16 are normalised in f32.
    """

    x = operand_def(TensorType)
    scale = operand_def(TensorType)
    bias = operand_def(TensorType)
    epsilon = prop_def(FloatAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = (
        "$x `,` $scale `,` $bias attr-dict `:` type($x) `,` type($scale) `,` type($bias) `->` type($result)"
    )
    irdl_options = (ParsePropInAttrDict(),)

    def infer_types(self) -> Sequence[TensorType]:
        require_float(self.title, self.x)
        if len(shape_of(self.x)) < 2:
            raise ShapeError(f"{self.title}: x has {len(shape_of(self.x))} axes, batch and channels are needed")
        _require_per_channel(self.title, self.x, 1, {"scale": self.scale, "bias": self.bias})
        for value in (self.scale, self.bias):
            if dtype_of(value) != dtype_of(self.x):
                raise DTypeError(f"{self.title}: dtypes {dtype_of(self.x)} and {dtype_of(value)} differ")
        return [tensor_type(self.x)]


def _per_channel(y: SSAValue, scale: SSAValue, bias: SSAValue) -> SSAValue:
    scaled = apply("mul", y, shapes.broadcast(scale, shape_of(y), [1]))
    return apply("add", scaled, shapes.broadcast(bias, shape_of(y), [1]))


def standardized(x: SSAValue, axes: Sequence[int], epsilon: float) -> tuple[SSAValue, SSAValue, SSAValue]:
    """((x - mean) / sqrt(variance + epsilon), mean, 1 / sqrt(variance + epsilon)); the last two keep their axes."""
    shape = shape_of(x)
    mean = reduce.mean(x, axes, keepdims=True)
    deviation = apply("sub", x, shapes.broadcast_to(mean, shape))
    variance = reduce.mean(apply("mul", deviation, deviation), axes, keepdims=True)
    inverse = apply("reciprocal", apply("sqrt", apply("add", variance, shapes.full_like(variance, epsilon))))
    return apply("mul", deviation, shapes.broadcast_to(inverse, shape)), mean, inverse


@irdl_op_definition
class InstanceNormOp(SpatialNormOp):
    """Each channel of each item normalised by its own mean and variance. Ulyanov, Vedaldi, Lempitsky 2016."""

    name = "graph.instance_norm"

    def __init__(self, x: SSAValue, scale: SSAValue, bias: SSAValue, epsilon: float):
        properties = {"epsilon": FloatAttr(epsilon, f64)}
        super().__init__(operands=[x, scale, bias], properties=properties, result_types=[x.type])
        self.infer_types()

    def decompose(self, *operands: SSAValue) -> SSAValue:
        x, scale, bias = operands
        y, _, _ = standardized(at_least_f32(x), list(range(2, len(shape_of(x)))), self.epsilon.value.data)
        return _per_channel(apply_cast(y, dtype_of(x)), scale, bias)


@irdl_op_definition
class GroupNormOp(SpatialNormOp):
    """Each of `groups` equal runs of channels of each item normalised by its own mean and variance. Wu, He 2018."""

    name = "graph.group_norm"
    groups = prop_def(IntegerAttr)

    def __init__(self, x: SSAValue, scale: SSAValue, bias: SSAValue, groups: int, epsilon: float):
        super().__init__(
            operands=[x, scale, bias],
            properties={"groups": IntegerAttr(groups, i64), "epsilon": FloatAttr(epsilon, f64)},
            result_types=[x.type],
        )
        self.infer_types()

    def infer_types(self) -> Sequence[TensorType]:
        found, groups = super().infer_types(), self.groups.value.data
        channels = shape_of(self.x)[1]
        if groups < 1 or (isinstance(channels, int) and channels % groups):
            raise ShapeError(f"group_norm: {channels} channels cannot form {groups} groups")
        return found

    def decompose(self, *operands: SSAValue) -> SSAValue:
        x, scale, bias = operands
        (batch, channels, *spatial), groups = shape_of(x), self.groups.value.data
        grouped = shapes.reshape(at_least_f32(x), [batch, groups, dims.floordiv(channels, groups), *spatial])
        y, _, _ = standardized(grouped, list(range(2, len(shape_of(grouped)))), self.epsilon.value.data)
        return _per_channel(shapes.reshape(apply_cast(y, dtype_of(x)), shape_of(x)), scale, bias)


# Builder functions -------------------------------------------------------------------------------------------------------


def layer_norm(
    x: SSAValue, scale: SSAValue | None, bias: SSAValue | None, axes: Sequence[int], epsilon: float = 1e-5
) -> SSAValue:
    """Normalise over trailing axes. bias needs scale."""
    axes = sorted(shapes.normal_axis(a, len(shape_of(x)), "layer_norm") for a in axes)
    if scale is None and bias is not None:
        scale = shapes.full(shape_of(bias), 1, dtype_of(bias))
    return emit(LayerNormOp(x, [v for v in (scale, bias) if v is not None], axes, epsilon))[0]


def rms_norm(x: SSAValue, scale: SSAValue | None, axes: Sequence[int], epsilon: float = 1e-5) -> SSAValue:
    """Root-mean-square normalisation over trailing axes."""
    axes = sorted(shapes.normal_axis(a, len(shape_of(x)), "rms_norm") for a in axes)
    return emit(RmsNormOp(x, [] if scale is None else [scale], axes, epsilon))[0]


def batch_norm(
    x: SSAValue,
    scale: SSAValue,
    bias: SSAValue,
    mean: SSAValue,
    variance: SSAValue,
    epsilon: float = 1e-5,
    axis: int = 1,
) -> SSAValue:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias per channel; f16 and bf16 in f32."""
    axis = shapes.normal_axis(axis, len(shape_of(x)), "batch_norm")
    return emit(BatchNormOp(x, scale, bias, mean, variance, epsilon, axis))[0]


def instance_norm(x: SSAValue, scale: SSAValue, bias: SSAValue, epsilon: float = 1e-5) -> SSAValue:
    """Normalise each channel of each item, [batch, channels, ...]; then scale and bias per channel."""
    return emit(InstanceNormOp(x, scale, bias, epsilon))[0]


def group_norm(x: SSAValue, scale: SSAValue, bias: SSAValue, groups: int, epsilon: float = 1e-5) -> SSAValue:
    """Normalise each group of channels of each item, [batch, channels, ...]; then scale and bias per channel."""
    made = GroupNormOp(x, scale, bias, groups, epsilon)
    channels = shape_of(x)[1]
    require_equal(channels, dims.floordiv(channels, groups) * groups, f"group_norm: channels in {groups} groups")
    return emit(made)[0]
