"""The leaf of attention: the scores of some keys at a time, in the registers of the warps that have these rows; keys and values in workgroup memory.

    top = -inf;  total = 0;  mixed = 0
    for %t = 0 to T step 64:
      K, V of 64 keys -> workgroup
      s = Q K', masked                                    registers, 16 rows of them for a warp
      new = max(top, max of s);  s = exp(s - new);  a = exp(top - new);  top = new
      total = total a + sum of s;  mixed = mixed a + s V
    y = mixed / total

The softmax of a row is that of the keys so far (Milakov and Gimelshein 2018; Dao et al. 2022): scores are never in memory. Lanes that share
a row fold what each has of it. A row that has seen no key yet has -inf for its largest score, from which nothing is subtracted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from xdsl.dialects import arith, gpu, math, memref, scf
from xdsl.dialects.builtin import Float32Type, FloatAttr, f32
from xdsl.dialects.linalg.ops import GenericOp, IndexOp
from xdsl.ir import Attribute, SSAValue
from xdsl.rewriter import InsertPoint

from mlc.ir.kernel.access import Affine
from mlc.ir.kernel.kernel import Kernel, buffer_type, erase, space_of, type_of
from mlc.ir.kernel.located import Builder, located
from mlc.ir.kernel.schedule import Online, Stage
from mlc.ir.kernel.target import Target
from mlc.ir.kernel.warp_ops import LANES, FoldLanesOp
from mlc.passes.loops.attention_ops import AttentionOps, Operand
from mlc.passes.loops.attention_products import ROWS, Cores, Products, Tensors
from mlc.passes.loops.copies import Copy, inside_of
from mlc.passes.loops.refused import Refused
from mlc.passes.loops.scf_blocks import branch, choice, for_loop
from mlc.passes.loops.stage import staged
from mlc.passes.loops.tile_view import Size, accesses, add, subview, valid_sizes
from mlc.passes.loops.unrolled import At, summed, unrolled


def lower_online(kernel: Kernel, leaf: Online, target: Target) -> None:
    """Every structured op of the kernel. Raises Refused where these are no attention, or its tiles are not whole warps'."""
    ops = [op for op in kernel.op.walk() if isinstance(op, GenericOp)]
    found = AttentionOps.of(kernel, ops)
    if found is None or found.t != leaf.loop:
        raise Refused(f"{leaf}: the kernel is no attention over {leaf.loop}")
    _Rows(kernel, leaf, found).lower(ops)
    kernel.optimise = True


class _Rows:
    """The rows of a block, 16 of a warp, and what each lane has of them."""

    def __init__(self, kernel: Kernel, leaf: Online, ops: AttentionOps):
        self.kernel, self.leaf, self.ops = kernel, leaf, ops
        rows = ops.extent(ops.m)
        fixed = [ops.extent(name) for name in (ops.d, ops.e)]
        if not isinstance(rows, int) or rows % ROWS or not all(isinstance(n, int) for n in fixed):
            raise Refused(f"{leaf}: a block has {rows} rows of {ops.m}, and a warp {ROWS}")
        self.rows, self.d, self.e = rows, int(fixed[0]), int(fixed[1])  # type: ignore[arg-type]
        kernel.launch |= {"thread.x": LANES, "thread.y": rows // ROWS}
        make: type[Products] = Tensors if leaf.instruction else Cores
        self.products = make(kernel, leaf, ops, rows, self.d, self.e)
        self.lanes = self.products.lanes
        self.valid = valid_sizes(ops.result).get(ops.m)  # rows that are there

    # The whole --------------------------------------------------------------------------------------------------------
    def lower(self, old: Sequence[GenericOp]) -> None:
        kernel, ops, lanes, const = self.kernel, self.ops, self.lanes, self.kernel.const
        b = Builder(InsertPoint.before(old[0]))
        self.scores = self.registers(b, "s", self.products.columns(self.leaf.keys))
        self.mixed = self.registers(b, "mixed", self.products.columns(self.e))
        self.top, self.total, self.scale = (self.register(b, name, [lanes.rows]) for name in ("top", "total", "scale"))
        with located(ops.acc):
            q = self.copied(b, ops.q, {ops.m: (0, self.valid or self.rows), ops.d: (0, self.d)}, self.products.q)
        self.fill(b, self.top, float("-inf"))
        self.fill(b, self.total, 0.0)
        self.fill(b, self.mixed, 0.0)
        keys, step = kernel.extent(ops.extent(ops.t)), self.leaf.keys
        stop, whole = keys, ops.extent(ops.t)
        if (first := ops.causal()) is not None:
            end = add(kernel, b, first, self.rows)
            stop = b.insert(arith.MinSIOp(keys, const(end) if isinstance(end, int) else end)).result
        partial = not isinstance(whole, int) or whole % step

        def tile(b: Builder, t: SSAValue) -> None:
            there: Size = step
            if partial:
                left = b.insert(arith.SubiOp(keys, t)).result
                there = b.insert(arith.MinSIOp(left, const(step))).result
                there.name_hint = "keys"
            with located(ops.acc):
                k = self.copied(b, ops.k, {ops.t: (t, there), ops.d: (0, self.d)}, self.products.k)
            with located(ops.mixed):
                v = self.copied(b, ops.v, {ops.t: (t, there), ops.e: (0, self.e)}, self.products.v)
            b.insert(gpu.BarrierOp())
            self.fill(b, self.scores, 0.0)
            with located(ops.acc):
                self.products.scores(b, self.scores, q, k)
            with located(ops.masked):
                self.mask(b, t, there if isinstance(there, SSAValue) else None)
                self.rescale(b)
            with located(ops.mixed):
                self.products.mix(b, self.mixed, self.scores, v)
            b.insert(gpu.BarrierOp())  # the next copies overwrite what others may still read

        b.insert(for_loop(const(0), stop, const(step), ops.t, tile))
        with located(ops.result):
            self.write(b)
        temporaries = [op for op in kernel.op.walk() if isinstance(op, memref.AllocOp) and space_of(op.memref) is None]
        erase(list(old))
        erase([op for op in temporaries if op.memref.first_use is None])

    # Memory -----------------------------------------------------------------------------------------------------------
    def register(self, b: Builder, name: str, shape: Sequence[int], element: Attribute = f32) -> SSAValue:
        value = b.insert(memref.AllocOp([], [], buffer_type(list(shape), element, space="register"))).memref
        value.name_hint = name
        return value

    def registers(self, b: Builder, name: str, columns: int) -> SSAValue:
        """What a lane has of 16 rows: [j, i * width + e]"""
        return self.register(b, name, [columns // self.lanes.stride, self.lanes.rows * self.lanes.width])

    def fill(self, b: Builder, value: SSAValue, number: float) -> None:
        start = self.number(number)
        counts = {f"i{axis}": size for axis, size in enumerate(type_of(value).get_shape())}
        unrolled(self.kernel, b, counts, lambda b, at: self.store(b, start, value, list(at.values())))

    def load(self, b: Builder, value: SSAValue, at: Sequence[SSAValue]) -> SSAValue:
        return b.insert(memref.LoadOp.get(value, list(at))).results[0]

    def store(self, b: Builder, value: SSAValue, to: SSAValue, at: Sequence[SSAValue]) -> None:
        b.insert(memref.StoreOp.get(value, to, list(at)))

    def number(self, value: float) -> SSAValue:
        return self.kernel.number(FloatAttr(value, Float32Type()))

    def copied(
        self,
        b: Builder,
        operand: Operand,
        parts: Mapping[str, tuple[Size, Size]],
        how: Callable[[Sequence[str | None]], tuple[list[int], Stage]],
    ) -> tuple[SSAValue, list[str | None]]:
        """A part of an operand in workgroup memory, and the loop that runs along each of its axes; what is not there is zero."""
        starts: list[Size] = []
        counts: list[Size] = []
        loops: list[str | None] = []
        for form in operand.access:
            along = [name for name in form.terms if name in parts]
            if along and (len(along) > 1 or form.terms[along[0]] != 1):
                raise Refused(f"{self.leaf}: '{operand.value.name_hint}' is read along {' and '.join(along)} at once")
            start, count = parts[along[0]] if along else (0, 1)
            starts.append(add(self.kernel, b, start, form.constant))
            counts.append(count)
            loops.append(along[0] if along else None)
        shape, stage = how(loops)
        counts = [
            self.kernel.const(n) if isinstance(n, int) and n < size else n
            for n, size in zip(counts, shape, strict=True)
        ]
        view = subview(b, operand.value, starts, counts)
        place = staged(self.kernel, b, view, shape, stage, 1)
        Copy(self.kernel, view, place).lower(b)
        return place, loops

    # Rows -------------------------------------------------------------------------------------------------------------
    def each(self, b: Builder, of: SSAValue, fill: Callable[[Builder, At, list[SSAValue]], None]) -> None:
        """Every element that a lane has of some rows: `fill(b, {j, i, e}, its register)`."""
        counts = {"i": self.lanes.rows, "j": type_of(of).get_shape()[0], "e": self.lanes.width}

        def element(b: Builder, at: At) -> None:
            fill(b, at, [at["j"], summed(self.kernel, b, (at["i"], self.lanes.width), (at["e"], 1))])

        unrolled(self.kernel, b, counts, element)

    def row(self, b: Builder, at: At) -> SSAValue:
        return summed(self.kernel, b, (self.products.first, 1), (at["i"], self.lanes.apart))

    def column(self, b: Builder, at: At) -> SSAValue:
        return summed(
            self.kernel, b, (at["j"], self.lanes.stride), (self.products.member, self.lanes.width), (at["e"], 1)
        )

    def mask(self, b: Builder, t: SSAValue, there: SSAValue | None) -> None:
        """Each score as the op says, -inf behind the last key and, where masks have rows, behind the last row."""
        op, ops = self.ops.masked, self.ops
        along = {name for form in (f for a in accesses(op)[1:-1] for f in a) for name in form.terms}
        asks = any(isinstance(inner, IndexOp) for inner in op.body.walk())
        rows = self.valid if ops.m in along or asks else None
        minus = self.number(float("-inf"))

        def element(b: Builder, at: At, register: list[SSAValue]) -> None:
            row, column = self.row(b, at), self.column(b, at)
            places = {ops.m: row, ops.t: summed(self.kernel, b, (t, 1), (column, 1))}
            value = lambda b: self.body(b, op, places, {0: self.load(b, self.scores, register)})
            limits = {at: size for at, size in ((row, rows), (column, there)) if size is not None}
            inside = inside_of(b, limits)
            found = (
                value(b)
                if inside is None
                else b.insert(choice(inside, [f32], lambda b: [value(b)], lambda b: [minus])).results[0]
            )
            self.store(b, found, self.scores, register)

        self.each(b, self.scores, element)

    def body(self, b: Builder, op: GenericOp, places: At, known: Mapping[int, SSAValue]) -> SSAValue:
        """The scalar of an op at a place; `known` are operands that are at hand."""
        values: dict[SSAValue, SSAValue] = {}
        names = list(places)
        for number, (value, access, argument) in enumerate(
            zip(op.operands, accesses(op), op.body.block.args, strict=True)
        ):
            if argument.first_use is None:
                continue
            values[argument] = (
                known[number] if number in known else self.load(b, value, [self.index(b, f, places) for f in access])
            )
        *inner, last = op.body.block.ops
        loops = list(op.attributes["loops"].data)  # type: ignore[attr-defined]
        for step in inner:
            if isinstance(step, IndexOp):
                name = loops[step.dim.value.data]
                values[step.result] = places[name] if name in names else self.kernel.const(0)
                continue
            clone = step.clone(values)
            b.insert(clone)
            values.update(zip(step.results, clone.results, strict=True))
        return values.get(last.operands[0], last.operands[0])

    def index(self, b: Builder, form: Affine, places: At) -> SSAValue:
        terms = [(places[name], c) for name, c in form.terms.items() if name in places]
        if form.constant or not terms:
            terms.append((self.kernel.const(form.constant), 1))
        return summed(self.kernel, b, *terms)

    def rescale(self, b: Builder) -> None:
        """Scores become exponentials of what they are below the largest of their row so far, and what was summed up is made to fit."""
        lanes, top, total, scale = self.lanes, self.top, self.total, self.scale
        minus, zero = self.number(float("-inf")), self.number(0.0)
        self.fill(b, scale, float("-inf"))

        def largest(b: Builder, at: At, register: list[SSAValue]) -> None:
            found = arith.MaximumfOp(self.load(b, scale, [at["i"]]), self.load(b, self.scores, register))
            self.store(b, b.insert(found).result, scale, [at["i"]])

        self.each(b, self.scores, largest)
        shift = self.register(b, "shift", [lanes.rows])

        def row(b: Builder, at: At) -> None:
            i = [at["i"]]
            of_all = b.insert(FoldLanesOp(self.load(b, scale, i), "max", lanes.across)).result
            before = self.load(b, top, i)
            new = b.insert(arith.MaximumfOp(before, of_all)).result
            none = b.insert(arith.CmpfOp(new, minus, "oeq")).result
            by = b.insert(arith.SelectOp(none, zero, new)).result
            fits = b.insert(math.ExpOp(b.insert(arith.SubfOp(before, by)).result)).result
            more = b.insert(arith.MulfOp(self.load(b, total, i), fits)).result
            for value, to in ((new, top), (by, shift), (fits, scale), (more, total)):
                self.store(b, value, to, i)

        unrolled(self.kernel, b, {"i": lanes.rows}, row)

        def exponential(b: Builder, at: At, register: list[SSAValue]) -> None:
            below = arith.SubfOp(self.load(b, self.scores, register), self.load(b, shift, [at["i"]]))
            value = b.insert(math.ExpOp(b.insert(below).result)).result
            self.store(b, value, self.scores, register)
            more = arith.AddfOp(self.load(b, total, [at["i"]]), value)
            self.store(b, b.insert(more).result, total, [at["i"]])

        def fit(b: Builder, at: At, register: list[SSAValue]) -> None:
            product = arith.MulfOp(self.load(b, self.mixed, register), self.load(b, scale, [at["i"]]))
            self.store(b, b.insert(product).result, self.mixed, register)

        self.each(b, self.scores, exponential)
        self.each(b, self.mixed, fit)

    def write(self, b: Builder) -> None:
        """What the rows are in the end, as far as they are there."""
        op, ops, lanes, total = self.ops.result, self.ops, self.lanes, self.total

        def row(b: Builder, at: At) -> None:
            found = FoldLanesOp(self.load(b, total, [at["i"]]), "sum", lanes.across)
            self.store(b, b.insert(found).result, total, [at["i"]])

        unrolled(self.kernel, b, {"i": lanes.rows}, row)
        limit = self.kernel.const(self.e) if self.products.columns(self.e) > self.e else None

        def element(b: Builder, at: At, register: list[SSAValue]) -> None:
            places = {ops.m: self.row(b, at), ops.e: self.column(b, at)}

            def put(b: Builder) -> None:
                known = {0: self.load(b, self.mixed, register), 1: self.load(b, total, [at["i"]])}
                value = self.body(b, op, places, known)
                self.store(b, value, op.outputs[0], [self.index(b, f, places) for f in accesses(op)[-1]])

            limits = {
                at: size for at, size in ((places[ops.m], self.valid), (places[ops.e], limit)) if size is not None
            }
            inside = inside_of(b, limits)
            if inside is None:
                put(b)
            else:
                b.insert(scf.IfOp(inside, [], [branch(put)]))

        self.each(b, self.mixed, element)
