"""Kernels under construction from plain loops, loads and stores.

loops = Loops("copy", [("x0", ("N", 4), "f32"), ("y0", ("N", 4), "f32")])
loops.nest(("N", 4), lambda at: loops.store(loops.load("x0", at), "y0", at))
kernel, extents = loops.finish()

Where the parts of a kernel are independent, threads share them (and the blocks of a GPU may): `shared` loops over the part of a nest that a
call is given, `range` says which part of one axis that is. Either is asked for once, and each element of a result belongs to one part, which
writes it as a single thread would: results are the same bits for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xdsl.dialects import arith, func, memref, scf
from xdsl.dialects.builtin import UnitAttr, i64
from xdsl.ir import Block, SSAValue
from xdsl.rewriter import InsertPoint

from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph import scalar
from mlc.ir.graph.base import GraphOp
from mlc.ir.kernel.extents import tile_count
from mlc.ir.kernel.kernel import Buffer, Kernel, index
from mlc.ir.kernel.located import Builder
from mlc.ir.types import dtype_of, shape_of, signless

# a kernel, what its index arguments stand for, and its buffers in order
Written = tuple[Kernel, list[Extent], list[str]]


def buffers_of(op: GraphOp) -> list[tuple[str, Sequence[Extent], str]]:
    """Name, shape and dtype: x0, x1, ... of the operands, y0, ... of the results."""
    found: list[tuple[str, Sequence[Extent], str]] = [
        (f"x{n}", shape_of(v), dtype_of(v)) for n, v in enumerate(op.operands)
    ]
    return found + [(f"y{n}", shape_of(v), dtype_of(v)) for n, v in enumerate(op.results)]


class Loops:
    """Writes at the end of the innermost block that is open."""

    def __init__(self, name: str, buffers: Sequence[tuple[str, Sequence[Extent], str]], extents: Sequence[Extent] = ()):
        self.names: dict[Extent, str] = {}
        for e in (*(e for _, shape, _ in buffers for e in shape), *extents):
            if not isinstance(e, int):
                self.names.setdefault(e, f"s{len(self.names)}")
        named = {n: Buffer(tuple(self._named(e) for e in shape), dtype) for n, shape, dtype in buffers}
        self.kernel = Kernel(name, named, extents=list(self.names.values()))
        self.memories: dict[str, SSAValue] = dict(self.kernel.buffers)
        self.b = Builder(InsertPoint.at_end(self.kernel.block))

    def _named(self, extent: Extent) -> Extent:
        return extent if isinstance(extent, int) else dims.symbol(self.names[extent])

    def extent(self, extent: Extent) -> SSAValue:
        return self.kernel.extent(self._named(extent))

    def const(self, value: int) -> SSAValue:
        return self.kernel.const(value)

    def nest(self, extents: Sequence[Extent], fill: Callable[[list[SSAValue]], None], apart: bool = False) -> None:
        """for i0 in extents[0]: for i1 ...: fill([i0, i1, ...]); the last of the loops may be `apart`."""
        self.box([(self.const(0), self.extent(extent)) for extent in extents], fill, apart)

    def box(
        self,
        bounds: Sequence[tuple[SSAValue, SSAValue]],
        fill: Callable[[list[SSAValue]], None],
        apart: bool = False,
    ) -> None:
        """for i0 from bounds[0][0] to bounds[0][1]: for i1 ...: fill([i0, i1, ...]); the last of the loops may be `apart`."""

        def inside(number: int, at: list[SSAValue]) -> None:
            if number == len(bounds):
                fill(at)
            else:
                last = number == len(bounds) - 1
                self.loop(*bounds[number], lambda i: inside(number + 1, [*at, i]), apart and last)

        inside(0, [])

    def range(self, extent: Extent, block: int = 1) -> tuple[SSAValue, SSAValue]:
        """The part [start, stop) of an axis that this call computes, in whole blocks but for the last."""
        named = self._named(extent)
        begin, end = self.kernel.tile_range(tile_count(named, block))
        if block == 1:
            return begin, end
        stop = self.least(self.times(end, self.const(block)), self.kernel.extent(named))
        return self.times(begin, self.const(block)), stop

    def shared(
        self,
        extents: Sequence[Extent],
        fill: Callable[[list[SSAValue]], None],
        columns: Extent | None = None,
        block: int = 1,
    ) -> None:
        """The part of a nest that this call computes: for c from %begin to %end: fill([c / ..., ..., c % ...]). With `columns` there is one more
        axis, taken in blocks, and two more positions: where a block begins and ends."""
        blocks = 1 if columns is None else tile_count(self._named(columns), block)
        begin, end = self.kernel.tile_range(dims.prod([*map(self._named, extents), blocks]))

        def tile(c: SSAValue) -> None:
            found: list[SSAValue] = []
            if columns is not None:
                wide, width = self.extent(columns), self.const(block)
                count = self.b.insert(arith.DivUIOp(self.add(wide, self.const(block - 1)), width)).result
                start = self.times(self.b.insert(arith.RemUIOp(c, count)).result, width)
                found = [start, self.least(self.add(start, width), wide)]
                c = self.b.insert(arith.DivUIOp(c, count)).result
            for number, extent in enumerate(reversed(extents), 1):
                last = number == len(extents)
                found.insert(0, c if last else self.b.insert(arith.RemUIOp(c, self.extent(extent))).result)
                c = c if last else self.b.insert(arith.DivUIOp(c, self.extent(extent))).result
            fill(found)

        self.loop(begin, end, tile)

    def loop(self, start: SSAValue, stop: SSAValue, fill: Callable[[SSAValue], None], apart: bool = False) -> None:
        """for i from start to stop: fill(i). The steps of loops that are `apart` touch elements of their own: what one of them writes, only
        steps of the same number behind `start` read or write in the others, so that each number may have a thread of a GPU's block."""
        block, outer = Block(arg_types=[index]), self.b
        self.b = Builder(InsertPoint.at_end(block))
        fill(block.args[0])
        self.b.insert(scf.YieldOp())
        self.b = outer
        made = self.b.insert(scf.ForOp(start, stop, self.const(1), [], block))
        if apart:
            made.attributes["apart"] = UnitAttr()

    def fold(
        self, start: SSAValue, stop: SSAValue, first: SSAValue, fill: Callable[[SSAValue, SSAValue], SSAValue]
    ) -> SSAValue:
        """value = first; for i: value = fill(i, value)"""
        block, outer = Block(arg_types=[index, first.type]), self.b
        self.b = Builder(InsertPoint.at_end(block))
        i, value = block.args
        self.b.insert(scf.YieldOp(fill(i, value)))
        self.b = outer
        return self.b.insert(scf.ForOp(start, stop, self.const(1), [first], block)).results[0]

    def repeat(
        self, first: SSAValue, more: Callable[[SSAValue], SSAValue], fill: Callable[[SSAValue], SSAValue]
    ) -> SSAValue:
        """value = first; while more(value): value = fill(value)"""
        before, after, outer = Block(arg_types=[first.type]), Block(arg_types=[first.type]), self.b
        self.b = Builder(InsertPoint.at_end(before))
        self.b.insert(scf.ConditionOp(more(before.args[0]), before.args[0]))
        self.b = Builder(InsertPoint.at_end(after))
        self.b.insert(scf.YieldOp(fill(after.args[0])))
        self.b = outer
        return self.b.insert(scf.WhileOp([first], [first.type], [before], [after])).results[0]

    def branch(self, condition: SSAValue, fill: Callable[[], None]) -> None:
        block, outer = Block(), self.b
        self.b = Builder(InsertPoint.at_end(block))
        fill()
        self.b.insert(scf.YieldOp())
        self.b = outer
        self.b.insert(scf.IfOp(condition, [], [block]))

    def scratch(self, name: str, extents: Sequence[Extent], dtype: str) -> None:
        """Memory of the kernel's own, loaded and stored by this name."""
        shape = [self._named(e) for e in extents]
        self.memories[name] = self.kernel.allocate(self.b, shape, signless(dtype), name)

    def load(self, buffer: str, at: Sequence[SSAValue]) -> SSAValue:
        return self.b.insert(memref.LoadOp.get(self.memories[buffer], list(at))).results[0]

    def store(self, value: SSAValue, buffer: str, at: Sequence[SSAValue]) -> None:
        self.b.insert(memref.StoreOp.get(value, self.memories[buffer], list(at)))

    def add(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self.b.insert(arith.AddiOp(x, y)).result

    def sub(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self.b.insert(arith.SubiOp(x, y)).result

    def times(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self.b.insert(arith.MuliOp(x, y)).result

    def least(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self.b.insert(arith.MinSIOp(x, y)).result

    def most(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self.b.insert(arith.MaxSIOp(x, y)).result

    def counted(self, number: SSAValue, flag: SSAValue) -> SSAValue:
        """One more where the flag is set."""
        return self.add(number, self.number(scalar.cast(self.b, "bool", "i64", flag)))

    def number(self, x: SSAValue) -> SSAValue:
        """A position as an i64, an i64 as a position."""
        return self.b.insert(arith.IndexCastOp(x, index if x.type == i64 else i64)).result

    def compare(self, x: SSAValue, y: SSAValue, how: str) -> SSAValue:
        return self.b.insert(arith.CmpiOp(x, y, how)).result

    def finish(self, why: str = "stores go where run-time values say") -> tuple[Kernel, list[Extent]]:
        """The kernel, and what its extents are; its report says `why` it is not scheduled."""
        self.b.insert(func.ReturnOp())
        self.kernel.optimise = True
        self.kernel.report.append(f"written as plain loops: {why}")
        self.kernel.finish()
        order = {name: extent for extent, name in self.names.items()}
        return self.kernel, [order[name] for name in self.kernel.extents]
