"""Subgraphs as the bodies of control ops: what they read from around goes in as constants, sequences and optional values element by element."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from onnx import GraphProto

from mlc.frontends.onnx.folding import erase_unused
from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.table import Absent, Content, Items, Value, flattened
from mlc.ir.graph.control import ControlOp


@dataclass(frozen=True)
class Surroundings:
    """The values that subgraphs read from around them, by name."""

    node: Node
    contents: dict[str, Content]

    @classmethod
    def of(cls, node: Node, *graphs: GraphProto) -> Surroundings:
        found: dict[str, Content] = {}
        for graph in graphs:
            found |= node.scope.captured(graph)
        return cls(node, found)

    @property
    def constants(self) -> list[Value]:
        return flattened(self.contents.values())

    def body(self, graph: GraphProto, operands: Sequence[Content], constants: Sequence[Value]) -> list[Content]:
        """What a subgraph gives, in a body where `constants` stand for the values around it."""
        there = dict(zip(self.contents, restored(list(self.contents.values()), constants), strict=True))
        return self.node.scope.enclosed(graph, operands, there)


def restored(like: Sequence[Content], values: Sequence[Value]) -> list[Content]:
    """Values that consist of these tensors as those in `like` do of theirs."""
    left: Iterator[Value] = iter(values)
    return [
        Items(next(left) for _ in content)
        if isinstance(content, Items)
        else content
        if isinstance(content, Absent)
        else next(left)
        for content in like
    ]


def kind_of(content: Content) -> object:
    """Equal for values of one type: the types of their tensors, how many there are, and whether it is a sequence."""
    if isinstance(content, Items):
        return ("sequence", *(x.type for x in content))
    return "nothing" if isinstance(content, Absent) else content.type


def tidy(results: Sequence[Value]) -> None:
    """Leave out of a control op what only decided shapes while its bodies were built."""
    op = results[0].owner if results else None
    if isinstance(op, ControlOp):
        for block in op.blocks:
            erase_unused(block)
        op.drop_unused_constants()
