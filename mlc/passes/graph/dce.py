"""Take out ops whose results nobody uses. Weights that no op names stay in the store, which other modules may share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xdsl.ir import Block

from mlc.ir.graph.control import ControlOp
from mlc.ir.module import Module
from mlc.passes.base import Pass
from mlc.passes.graph.rewrite import erase, is_dead


@dataclass(frozen=True)
class Dce(Pass):
    """Remove ops without uses."""

    name: ClassVar[str] = "dce"

    def run(self, module: Module) -> None:
        for function in module.op.ops:
            for region in function.regions:
                for block in region.blocks:
                    sweep(block)


def sweep(block: Block) -> None:
    """Erase dead ops of a block, backwards, so that users are gone before their operands are looked at."""
    op = block.last_op
    while op is not None:
        before = op.prev_op
        if op.results and is_dead(op):
            erase(op)
        else:
            for region in op.regions:
                for inner in region.blocks:
                    sweep(inner)
            if isinstance(op, ControlOp):
                op.drop_unused_constants()
        op = before
