"""Comparisons, selections and conversions in every lane of a vector, which xDSL 0.74 limits to scalars, and the dot product of bytes, which
MLIR has for one machine at a time.

    %m = arith.cmpf ogt, %x, %y : vector<16xf32>
    %z = arith.select %m, %x, %y : vector<16xi1>, vector<16xf32>
    %i = arith.fptosi %z : vector<16xf32> to vector<16xi8>
    %d = vector.dot_bytes %u, %s, %acc : vector<64xi8>, vector<64xi8>, vector<16xi32> -> vector<16xi32>

The text is MLIR's own but for the last. `dialects()` gives a context in which it parses back: there these classes stand for arith.cmpf, arith.cmpi,
arith.select and the conversions, on scalars too, so that passes and printers tell these ops by their names.
"""

from __future__ import annotations

from typing import Self

from xdsl.context import Context
from xdsl.dialects import arith, builtin, func, linalg, math, scf, vector
from xdsl.dialects.arith import CMPF_COMPARISON_OPERATIONS, CMPI_COMPARISON_OPERATIONS, FastMathFlagsAttr
from xdsl.dialects.builtin import IntegerAttr, VectorType, i1, i8, i32
from xdsl.ir import Attribute, Dialect, Operation, SSAValue
from xdsl.irdl import AnyAttr, IRDLOperation, irdl_op_definition, operand_def, prop_def, result_def, traits_def
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from mlc.ir.kernel.prefetch import MEMREF
from mlc.ir.kernel.scalar_ops import ARITH, MATH


def truth_type(like: Attribute) -> Attribute:
    """i1, or one per lane."""
    return VectorType(i1, like.get_shape()) if isinstance(like, VectorType) else i1


@irdl_op_definition
class CompareFloats(IRDLOperation):
    """arith.cmpf of scalars or vectors."""

    name = "arith.cmpf"
    predicate = prop_def(IntegerAttr)
    fastmath = prop_def(FastMathFlagsAttr, default_value=FastMathFlagsAttr("none"))
    lhs = operand_def(AnyAttr())
    rhs = operand_def(AnyAttr())
    result = result_def(AnyAttr())
    traits = traits_def(Pure())

    def __init__(self, lhs: SSAValue, rhs: SSAValue, predicate: str):
        number = IntegerAttr(CMPF_COMPARISON_OPERATIONS.index(predicate), 64)
        super().__init__(
            operands=[lhs, rhs],
            result_types=[truth_type(lhs.type)],
            properties={"predicate": number, "fastmath": FastMathFlagsAttr("none")},
        )

    @classmethod
    def parse(cls, parser: Parser) -> CompareFloats:
        return cls(*_parse(parser))

    def print(self, printer: Printer) -> None:
        _print(printer, self, CMPF_COMPARISON_OPERATIONS[self.predicate.value.data])


@irdl_op_definition
class CompareIntegers(IRDLOperation):
    """arith.cmpi of scalars or vectors."""

    name = "arith.cmpi"
    predicate = prop_def(IntegerAttr)
    lhs = operand_def(AnyAttr())
    rhs = operand_def(AnyAttr())
    result = result_def(AnyAttr())
    traits = traits_def(Pure())

    def __init__(self, lhs: SSAValue, rhs: SSAValue, predicate: str):
        number = IntegerAttr(CMPI_COMPARISON_OPERATIONS.index(predicate), 64)
        super().__init__(operands=[lhs, rhs], result_types=[truth_type(lhs.type)], properties={"predicate": number})

    @classmethod
    def parse(cls, parser: Parser) -> CompareIntegers:
        return cls(*_parse(parser))

    def print(self, printer: Printer) -> None:
        _print(printer, self, CMPI_COMPARISON_OPERATIONS[self.predicate.value.data])


@irdl_op_definition
class Select(IRDLOperation):
    """arith.select of scalars or vectors, by one condition or one per lane."""

    name = "arith.select"
    cond = operand_def(AnyAttr())
    lhs = operand_def(AnyAttr())
    rhs = operand_def(AnyAttr())
    result = result_def(AnyAttr())
    traits = traits_def(Pure())

    def __init__(self, cond: SSAValue, lhs: SSAValue, rhs: SSAValue):
        super().__init__(operands=[cond, lhs, rhs], result_types=[lhs.type])

    @classmethod
    def parse(cls, parser: Parser) -> Select:
        names = parser.parse_comma_separated_list(parser.Delimiter.NONE, parser.parse_unresolved_operand)
        parser.parse_punctuation(":")
        types = parser.parse_comma_separated_list(parser.Delimiter.NONE, parser.parse_type)
        types = [i1, *types] if len(types) == 1 else types
        return cls(*parser.resolve_operands(names, [types[0], types[1], types[1]], parser.pos))

    def print(self, printer: Printer) -> None:
        printer.print_string(" ")
        printer.print_list(self.operands, printer.print_operand)
        printer.print_string(" : ")
        if isinstance(self.cond.type, VectorType):
            printer.print_attribute(self.cond.type)
            printer.print_string(", ")
        printer.print_attribute(self.result.type)


class Conversion(IRDLOperation):
    """From one element type to another, of scalars or vectors."""

    input = operand_def(AnyAttr())
    result = result_def(AnyAttr())
    traits = traits_def(Pure())

    def __init__(self, input: SSAValue, type: Attribute):
        super().__init__(operands=[input], result_types=[type])

    @classmethod
    def parse(cls, parser: Parser) -> Self:
        name = parser.parse_unresolved_operand()
        parser.parse_punctuation(":")
        source = parser.parse_type()
        parser.parse_keyword("to")
        (value,) = parser.resolve_operands([name], [source], parser.pos)
        return cls(value, parser.parse_type())

    def print(self, printer: Printer) -> None:
        printer.print_string(" ")
        printer.print_operand(self.input)
        printer.print_string(" : ")
        printer.print_attribute(self.input.type)
        printer.print_string(" to ")
        printer.print_attribute(self.result.type)


@irdl_op_definition
class FloatToSigned(Conversion):
    name = "arith.fptosi"


@irdl_op_definition
class FloatToUnsigned(Conversion):
    name = "arith.fptoui"


@irdl_op_definition
class SignedToFloat(Conversion):
    name = "arith.sitofp"


@irdl_op_definition
class UnsignedToFloat(Conversion):
    name = "arith.uitofp"


@irdl_op_definition
class ExtendSigned(Conversion):
    name = "arith.extsi"


@irdl_op_definition
class ExtendUnsigned(Conversion):
    name = "arith.extui"


@irdl_op_definition
class TruncateInteger(Conversion):
    name = "arith.trunci"


CONVERSIONS: dict[str, type[Conversion]] = {
    op.name: op
    for op in (
        FloatToSigned,
        FloatToUnsigned,
        SignedToFloat,
        UnsignedToFloat,
        ExtendSigned,
        ExtendUnsigned,
        TruncateInteger,
    )
}


@irdl_op_definition
class DotBytes(IRDLOperation):
    """result[i] = acc[i] + sum over j < 4 of x[4 i + j] * y[4 i + j], x unsigned and y signed. Products and their sum are exact; the sum with acc
    wraps, as i32 does. x86's vpdpbusd."""

    name = "vector.dot_bytes"
    x = operand_def(VectorType)
    y = operand_def(VectorType)
    acc = operand_def(VectorType)
    result = result_def(VectorType)
    traits = traits_def(Pure())
    assembly_format = "$x `,` $y `,` $acc attr-dict `:` type($x) `,` type($y) `,` type($acc) `->` type($result)"

    def __init__(self, x: SSAValue, y: SSAValue, acc: SSAValue):
        super().__init__(operands=[x, y, acc], result_types=[acc.type])

    def verify_(self) -> None:
        assert isinstance(self.acc.type, VectorType)
        lanes = self.acc.type.get_shape()
        types = (VectorType(i8, [4 * n for n in lanes]),) * 2 + (VectorType(i32, lanes),) * 2
        if (self.x.type, self.y.type, self.acc.type, self.result.type) != types:
            raise VerifyException(f"vector.dot_bytes of {self.x.type}, {self.y.type} and {self.acc.type}")


VECTOR = Dialect("vector", [*vector.Vector.operations, DotBytes], list(vector.Vector.attributes))


_OURS: dict[str, type[IRDLOperation]] = {op.name: op for op in (CompareFloats, CompareIntegers, Select)}
_OURS |= CONVERSIONS
LANEWISE = Dialect("arith", [_OURS.get(op.name, op) for op in ARITH.operations], list(ARITH.attributes))
_SCALAR = {op.name: op for op in ARITH.operations if op.name in _OURS}


# What machines compute in every lane at once: no division of integers, no functions. A constant is the same in all lanes.
_IN_LANES = (
    arith.AddfOp,
    arith.SubfOp,
    arith.MulfOp,
    arith.DivfOp,
    arith.NegfOp,
    arith.MaximumfOp,
    arith.MinimumfOp,
    arith.ExtFOp,
    arith.TruncFOp,
    arith.AddiOp,
    arith.SubiOp,
    arith.MuliOp,
    arith.AndIOp,
    arith.OrIOp,
    arith.XOrIOp,
    arith.ShLIOp,
    arith.ShRSIOp,
    arith.ShRUIOp,
    arith.MaxSIOp,
    arith.MinSIOp,
    arith.MaxUIOp,
    arith.MinUIOp,
    math.AbsFOp,
    math.SqrtOp,
    math.FmaOp,
    math.FloorOp,
    math.CeilOp,
    math.RoundEvenOp,
    math.RoundOp,
    math.TruncOp,
    math.CopySignOp,
    arith.ConstantOp,
)


def works_in_lanes(op: Operation) -> bool:
    """Is there an instruction that computes a scalar op in every lane of a vector?"""
    return isinstance(op, _IN_LANES) or op.name in _OURS


def scalar(op: Operation) -> Operation | None:
    """xDSL's own op for one of these that works on no vectors: what passes on kernels look for. None for any other op."""
    if not isinstance(op, CompareFloats | CompareIntegers | Select | Conversion):
        return None
    if any(isinstance(value.type, VectorType) for value in (*op.operands, *op.results)):
        return None
    return _SCALAR[op.name].create(
        operands=op.operands,
        result_types=[result.type for result in op.results],
        properties=dict(op.properties),
        attributes=dict(op.attributes),
    )


def dialects() -> Context:
    """A context that parses kernels at every level."""
    context = Context()
    for dialect in (
        builtin.Builtin,
        func.Func,
        linalg.Linalg,
        MATH,
        MEMREF,
        scf.Scf,
        VECTOR,
        LANEWISE,
    ):
        context.load_dialect(dialect)
    return context


def _parse(parser: Parser) -> tuple[SSAValue, SSAValue, str]:
    predicate = parser.parse_identifier()
    parser.parse_punctuation(",")
    lhs = parser.parse_unresolved_operand()
    parser.parse_punctuation(",")
    rhs = parser.parse_unresolved_operand()
    parser.parse_punctuation(":")
    type = parser.parse_type()
    x, y = parser.resolve_operands([lhs, rhs], [type, type], parser.pos)
    return x, y, predicate


def _print(printer: Printer, op: CompareFloats | CompareIntegers, predicate: str) -> None:
    printer.print_string(f" {predicate}, ")
    printer.print_list(op.operands, printer.print_operand)
    printer.print_string(" : ")
    printer.print_attribute(op.lhs.type)
