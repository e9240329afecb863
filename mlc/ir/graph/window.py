"""Reductions over sliding windows (pooling). Every axis has a window; an axis that is not pooled has window 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import product

import numpy as np
from xdsl.dialects.builtin import DenseArrayBase, StringAttr, TensorType
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure

from mlc.errors import DTypeError, ShapeError
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph.base import Evaluate, GraphOp, emit, ints, widened
from mlc.ir.graph.convolution import reach, require_windows
from mlc.ir.graph.derivative import Algebra, Padding, Tangent, Tangents
from mlc.ir.graph.parts import dilated, padded
from mlc.ir.graph.reduce import identity
from mlc.ir.types import DimsAttr, dtype_of, shape_of, shape_text, tensor


def infer(
    shape: Sequence[Extent],
    window: Sequence[int],
    strides: Sequence[int],
    padding: Padding,
    dilations: Sequence[int],
    x_dilation: Sequence[int] | None = None,
) -> list[Extent]:
    """The extents of the windows' positions in a tensor of this shape."""
    apart = [1] * len(shape) if x_dilation is None else x_dilation
    if not len(window) == len(strides) == len(padding) == len(dilations) == len(apart) == len(shape):
        raise ShapeError(f"window: one size, stride, padding and dilation per axis of {shape_text(shape)}")
    if min((*window, *strides, *dilations, *apart, 1)) < 1:
        raise ShapeError(
            f"window: sizes {list(window)}, strides {list(strides)}, dilations {list(dilations)} must be positive"
            + (f", dilations {list(apart)} of x too" if max((*apart, 1)) > 1 or min((*apart, 1)) < 1 else "")
        )
    out: list[Extent] = []
    for e, w, s, (lo, hi), d, by in zip(shape, window, strides, padding, dilations, apart, strict=True):
        size = (dilated(e, by) + lo + hi - ((w - 1) * d + 1)) // s + 1
        out.append(max(size, 0) if isinstance(size, int) else size)
    return out


class WindowsOp(GraphOp):
    """The geometry of windows over all axes of a tensor."""

    window = prop_def(DenseArrayBase)
    strides = prop_def(DenseArrayBase)
    low = prop_def(DimsAttr)
    high = prop_def(DimsAttr)
    dilations = prop_def(DenseArrayBase)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)

    @property
    def padding(self) -> list[tuple[Extent, Extent]]:
        return list(zip(self.low.extents(), self.high.extents(), strict=True))

    @property
    def apart(self) -> list[int]:
        """How far elements of the tensor stand from each other, per axis."""
        return [1] * len(self.window.get_values())

    def positions_in(self, shape: Sequence[Extent]) -> list[Extent]:
        """The extents of the windows' positions in a tensor of this shape."""
        window, strides, dilations = (p.get_values() for p in (self.window, self.strides, self.dilations))
        return infer(shape, window, strides, self.padding, dilations, self.apart)


class WindowOp(WindowsOp):
    """Windows over x, and the elements under each tap of them."""

    x = operand_def(TensorType)

    def positions(self) -> list[Extent]:
        """The extents of the windows' positions in x."""
        return self.positions_in(shape_of(self.x))

    @property
    def visits(self) -> Extent:
        """How many elements all windows have under them."""
        return dims.prod([*self.positions(), *(int(size) for size in self.window.get_values())])

    def taps(self, at: Evaluate, x: np.ndarray, fill: float | bool) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
        """(position in the window, x under it) for each tap; outside x stands `fill`."""
        window, strides, dilations = (p.get_values() for p in (self.window, self.strides, self.dilations))
        low = [at(e) for e in self.low.extents()]
        out = [at(e) for e in self.positions()]
        reach = [
            t * d + (e - 1) * s + 1 for t, d, e, s in zip([w - 1 for w in window], dilations, out, strides, strict=True)
        ]
        ends = [lo + at(dilated(n, by)) for lo, n, by in zip(low, x.shape, self.apart, strict=True)]
        high = [max(0, r - end) for r, end in zip(reach, ends, strict=True)]
        wide = padded(x, fill, low, high, self.apart)
        for tap in product(*(range(w) for w in window)):
            place = [t * d for t, d in zip(tap, dilations, strict=True)]
            yield (
                tap,
                wide[
                    tuple(
                        slice(p, p + (e - 1) * s + 1 if e else p, s)
                        for p, e, s in zip(place, out, strides, strict=True)
                    )
                ],
            )


@irdl_op_definition
class ReduceWindowOp(WindowOp):
    """Fold each window: kind sum, prod, max or min. Padding counts as the identity, and so does what `x_dilation` puts between the elements of x;
    negative padding takes elements away. The derivative of a max or min is that of the first of equals in row-major order, as in PyTorch."""

    name = "graph.reduce_window"
    kind = prop_def(StringAttr)
    x_dilation = opt_prop_def(DenseArrayBase)  # none: 1 on every axis
    assembly_format = "$x $kind attr-dict `:` type($x) `->` type($result)"

    def __init__(
        self,
        x: SSAValue,
        kind: str,
        window: Sequence[int],
        strides: Sequence[int],
        padding: Padding,
        dilations: Sequence[int],
        x_dilation: Sequence[int] | None = None,
    ):
        if kind not in ("sum", "max", "min", "prod") or dtype_of(x) == "bool":
            raise DTypeError(f"reduce_window: no {kind} of {dtype_of(x)}")
        super().__init__(
            operands=[x],
            properties={
                "kind": StringAttr(kind),
                "x_dilation": ints(x_dilation) if x_dilation is not None and any(d != 1 for d in x_dilation) else None,
                **geometry(window, strides, padding, dilations),
            },
            result_types=[tensor(infer(shape_of(x), window, strides, padding, dilations, x_dilation), dtype_of(x))],
        )

    @property
    def apart(self) -> list[int]:
        return super().apart if self.x_dilation is None else list(self.x_dilation.get_values())

    def infer_types(self) -> Sequence[TensorType]:
        return [tensor(self.positions(), dtype_of(self.x))]

    @property
    def flops(self) -> Extent:
        return self.visits

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        (x,) = operands
        wide = widened(x)
        fold = {"sum": np.add, "max": np.maximum, "min": np.minimum, "prod": np.multiply}[self.kind.data]
        start = identity(self.kind.data, dtype_of(self.x))
        result = np.full([at(e) for e in shape_of(self.result)], start, wide.dtype)
        for _, part in self.taps(at, wide, start):
            result = fold(result, part)
        return result.astype(x.dtype)

    @property
    def linear(self) -> tuple[int, ...]:
        return (0,) if self.kind.data == "sum" else ()

    def jvp(self, g: Algebra, tangents: Tangents) -> Sequence[Tangent]:
        (t,), kind = tangents, self.kind.data
        if t is None or kind == "sum":
            return super().jvp(g, tangents)
        return [self._product(g, t) if kind == "prod" else self._chosen(g, t)]

    def transpose_rule(self, g: Algebra, cotangent: SSAValue, position: int) -> Tangent:
        """Sums over windows of the cotangent, with what strides left out between its elements, as those of a convolution with ones."""
        window, strides, dilations = (p.get_values() for p in (self.window, self.strides, self.dilations))
        padding = []
        rows = zip(
            shape_of(self.x), shape_of(self.result), window, strides, dilations, self.apart, self.padding, strict=True
        )
        for n, out, taps, stride, dilation, apart, (low, _) in rows:
            padding.append(((taps - 1) * dilation - low, reach(n, apart) + low - reach(out, stride)))
        found = reduce_window(cotangent, "sum", window, self.apart, padding, dilations, strides)
        return g.reshape(found, shape_of(self.x))

    def _chosen(self, g: Algebra, t: SSAValue) -> SSAValue:
        """The tangent of the element of each window that was taken."""
        x: SSAValue = self.x
        y: SSAValue = self.result
        padding = self.padding
        if self.kind.data == "min":
            x, y = g.neg(x), g.neg(y)
        if max(self.apart, default=1) > 1:
            x, t, padding = self._wide(g, x, identity("max", dtype_of(x))), self._wide(g, t, 0), []
        lists = [p.get_values() for p in (self.window, self.strides, self.dilations)]
        return g.window_pick(
            t,
            g.window_place(x, y, lists[0], lists[1], padding or None, lists[2]),
            lists[0],
            lists[1],
            padding or None,
            lists[2],
        )

    def _product(self, g: Algebra, t: SSAValue) -> SSAValue:
        """Tap by tap, of value and tangent: (a, da), (b, db) -> (a * b, da * b + a * db), which divides by no zero."""
        lists = [p.get_values() for p in (self.window, self.strides, self.dilations)]
        x, t = self._wide(g, self.x, 1), self._wide(g, t, 0)

        def under(value: SSAValue, tap: Sequence[int]) -> SSAValue:
            return g.slice(value, [n * d for n, d in zip(tap, lists[2], strict=True)], shape_of(self.result), lists[1])

        taps = [(under(x, tap), under(t, tap)) for tap in product(*map(range, lists[0]))]
        return reduce(lambda a, b: (g.mul(a[0], b[0]), g.add(g.mul(a[1], b[0]), g.mul(a[0], b[1]))), taps)[1]

    def _wide(self, g: Algebra, x: SSAValue, value: float) -> SSAValue:
        """x with its padding and what stands between its elements."""
        low, high = self.low.extents(), self.high.extents()
        return g.pad(x, low, high, value, [d - 1 for d in self.apart])


def geometry(
    window: Sequence[int], strides: Sequence[int], padding: Padding, dilations: Sequence[int]
) -> dict[str, Attribute]:
    """The properties of an op with windows."""
    return {
        "window": ints(window),
        "strides": ints(strides),
        "low": DimsAttr.of(lo for lo, _ in padding),
        "high": DimsAttr.of(hi for _, hi in padding),
        "dilations": ints(dilations),
    }


# Builder functions -------------------------------------------------------------------------------------------------------


def filled(
    rank: int, strides: Sequence[int] | None, padding: Padding | None, dilations: Sequence[int] | None
) -> tuple[Sequence[int], Padding, Sequence[int]]:
    """Strides and dilations of 1 and no padding where none are given."""
    return strides or [1] * rank, padding if padding is not None else [(0, 0)] * rank, dilations or [1] * rank


def reduce_window(
    x: SSAValue,
    kind: str,
    window: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding | None = None,
    dilations: Sequence[int] | None = None,
    x_dilation: Sequence[int] | None = None,
) -> SSAValue:
    """Fold windows over all axes of x; kind sum, prod, max or min. `x_dilation` puts the identity between the elements of x first."""
    strides, padding, dilations = filled(len(shape_of(x)), strides, padding, dilations)
    made = ReduceWindowOp(x, kind, window, strides, padding, dilations, x_dilation)
    require_windows(shape_of(made.result))
    return emit(made)[0]
