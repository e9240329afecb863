"""What the lanes of a warp do together, beside products of tensor cores (tensor_cores.py).

%m = kernel.fold_lanes %x "max" 8 : f32      // of 8 neighbouring lanes, each of which gets it
kernel.sync_warp                             // what a lane has written is there for the other lanes
%r = kernel.pair %x[%i, %j]                  // two numbers of 16 bits as they lie in memory, the first in the lower half
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from xdsl.dialects.builtin import Float32Type, IndexType, IntegerAttr, IntegerType, MemRefType, StringAttr, i32, i64
from xdsl.ir import SSAValue
from xdsl.irdl import IRDLOperation, irdl_op_definition, operand_def, prop_def, result_def, traits_def, var_operand_def
from xdsl.traits import MemoryReadEffect, MemoryWriteEffect
from xdsl.utils.exceptions import VerifyException

LANES = 32


@irdl_op_definition
class FoldLanesOp(IRDLOperation):
    """x of `lanes` neighbouring lanes folded into one value, by pairs that are 1, 2, 4, ... apart. All lanes of the warp must be there."""

    name = "kernel.fold_lanes"
    x = operand_def(Float32Type)
    kind = prop_def(StringAttr)
    lanes = prop_def(IntegerAttr)
    result = result_def(Float32Type)
    traits = traits_def(MemoryReadEffect())  # what the other lanes have
    assembly_format = "$x $kind $lanes attr-dict `:` type($x)"

    def __init__(self, x: SSAValue, kind: Literal["max", "sum"], lanes: int):
        super().__init__(
            operands=[x],
            properties={"kind": StringAttr(kind), "lanes": IntegerAttr(lanes, i64)},
            result_types=[x.type],
        )

    def verify_(self) -> None:
        count = self.lanes.value.data
        if self.kind.data not in ("max", "sum") or not 1 <= count <= LANES or count & (count - 1):
            raise VerifyException(f"{count} lanes are folded by {self.kind.data}")


@irdl_op_definition
class PairOp(IRDLOperation):
    """Two numbers of 16 bits that lie next to each other, from a place on that is a multiple of two elements: a register of an operand of a
    tensor core."""

    name = "kernel.pair"
    memory = operand_def(MemRefType)
    indices = var_operand_def(IndexType)
    result = result_def(IntegerType)
    traits = traits_def(MemoryReadEffect())
    assembly_format = "$memory `[` $indices `]` attr-dict `:` type($memory) `->` type($result)"

    def __init__(self, memory: SSAValue, indices: Sequence[SSAValue]):
        super().__init__(operands=[memory, list(indices)], result_types=[i32])


@irdl_op_definition
class SyncWarpOp(IRDLOperation):
    """The lanes of a warp wait for each other, and then see what each has written to workgroup memory."""

    name = "kernel.sync_warp"
    traits = traits_def(MemoryReadEffect(), MemoryWriteEffect())
    assembly_format = "attr-dict"

    def __init__(self) -> None:
        super().__init__()
