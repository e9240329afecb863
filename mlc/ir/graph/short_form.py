"""Text of ops that says no type twice.

%y = graph.add %a, %b : tensor<2x3xf32>                               operands and result have one type
%y = graph.lt %a, %b : tensor<2xf32>, tensor<2xf32> -> tensor<2xi1>   they have not
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from xdsl.ir import Attribute, BlockArgument, Operation, SSAValue
from xdsl.parser import Parser, UnresolvedOperand
from xdsl.printer import Printer


class OneType(Operation):
    """Print and parse of an op with one result and no properties."""

    def print(self, printer: Printer) -> None:
        printer.print_string(" ")
        printer.print_list(self.operands, printer.print_ssa_value)
        printer.print_op_attributes(self.attributes)
        printer.print_string(" : ")
        result = self.results[0].type
        if any(operand.type != result for operand in self.operands):
            printer.print_list(self.operand_types, printer.print_attribute)
            printer.print_string(" -> ")
        printer.print_attribute(result)

    @classmethod
    def parse(cls, parser: Parser) -> Self:
        operands = parser.parse_comma_separated_list(parser.Delimiter.NONE, parser.parse_unresolved_operand)
        end = parser.pos
        attributes = parser.parse_optional_attr_dict()
        parser.parse_punctuation(":")
        start = parser.pos
        types: Sequence[Attribute] = parser.parse_comma_separated_list(parser.Delimiter.NONE, parser.parse_type)
        if parser.parse_optional_punctuation("->") is not None:
            result: Attribute = parser.parse_type()
        elif len(types) == 1:
            (result,) = types
            types = [result] * len(operands)
        else:
            parser.raise_error("'->' and the type of the result expected", start, parser.pos)
        values = parser.resolve_operands(operands, types, end)
        return cls.create(operands=values, result_types=[result], attributes=attributes)


def print_bound(printer: Printer, arguments: Sequence[BlockArgument], values: Sequence[SSAValue]) -> None:
    """What the arguments of a body are: (%a = %x : tensor<2xf32>, ...)."""

    def one(pair: tuple[BlockArgument, SSAValue]) -> None:
        printer.print_ssa_value(pair[0])
        printer.print_string(" = ")
        printer.print_ssa_value(pair[1])
        printer.print_string(" : ")
        printer.print_attribute(pair[0].type)

    with printer.in_parens():
        printer.print_list(list(zip(arguments, values, strict=True)), one)


def parse_bound(parser: Parser) -> tuple[list[Parser.Argument], list[SSAValue]]:
    """The arguments of a body and the values that they are."""

    def one() -> tuple[Parser.Argument, SSAValue]:
        name = parser.parse_argument(expect_type=False)
        parser.parse_punctuation("=")
        value: UnresolvedOperand = parser.parse_unresolved_operand()
        parser.parse_punctuation(":")
        type = parser.parse_type()
        return name.resolve(type), parser.resolve_operand(value, type)

    rows = parser.parse_comma_separated_list(parser.Delimiter.PAREN, one)
    return [argument for argument, _ in rows], [value for _, value in rows]


def print_types(printer: Printer, types: Sequence[Attribute]) -> None:
    """One type, or several in parentheses."""
    if len(types) == 1:
        printer.print_attribute(types[0])
    else:
        with printer.in_parens():
            printer.print_list(types, printer.print_attribute)


def parse_types(parser: Parser) -> list[Attribute]:
    several = parser.parse_optional_comma_separated_list(parser.Delimiter.PAREN, parser.parse_type)
    return [parser.parse_type()] if several is None else list(several)
