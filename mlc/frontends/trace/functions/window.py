"""Pooling over the spatial axes of x [n, c, *spatial]."""

from __future__ import annotations

from math import prod

from xdsl.ir import SSAValue

from mlc.frontends.trace.functions.promotion import Operand, floating, value
from mlc.ir import builder as g
from mlc.ir.types import dtype_of, rank_of, shape_of

Sizes = tuple[int, ...]


def max_pool(x: Operand, window: Sizes, strides: Sizes, padding: Sizes, dilations: Sizes) -> SSAValue:
    """The largest element of each window; padding counts as the lowest number. The derivative goes to the first of equals."""
    return _windows(value(x), "max", window, strides, padding, dilations)


def average_pool(x: Operand, window: Sizes, strides: Sizes, padding: Sizes, count_padding: bool) -> SSAValue:
    """The mean of each window, where padding counts as zeros, or, without `count_padding`, not at all."""
    data = floating(x)
    total = _windows(data, "sum", window, strides, padding, (1,) * len(window))
    if count_padding or not any(padding):
        return g.mul(total, g.full(shape_of(total), 1 / prod(window), dtype_of(total)))
    ones = g.full((1, 1, *shape_of(data)[2:]), 1, dtype_of(data))
    counts = _windows(ones, "sum", window, strides, padding, (1,) * len(window))
    return g.div(total, g.broadcast_to(counts, shape_of(total)))


def _windows(x: SSAValue, kind: str, window: Sizes, strides: Sizes, padding: Sizes, dilations: Sizes) -> SSAValue:
    lead = rank_of(x) - len(window)
    one = (1,) * lead
    ends = [(0, 0)] * lead + [(p, p) for p in padding]
    return g.reduce_window(x, kind, (*one, *window), (*one, *strides), ends, (*one, *dilations))
