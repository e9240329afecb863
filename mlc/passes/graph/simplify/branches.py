"""Rules about branches.

    if(true, x, then, otherwise)                 -> then(x)
    if(c, x, then, otherwise), both cheap        -> select(c, then(x), otherwise(x))

Cheap is what reads and computes element by element in few ops and moves no data, so that it becomes a part of the kernels round it: both
bodies cost less than a kernel of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import SSAValue

from mlc.ir import builder as g
from mlc.ir.graph.constants import ConstantOp, DimensionOp
from mlc.ir.graph.control import IfOp, inlined
from mlc.ir.graph.elementwise import CastOp, ElementwiseOp
from mlc.ir.graph.shape import BroadcastOp
from mlc.ir.module import Module
from mlc.ir.types import shape_of
from mlc.passes.graph.rewrite import rule

CHEAP = 8  # ops in both bodies together
_ELEMENTWISE = (ElementwiseOp, CastOp)
_FREE = (BroadcastOp, ConstantOp, DimensionOp)


@rule(IfOp)
def taken_branch(op: IfOp, module: Module) -> Sequence[SSAValue] | None:
    """if(constant, x) -> the body that is taken"""
    condition = op.condition.owner
    if not isinstance(condition, ConstantOp):
        return None
    return inlined((op.then if condition.value.item() else op.otherwise).block, op.inputs)


@rule(IfOp)
def cheap_branches(op: IfOp, module: Module) -> Sequence[SSAValue] | None:
    """if(c, x) of cheap bodies -> a select for each result"""
    ops = [inner for block in op.blocks for inner in block.ops if inner is not block.last_op]
    if not all(isinstance(inner, (*_ELEMENTWISE, *_FREE)) for inner in ops):
        return None
    if sum(isinstance(inner, _ELEMENTWISE) for inner in ops) > CHEAP:
        return None
    then, otherwise = (inlined(block, op.inputs) for block in op.blocks)
    pairs = zip(then, otherwise, strict=True)
    return [g.select(g.broadcast(op.condition, shape_of(x), []), x, y) for x, y in pairs]


RULES = (taken_branch, cheap_branches)
