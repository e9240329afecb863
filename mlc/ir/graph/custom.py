"""A function whose derivative the user states.

    custom(x, y) {body} {jvp}                  jvp(x, y, tx, ty) = the tangents of the results
    custom(x, y) {body} {forward} {backward}   forward(x, y) = (results, residuals); backward(residuals, cotangents) = the cotangents of x and y

The bodies are closed. What they use from outside comes last among the operands, behind the function's own, and is a constant to its derivative.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import IntegerAttr, StringAttr, TensorType, i64
from xdsl.ir import Block, Region, SSAValue
from xdsl.irdl import (
    irdl_op_definition,
    prop_def,
    region_def,
    traits_def,
    var_operand_def,
    var_region_def,
    var_result_def,
)
from xdsl.traits import IsolatedFromAbove, Pure

from mlc.errors import ShapeError
from mlc.ir.graph.base import Evaluate, GraphOp
from mlc.ir.graph.control import inlined, yielded
from mlc.ir.graph.derivative import Algebra, Tangent, Tangents
from mlc.ir.graph.evaluation import Evaluation
from mlc.ir.types import dtype_of, is_float, tensor_type, type_text


@irdl_op_definition
class CustomOp(GraphOp):
    """What `body` gives for the operands. One rule is a jvp, two are the forward and backward function of a vjp. Without rules it is its body.

    `own` operands are those of the function `callee`, of which the rules speak.
    """

    name = "graph.custom"
    inputs = var_operand_def(TensorType)
    callee = prop_def(StringAttr)
    own = prop_def(IntegerAttr)
    body = region_def("single_block")
    rules = var_region_def("single_block")
    outputs = var_result_def(TensorType)
    traits = traits_def(Pure(), IsolatedFromAbove())

    def __init__(self, inputs: Sequence[SSAValue], callee: str, own: int, body: Block, rules: Sequence[Block]):
        super().__init__(
            operands=[list(inputs)],
            properties={"callee": StringAttr(callee), "own": IntegerAttr(own, i64)},
            regions=[Region(body), [Region(rule) for rule in rules]],
            result_types=[[tensor_type(value) for value in yielded(body)]],
        )
        self.infer_types()

    def infer_types(self) -> Sequence[TensorType]:
        for given, taken in zip(self.inputs, self.body.block.args, strict=True):
            if given.type != taken.type:
                raise ShapeError(
                    f"custom {self.callee.data}: it takes {type_text(tensor_type(taken))}, and is given {type_text(tensor_type(given))}"
                )
        return [tensor_type(value) for value in yielded(self.body.block)]

    @property
    def functions(self) -> list[Block]:
        """The rules."""
        return [region.block for region in self.rules]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> tuple[np.ndarray, ...]:
        return Evaluation(self.body.block, at)(*operands)

    def require_constants(self, active: Sequence[bool]) -> None:
        """Raises NoDerivative where a derivative would flow through a value that the function takes from outside."""
        if any(active[self.own.value.data :]):
            raise self.no_derivative(
                f"'{self.callee.data}' uses a value from outside that is differentiated",
                "Pass it as an argument; or put stop_gradient behind it.",
            )

    def jvp(self, g: Algebra, tangents: Tangents) -> Sequence[Tangent]:
        self.require_constants([t is not None for t in tangents])
        if len(self.rules) != 1:
            raise self.no_derivative(
                f"'{self.callee.data}' says how cotangents go back (custom_vjp), and not how tangents go forward",
                "Use reverse mode (mlc.grad, mlc.vjp), or state a jvp (mlc.custom_jvp).",
            )
        own = self.own.value.data
        given = [(x, t) for x, t in zip(self.inputs[:own], tangents, strict=False) if is_float(dtype_of(x))]
        changes = g.zeros([x for x, _ in given], [t for _, t in given])
        found = iter(inlined(self.functions[0], [*self.inputs[:own], *changes, *self.inputs[own:]]))
        return [next(found) if is_float(dtype_of(y)) else None for y in self.outputs]
