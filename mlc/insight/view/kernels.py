"""A kernel as texts: structured ops, loops, code for the machine, assembly; and which lines of them belong together.

Each text links to the one at its left: a line of loops names the line of the structured op that it computes a part of, a line of LLVM IR the
line of the loops it was printed for, a line of assembly the line of LLVM IR. -1 where there is none: labels, the frame of a function.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from xdsl.dialects.builtin import FileLineColLoc, IntAttr, StringAttr
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute, Operation

from mlc.backends import backend
from mlc.codegen.code import Code, called_kernels
from mlc.ir.kernel.target import Target
from mlc.ir.module import Module
from mlc.ir.text import TextPrinter

# What a line can do without, so that three texts have room beside each other: attributes of functions, types at the end.
_ATTRIBUTES = re.compile(r"( attributes)? \{kernel\.[^{}]*(\{[^{}]*(\{[^{}]*\}[^{}]*)*\}[^{}]*)*\}")
_SIGNATURE = re.compile(r"^(\s*)func\.func( private)? @([\w.$]+)\((.*)\)( \{)?.*$")
_TYPES = re.compile(r" : \(?(?:memref|vector|index|tuple|[a-z]+\d+)\b.*?( \{)?$")
_MAPS = re.compile(r"indexing_maps = \[.*\], iterator_types = \[.*?\]\} ?")


class _LinePrinter(TextPrinter):
    """Keeps the line at which each op begins. Types and attributes are `known` once they were printed: they are most of a text."""

    def __init__(self, out: StringIO, known: dict[int, tuple[Attribute, str]]):
        super().__init__(out)
        self.lines: dict[Operation, int] = {}
        self._known = known

    def print_attribute(self, attribute: Attribute) -> None:
        found = self._known.get(id(attribute))  # the attribute is held, so that its place is not used again
        if found is None:
            out = StringIO()
            TextPrinter(out).print_attribute(attribute)
            found = self._known[id(attribute)] = attribute, out.getvalue()
        self.print_string(found[1])

    def print_op(self, op: Operation) -> None:
        self.lines[op] = self._current_line
        super().print_op(op)


def text_and_lines(
    op: FuncOp, known: dict[int, tuple[Attribute, str]] | None = None
) -> tuple[list[str], dict[Operation, int]]:
    """A function as short lines, and the line of each of its ops; `known` are texts of types and attributes, for the next function too."""
    out = StringIO()
    printer = _LinePrinter(out, {} if known is None else known)
    printer.print_op(op)
    return [_shortened(line) for line in out.getvalue().split("\n")], printer.lines


def _shortened(line: str) -> str:
    line = _ATTRIBUTES.sub("", line)
    if match := _SIGNATURE.match(line):
        indent, private, name, arguments = match[1], match[2] or "", match[3], match[4]
        names = ", ".join(re.findall(r"%[\w.]+", arguments))
        return f"{indent}func.func{private} @{name}({names}) {{"
    line = _MAPS.sub("{", line).replace("{} ", "").replace("{ins", "ins").replace("{outs", "outs")
    return _TYPES.sub(r"\1", line)


def structured(module: Module) -> dict[str, list[str]]:
    """The kernels of a scheduled module, before they are loops; each of their ops says by its location at which line it stands."""
    found = {}
    known: dict[int, tuple[Attribute, str]] = {}
    for op in module.op.ops:
        if isinstance(op, FuncOp) and op is not module.main:
            lines, places = text_and_lines(op, known)
            name = StringAttr(op.sym_name.data)
            for inner, line in places.items():
                inner.location = FileLineColLoc(name, IntAttr(line), IntAttr(0))
            found[op.sym_name.data] = lines
    return found


def texts(
    name: str,
    functions: Sequence[FuncOp],
    before: Mapping[str, list[str]],
    code: Code,
    target: Target,
    assembly: bool,
    known: dict[int, tuple[Attribute, str]],
) -> dict[str, Any]:
    """What a page shows of one kernel whose `functions` are loops; with its assembly, which takes a second run of LLVM, or without."""
    loops: list[str] = []
    places: dict[Operation, int] = {}
    above: list[int] = []
    for function in functions:
        lines, found = text_and_lines(function, known)
        own = [-1] * len(lines)
        for op, line in found.items():
            places[op] = len(loops) + line
            own[line] = _structured_line(op)
        loops += [*lines, ""]
        above += [*own, -1]
    links: dict[str, list[int]] = {"loops": above}
    made: dict[str, Any] = {
        "structured": "\n".join(before.get(name, ())),
        "loops": "\n".join(loops),
        "code": code.texts.get(name, ""),
        "language": "code",
        "links": links,
    }
    inspector = backend(target.kind).inspector
    if inspector is not None:
        linked = inspector.linked(functions, target, name in code.optimised, assembly)
        made.update(code=linked.code, language=linked.language)
        links["code"] = [places.get(op, -1) if op is not None else -1 for op in linked.origins]
        if linked.assembly:
            made["assembly"], links["assembly"] = "\n".join(linked.assembly), list(linked.lines)
    return made


def _structured_line(op: Operation) -> int:
    """Where the op stands that it was made of: what it says, or a constant at the entry for its first reader. -1 where nobody says."""
    for one in (op, *(use.operation for result in op.results for use in result.uses)):
        if isinstance(one.location, FileLineColLoc):
            return one.location.line.data
    return -1


def all_texts(
    lowered: Module, before: Mapping[str, list[str]], code: Code, target: Target, assembly: bool
) -> dict[str, dict[str, Any]]:
    """Of every kernel that is called."""
    known: dict[int, tuple[Attribute, str]] = {}
    kernels = called_kernels(lowered)
    return {name: texts(name, functions, before, code, target, assembly, known) for name, functions in kernels}
