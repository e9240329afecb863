"""Scatter as two kernels of loops: y = x; then y[position of d] takes or folds in updates[d], for one d after the other.

    [N, C] <- [N, K] at [N, K]      for n in my part of N: for k: y[n, at[n, k]] = updates[n, k]
    [V, D] <- [B, D] at [B]         for b: row = at[b]; for c in my part of D: y[row, c] += updates[b, c], in vectors
    [V]    <- [B] at [B]            for b: y[at[b]] += updates[b]

Threads share an axis of y that no index decides, so that each element has one writer, which folds the updates in in the order of d. Where
there is none, or only short rows, one thread does it: to read all indices for each part of y, and to mispredict what falls in it, took longer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xdsl.dialects import arith
from xdsl.ir import SSAValue

from mlc.ir.dims import Extent
from mlc.ir.graph import scalar
from mlc.ir.graph.index import ScatterOp
from mlc.ir.kernel.kernel import index
from mlc.ir.types import dtype_of, shape_of
from mlc.passes.kernel.nest import Loops, Written, buffers_of

WIDE = 128  # elements of a row from which on threads share its columns
BLOCK = 16  # columns: a cache line of f32


def scatter_copy(op: ScatterOp, name: str) -> Written:
    """y = x, which threads share."""
    (x, *_, y) = buffers_of(op)
    loops = Loops(name, [x, y])
    if not shape_of(op.x):
        loops.store(loops.load("x0", []), "y0", [])
    else:
        axis = first_axis(shape_of(op.x))
        bounds = [(loops.const(0), loops.extent(e)) for e in shape_of(op.x)]
        bounds[axis] = loops.range(shape_of(op.x)[axis])
        loops.box(bounds, lambda at: loops.store(loops.load("x0", at), "y0", at), apart=axis != len(bounds) - 1)
    return *loops.finish(), ["x0", "y0"]


def scatter(op: ScatterOp, name: str) -> Written:
    """The updates of y, which holds x."""
    buffers = buffers_of(op)[1:]
    loops = Loops(name, buffers)
    Scatter(op, loops).write()
    return *loops.finish(), [n for n, _, _ in buffers]


def first_axis(shape: Sequence[Extent]) -> int:
    """The first with more than one element."""
    return next((axis for axis, extent in enumerate(shape) if extent != 1), 0)


class Scatter:
    """`axes`: for each axis of y the axis of the updates that runs along it, -1 where an index says where. `along`: the axes of the updates
    that the indices have."""

    def __init__(self, op: ScatterOp, loops: Loops):
        self.op, self.loops, self.dtype, self.kind = op, loops, dtype_of(op.x), op.kind.data
        self.shape, self.updates = shape_of(op.x), shape_of(op.updates)
        self.along, self.axes = list(op.loops.get_values()), list(op.axes.get_values())
        self.inner = [d for d in range(len(self.updates)) if d not in self.along]
        if not set(self.inner) <= set(
            self.axes
        ):  # several updates of one element along such an axis: their order stays
            self.inner = []
        self.outer = [d for d in range(len(self.updates)) if d not in self.inner]

    def write(self) -> None:
        loops = self.loops
        bounds = [(loops.const(0), loops.extent(e)) for e in self.updates]
        apart = bool(self.inner)
        if (shared := self.shared_axis()) is not None:
            axis, block = shared
            start, stop = loops.range(self.shape[axis], block)
            d = self.axes[axis]
            bounds[d] = (start, loops.least(stop, bounds[d][1]))
            apart = apart and (block > 1 or self.inner[-1] != d)

        def rows(at: list[SSAValue]) -> None:
            where, inside = self.position(dict(zip(self.outer, at, strict=True)))
            fold = lambda more: self.fold(at, more, where)
            self.when(inside, lambda: self.box(bounds, self.inner, fold, apart))

        self.box(bounds, self.outer, rows)

    def shared_axis(self) -> tuple[int, int] | None:
        """Of y, and how much of it is one piece."""
        if not self.shape:
            return None
        first, last = first_axis(self.shape), len(self.shape) - 1
        if self.axes[first] != -1:
            return first, 1
        extent = self.shape[last]
        wide = self.axes[last] != -1 and (not isinstance(extent, int) or extent >= WIDE)
        return (last, BLOCK) if wide else None

    def box(
        self,
        bounds: Sequence[tuple[SSAValue, SSAValue]],
        dims: Sequence[int],
        fill: Callable[[list[SSAValue]], None],
        apart: bool = False,
    ) -> None:
        self.loops.box([bounds[d] for d in dims], fill, apart)

    def position(self, at: dict[int, SSAValue]) -> tuple[dict[int, SSAValue], SSAValue | None]:
        """By axis of y where an index says so, and whether that is in y."""
        loops, column = self.loops, 0
        where: dict[int, SSAValue] = {}
        inside: SSAValue | None = None
        for axis, d in enumerate(self.axes):
            if d != -1:
                continue
            looked_up = loops.load("x1", [*(at[a] for a in self.along), loops.const(column)])
            column += 1
            wide = scalar.cast(loops.b, dtype_of(self.op.indices), "i64", looked_up)
            spot: SSAValue = loops.b.insert(arith.IndexCastOp(wide, index)).result
            size, zero = loops.extent(self.shape[axis]), loops.const(0)
            negative = loops.compare(spot, zero, "slt")
            spot = loops.b.insert(arith.SelectOp(negative, loops.add(spot, size), spot)).result
            for fine in (loops.compare(spot, zero, "sge"), loops.compare(spot, size, "slt")):
                inside = fine if inside is None else loops.b.insert(arith.AndIOp(inside, fine)).result
            where[axis] = spot
        return where, inside

    def when(self, inside: SSAValue | None, fill: Callable[[], None]) -> None:
        if inside is None:
            fill()
        else:
            self.loops.branch(inside, fill)

    def fold(self, outer: list[SSAValue], inner: list[SSAValue], where: dict[int, SSAValue]) -> None:
        """One update."""
        loops = self.loops
        at = dict(zip((*self.outer, *self.inner), (*outer, *inner), strict=True))
        place = [where[axis] if d == -1 else at[d] for axis, d in enumerate(self.axes)]
        value = loops.load("x2", [at[d] for d in range(len(self.updates))])
        if self.kind != "set":
            body, _ = scalar.reduction({"add": "sum", "mul": "prod"}.get(self.kind, self.kind))
            value = scalar.widened(body)(loops.b, self.dtype, loops.load("y0", place), value)
        loops.store(value, "y0", place)
