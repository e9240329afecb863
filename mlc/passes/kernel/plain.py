"""Kernels written as plain loops: ops whose stores go where data or run-time offsets say, or whose steps depend on each other.

scatter, cumulative, arg_max_window, and the border of a padded tensor; choice.py has those that order or choose.
"""

from __future__ import annotations

from xdsl.dialects import arith
from xdsl.dialects.builtin import i64
from xdsl.ir import SSAValue

from mlc.ir.dims import Extent
from mlc.ir.graph import scalar
from mlc.ir.graph.base import GraphOp
from mlc.ir.graph.control import GroupOp, YieldOp
from mlc.ir.graph.counted import NonZeroOp
from mlc.ir.graph.detection import NonMaxSuppressionOp
from mlc.ir.graph.index import ScatterOp
from mlc.ir.graph.reduce import CumulativeOp, TopKOp
from mlc.ir.graph.shape import ConstantOp, PadOp
from mlc.ir.graph.window import ArgMaxWindowOp
from mlc.ir.kernel.kernel import Kernel, index
from mlc.ir.types import dtype_of, is_half, shape_of
from mlc.passes.kernel.choice import non_max_suppression, nonzero, top_k
from mlc.passes.kernel.nest import Loops, Written, buffers_of


def plain_op(group: GroupOp) -> GraphOp | None:
    """The op of a group that must be written as plain loops, if it is one."""
    ops = [op for op in group.body.block.ops if not isinstance(op, (YieldOp, ConstantOp))]
    if len(ops) != 1:
        return None
    (op,) = ops
    match op:
        case ScatterOp() | CumulativeOp() | TopKOp() | ArgMaxWindowOp() | NonZeroOp() | NonMaxSuppressionOp():
            return op
    return None


def write_plain(op: GraphOp, name: str) -> Written:
    """The kernel, what its index arguments stand for, and its buffers in order: operands of the op, then results."""
    match op:
        case ScatterOp():
            return _scatter(op, name)
        case CumulativeOp():
            return _cumulative(op, name)
        case TopKOp():
            return top_k(op, name)
        case ArgMaxWindowOp():
            return _arg_max_window(op, name)
        case NonZeroOp():
            return nonzero(op, name)
        case NonMaxSuppressionOp():
            return non_max_suppression(op, name)
    raise NotImplementedError(op.name)


def write_border(op: PadOp, name: str) -> tuple[Kernel, list[Extent]]:
    """A kernel that writes the constant border of a padded tensor, slab by slab, and leaves the inside alone. Where elements lie between those
    of x it writes everything: x is copied over it."""
    assert isinstance(op.value.owner, ConstantOp)
    value, inside = op.value.owner.value.item(), shape_of(op.x)
    low, high = op.low.extents(), op.high.extents()
    behind = [lo + size for lo, size in zip(low, inside, strict=True)]
    loops = Loops(name, [("y0", shape_of(op.result), dtype_of(op.x))], [*low, *high, *behind, *inside])
    if any(op.between):
        loops.nest(
            shape_of(op.result), lambda at: loops.store(scalar.constant(loops.b, dtype_of(op.x), value), "y0", at)
        )
        return loops.finish()
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


def _scatter(op: ScatterOp, name: str) -> Written:
    """y = x; y[position of d] takes or folds in updates[d], in row-major order of d."""
    buffers = buffers_of(op)
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


def _cumulative(op: CumulativeOp, name: str) -> Written:
    """total = 0; for i along the axis: y[i] = total (exclusive) or total + x[i]; total += x[i]. f16 and bf16 totals are f32."""
    buffers, axis = buffers_of(op), op.axis.value.data
    loops = Loops(name, buffers)
    dtype = dtype_of(op.x)
    wide = "f32" if is_half(dtype) else dtype
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


def _arg_max_window(op: ArgMaxWindowOp, name: str) -> Written:
    """y[p] = the flat position in x of the first largest element that the window at p covers, -1 where it covers none."""
    buffers, shape = buffers_of(op), shape_of(op.x)
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
