"""Write which element of a window is its largest, and what is put back there, element by element: the maximum of max-pooling and its gradient.

    y      = reduce_window max(x, 2 by 2)       a, b, c, d = slices of x, every second element
    places = window_place(x, y)             ->  y = max(a, b, c, d);  places = select(a == y, 0, select(b == y, 1, ...))

    window_put(v, places, 2 by 2)           ->  reshape(select(places == [[0, 1], [2, 3]], v, 0))    of [n, h, 2, w, 2, c]

Such ops run along vectors, share kernels with what reads them, and no two of them touch one element. Where windows overlap, an element is in
several of them: windows that are `stride` apart have it at places that are as far apart, one sum of as many terms.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, prod
from typing import ClassVar

import numpy as np
from xdsl.ir import SSAValue

from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.graph import constants
from mlc.ir.graph.pick import WindowPlaceOp, WindowPutOp
from mlc.ir.graph.window import ReduceWindowOp, WindowsOp
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, is_float, numpy_dtype, shape_of
from mlc.passes.base import Pass
from mlc.passes.graph.facts import made_by
from mlc.passes.graph.rewrite import before, replace, rewrite, rule
from mlc.passes.graph.simplify.reshape import sink_reshape
from mlc.passes.graph.simplify.slices import is_zero

TAPS = 25  # of a window: each is an op


@dataclass(frozen=True)
class ExpandPlaces(Pass):
    """Write places of maxima in windows, and what is put there, element by element."""

    name: ClassVar[str] = "expand-places"

    def run(self, module: Module) -> None:
        for op in [op for op in module.op.walk() if isinstance(op, WindowPutOp)]:
            put_by_phases(op, module)
        rewrite(module, [place_by_taps])


def _is_small(op: WindowsOp) -> bool:
    """Few elements to a window, none of them in padding."""
    return prod(op.window.get_values()) <= TAPS and all(is_zero(e) for pair in op.padding for e in pair)


# Places ------------------------------------------------------------------------------------------------------------------


@rule(WindowPlaceOp)
def place_by_taps(op: WindowPlaceOp, module: Module) -> SSAValue | None:
    """The number of the first tap that equals y, or is NaN; with it the maximum of the same taps, which y is, shares its kernel."""
    if not _is_small(op):
        return None
    dtype, number = dtype_of(op.x), dtype_of(op.result)
    top = made_by(op.y, ReduceWindowOp)
    y = op.y
    if top is not None and top.x is op.x and top.kind.data == "max" and _alike(top, op):
        with before(top, module):
            y = functools.reduce(g.maximum, _taps(op, op.x))
        replace(top, [y])
    taps = _taps(op, op.x)
    place = g.full(shape_of(op.result), len(taps) - 1, number)
    for k in reversed(range(len(taps) - 1)):
        found = g.eq(taps[k], y)
        if is_float(dtype):
            found = g.logical_or(found, g.ne(taps[k], taps[k]))
        place = g.select(found, g.full(shape_of(op.result), k, number), place)
    return place


def _alike(top: ReduceWindowOp, op: WindowPlaceOp) -> bool:
    return (top.window, top.strides, top.dilations, top.padding, max(top.apart, default=1)) == (
        op.window,
        op.strides,
        op.dilations,
        op.padding,
        1,
    )


def _taps(op: WindowsOp, x: SSAValue) -> list[SSAValue]:
    """x under each element of the windows, in row-major order."""
    window, strides, dilations = (p.get_values() for p in (op.window, op.strides, op.dilations))
    shape = shape_of(op.result)
    return [
        g.slice(x, [t * d for t, d in zip(tap, dilations, strict=True)], shape, strides, inside=True)
        for tap in product(*(range(w) for w in window))
    ]


# Putting back --------------------------------------------------------------------------------------------------------------


def put_by_phases(op: WindowPutOp, module: Module) -> None:
    """Element q * stride + r of an axis is element r + j * stride of window q - j: the sum over j of what each of these windows put there."""
    window, strides, dilations = (p.get_values() for p in (op.window, op.strides, op.dilations))
    if not _is_small(op) or any(d > 1 and w > 1 for d, w in zip(dilations, window, strict=True)):
        return
    with before(op, module):
        shape, number = shape_of(op.result), dtype_of(op.places)
        steps = [dims.floordiv(e + s - 1, s) for e, s in zip(shape, strides, strict=True)]  # q
        terms = [ceil(w / s) for w, s in zip(window, strides, strict=True)]  # j
        low = [j - 1 for j in terms]
        high = [q - o for q, o in zip(steps, shape_of(op.values), strict=True)]
        places = op.places
        if made_by(places, WindowPlaceOp) is None:  # a number beyond the window counts as the last
            places = g.minimum(places, g.full(shape_of(places), prod(window) - 1, number))
        values, places = (g.pad(v, low, high) for v in (op.values, places))
        parted = [e for q, s in zip(steps, strides, strict=True) for e in ((q, s) if s > 1 else (q,))]
        axes = [n + sum(s > 1 for s in strides[:n]) for n in range(len(shape))]
        zero = g.full(parted, 0, dtype_of(values))
        total: SSAValue | None = None
        for back in product(*(range(j - 1, -1, -1) for j in terms)):
            starts = [lo - j for lo, j in zip(low, back, strict=True)]
            part, at = (g.broadcast(g.slice(v, starts, steps, inside=True), parted, axes) for v in (values, places))
            table = _numbers(window, strides, back).astype(numpy_dtype(number))
            here = g.broadcast(
                constants.constant(table), parted, [a + 1 for a, s in zip(axes, strides, strict=True) if s > 1]
            )
            term = g.select(g.eq(at, here), part, zero)
            total = term if total is None else g.add(total, term)
        assert total is not None
        whole = [q * s for q, s in zip(steps, strides, strict=True)]
        if tuple(whole) != shape:
            total = g.slice(g.reshape(total, whole), [0] * len(shape), shape, inside=True)
    sink_reshape(op, total, module)


def _numbers(window: Sequence[int], strides: Sequence[int], back: Sequence[int]) -> np.ndarray:
    """Of each phase, along the axes with a stride, the number of its element in the window that lies `back`; one that no element has where the
    window ends before it."""
    total, beyond = np.zeros((), np.int64), np.zeros((), bool)
    for w, s, j in zip(window, strides, back, strict=True):
        taps = j * s + (np.arange(s) if s > 1 else np.zeros((), np.int64))
        total = np.add.outer(total * w, taps)
        beyond = np.logical_or.outer(beyond, taps >= w)
    return np.where(beyond, prod(window), total)
