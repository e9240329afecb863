"""Transposes that merge, cancel, or move nothing.

    transpose(transpose(x, p), q)              -> transpose(x, p[q]), or x itself
    transpose(x: [N, 1, 5], [1, 0, 2])         -> reshape(x, [1, N, 5])
    transpose(broadcast(x))                    -> broadcast(transpose(x))
    transpose(reshape(x: [N, H, S], [N*H, S])) -> reshape(transpose(x))

How they travel through a graph is the subject of mlc.passes.graph.transposes.
"""

from __future__ import annotations

from xdsl.ir import SSAValue

from mlc.ir import builder as g
from mlc.ir.graph.constants import IotaOp
from mlc.ir.graph.shape import BroadcastOp, ReshapeOp, TransposeOp
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, shape_of
from mlc.passes.graph.facts import axis_groups, made_by
from mlc.passes.graph.rewrite import rule


@rule(TransposeOp)
def merge_transposes(op: TransposeOp, module: Module) -> SSAValue | None:
    """transpose(transpose(x, p), q) -> transpose(x, p[q])"""
    inner = made_by(op.x, TransposeOp)
    if inner is None:
        return None
    first = inner.permutation.get_values()
    return g.transpose(inner.x, [first[a] for a in op.permutation.get_values()])


@rule(TransposeOp)
def only_unit_axes_move(op: TransposeOp, module: Module) -> SSAValue | None:
    """The elements keep their order: a reshape, or x itself"""
    shape = shape_of(op.x)
    kept = [a for a in op.permutation.get_values() if shape[a] != 1]
    return g.reshape(op.x, shape_of(op.result)) if kept == sorted(kept) else None


@rule(TransposeOp)
def transpose_before_broadcast(op: TransposeOp, module: Module) -> SSAValue | None:
    """transpose(broadcast(x)) -> broadcast(transpose(x)): x is smaller"""
    inner = made_by(op.x, BroadcastOp)
    if inner is None:
        return None
    return permuted_broadcast(inner, list(op.permutation.get_values()))


def permuted_broadcast(op: BroadcastOp, permutation: list[int]) -> SSAValue:
    """The broadcast of x with the result's axes permuted; x is transposed where its axes change their order."""
    places = [permutation.index(a) for a in op.axes.get_values()]
    order = sorted(range(len(places)), key=lambda i: places[i])
    shape = shape_of(op.result)
    return g.broadcast(g.transpose(op.x, order), [shape[a] for a in permutation], sorted(places))


@rule(TransposeOp)
def transposed_iota(op: TransposeOp, module: Module) -> SSAValue | None:
    """transpose(iota) -> iota along another axis"""
    inner = made_by(op.x, IotaOp)
    if inner is None:
        return None
    axis = list(op.permutation.get_values()).index(inner.axis.value.data)
    return g.iota(shape_of(op.result), axis, dtype_of(op.result))


@rule(TransposeOp)
def transpose_before_merge(op: TransposeOp, module: Module) -> SSAValue | None:
    """transpose(reshape(x)) -> reshape(transpose(x)) where the reshape only merges axes, or adds and drops unit axes"""
    inner = made_by(op.x, ReshapeOp)
    if inner is None:
        return None
    groups = axis_groups(shape_of(inner.x), shape_of(inner.result))
    if groups is None or any(len(group.target) > 1 for group in groups):
        return None
    source = {group.target[0]: group.source for group in groups if group.target}
    dropped = [a for group in groups if not group.target for a in group.source]
    order = [*dropped, *(a for axis in op.permutation.get_values() for a in source[axis])]
    return g.reshape(g.transpose(inner.x, order), shape_of(op.result))


RULES = (
    merge_transposes,
    only_unit_axes_move,
    transpose_before_broadcast,
    transposed_iota,
    transpose_before_merge,
)
