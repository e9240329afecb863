"""Composites without a derivative of their own are written out first: theirs is the derivative of what they are made of."""

from __future__ import annotations

from collections.abc import Collection

from xdsl.builder import Builder
from xdsl.ir import Block, SSAValue
from xdsl.rewriter import InsertPoint

from mlc.ir.graph.base import GraphOp, building, location
from mlc.ir.graph.composites import CompositeOp
from mlc.ir.types import dtype_of, is_float
from mlc.passes.autodiff.activity import is_flat
from mlc.passes.graph.rewrite import replace


def write_out(block: Block, sources: Collection[SSAValue]) -> None:
    """In place, bodies included; of what does not depend on the sources nothing changes."""
    waiting: list[tuple[Block, set[SSAValue]]] = [(block, set(sources))]
    while waiting:
        place, active = waiting.pop()
        op = place.first_op
        while op is not None:
            behind = op.next_op
            if not is_flat(op) and any(x in active for x in op.operands):
                if isinstance(op, CompositeOp) and not has_rule(op):
                    before = op.prev_op
                    with building(Builder(InsertPoint.before(op))), location(op.location):
                        found = op.decompose(*op.operands)
                    replace(op, (found,) if isinstance(found, SSAValue) else tuple(found))
                    op = place.first_op if before is None else before.next_op
                    continue
                active.update(y for y in op.results if is_float(dtype_of(y)))
                for region in op.regions:
                    for inner in region.blocks:
                        waiting.append((inner, {x for x in inner.args if is_float(dtype_of(x))}))
            op = behind


def has_rule(op: GraphOp) -> bool:
    """Does the class state a derivative?"""
    return op.flat or bool(op.linear) or type(op).jvp is not GraphOp.jvp
