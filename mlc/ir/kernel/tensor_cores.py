"""Ops of tensor cores: what a warp computes together, and how the numbers that it multiplies are rounded.

    %a = kernel.fragment %x, %y {instruction = "m16n8k16_bf16"} : i32        // two numbers of 16 bits, or one of 19
    kernel.mma %d, %a, %b {instruction = "m16n8k16_bf16"}                    // D(16, 8) += A(16, 16) B(16, 8), each lane with its registers

Where each element lies, in which lane and register, is that of the PTX manual: passes/loops/tensor_core_leaf.py spreads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from xdsl.dialects.builtin import Float32Type, IntegerType, MemRefType, StringAttr, i32
from xdsl.ir import SSAValue
from xdsl.irdl import IRDLOperation, irdl_op_definition, operand_def, prop_def, result_def, traits_def, var_operand_def
from xdsl.traits import MemoryReadEffect, MemoryWriteEffect, Pure
from xdsl.utils.exceptions import VerifyException

from mlc.ir.kernel.schedule import Instruction

KNOWN_INSTRUCTIONS = get_args(Instruction)


def numbers_of(instruction: str) -> int:
    """How many a register of an operand holds: two where sixteen products go into an element of the sum."""
    return 2 if "k16" in instruction else 1


@irdl_op_definition
class FragmentOp(IRDLOperation):
    """One register of an operand: f32 numbers, rounded to what the instruction multiplies, the first in the lower half."""

    name = "kernel.fragment"
    numbers = var_operand_def(Float32Type)
    instruction = prop_def(StringAttr)
    result = result_def(IntegerType)
    traits = traits_def(Pure())
    assembly_format = "$numbers $instruction attr-dict `:` type($numbers) `->` type($result)"

    def __init__(self, numbers: Sequence[SSAValue], instruction: str):
        super().__init__(operands=[numbers], properties={"instruction": StringAttr(instruction)}, result_types=[i32])

    def verify_(self) -> None:
        if self.instruction.data not in KNOWN_INSTRUCTIONS or len(self.numbers) != numbers_of(self.instruction.data):
            raise VerifyException(f"a register of {self.instruction.data} does not hold {len(self.numbers)} numbers")


@irdl_op_definition
class MmaOp(IRDLOperation):
    """D += A B by the 32 lanes of a warp, which must all be there: 4 registers of D, 4 of A, 2 of B in each."""

    name = "kernel.mma"
    total = operand_def(MemRefType)
    lhs = operand_def(MemRefType)
    rhs = operand_def(MemRefType)
    instruction = prop_def(StringAttr)
    traits = traits_def(MemoryReadEffect(), MemoryWriteEffect())
    assembly_format = "$total `,` $lhs `,` $rhs $instruction attr-dict `:` type($total) `,` type($lhs) `,` type($rhs)"

    def __init__(self, total: SSAValue, lhs: SSAValue, rhs: SSAValue, instruction: str):
        super().__init__(operands=[total, lhs, rhs], properties={"instruction": StringAttr(instruction)})

    def verify_(self) -> None:
        shapes = [value.type.get_shape() for value in (self.total, self.lhs, self.rhs)]  # type: ignore[attr-defined]
        if shapes != [(4,), (4,), (2,)] or self.instruction.data not in KNOWN_INSTRUCTIONS:
            raise VerifyException(f"{self.instruction.data} takes 4, 4 and 2 registers, not {shapes}")
