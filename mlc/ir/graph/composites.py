"""Named ops that are made of primitives: a pass may know one by name, or replace it by `decompose()`.

Each one's meaning is its decomposition; nothing has to know a composite.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from xdsl.dialects.builtin import IntegerAttr, TensorType, i64
from xdsl.ir import Block, SSAValue
from xdsl.irdl import (
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure

from mlc.errors import DTypeError
from mlc.ir.dims import Extent
from mlc.ir.graph import elementwise, reduce
from mlc.ir.graph import shape as shapes
from mlc.ir.graph.base import Evaluate, GraphOp, building, emit, flops_in
from mlc.ir.graph.control import YieldOp
from mlc.ir.graph.derivative import Algebra, Tangent, Tangents
from mlc.ir.graph.evaluation import Evaluation
from mlc.ir.types import (
    dtype_of,
    is_float,
    is_half,
    is_static,
    shape_of,
    shape_of_type,
    tensor_type,
)

_apply = elementwise.apply


class CompositeOp(GraphOp):
    """An op with a decomposition into primitives."""

    @property
    def title(self) -> str:
        """As errors name it: layer_norm."""
        return self.name.removeprefix("graph.")

    @property
    def by_parts(self) -> bool:
        """Whether it decomposes into smaller ones of its kind, whose derivatives are taken, and not its own."""
        return False

    @abstractmethod
    def decompose(self, *operands: SSAValue) -> SSAValue | Sequence[SSAValue]:
        """Build the same value, or one for each result, from primitives at the current position."""

    @property
    def flops(self) -> Extent:
        return flops_in(self.body())

    def body(self) -> Block:
        """The decomposition as a closed body, whose arguments are the operands."""
        block = Block(arg_types=[operand.type for operand in self.operands])
        with building(block, checks=[]):
            found = self.decompose(*block.args)
            emit(YieldOp([found] if isinstance(found, SSAValue) else found))
        return block

    def evaluator(self, at: Evaluate) -> Callable[..., tuple[np.ndarray, ...]]:
        """Composites of one class and one set of attributes, of the same static operands and results, share their decomposition."""
        types = tuple([tensor_type(value) for value in (*self.operands, *self.results)])
        if not all(is_static(shape_of_type(t)) for t in types):
            return Evaluation(self.body(), at)
        key = (type(self), *self.properties.items(), *self.attributes.items(), len(self.operands), types)
        found = _evaluations.get(key)
        if found is None:
            if len(_evaluations) >= _MOST_EVALUATIONS:
                _evaluations.clear()
            found = _evaluations[key] = Evaluation(self.body(), at)
        return found


_MOST_EVALUATIONS = 1024
_evaluations: dict[Hashable, Evaluation] = {}


def require_float(op: str, x: SSAValue) -> None:
    if not is_float(dtype_of(x)):
        raise DTypeError(f"{op}: takes floats, not {dtype_of(x)}")


def at_least_f32(x: SSAValue) -> SSAValue:
    """f16 and bf16 reductions run in f32."""
    return elementwise.apply_cast(x, "f32") if is_half(dtype_of(x)) else x


class RowwiseOp(CompositeOp):
    """An op on each row along one axis of x: f16 to f64, the result has x's type."""

    x = operand_def(TensorType)
    axis = prop_def(IntegerAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, x: SSAValue, axis: int):
        require_float(self.title, x)
        axis = shapes.normal_axis(axis, len(shape_of(x)), self.title)
        super().__init__(operands=[x], properties={"axis": IntegerAttr(axis, i64)}, result_types=[x.type])

    def infer_types(self) -> Sequence[TensorType]:
        return [tensor_type(self.x)]


@irdl_op_definition
class SoftmaxOp(RowwiseOp):
    """exp(x - max x) / sum over an axis. A row of -inf alone gives NaN, as the definition does."""

    name = "graph.softmax"

    def decompose(self, *operands: SSAValue) -> SSAValue:
        (x,) = operands
        axis, wide = self.axis.value.data, at_least_f32(x)
        others = [a for a in range(len(shape_of(x))) if a != axis]
        top = reduce.reduce(wide, [axis], "max")
        e = _apply("exp", _apply("sub", wide, shapes.broadcast(top, shape_of(x), others)))
        total = reduce.reduce(e, [axis], "sum")
        inverse = shapes.broadcast(_apply("reciprocal", total), shape_of(x), others)
        return elementwise.apply_cast(_apply("mul", e, inverse), dtype_of(x))

    def jvp(self, g: Algebra, tangents: Tangents) -> list[Tangent]:
        """y * (t - sum(y * t)), in f32 of halves."""
        (t,), y, axes = tangents, at_least_f32(self.result), [self.axis.value.data]
        if t is None:
            return [None]
        weighted = g.mul(y, at_least_f32(t))
        total = g.spread(g.reduce(weighted, axes), shape_of(y), axes)
        return [g.cast(g.sub(weighted, g.mul(y, total)), dtype_of(self.x))]


@irdl_op_definition
class LogSoftmaxOp(RowwiseOp):
    """x - max x - log(sum(exp(x - max x))) over an axis. The sum leaves out the 1 of a maximum, which log1p adds: where one element outweighs
    the others its result is as small as they are, and has all of its digits."""

    name = "graph.log_softmax"

    def decompose(self, *operands: SSAValue) -> SSAValue:
        (x,) = operands
        axis, wide = self.axis.value.data, at_least_f32(x)
        others = [a for a in range(len(shape_of(x))) if a != axis]
        top = reduce.reduce(wide, [axis], "max")
        centred = _apply("sub", wide, shapes.broadcast(top, shape_of(x), others))
        total = log_of_sum(centred, [axis], keepdims=False)
        return elementwise.apply_cast(_apply("sub", centred, shapes.broadcast(total, shape_of(x), others)), dtype_of(x))

    def jvp(self, g: Algebra, tangents: Tangents) -> list[Tangent]:
        """t - sum(exp(y) * t), in f32 of halves."""
        (t,), y, axes = tangents, at_least_f32(self.result), [self.axis.value.data]
        if t is None:
            return [None]
        wide = at_least_f32(t)
        total = g.spread(g.reduce(g.mul(wide, g.apply("exp", y)), axes), shape_of(y), axes)
        return [g.cast(g.sub(wide, total), dtype_of(self.x))]


def log_of_sum(centred: SSAValue, axes: Sequence[int], keepdims: bool) -> SSAValue:
    """log(sum(exp(x))) over axes of x, whose maximum is 0: log1p of what the others add."""
    number = lambda value: shapes.full_like(centred, value)
    top = _apply("eq", centred, number(0.0))
    others = reduce.reduce(_apply("select", top, number(0.0), _apply("exp", centred)), axes, "sum", keepdims)
    tops = reduce.reduce(_apply("select", top, number(1.0), number(0.0)), axes, "sum", keepdims)
    return _apply("log1p", _apply("add", others, _apply("sub", tops, shapes.full_like(tops, 1.0))))


@irdl_op_definition
class GeluTanhOp(CompositeOp):
    """gelu by tanh: x / 2 * (1 + tanh(u)), u = sqrt(2 / pi) * (x + 0.044715 x^3). Hendrycks, Gimpel 2016.

    x / (1 + exp(-2 u)), which is the same, keeps its digits where x is far below 0.
    """

    name = "graph.gelu_tanh"
    x = operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue):
        require_float("gelu", x)
        super().__init__(operands=[x], result_types=[x.type])

    def infer_types(self) -> Sequence[TensorType]:
        return [tensor_type(self.x)]

    def decompose(self, *operands: SSAValue) -> SSAValue:
        x = at_least_f32(operands[0])
        number = lambda value: shapes.full_like(x, value)
        slope = -2 * math.sqrt(2 / math.pi)
        cubic = _apply("mul", _apply("mul", x, x), number(0.044715 * slope))
        e = _apply("exp", _apply("mul", x, _apply("add", cubic, number(slope))))
        return elementwise.apply_cast(_apply("div", x, _apply("add", e, number(1.0))), dtype_of(operands[0]))

    def jvp(self, g: Algebra, tangents: Tangents) -> list[Tangent]:
        """s + x * s * (1 - s) * 2 u', where s = 1 / (1 + exp(-2 u)) and u' = sqrt(2 / pi) * (1 + 3 * 0.044715 x^2)"""
        (t,), x = tangents, at_least_f32(self.x)
        if t is None:
            return [None]
        slope, square = 2 * math.sqrt(2 / math.pi), g.mul(x, x)
        inner = g.mul(x, g.add(g.scale(square, 0.044715 * slope), g.like(x, slope)))
        s = g.apply("sigmoid", inner)
        rise = g.add(g.scale(square, 3 * 0.044715 * slope), g.like(x, slope))
        factor = g.add(s, g.mul(g.mul(x, rise), g.mul(s, g.sub(g.like(s, 1), s))))
        return [g.cast(g.mul(at_least_f32(t), factor), dtype_of(self.x))]


@irdl_op_definition
class SiluOp(CompositeOp):
    """x * sigmoid(x), of floats. Elfwing, Uchibe, Doya 2018."""

    name = "graph.silu"
    x = operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue):
        require_float("silu", x)
        super().__init__(operands=[x], result_types=[x.type])

    def infer_types(self) -> Sequence[TensorType]:
        return [tensor_type(self.x)]

    def decompose(self, *operands: SSAValue) -> SSAValue:
        (x,) = operands
        return _apply("mul", x, _apply("sigmoid", x))

    def jvp(self, g: Algebra, tangents: Tangents) -> list[Tangent]:
        """s + y * (1 - s), where s = sigmoid(x)"""
        (t,), s = tangents, g.apply("sigmoid", self.x)
        if t is None:
            return [None]
        return [g.mul(t, g.add(s, g.mul(self.result, g.sub(g.like(s, 1), s))))]


@irdl_op_definition
class StopGradientOp(CompositeOp):
    """x itself, of any dtype. Derivatives do not look behind it: to them the result is a constant."""

    name = "graph.stop_gradient"
    x = operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue):
        super().__init__(operands=[x], result_types=[x.type])

    def infer_types(self) -> Sequence[TensorType]:
        return [tensor_type(self.x)]

    def decompose(self, *operands: SSAValue) -> SSAValue:
        return operands[0]

    @property
    def flat(self) -> bool:
        return True


# Builder functions -------------------------------------------------------------------------------------------------------


def softmax(x: SSAValue, axis: int = -1) -> SSAValue:
    """Softmax over one axis; f16 and bf16 in f32."""
    return emit(SoftmaxOp(x, axis))[0]


def log_softmax(x: SSAValue, axis: int = -1) -> SSAValue:
    """log(softmax(x)) over one axis, without overflow."""
    return emit(LogSoftmaxOp(x, axis))[0]


def gelu(x: SSAValue, approximate: str = "none") -> SSAValue:
    """Gaussian error linear unit, exact (`approximate` is "none") or by tanh ("tanh")."""
    if approximate not in ("none", "tanh"):
        raise DTypeError(f"gelu: approximate is none or tanh, not {approximate!r}")
    return _apply("gelu", x) if approximate == "none" else emit(GeluTanhOp(x))[0]


def stop_gradient(x: SSAValue) -> SSAValue:
    """x, as a constant to derivatives."""
    return emit(StopGradientOp(x))[0]


def silu(x: SSAValue) -> SSAValue:
    """x * sigmoid(x)."""
    return emit(SiluOp(x))[0]
