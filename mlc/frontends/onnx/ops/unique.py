"""Unique: sort, mark where a new value begins, number the values."""

from __future__ import annotations

from collections.abc import Sequence

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import like
from mlc.frontends.onnx.table import Value, handles
from mlc.ir import builder as g
from mlc.ir.dims import prod
from mlc.ir.types import dtype_of, rank_of, shape_of


@handles("Unique", since=(11, 28))
def unique(node: Node, x: Value) -> Sequence[Value]:
    """The different elements, or slices along an axis: they, where each is first, which of them each element is, how often each is there."""
    axis = node.axis(node.int("axis", 0), rank_of(x)) if node.has("axis") else None
    shape = shape_of(x) if axis is not None else (prod(shape_of(x)),)
    axis = axis or 0
    number, others = shape[axis], [e for a, e in enumerate(shape) if a != axis]
    front = [axis, *(a for a in range(len(shape)) if a != axis)]
    rows = g.reshape(g.transpose(g.reshape(x, shape), front), [number, prod(others)])
    order = _ascending(rows)
    ordered = g.gather(rows, order, 0)
    line = g.iota([number], 0, "i64")
    before = g.gather(ordered, g.maximum(g.sub(line, like(line, 1)), like(line, 0)), 0)
    begins = g.logical_or(g.reduce(g.ne(ordered, before), [1], "or"), g.eq(line, like(line, 0)))
    which = g.sub(g.cumulative(g.cast(begins, "i64"), 0), like(line, 1))  # of the values, for each row in order
    first = g.gather(order, g.squeeze(g.nonzero(begins), [1]), 0)
    count = shape_of(first)
    zeros = g.full(count, 0, "i64")
    inverse = g.scatter_elements(g.full([number], 0, "i64"), order, which, 0)
    counts = g.scatter_elements(zeros, which, g.full([number], 1, "i64"), 0, "add")
    if not node.int("sorted", 1):
        place = g.top_k(first, count[0], 0, largest=False)[1]
        first, counts = g.gather(first, place, 0), g.gather(counts, place, 0)
        inverse = g.gather(g.scatter_elements(zeros, place, g.iota(count, 0, "i64"), 0), inverse, 0)
    values = g.reshape(g.gather(rows, first, 0), [*count, *others])
    return [g.transpose(values, [front.index(a) for a in range(len(shape))]), first, inverse, counts]


def _ascending(rows: Value) -> Value:
    """The numbers of the rows in ascending order, equal ones as they come: stable sorts by each column, the last first."""
    number, width = shape_of(rows)
    line = g.iota([number], 0, "i64")
    if dtype_of(rows) == "bool":
        rows = g.cast(rows, "u8")

    def by_column(
        carried: tuple[Value, ...], columns: tuple[Value, ...], _: tuple[Value, ...]
    ) -> tuple[list[Value], list[Value]]:
        order, column = carried[0], columns[0]
        return [g.gather(order, g.top_k(g.gather(column, order, 0), number, 0, largest=False)[1], 0)], []

    columns = g.transpose(rows, [1, 0])
    if width == 1:
        return by_column((line,), (g.squeeze(columns, [0]),), ())[0][0]
    return g.scan(by_column, [line], [columns], width, reverse=True)[0][0]
