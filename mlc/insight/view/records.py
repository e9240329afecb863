"""@main after each pass, as records that a page can draw.

Passes work in place: an op that a pass leaves alone is the same object before and after. Each object has a number, so that what a pass changed is
known exactly, by object and not by text. A record is [number, kind, nodes of the model, type, attributes, numbers that it reads, number of the
op around it or -1, group of the calls or -1, part of a step of training], and is stored once for all passes that show it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from xdsl.dialects import func
from xdsl.dialects.builtin import TensorType
from xdsl.ir import Attribute, Block, BlockArgument, Operation, OpResult, SSAValue

from mlc.ir.graph.base import location_name, role_of
from mlc.ir.graph.control import GroupOp
from mlc.ir.kernel import program
from mlc.ir.kernel.planner import functions_of
from mlc.ir.kernel.writes import written_arguments
from mlc.ir.module import Module
from mlc.ir.types import type_text

LONGEST = 160  # letters of an attribute that are shown
# Ops that name places and sizes: their readers are shown as if they read what is behind them.
_FREE = {
    "graph.yield",
    "func.return",
    "scf.yield",
    "scf.condition",
    "kernel.buffer",
    "kernel.view",
    "kernel.row",
    "kernel.part",
    "kernel.size",
}

Row = tuple[int, str, str, str, str, tuple[int, ...], int, int, str]


class Graphs:
    """`by_text`: modules come from texts, so that an op is known again by what it says, the n-th time in its module."""

    def __init__(self, by_text: bool = False) -> None:
        self.by_text = by_text
        self.groups: list[GroupOp] = []  # of the last graph, in order: calls name them by number
        self._numbers: dict[object, int] = {}  # holds the ops: the place of one that is gone must not be used again
        self._known: dict[Row, int] = {}
        self._aliases: dict[object, object] = {}
        self._said_before: dict[object, int] = {}
        self._seen: dict[Operation, tuple[tuple[object, ...], tuple[str, str, str, str]]] = {}
        self._texts: dict[int, tuple[Attribute, str]] = {}
        self._writes: dict[str, frozenset[int]] = {}

    def add(self, module: Module) -> tuple[list[Row], list[int]]:
        """The records that are new in this module, and the numbers of all those that show it."""
        self._said_before.clear()
        rows = list(_Reading(self, module).rows())
        if not module.is_program:
            self.groups = [op for op in module.main.walk() if isinstance(op, GroupOp)]
        fresh = []
        for row in rows:
            if row not in self._known:
                self._known[row] = len(self._known)
                fresh.append(row)
        return fresh, [self._known[row] for row in rows]

    def number(self, thing: object) -> int:
        if self.by_text:
            thing = self._alias(thing)
        return self._numbers.setdefault(thing, len(self._numbers))

    def _alias(self, thing: object) -> object:
        """What an op, or an argument of @main, says and how often that was said in its module before."""
        if thing not in self._aliases:
            if isinstance(thing, Operation):
                what: object = self.said(thing)
            elif isinstance(thing, BlockArgument):
                what = ("argument", thing.index)
            else:
                what = thing
            count = self._said_before[what] = self._said_before.get(what, 0) + 1
            self._aliases[thing] = (what, count)
        return self._aliases[thing]

    def said(self, op: Operation) -> tuple[str, str, str, str]:
        """Kind, nodes, types and attributes of an op; of one that has not changed as they were said before."""
        key = (op.location, *op.properties.values(), *op.attributes.values(), *(r.type for r in op.results))
        known = self._seen.get(op)
        if known is not None and len(known[0]) == len(key) and all(a is b for a, b in zip(known[0], key, strict=True)):
            return known[1]
        kind, nodes, attributes = op.name.removeprefix("graph."), location_name(op) or "", ""
        if isinstance(op, program.CallOp):
            kind, nodes = op.kernel, "\n".join(name.data for name in op.source.data)
        else:
            given = {**op.properties, **op.attributes}
            shown = [f"{name} = {self.attribute(a)}" for name, a in given.items() if name != "operandSegmentSizes"]
            attributes = ", ".join(shown)
        made = kind, nodes, "; ".join(self.type(r.type) for r in op.results), attributes
        self._seen[op] = key, made
        return made

    def role(self, op: Operation) -> str:
        """Of a group that of most of its ops."""
        inside = [op for op in op.body.block.ops if location_name(op)] if isinstance(op, GroupOp) else [op]
        roles = [role_of(one) for one in inside]
        return max(roles, key=roles.count, default="")

    def attribute(self, attribute: Attribute) -> str:
        return self._text(attribute, _short)

    def type(self, type: Attribute) -> str:
        return self._text(type, _type_text)

    def _text(self, attribute: Attribute, make: Any) -> str:
        known = self._texts.get(id(attribute))
        if known is None or known[0] is not attribute:
            known = self._texts[id(attribute)] = attribute, make(attribute)
        return known[1]


class _Reading:
    """One module as rows."""

    def __init__(self, graphs: Graphs, module: Module):
        self.graphs, self.module, self.main = graphs, module, module.main
        self.is_program = module.is_program
        self.writers: dict[SSAValue, list[int]] = {}  # memory -> the calls that wrote it so far
        self.functions = functions_of(module) if self.is_program else {}
        self.outputs: list[SSAValue] = []

    def rows(self) -> Iterator[Row]:
        number = self.graphs.number
        names, kinds = self.module.input_names, self.graphs.type
        for arg in self.main.body.block.args:
            if self.is_program and arg.index >= len(names):
                self.outputs.append(arg)
            else:
                yield number(arg), "input", names[arg.index], kinds(arg.type), "", (), -1, -1, ""
        yield from self.visit(self.main.body.block)
        if self.is_program:
            for place, memory in enumerate(self.outputs):
                read, name = tuple(self.writers.get(memory, ())), self.module.output_names[place]
                yield number(("output", place)), "output", name, kinds(memory.type), "", read, -1, -1, ""
            return
        last = self.main.body.block.last_op
        for place, value in enumerate(last.operands if last is not None else ()):
            name = self.module.output_names[place]
            yield number(("output", place)), "output", name, kinds(value.type), "", self.sources([value]), -1, -1, ""

    def visit(self, block: Block) -> Iterator[Row]:
        waiting: list[tuple[Operation, int]] = [(op, -1) for op in reversed(list(block.ops))]
        while waiting:
            op, parent = waiting.pop()
            if op.name in _FREE or (self.is_program and op.name.startswith("arith.")):
                continue
            own = self.graphs.number(op)
            kind, nodes, types, attributes = self.graphs.said(op)
            group = -1
            if isinstance(op, program.CallOp):
                read = self.call(op, own)
                found = program.group_of(op)
                group = -1 if found is None else found
            else:
                read = self.sources(op.operands)
            yield own, kind, nodes, types, attributes, read, parent, group, self.graphs.role(op)
            inner = [(o, own) for region in op.regions for b in region.blocks for o in b.ops]
            waiting += reversed(inner)

    def sources(self, values: Iterable[SSAValue]) -> tuple[int, ...]:
        found = (self.source(value) for value in values)
        return tuple(dict.fromkeys(number for number in found if number is not None))

    def source(self, value: SSAValue) -> int | None:
        """What made a value, looking through the walls of groups."""
        found: SSAValue = value
        while True:
            owner = found.owner
            if isinstance(found, BlockArgument):
                around = found.block.parent_op()
                if isinstance(around, func.FuncOp):
                    return self.graphs.number(found)
                if not isinstance(around, GroupOp):
                    return None if around is None or self.is_program else self.graphs.number(around)
                found = around.operands[found.index]
            elif isinstance(owner, GroupOp):
                assert owner.body.block.last_op is not None
                assert isinstance(found, OpResult)
                found = owner.body.block.last_op.operands[found.index]
            else:
                return self.graphs.number(owner)

    def call(self, op: program.CallOp, own: int) -> tuple[int, ...]:
        """Who wrote the memory that a call reads."""
        function = self.functions.get(op.kernel)
        written = frozenset() if function is None else written_arguments(function, self.functions, self.graphs._writes)
        found: list[int] = []
        made: list[SSAValue] = []
        for place, value in enumerate(op.arguments):
            memory = program.memory_of(value)
            if isinstance(memory, BlockArgument) and memory not in self.outputs:
                if isinstance(memory.block.parent_op(), func.FuncOp):
                    found.append(self.graphs.number(memory))
            elif memory in self.outputs or isinstance(memory.owner, program.BufferOp):
                found += self.writers.get(memory, ())
                if place in written:
                    made.append(memory)
            elif memory.owner.name not in _FREE and not memory.owner.name.startswith("arith."):  # type: ignore[union-attr]
                found.append(self.graphs.number(memory.owner))
        for memory in dict.fromkeys(made):
            self.writers.setdefault(memory, []).append(own)
        return tuple(dict.fromkeys(number for number in found if number != own))


def _short(attribute: Attribute) -> str:
    text = re.sub(r"(?:array<i64: ?|#graph.dims<)(.*?)>", r"[\1]", str(attribute))
    text = re.sub(r" : (i64|index|i1)\b", "", text).strip('"')
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _type_text(type: Attribute) -> str:
    """f32[N, 768], whatever holds it."""
    if isinstance(type, TensorType):
        return type_text(type)
    text = str(type)
    match = re.match(r"(?:memref|vector)<((?:[\d?]+x)*)([^,x>]+)[,>]", text)
    if not match:
        return text
    return f"{match[2]}[{', '.join(match[1].split('x')[:-1])}]"
