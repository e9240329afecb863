"""Copies into workgroup memory that go on while a thread computes.

    kernel.copy_async %A[%m, %k], %A_shared[%i, %j], %valid {elements = 4}     // the first %valid of them, zeros for the others
    kernel.commit_copies                                                       // a thread's copies since the last one are a group
    kernel.await_copies 1                                                      // until at most one group of the thread's is under way

What a thread has copied is there for the other threads of its block after it has waited and they have met at a barrier.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import IndexType, IntegerAttr, MemRefType, i64
from xdsl.ir import SSAValue
from xdsl.irdl import (
    AttrSizedOperandSegments,
    IRDLOperation,
    irdl_op_definition,
    operand_def,
    prop_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import MemoryReadEffect, MemoryWriteEffect


@irdl_op_definition
class CopyAsyncOp(IRDLOperation):
    """So many neighbouring elements, 4, 8 or 16 bytes on such a boundary; with 0 valid ones nothing is read."""

    name = "kernel.copy_async"
    source = operand_def(MemRefType)
    at = var_operand_def(IndexType)
    target = operand_def(MemRefType)
    to = var_operand_def(IndexType)
    valid = operand_def(IndexType)
    elements = prop_def(IntegerAttr)
    irdl_options = (AttrSizedOperandSegments(as_property=True),)
    traits = traits_def(MemoryReadEffect(), MemoryWriteEffect())
    assembly_format = (
        "$source `[` $at `]` `,` $target `[` $to `]` `,` $valid $elements attr-dict `:` type($source) `,` type($target)"
    )

    def __init__(
        self,
        source: SSAValue,
        at: Sequence[SSAValue],
        target: SSAValue,
        to: Sequence[SSAValue],
        valid: SSAValue,
        elements: int,
    ):
        super().__init__(
            operands=[source, list(at), target, list(to), valid],
            properties={"elements": IntegerAttr(elements, i64)},
        )


@irdl_op_definition
class CommitCopiesOp(IRDLOperation):
    """The copies of this thread since the last such op become a group, empty or not."""

    name = "kernel.commit_copies"
    traits = traits_def(MemoryReadEffect(), MemoryWriteEffect())
    assembly_format = "attr-dict"

    def __init__(self) -> None:
        super().__init__()


@irdl_op_definition
class AwaitCopiesOp(IRDLOperation):
    """Wait until at most so many groups of this thread are under way, the last ones."""

    name = "kernel.await_copies"
    groups = prop_def(IntegerAttr)
    traits = traits_def(MemoryReadEffect(), MemoryWriteEffect())
    assembly_format = "$groups attr-dict"

    def __init__(self, groups: int):
        super().__init__(properties={"groups": IntegerAttr(groups, i64)})
