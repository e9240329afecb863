"""Select a layout: convolutions read and write channels last, and what stands between them follows.

    convolution(x, weight, "nc01,oc01->no01")
    ->
    transpose(convolution(transpose(x), transpose(weight), "n01c,01co->n01o"))

With move-transposes behind it, the transposes around each convolution sink through pooling, element-wise ops, padding, concatenation and reductions until they
meet those of the next one: what is left stands at the graph's inputs and outputs. Weights are transposed once, at compile time.
A convolution that looks at one element only, or from one position at all of them, is a contraction, and a transposed one whose windows do
not overlap as well.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from xdsl.ir import SSAValue

from mlc.ir import builder as g
from mlc.ir.dims import Extent
from mlc.ir.graph.convolution import ConvolutionOp
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, shape_of
from mlc.passes.base import Pass
from mlc.passes.graph.orders import channels_innermost, inverse
from mlc.passes.graph.rewrite import rewrite, rule
from mlc.passes.graph.simplify.slices import is_zero


@dataclass(frozen=True)
class SelectLayout(Pass):
    """Channels last for convolutions and all that stands between them."""

    name: ClassVar[str] = "select-layout"

    def run(self, module: Module) -> None:
        rewrite(module, [channels_last])
        rewrite(module, [one_element_windows, windows_side_by_side])


@rule(ConvolutionOp)
def channels_last(op: ConvolutionOp, module: Module) -> SSAValue | None:
    """One convolution in n01gc, 01gco, n01go, with transposes around it; one that sums over the batch, as the gradient of a weight does, in
    n01gc, n01go, 01gco: these are the layouts of activations and their gradients."""
    if channels_innermost(op.labels):
        return None
    names = op.labels
    batch, summed, out, groups = (
        "".join(c for c in "".join(dict.fromkeys("".join(names))) if not c.isdigit() and tuple(c in t for t in names) == where)
        for where in ((True, False, True), (True, True, False), (False, True, True), (True, True, True))
    )  # fmt: skip
    space = op.spatial
    if "n" in summed:
        wanted = (f"{summed}{space}{groups}{batch}", f"{summed}{space}{groups}{out}", f"{space}{groups}{batch}{out}")
    else:
        wanted = (f"{batch}{space}{groups}{summed}", f"{space}{groups}{summed}{out}", f"{batch}{space}{groups}{out}")
    if wanted == names:
        return None
    x, weight = (
        g.transpose(v, [text.index(c) for c in order])
        for v, text, order in zip((op.x, op.weight), names, wanted, strict=False)
    )
    y = op.on(x, weight, f"{wanted[0]},{wanted[1]}->{wanted[2]}")
    return g.transpose(y, inverse([names[2].index(c) for c in wanted[2]]))


@rule(ConvolutionOp)
def one_element_windows(op: ConvolutionOp, module: Module) -> SSAValue | None:
    """A convolution with one tap, or at one position, along every axis -> contract(x, weight, "nabc,co->nabo")"""
    if not all(v == 1 for p in (op.strides, op.x_dilation, op.dilations) for v in p.get_values()) or _is_padded(op):
        return None
    names = op.labels
    xs, ws, out = (
        dict(zip(t, shape_of(v), strict=True)) for t, v in zip(names, (op.x, op.weight, op.result), strict=True)
    )
    one_tap = {c for c in op.spatial if ws[c] == 1}
    if any(out[c] != 1 or xs[c] != ws[c] for c in op.spatial if c not in one_tap) or names[1][-1] in names[0]:
        return None
    letters = _letters(op)
    label = lambda text: "".join(letters.get(c, c) for c in text)
    weight_names = "".join(c for c in names[1] if c not in one_tap)
    out_names = "".join(c for c in names[2] if not c.isdigit() or c in one_tap)
    weight = g.reshape(op.weight, [ws[c] for c in weight_names])
    y = g.contract(op.x, weight, f"{label(names[0])},{label(weight_names)}->{label(out_names)}", dtype_of(op.result))
    return g.reshape(y, shape_of(op.result))


@rule(ConvolutionOp)
def windows_side_by_side(op: ConvolutionOp, module: Module) -> SSAValue | None:
    """A transposed convolution with stride equal to its window -> every element gives a window of its own

    result[q * s + r] = x[q] * weight[s - 1 - r], a contraction to [n, h, s, w, s, o], reshaped.
    """
    names, stride = op.labels, op.x_dilation.get_values()
    ws = dict(zip(names[1], shape_of(op.weight), strict=True))
    if [ws[c] for c in op.spatial] != list(stride) or all(s == 1 for s in stride) or names[1][-1] in names[0]:
        return None
    if not all(v == 1 for p in (op.strides, op.dilations) for v in p.get_values()):
        return None
    if any(tuple(pair) != (s - 1, s - 1) for pair, s in zip(op.padding, stride, strict=True)):
        return None
    letters = _letters(op)
    weight = g.reverse(op.weight, [a for a, c in enumerate(names[1]) if c.isdigit()])
    x_names = "".join(letters.get(c, c) for c in names[0])
    w_names = "".join(letters[c].upper() if c.isdigit() else c for c in names[1])
    out = "".join(letters[c] + letters[c].upper() if c.isdigit() else c for c in names[2])
    return g.reshape(g.contract(op.x, weight, f"{x_names},{w_names}->{out}", dtype_of(op.result)), shape_of(op.result))


def _static(shape: Sequence[Extent]) -> bool:
    return all(isinstance(e, int) for e in shape)


def _letters(op: ConvolutionOp) -> dict[str, str]:
    """A free letter per spatial axis."""
    taken = "".join(op.labels).lower()
    return dict(zip(op.spatial, (c for c in string.ascii_lowercase if c not in taken), strict=False))


def _is_padded(op: ConvolutionOp) -> bool:
    return not all(is_zero(e) for pair in op.padding for e in pair)
