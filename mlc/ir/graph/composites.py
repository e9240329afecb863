"""Named ops that are made of primitives: a pass may know one by name, or replace it by `decompose()`.

Each one's meaning is its decomposition; nothing has to know a composite.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import IntegerAttr, StringAttr, TensorType, i64
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

from mlc.errors import DTypeError, ShapeError
from mlc.ir.graph import elementwise, linear, reduce
from mlc.ir.graph import shape as shapes
from mlc.ir.graph.base import Evaluate, GraphOp, building, emit, run_block
from mlc.ir.graph.control import YieldOp
from mlc.ir.types import dtype_of, is_float, is_half, shape_of, tensor_type

_apply = elementwise.apply


class CompositeOp(GraphOp):
    """An op with a decomposition into primitives."""

    @property
    def title(self) -> str:
        """As errors name it: layer_norm."""
        return self.name.removeprefix("graph.")

    @abstractmethod
    def decompose(self, *operands: SSAValue) -> SSAValue | Sequence[SSAValue]:
        """Build the same value, or one for each result, from primitives at the current position."""

    def body(self) -> Block:
        """The decomposition as a closed body, whose arguments are the operands."""
        block = Block(arg_types=[operand.type for operand in self.operands])
        with building(block, checks=[]):
            found = self.decompose(*block.args)
            emit(YieldOp([found] if isinstance(found, SSAValue) else found))
        return block

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> tuple[np.ndarray, ...]:
        return run_block(self.body(), operands, at)


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


def log_of_sum(centred: SSAValue, axes: Sequence[int], keepdims: bool) -> SSAValue:
    """log(sum(exp(x))) over axes of x, whose maximum is 0: log1p of what the others add."""
    number = lambda value: shapes.full_like(centred, value)
    top = _apply("eq", centred, number(0.0))
    others = reduce.reduce(_apply("select", top, number(0.0), _apply("exp", centred)), axes, "sum", keepdims)
    tops = reduce.reduce(_apply("select", top, number(1.0), number(0.0)), axes, "sum", keepdims)
    return _apply("log1p", _apply("add", others, _apply("sub", tops, shapes.full_like(tops, 1.0))))


@irdl_op_definition
class GeluOp(CompositeOp):
    """x * Phi(x) (approximate none), or with tanh: x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))). Hendrycks, Gimpel 2016.

    Phi(x) = erfc(-x / sqrt(2)) / 2 and (1 + tanh(u)) / 2 = sigmoid(2 u) keep their digits where x is far below 0.
    """

    name = "graph.gelu"
    x = operand_def(TensorType)
    approximate = prop_def(StringAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, x: SSAValue, approximate: str):
        require_float("gelu", x)
        if approximate not in ("none", "tanh"):
            raise DTypeError(f"gelu: approximate is none or tanh, not {approximate!r}")
        super().__init__(operands=[x], properties={"approximate": StringAttr(approximate)}, result_types=[x.type])

    def infer_types(self) -> Sequence[TensorType]:
        return [tensor_type(self.x)]

    def decompose(self, *operands: SSAValue) -> SSAValue:
        x = at_least_f32(operands[0])
        number = lambda value: shapes.full_like(x, value)
        if self.approximate.data == "none":
            tail = _apply("erfc", _apply("mul", x, number(-1 / math.sqrt(2))))
            return elementwise.apply_cast(_apply("mul", _apply("mul", x, number(0.5)), tail), dtype_of(operands[0]))
        cubic = _apply("mul", _apply("mul", _apply("mul", x, x), x), number(0.044715))
        inner = _apply("mul", _apply("add", x, cubic), number(2 * math.sqrt(2 / math.pi)))
        return elementwise.apply_cast(_apply("mul", x, _apply("sigmoid", inner)), dtype_of(operands[0]))


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


# Builder functions -------------------------------------------------------------------------------------------------------


def softmax(x: SSAValue, axis: int = -1) -> SSAValue:
    """Softmax over one axis; f16 and bf16 in f32."""
    return emit(SoftmaxOp(x, axis))[0]


def log_softmax(x: SSAValue, axis: int = -1) -> SSAValue:
    """log(softmax(x)) over one axis, without overflow."""
    return emit(LogSoftmaxOp(x, axis))[0]


def gelu(x: SSAValue, approximate: str = "none") -> SSAValue:
    """Gaussian error linear unit, exact or by tanh."""
    return emit(GeluOp(x, approximate))[0]


def stop_gradient(x: SSAValue) -> SSAValue:
    """x, as a constant to derivatives."""
    return emit(StopGradientOp(x))[0]


def silu(x: SSAValue) -> SSAValue:
    """x * sigmoid(x)."""
    return emit(SiluOp(x))[0]


def attention(
    q: SSAValue,
    k: SSAValue,
    v: SSAValue,
    mask: SSAValue | None = None,
    scale: float | None = None,
    causal: bool = False,
) -> SSAValue:
    """softmax(q k' * scale + mask) v over [batch, heads, length, size]; mask is additive or bool (True keeps), broadcast to the scores.

    Query heads may be a multiple of key heads (grouped queries). Built from contractions and softmax. Vaswani et al. 2017.
    """
    b, heads, s, d = shape_of(q)
    groups = shape_of(k)[1]
    scale = 1 / math.sqrt(d) if scale is None and isinstance(d, int) else 1.0 if scale is None else scale
    t, out = shape_of(k)[2], shape_of(v)[3]
    q = _apply("mul", q, shapes.full_like(q, scale))
    if heads == groups:
        scores = linear.contract(q, k, "bhsd,bhtd->bhst")
    else:
        if not isinstance(heads, int) or not isinstance(groups, int) or heads % groups:
            raise ShapeError(f"attention: {heads} query heads do not divide into {groups} key heads")
        split = shapes.reshape(q, (b, groups, heads // groups, s, d))
        scores = shapes.reshape(linear.contract(split, k, "bghsd,bgtd->bghst"), (b, heads, s, t))
    minus = float("-inf")
    if mask is not None and dtype_of(mask) == "bool":
        wide = shapes.broadcast_to(mask, shape_of(scores))
        scores = _apply("select", wide, scores, shapes.full_like(scores, minus))
    elif mask is not None:
        scores = _apply("add", scores, shapes.broadcast_to(mask, shape_of(scores)))
    if causal:
        rows, columns = (shapes.iota((s, t), axis, "i64") for axis in (0, 1))
        keep = shapes.broadcast(_apply("ge", rows, columns), shape_of(scores), [2, 3])
        scores = _apply("select", keep, scores, shapes.full_like(scores, minus))
    weights = softmax(scores, 3)
    if heads == groups:
        return linear.contract(weights, v, "bhst,bhtd->bhsd")
    split = shapes.reshape(weights, (b, groups, heads // groups, s, t))
    return shapes.reshape(linear.contract(split, v, "bghst,bgtd->bghsd"), (b, heads, s, out))
