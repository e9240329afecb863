"""Convolutions over elements that stand apart, as dense ones: no zero is multiplied, and each writes its own positions of the result.

    stride 1, x_dilation 2, weight [3], low -1:    y[p] = sum over t of x[(p + t + 1) / 2] * w[t], where that is whole
    ->
    y[2q]     = x[q + 1] * w[1]
    y[2q + 1] = x[q + 1] * w[0] + x[q + 2] * w[2]

A phase is the positions that see the same taps. With stride s, dilation d and elements e apart, positions e / gcd(s, e) apart see the same
ones, and these lie e / gcd(d, e) apart. A convolution whose elements lie side by side is one phase.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import gcd
from typing import NamedTuple

from mlc.errors import MlcError
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph.convolution import ConvolutionOp
from mlc.ir.types import shape_of


class Every(NamedTuple):
    """first, first + step, ...: `number` of them."""

    first: int
    step: int
    number: Extent


class Along(NamedTuple):
    """One axis of a phase. Position `positions[q]` of the result adds tap `taps[u]` times element first + q * by_position + u * by_tap."""

    positions: Every
    taps: Every
    first: int
    by_position: int
    by_tap: int


Phase = Mapping[str, Along]  # by the label of a spatial axis


def phases(op: ConvolutionOp) -> list[Phase]:
    """Those that have positions; one at least. Every element that they read is in x."""
    axes = [_along(op, d, c) for d, c in enumerate(op.spatial)]
    found: list[Phase] = [dict(zip(op.spatial, chosen, strict=True)) for chosen in product(*axes)]
    return [phase for phase in found if all(a.positions.number != 0 for a in phase.values())] or found[:1]


def _along(op: ConvolutionOp, d: int, label: str) -> list[Along]:
    stride, dilation, apart = (p.get_values()[d] for p in (op.strides, op.dilations, op.x_dilation))
    low, high = op.padding[d]
    if not isinstance(low, int) or low > 0 or (isinstance(high, int) and high > 0):
        raise MlcError(
            "outline: a convolution reaches into padding, and kernels read what is there",
            remedy="Run expand-padding before fuse: decompose,expand-padding,fuse,outline.",
        )
    size = dict(zip(op.labels[2], shape_of(op.result), strict=True))[label]
    window = dict(zip(op.labels[1], shape_of(op.weight), strict=True))[label]
    between, together = apart // gcd(stride, apart), apart // gcd(dilation, apart)
    found = []
    for r in range(between):
        positions = Every(r, between, dims.ceildiv(size - r, between))
        start = r * stride - low
        tap = next((t for t in range(together) if (start + t * dilation) % apart == 0), None)
        taps = Every(0, 1, 0) if tap is None else Every(tap, together, dims.ceildiv(window - tap, together))
        first = (start + taps.first * dilation) // apart
        found.append(Along(positions, taps, first, between * stride // apart, taps.step * dilation // apart))
    return found
