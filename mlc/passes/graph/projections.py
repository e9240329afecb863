"""Split a product whose result is only read in pieces: each piece gets its part of the weight, and a buffer of its own.

    y = contract(x, w: [768, 2304]) + b                q = contract(x, w[:, :768]) + b[:768]
    q, k, v = slices of y                       ->     k = contract(x, w[:, 768:1536]) + b[768:1536], ...

A piece is then whole in memory, so that what reads it needs no copy. Weights are cut once, at compile time.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, NamedTuple

from xdsl.ir import Operation, SSAValue

from mlc.ir import builder as g
from mlc.ir import dims, work
from mlc.ir.graph.base import emit
from mlc.ir.graph.constants import WeightOp
from mlc.ir.graph.elementwise import ElementwiseOp
from mlc.ir.graph.linear import ContractOp, labels
from mlc.ir.graph.parts import SliceOp
from mlc.ir.graph.shape import BroadcastOp, ReshapeOp
from mlc.ir.module import Module
from mlc.ir.types import shape_of
from mlc.passes.base import Pass
from mlc.passes.graph.facts import axis_groups, made_by
from mlc.passes.graph.rewrite import before, replace, rewrite
from mlc.passes.graph.simplify.reshape import merge_reshapes


@dataclass(frozen=True)
class SplitProjections(Pass):
    """Compute the pieces of a product apart, where nobody reads it as a whole."""

    name: ClassVar[str] = "split-projections"

    def run(self, module: Module) -> None:
        for op in list(module.op.walk()):
            if isinstance(op, ContractOp) and isinstance(op.rhs.owner, WeightOp):
                work.on(op)
                _split(op, module)
        rewrite(module, [merge_reshapes])


class Piece(NamedTuple):
    """A slice that reads the result: the range of the weight's columns that it is made of."""

    op: SliceOp
    axis: int
    start: int
    size: int


def _split(op: ContractOp, module: Module) -> None:
    chain = _chain(op)
    last = chain[-1].results[0]
    pieces: list[Piece] = []
    for user in [use.operation for use in last.uses]:
        readers = [use.operation for use in user.results[0].uses] if isinstance(user, ReshapeOp) else [user]
        for reader in readers:
            piece = _piece(reader, last) if isinstance(reader, SliceOp) else None
            if piece is None:
                return
            pieces.append(piece)
    ranges = sorted((piece.start, piece.start + piece.size) for piece in pieces)
    axes = {piece.axis for piece in pieces}
    if len(pieces) < 2 or len(axes) != 1 or any(a[1] > b[0] for a, b in pairwise(ranges)):
        return
    lhs, rhs, out = labels(op.spec.data)
    label = out[axes.pop()]
    if label in lhs:
        return
    for piece in pieces:
        with before(piece.op, module):
            value = _columns(chain, piece, rhs.index(label))
            replace(piece.op, [g.reshape(value, shape_of(piece.op.result))])


def _chain(op: ContractOp) -> list[Operation]:
    """The contraction and the element-wise ops with repeated operands that follow it, while each has one reader."""
    chain: list[Operation] = [op]
    while chain[-1].results[0].has_one_use():
        value = chain[-1].results[0]
        user = next(iter(value.uses)).operation
        others = [operand for operand in user.operands if operand is not value]
        if not isinstance(user, ElementwiseOp) or not all(isinstance(v.owner, BroadcastOp) for v in others):
            break
        chain.append(user)
    return chain


def _piece(op: SliceOp, whole: SSAValue) -> Piece | None:
    """The slice as a range of one axis of `whole`, which it reads as it is or reshaped."""
    source, cut = shape_of(op.x), shape_of(op.result)
    changed = [a for a in range(len(source)) if cut[a] != source[a]]
    if len(changed) != 1 or any(step != 1 for step in op.steps.get_values()):
        return None
    (axis,) = changed
    start, size = op.starts.extents()[axis], cut[axis]
    groups = axis_groups(shape_of(whole), source)
    group = next((group for group in groups or () if axis in group.target), None)
    if group is None or len(group.source) != 1 or group.target[0] != axis:
        return None
    inner = dims.prod([source[a] for a in group.target[1:]])
    if not isinstance(start, int) or not isinstance(size, int) or not isinstance(inner, int):
        return None
    return Piece(op, group.source[0], start * inner, size * inner)


def _columns(chain: list[Operation], piece: Piece, column: int) -> SSAValue:
    """The chain on these columns of the weight alone."""
    product = chain[0]
    assert isinstance(product, ContractOp)
    weight = g.slice_axis(product.rhs, column, piece.start, piece.size)
    value = product.on(product.lhs, weight, product.spec.data)
    for previous, op in pairwise(chain):
        operands = [value if v is previous.results[0] else _part(v, piece) for v in op.operands]
        value = emit(type(op)(*operands))[0]
    return value


def _part(value: SSAValue, piece: Piece) -> SSAValue:
    """The range of a broadcast: of what is repeated, where the axis is its own."""
    op = made_by(value, BroadcastOp)
    assert op is not None
    shape = [piece.size if a == piece.axis else e for a, e in enumerate(shape_of(value))]
    axes = list(op.axes.get_values())
    x = g.slice_axis(op.x, axes.index(piece.axis), piece.start, piece.size) if piece.axis in axes else op.x
    return g.broadcast(x, shape, axes)
