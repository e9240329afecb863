"""Select a layout: convolutions read and write channels last, and what stands between them follows.

    convolution x: [n, c, h, w], weight: [o, i, kh, kw]
    ->
    transpose(convolution(transpose(x) as n01c, transpose(weight) as 01io) as n01c)

With move-transposes behind it, the transposes around each convolution sink through pooling, element-wise ops, padding, concatenation and reductions until they
meet those of the next one: what is left stands at the graph's inputs and outputs. Weights are transposed once, at compile time.
A convolution that looks at one element only is a contraction over channels, and a transposed one whose windows do not overlap as well;
other transposed ones become a plain convolution for each position modulo the stride.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from xdsl.ir import SSAValue

from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph.linear import ConvolutionOp
from mlc.ir.module import Module
from mlc.ir.types import Shape, shape_of
from mlc.passes.base import Pass
from mlc.passes.graph.orders import inverse
from mlc.passes.graph.rewrite import rewrite, rule
from mlc.passes.graph.simplify.slices import is_zero


@dataclass(frozen=True)
class SelectLayout(Pass):
    """Channels last for convolutions and all that stands between them."""

    name: ClassVar[str] = "select-layout"

    def run(self, module: Module) -> None:
        rewrite(module, [channels_last])
        rewrite(module, [one_element_windows, windows_side_by_side, phases])


@rule(ConvolutionOp)
def channels_last(op: ConvolutionOp, module: Module) -> SSAValue | None:
    """One convolution in n01c, 01io, n01c, with transposes around it."""
    x, weight, result = op.layout
    spatial = "".join(sorted(c for c in x if c.isdigit()))
    wanted = (f"n{spatial}c", f"{spatial}io", f"n{spatial}c")
    if op.layout == wanted:
        return None
    y = g.convolution(
        g.transpose(op.x, [x.index(c) for c in wanted[0]]),
        g.transpose(op.weight, [weight.index(c) for c in wanted[1]]),
        op.strides.get_values(),
        op.padding,
        op.dilations.get_values(),
        op.x_dilation.get_values(),
        op.groups.value.data,
        *wanted,
    )
    return g.transpose(y, inverse([result.index(c) for c in wanted[2]]))


@rule(ConvolutionOp)
def one_element_windows(op: ConvolutionOp, module: Module) -> SSAValue | None:
    """A 1x1 convolution with stride 1 -> contract(x, weight, "nabc,co->nabo")"""
    if op.groups.value.data != 1 or any(e != 1 for e in shape_of(op.weight)[:-2]):
        return None
    if not all(v == 1 for p in (op.strides, op.x_dilation) for v in p.get_values()) or _is_padded(op):
        return None
    letters = _letters(op)
    spec = f"n{letters}c,co->n{letters}o"
    return g.contract(op.x, g.reshape(op.weight, shape_of(op.weight)[-2:]), spec)


@rule(ConvolutionOp)
def windows_side_by_side(op: ConvolutionOp, module: Module) -> SSAValue | None:
    """A transposed convolution with stride equal to its window -> every element gives a window of its own

    result[q * s + r] = x[q] * weight[s - 1 - r], a contraction to [n, h, s, w, s, o], reshaped.
    """
    taps, stride = shape_of(op.weight)[:-2], tuple(op.x_dilation.get_values())
    if op.groups.value.data != 1 or taps != stride or all(s == 1 for s in stride):
        return None
    if not all(v == 1 for p in (op.strides, op.dilations) for v in p.get_values()):
        return None
    if any(tuple(pair) != (s - 1, s - 1) for pair, s in zip(op.padding, stride, strict=True)):
        return None
    letters = _letters(op)
    inner = letters.upper()
    pairs = "".join(a + b for a, b in zip(letters, inner, strict=True))
    weight = g.reverse(op.weight, list(range(len(taps))))
    y = g.contract(op.x, weight, f"n{letters}c,{inner}co->n{pairs}o")
    return g.reshape(y, shape_of(op.result))


@rule(ConvolutionOp)
def phases(op: ConvolutionOp, module: Module) -> SSAValue | None:
    """A transposed convolution -> one plain convolution for each position modulo the stride, interleaved

    With stride s, low padding lo and t = (lo - r) mod s, the positions q * s + r of the result see the taps t, t + s, ... only:
    a convolution of x itself with weight[t::s], padded by (lo - r - t) / s in front.
    """
    stride, taps = op.x_dilation.get_values(), shape_of(op.weight)[:-2]
    sizes = shape_of(op.result)[1:-1]
    if op.groups.value.data != 1 or all(s == 1 for s in stride) or not _static(taps):
        return None
    if not all(v == 1 for p in (op.strides, op.dilations) for v in p.get_values()):
        return None
    per_axis = []
    for d, (s, k) in enumerate(zip(stride, taps, strict=True)):
        found = _phases_of_axis(s, int(k), op.padding[d], shape_of(op.x)[1 + d], sizes[d])  # type: ignore[arg-type]
        if found is None:
            return None
        per_axis.append(found)
    return g.reshape(_interleaved(op, per_axis, ()), shape_of(op.result))


class Phase(NamedTuple):
    """Every stride-th tap from `first`, over x with this padding."""

    first: int
    taps: int
    padding: tuple[int, int]


def _phases_of_axis(
    stride: int, taps: int, padding: tuple[Extent, Extent], x: Extent, size: Extent
) -> list[Phase] | None:
    """None where the result's extent is no multiple of the stride, a phase has no tap, or x would have to be cropped."""
    low = padding[0]
    positions = dims.floordiv(size, stride)
    if not isinstance(low, int) or positions * stride != size:
        return None
    found = []
    for r in range(stride):
        first = (low - r) % stride
        count = -(-(taps - first) // stride)
        before = (low - r - first) // stride
        behind = positions + count - 1 - before - x
        if count < 1 or before < 0 or not isinstance(behind, int) or behind < 0:
            return None
        found.append(Phase(first, count, (before, behind)))
    return found


def _interleaved(op: ConvolutionOp, per_axis: Sequence[Sequence[Phase]], chosen: tuple[Phase, ...]) -> SSAValue:
    """The convolutions of all phases of the axes behind those chosen, as [n, q0, s0, q1, s1, ..., o] with unit axes for the chosen ones."""
    if len(chosen) < len(per_axis):
        pieces = [_interleaved(op, per_axis, (*chosen, phase)) for phase in per_axis[len(chosen)]]
        return g.concatenate(pieces, 2 + 2 * len(chosen))
    i, o = shape_of(op.weight)[-2:]
    weight = g.slice(
        op.weight,
        [*(phase.first for phase in chosen), 0, 0],
        [*(phase.taps for phase in chosen), i, o],
        [*op.x_dilation.get_values(), 1, 1],
    )
    y = g.convolution(
        op.x,
        weight,
        padding=[phase.padding for phase in chosen],
        x_layout=op.layout[0],
        weight_layout=op.layout[1],
        result_layout=op.layout[2],
    )
    n, *q, c = shape_of(y)
    return g.reshape(y, [n, *(e for size in q for e in (size, 1)), c])


def _static(shape: Shape) -> bool:
    return all(isinstance(e, int) for e in shape)


def _letters(op: ConvolutionOp) -> str:
    """A label per spatial axis."""
    free = [c for c in string.ascii_lowercase if c not in "nco"]
    return "".join(free[: len(op.strides.get_values())])


def _is_padded(op: ConvolutionOp) -> bool:
    return not all(is_zero(e) for pair in op.padding for e in pair)
