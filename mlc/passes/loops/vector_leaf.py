"""The vector leaf: the ops of one innermost tile become explicit vector code.

Loops named in `unroll` vanish into registers, one loop runs across lanes, the others stay loops:

    linalg.generic {loops = {m = 2, n = 32, k = 768}} ins(%A, %B) outs(%acc)         // leaf Vector(n x 16, unroll m*n)
->  %0:4 = scf.for %k = 0 to 768 step 1 iter_args(4 x vector<16xf32>) {
      %b0 = vector.load %B[%k, 0];  %b1 = vector.load %B[%k, 16]
      %a0 = memref.load %A[0, %k];  vector.broadcast;  vector.fma ... }

A run-time extent {k = "K"} is the bound of a loop; one across the lanes ends in a masked vector, and so does a tile whose views say that only
%n_valid of its columns are there. Each comes in as an index argument of the function.

Values of temporaries never reach memory: `registers` maps (temporary, position) to the value last written there. That one rule keeps the
accumulators in registers over the reduction and hands them to the epilogue. A temporary that a loop fills and another loop reads is a row
of scratch that the kernel passes in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
from xdsl.dialects import arith
from xdsl.dialects.builtin import VectorType
from xdsl.dialects.linalg.attrs import IteratorType
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import BlockArgument, Operation, SSAValue

from mlc.ir.dims import Dim
from mlc.ir.kernel.kernel import Kernel, float_attr, loops_of
from mlc.ir.kernel.located import Builder, located
from mlc.ir.kernel.schedule import Vector
from mlc.ir.kernel.vector_ops import DotBytes
from mlc.passes.loops.body import BodyOps, apply
from mlc.passes.loops.byte_products import byte_factors, quad_of
from mlc.passes.loops.lanes import NEUTRAL, Lanes
from mlc.passes.loops.operand import Chunk, Operand, Point
from mlc.passes.loops.refused import Refused
from mlc.passes.loops.scf_blocks import for_loop
from mlc.passes.loops.sums import add_piece, is_sum, long_loop, loop_of_pieces, settled
from mlc.passes.loops.tiling_rule import obstacle


@dataclass
class Tile:
    """What the steps of one tile share. `buffers`: operand -> its argument of the function, or itself for a temporary in registers."""

    function: Kernel
    leaf: Vector
    lanes: Lanes
    buffers: Mapping[SSAValue, SSAValue]
    constants: Mapping[SSAValue, np.ndarray]
    registers: dict[tuple[SSAValue, tuple[int, ...]], SSAValue] = field(default_factory=dict)
    around: dict[str, SSAValue] = field(default_factory=dict)  # loops around all steps, and where they stand

    def lower(self, b: Builder, run: Sequence[GenericOp]) -> None:
        steps = [LeafOp(self, op) for op in run]
        if (name := loop_around(steps)) is not None:
            const, stop = self.function.const, self.function.extent(steps[0].extents[name])

            def fill(b: Builder, iv: SSAValue) -> None:
                replace(self, registers={}, around={**self.around, name: iv}).lower(b, run)

            b.insert(for_loop(const(0), stop, const(1), name, fill))
            return
        for group in jammed(steps):
            with located(max((step.op for step in group), key=lambda op: len(loops_of(op)))):
                if group[0].across_looped or group[0].reduces_across:
                    AcrossLoop(group).lower(b)
                else:
                    group[0].lower(b)

    def in_registers(self, value: SSAValue) -> bool:
        return self.buffers.get(value) is value


def jammed(steps: Sequence[LeafOp]) -> Iterator[list[LeafOp]]:
    """Neighbouring loops over the vector loop become one, unless the later needs the earlier's reduction."""
    group: list[LeafOp] = []
    for step in steps:
        same = bool(group) and all(
            s.across_looped and not s.sequential and s.extents == group[0].extents and s.may_precede(step)
            for s in (*group, step)
        )
        if group and not same:
            yield group
            group = []
        group = [*group, step]
    if group:
        yield group


def loop_around(steps: Sequence[LeafOp]) -> str | None:
    """A loop that all steps have, that none unrolls or reduces over, and that they may run through together."""
    for name in steps[0].sequential:
        shared = all(name in s.sequential and name in s.result_loops and name not in s.reduced for s in steps)
        if shared and obstacle([s.op for s in steps], [name]) is None:
            return name
    return None


def rows_of_scratch(run: Sequence[GenericOp], temporaries: Sequence[SSAValue], leaf: Vector) -> list[SSAValue]:
    """The temporaries of a tile that one loop fills and another reads."""
    shell = Tile(None, leaf, None, {v: v for v in temporaries}, {})  # type: ignore[arg-type]
    while name := loop_around(steps := [LeafOp(shell, op) for op in run]):
        shell.around[name] = None  # type: ignore[assignment]
    groups = list(jammed(steps))
    found = []
    for group in groups:
        for step in group:
            value = step.op.outputs[0]
            if value not in temporaries or not step.across_looped or not step.spans_result:
                continue
            if any(value in other.op.operands for g in groups if g is not group for other in g):
                found.append(value)
    return list(dict.fromkeys(found))


class LeafOp:
    """One structured op of a tile."""

    def __init__(self, tile: Tile, op: GenericOp):
        self.tile, self.op, self.leaf, self.lanes = tile, op, tile.leaf, tile.lanes
        self.extents = loops_of(op)
        self.names = list(self.extents)
        kinds = dict(zip(self.names, (kind.data for kind in op.iterator_types.data), strict=True))
        self.across = across = next((n for n in self.leaf.loops if n in self.names), None)
        fixed = {n for n, extent in self.extents.items() if isinstance(extent, int)}
        self.unrolled = [n for n in self.names if n in self.leaf.unroll and n != across and n in fixed]
        self.across_looped = across is not None and (across not in self.leaf.unroll or across not in fixed)
        self.quad = quad_of(op)  # a loop that vanishes into an instruction
        self.unrolled = [n for n in self.unrolled if n != self.quad]
        inside = (*self.unrolled, across, self.quad)
        self.sequential = [n for n in self.names if n not in inside and n not in tile.around]
        self.reduced = {name for name, kind in kinds.items() if kind is IteratorType.REDUCTION}
        self.reduces_across = across is not None and kinds[across] is IteratorType.REDUCTION
        self.operands = [Operand(self, number) for number in range(len(op.operands))]
        self.result = self.operands[-1]
        self.fetched = self.operands[-2] if "fetches" in op.attributes else None
        self.result_loops = {n for form in self.result.access for n in form.terms}
        self.spans_result = self.result.spans
        looped = [*self.sequential, *([across] if self.across_looped and across else [])]
        self.carries = (bool(looped) or self.reduces_across) and not self.result_loops & set(looped)
        if self.carries and not looped and self.reduces_across and across in self.result_loops:
            raise Refused(f"'{self.result.value.name_hint}' is indexed by a loop that reduces")
        folded = [n for n in self.unrolled if n not in self.result_loops]
        if self.carries and folded:
            raise Refused(
                f"'{self.result.value.name_hint}' is reduced over {folded[0]}, which is unrolled, and over {', '.join(n for n in looped if n not in self.result_loops)}, which is not"
            )
        self.body = BodyOps(op)
        factors = {arg.index for arg in self.body.factors() if isinstance(arg, BlockArgument)}
        self.scales = [
            self.operands[n] for n in factors if self.operands[n].constant is not None
        ]  # of what is added up
        self.by_pieces = self.carries and self.leaf.pieces > 0 and is_sum(op)

    def may_precede(self, later: LeafOp) -> bool:
        """In one loop: does `later` read what this step writes only where it was just written, and no unfinished reduction?"""
        target = self.result.value
        reads = [operand.access for operand in later.operands if operand.value is target]
        writes_back = any(operand.value is later.result.value for operand in self.operands[:-1])
        if later is self:
            return True
        if writes_back and any(o.access != later.result.access for o in self.operands if o.value is later.result.value):
            return False
        return not reads or (not self.carries and all(read == self.result.access for read in reads))

    # Loops -----------------------------------------------------------------------------------------------------------
    def lower(self, b: Builder) -> None:
        """The register tile is points x chunks; the sequential loops run around it and carry its accumulators."""
        chunks: list[Chunk | None] = [None]
        if self.across is not None:
            extent = self.extents[self.across]
            assert isinstance(extent, int)
            chunks = [*self.chunks(0, extent, None)]
        grid = [(point, chunk) for point in self.points() for chunk in chunks]
        if not self.carries:
            self.nest(b, self.sequential, {}, lambda b, ivs, _: self.evaluate(b, grid, ivs, None, {}), [])
            return
        first = [self.result.current(b, point, chunk) for point, chunk in grid]
        if self.by_pieces and any(long_loop(self.extents[name], self.leaf.pieces) for name in self.sequential):
            last = self.sum_of_pieces(b, grid, first)
            for (point, chunk), value in zip(grid, last, strict=True):
                self.result.write(b, point, chunk, {}, value, {})
            return
        last = self.nest(b, self.sequential, {}, lambda b, ivs, acc: self.evaluate(b, grid, ivs, acc, {}), first)
        for (point, chunk), value in zip(grid, last, strict=True):
            self.result.write(b, point, chunk, {}, value, {})

    def sum_of_pieces(
        self, b: Builder, grid: Sequence[tuple[Point, Chunk | None]], first: Sequence[SSAValue]
    ) -> list[SSAValue]:
        """The innermost loop adds up a piece from zero; the loops around it add the pieces, with the errors of these additions."""
        *outer, inner = self.sequential
        extent, const, function = self.extents[inner], self.tile.function.const, self.tile.function
        nothing = [self.zero(value) for value in first]

        def add(b: Builder, acc: Sequence[SSAValue], pieces: Sequence[SSAValue]) -> list[SSAValue]:
            totals, lost = acc[: len(grid)], acc[len(grid) :]
            added = [add_piece(b, self.lanes, *three) for three in zip(totals, lost, pieces, strict=True)]
            return [*(total for total, _ in added), *(rest for _, rest in added)]

        def innermost(b: Builder, ivs: Mapping[str, SSAValue], acc: list[SSAValue]) -> list[SSAValue]:
            def piece(b: Builder, start: SSAValue, stop: SSAValue, acc: Sequence[SSAValue]) -> list[SSAValue]:
                def fill(b: Builder, iv: SSAValue, *part: SSAValue) -> list[SSAValue]:
                    return self.evaluate(b, grid, {**ivs, inner: iv}, part, {})

                return add(b, acc, b.insert(for_loop(start, stop, const(1), inner, fill, nothing)).results)

            bounds = const(0), function.extent(extent)
            if not long_loop(extent, self.leaf.pieces):
                return piece(b, *bounds, acc)
            return loop_of_pieces(b, bounds, const(self.leaf.pieces), inner, piece, acc)

        last = self.nest(b, outer, {}, innermost, [*first, *nothing])
        return [settled(b, self.lanes, *pair) for pair in zip(last[: len(grid)], last[len(grid) :], strict=True)]

    def zero(self, like: SSAValue) -> SSAValue:
        if isinstance(like.type, VectorType):
            return self.lanes.splat(0.0)
        return self.tile.function.number(float_attr(0.0, self.lanes.element))

    def chunks(self, start: int, stop: int, iv: SSAValue | None) -> list[Chunk]:
        width = self.lanes.width
        valid = self.tile.function.extents.get(f"{self.across}_valid") if iv is None else None
        found = [Chunk(p, iv, min(width, stop - p)) for p in range(start, stop, width)]
        if valid is not None and found:  # known at run time only: the last vector is masked
            for place in (
                range(len(found)) if self.lanes.over_threads else (-1,)
            ):  # a tile on a grid may end in any of them
                position = found[place].position
                left = self.once("left", arith.SubiOp, valid, position) if position else valid
                if self.lanes.over_threads and position:
                    left = self.once("some", arith.MaxSIOp, left, 0)
                found[place] = Chunk(position, None, left)
        return found

    def once(
        self, what: str, op: Callable[[SSAValue, SSAValue], Operation], lhs: SSAValue, rhs: SSAValue | int
    ) -> SSAValue:
        """Index arithmetic at the entry of the leaf."""
        right = rhs if isinstance(rhs, SSAValue) else self.tile.function.const(rhs)
        value = self.tile.function.shared((what, lhs, right), lambda: op(lhs, right))
        value.name_hint = f"{(self.across or '').replace('.', '_')}_{what}"
        return value

    def nest(
        self, b: Builder, names: Sequence[str], ivs: Mapping[str, SSAValue], body: Callable, carried: list[SSAValue]
    ) -> list[SSAValue]:
        if not names:
            return body(b, ivs, carried) or []
        name, rest = names[0], names[1:]
        const, extent = self.tile.function.const, self.tile.function.extent

        def fill(b: Builder, iv: SSAValue, *acc: SSAValue) -> list[SSAValue]:
            return self.nest(b, rest, {**ivs, name: iv}, body, list(acc))

        return list(b.insert(for_loop(const(0), extent(self.extents[name]), const(1), name, fill, carried)).results)

    def combine(self, b: Builder, lhs: SSAValue, rhs: SSAValue) -> SSAValue:
        """Two partial results of a reduction folded into one."""
        return apply(b, self.lanes, self.combiner, [lhs, rhs])

    @property
    def combiner(self) -> Operation:
        """The op that folds a new value into the result."""
        op, out = self.body.result.owner, self.body.block.args[-1]
        if not isinstance(op, Operation) or type(op) not in NEUTRAL or out not in op.operands or not out.has_one_use():
            raise Refused(f"the reduction into '{self.result.value.name_hint}' is no sum, product, maximum or minimum")
        return op

    def points(self) -> list[Point]:
        ranges = [range(extent) for n in self.unrolled if isinstance(extent := self.extents[n], int)]
        return [dict(zip(self.unrolled, position, strict=True)) for position in product(*ranges)]

    # One point -------------------------------------------------------------------------------------------------------
    def evaluate(
        self,
        b: Builder,
        grid: Sequence[tuple[Point, Chunk | None]],
        ivs: Mapping[str, SSAValue],
        acc: Sequence[SSAValue] | None,
        seen: dict,
    ) -> list[SSAValue]:
        """The scalar body at every point of the grid; an element in `seen` is not read again."""
        with located(self.op):
            return self._evaluated(b, grid, ivs, acc, seen)

    def _evaluated(
        self,
        b: Builder,
        grid: Sequence[tuple[Point, Chunk | None]],
        ivs: Mapping[str, SSAValue],
        acc: Sequence[SSAValue] | None,
        seen: dict,
    ) -> list[SSAValue]:
        results = []
        arguments = self.body.block.args
        if acc is None:  # where a constant factor is 0 nothing is added
            grid = [(point, chunk) for point, chunk in grid if all(scale.at(point, chunk) for scale in self.scales)]
        last: dict[object, int] = {}  # points that are folded into one element: the number of the last of them
        if acc is None and self.reduced:
            last = {self.result.place(point, chunk): number for number, (point, chunk) in enumerate(grid)}
        if self.fetched is not None:
            self.fetched.fetch(b, ivs)
        for number, (point, chunk) in enumerate(grid):
            values: dict[SSAValue, SSAValue] = {}
            for operand, arg in zip(self.operands, arguments, strict=True):
                if not arg.uses.get_length():
                    continue
                if operand is self.result and acc is not None:
                    values[arg] = acc[number]
                elif operand is not self.result and self.quad is not None:
                    values[arg] = operand.read_words(b, point, chunk, ivs, seen)
                else:
                    values[arg] = operand.read(b, point, chunk, ivs, seen)
            if self.quad is not None:
                result = self.dot(b, values)
            else:
                result = self.body.evaluate(b, self.lanes, values, self.tile.buffers)
            if acc is None:
                final = not last or last[self.result.place(point, chunk)] == number
                self.result.write(b, point, chunk, ivs, result, seen, final)
            elif chunk is not None and chunk.valid != self.lanes.width and self.reduces_across:
                results.append(self.lanes.blend(b, self.lanes.broadcast(b, result), acc[number], chunk.valid))
            else:
                results.append(self.lanes.broadcast(b, result) if chunk is not None else result)
        return results

    def dot(self, b: Builder, values: Mapping[SSAValue, SSAValue]) -> SSAValue:
        """Four products of bytes in each lane, and the sum so far."""
        factors = byte_factors(self.op)
        assert factors is not None
        unsigned, signed = (self.body.block.args[number] for number, _ in sorted(factors, key=lambda f: f[1]))
        acc = self.lanes.broadcast(b, values[self.body.block.args[-1]])
        return b.insert(DotBytes(values[unsigned], values[signed], acc)).result


class AcrossLoop:
    """A loop over the vector loop itself, shared by a group: `interleave` vectors per step, then the rest, masked at the end.

    A static rest is unrolled; a run-time one is a loop over single vectors and one vector, full or not, with a mask."""

    def __init__(self, group: list[LeafOp]):
        self.group, self.first = group, group[0]
        self.lanes, self.function = self.first.lanes, self.first.tile.function
        self.points = self.first.points()
        across = self.first.across
        assert across is not None
        self.name, self.extent = across, self.first.extents[across]
        looped = self.first.across_looped
        assert looped or isinstance(self.extent, int)
        whole = 0 if isinstance(self.extent, Dim) else self.extent
        self.per_point = self.first.leaf.interleave if looped else max(1, -(-whole // self.lanes.width))
        self.carrying = [s for s in group if s.carries]
        for s in self.carrying:
            if not s.reduces_across:
                raise Refused(f"'{s.result.value.name_hint}' would be carried across the lanes")
        self.carried = [
            self.lanes.splat(NEUTRAL[type(s.combiner)])
            for s in self.carrying
            for _ in range(len(self.points) * self.per_point)
        ]
        count = len(self.points) * self.per_point
        self.summed = [s.by_pieces for s in self.carrying for _ in range(count)]
        self.lost: dict[int, SSAValue] = {}  # number of an accumulator -> what its additions of pieces lost

    def lower(self, b: Builder) -> None:
        const, step, width = self.function.const, self.per_point * self.lanes.width, self.lanes.width
        if isinstance(self.extent, Dim):
            once, total = self.first.once, self.function.extent(self.extent)
            before = once("before", arith.SubiOp, once("some", arith.MaxSIOp, total, const(1)), 1)
            whole = once("whole", arith.MuliOp, once("vectors", arith.DivUIOp, before, width), width)
            steps = once("stepped", arith.MuliOp, once("steps", arith.DivUIOp, whole, step), step)
            self.loop(b, const(0), steps, self.per_point)
            if self.per_point > 1:
                self.loop(b, steps, whole, 1)
            last = [Chunk(0, whole, once("left", arith.SubiOp, total, whole))]
            self.part(1, lambda acc: self.body(b, last, acc))
        else:
            partial = (
                f"{self.name}_valid" in self.function.extents
            )  # the last vector is masked, and no step of the loop
            end = (self.extent - partial) // step * step if self.first.across_looped else 0
            if end:
                self.loop(b, const(0), const(end), self.per_point)
            if end < self.extent:
                rest = self.first.chunks(end, self.extent, None)
                self.part(len(rest), lambda acc: self.body(b, rest, acc))
        for n, lost in self.lost.items():
            self.carried[n] = settled(b, self.lanes, self.carried[n], lost)
        for s in self.carrying:
            for p in self.points:
                total, *parts = [self.carried.pop(0) for _ in range(self.per_point)]
                for part in parts:
                    total = s.combine(b, total, part)
                scalar = self.lanes.horizontal(b, total, s.combiner)
                s.result.write(b, p, None, {}, s.combine(b, s.result.current(b, p, None), scalar), {})

    def body(self, b: Builder, chunks: Sequence[Chunk], acc: Sequence[SSAValue]) -> list[SSAValue]:
        grid = [(point, chunk) for point in self.points for chunk in chunks]
        seen: dict = {}
        left, after = list(acc), []
        for s in self.group:
            mine = [left.pop(0) for _ in grid] if s.carries else []

            def evaluate(b: Builder, ivs: Mapping, acc: list, s: LeafOp = s) -> list[SSAValue]:
                return s.evaluate(b, grid, ivs, acc if s.carries else None, seen)

            after += s.nest(b, s.sequential, {}, evaluate, mine)
        return after

    def mine(self, vectors: int) -> list[int]:
        """The accumulators of a part of `vectors` per point: the first ones of each point."""
        return [n for n in range(len(self.carried)) if n % self.per_point < vectors]

    def part(self, vectors: int, run: Callable[[list[SSAValue]], Sequence[SSAValue]]) -> None:
        """Run a part of `vectors` per point: it carries on with the first accumulators of each point."""
        mine = self.mine(vectors)
        for n, value in zip(mine, run([self.carried[n] for n in mine]), strict=True):
            self.carried[n] = value

    def loop(self, b: Builder, start: SSAValue, stop: SSAValue, vectors: int) -> None:
        width = vectors * self.lanes.width

        def fill(b: Builder, iv: SSAValue, *acc: SSAValue) -> list[SSAValue]:
            return self.body(b, self.first.chunks(0, width, iv), acc)

        def run(acc: list[SSAValue]) -> Sequence[SSAValue]:
            return b.insert(for_loop(start, stop, self.function.const(width), self.name, fill, acc)).results

        summed = [n for n in self.mine(vectors) if self.summed[n]]
        length = self.first.leaf.pieces * width
        if vectors == self.per_point and summed and long_loop(self.extent, length):
            self.pieces(b, (start, stop), length, summed, fill)
        else:
            self.part(vectors, run)

    def pieces(
        self, b: Builder, bounds: tuple[SSAValue, SSAValue], length: int, summed: Sequence[int], fill: Callable
    ) -> None:
        """The loop over full steps, in which sums start anew with every piece."""
        const, width, nothing = self.function.const, length // self.first.leaf.pieces, self.lanes.splat(0.0)
        count = len(self.carried)

        def piece(b: Builder, start: SSAValue, stop: SSAValue, acc: Sequence[SSAValue]) -> list[SSAValue]:
            totals, lost = list(acc[:count]), list(acc[count:])
            first = [nothing if self.summed[n] else value for n, value in enumerate(totals)]
            found: list[SSAValue] = [*b.insert(for_loop(start, stop, const(width), self.name, fill, first)).results]
            for place, n in enumerate(summed):
                found[n], lost[place] = add_piece(b, self.lanes, totals[n], lost[place], found[n])
            return [*found, *lost]

        carried = [*self.carried, *(nothing for _ in summed)]
        found = loop_of_pieces(b, bounds, const(length), self.name, piece, carried)
        self.carried, rest = found[:count], found[count:]
        self.lost = dict(zip(summed, rest, strict=True))
