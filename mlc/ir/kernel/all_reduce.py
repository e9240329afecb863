"""What a planned @main of several ranks holds beside calls: sums over ranks in two halves, and the number of the rank.

    %b = kernel.buffer 3 dims ["48"] : memref<48xf32>
    %p = kernel.part %b 16 dims ["4", "2"] : memref<48xf32> to memref<4x2xf32>      a member: kernels write and read it where it is
    kernel.all_reduce_start %b {slot = 0 : i64} : memref<48xf32>
    ...                                                                             nobody touches the bucket
    kernel.all_reduce_wait %b {slot = 0 : i64} : memref<48xf32>

A slot is a place in the table of the engine that sums up (mlc/runtime/engine_table.py); slots are numbered in the order of starts.
"""

from __future__ import annotations

from xdsl.dialects.builtin import IntegerAttr, MemRefType, f32, f64, i32, i64
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import IRDLOperation, ParsePropInAttrDict, irdl_op_definition, operand_def, prop_def
from xdsl.utils.exceptions import VerifyException

ELEMENTS: tuple[Attribute, ...] = (f32, f64, i32, i64)  # what is summed up, in the order of the engine's table


class _Half(IRDLOperation):
    """Half of a sum over all ranks of each element of a bucket, in place."""

    bucket = operand_def(MemRefType)
    slot = prop_def(IntegerAttr)
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, bucket: SSAValue, slot: int):
        super().__init__(operands=[bucket], properties={"slot": IntegerAttr(slot, i64)})

    @property
    def element(self) -> int:
        """The number of the element type among ELEMENTS."""
        assert isinstance(self.bucket.type, MemRefType)
        return ELEMENTS.index(self.bucket.type.element_type)

    def verify_(self) -> None:
        if not isinstance(self.bucket.type, MemRefType) or self.bucket.type.element_type not in ELEMENTS:
            raise VerifyException(f"{self.name}: {self.bucket.type} is not of {', '.join(map(str, ELEMENTS))}")
        if self.slot.value.data < 0:
            raise VerifyException(f"{self.name}: there is no slot {self.slot.value.data}")


@irdl_op_definition
class AllReduceStartOp(_Half):
    """From here on the bucket is the engine's."""

    name = "kernel.all_reduce_start"
    assembly_format = "$bucket attr-dict `:` type($bucket)"


@irdl_op_definition
class AllReduceWaitOp(_Half):
    """From here on the bucket holds the sums."""

    name = "kernel.all_reduce_wait"
    assembly_format = "$bucket attr-dict `:` type($bucket)"


@irdl_op_definition
class RankOp(IRDLOperation):
    """Write the number of this rank into a buffer of one i32."""

    name = "kernel.rank"
    buffer = operand_def(MemRefType)
    assembly_format = "$buffer attr-dict `:` type($buffer)"

    def __init__(self, buffer: SSAValue):
        super().__init__(operands=[buffer])

    def verify_(self) -> None:
        type = self.buffer.type
        if not isinstance(type, MemRefType) or type.element_type != i32 or type.get_num_dims():
            raise VerifyException(f"the number of a rank is one i32, not {type}")
