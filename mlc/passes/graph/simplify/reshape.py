"""Reshapes are views of a buffer: merge them, and move them out from between ops that could share a kernel.

    reshape(reshape(x))                    -> reshape(x)
    relu(reshape(x))                       -> reshape(relu(x))
    add(reshape(x), broadcast(bias))       -> reshape(add(x, broadcast(bias)))
    reshape(slice(x))                      -> slice(reshape(x))          a slice is free inside a kernel, if its buffer is whole
    reduce(reshape(x))                     -> reshape(reduce(x))
    reshape(unpack(bytes))                 -> unpack(bytes)

They sink through what computes and rise through slices, and so end up at the buffers that are stored anyway.
"""

from __future__ import annotations

from xdsl.ir import Operation, SSAValue

from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.graph.elementwise import PointwiseOp
from mlc.ir.graph.packed import UnpackOp
from mlc.ir.graph.parts import SliceOp
from mlc.ir.graph.reduce import ReduceOp
from mlc.ir.graph.shape import BroadcastOp, ReshapeOp
from mlc.ir.graph.views import is_view
from mlc.ir.module import Module
from mlc.ir.types import Shape, dtype_of, is_static, shape_of
from mlc.passes.graph.facts import axis_groups, made_by
from mlc.passes.graph.rewrite import before, erase, replace, rule
from mlc.passes.graph.simplify.broadcast import source_of_broadcast


@rule(ReshapeOp)
def merge_reshapes(op: ReshapeOp, module: Module) -> SSAValue | None:
    """reshape(reshape(x)) -> reshape(x); a reshape to x's own shape -> x"""
    if shape_of(op.x) == shape_of(op.result):
        return op.x
    inner = made_by(op.x, ReshapeOp)
    return g.reshape(inner.x, shape_of(op.result)) if inner else None


@rule(PointwiseOp)
def reshape_after_elementwise(op: PointwiseOp, module: Module) -> SSAValue | None:
    """f(reshape(x), reshape(y), broadcast(z)) -> reshape(f(x, y, broadcast(z))) where x and y have one shape"""
    inner = [made_by(operand, ReshapeOp) for operand in op.operands]
    shapes = {shape_of(r.x) for r in inner if r is not None}
    if len(shapes) != 1:
        return None
    (shape,) = shapes
    parts: list[tuple[SSAValue, list[int]]] = []  # of each operand: what it is made of, and the axes where that stands
    for operand, reshape in zip(op.operands, inner, strict=True):
        broadcast = made_by(operand, BroadcastOp)
        if reshape is not None:
            parts.append((reshape.x, list(range(len(shape)))))
        elif broadcast is None or (found := source_of_broadcast(broadcast, shape, from_target=True)) is None:
            return None
        else:
            small, axes = found
            parts.append((g.reshape(broadcast.x, small), axes))
    operands = [g.broadcast(x, shape, axes) for x, axes in parts]
    result = op.on(*operands)
    return g.reshape(result, shape_of(op.results[0]))


@rule(ReduceOp)
def reshape_after_reduce(op: ReduceOp, module: Module) -> SSAValue | None:
    """reduce(reshape(x)) -> reshape(reduce(x)) where every group of axes is reduced as a whole or not at all"""
    inner = made_by(op.x, ReshapeOp)
    if inner is None:
        return None
    groups = axis_groups(shape_of(inner.x), shape_of(inner.result))
    if groups is None:
        return None
    reduced = set(op.axes.get_values())
    axes: list[int] = []
    for group in groups:
        here = [a in reduced for a in group.target if shape_of(inner.result)[a] != 1]
        if not any(here):
            continue
        if not all(here):
            return None
        axes += group.source
    kind = op.kind.data
    return g.reshape(g.reduce(inner.x, axes, kind) if axes else inner.x, shape_of(op.result))


@rule(ReshapeOp)
def slice_after_reshape(op: ReshapeOp, module: Module) -> SSAValue | None:
    """reshape(slice(x)) -> slice(reshape(x)): the cut axis may be split, if start and size are multiples of what it is split into"""
    inner = made_by(op.x, SliceOp)
    if inner is None or any(step != 1 for step in inner.steps.get_values()):
        return None
    whole, cut, target = shape_of(inner.x), shape_of(inner.result), shape_of(op.result)
    groups = axis_groups(cut, target)
    if groups is None:
        return None
    starts = inner.starts.extents()
    shape, at, sizes = list(target), [0 for _ in target], list(target)
    for group in groups:
        changed = [a for a in group.source if cut[a] != whole[a]]
        if not changed:
            continue
        if changed != [group.source[0]] or not group.target:
            return None
        axis, first = group.source[0], group.target[0]
        steps = dims.prod([target[a] for a in group.target[1:]])
        width = dims.prod([cut[a] for a in group.source[1:]])
        start, extent = starts[axis] * width, whole[axis] * width
        if not isinstance(start, int) or not isinstance(extent, int) or not isinstance(steps, int) or not steps:
            return None
        if start % steps or extent % steps:
            return None
        at[first], shape[first] = start // steps, extent // steps
    return g.slice(g.reshape(inner.x, shape), at, sizes)


@rule(ReshapeOp)
def reshape_of_packed(op: ReshapeOp, module: Module) -> SSAValue | None:
    """reshape(unpack(x)) -> unpack(x) of that shape"""
    inner, shape = made_by(op.x, UnpackOp), shape_of(op.result)
    if inner is None or not is_static(shape):
        return None
    return g.unpack(inner.x, [int(e) for e in shape], dtype_of(op.result))  # type: ignore[arg-type]


RULES = (merge_reshapes, reshape_of_packed, reshape_after_elementwise, reshape_after_reduce, slice_after_reshape)


def sink_reshape(op: Operation, made: SSAValue, module: Module) -> None:
    """Put `made`, which has the elements of the result in another shape, in the place of an op of one result. What reads them one by one, and alone,
    takes that shape too: it would not share a kernel with what makes them behind a reshape."""
    shape, chain = shape_of(made), [op]
    while shape != shape_of(op.results[0]) and chain[-1].results[0].has_one_use():
        last = chain[-1].results[0]
        user = next(iter(last.uses)).operation
        if not isinstance(user, PointwiseOp) or shape_of(user.results[0]) != shape_of(last):
            break
        with before(user, module):
            found = [made if v is last else _reshaped(v, shape) for v in user.operands]
            operands = [v for v in found if v is not None]
            if len(operands) < len(found):
                break
            made = user.on(*operands)
        chain.append(user)
    with before(chain[-1], module):
        made = g.reshape(made, shape_of(op.results[0]))
    replace(chain.pop(), [made])
    for done in reversed(chain):
        erase(done)


def _reshaped(value: SSAValue, shape: Shape, inside: bool = True) -> SSAValue | None:
    """A value in another shape, for free; None where it would take a copy. An element-wise op `inside` a kernel, as a comparison, is moved there."""
    repeat = made_by(value, BroadcastOp)
    if repeat is not None:
        found = source_of_broadcast(repeat, shape, from_target=False)
        return None if found is None else g.broadcast(g.reshape(repeat.x, found[0]), shape, found[1])
    inner = made_by(value, ReshapeOp)
    if inner is not None and shape_of(inner.x) == tuple(shape):
        return inner.x
    maker = made_by(value, PointwiseOp) if inside and value.has_one_use() else None
    if maker is not None:
        operands = [_reshaped(v, shape, inside=False) for v in maker.operands]
        kept = [v for v in operands if v is not None]
        return maker.on(*kept) if len(kept) == len(operands) else None
    return None if is_view(value.owner) else g.reshape(value, shape)
