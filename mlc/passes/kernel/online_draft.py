"""The structured ops of attention (mlc/ir/graph/attention.py), in this order:

    acc[b, h, m, t] = sum over d of q[b, h, m, d] k[b, h, t, d]
    s = acc * scale, masked                             -inf where a key is not seen
    top[b, h, m] = max over t of s;   p[b, h, m, t] = exp(s - top);   total[b, h, m] = sum over t of p
    mixed[b, h, m, e] = sum over t of p[b, h, m, t] v[b, h, t, e];    y = mixed / total

Query heads that share those of keys are a loop of their own, r. All of it is in f32. A kernel that keeps the scores of some keys in registers
computes this in one pass over the keys (mlc/passes/loops/online_leaf.py); one that does not has them in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from xdsl.dialects import arith, math
from xdsl.ir import Operation, SSAValue

from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.graph import scalar
from mlc.ir.graph.attention import AttentionOp
from mlc.ir.graph.constants import WeightOp
from mlc.ir.graph.control import GroupOp, source_of
from mlc.ir.graph.parts import SliceOp
from mlc.ir.kernel.access import L
from mlc.ir.kernel.kernel import Body
from mlc.ir.types import dtype_of, shape_of
from mlc.passes.kernel.draft import Access, Context, Draft, DraftOp, Memory
from mlc.passes.kernel.scalar_expression import Expression, place, widen

MINUS = float("-inf")
Read = tuple[Memory, Sequence[str]]  # a memory, and the loop along each of its axes
Scalar = Callable[[Context, Body, Sequence[SSAValue], SSAValue], SSAValue]


def draft_online(
    group: GroupOp, name: str, starts: Mapping[Operation, Sequence[Extent]]
) -> tuple[Draft, list[Memory | None], list[Memory]]:
    """As draft_group gives it, of a group that holds an attention and views of its operands."""
    block = group.body.block
    draft = Draft(name)
    memory: dict[SSAValue, Memory] = {}
    for arg, outer in zip(block.args, group.inputs, strict=True):
        weight = isinstance(source_of(outer).owner, WeightOp)
        memory[arg] = draft.memory(shape_of(arg), dtype_of(arg), "w" if weight else "x", weight=weight)
    for cut, begin in starts.items():
        assert isinstance(cut, SliceOp)
        memory[cut.result] = draft.part(memory[cut.x], begin, shape_of(cut.result))
    (op,) = [op for op in block.ops if isinstance(op, AttentionOp)]
    result = _Attention(op, draft, memory).write()
    return draft, [memory[arg] for arg in block.args], [result]


class _Attention:
    def __init__(self, op: AttentionOp, draft: Draft, memory: dict[SSAValue, Memory]):
        self.op, self.draft, self.memory = op, draft, memory
        (self.q, self.k, self.v, *self.masks), self.dtype = op.inputs, dtype_of(op.result)
        batch, heads, queries, size = shape_of(self.q)
        groups, keys, out = shape_of(self.k)[1], shape_of(self.k)[2], shape_of(self.v)[3]
        self.outer = (
            {"b": batch, "g": groups, "r": dims.floordiv(heads, groups)}
            if heads != groups
            else {"b": batch, "g": heads}
        )
        self.extents = {**self.outer, "m": queries, "t": keys, "d": size, "e": out}
        shared = self.extents.get("r", 1)
        assert isinstance(shared, int)
        self.head = L("g") * shared + L("r") if "r" in self.outer else L("g")

    def write(self) -> Memory:
        rows = (*self.outer, "m")
        acc = self.sum(
            "acc", (*rows, "t"), "d", (self.q, (L("b"), self.head, L("m"), L("d"))), (self.k, self.of_keys("d"))
        )
        s = self.temporary("s", (*rows, "t"))
        self.masked(acc, s)
        top, total = self.temporary("top", rows), self.temporary("total", rows)
        p = self.temporary("p", (*rows, "t"))
        largest, fold = scalar.reduction("max")[0], scalar.reduction("sum")[0]
        self.fill(top, rows, MINUS)
        self.fold(top, rows, s, lambda b, out, x: largest(b, "f32", out, x))
        self.step((*rows, "t"), [(s, (*rows, "t")), (top, rows)], (p, (*rows, "t")), _exponential)
        self.fill(total, rows, 0.0)
        self.fold(total, rows, p, lambda b, out, x: fold(b, "f32", out, x))
        mixed = self.sum("mixed", (*rows, "e"), "t", (p, tuple(map(L, (*rows, "t")))), (self.v, self.of_keys("e")))
        y = self.draft.memory(shape_of(self.op.result), self.dtype, "y")
        at = (L("b"), self.head, L("m"), L("e"))
        extents = {name: self.extents[name] for name in (*rows, "e")}
        inputs = [(mixed, tuple(map(L, (*rows, "e")))), (total, tuple(map(L, rows)))]
        keys = self.extents["t"]
        if isinstance(keys, Dim):
            self.draft.extents.append(keys)
        self.draft.steps.append(DraftOp(extents, inputs, (y, at), self.quotient))
        return y

    def of_keys(self, last: str) -> Access:
        return L("b"), L("g"), L("t"), L(last)

    # Steps ------------------------------------------------------------------------------------------------------------
    def temporary(self, name: str, loops: Sequence[str]) -> Memory:
        return self.draft.memory([self.extents[loop] for loop in loops], "f32", name, temporary=True)

    def step(self, loops: Sequence[str], inputs: Sequence[Read], output: Read, body: Scalar, reduce: str = "") -> None:
        operands = [(memory, tuple(map(L, at))) for memory, at in (*inputs, output)]
        extents = {name: self.extents[name] for name in loops}
        self.draft.steps.append(DraftOp(extents, operands[:-1], operands[-1], body, {reduce} if reduce else set()))

    def fill(self, memory: Memory, at: Sequence[str], value: float) -> None:
        self.step(at, [], (memory, at), lambda c, b, xs, out: scalar.constant(b, "f32", value))

    def fold(self, memory: Memory, at: Sequence[str], source: Memory, how: Callable[..., SSAValue]) -> None:
        """memory[at] folded over the keys"""
        self.step((*at, "t"), [(source, (*at, "t"))], (memory, at), lambda c, b, xs, out: how(b, out, xs[0]), "t")

    def sum(
        self,
        name: str,
        at: Sequence[str],
        over: str,
        lhs: tuple[SSAValue | Memory, Access],
        rhs: tuple[SSAValue | Memory, Access],
    ) -> Memory:
        """A temporary: the sum over a loop of products of two operands, which are memory of the draft or values of the group."""
        made = self.temporary(name, at)
        self.fill(made, at, 0.0)
        expression = Expression(dict(self.memory))
        inputs: list[tuple[Memory, Access]] = []
        for value, where in (lhs, rhs):
            if isinstance(value, Memory):
                inputs.append((value, where))
            else:
                expression.collect(value, where)

        def body(context: Context, b: Body, xs: Sequence[SSAValue], out: SSAValue) -> SSAValue:
            given, read = iter(xs[: len(inputs)]), xs[len(inputs) :]
            factors = [
                next(given)
                if isinstance(value, Memory)
                else widen(b, expression.build(context, b, read, value, where), dtype_of(value), "f32")
                for value, where in (lhs, rhs)
            ]
            return b.insert(arith.AddfOp(out, b.insert(arith.MulfOp(factors[0], factors[1])).result)).result

        extents = {loop: self.extents[loop] for loop in (*at, over)}
        output = made, tuple(map(L, at))
        self.draft.extents += expression.extents
        self.draft.steps.append(
            DraftOp(extents, [*inputs, *expression.reads], output, body, {over}, set(expression.indexed))
        )
        return made

    def masked(self, acc: Memory, s: Memory) -> None:
        """s = acc * scale, with what masks add, and -inf where a key is not seen."""
        loops = (*self.outer, "m", "t")
        at, where = tuple(map(L, loops)), (L("b"), self.head, L("m"), L("t"))
        expression = Expression(dict(self.memory))
        for mask in self.masks:
            expression.collect(mask, where)
        causal = bool(self.op.causal.value.data)

        def body(context: Context, b: Body, xs: Sequence[SSAValue], out: SSAValue) -> SSAValue:
            minus = scalar.constant(b, "f32", MINUS)
            x: SSAValue = b.insert(arith.MulfOp(xs[0], scalar.constant(b, "f32", self.op.scale.value.data))).result
            for mask in self.masks:
                read = expression.build(context, b, xs[1:], mask, where)
                if dtype_of(mask) == "bool":
                    x = scalar.select(b, read, x, minus)
                else:
                    x = b.insert(arith.AddfOp(x, widen(b, read, dtype_of(mask), "f32"))).result
            if causal:
                row, column = (place(context, b, L(name)) for name in ("m", "t"))
                x = scalar.select(b, b.insert(arith.CmpiOp(row, column, "sge")).result, x, minus)
            return x

        self.draft.extents += expression.extents
        indexed = {*expression.indexed, *(("m", "t") if causal else ())}
        extents = {name: self.extents[name] for name in loops}
        self.draft.steps.append(DraftOp(extents, [(acc, at), *expression.reads], (s, at), body, set(), indexed))

    def quotient(self, context: Context, b: Body, xs: Sequence[SSAValue], out: SSAValue) -> SSAValue:
        """mixed / total in the type of the result, 0 where there are no keys."""
        y: SSAValue = b.insert(arith.DivfOp(xs[0], xs[1])).result
        keys = self.extents["t"]
        if isinstance(keys, Dim) or keys == 0:
            none = b.insert(arith.CmpiOp(context.extent(keys), context.kernel.const(0), "eq")).result
            y = scalar.select(b, none, scalar.constant(b, "f32", 0.0), y)
        return scalar.cast(b, "f32", self.dtype, y)


def _exponential(context: Context, b: Body, xs: Sequence[SSAValue], out: SSAValue) -> SSAValue:
    """exp(s - top)"""
    return b.insert(math.ExpOp(b.insert(arith.SubfOp(xs[0], xs[1])).result)).result
