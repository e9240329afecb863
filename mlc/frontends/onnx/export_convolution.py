"""Convolutions by any maps as ONNX's Conv and ConvTranspose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlc.frontends.onnx.export_nodes import NodeWriter, handles, refused
from mlc.ir.dims import Dim, Extent
from mlc.ir.graph import convolution, linear
from mlc.ir.types import dtype_of, numpy_dtype, shape_of


@handles(convolution.ConvolutionOp)
def _convolution(w: NodeWriter, op: convolution.ConvolutionOp, xs: list[str]) -> str:
    """Axes are brought into ONNX's order, groups into the channels, and the result back."""
    x, weight, out = linear.labels(op.spec.data)
    letters = {c for c in x + weight + out if not c.isdigit()}
    batch, inner, outer, group = (
        [c for c in sorted(letters) if (c in x, c in weight, c in out) == where]
        for where in ((True, False, True), (True, True, False), (False, True, True), (True, True, True))
    )
    if max(map(len, (batch, inner, outer, group))) > 1:
        raise refused(op, f"over {op.spec.data}")
    spatial = sorted(c for c in x if c.isdigit())
    sizes = dict(zip(x + weight, (*shape_of(op.x), *shape_of(op.weight)), strict=True))
    taps = dict(zip(weight, shape_of(op.weight), strict=True))
    places = dict(zip(x, shape_of(op.x), strict=True))
    size = lambda names: [sizes[c] for c in names]
    one = lambda names: size(names) or [1]
    groups = one(group)[0]
    if not isinstance(groups, int):
        raise refused(op, "of a number of groups that is not known")

    def brought(name: str, axes: str, order: Sequence[str], into: Sequence[Extent]) -> str:
        turned = _turned(w, name, [axes.index(c) for c in order])
        own = places if axes == x else taps
        same = [own[c] for c in order] == list(into)
        return turned if same else w.node("Reshape", [turned, w.extents(into)], allowzero=1)

    channels = groups * one(inner)[0]
    data = brought(xs[0], x, [*batch, *group, *inner, *spatial], [*one(batch), channels, *(places[c] for c in spatial)])
    order, into = [*outer, *inner], [groups * one(outer)[0], *one(inner)]
    if op.is_spread:
        order, into = [*inner, *outer], [channels, *one(outer)]
    kernel = brought(xs[1], weight, [*group, *order, *spatial], [*into, *(taps[c] for c in spatial)])
    if op.is_spread:
        result = _transposed(w, op, data, kernel, groups)
    else:
        result = _plain(w, op, data, kernel, groups)
    order = [*batch, *group, *outer, *spatial]
    whole = dict(zip(out, shape_of(op.result), strict=True))
    if group or not (batch and outer):
        result = w.node("Reshape", [result, w.extents([whole[c] for c in order])], allowzero=1)
    return _turned(w, result, [order.index(c) for c in out])


def _plain(w: NodeWriter, op: convolution.ConvolutionOp, data: str, kernel: str, groups: int) -> str:
    edges = [edge for edge, _ in op.padding] + [edge for _, edge in op.padding]
    if any(isinstance(e, Dim) or e < 0 for e in edges):
        data, edges = _padded(w, op, data, edges), [0] * len(edges)
    strides, dilations = list(op.strides.get_values()), list(op.dilations.get_values())
    return w.node("Conv", [data, kernel], strides=strides, pads=edges, dilations=dilations, group=groups)


def _transposed(w: NodeWriter, op: convolution.ConvolutionOp, data: str, kernel: str, groups: int) -> str:
    """Of elements that stand s apart: each puts the kernel, turned around, at its place. ONNX counts what is left out at the edges, not what is added."""
    spatial, taps = op.spatial, dict(zip(op.labels[1], shape_of(op.weight), strict=True))
    strides, dilations = list(op.x_dilation.get_values()), list(op.dilations.get_values())
    count = len(spatial)
    reach = [(taps[c] - 1) * d for c, d in zip(spatial, dilations, strict=True)]
    axes, back = w.integers(range(2, 2 + count)), w.integers([-1] * count)
    kernel = w.node("Slice", [kernel, back, w.integers([-(1 << 62)] * count), axes, back])
    edges = [r - low for r, (low, _) in zip(reach, op.padding, strict=True)]
    edges += [r - high for r, (_, high) in zip(reach, op.padding, strict=True)]
    outside = any(isinstance(e, Dim) or e < 0 for e in edges)
    pads = [0] * len(edges) if outside else edges
    y = w.node("ConvTranspose", [data, kernel], pads=pads, strides=strides, dilations=dilations, group=groups)
    if outside:
        y = _padded(w, op, y, [-e for e in edges])
    steps = op.strides.get_values()
    if any(step != 1 for step in steps):
        y = w.node("Slice", [y, w.integers([0] * count), w.integers([1 << 62] * count), axes, w.integers(steps)])
    return y


def _padded(w: NodeWriter, op: convolution.ConvolutionOp, data: str, edges: Sequence[Extent]) -> str:
    """With zeros around it, or less of it."""
    zero = w.constant(np.zeros((), numpy_dtype(dtype_of(op.x))))
    low, high = edges[: len(edges) // 2], edges[len(edges) // 2 :]
    return w.node("Pad", [data, w.extents([0, 0, *low, 0, 0, *high]), zero])


def _turned(w: NodeWriter, name: str, perm: list[int]) -> str:
    return name if perm == sorted(perm) else w.node("Transpose", [name], perm=perm)
