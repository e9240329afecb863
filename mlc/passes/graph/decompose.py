"""Replace what has a name by what it is made of, each at its own place.

    softmax(x)                          -> mul(exp(x - max x), reciprocal(sum ...))
    call(x) {exp, neg}                  -> neg(exp(x))
    stop_gradient(x)                    -> x

An attention that the rules of the machine `target` schedule as one kernel stays as it is. A call with `checkpoint` stays for write-checkpoints, behind all that merges equal values: its body computes again what others have
computed, so that it need not be kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from xdsl.ir import SSAValue

from mlc.ir.graph.attention import AttentionOp
from mlc.ir.graph.composites import CompositeOp
from mlc.ir.graph.control import CallOp, inlined
from mlc.ir.graph.custom import CustomOp
from mlc.ir.module import Module
from mlc.passes.base import Pass
from mlc.passes.graph.attention_blocks import one_kernel
from mlc.passes.graph.rewrite import rewrite, rule
from mlc.passes.kernel.rules.by_target import AT_HAND, target_of


@rule(CompositeOp)
def decompose(op: CompositeOp, module: Module) -> SSAValue | Sequence[SSAValue]:
    """An op -> its decomposition."""
    return op.decompose(*op.operands)


@rule(CompositeOp)
def decompose_but_attention(op: CompositeOp, module: Module) -> SSAValue | Sequence[SSAValue] | None:
    """The same, but for what has a kernel of its own."""
    return None if isinstance(op, AttentionOp) and op.fits_a_kernel else op.decompose(*op.operands)


@rule(CallOp)
def write_out(op: CallOp, module: Module) -> Sequence[SSAValue] | None:
    """A call -> the ops of its body"""
    return None if op.checkpoint is not None else inlined(op.body.block, op.inputs)


@rule(CustomOp)
def write_out_custom(op: CustomOp, module: Module) -> Sequence[SSAValue]:
    """A function with a derivative of its own -> the ops of its body"""
    return inlined(op.body.block, op.inputs)


@rule(CallOp)
def write_checkpoint(op: CallOp, module: Module) -> Sequence[SSAValue]:
    """A call that had to stay apart -> the ops of its body"""
    return inlined(op.body.block, op.inputs)


@dataclass(frozen=True)
class Decompose(Pass):
    """Write composites (softmax, layer_norm, gelu, ...) as primitives, and calls as the ops of their bodies, for the machine `target`."""

    name: ClassVar[str] = "decompose"
    target: str = AT_HAND

    def run(self, module: Module) -> None:
        target = target_of(self.target)

        @rule(AttentionOp)
        def attention(op: AttentionOp, module: Module) -> SSAValue | None:
            """Attention that is computed by blocks of queries in one kernel needs no loop over them"""
            return op.without_loop(*op.operands) if one_kernel(op, target) else None

        whole = target.lowering.online
        rewrite(module, [attention, decompose_but_attention if whole else decompose, write_out, write_out_custom])


@dataclass(frozen=True)
class WriteCheckpoints(Pass):
    """Write the calls that compute values again as the ops of their bodies."""

    name: ClassVar[str] = "write-checkpoints"

    def run(self, module: Module) -> None:
        rewrite(module, [write_checkpoint])
