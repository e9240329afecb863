"""Replace composites by primitives: softmax(x) -> mul(exp(x - max x), reciprocal(sum ...)), and so on, each at its own place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xdsl.ir import SSAValue

from mlc.ir.graph.composites import CompositeOp
from mlc.ir.module import Module
from mlc.passes.graph.rewrite import rewrite, rule
from mlc.passes.manager import Pass


@rule(CompositeOp)
def decompose(op: CompositeOp, module: Module) -> SSAValue:
    """An op -> its decomposition."""
    return op.decompose(*op.operands)


@dataclass(frozen=True)
class Decompose(Pass):
    """Write composites (softmax, layer_norm, gelu, ...) as primitives."""

    name: ClassVar[str] = "decompose"

    def run(self, module: Module) -> None:
        rewrite(module, [decompose])
