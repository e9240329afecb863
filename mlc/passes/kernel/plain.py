"""Kernels written as plain loops: ops whose stores go where data or run-time offsets say, or whose steps depend on each other.

scatter, cumulative, window_put, and the border of a padded tensor; choice.py has those that order or choose.
"""

from __future__ import annotations

from math import prod

from xdsl.dialects import arith
from xdsl.ir import SSAValue

from mlc.errors import InternalError
from mlc.ir.dims import Extent
from mlc.ir.graph import scalar
from mlc.ir.graph.base import GraphOp
from mlc.ir.graph.control import GroupOp, YieldOp
from mlc.ir.graph.counted import NonZeroOp
from mlc.ir.graph.detection import NonMaxSuppressionOp
from mlc.ir.graph.index import ScatterOp
from mlc.ir.graph.pick import WindowPutOp
from mlc.ir.graph.reduce import CumulativeOp, TopKOp
from mlc.ir.graph.shape import ConstantOp, PadOp
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
        case ScatterOp() | CumulativeOp() | TopKOp() | WindowPutOp() | NonZeroOp() | NonMaxSuppressionOp():
            return op
    return None


def overwrites_alone(op: GraphOp, operand: SSAValue) -> bool:
    """Whether the kernel of an op may write its result over an operand: a scatter then leaves alone what it does not set."""
    return isinstance(op, ScatterOp) and operand is op.x and operand not in (op.indices, op.updates)


def write_plain(op: GraphOp, name: str, over: bool = False) -> Written:
    """The kernel, what its index arguments stand for, and its buffers in order: operands of the op, then results. `over`: the result lies
    where `overwrites_alone` allows it."""
    match op:
        case ScatterOp():
            return _scatter(op, name, over)
        case CumulativeOp():
            return _cumulative(op, name)
        case TopKOp():
            return top_k(op, name)
        case WindowPutOp():
            return _window_put(op, name)
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
        return loops.finish("it fills the border of a padded tensor")
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
    return loops.finish("it fills the border of a padded tensor")


def _scatter(op: ScatterOp, name: str, over: bool) -> Written:
    """y = x; y[position of d] takes or folds in updates[d], in row-major order of d. Without the first part where y is `over` x."""
    buffers = [row for row in buffers_of(op) if not (over and row[0] == "x0")]
    loops = Loops(name, buffers)
    dtype, kind = dtype_of(op.x), op.kind.data
    if not over:
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


def _window_put(op: WindowPutOp, name: str) -> Written:
    """y = 0; y[the element of window p that places[p] names] += values[p], image by image where the first axes have windows of one element."""
    if any(e != 0 for pair in op.padding for e in pair):
        raise InternalError("outline: window_put reaches into padding; run expand-padding first")
    buffers, dtype, shape = buffers_of(op), dtype_of(op.result), shape_of(op.result)
    loops = Loops(name, buffers)
    window, strides, dilations = (p.get_values() for p in (op.window, op.strides, op.dilations))
    apart = next((a for a, w in enumerate(window) if w > 1 or strides[a] > 1), len(window))
    add, _ = scalar.reduction("sum")
    times = lambda x, by: x if by == 1 else loops.b.insert(arith.MuliOp(x, loops.const(by))).result

    def image(outer: list[SSAValue]) -> None:
        zero = lambda at: loops.store(scalar.constant(loops.b, dtype, 0), "y0", [*outer, *at])
        loops.nest(shape[apart:], zero)

        def put(at: list[SSAValue]) -> None:
            at = [*outer, *at]
            number = loops.number(scalar.cast(loops.b, dtype_of(op.places), "i64", loops.load("x1", at)))
            number = loops.b.insert(arith.MinUIOp(number, loops.const(prod(window) - 1))).result
            where = list(at)
            for axis in reversed(range(len(window))):
                if window[axis] == 1:
                    where[axis] = times(at[axis], strides[axis])
                    continue
                tap = loops.b.insert(arith.RemUIOp(number, loops.const(window[axis]))).result
                number = loops.b.insert(arith.DivUIOp(number, loops.const(window[axis]))).result
                where[axis] = loops.add(times(at[axis], strides[axis]), times(tap, dilations[axis]))
            total = scalar.widened(add)(loops.b, dtype, loops.load("y0", where), loops.load("x0", at))
            loops.store(total, "y0", where)

        loops.nest(shape_of(op.values)[apart:], put)

    loops.nest(shape[:apart], image)
    return *loops.finish(), [n for n, _, _ in buffers]
