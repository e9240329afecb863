"""Forward mode: tangents of results, given those of inputs, by one walk forwards; each op's jvp stands behind it."""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.builder import Builder
from xdsl.ir import Block, SSAValue
from xdsl.rewriter import InsertPoint

from mlc.errors import InternalError
from mlc.ir.graph.base import GraphOp, building, location
from mlc.ir.graph.control import CallOp, IfOp, ScanOp, WhileOp
from mlc.ir.graph.custom import CustomOp
from mlc.ir.graph.derivative import Tangent, Tangents
from mlc.passes.autodiff import algebra
from mlc.passes.autodiff.activity import is_real
from mlc.passes.autodiff.conditionals import push_branches
from mlc.passes.autodiff.loops import push_loop


def push(block: Block, tangents: Mapping[SSAValue, SSAValue]) -> list[Tangent]:
    """The tangents of what the block's terminator returns, given those of some values; None for what does not depend on them.

    Raises NoDerivative naming the first op on the way that has none.
    """
    known = dict(tangents)
    for op in list(block.ops):
        given = [known.get(x) for x in op.operands]
        if not op.results or all(t is None for t in given):
            continue
        assert isinstance(op, GraphOp), op.name
        if op.flat or not any(is_real(y) for y in op.results):
            continue
        results = list(op.results)
        with building(Builder(InsertPoint.before(op))), location(op.location):
            match op:
                case ScanOp() | WhileOp():
                    found: Tangents = push_loop(op, given, push)
                case IfOp() | CallOp():
                    found = push_branches(op, given, push)
                case CustomOp() if not op.functions:
                    found = push_branches(op, given, push)
                case _:
                    with building(Builder(InsertPoint.after(op))):
                        found = op.jvp(algebra, given)
        for y, t in zip(results, found, strict=True):
            if t is not None and is_real(y):
                if t.type != y.type:
                    raise InternalError(f"the jvp of {op.name} gives {t.type} for a result {y.type}")
                known[y] = t
    assert block.last_op is not None
    return [known.get(x) for x in block.last_op.operands]
