"""Kernels written as plain loops: ops whose stores go where data or run-time offsets say, or whose steps depend on each other.

scatter, cumulative, top_k, arg_max_window, nonzero, and the border of a padded tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xdsl.builder import Builder
from xdsl.dialects import arith, func, memref, scf
from xdsl.dialects.builtin import i64
from xdsl.ir import Block, SSAValue
from xdsl.rewriter import InsertPoint

from mlc.ir.dims import Extent
from mlc.ir.graph import scalar
from mlc.ir.graph.base import GraphOp
from mlc.ir.graph.control import GroupOp, YieldOp
from mlc.ir.graph.counted import NonZeroOp
from mlc.ir.graph.index import ScatterOp
from mlc.ir.graph.reduce import CumulativeOp, TopKOp
from mlc.ir.graph.shape import ConstantOp, PadOp
from mlc.ir.graph.window import ArgMaxWindowOp
from mlc.ir.kernel.kernel import Buffer, Kernel, index
from mlc.ir.types import dtype_of, is_float, shape_of


def plain_op(group: GroupOp) -> GraphOp | None:
    """The op of a group that must be written as plain loops, if it is one."""
    ops = [op for op in group.body.block.ops if not isinstance(op, (YieldOp, ConstantOp))]
    if len(ops) != 1:
        return None
    (op,) = ops
    match op:
        case ScatterOp() | CumulativeOp() | TopKOp() | ArgMaxWindowOp() | NonZeroOp():
            return op
    return None


class Loops:
    """A kernel under construction from loops, loads and stores."""

    def __init__(self, name: str, buffers: Sequence[tuple[str, Sequence[Extent], str]], extents: Sequence[Extent] = ()):
        self.names: dict[Extent, str] = {}
        for e in (*(e for _, shape, _ in buffers for e in shape), *extents):
            if not isinstance(e, int):
                self.names.setdefault(e, f"s{len(self.names)}")
        named = {n: Buffer(tuple(self._named(e) for e in shape), dtype) for n, shape, dtype in buffers}
        self.kernel = Kernel(name, named, extents=list(self.names.values()))
        self.b = Builder(InsertPoint.at_end(self.kernel.block))

    def _named(self, extent: Extent) -> int | str:
        return extent if isinstance(extent, int) else self.names[extent]

    def extent(self, extent: Extent) -> SSAValue:
        return self.kernel.extent(self._named(extent))

    def const(self, value: int) -> SSAValue:
        return self.kernel.const(value)

    def nest(self, extents: Sequence[Extent], fill: Callable[[list[SSAValue]], None]) -> None:
        """for i0 in extents[0]: for i1 ...: fill([i0, i1, ...])"""
        self._nest(list(extents), [], fill)

    def _nest(self, extents: list[Extent], at: list[SSAValue], fill: Callable[[list[SSAValue]], None]) -> None:
        if not extents:
            fill(at)
            return
        self.loop(self.const(0), self.extent(extents[0]), lambda i: self._nest(extents[1:], [*at, i], fill))

    def loop(self, start: SSAValue, stop: SSAValue, fill: Callable[[SSAValue], None]) -> None:
        block, outer = Block(arg_types=[index]), self.b
        self.b = Builder(InsertPoint.at_end(block))
        fill(block.args[0])
        self.b.insert(scf.YieldOp())
        self.b = outer
        self.b.insert(scf.ForOp(start, stop, self.const(1), [], block))

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

    def branch(self, condition: SSAValue, fill: Callable[[], None]) -> None:
        block, outer = Block(), self.b
        self.b = Builder(InsertPoint.at_end(block))
        fill()
        self.b.insert(scf.YieldOp())
        self.b = outer
        self.b.insert(scf.IfOp(condition, [], [block]))

    def load(self, buffer: str, at: Sequence[SSAValue]) -> SSAValue:
        return self.b.insert(memref.LoadOp.get(self.kernel.buffers[buffer], list(at))).results[0]

    def store(self, value: SSAValue, buffer: str, at: Sequence[SSAValue]) -> None:
        self.b.insert(memref.StoreOp.get(value, self.kernel.buffers[buffer], list(at)))

    def add(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self.b.insert(arith.AddiOp(x, y)).result

    def sub(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self.b.insert(arith.SubiOp(x, y)).result

    def compare(self, x: SSAValue, y: SSAValue, how: str) -> SSAValue:
        return self.b.insert(arith.CmpiOp(x, y, how)).result

    def finish(self) -> tuple[Kernel, list[Extent]]:
        self.b.insert(func.ReturnOp())
        self.kernel.optimise = True
        self.kernel.report.append("written as plain loops: stores go where run-time values say")
        self.kernel.finish()
        order = {name: extent for extent, name in self.names.items()}
        return self.kernel, [order[name] for name in self.kernel.extents]


def write_plain(op: GraphOp, name: str) -> tuple[Kernel, list[Extent], list[str]]:
    """The kernel, what its index arguments stand for, and its buffers in order: operands of the op, then results."""
    match op:
        case ScatterOp():
            return _scatter(op, name)
        case CumulativeOp():
            return _cumulative(op, name)
        case TopKOp():
            return _top_k(op, name)
        case ArgMaxWindowOp():
            return _arg_max_window(op, name)
        case NonZeroOp():
            return _nonzero(op, name)
    raise NotImplementedError(op.name)


def write_border(op: PadOp, name: str) -> tuple[Kernel, list[Extent]]:
    """A kernel that writes the constant border of a padded tensor, slab by slab, and leaves the inside alone."""
    assert isinstance(op.value.owner, ConstantOp)
    value, inside = op.value.owner.value.item(), shape_of(op.x)
    low, high = op.low.extents(), op.high.extents()
    behind = [lo + size for lo, size in zip(low, inside, strict=True)]
    loops = Loops(name, [("y0", shape_of(op.result), dtype_of(op.x))], [*low, *high, *behind, *inside])
    for axis in range(len(inside)):
        for start, size in ((0, low[axis]), (behind[axis], high[axis])):
            if size == 0:
                continue
            extents = [*inside[:axis], size, *shape_of(op.result)[axis + 1 :]]
            offsets = [*low[:axis], start, *[0] * (len(inside) - axis - 1)]

            def store(at: list[SSAValue], offsets: list[Extent] = offsets) -> None:
                there = [loops.add(i, loops.extent(o)) if o != 0 else i for i, o in zip(at, offsets, strict=True)]
                loops.store(scalar.constant(loops.b, dtype_of(op.x), value), "y0", there)

            loops.nest(extents, store)
    return loops.finish()


def _buffers(op: GraphOp) -> list[tuple[str, Sequence[Extent], str]]:
    found: list[tuple[str, Sequence[Extent], str]] = [
        (f"x{n}", shape_of(v), dtype_of(v)) for n, v in enumerate(op.operands)
    ]
    return found + [(f"y{n}", shape_of(v), dtype_of(v)) for n, v in enumerate(op.results)]


def _scatter(op: ScatterOp, name: str) -> tuple[Kernel, list[Extent], list[str]]:
    """y = x; y[position of d] takes or folds in updates[d], in row-major order of d."""
    buffers = _buffers(op)
    loops = Loops(name, buffers)
    dtype, kind = dtype_of(op.x), op.kind.data
    loops.nest(shape_of(op.x), lambda at: loops.store(loops.load("x0", at), "y0", at))
    along, axes = op.loops.get_values(), op.axes.get_values()

    def update(at: list[SSAValue]) -> None:
        where, column = [], 0
        inside: SSAValue | None = None
        for axis, a in enumerate(axes):
            if a != -1:
                where.append(at[a])
                continue
            looked_up = loops.load("x1", [*(at[d] for d in along), loops.const(column)])
            column += 1
            wide = scalar.cast(loops.b, dtype_of(op.indices), "i64", looked_up)
            spot: SSAValue = loops.b.insert(arith.IndexCastOp(wide, index)).result
            size, zero = loops.extent(shape_of(op.x)[axis]), loops.const(0)
            negative = loops.compare(spot, zero, "slt")
            spot = loops.b.insert(arith.SelectOp(negative, loops.add(spot, size), spot)).result
            for fine in (loops.compare(spot, zero, "sge"), loops.compare(spot, size, "slt")):
                inside = fine if inside is None else loops.b.insert(arith.AndIOp(inside, fine)).result
            where.append(spot)

        def write() -> None:
            value = loops.load("x2", at)
            if kind != "set":
                fold, _ = scalar.reduction({"add": "sum", "mul": "prod"}.get(kind, kind))
                value = scalar.widened(fold)(loops.b, dtype, loops.load("y0", where), value)
            loops.store(value, "y0", where)

        if inside is None:
            write()
        else:
            loops.branch(inside, write)

    loops.nest(shape_of(op.updates), update)
    return *loops.finish(), [n for n, _, _ in buffers]


def _cumulative(op: CumulativeOp, name: str) -> tuple[Kernel, list[Extent], list[str]]:
    """total = 0; for i along the axis: y[i] = total (exclusive) or total + x[i]; total += x[i]. f16 and bf16 totals are f32."""
    buffers, axis = _buffers(op), op.axis.value.data
    loops = Loops(name, buffers)
    dtype = dtype_of(op.x)
    wide = "f32" if dtype in ("f16", "bf16") else dtype
    fold, start = scalar.reduction(op.kind.data)
    shape = shape_of(op.x)
    outer = [e for a, e in enumerate(shape) if a != axis]

    def line(at: list[SSAValue]) -> None:
        size = loops.extent(shape[axis])

        def step(i: SSAValue, total: SSAValue) -> SSAValue:
            if op.reverse.value.data:
                i = loops.sub(loops.sub(size, loops.const(1)), i)
            there = [*at[:axis], i, *at[axis:]]
            x = scalar.cast(loops.b, dtype, wide, loops.load("x0", there))
            after = fold(loops.b, wide, total, x)
            kept = total if op.exclusive.value.data else after
            loops.store(scalar.cast(loops.b, wide, dtype, kept), "y0", there)
            return after

        loops.fold(loops.const(0), size, scalar.constant(loops.b, wide, start(wide)), step)

    loops.nest(outer, line)
    return *loops.finish(), [n for n, _, _ in buffers]


def _top_k(op: TopKOp, name: str) -> tuple[Kernel, list[Extent], list[str]]:
    """Insertion into the sorted best so far: element i goes behind the last kept one that is at least as good.

    O(n k) steps at worst; on random data most elements are worse than the last kept one and cost a comparison.
    """
    buffers, axis = _buffers(op), op.axis.value.data
    k, shape = op.k.extents()[0], shape_of(op.x)
    loops = Loops(name, buffers, [k])
    dtype = dtype_of(op.x)
    greater = scalar.compare(*(("ogt", "sgt", "ugt") if op.largest.value.data else ("olt", "slt", "ult")))

    def better(x: SSAValue, y: SSAValue) -> SSAValue:
        found = greater(loops.b, dtype, x, y)
        if not is_float(dtype):
            return found
        if op.largest.value.data:  # as numpy sorts: NaN is the largest
            nan, had = scalar.is_nan(loops.b, dtype, x), scalar.is_nan(loops.b, dtype, y)
        else:
            had, nan = scalar.is_nan(loops.b, dtype, x), scalar.is_nan(loops.b, dtype, y)
        fresh = loops.b.insert(arith.AndIOp(nan, scalar.invert(loops.b, "bool", had))).result
        return loops.b.insert(arith.OrIOp(found, fresh)).result

    def line(at: list[SSAValue]) -> None:
        one, zero, size, most = loops.const(1), loops.const(0), loops.extent(shape[axis]), loops.extent(k)
        place = lambda i: [*at[:axis], i, *at[axis:]]

        def element(i: SSAValue) -> None:
            x = loops.load("x0", place(i))
            filled = loops.b.insert(arith.MinSIOp(i, most)).result
            # %at walks down while the kept one above it is worse, moving that one down
            before, after = Block(arg_types=[index]), Block(arg_types=[index])
            outer = loops.b
            loops.b = Builder(InsertPoint.at_end(before))
            (spot,) = before.args
            some = loops.compare(spot, zero, "sgt")
            above = loops.b.insert(arith.MaxSIOp(loops.sub(spot, one), zero)).result
            worse = better(x, loops.load("y0", place(above)))
            loops.b.insert(scf.ConditionOp(loops.b.insert(arith.AndIOp(some, worse)).result, spot))
            loops.b = Builder(InsertPoint.at_end(after))
            (spot,) = after.args
            before_spot = loops.sub(spot, one)

            def down() -> None:
                loops.store(loops.load("y0", place(before_spot)), "y0", place(spot))
                loops.store(loops.load("y1", place(before_spot)), "y1", place(spot))

            loops.branch(loops.compare(spot, most, "slt"), down)
            loops.b.insert(scf.YieldOp(before_spot))
            loops.b = outer
            found = loops.b.insert(scf.WhileOp([filled], [index], [before], [after])).results[0]

            def keep() -> None:
                loops.store(x, "y0", place(found))
                number = loops.b.insert(arith.IndexCastOp(i, i64)).result
                loops.store(number, "y1", place(found))

            loops.branch(loops.compare(found, most, "slt"), keep)

        loops.branch(loops.compare(most, zero, "sgt"), lambda: loops.loop(zero, size, element))

    loops.nest([e for a, e in enumerate(shape) if a != axis], line)
    return *loops.finish(), [n for n, _, _ in buffers]


def _arg_max_window(op: ArgMaxWindowOp, name: str) -> tuple[Kernel, list[Extent], list[str]]:
    """y[p] = the flat position in x of the first largest element that the window at p covers, -1 where it covers none."""
    buffers, shape = _buffers(op), shape_of(op.x)
    loops = Loops(name, buffers, [lo for lo, _ in op.padding])
    dtype = dtype_of(op.x)

    def window(at: list[SSAValue]) -> None:
        loops.store(scalar.constant(loops.b, "i64", -1), "y0", at)

        def tap(taps: list[SSAValue]) -> None:
            where, inside = [], scalar.constant(loops.b, "bool", True)
            for axis, size in enumerate(shape):
                stride, dilation = op.strides.get_values()[axis], op.dilations.get_values()[axis]
                far = loops.b.insert(arith.MuliOp(at[axis], loops.const(stride))).result
                near = loops.b.insert(arith.MuliOp(taps[axis], loops.const(dilation))).result
                spot = loops.sub(loops.add(far, near), loops.extent(op.padding[axis][0]))
                for fine in (
                    loops.compare(spot, loops.const(0), "sge"),
                    loops.compare(spot, loops.extent(size), "slt"),
                ):
                    inside = loops.b.insert(arith.AndIOp(inside, fine)).result
                where.append(spot)

            def consider() -> None:
                flat: SSAValue = loops.const(0)
                for spot, size in zip(where, shape, strict=True):
                    flat = loops.add(loops.b.insert(arith.MuliOp(flat, loops.extent(size))).result, spot)
                best = loops.load("y0", at)
                none = loops.b.insert(arith.CmpiOp(best, scalar.constant(loops.b, "i64", 0), "slt")).result
                rest: SSAValue = loops.b.insert(arith.IndexCastOp(best, index)).result
                rest = loops.b.insert(arith.MaxSIOp(rest, loops.const(0))).result
                held: list[SSAValue] = []
                for size in reversed(shape):
                    held.insert(0, loops.b.insert(arith.RemUIOp(rest, loops.extent(size))).result)
                    rest = loops.b.insert(arith.DivUIOp(rest, loops.extent(size))).result
                x, kept = loops.load("x0", where), loops.load("x0", held)
                more = scalar.compare("ogt", "sgt", "ugt")(loops.b, dtype, x, kept)
                taken = loops.b.insert(arith.OrIOp(more, none)).result
                number = loops.b.insert(arith.IndexCastOp(flat, i64)).result
                loops.store(scalar.select(loops.b, taken, number, best), "y0", at)

            loops.branch(inside, consider)

        loops.nest(list(op.window.get_values()), tap)

    loops.nest(shape_of(op.result), window)
    return *loops.finish(), [n for n, _, _ in buffers]


def _nonzero(op: NonZeroOp, name: str) -> tuple[Kernel, list[Extent], list[str]]:
    """n = 0; for i: y0[n] = i, n += x[i]; then zeros from n on. Every position is written, and stays where it counts: no branch."""
    buffers = _buffers(op)
    loops = Loops(name, buffers)
    size = loops.extent(shape_of(op.flags)[0])

    def step(i: SSAValue, found: SSAValue) -> SSAValue:
        loops.store(loops.b.insert(arith.IndexCastOp(i, i64)).result, "y0", [found])
        one = scalar.cast(loops.b, "bool", "i64", loops.load("x0", [i]))
        return loops.add(found, loops.b.insert(arith.IndexCastOp(one, index)).result)

    found = loops.fold(loops.const(0), size, loops.const(0), step)
    loops.loop(found, size, lambda i: loops.store(scalar.constant(loops.b, "i64", 0), "y0", [i]))
    loops.store(loops.b.insert(arith.IndexCastOp(found, i64)).result, "y1", [])
    return *loops.finish(), [n for n, _, _ in buffers]
