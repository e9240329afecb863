"""Make padding an op of its own, so that whoever writes x can write it into a buffer that has the border.

    convolution(x, padding 1)             -> convolution(pad(x, 0), padding 0)
    reduce_window max(x, padding 1)       -> reduce_window max(pad(x, -inf), padding 0)
    pad(x, -2 before, 1 after)            -> pad(slice(x from 2), 1 after)

Runs last of the graph passes: simplify does the opposite, which is the better form to reason about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from xdsl.ir import SSAValue

from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph.base import emit
from mlc.ir.graph.linear import ConvolutionOp
from mlc.ir.graph.parts import PadOp, dilated
from mlc.ir.graph.pick import WindowPlaceOp, WindowPutOp
from mlc.ir.graph.reduce import identity
from mlc.ir.graph.window import ReduceWindowOp, infer
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, is_half, rank_of, shape_of
from mlc.passes.base import Pass
from mlc.passes.graph.facts import made_by, number
from mlc.passes.graph.rewrite import before, replace, rewrite, rule
from mlc.passes.graph.simplify.slices import is_zero, never_crops


@dataclass(frozen=True)
class ExpandPadding(Pass):
    """Pad in front of convolutions and windows."""

    name: ClassVar[str] = "expand-padding"

    def run(self, module: Module) -> None:
        rewrite(module, [pad_before_convolution, pad_before_window, pad_before_place, put_into_padding])
        for op in list(module.op.walk()):  # once: what is left of an edge need not be provably positive
            if isinstance(op, PadOp):
                crop(op, module)


@rule(ConvolutionOp)
def pad_before_convolution(op: ConvolutionOp, module: Module) -> SSAValue | None:
    """convolution(x, padding) -> convolution(pad(x, 0)); transposed convolutions keep theirs, which lies between elements"""
    if all(is_zero(e) for pair in op.padding for e in pair) or any(d != 1 for d in op.x_dilation.get_values()):
        return None
    layout, padding = op.layout[0], op.padding
    around = [padding[int(c)] if c.isdigit() else (0, 0) for c in layout]
    if any(isinstance(e, int) and e < 0 for pair in around for e in pair):
        return None
    result = g.convolution(
        _padded(op.x, around, 0),
        op.weight,
        op.strides.get_values(),
        None,
        op.dilations.get_values(),
        op.x_dilation.get_values(),
        op.groups.value.data,
        *op.layout,
    )
    return g.reshape(result, shape_of(op.result))


@rule(ReduceWindowOp)
def pad_before_window(op: ReduceWindowOp, module: Module) -> SSAValue | None:
    """reduce_window(x, padding) -> reduce_window(pad(x, identity))"""
    if all(is_zero(e) for pair in op.padding for e in pair) and max(op.apart, default=1) == 1:
        return None
    low, high = zip(*op.padding, strict=True)
    value = g.scalar(identity(op.kind.data, dtype_of(op.x)), dtype_of(op.x))
    wide = g.pad(op.x, low, high, value, [d - 1 for d in op.apart])
    lists = [p.get_values() for p in (op.window, op.strides, op.dilations)]
    result = g.reduce_window(wide, op.kind.data, lists[0], lists[1], [(0, 0)] * rank_of(op.x), lists[2])
    return g.reshape(result, shape_of(op.result))


@rule(WindowPlaceOp)
def pad_before_place(op: WindowPlaceOp, module: Module) -> SSAValue | None:
    """window_place(x, y, padding) -> window_place(pad(x, lowest), y)"""
    if all(is_zero(e) for pair in op.padding for e in pair):
        return None
    wide = _padded_for(op) or g.pad(op.x, op.low.extents(), op.high.extents(), identity("max", dtype_of(op.x)))
    lists = [p.get_values() for p in (op.window, op.strides, op.dilations)]
    shape = _positions(shape_of(wide), *lists)
    places = g.window_place(wide, g.reshape(op.y, shape), lists[0], lists[1], None, lists[2])
    return g.reshape(places, shape_of(op.result))


def _padded_for(op: WindowPlaceOp) -> SSAValue | None:
    """x as it is padded for the maximum that op looks for."""
    top = made_by(op.y, ReduceWindowOp)
    pad = None if top is None or top.kind.data != "max" else made_by(top.x, PadOp)
    if pad is None or pad.x is not op.x or number(pad.value) != identity("max", dtype_of(op.x)):
        return None
    return pad.result if (pad.low, pad.high) == (op.low, op.high) and not any(pad.between) else None


@rule(WindowPutOp)
def put_into_padding(op: WindowPutOp, module: Module) -> SSAValue | None:
    """window_put(values, padding) -> window_put into what is padded, without its border; halves are added up in f32"""
    dtype, low, high = dtype_of(op.values), op.low.extents(), op.high.extents()
    padded = not all(map(is_zero, (*low, *high)))
    if not padded and not is_half(dtype):
        return None
    values = g.cast(op.values, "f32") if is_half(dtype) else op.values
    shape = [lo + e + hi for lo, e, hi in zip(low, shape_of(op.result), high, strict=True)]
    lists = [p.get_values() for p in (op.window, op.strides, op.dilations)]
    taken = _positions(shape, *lists)
    whole = g.window_put(
        g.reshape(values, taken), g.reshape(op.places, taken), shape, lists[0], lists[1], None, lists[2]
    )
    inside = g.pad(whole, [-1 * e for e in low], [-1 * e for e in high])
    return g.cast(g.reshape(inside, shape_of(op.result)), dtype)


def crop(op: PadOp, module: Module) -> None:
    """Where an edge may be negative: take away first, then pad by what is left of it.

    With elements of x `d` apart an edge of -k takes ceil(k / d) of them, and leaves ceil(k / d) * d - k of what lies in front of the next.
    """
    low, high, between = op.low.extents(), op.high.extents(), op.between
    edges = (*low, *high)
    if all(never_crops(e, module) for e in edges):
        return
    with before(op, module):
        x = op.x
        if any(between) and not all(isinstance(e, int) for e in edges):
            x, between = g.pad(x, [0] * rank_of(x), [0] * rank_of(x), op.value, between), [0] * rank_of(x)
        starts, kept, before_, behind = [], [], [], []
        for n, lo, hi, d, total in zip(
            shape_of(x), low, high, [i + 1 for i in between], shape_of(op.result), strict=True
        ):
            first, last = (dims.floordiv(_taken(edge) + d - 1, d) for edge in (lo, hi))
            left = dims.simplify(dims.dmax(0, n - first - last), module.symbols)
            front = dims.simplify(dims.dmin(lo + first * d, total), module.symbols)
            starts.append(first)
            kept.append(left)
            before_.append(front)
            behind.append(total - front - dilated(left, d))
        cut = g.slice(x, starts, kept, inside=True)
        whole = all(map(is_zero, (*before_, *behind))) and not any(between)
        result = cut if whole else emit(PadOp(cut, op.value, before_, behind, between))[0]
        replace(op, [g.reshape(result, shape_of(op.result))])


def _positions(
    shape: Sequence[Extent], window: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[Extent]:
    """Of windows without padding."""
    return infer(shape, window, strides, [(0, 0)] * len(window), dilations)


def _taken(edge: Extent) -> Extent:
    """How many an edge takes away: max(0, -edge)."""
    return dims.dmax(0, -1 * edge)


def _padded(x: SSAValue, around: list[tuple[Extent, Extent]], value: float | bool) -> SSAValue:
    return g.pad(x, [lo for lo, _ in around], [hi for _, hi in around], g.scalar(value, dtype_of(x)))
