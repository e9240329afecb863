"""What a graph needs in front of derivatives.

Composites without a derivative of their own, or with one for smaller ones of their kind, are written out: theirs is the derivative of what they are made of. What every step of a loop
computes anew of constants stands in front of the loop, which then has not to keep it for each step.
"""

from __future__ import annotations

from collections.abc import Collection

from xdsl.builder import Builder
from xdsl.ir import Block, SSAValue
from xdsl.rewriter import InsertPoint
from xdsl.traits import Pure

from mlc.ir.graph.base import GraphOp, building, emit, location
from mlc.ir.graph.composites import CompositeOp
from mlc.ir.graph.control import ScanOp
from mlc.ir.types import dtype_of, is_float
from mlc.passes.autodiff.activity import is_flat
from mlc.passes.autodiff.bodies import FREE
from mlc.passes.graph.rewrite import erase, replace


def write_out(block: Block, sources: Collection[SSAValue]) -> None:
    """In place, bodies included; of what does not depend on the sources nothing changes."""
    waiting: list[tuple[Block, set[SSAValue]]] = [(block, set(sources))]
    while waiting:
        place, active = waiting.pop()
        op = place.first_op
        while op is not None:
            behind = op.next_op
            if not is_flat(op) and any(x in active for x in op.operands):
                if isinstance(op, CompositeOp) and (op.by_parts or not has_rule(op)):
                    before = op.prev_op
                    with building(Builder(InsertPoint.before(op))), location(op.location):
                        found = op.decompose(*op.operands)
                    replace(op, (found,) if isinstance(found, SSAValue) else tuple(found))
                    op = place.first_op if before is None else before.next_op
                    continue
                if isinstance(op, ScanOp):
                    hoist(op)
                active.update(y for y in op.results if is_float(dtype_of(y)))
                for region in op.regions:
                    for inner in region.blocks:
                        waiting.append((inner, {x for x in inner.args if is_float(dtype_of(x))}))
            op = behind


def hoist(op: ScanOp) -> None:
    """scan(w) {.. exp(w) ..}  ->  scan(w, exp(w)) {..}"""
    body = op.body.block
    outside: dict[SSAValue, SSAValue] = dict(zip(op.inside(body), op.constants, strict=True))
    for inner in list(body.ops):
        if inner.regions or not inner.operands or not inner.has_trait(Pure) or isinstance(inner, FREE):
            continue
        if not all(x in outside for x in inner.operands):
            continue
        copy = inner.clone(value_mapper=dict(outside))
        copy.location = inner.location
        with building(Builder(InsertPoint.before(op))):
            found = emit(copy)
        for old, new in zip(inner.results, found, strict=True):
            op.add_constant(new)
            old.replace_all_uses_with(body.args[-1])
            outside[body.args[-1]] = new
        erase(inner)


def has_rule(op: GraphOp) -> bool:
    """Does the class state a derivative?"""
    return op.flat or bool(op.linear) or type(op).jvp is not GraphOp.jvp
