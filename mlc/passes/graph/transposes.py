"""Move transposes out of the way: sink each as far as it goes, absorb it where an op can read or write axes in any order.

    %t = transpose %x                      %s = mul %x, broadcast'(%cos)
    %m = mul %t, broadcast(%cos)     ->    contract %s, %k with other labels
    contract %m, %k

One sweep in program order knows every value as `stored` with an order of axes, and rebuilds each op on what is stored (the rules of
each op stand in mlc.passes.graph.orders). A transpose is built again only where an op has to have the axes as they were. A second
sweep lifts what is left through element-wise ops into the contraction above.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xdsl.ir import Block, SSAValue

from mlc.ir import builder as g
from mlc.ir import work
from mlc.ir.alias import fronts_of
from mlc.ir.graph.shape import TransposeOp
from mlc.ir.module import Module
from mlc.passes.base import Pass
from mlc.passes.graph.dce import sweep
from mlc.passes.graph.orders import RULES, Stored, identity, inverse, reordered, takes_any_order
from mlc.passes.graph.rewrite import before, replace


@dataclass(frozen=True)
class MoveTransposes(Pass):
    """Sink transposes through what computes, into contractions, until they meet what needs the axes in order."""

    name: ClassVar[str] = "move-transposes"

    def run(self, module: Module) -> None:
        for op in list(module.op.walk()):
            for region in op.regions:
                for block in region.blocks:
                    if any(isinstance(inner, TransposeOp) for inner in block.ops):
                        _Sinker(module).run(block)
                        sweep(block)
                        lift(block, module)
                        sweep(block)


class _Sinker:
    def __init__(self, module: Module):
        self.module = module
        self.stays = _in_place(module)
        self.stored: dict[SSAValue, Stored] = {}
        self.built: dict[SSAValue, SSAValue] = {}

    def run(self, block: Block) -> None:
        for op in list(block.ops):
            if not any(operand in self.stored for operand in op.operands) and not isinstance(op, TransposeOp):
                continue
            work.on(op)
            with before(op, self.module):
                operands = [self.stored.get(v) or Stored(v, identity(v)) for v in op.operands]
                rule = next((RULES[kind] for kind in type(op).__mro__ if kind in RULES), None)
                results = rule(op, operands) if rule and op not in self.stays else None
                if results is None:
                    for position, operand in enumerate(op.operands):
                        if operand in self.stored:
                            op.operands[position] = self.materialise(operand)
                    continue
            for old, new in zip(op.results, results, strict=True):
                if new.value.name_hint is None:
                    new.value.name_hint = old.name_hint
                if new.order == identity(new.value):
                    old.replace_all_uses_with(new.value)
                else:
                    self.stored[old] = new

    def materialise(self, value: SSAValue) -> SSAValue:
        """The value with its axes as they were, at the current position."""
        if value not in self.built:
            stored = self.stored[value]
            self.built[value] = g.transpose(stored.value, inverse(stored.order))
        return self.built[value]


def _in_place(module: Module) -> set[object]:
    """The ops of results whose memory begins with an argument: another order of axes would part them."""
    last = module.main.body.block.last_op
    return {last.operands[number].owner for number in fronts_of(module.main)} if last is not None else set()


def lift(block: Block, module: Module) -> None:
    """transpose(add(contract(x, w), broadcast(b))) -> add(contract(x, w) with permuted labels, broadcast(b) permuted)"""
    for op in reversed(list(block.ops)):
        if isinstance(op, TransposeOp) and takes_any_order(op.x):
            with before(op, module):
                value = reordered(op.x, tuple(op.permutation.get_values()))
            replace(op, [value])
