"""Clip: an element-wise bound that, unlike a minimum of a maximum, has the derivative 1 where it is reached."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import TensorType
from xdsl.ir import SSAValue
from xdsl.irdl import (
    AttrSizedOperandSegments,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure

from mlc.errors import DTypeError
from mlc.ir.graph.base import emit
from mlc.ir.graph.composites import CompositeOp
from mlc.ir.graph.derivative import Algebra, Tangent, Tangents
from mlc.ir.graph.elementwise import apply
from mlc.ir.graph.shape import broadcast_to
from mlc.ir.types import shape_of, tensor_type, type_text


@irdl_op_definition
class ClipOp(CompositeOp):
    """minimum(maximum(x, low), high), of bounds like x; either may be left out. The derivative is that of x between the bounds and at them."""

    name = "graph.clip"
    x = operand_def(TensorType)
    low = opt_operand_def(TensorType)
    high = opt_operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    irdl_options = (AttrSizedOperandSegments(as_property=True),)

    def __init__(self, x: SSAValue, low: SSAValue | None, high: SSAValue | None):
        super().__init__(operands=[x, low, high], result_types=[x.type])
        self.infer_types()

    def infer_types(self) -> Sequence[TensorType]:
        for bound in self.operands[1:]:
            if bound.type != self.x.type:
                raise DTypeError(
                    f"clip: a bound is {type_text(tensor_type(bound))}, x is {type_text(tensor_type(self.x))}"
                )
        return [tensor_type(self.x)]

    def decompose(self, *operands: SSAValue) -> SSAValue:
        x, *bounds = operands
        rest = iter(bounds)
        if self.low is not None:
            x = apply("maximum", x, next(rest))
        return x if self.high is None else apply("minimum", x, next(rest))

    def jvp(self, g: Algebra, tangents: Tangents) -> list[Tangent]:
        """That of the operand which is the result: x also at the bounds, high where the bounds have changed places."""
        changes = dict(zip((v for v in (self.x, self.low, self.high) if v is not None), tangents, strict=True))
        total = changes[self.x]
        for bound, beyond in ((self.low, "lt"), (self.high, "gt")):
            if bound is not None:
                value = self.x if bound is self.low or self.low is None else apply("maximum", self.x, self.low)
                t = changes[bound]
                if total is not None or t is not None:
                    inner, outer = g.zeros((self.x, self.x), (total, t))
                    total = g.select(g.apply(beyond, value, bound), outer, inner)
        return [total]


def clip(x: SSAValue, low: SSAValue | None = None, high: SSAValue | None = None) -> SSAValue:
    """minimum(maximum(x, low), high); bounds are scalars or broadcast to x. Where low > high the result is high."""
    if low is None and high is None:
        return x
    bounds = (None if bound is None else broadcast_to(bound, shape_of(x)) for bound in (low, high))
    return emit(ClipOp(x, *bounds))[0]
