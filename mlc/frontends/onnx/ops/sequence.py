"""Sequences of tensors, and optional values. Both exist at import only: how many elements there are, and which one is taken, must be known.

    SplitToSequence(x) -> SequenceAt(., 1)      becomes      one slice of x

Inputs that are sequences are made of tensors (mlc.frontends.onnx.structure), outputs are taken apart into tensors.
"""

from __future__ import annotations

import numpy as np

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.table import ABSENT, Absent, Content, Items, Value, handles
from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.types import dtype_of, rank_of, shape_of


@handles("SequenceEmpty", since=(11,))
def sequence_empty(node: Node) -> list[Items]:
    return [Items()]


@handles("SequenceConstruct", since=(11,))
def sequence_construct(node: Node, *xs: Value) -> list[Items]:
    if len({dtype_of(x) for x in xs}) > 1:
        raise node.error("the elements have different dtypes")
    return [Items(xs)]


def _sequence(node: Node, x: Items | Value) -> Items:
    if not isinstance(x, Items):
        raise node.invalid(f"input '{node.inputs[0]}' is a tensor, expected a sequence")
    return x


def _position(node: Node, i: int, size: int) -> int:
    """The index in input i, negative ones counting from the end; `size` positions are allowed."""
    position = node.number(i, "position")
    if not -size <= position < size:
        raise node.error(f"position {position} is outside of {size} places")
    return position % size


@handles("SequenceAt", since=(11,), sequences=True)
def sequence_at(node: Node, items: Items | Value, position: Value) -> Value:
    items = _sequence(node, items)
    return items[_position(node, 1, len(items))]


@handles("SequenceInsert", since=(11,), sequences=True)
def sequence_insert(node: Node, items: Items | Value, x: Value, position: Value | None) -> list[Items]:
    """Before the element at `position`; at the end by default."""
    items = _sequence(node, items)
    at = len(items)
    if position is not None:
        at = node.number(2, "position")
        if not -len(items) <= at <= len(items):
            raise node.error(f"position {at} is outside of a sequence of {len(items)}")
        at += len(items) if at < 0 else 0
    return [Items((*items[:at], x, *items[at:]))]


@handles("SequenceErase", since=(11,), sequences=True)
def sequence_erase(node: Node, items: Items | Value, position: Value | None) -> list[Items]:
    items = _sequence(node, items)
    at = len(items) - 1 if position is None else _position(node, 1, len(items))
    if at < 0:
        raise node.error("the sequence is empty")
    return [Items((*items[:at], *items[at + 1 :]))]


@handles("SequenceLength", since=(11,), sequences=True)
def sequence_length(node: Node, items: Items | Value) -> np.ndarray:
    items = _sequence(node, items)
    return np.array(len(items), np.int64)


@handles("ConcatFromSequence", since=(11,), sequences=True)
def concat_from_sequence(node: Node, items: Items | Value) -> Value:
    items = _sequence(node, items)
    if not items:
        raise node.error("the sequence is empty")
    axis, rank = node.int("axis"), rank_of(items[0])
    new_axis = node.int("new_axis")
    ranks = rank + 1 if new_axis else rank
    if not -ranks <= axis < ranks or any(rank_of(x) != rank for x in items):
        raise node.error(f"elements of {sorted({rank_of(x) for x in items})} axes do not join at axis {axis}")
    axis %= ranks
    xs = [g.unsqueeze(x, [axis]) for x in items] if new_axis else list(items)
    return g.concatenate(xs, axis)


@handles("SplitToSequence", since=(11, 24))
def split_to_sequence(node: Node, x: Value, split: Value | None) -> list[Items]:
    """Pieces of the sizes given, of one size (the last may be smaller), or of size 1, which lose the axis unless keepdims."""
    axis = node.axis(node.int("axis"), rank_of(x))
    whole = shape_of(x)[axis]
    sizes: list[Extent]
    entries = node.entries(1)
    if split is not None and entries is None:
        raise node.needs_value(1, "split")
    if entries is not None and entries.ndim:
        sizes = list(entries.ravel())
    else:
        each = 1 if split is None else node.extent(1, "split")
        if isinstance(each, int) and each < 1:
            raise node.error(f"pieces of {each} elements")
        count = dims.ceildiv(whole, each)
        if not isinstance(count, int) or not isinstance(whole, int) or not isinstance(each, int):
            raise node.unsupported(f"into how many pieces {whole} elements split is known only at run time")
        sizes = [min(each, whole - i * each) for i in range(count)]
    pieces = g.split(x, sizes, axis)
    if split is None and not node.int("keepdims"):
        pieces = [g.squeeze(piece, [axis]) for piece in pieces]
    return [Items(pieces)]


@handles("SequenceMap", since=(17,), sequences=True)
def sequence_map(node: Node, items: Items | Value, *others: Items | Value) -> list[Items]:
    """The body once for each element; another sequence gives its element of that place, a tensor is the same for all."""
    items, body = _sequence(node, items), node.graph("body")
    for other in others:
        if isinstance(other, Items) and len(other) != len(items):
            raise node.error(f"sequences of {len(items)} and {len(other)} elements")
    columns: list[list[Value]] = [[] for _ in body.output]
    for i, item in enumerate(items):
        results = node.inline(body, [item, *(x[i] if isinstance(x, Items) else x for x in others)])
        for column, result in zip(columns, results, strict=True):
            if isinstance(result, Items | Absent):
                raise node.invalid(f"the body '{body.name}' gives a sequence, expected tensors")
            column.append(result)
    return [Items(column) for column in columns]


@handles("Optional", since=(15, 28), sequences=True)
def optional(node: Node, x: Value | Items | None) -> list[Content]:
    return [ABSENT if x is None else x]


@handles("OptionalGetElement", since=(15, 18, 28), sequences=True)
def optional_get_element(node: Node, x: Content | None) -> list[Content]:
    if x is None or isinstance(x, Absent):
        raise node.error("the optional value is empty")
    return [x]


@handles("OptionalHasElement", since=(15, 18, 28), sequences=True)
def optional_has_element(node: Node, x: Content | None = None) -> np.ndarray:
    return np.array(not (x is None or isinstance(x, Absent)))
