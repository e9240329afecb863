"""Kernels written as plain loops: ops whose stores go where data or run-time offsets say, or whose steps depend on each other.

cumulative, window_put, and the border of a padded tensor; choice.py has those that order or choose, scatter.py has scatter.
"""

from __future__ import annotations

from math import prod

from xdsl.dialects import arith
from xdsl.ir import SSAValue

from mlc.errors import InternalError
from mlc.ir.dims import Extent
from mlc.ir.graph import scalar
from mlc.ir.graph.base import GraphOp
from mlc.ir.graph.constants import ConstantOp
from mlc.ir.graph.control import GroupOp, YieldOp
from mlc.ir.graph.counted import NonZeroOp
from mlc.ir.graph.detection import NonMaxSuppressionOp
from mlc.ir.graph.index import ScatterOp
from mlc.ir.graph.parts import PadOp
from mlc.ir.graph.pick import WindowPutOp
from mlc.ir.graph.reduce import CumulativeOp, TopKOp
from mlc.ir.kernel.kernel import Kernel
from mlc.ir.types import dtype_of, is_half, shape_of
from mlc.passes.kernel.choice import non_max_suppression, nonzero, top_k
from mlc.passes.kernel.nest import Loops, Written, buffers_of
from mlc.passes.kernel.scatter import scatter


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


def write_plain(op: GraphOp, name: str) -> Written:
    """The kernel, what its index arguments stand for, and its buffers in order: operands of the op, then results."""
    match op:
        case ScatterOp():
            return scatter(op, name)
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
    """A kernel that writes the constant border of a padded tensor, box by box, and leaves the inside alone. Where elements lie
    between those of x it writes everything: x is copied over it. Threads share one axis."""
    assert isinstance(op.value.owner, ConstantOp)
    value, inside, shape = op.value.owner.value.item(), shape_of(op.x), shape_of(op.result)
    low, high = op.low.extents(), op.high.extents()
    behind = [lo + size for lo, size in zip(low, inside, strict=True)]
    loops = Loops(name, [("y0", shape, dtype_of(op.x))], [*low, *high, *behind, *inside])
    fixed = [axis for axis, size in enumerate(shape) if isinstance(size, int) and size > 1]
    shared = fixed[0] if fixed else 0
    begin, end = loops.range(shape[shared])
    write = lambda at: loops.store(scalar.constant(loops.b, dtype_of(op.x), value), "y0", at)
    if any(op.between):
        bounds = [(loops.const(0), loops.extent(e)) for e in shape]
        bounds[shared] = begin, end
        loops.box(bounds, write, apart=shared != len(bounds) - 1)
        return loops.finish("it fills the border of a padded tensor")
    for axis in range(len(inside)):
        for start, stop, size in ((0, low[axis], low[axis]), (behind[axis], shape[axis], high[axis])):
            if size == 0:
                continue
            before = list(zip(low[:axis], behind[:axis], strict=True))
            after: list[tuple[Extent, Extent]] = [(0, e) for e in shape[axis + 1 :]]
            bounds = [(loops.extent(first), loops.extent(last)) for first, last in (*before, (start, stop), *after)]
            first, last = bounds[shared]
            bounds[shared] = loops.most(first, begin), loops.least(last, end)
            loops.box(bounds, write, apart=shared != len(bounds) - 1)
    return loops.finish("it fills the border of a padded tensor")


# A row of columns that a thread takes of a cumulative op: long enough for vectors, short enough to share.
COLUMNS = 64


def _cumulative(op: CumulativeOp, name: str) -> Written:
    """total = 0; for i along the axis: y[i] = total (exclusive) or total + x[i]; total += x[i]. f16 and bf16 totals are f32.

    Threads share the other axes. Where there are axes behind it, a step goes through a row of them at once, with y as the total so far.
    """
    buffers, axis, shape = buffers_of(op), op.axis.value.data, shape_of(op.x)
    loops = Loops(name, buffers)
    dtype = dtype_of(op.x)
    wide = "f32" if is_half(dtype) else dtype
    fold, start = scalar.reduction(op.kind.data)
    exclusive = bool(op.exclusive.value.data)

    def along(i: SSAValue) -> SSAValue:
        last = loops.sub(loops.extent(shape[axis]), loops.const(1))
        return loops.sub(last, i) if op.reverse.value.data else i

    def line(at: list[SSAValue]) -> None:
        def step(i: SSAValue, total: SSAValue) -> SSAValue:
            there = [*at[:axis], along(i), *at[axis:]]
            after = fold(loops.b, wide, total, scalar.cast(loops.b, dtype, wide, loops.load("x0", there)))
            loops.store(scalar.cast(loops.b, wide, dtype, total if exclusive else after), "y0", there)
            return after

        loops.fold(loops.const(0), loops.extent(shape[axis]), scalar.constant(loops.b, wide, start(wide)), step)

    def rows(at: list[SSAValue]) -> None:
        *at, first, last = at
        zero, one, size = loops.const(0), loops.const(1), loops.extent(shape[axis])

        def place(i: SSAValue, column: SSAValue) -> list[SSAValue]:
            return [*at[:axis], along(i), *at[axis:], column]

        def begin(column: SSAValue) -> None:
            total = scalar.constant(loops.b, dtype, start(dtype))
            total = total if exclusive else fold(loops.b, dtype, total, loops.load("x0", place(zero, column)))
            loops.store(total, "y0", place(zero, column))

        def step(i: SSAValue) -> None:
            before = loops.sub(i, one)

            def column(c: SSAValue) -> None:
                x = loops.load("x0", place(before if exclusive else i, c))
                loops.store(fold(loops.b, dtype, loops.load("y0", place(before, c)), x), "y0", place(i, c))

            loops.loop(first, last, column, apart=True)

        loops.loop(zero, loops.least(size, one), lambda _: loops.loop(first, last, begin, apart=True))
        loops.loop(one, size, step)

    if axis < len(shape) - 1 and wide == dtype:
        loops.shared([*shape[:axis], *shape[axis + 1 : -1]], rows, shape[-1], COLUMNS)
    else:
        loops.shared([e for a, e in enumerate(shape) if a != axis], line)
    return *loops.finish(), [n for n, _, _ in buffers]


def _window_put(op: WindowPutOp, name: str) -> Written:
    """y = 0; y[the element of window p that places[p] names] += values[p], image by image where the first axes have windows of one element."""
    if any(e != 0 for pair in op.padding for e in pair):
        raise InternalError("outline: window_put reaches into padding; run expand-padding first")
    buffers, dtype, shape = buffers_of(op), dtype_of(op.result), shape_of(op.result)
    loops = Loops(name, buffers)
    window, strides, dilations = (p.get_values() for p in (op.window, op.strides, op.dilations))
    apart = next((a for a, w in enumerate(window) if w > 1 or strides[a] > 1), len(window))
    channels = apart < len(window) - 1 and window[-1] == strides[-1] == 1  # what the last axis has stays apart
    add, _ = scalar.reduction("sum")
    times = lambda x, by: x if by == 1 else loops.b.insert(arith.MuliOp(x, loops.const(by))).result

    def image(outer: list[SSAValue]) -> None:
        zero = lambda at: loops.store(scalar.constant(loops.b, dtype, 0), "y0", [*outer, *at])
        loops.nest(shape[apart:], zero, apart=channels)

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

        loops.nest(shape_of(op.values)[apart:], put, apart=channels)

    loops.shared(shape[:apart], image)
    return *loops.finish(), [n for n, _, _ in buffers]
