"""Cut less and glue less: slices of slices and of concatenations, nested concatenations, paddings that an op can take over.

slice(slice(x))                      -> slice(x)
slice(concatenate(x, y)) within y    -> slice(y)
concatenate(concatenate(x, y), z)    -> concatenate(x, y, z)
convolution(pad(x, 0))               -> convolution(x) with that much more padding
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import SSAValue

from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph.convolution import ConvolutionOp
from mlc.ir.graph.parts import WIDE, ConcatenateOp, PadOp, SliceOp
from mlc.ir.graph.reduce import identity
from mlc.ir.graph.window import ReduceWindowOp
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, shape_of
from mlc.passes.graph.facts import made_by, number
from mlc.passes.graph.rewrite import rule


def is_zero(e: Extent) -> bool:
    return isinstance(e, int) and e == 0


@rule(SliceOp)
def merge_slices(op: SliceOp, module: Module) -> SSAValue | None:
    """slice(slice(x)) -> slice(x); a slice of everything -> x"""
    starts, steps, sizes = op.starts.extents(), op.steps.get_values(), shape_of(op.result)
    if sizes == shape_of(op.x) and all(map(is_zero, starts)) and all(s == 1 for s in steps):
        return op.x
    inner = made_by(op.x, SliceOp)
    if inner is None:
        return None
    first, stride = inner.starts.extents(), inner.steps.get_values()
    return g.slice(
        inner.x,
        [a + b * s for a, b, s in zip(first, starts, stride, strict=True)],
        sizes,
        [a * b for a, b in zip(stride, steps, strict=True)],
    )


@rule(SliceOp)
def slice_of_concatenation(op: SliceOp, module: Module) -> SSAValue | None:
    """slice(concatenate(x, y)) -> slice(y) where the slice lies within y"""
    inner = made_by(op.x, ConcatenateOp)
    if inner is None:
        return None
    axis = inner.axis.value.data
    starts, step = list(op.starts.extents()), op.steps.get_values()[axis]
    first, size = starts[axis], shape_of(op.result)[axis]
    last = first + (size - 1) * step
    low, high = (first, last) if step > 0 else (last, first)
    at: Extent = 0
    for piece in inner.xs:
        end = at + shape_of(piece)[axis]
        if _at_most(at, low, module) and _at_most(high + 1, end, module):
            starts[axis] = first - at
            return g.slice(piece, starts, shape_of(op.result), op.steps.get_values())
        at = end
    return None


def _at_most(a: Extent, b: Extent, module: Module) -> bool:
    if a == b:
        return True
    low, _ = dims.bounds_of(b - a, module.symbols)
    return low is not None and low >= 0


@rule(ConcatenateOp)
def flatten_concatenations(op: ConcatenateOp, module: Module) -> SSAValue | None:
    """concatenate(concatenate(x, y), z) -> concatenate(x, y, z), where nobody else reads the inner one and there is room; empty pieces go"""
    axis = op.axis.value.data
    pieces: list[SSAValue] = []
    room = WIDE - len(op.xs)
    for piece in op.xs:
        inner = made_by(piece, ConcatenateOp)
        if inner is not None and inner.axis.value.data == axis and piece.has_one_use() and len(inner.xs) <= room + 1:
            pieces += inner.xs
            room -= len(inner.xs) - 1
        elif not is_zero(shape_of(piece)[axis]):
            pieces.append(piece)
    pieces = pieces or list(op.xs[:1])
    if len(pieces) > 1 and (whole := _glued(pieces, axis)) is not None:
        return whole
    return None if 1 < len(pieces) == len(op.xs) <= WIDE else g.concatenate(pieces, axis)


def _glued(pieces: Sequence[SSAValue], axis: int) -> SSAValue | None:
    """What neighbouring slices were cut from, if they cover it."""
    slices = [made_by(piece, SliceOp) for piece in pieces]
    first = slices[0]
    if first is None:
        return None
    at: Extent = 0
    for op in slices:
        if op is None or op.x is not first.x or any(s != 1 for s in op.steps.get_values()):
            return None
        starts = op.starts.extents()
        if starts[axis] != at or not all(is_zero(s) for a, s in enumerate(starts) if a != axis):
            return None
        if any(e != shape_of(op.x)[a] for a, e in enumerate(shape_of(op.result)) if a != axis):
            return None
        at = at + shape_of(op.result)[axis]
    return first.x if at == shape_of(first.x)[axis] else None


@rule(PadOp)
def merge_pads(op: PadOp, module: Module) -> SSAValue | None:
    """pad(pad(x, v), v) -> pad(x, v), where the outer one does not put back what the inner one takes away; a padding of nothing -> x"""
    low, high = op.low.extents(), op.high.extents()
    if any(op.between):
        return None
    if all(map(is_zero, (*low, *high))):
        return op.x
    inner = made_by(op.x, PadOp)
    if inner is None or number(op.value) is None or number(op.value) != number(inner.value):
        return None
    pairs = zip((*inner.low.extents(), *inner.high.extents()), (*low, *high), strict=True)
    if not all(never_crops(a, module) or never_crops(-1 * b, module) for a, b in pairs):
        return None
    return g.pad(
        inner.x,
        [a + b for a, b in zip(inner.low.extents(), low, strict=True)],
        [a + b for a, b in zip(inner.high.extents(), high, strict=True)],
        op.value,
        inner.between,
    )


def never_crops(edge: Extent, module: Module) -> bool:
    """An edge of a padding is known not to be negative."""
    least, _ = dims.bounds_of(edge, module.symbols)
    return least is not None and least >= 0


@rule(ConvolutionOp)
def pad_in_convolution(op: ConvolutionOp, module: Module) -> SSAValue | None:
    """convolution(pad(x, 0)) -> convolution(x) with the padding"""
    inner = made_by(op.x, PadOp)
    if inner is None or number(inner.value) != 0 or any(inner.between):
        return None
    if not all(never_crops(e, module) for e in (*inner.low.extents(), *inner.high.extents())):
        return None
    places = {c: a for a, c in enumerate(op.labels[0])}
    low, high = inner.low.extents(), inner.high.extents()
    if any(not is_zero(e) for c, a in places.items() if not c.isdigit() for e in (low[a], high[a])):
        return None
    # zeros between the elements of x do not come after a padding that x already has
    if any(d != 1 for d in op.x_dilation.get_values()):
        return None
    padding = [(lo + low[places[c]], hi + high[places[c]]) for c, (lo, hi) in zip(op.spatial, op.padding, strict=True)]
    return op.on(inner.x, op.weight, padding=padding)


@rule(ReduceWindowOp)
def pad_in_window(op: ReduceWindowOp, module: Module) -> SSAValue | None:
    """reduce_window max(pad(x, -inf)) -> reduce_window max(x) with the padding"""
    inner = made_by(op.x, PadOp)
    if inner is None or number(inner.value) is None or any(inner.between) or max(op.apart, default=1) > 1:
        return None
    if not all(never_crops(e, module) for e in (*inner.low.extents(), *inner.high.extents())):
        return None
    if number(inner.value) != identity(op.kind.data, dtype_of(op.x)):
        return None
    low, high = inner.low.extents(), inner.high.extents()
    padding = [(a + lo, b + hi) for lo, hi, (a, b) in zip(low, high, op.padding, strict=True)]
    lists = [p.get_values() for p in (op.window, op.strides, op.dilations)]
    return g.reduce_window(inner.x, op.kind.data, lists[0], lists[1], padding, lists[2])


RULES = (
    merge_slices,
    slice_of_concatenation,
    flatten_concatenations,
    merge_pads,
    pad_in_convolution,
    pad_in_window,
)
