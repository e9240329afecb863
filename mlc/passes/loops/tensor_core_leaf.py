"""The leaf of tensor cores: a warp's tile by mma.sync, its elements spread over the lanes as the instruction wants them.

    linalg.generic {loops = {m = 64, n = 32, k = 16}} ins(%A_shared_1, %B_shared_1) outs(%acc : memref<64x32xf32, "register">)
->  scf.for %k, %i, %j: kernel.mma %acc[%i, %j], %a[%i], %b[%j] "m16n8k8_tf32"            %acc : memref<4x4x4xf32, "register">

A leaf says where the elements of a tile are. With lane = 4 * group + member, element (row, column) of an accumulator is
    row = 16 i + 8 e0 + group,   column = 8 j + 2 member + e1,   in register [i][j][2 e0 + e1]
so what comes before and after the sum is a loop over i, j, e0, e1 with that row and column; only the sum calls the instruction. Its operands are
f32, rounded to the type of the instruction once, when a fragment is read, or of that type already. Fragments are those of the PTX manual, mma.m16n8k8 and m16n8k16.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import arith, memref, scf, vector
from xdsl.dialects.builtin import IntegerAttr, MemRefType, f32, i32, i64
from xdsl.dialects.linalg.ops import GenericOp, IndexOp
from xdsl.ir import Attribute, SSAValue
from xdsl.rewriter import InsertPoint

from mlc.ir.kernel.access import Affine
from mlc.ir.kernel.kernel import Kernel, buffer_type, erase, loops_of, space_of, strides_of, type_of
from mlc.ir.kernel.located import Builder, located
from mlc.ir.kernel.schedule import Mma, multiplied
from mlc.ir.kernel.target import Target
from mlc.ir.kernel.tensor_cores import FragmentOp, MmaOp
from mlc.ir.kernel.warp_ops import PairOp
from mlc.passes.loops.copies import inside_of
from mlc.passes.loops.lanes import vector_type
from mlc.passes.loops.refused import Refused
from mlc.passes.loops.scf_blocks import branch, for_loop
from mlc.passes.loops.tile import reduced
from mlc.passes.loops.tile_view import accesses, valid_sizes
from mlc.passes.loops.unrolled import At, summed, unrolled

ROWS, COLUMNS = 16, 8
TOGETHER = 2  # steps of a sum that are written out


def lower_tensor_cores(kernel: Kernel, leaf: Mma, target: Target) -> None:
    """Every structured op of the kernel. Raises Refused where the tiles of warps are not what the instruction takes."""
    Warp(kernel, leaf).lower()
    kernel.optimise = True


class Warp:
    def __init__(self, kernel: Kernel, leaf: Mma):
        self.kernel, self.leaf = kernel, leaf
        const, lane = kernel.const, kernel.place("thread.x")
        self.group = kernel.shared("group", lambda: arith.DivUIOp(lane, const(4)))
        self.member = kernel.shared("member", lambda: arith.RemUIOp(lane, const(4)))
        self.group.name_hint, self.member.name_hint = "group", "member"
        self.spread: dict[SSAValue, SSAValue] = {}  # accumulator -> its registers
        self.depth = 8 if leaf.instruction == "m16n8k8_tf32" else 16

    def lower(self) -> None:
        ops = [op for op in self.kernel.op.walk() if isinstance(op, GenericOp)]
        sums = [op for op in ops if reduced(op)]
        if len(sums) != 1 or not multiplies(sums[0]):
            raise Refused(f"{self.leaf}: it multiplies two operands, and the kernel does otherwise")
        m, n, _ = self.axes(sums[0])
        for alloc in [op for op in self.kernel.op.walk() if isinstance(op, memref.AllocOp)]:
            if space_of(alloc.memref) == "register" and "stages" not in alloc.attributes:
                self.spread_out(alloc, sums[0], m, n)
        for op in ops:
            b = Builder(InsertPoint.before(op))
            with located(op):
                if op is sums[0]:
                    self.multiply(b, op)
                else:
                    self.elements(b, op, m, n)
            erase([op])
        for value in self.spread:
            if isinstance(value.owner, memref.AllocOp):
                erase([value.owner])

    def axes(self, op: GenericOp) -> tuple[str, str, str]:
        """The loops of rows, of columns and of the sum; all others have one step."""
        loops, folds = loops_of(op), reduced(op)
        lhs, rhs, _ = accesses(op)
        along = lambda access: {name for form in access for name in form.terms if loops[name] != 1}
        deep = [name for name in loops if name in folds and loops[name] != 1]
        rows, columns = (sorted(along(access) - set(deep)) for access in (lhs, rhs))
        if len(rows) != 1 or len(columns) != 1 or rows == columns or len(deep) != 1:
            raise Refused(
                f"{self.leaf}: a warp's tile has the loops {', '.join(loops)}, not one of rows, columns and products"
            )
        m, n, k = rows[0], columns[0], deep[0]
        for name, size in ((m, ROWS), (n, COLUMNS), (k, self.depth)):
            extent = loops[name]
            if not isinstance(extent, int) or extent % size:
                raise Refused(
                    f"{self.leaf}: a warp's tile of loop {name} is {extent}, and the instruction takes {size}"
                )
        return m, n, k

    def spread_out(self, alloc: memref.AllocOp, op: GenericOp, m: str, n: str) -> None:
        loops = loops_of(op)
        rows, columns = loops[m], loops[n]
        assert isinstance(rows, int) and isinstance(columns, int)
        shape = [rows // ROWS, columns // COLUMNS, 4]
        type = buffer_type(shape, type_of(alloc.memref).element_type, space="register")
        new = memref.AllocOp([], [], type)
        new.memref.name_hint = alloc.memref.name_hint
        Builder(InsertPoint.before(alloc)).insert(new)
        self.spread[alloc.memref] = new.memref

    # Element by element ----------------------------------------------------------------------------------------------
    def elements(self, b: Builder, op: GenericOp, m: str, n: str) -> None:
        """What each lane computes of its elements: rows and columns follow from the lane."""
        loops, limits, zero = loops_of(op), valid_sizes(op), self.kernel.const(0)
        rows, columns = (loops.get(name, 0) for name in (m, n))
        if not isinstance(rows, int) or not isinstance(columns, int) or not rows or not columns:
            raise Refused(f"{self.leaf}: '{op.outputs[0].name_hint}' has no rows and columns")
        if any(extent != 1 for name, extent in loops.items() if name not in (m, n)):
            raise Refused(f"{self.leaf}: '{op.outputs[0].name_hint}' has more loops than rows and columns")

        def element(b: Builder, at: At) -> None:
            places = {
                m: summed(self.kernel, b, (at["i"], ROWS), (at["e0"], 8), (self.group, 1)),
                n: summed(self.kernel, b, (at["j"], COLUMNS), (at["e1"], 1), (self.member, 2)),
            }
            register = [at["i"], at["j"], summed(self.kernel, b, (at["e0"], 2), (at["e1"], 1))]
            inside = inside_of(b, {places.get(name, zero): size for name, size in limits.items()})
            if inside is None:
                self.point(b, op, places, register)
            else:
                b.insert(scf.IfOp(inside, [], [branch(lambda b: self.point(b, op, places, register))]))

        unrolled(self.kernel, b, {"i": rows // ROWS, "e0": 2, "j": columns // COLUMNS, "e1": 2}, element)

    def point(self, b: Builder, op: GenericOp, places: At, register: Sequence[SSAValue]) -> None:
        values: dict[SSAValue, SSAValue] = {}
        where = []
        for value, access in zip(op.operands, accesses(op), strict=True):
            spread = self.registers_of(value)
            where.append(
                (spread, list(register)) if spread else (value, [self.index(b, form, places) for form in access])
            )
        for argument, (memory, at) in zip(op.body.block.args, where, strict=True):
            if argument.first_use is not None:
                values[argument] = b.insert(memref.LoadOp.get(memory, at)).results[0]
        *body, last = op.body.block.ops
        for inner in body:
            if isinstance(inner, IndexOp):
                raise Refused(f"{self.leaf}: a body asks for the position of a loop")
            clone = inner.clone(values)
            b.insert(clone)
            values.update(zip(inner.results, clone.results, strict=True))
        memory, at = where[-1]
        b.insert(memref.StoreOp.get(values.get(last.operands[0], last.operands[0]), memory, at))

    def registers_of(self, value: SSAValue) -> SSAValue | None:
        return self.spread.get(self.kernel.root_of(value))

    def index(self, b: Builder, form: Affine, places: At) -> SSAValue:
        terms = [(places[name], c) for name, c in form.terms.items() if name in places]
        total = summed(self.kernel, b, *terms) if terms else self.kernel.const(form.constant)
        return (
            b.insert(arith.AddiOp(total, self.kernel.const(form.constant))).result if terms and form.constant else total
        )

    def takes(self, type: Attribute) -> bool:
        """Operands are f32, or of the type that is multiplied: tf32 is none that memory holds."""
        return type == f32 or str(type) == multiplied(self.leaf.instruction)

    # The product -----------------------------------------------------------------------------------------------------
    def multiply(self, b: Builder, op: GenericOp) -> None:
        """Fragments of both operands for each step of the sum, then one instruction for each pair of them."""
        m, n, k = self.axes(op)
        loops = loops_of(op)
        rows, columns, depth = (loops[name] for name in (m, n, k))
        assert isinstance(rows, int) and isinstance(columns, int) and isinstance(depth, int)
        (lhs, rhs), (left, right, _) = op.inputs, accesses(op)
        total = self.registers_of(op.outputs[0])
        known = all(self.takes(type_of(value).element_type) for value in op.inputs)
        if total is None or type_of(op.outputs[0]).element_type != f32 or not known:
            raise Refused(f"{self.leaf}: operands are f32 or what it multiplies, and the sum is f32 in registers")
        halves = self.depth == 16  # two numbers in a register
        tiles = {"i": rows // ROWS, "j": columns // COLUMNS}

        def fragment(b: Builder, name: str, count: int, registers: int) -> SSAValue:
            alloc = b.insert(memref.AllocOp([], [], buffer_type([count, registers], i32, space="register")))
            alloc.memref.name_hint = name
            return alloc.memref

        def read(b: Builder, source: SSAValue, access: Sequence[Affine], at: At) -> SSAValue:
            number = b.insert(memref.LoadOp.get(source, [self.index(b, form, at) for form in access])).results[0]
            return number if number.type == f32 else b.insert(arith.ExtFOp(number, f32)).result

        def rounded(b: Builder, source: SSAValue, access: Sequence[Affine], at: dict[str, SSAValue]) -> SSAValue:
            place = [self.index(b, form, at) for form in access]
            neighbours = halves and is_neighbour(source, access, k)
            if neighbours and type_of(source).element_type != f32:
                return b.insert(PairOp(source, place)).result
            if neighbours:
                both = vector.LoadOp.create(operands=[source, *place], result_types=[vector_type(f32, 2)])
                two = b.insert(both).results[0]
                pair = [b.insert(vector.ExtractOp(two, [lane], f32)).result for lane in (0, 1)]
                return b.insert(FragmentOp(pair, self.leaf.instruction)).result
            found: list[SSAValue] = [read(b, source, access, at)]
            if halves:
                behind = b.insert(arith.AddiOp(at[k], self.kernel.const(1))).result
                found.append(read(b, source, access, {**at, k: behind}))
            return b.insert(FragmentOp(found, self.leaf.instruction)).result

        def step(b: Builder, at: At) -> None:
            first = (
                b.insert(arith.MuliOp(at["k"], self.kernel.const(self.depth))).result if depth > self.depth else at["k"]
            )
            wide, apart = (2, 8) if halves else (1, 4)
            a, w = fragment(b, "a", tiles["i"], 4), fragment(b, "b", tiles["j"], 2)

            def of_rows(b: Builder, at: At) -> None:
                place = {
                    m: summed(self.kernel, b, (at["i"], ROWS), (at["e0"], 8), (self.group, 1)),
                    k: summed(self.kernel, b, (first, 1), (at["e1"], apart), (self.member, wide)),
                }
                b.insert(
                    memref.StoreOp.get(
                        rounded(b, lhs, left, place), a, [at["i"], summed(self.kernel, b, (at["e0"], 1), (at["e1"], 2))]
                    )
                )

            def of_columns(b: Builder, at: At) -> None:
                place = {
                    n: summed(self.kernel, b, (at["j"], COLUMNS), (self.group, 1)),
                    k: summed(self.kernel, b, (first, 1), (at["e1"], apart), (self.member, wide)),
                }
                b.insert(memref.StoreOp.get(rounded(b, rhs, right, place), w, [at["j"], at["e1"]]))

            def instruction(b: Builder, at: At) -> None:
                d, x, y = row(b, total, [at["i"], at["j"]]), row(b, a, [at["i"]]), row(b, w, [at["j"]])
                b.insert(MmaOp(d, x, y, self.leaf.instruction))

            unrolled(self.kernel, b, {"i": tiles["i"], "e0": 2, "e1": 2}, of_rows)
            unrolled(self.kernel, b, {"j": tiles["j"], "e1": 2}, of_columns)
            unrolled(self.kernel, b, tiles, instruction)

        const, steps = self.kernel.const, depth // self.depth
        loop = for_loop(const(0), const(steps), const(1), "k", lambda b, iv: step(b, {"k": iv}))
        loop.attributes["unroll"] = IntegerAttr(min(steps, TOGETHER), i64)  # fragments of more do not stay in registers
        b.insert(loop)


def multiplies(op: GenericOp) -> bool:
    """Does it add products of its two operands, as they are or widened to f32?"""
    last, (*operands, out) = op.body.block.last_op, op.body.block.args
    assert last is not None
    total = last.operands[0].owner
    if not isinstance(total, arith.AddfOp) or out not in total.operands:
        return False
    product = next((v for v in total.operands if v is not out), out).owner
    if not isinstance(product, arith.MulfOp):
        return False
    factors = [v.owner.input if isinstance(v.owner, arith.ExtFOp) else v for v in product.operands]
    return set(factors) == set(operands) and len(operands) == 2


def is_neighbour(value: SSAValue, access: Sequence[Affine], loop: str) -> bool:
    """Does a step of a loop go to the next element, and lie two steps on a boundary of two?"""
    strides = strides_of(value)
    steps = [s for form, s in zip(access, strides, strict=True) if form.terms.get(loop) == 1]
    others = [s for form, s in zip(access, strides, strict=True) if loop not in form.terms and form.terms]
    return steps == [1] and all(s is not None and s % 2 == 0 for s in others)


def row(b: Builder, value: SSAValue, at: Sequence[SSAValue]) -> SSAValue:
    """The registers that one instruction takes, the last axis of an array of them."""
    length = type_of(value).get_shape()[-1]
    type: MemRefType = buffer_type([length], type_of(value).element_type, [1], space_of(value), offset=None)
    op = memref.SubviewOp.get(value, [*at, 0], [*[1] * len(at), length], [1] * (len(at) + 1), type)
    return b.insert(op).result
