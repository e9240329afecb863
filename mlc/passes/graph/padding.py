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
from mlc.ir.graph.convolution import ConvolutionOp, reach
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
    """convolution(x, padding) -> convolution(pad(x, 0)); what padding takes away stays, and so does the rest where elements of x stand apart

    Elements `apart` from each other are padded by one for as many zeros. Where sizes decide whether an edge takes away, the pad does it; where
    they decide which phase of the elements comes first, the zeros between them are written.
    """
    low, high, between, left, apart = [], [], [], [], []
    extents = dict(zip(op.labels[0], shape_of(op.x), strict=True))
    for c, (lo, hi), by in zip(op.spatial, op.padding, op.x_dilation.get_values(), strict=True):
        written = by != 1 and not isinstance(lo, int)
        if written:
            hi, step = hi + reach(extents[c], by) - dilated(extents[c], by), 1
        else:
            step = by
        pads = [0 if isinstance(e, int) and e <= 0 else dims.floordiv(e + step - 1, step) for e in (lo, hi)]
        low.append(pads[0])
        high.append(pads[1])
        between.append(by - 1 if written else 0)
        left.append((lo - pads[0] * step, hi - pads[1] * step))
        apart.append(step)
    if all(map(is_zero, (*low, *high))) and not any(between):
        return None
    of = lambda values: [values[int(c)] if c.isdigit() else 0 for c in op.labels[0]]
    wide = g.pad(op.x, of(low), of(high), g.scalar(0, dtype_of(op.x)), of(between))
    lists = [p.get_values() for p in (op.strides, op.dilations)]
    result = g.convolution(wide, op.weight, op.spec.data, lists[0], left, lists[1], apart, dtype=dtype_of(op.result))
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
