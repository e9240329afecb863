"""The two products of attention by the lanes of a warp: scores of queries and keys, and values by what scores have become.

A warp has 16 rows. Element (row, column) of its part of a product is in a register of one lane:

    ordinary cores    row = 4 (lane / 8) + i        column = 32 j + 4 (lane % 8) + e       [j, 4 i + e], i and e < 4
    tensor cores      row = 8 i + lane / 4          column = 8 j + 2 (lane % 4) + e        [j, 2 i + e], i and e < 2

On ordinary cores a lane reads four products' worth of a row at a time, which the lanes of that row share, and four columns; what scores have become
is read back from workgroup memory by the warp that wrote it. On tensor cores a register of scores is the register of the operand that they are
next: the order of keys in a sum is free.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xdsl.dialects import arith, memref, vector
from xdsl.dialects.builtin import f32, i32
from xdsl.ir import SSAValue
from xdsl.rewriter import InsertPoint

from mlc.ir.kernel.kernel import Kernel, buffer_type, type_of
from mlc.ir.kernel.located import Builder
from mlc.ir.kernel.schedule import Online, Stage
from mlc.ir.kernel.tensor_cores import FragmentOp, MmaOp, numbers_of
from mlc.ir.kernel.warp_ops import PairOp, SyncWarpOp
from mlc.passes.loops.attention_ops import AttentionOps
from mlc.passes.loops.lanes import vector_type
from mlc.passes.loops.refused import Refused
from mlc.passes.loops.scf_blocks import for_loop
from mlc.passes.loops.tensor_core_leaf import row
from mlc.passes.loops.unrolled import At, summed, unrolled

Staged = tuple[SSAValue, list[str | None]]  # workgroup memory, and the loop along each of its axes
AxisLoops = Sequence[str | None]
Factor = Callable[
    [SSAValue, SSAValue], tuple[SSAValue, list[SSAValue]]
]  # row and product, or product and column -> memory, place
ROWS = 16  # of a warp


@dataclass(frozen=True)
class Lanes:
    """Where the elements of a lane are: row = apart i + each (lane / across), column = stride j + width (lane % across) + e."""

    rows: int
    apart: int
    each: int
    across: int
    stride: int
    width: int


class Products(ABC):
    """`q`, `k`, `v`: the shape and layout of each in workgroup memory, from the loops along its axes."""

    lanes: Lanes

    def __init__(self, kernel: Kernel, leaf: Online, ops: AttentionOps, rows: int, d: int, e: int):
        self.kernel, self.leaf, self.ops = kernel, leaf, ops
        self.rows, self.d, self.e = rows, d, e
        self.arrays: dict[object, SSAValue] = {}
        const, lane, lanes = kernel.const, kernel.place("thread.x"), self.lanes
        self.member = kernel.shared("member", lambda: arith.RemUIOp(lane, const(lanes.across)))
        self.group = kernel.shared("group", lambda: arith.DivUIOp(lane, const(lanes.across)))
        warp = kernel.place("thread.y")
        of_warp = kernel.shared("rows", lambda: arith.MuliOp(warp, const(ROWS)))
        inside = kernel.shared("inside", lambda: arith.MuliOp(self.group, const(lanes.each)))
        self.first = kernel.shared("first_row", lambda: arith.AddiOp(of_warp, inside))
        for value, hint in ((self.member, "member"), (self.group, "group"), (self.first, "row")):
            value.name_hint = hint
        if leaf.keys % self.lanes.stride:
            raise Refused(f"{leaf}: tiles of keys are multiples of {self.lanes.stride}")
        self.check([type_of(operand.value).element_type for operand in (ops.q, ops.k, ops.v)])

    def columns(self, count: int) -> int:
        """Rounded up to what all lanes have."""
        return -(-count // self.lanes.stride) * self.lanes.stride

    @abstractmethod
    def check(self, types: Sequence[object]) -> None: ...
    @abstractmethod
    def q(self, loops: AxisLoops) -> tuple[list[int], Stage]: ...
    @abstractmethod
    def k(self, loops: AxisLoops) -> tuple[list[int], Stage]: ...
    @abstractmethod
    def v(self, loops: AxisLoops) -> tuple[list[int], Stage]: ...
    @abstractmethod
    def scores(self, b: Builder, s: SSAValue, q: Staged, k: Staged) -> None: ...
    @abstractmethod
    def mix(self, b: Builder, mixed: SSAValue, s: SSAValue, v: Staged) -> None: ...

    # Code -------------------------------------------------------------------------------------------------------------
    def laid(self, loops: AxisLoops, sizes: dict[str, int], last: str, pad: int) -> tuple[list[int], Stage]:
        """Axes of these sizes, that of the loop `last` innermost."""
        shape = [sizes[loop] if loop else 1 for loop in loops]
        order = [axis for axis, loop in enumerate(loops) if loop != last] + [list(loops).index(last)]
        plain = order == list(range(len(order)))
        return shape, Stage("workgroup", () if plain else tuple(order), pad)

    def at(self, staged: Staged, places: At) -> list[SSAValue]:
        return [places[loop] if loop else self.kernel.const(0) for loop in staged[1]]

    def array(self, name: str, shape: Sequence[int], element: object = f32) -> SSAValue:
        """Registers for both products, at the entry."""
        key = (name, *shape)
        if key not in self.arrays:
            op = memref.AllocOp([], [], buffer_type(list(shape), element, space="register"))  # type: ignore[arg-type]
            op.memref.name_hint = name
            self.arrays[key] = Builder(InsertPoint.at_start(self.kernel.block)).insert(op).memref
        return self.arrays[key]

    def load(self, b: Builder, value: SSAValue, at: Sequence[SSAValue]) -> SSAValue:
        return b.insert(memref.LoadOp.get(value, list(at))).results[0]

    def store(self, b: Builder, value: SSAValue, to: SSAValue, at: Sequence[SSAValue]) -> None:
        b.insert(memref.StoreOp.get(value, to, list(at)))


WIDE = 4  # elements of 16 bytes


class Cores(Products):
    lanes = Lanes(rows=4, apart=1, each=4, across=8, stride=32, width=WIDE)

    def check(self, types: Sequence[object]) -> None:
        if set(types) != {f32}:
            raise Refused(f"{self.leaf}: queries, keys and values are f32 where no instruction is named")
        self.depth = -(-self.d // WIDE) * WIDE

    def q(self, loops: AxisLoops) -> tuple[list[int], Stage]:
        return self.laid(loops, {self.ops.m: self.rows, self.ops.d: self.depth}, self.ops.d, 0)

    def k(self, loops: AxisLoops) -> tuple[list[int], Stage]:
        return self.laid(loops, {self.ops.t: self.leaf.keys, self.ops.d: self.depth}, self.ops.t, WIDE)

    def v(self, loops: AxisLoops) -> tuple[list[int], Stage]:
        return self.laid(loops, {self.ops.t: self.leaf.keys, self.ops.e: self.columns(self.e)}, self.ops.e, 0)

    def scores(self, b: Builder, s: SSAValue, q: Staged, k: Staged) -> None:
        m, t, d = self.ops.m, self.ops.t, self.ops.d
        self.multiply(
            b,
            s,
            self.depth,
            d,
            lambda row, at: (q[0], self.at(q, {m: row, d: at})),
            lambda at, column: (k[0], self.at(k, {d: at, t: column})),
        )

    def mix(self, b: Builder, mixed: SSAValue, s: SSAValue, v: Staged) -> None:
        """Through workgroup memory of the warp's own: p[row, key]."""
        keys, lanes, t, e = self.leaf.keys, self.lanes, self.ops.t, self.ops.e
        p = self.shared_rows(keys)
        four = self.array("four", [WIDE])

        def put(b: Builder, at: At) -> None:
            for e in range(WIDE):
                register = summed(self.kernel, b, (at["i"], WIDE), (self.kernel.const(e), 1))
                self.store(b, self.load(b, s, [at["j"], register]), four, [self.kernel.const(e)])
            column = summed(self.kernel, b, (at["j"], lanes.stride), (self.member, WIDE))
            self.move(
                b, four, [self.kernel.const(0)], p, [summed(self.kernel, b, (self.first, 1), (at["i"], 1)), column]
            )

        unrolled(self.kernel, b, {"i": lanes.rows, "j": keys // lanes.stride}, put)
        b.insert(SyncWarpOp())
        self.multiply(
            b,
            mixed,
            keys,
            t,
            lambda row, at: (p, [row, at]),
            lambda at, column: (v[0], self.at(v, {t: at, e: column})),
        )

    def shared_rows(self, keys: int) -> SSAValue:
        op = memref.AllocOp([], [], buffer_type([self.rows, keys], f32, space="workgroup"))
        op.memref.name_hint = "p_shared"
        return Builder(InsertPoint.at_start(self.kernel.block)).insert(op).memref

    def move(
        self, b: Builder, source: SSAValue, at: Sequence[SSAValue], target: SSAValue, to: Sequence[SSAValue]
    ) -> None:
        """16 bytes"""
        load = vector.LoadOp.create(operands=[source, *at], result_types=[vector_type(f32, WIDE)])
        b.insert(vector.StoreOp.create(operands=[b.insert(load).results[0], target, *to]))

    def multiply(self, b: Builder, total: SSAValue, depth: int, name: str, lhs: Factor, rhs: Factor) -> None:
        """total[row, column] += sum of lhs(row, k) rhs(k, column): four k at a time, whose lhs is 16 bytes of a row."""
        lanes, const = self.lanes, self.kernel.const
        count = type_of(total).get_shape()[0]
        left, right = self.array("left", [lanes.rows, WIDE]), self.array("right", [count, WIDE])

        def step(b: Builder, k: SSAValue) -> None:
            def of_rows(b: Builder, at: At) -> None:
                memory, place = lhs(summed(self.kernel, b, (self.first, 1), (at["i"], lanes.apart)), k)
                self.move(b, memory, place, left, [at["i"], const(0)])

            def product(b: Builder, at: At) -> None:
                here = summed(self.kernel, b, (k, 1), (at["k"], 1))

                def of_columns(b: Builder, inner: At) -> None:
                    column = summed(self.kernel, b, (inner["j"], lanes.stride), (self.member, WIDE))
                    memory, place = rhs(here, column)
                    self.move(b, memory, place, right, [inner["j"], const(0)])

                def add(b: Builder, inner: At) -> None:
                    register = [inner["j"], summed(self.kernel, b, (inner["i"], WIDE), (inner["e"], 1))]
                    factors = self.load(b, left, [inner["i"], at["k"]]), self.load(b, right, [inner["j"], inner["e"]])
                    found = arith.AddfOp(self.load(b, total, register), b.insert(arith.MulfOp(*factors)).result)
                    self.store(b, b.insert(found).result, total, register)

                unrolled(self.kernel, b, {"j": count}, of_columns)
                unrolled(self.kernel, b, {"i": lanes.rows, "j": count, "e": WIDE}, add)

            unrolled(self.kernel, b, {"i": lanes.rows}, of_rows)
            unrolled(self.kernel, b, {"k": WIDE}, product)

        b.insert(for_loop(const(0), const(depth), const(WIDE), name, step))


class Tensors(Products):
    lanes = Lanes(rows=2, apart=8, each=1, across=4, stride=8, width=2)

    def check(self, types: Sequence[object]) -> None:
        instruction = self.leaf.instruction
        assert instruction is not None
        kind = instruction.rpartition("_")[2]
        self.halves = numbers_of(instruction) == 2
        self.product = 16 if self.halves else 8
        if len(set(types)) != 1 or not (set(types) == {f32} or str(types[0]) == kind):
            raise Refused(f"{self.leaf}: queries, keys and values are f32 or {kind}")
        if self.leaf.keys % self.product:
            raise Refused(f"{self.leaf}: tiles of keys are multiples of {self.product}")
        self.pairs = types[0] != f32  # two numbers of 16 bits lie next to each other
        self.depth = -(-self.d // self.product) * self.product

    def q(self, loops: AxisLoops) -> tuple[list[int], Stage]:
        return self.factor(loops, {self.ops.m: self.rows, self.ops.d: self.depth}, self.ops.m, self.ops.d)

    def k(self, loops: AxisLoops) -> tuple[list[int], Stage]:
        return self.factor(loops, {self.ops.t: self.leaf.keys, self.ops.d: self.depth}, self.ops.t, self.ops.d)

    def v(self, loops: AxisLoops) -> tuple[list[int], Stage]:
        sizes = {self.ops.t: self.leaf.keys, self.ops.e: self.columns(self.e)}
        if self.pairs:
            return self.laid(loops, sizes, self.ops.t, 8)
        return self.laid(loops, sizes, self.ops.e, 4)  # rows of keys that lie one or two apart are read at once

    def factor(self, loops: AxisLoops, sizes: dict[str, int], line: str, depth: str) -> tuple[list[int], Stage]:
        """Rows of products, but where two of them that are no pair are read one after the other: products of rows, of which those that lie two
        apart are then in banks of their own."""
        if self.pairs or not self.halves:
            return self.laid(loops, sizes, depth, 8 if self.pairs else 4)
        return self.laid(loops, sizes, line, 4)

    def fragment(self, b: Builder, staged: Staged, places: dict[str, SSAValue], along: str) -> SSAValue:
        """A register of an operand: one number, or two that follow each other along a loop."""
        memory = staged[0]
        if self.pairs:
            return b.insert(PairOp(memory, self.at(staged, places))).result
        found = [self.load(b, memory, self.at(staged, places))]
        if self.halves:
            behind = summed(self.kernel, b, (places[along], 1), (self.kernel.const(1), 1))
            found.append(self.load(b, memory, self.at(staged, {**places, along: behind})))
        assert self.leaf.instruction is not None
        return b.insert(FragmentOp(found, self.leaf.instruction)).result

    def scores(self, b: Builder, s: SSAValue, q: Staged, k: Staged) -> None:
        m, t, d = self.ops.m, self.ops.t, self.ops.d
        a, w = self.array("a", [4], i32), self.array("b", [2], i32)
        wide, apart = (2, 8) if self.halves else (1, 4)

        def step(b: Builder, at: SSAValue) -> None:
            def product(e1: SSAValue, b: Builder) -> SSAValue:
                return summed(self.kernel, b, (at, 1), (e1, apart), (self.member, wide))

            def of_rows(b: Builder, inner: At) -> None:
                row = summed(self.kernel, b, (self.first, 1), (inner["e0"], 8))
                found = self.fragment(b, q, {m: row, d: product(inner["e1"], b)}, d)
                self.store(b, found, a, [summed(self.kernel, b, (inner["e0"], 1), (inner["e1"], 2))])

            def columns(b: Builder, inner: At) -> None:
                def of_columns(b: Builder, last: At) -> None:
                    key = summed(self.kernel, b, (inner["j"], 8), (self.group, 1))
                    self.store(b, self.fragment(b, k, {t: key, d: product(last["e1"], b)}, d), w, [last["e1"]])

                unrolled(self.kernel, b, {"e1": 2}, of_columns)
                self.mma(b, s, inner["j"], a, w)

            unrolled(self.kernel, b, {"e0": 2, "e1": 2}, of_rows)
            unrolled(self.kernel, b, {"j": type_of(s).get_shape()[0]}, columns)

        const = self.kernel.const
        b.insert(for_loop(const(0), const(self.depth), const(self.product), d, step))

    def mix(self, b: Builder, mixed: SSAValue, s: SSAValue, v: Staged) -> None:
        t, e = self.ops.t, self.ops.e
        a, w = self.array("a", [4], i32), self.array("b", [2], i32)

        def step(b: Builder, at: At) -> None:
            def of_rows(b: Builder, inner: At) -> None:
                """Of 8 keys each lane has the two that it holds scores of; of 16 two of both halves."""
                if self.halves:
                    j = summed(self.kernel, b, (at["k"], 2), (inner["e1"], 1))
                    both = [summed(self.kernel, b, (inner["e0"], 2), (self.kernel.const(n), 1)) for n in (0, 1)]
                    found = [self.load(b, s, [j, register]) for register in both]
                else:
                    found = [self.load(b, s, [at["k"], summed(self.kernel, b, (inner["e0"], 2), (inner["e1"], 1))])]
                assert self.leaf.instruction is not None
                made = b.insert(FragmentOp(found, self.leaf.instruction)).result
                self.store(b, made, a, [summed(self.kernel, b, (inner["e0"], 1), (inner["e1"], 2))])

            def columns(b: Builder, inner: At) -> None:
                def of_columns(b: Builder, last: At) -> None:
                    column = summed(self.kernel, b, (inner["j"], 8), (self.group, 1))
                    key = summed(
                        self.kernel, b, (at["k"], self.product), (last["e1"], 8 if self.halves else 1), (self.member, 2)
                    )
                    self.store(b, self.fragment(b, v, {t: key, e: column}, t), w, [last["e1"]])

                unrolled(self.kernel, b, {"e1": 2}, of_columns)
                self.mma(b, mixed, inner["j"], a, w)

            unrolled(self.kernel, b, {"e0": 2, "e1": 2}, of_rows)
            unrolled(self.kernel, b, {"j": type_of(mixed).get_shape()[0]}, columns)

        unrolled(self.kernel, b, {"k": self.leaf.keys // self.product}, step)

    def mma(self, b: Builder, total: SSAValue, j: SSAValue, a: SSAValue, w: SSAValue) -> None:
        zero: list[SSAValue] = []
        assert self.leaf.instruction is not None
        b.insert(MmaOp(row(b, total, [j]), row(b, a, zero), row(b, w, zero), self.leaf.instruction))
