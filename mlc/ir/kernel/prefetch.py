"""memref.prefetch, which xDSL 0.74 lacks, and the dialect with it.

memref.prefetch %w[%i], read, locality<2>, data : memref<6144xf32>      // MLIR's text; locality 3 is L1, 2 is L2, 1 is L3

It changes no value: whoever runs a program may leave it out.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import memref
from xdsl.dialects.builtin import IndexType, IntegerAttr, MemRefType, UnitAttr, i32
from xdsl.ir import Dialect, SSAValue
from xdsl.irdl import IRDLOperation, irdl_op_definition, operand_def, opt_prop_def, prop_def, var_operand_def
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException


@irdl_op_definition
class PrefetchOp(IRDLOperation):
    """Ask for the cache line of an element, to be there when it is read or written."""

    name = "memref.prefetch"
    memref = operand_def(MemRefType)
    indices = var_operand_def(IndexType)
    locality = prop_def(IntegerAttr, prop_name="localityHint")
    writes = opt_prop_def(UnitAttr, prop_name="isWrite")

    def __init__(self, memref: SSAValue, indices: Sequence[SSAValue], locality: int, writes: bool = False):
        super().__init__(
            operands=[memref, list(indices)],
            properties={"localityHint": IntegerAttr(locality, i32), "isWrite": UnitAttr() if writes else None},
        )

    def verify_(self) -> None:
        if not isinstance(self.memref.type, MemRefType) or len(self.indices) != self.memref.type.get_num_dims():
            raise VerifyException("memref.prefetch takes an index for each axis")
        if not 0 <= self.locality.value.data <= 3:
            raise VerifyException("the locality of memref.prefetch is 0 to 3")

    @classmethod
    def parse(cls, parser: Parser) -> PrefetchOp:
        source = parser.parse_unresolved_operand()
        indices = parser.parse_comma_separated_list(parser.Delimiter.SQUARE, parser.parse_operand)
        parser.parse_punctuation(",")
        writes = parser.parse_optional_keyword("write") is not None
        if not writes:
            parser.parse_keyword("read")
        parser.parse_punctuation(",")
        parser.parse_keyword("locality")
        parser.parse_punctuation("<")
        locality = parser.parse_integer()
        parser.parse_punctuation(">")
        parser.parse_punctuation(",")
        parser.parse_keyword("data")
        parser.parse_punctuation(":")
        (value,) = parser.resolve_operands([source], [parser.parse_type()], parser.pos)
        return cls(value, indices, locality, writes)

    def print(self, printer: Printer) -> None:
        printer.print_string(" ")
        printer.print_operand(self.memref)
        printer.print_string("[")
        printer.print_list(self.indices, printer.print_operand)
        how = "write" if self.writes else "read"
        printer.print_string(f"], {how}, locality<{self.locality.value.data}>, data : ")
        printer.print_attribute(self.memref.type)


MEMREF = Dialect("memref", [*memref.MemRef.operations, PrefetchOp], list(memref.MemRef.attributes))
