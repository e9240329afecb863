"""Reductions that do nothing or follow one another.

reduce(x: [N, 1, 5], axes [1])                  -> reshape(x, [N, 5])
reduce sum(reduce sum(x, axis 2), axis 1)       -> reduce sum(x, axes 1 and 2)
"""

from __future__ import annotations

from xdsl.ir import SSAValue

from mlc.ir import builder as g
from mlc.ir.graph.reduce import ReduceOp
from mlc.ir.graph.window import ReduceWindowOp
from mlc.ir.module import Module
from mlc.ir.types import rank_of, shape_of
from mlc.passes.graph.facts import made_by
from mlc.passes.graph.rewrite import rule
from mlc.passes.graph.simplify.slices import is_zero


@rule(ReduceOp)
def reduce_of_one(op: ReduceOp, module: Module) -> SSAValue | None:
    """Over axes of extent 1 alone: a reshape"""
    shape = shape_of(op.x)
    return g.reshape(op.x, shape_of(op.result)) if all(shape[a] == 1 for a in op.axes.get_values()) else None


@rule(ReduceOp)
def merge_reductions(op: ReduceOp, module: Module) -> SSAValue | None:
    """reduce(reduce(x)) of one kind -> reduce(x), where nobody else reads the inner one"""
    inner = made_by(op.x, ReduceOp)
    if inner is None or inner.kind.data != op.kind.data or not op.x.has_one_use():
        return None
    first = inner.axes.get_values()
    left = [a for a in range(rank_of(inner.x)) if a not in first]
    return g.reduce(inner.x, sorted([*first, *(left[a] for a in op.axes.get_values())]), op.kind.data)


@rule(ReduceWindowOp)
def window_of_one(op: ReduceWindowOp, module: Module) -> SSAValue | None:
    """Windows of one element with stride 1 and no padding: x"""
    if any(v != 1 for values in (op.window.get_values(), op.strides.get_values(), op.apart) for v in values):
        return None
    return op.x if all(is_zero(e) for pair in op.padding for e in pair) else None


RULES = (reduce_of_one, merge_reductions, window_of_one)
