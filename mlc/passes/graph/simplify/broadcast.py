"""Repeat as late as possible: compute on what was there before it was broadcast.

    exp(broadcast(x))                     -> broadcast(exp(x))
    add(broadcast(row), broadcast(1.0))   -> broadcast(add(row, 1.0))

Broadcasts end up directly beside the op that needs the shape; unit axes cost nothing in them, and block no fusion as a reshape would.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import SSAValue

from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.graph.base import emit
from mlc.ir.graph.constants import ConstantOp, WeightOp
from mlc.ir.graph.elementwise import ElementwiseOp, PointwiseOp
from mlc.ir.graph.parts import SliceOp
from mlc.ir.graph.shape import BroadcastOp, ReshapeOp
from mlc.ir.module import Module
from mlc.ir.types import rank_of, shape_of
from mlc.passes.graph.facts import axis_groups, made_by
from mlc.passes.graph.rewrite import rule


@rule(BroadcastOp)
def merge_broadcasts(op: BroadcastOp, module: Module) -> SSAValue | None:
    """broadcast(broadcast(x)) -> broadcast(x)"""
    inner = made_by(op.x, BroadcastOp)
    if inner is None:
        return None
    outer = op.axes.get_values()
    return g.broadcast(inner.x, shape_of(op.result), [outer[a] for a in inner.axes.get_values()])


@rule(BroadcastOp)
def unit_axes_in_place(op: BroadcastOp, module: Module) -> SSAValue | None:
    """broadcast(reshape(x)) -> broadcast(x) where the reshape adds and drops unit axes only, and the result has a place for x's"""
    inner = made_by(op.x, ReshapeOp)
    if inner is None or isinstance(inner.x.owner, WeightOp | ConstantOp):
        return None
    axes, result = op.axes.get_values(), shape_of(op.result)
    groups = axis_groups(shape_of(inner.x), shape_of(inner.result))
    if groups is None or any(len(group.source) > 1 or len(group.target) > 1 for group in groups):
        return None
    places: dict[int, int] = {
        group.source[0]: axes[group.target[0]] for group in groups if group.source and group.target
    }
    taken = set(places.values())
    for a in range(rank_of(inner.x)):
        if a in places:
            continue
        low = max((p for other, p in places.items() if other < a), default=-1)
        high = min((p for other, p in places.items() if other > a), default=len(result))
        free = [p for p in range(low + 1, high) if result[p] == 1 and p not in taken]
        if not free:
            return None
        places[a] = free[0]
    return g.broadcast(inner.x, result, [places[a] for a in sorted(places)])


@rule(BroadcastOp)
def drop_unit_axes_of_constants(op: BroadcastOp, module: Module) -> SSAValue | None:
    """broadcast(weight: [1, 768]) -> broadcast(reshape(weight, [768])): the reshape is folded"""
    shape, axes = shape_of(op.x), op.axes.get_values()
    kept = [a for a, e in enumerate(shape) if e != 1]
    if len(kept) == len(shape) or not isinstance(op.x.owner, WeightOp | ConstantOp):
        return None
    return g.broadcast(g.reshape(op.x, [shape[a] for a in kept]), shape_of(op.result), [axes[a] for a in kept])


@rule(ElementwiseOp)
def unsqueezed_operands(op: ElementwiseOp, module: Module) -> SSAValue | None:
    """f(x, reshape(y: [S], [1, S])) -> f(x, broadcast(y)): the same, and free inside a kernel"""
    operands = list(op.operands)
    for position, operand in enumerate(operands):
        inner = made_by(operand, ReshapeOp)
        groups = axis_groups(shape_of(inner.x), shape_of(inner.result)) if inner is not None else None
        if inner is None or groups is None:
            continue
        if all(len(group.target) == 1 and len(group.source) <= 1 for group in groups):
            axes = [group.target[0] for group in groups if group.source]
            operands[position] = g.broadcast(inner.x, shape_of(operand), axes)
    if operands == list(op.operands) or len(operands) == 1:
        return None
    return emit(type(op)(*operands))[0]


@rule(PointwiseOp)
def compute_before_broadcast(op: PointwiseOp, module: Module) -> SSAValue | None:
    """f(broadcast(x), broadcast(y)) -> broadcast(f(x, y)) on the axes that x and y have between them"""
    inner = [made_by(operand, BroadcastOp) for operand in op.operands]
    if not inner or any(b is None for b in inner):
        return None
    sources = [b for b in inner if b is not None]
    shape = shape_of(op.results[0])
    axes = sorted({a for b in sources for a in b.axes.get_values()})
    if all(e == 1 for a, e in enumerate(shape) if a not in axes):
        return None
    small = [shape[a] for a in axes]
    operands = [g.broadcast(b.x, small, [axes.index(a) for a in b.axes.get_values()]) for b in sources]
    result = op.on(*operands)
    return g.broadcast(result, shape, axes)


@rule(SliceOp)
def slice_before_broadcast(op: SliceOp, module: Module) -> SSAValue | None:
    """slice(broadcast(x)) -> broadcast(slice(x)): only x's own axes have to be cut"""
    inner = made_by(op.x, BroadcastOp)
    if inner is None:
        return None
    axes, sizes = inner.axes.get_values(), shape_of(op.result)
    starts, steps = op.starts.extents(), op.steps.get_values()
    cut = g.slice(inner.x, [starts[a] for a in axes], [sizes[a] for a in axes], [steps[a] for a in axes])
    return g.broadcast(cut, sizes, axes)


@rule(ReshapeOp)
def reshape_before_broadcast(op: ReshapeOp, module: Module) -> SSAValue | None:
    """reshape(broadcast(x)) -> broadcast(reshape(x)) where every group of axes is wholly x's or wholly new"""
    inner = made_by(op.x, BroadcastOp)
    if inner is None:
        return None
    target = shape_of(op.result)
    found = source_of_broadcast(inner, target, from_target=False)
    if found is None:
        return None
    small, axes = found
    return g.broadcast(g.reshape(inner.x, small), target, axes)


def source_of_broadcast(
    op: BroadcastOp, shape: Sequence[dims.Extent], from_target: bool
) -> tuple[list[dims.Extent], list[int]] | None:
    """The shape of op.x and the axes that give op's result under another shape of as many elements; None where groups are mixed.

    With `from_target` the other shape is the reshape's source and op's result is its target.
    """
    own = set(op.axes.get_values())
    wide = shape_of(op.result)
    groups = axis_groups(tuple(shape), wide) if from_target else axis_groups(wide, tuple(shape))
    if groups is None:
        return None
    axes: list[int] = []
    for group in groups:
        mine, other = (group.target, group.source) if from_target else (group.source, group.target)
        held = [a for a in mine if a in own]
        if held and any(a not in own and wide[a] != 1 for a in mine):
            return None
        if held:
            axes += other
    return [shape[a] for a in axes], axes


RULES = (
    merge_broadcasts,
    unit_axes_in_place,
    drop_unit_axes_of_constants,
    compute_before_broadcast,
    unsqueezed_operands,
    slice_before_broadcast,
    reshape_before_broadcast,
)
