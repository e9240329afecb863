"""Gathers at positions known now are slices; a gather takes over the transpose behind it.

gather(x, constant [2], axis 1)           -> slice(x, 2..3) reshaped
gather(x, constant [0, 2, 4], axis 0)     -> slice(x) with step 2
transpose(gather(x, i))                   -> gather(x, i), loops in the other order
"""

from __future__ import annotations

from itertools import pairwise

from xdsl.ir import SSAValue

from mlc.ir import builder as g
from mlc.ir.graph.base import emit
from mlc.ir.graph.constants import IotaOp
from mlc.ir.graph.index import GatherOp
from mlc.ir.graph.shape import ReshapeOp, TransposeOp
from mlc.ir.module import Module
from mlc.ir.types import shape_of
from mlc.passes.graph.facts import constant_array, made_by
from mlc.passes.graph.rewrite import rule


@rule(GatherOp)
def gather_of_a_range(op: GatherOp, module: Module) -> SSAValue | None:
    """numpy.take with constant, evenly spaced positions -> slice"""
    axis = taken_axis(op)
    if axis is None:
        return None
    whole = shape_of(op.x)[axis]
    indices = constant_array(op.indices)
    if indices is None or not isinstance(whole, int) or not indices.size:
        return None
    places = [int(i) + whole if i < 0 else int(i) for i in indices.reshape(-1)]
    step = places[1] - places[0] if len(places) > 1 else 1
    if step == 0 or any(b - a != step for a, b in pairwise(places)):
        return None
    if not all(0 <= place < whole for place in places):
        return None
    cut = g.slice_axis(op.x, axis, places[0], len(places), step)
    return g.reshape(cut, shape_of(op.result))


@rule(GatherOp)
def gather_of_everything(op: GatherOp, module: Module) -> SSAValue | None:
    """numpy.take with iota over the whole axis -> x"""
    axis = taken_axis(op)
    reshape = made_by(op.indices, ReshapeOp)
    iota = made_by(reshape.x if reshape else op.indices, IotaOp)
    if axis is None or iota is None or shape_of(iota.result) != (shape_of(op.x)[axis],):
        return None
    return g.reshape(op.x, shape_of(op.result))


@rule(TransposeOp)
def transpose_of_rows(op: TransposeOp, module: Module) -> SSAValue | None:
    """transpose(gather(x)) -> gather(x) with its loops in the other order, where rows of x stay rows. A contraction behind it then has
    its rows in one run: an embedding that a recurrence reads step by step."""
    gather = made_by(op.x, GatherOp)
    if gather is None or not gather.result.has_one_use():
        return None
    permutation, axes = list(op.permutation.get_values()), list(gather.axes.get_values())
    last = len(permutation) - 1
    if permutation[last] != last or not axes or axes[-1] != last:
        return None
    moved = [permutation.index(loop) for loop in gather.loops.get_values()]
    read = [a if a == -1 else permutation.index(a) for a in axes]
    return emit(GatherOp(gather.x, gather.indices, moved, read))[0]


def taken_axis(op: GatherOp) -> int | None:
    """The axis that is looked up, where the gather is numpy.take: the axis is replaced by the axes of the indices, in order."""
    axes, loops = list(op.axes.get_values()), list(op.loops.get_values())
    if axes.count(-1) != 1:
        return None
    axis, more = axes.index(-1), len(loops)
    taken = [*range(axis), -1, *range(axis + more, len(axes) - 1 + more)]
    return axis if axes == taken and loops == list(range(axis, axis + more)) else None


RULES = (gather_of_a_range, gather_of_everything, transpose_of_rows)
