"""Make padding an op of its own, so that whoever writes x can write it into a buffer that has the border.

    convolution(x, padding 1)             -> convolution(pad(x, 0), padding 0)
    reduce_window max(x, padding 1)       -> reduce_window max(pad(x, -inf), padding 0)

Runs last of the graph passes: simplify does the opposite, which is the better form to reason about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xdsl.ir import SSAValue

from mlc.ir import builder as g
from mlc.ir.dims import Extent
from mlc.ir.graph.linear import ConvolutionOp
from mlc.ir.graph.reduce import identity
from mlc.ir.graph.window import ReduceWindowOp
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, rank_of, shape_of
from mlc.passes.graph.rewrite import rewrite, rule
from mlc.passes.graph.simplify.slices import is_zero
from mlc.passes.manager import Pass


@dataclass(frozen=True)
class ExpandPadding(Pass):
    """Pad in front of convolutions and windows."""

    name: ClassVar[str] = "expand-padding"

    def run(self, module: Module) -> None:
        rewrite(module, [pad_before_convolution, pad_before_window])


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
    if all(is_zero(e) for pair in op.padding for e in pair):
        return None
    if any(isinstance(e, int) and e < 0 for pair in op.padding for e in pair):
        return None
    wide = _padded(op.x, op.padding, identity(op.kind.data, dtype_of(op.x)))
    lists = [p.get_values() for p in (op.window, op.strides, op.dilations)]
    result = g.reduce_window(wide, op.kind.data, lists[0], lists[1], [(0, 0)] * rank_of(op.x), lists[2])
    return g.reshape(result, shape_of(op.result))


def _padded(x: SSAValue, around: list[tuple[Extent, Extent]], value: float | bool) -> SSAValue:
    return g.pad(x, [lo for lo, _ in around], [hi for _, hi in around], g.scalar(value, dtype_of(x)))
