"""Compute f16 and bf16 in f32 from one op to the next, where a machine has no arithmetic of theirs.

    y = relu(matmul(x, w))  : f16     ->     y = cast(relu(matmul(cast(x), cast(w))))  : f16, in between f32

Each op of halves is computed in f32 and rounded; what the next one reads is not rounded here. Results, what loops carry and what the graph casts itself
are halves as before. A weight is widened once, when constants are folded: the model then runs as its f32 form does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from xdsl.dialects.builtin import TensorType
from xdsl.ir import Block, Operation, SSAValue

from mlc.errors import MlcError
from mlc.ir import builder as g
from mlc.ir import work
from mlc.ir.graph.base import GraphOp, emit
from mlc.ir.graph.collective import ReplicateOp
from mlc.ir.graph.composites import CompositeOp
from mlc.ir.graph.constants import ConstantOp
from mlc.ir.graph.convolution import ConvolutionOp
from mlc.ir.graph.elementwise import ElementwiseOp
from mlc.ir.graph.linear import ContractOp
from mlc.ir.graph.parts import ConcatenateOp, PadOp, SliceOp
from mlc.ir.graph.reduce import CumulativeOp, ReduceOp
from mlc.ir.graph.shape import BroadcastOp, ReshapeOp, TransposeOp
from mlc.ir.graph.window import ReduceWindowOp
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, is_half, shape_of, tensor
from mlc.passes.base import Pass
from mlc.passes.graph.dce import sweep
from mlc.passes.graph.fold import Fold
from mlc.passes.graph.rewrite import before, replace
from mlc.passes.kernel.rules.by_target import AT_HAND, target_of

COMPUTES = (ElementwiseOp, CompositeOp, ContractOp, ConvolutionOp, ReduceOp, CumulativeOp, ReduceWindowOp)
MOVES = (BroadcastOp, ReshapeOp, TransposeOp, SliceOp, ConcatenateOp, PadOp)


@dataclass(frozen=True)
class WidenFloats(Pass):
    """Compute f16 and bf16 in f32 from one op to the next, on a machine `target` that has no arithmetic of theirs."""

    name: ClassVar[str] = "widen-floats"
    target: str = AT_HAND

    def run(self, module: Module) -> None:
        if not target_of(self.target).lowering.widens:
            return
        changed = False
        for op in list(module.op.walk()):
            for region in op.regions:
                for block in region.blocks:
                    if any(_is_half(v) for inner in block.ops for v in (*inner.operands, *inner.results)):
                        changed |= _Widener(module).run(block)
                        sweep(block)
        if changed:
            Fold().run(module)


def _is_half(value: SSAValue) -> bool:
    return isinstance(value.type, TensorType) and is_half(dtype_of(value))


class _Widener:
    """Of one block: `wide` has in f32 what is a half outside."""

    def __init__(self, module: Module):
        self.module = module
        self.wide: dict[SSAValue, SSAValue] = {}

    def run(self, block: Block) -> bool:
        changed = False
        for op in list(block.ops):
            work.on(op)
            if not any(_is_half(v) for v in op.operands) or not isinstance(op, GraphOp) or op.regions:
                continue
            if isinstance(op, MOVES):
                fits = any(v in self.wide for v in op.operands)
            else:
                fits = isinstance(op, COMPUTES) and not isinstance(op, ReplicateOp)
            if fits:
                changed |= self._widen(op)
        return changed

    def _widen(self, op: GraphOp) -> bool:
        with before(op, self.module):
            operands = [self._in_f32(v) if _is_half(v) else v for v in op.operands]
            made = _on(op, operands)
            if made is None:
                return False
            results = emit(made)
            narrow = [
                g.cast(new, dtype_of(old)) if _is_half(old) else new
                for old, new in zip(op.results, results, strict=True)
            ]
        for old, new, value in zip(op.results, results, narrow, strict=True):
            if _is_half(old):
                self.wide[value] = new
        replace(op, narrow)
        return True

    def _in_f32(self, value: SSAValue) -> SSAValue:
        if value not in self.wide:
            if isinstance(value.owner, ConstantOp):
                self.wide[value] = emit(ConstantOp(value.owner.value.astype(np.float32)))[0]
            else:
                self.wide[value] = g.cast(value, "f32")
        return self.wide[value]


def _on(op: GraphOp, operands: Sequence[SSAValue]) -> GraphOp | None:
    """The same op of other operands, in f32 where it was of halves; None where its type rule does not take them."""
    types = [tensor(shape_of(r), "f32") if _is_half(r) else r.type for r in op.results]
    made: Operation = type(op).create(
        operands=operands, properties=op.properties, attributes=op.attributes, result_types=types
    )
    assert isinstance(made, GraphOp)
    try:
        fits = list(made.infer_types()) == types
    except MlcError:
        fits = False
    if not fits:
        made.erase()
        return None
    return made
