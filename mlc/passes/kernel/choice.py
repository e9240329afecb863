"""Kernels that put elements in order, or choose among them: top_k, nonzero, non_max_suppression."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

from xdsl.dialects import arith
from xdsl.ir import SSAValue

from mlc.ir.graph import scalar
from mlc.ir.graph.counted import PART, NonZeroOp
from mlc.ir.graph.detection import NonMaxSuppressionOp
from mlc.ir.graph.reduce import TopKOp
from mlc.ir.types import dtype_of, is_float, shape_of
from mlc.passes.kernel.nest import Loops, Written, buffers_of


def top_k(op: TopKOp, name: str) -> Written:
    """A line is sorted where all of it is wanted; otherwise the best so far are kept in order while running through it."""
    buffers, axis = buffers_of(op), op.axis.value.data
    k, shape = op.k.extents()[0], shape_of(op.x)
    loops = Loops(name, buffers, [k])
    place = lambda at, i: [*at[:axis], i, *at[axis:]]
    if k == shape[axis]:
        loops.scratch("order", [2, k], "i64")
        line = lambda at: _sort(loops, op, lambda i: place(at, i))
    else:
        line = lambda at: _insert(loops, op, lambda i: place(at, i))
    loops.shared([e for a, e in enumerate(shape) if a != axis], line)
    return *loops.finish(), [n for n, _, _ in buffers]


def _better(loops: Loops, op: TopKOp, x: SSAValue, y: SSAValue) -> SSAValue:
    """Whether x comes before y. As numpy sorts: NaN is the largest."""
    dtype, largest = dtype_of(op.x), bool(op.largest.value.data)
    found = scalar.compare(*(("ogt", "sgt", "ugt") if largest else ("olt", "slt", "ult")))(loops.b, dtype, x, y)
    if not is_float(dtype):
        return found
    nan, had = (scalar.is_nan(loops.b, dtype, v) for v in ((x, y) if largest else (y, x)))
    fresh = loops.b.insert(arith.AndIOp(nan, scalar.invert(loops.b, "bool", had))).result
    return loops.b.insert(arith.OrIOp(found, fresh)).result


def _insert(loops: Loops, op: TopKOp, place: Callable[[SSAValue], list[SSAValue]]) -> None:
    """Insertion into the sorted best so far: element i goes behind the last kept one that is at least as good.

    O(n k) steps at worst; on random data most elements are worse than the last kept one and cost a comparison.
    """
    one, zero, most = loops.const(1), loops.const(0), loops.extent(op.k.extents()[0])

    def element(i: SSAValue) -> None:
        x = loops.load("x0", place(i))

        def climbs(spot: SSAValue) -> SSAValue:
            """While the kept one above is worse."""
            above = loops.b.insert(arith.MaxSIOp(loops.sub(spot, one), zero)).result
            worse = _better(loops, op, x, loops.load("y0", place(above)))
            return loops.b.insert(arith.AndIOp(loops.compare(spot, zero, "sgt"), worse)).result

        def down(spot: SSAValue) -> SSAValue:
            above = loops.sub(spot, one)

            def move() -> None:
                for kept in ("y0", "y1"):
                    loops.store(loops.load(kept, place(above)), kept, place(spot))

            loops.branch(loops.compare(spot, most, "slt"), move)
            return above

        found = loops.repeat(loops.b.insert(arith.MinSIOp(i, most)).result, climbs, down)

        def keep() -> None:
            loops.store(x, "y0", place(found))
            loops.store(loops.number(i), "y1", place(found))

        loops.branch(loops.compare(found, most, "slt"), keep)

    size = loops.extent(shape_of(op.x)[op.axis.value.data])
    loops.branch(loops.compare(most, zero, "sgt"), lambda: loops.loop(zero, size, element))


def _sort(loops: Loops, op: TopKOp, place: Callable[[SSAValue], list[SSAValue]]) -> None:
    """Merge sort of positions: runs of 1, 2, 4, ... are merged from one row of `order` to the other; of equals the first comes first."""
    one, zero, size = loops.const(1), loops.const(0), loops.extent(op.k.extents()[0])
    last = loops.sub(size, one)
    pick = lambda condition, x, y: scalar.select(loops.b, condition, x, y)
    least = lambda x, y: loops.b.insert(arith.MinSIOp(x, y)).result
    shifted = lambda x, by: loops.b.insert(arith.ShLIOp(x, by)).result
    loops.loop(zero, size, lambda i: loops.store(loops.number(i), "order", [zero, i]))

    def merge(step: SSAValue) -> SSAValue:
        """Runs of 2**step, which lie in row step % 2."""
        source = loops.b.insert(arith.AndIOp(step, one)).result
        target, width = loops.sub(one, source), shifted(one, step)
        position = lambda i: loops.number(loops.load("order", [source, least(i, last)]))

        def run(number: SSAValue) -> None:
            start = shifted(shifted(number, step), one)
            middle = least(loops.add(start, width), size)
            end = least(loops.add(middle, width), size)

            def take(i: SSAValue, left: SSAValue) -> SSAValue:
                right = loops.add(middle, loops.sub(loops.sub(i, start), loops.sub(left, start)))
                x, y = position(left), position(right)
                better = _better(loops, op, loops.load("x0", place(y)), loops.load("x0", place(x)))
                there = loops.b.insert(arith.AndIOp(better, loops.compare(right, end, "slt"))).result
                from_right = loops.b.insert(arith.OrIOp(there, loops.compare(left, middle, "sge"))).result
                loops.store(loops.number(pick(from_right, y, x)), "order", [target, i])
                return pick(from_right, left, loops.add(left, one))

            loops.fold(start, end, start, take)

        runs = loops.b.insert(arith.ShRSIOp(last, loops.add(step, one))).result
        loops.loop(zero, loops.add(runs, one), run)
        return loops.add(step, one)

    unsorted = lambda step: loops.compare(shifted(one, step), size, "slt")
    source = loops.b.insert(arith.AndIOp(loops.repeat(zero, unsorted, merge), one)).result

    def give(i: SSAValue) -> None:
        number = loops.load("order", [source, i])
        loops.store(loops.load("x0", place(loops.number(number))), "y0", place(i))
        loops.store(number, "y1", place(i))

    loops.loop(zero, size, give)


def nonzero(op: NonZeroOp, name: str) -> Written:
    """n = 0; for i: y0[n] = i, n += x[i]; then zeros from n on. Every position is written, and stays where it counts, up to the last.

    A thread counts what is set before its part, which takes a small part of the time that writing positions does; or it is told.
    """
    buffers = buffers_of(op)
    if op.before is not None:
        return _told(op, name)
    (extent,) = shape_of(op.flags)
    loops = Loops(name, buffers)
    size, zero = loops.extent(extent), loops.const(0)
    begin, end = loops.range(extent)
    count = lambda start, stop, first: loops.fold(
        start, stop, first, lambda i, found: loops.counted(found, loops.load("x0", [i]))
    )
    before = count(zero, begin, zero)
    after = count(begin, end, before)

    def step(i: SSAValue, found: SSAValue) -> SSAValue:
        write = lambda: loops.store(loops.number(i), "y0", [found])
        loops.branch(loops.compare(found, after, "slt"), write)
        return loops.counted(found, loops.load("x0", [i]))

    def rest() -> None:
        loops.loop(after, size, lambda i: loops.store(scalar.constant(loops.b, "i64", 0), "y0", [i]))
        loops.store(loops.number(after), "y1", [])

    loops.fold(begin, end, before, step)
    loops.branch(loops.compare(end, size, "eq"), rest)
    return *loops.finish(), [n for n, _, _ in buffers]


def _told(op: NonZeroOp, name: str) -> Written:
    """A thread has PART flags, and the same of the positions for zeros; the last one has none and gives the count."""
    buffers = buffers_of(op)
    (extent,), (told,) = shape_of(op.flags), shape_of(op.before)  # type: ignore[arg-type]
    loops = Loops(name, buffers)
    size, last = loops.extent(extent), loops.sub(loops.extent(told), loops.const(1))
    total = loops.number(loops.load("x1", [last]))

    def part(at: list[SSAValue]) -> None:
        (number,) = at
        start = loops.least(loops.times(number, loops.const(PART)), size)
        stop = loops.least(loops.add(start, loops.const(PART)), size)

        def step(i: SSAValue, found: SSAValue) -> SSAValue:
            flag = loops.load("x0", [i])
            loops.branch(flag, lambda: loops.store(loops.number(i), "y0", [found]))
            return loops.counted(found, flag)

        loops.fold(start, stop, loops.number(loops.load("x1", [number])), step)
        loops.loop(loops.most(start, total), stop, lambda i: loops.store(scalar.constant(loops.b, "i64", 0), "y0", [i]))
        loops.branch(loops.compare(number, last, "eq"), lambda: loops.store(loops.number(total), "y1", []))

    loops.shared([told], part)
    return *loops.finish(), [n for n, _, _ in buffers]


def non_max_suppression(op: NonMaxSuppressionOp, name: str) -> Written:
    """The best box that is left is kept, then those that overlap it are taken out, with it, until the slots are filled.

    A slot costs two passes over the boxes that are left, without sorting them. An empty row of boxes fills its slots with -1.
    """
    buffers = buffers_of(op)
    loops = Loops(name, buffers)
    _, _, size = shape_of(op.scores)
    zero = loops.const(0)
    greater, less = scalar.compare("ogt", "sgt", "ugt"), scalar.compare("olt", "slt", "ult")
    arithmetic = {"+": arith.AddfOp, "-": arith.SubfOp, "*": arith.MulfOp, "/": arith.DivfOp}
    loops.scratch("left", [size], "i64")

    def calc(x: SSAValue, how: str, y: SSAValue) -> SSAValue:
        return loops.b.insert(arithmetic[how](x, y)).result

    def both(*flags: SSAValue) -> SSAValue:
        return reduce(lambda x, y: loops.b.insert(arith.AndIOp(x, y)).result, flags)

    def extreme(x: SSAValue, y: SSAValue, better: scalar.ScalarFunction) -> SSAValue:
        return scalar.select(loops.b, better(loops.b, "f32", x, y), x, y)

    def overlap(batch: SSAValue, first: SSAValue, second: SSAValue) -> SSAValue:
        a, b = ([loops.load("x0", [batch, box, loops.const(k)]) for k in range(4)] for box in (first, second))
        sides = [calc(extreme(a[k + 2], b[k + 2], less), "-", extreme(a[k], b[k], greater)) for k in (0, 1)]
        shared = calc(sides[0], "*", sides[1])
        areas = [calc(calc(x[2], "-", x[0]), "*", calc(x[3], "-", x[1])) for x in (a, b)]
        union = calc(calc(areas[0], "+", areas[1]), "-", shared)
        none = scalar.constant(loops.b, "f32", 0)
        real = [greater(loops.b, "f32", x, none) for x in (*sides, shared, *areas, union)]
        return both(*real, greater(loops.b, "f32", calc(shared, "/", union), loops.load("x3", [])))

    def line(at: list[SSAValue]) -> None:
        def candidate(i: SSAValue, found: SSAValue) -> SSAValue:
            loops.store(loops.number(i), "left", [found])
            return loops.counted(found, loops.load("x2", [*at, i]))

        def slot(s: SSAValue, left: SSAValue) -> SSAValue:
            def best(j: SSAValue, kept: SSAValue) -> SSAValue:
                i = loops.number(loops.load("left", [j]))
                held = loops.b.insert(arith.MaxSIOp(kept, zero)).result
                more = greater(loops.b, "f32", loops.load("x1", [*at, i]), loops.load("x1", [*at, held]))
                better = loops.b.insert(arith.OrIOp(more, loops.compare(kept, zero, "slt"))).result
                return scalar.select(loops.b, better, i, kept)

            def survivor(j: SSAValue, found: SSAValue) -> SSAValue:
                i, kept = (loops.number(loops.load(*place)) for place in (("left", [j]), ("y0", [*at, s])))
                apart = scalar.invert(loops.b, "bool", overlap(at[0], kept, i))
                loops.store(loops.number(i), "left", [found])
                return loops.counted(found, both(apart, loops.compare(i, kept, "ne")))

            loops.store(loops.number(loops.fold(zero, left, loops.const(-1), best)), "y0", [*at, s])
            return loops.fold(zero, left, zero, survivor)

        found = loops.fold(zero, loops.extent(size), zero, candidate)
        loops.fold(zero, loops.extent(shape_of(op.result)[2]), found, slot)

    loops.shared(shape_of(op.scores)[:2], line)
    return *loops.finish(), [n for n, _, _ in buffers]
