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
from dataclasses import dataclass

from xdsl.dialects import arith, math
from xdsl.ir import Block, BlockArgument, Operation, SSAValue

from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.graph import scalar
from mlc.ir.graph.attention import AttentionOp
from mlc.ir.graph.constants import WeightOp
from mlc.ir.graph.control import GroupOp, source_of
from mlc.ir.graph.linear import ContractOp, labels
from mlc.ir.graph.parts import SliceOp
from mlc.ir.graph.reduce import ReduceOp
from mlc.ir.graph.views import reads_through
from mlc.ir.kernel.access import Affine, L
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
    """As draft_group gives it, of a group that holds an attention, by its name or as the ops that it is made of, and views of its operands."""
    block = group.body.block
    draft = Draft(name)
    memory: dict[SSAValue, Memory] = {}
    for arg, outer in zip(block.args, group.inputs, strict=True):
        weight = isinstance(source_of(outer).owner, WeightOp)
        memory[arg] = draft.memory(shape_of(arg), dtype_of(arg), "w" if weight else "x", weight=weight)
    for cut, begin in starts.items():
        assert isinstance(cut, SliceOp)
        memory[cut.result] = draft.part(memory[cut.x], begin, shape_of(cut.result))
    named = next((op for op in block.ops if isinstance(op, AttentionOp)), None)
    parts = Attended.of_op(named) if named is not None else Attended.of_ops(block)
    result = _Steps(parts, draft, memory).write()
    return draft, [memory[arg] for arg in block.args], [result]


@dataclass(frozen=True)
class Attended:
    """What attends to what, and where by the loops of the kernel: m runs through queries, t through keys, d and e through heads.

    outer    the loops of batches and heads
    scores   where a mask has a score, and the value of the group that the masked scores are, if they are one: then `product` is what they
             are made of. Otherwise `named` says what masks there are.
    """

    extents: Mapping[str, Extent]
    outer: Sequence[str]
    q: tuple[SSAValue, Access]
    k: tuple[SSAValue, Access]
    v: tuple[SSAValue, Access]
    y: tuple[SSAValue, Access]
    scores: Access
    named: AttentionOp | None = None
    product: SSAValue | None = None
    masked: SSAValue | None = None

    @staticmethod
    def of_op(op: AttentionOp) -> Attended:
        q, k, v, *_ = op.inputs
        (batch, heads, queries, size), (groups, keys), out = shape_of(q), shape_of(k)[1:3], shape_of(v)[3]
        outer: dict[str, Extent] = {"b": batch, "g": groups}
        head = L("g")
        if heads != groups:
            outer["r"] = shared = dims.floordiv(heads, groups)
            assert isinstance(shared, int)
            head = L("g") * shared + L("r")
        of_keys, rows = (L("b"), L("g"), L("t")), (L("b"), head, L("m"))
        return Attended(
            {**outer, "m": queries, "t": keys, "d": size, "e": out},
            list(outer),
            (q, (*rows, L("d"))),
            (k, (*of_keys, L("d"))),
            (v, (*of_keys, L("e"))),
            (op.result, (*rows, L("e"))),
            (*rows, L("t")),
            named=op,
        )

    @staticmethod
    def of_ops(block: Block) -> Attended:
        """Of the ops that fuse has gathered: a product, its softmax over keys, and another product."""
        product, mixed = [op for op in block.ops if isinstance(op, ContractOp)]
        (top,) = [op for op in block.ops if isinstance(op, ReduceOp) and op.kind.data == "max"]
        left, right, out = labels(product.spec.data)
        key = out[top.axes.get_values()[0]]
        (q, of_q), (k, of_k) = (product.lhs, left), (product.rhs, right)
        if key not in right:
            (q, of_q), (k, of_k) = (k, of_k), (q, of_q)
        rows = [c for c in out if c not in of_k]
        names = {c: f"b{n}" for n, c in enumerate(out)} | {rows[-1]: "m", key: "t"}
        inner = next(c for c, e in zip(of_q, shape_of(q), strict=True) if c not in out and e != 1)
        of_p, of_v, result = labels(mixed.spec.data)
        v = mixed.rhs
        if isinstance(root(mixed.lhs), BlockArgument):  # the weights are computed here, values are not
            v, of_p, of_v = mixed.lhs, of_v, of_p
        mine = {c: names[label] for c, label in zip(of_p, out, strict=True)}
        own = next(c for c, e in zip(of_v, shape_of(v), strict=True) if c not in of_p and e != 1)
        places = lambda spec, by: tuple(L(by[c]) if c in by else Affine() for c in spec)
        extents = {names[c]: e for c, e in zip(out, shape_of(product.result), strict=True)}
        extents |= {
            "d": dict(zip(of_q, shape_of(q), strict=True))[inner],
            "e": dict(zip(of_v, shape_of(v), strict=True))[own],
        }
        return Attended(
            extents,
            [name for name in extents if name not in "mtde"],
            (q, places(of_q, names | {inner: "d"})),
            (k, places(of_k, names | {inner: "d"})),
            (v, places(of_v, mine | {own: "e"})),
            (mixed.result, places(result, mine | {own: "e"})),
            places(out, names),
            product=product.result,
            masked=top.x,
        )


def root(value: SSAValue) -> SSAValue:
    """What a view shows."""
    while reads_through(value.owner):
        value = value.owner.operands[0]
    return value


class _Steps:
    def __init__(self, parts: Attended, draft: Draft, memory: dict[SSAValue, Memory]):
        self.parts, self.draft, self.memory = parts, draft, memory
        self.outer, self.extents = parts.outer, parts.extents

    def write(self) -> Memory:
        rows, parts = (*self.outer, "m"), self.parts
        acc = self.sum("acc", (*rows, "t"), "d", parts.q, parts.k)
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
        mixed = self.sum("mixed", (*rows, "e"), "t", (p, tuple(map(L, (*rows, "t")))), parts.v)
        result, at = parts.y
        y = self.draft.memory(shape_of(result), dtype_of(result), "y")
        extents = {name: self.extents[name] for name in (*rows, "e")}
        inputs = [(mixed, tuple(map(L, (*rows, "e")))), (total, tuple(map(L, rows)))]
        keys = self.extents["t"]
        if isinstance(keys, Dim):
            self.draft.extents.append(keys)
        self.draft.steps.append(DraftOp(extents, inputs, (y, at), self.quotient))
        return y

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
        """s = acc * scale, with what masks add, and -inf where a key is not seen; or what the group says that scores become."""
        parts, loops = self.parts, (*self.outer, "m", "t")
        at = tuple(map(L, loops))
        expression = Expression(dict(self.memory))
        expression.reads[acc, at] = 0  # the first input
        op, value = parts.named, parts.masked
        if value is not None:
            assert parts.product is not None
            # the product is read where it was written, by the loops in another order
            acc_of = Memory(acc.name, [self.extents[form.loop() or ""] for form in parts.scores], "f32", temporary=True)
            expression = Expression({**self.memory, parts.product: acc_of})
            expression.reads[acc_of, parts.scores] = 0
            expression.collect(value, parts.scores)
        masks = [] if op is None else list(op.inputs[3:])
        for mask in masks:
            expression.collect(mask, parts.scores)
        causal = op is not None and bool(op.causal.value.data)

        def body(context: Context, b: Body, xs: Sequence[SSAValue], out: SSAValue) -> SSAValue:
            if value is not None:
                return expression.build(context, b, xs, value, parts.scores)
            assert op is not None
            minus = scalar.constant(b, "f32", MINUS)
            x: SSAValue = b.insert(arith.MulfOp(xs[0], scalar.constant(b, "f32", op.scale.value.data))).result
            for mask in masks:
                read = expression.build(context, b, xs, mask, parts.scores)
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
        _, *others = expression.reads
        self.draft.steps.append(DraftOp(extents, [(acc, at), *others], (s, at), body, set(), indexed))

    def quotient(self, context: Context, b: Body, xs: Sequence[SSAValue], out: SSAValue) -> SSAValue:
        """mixed / total in the type of the result, 0 where there are no keys."""
        y: SSAValue = b.insert(arith.DivfOp(xs[0], xs[1])).result
        keys = self.extents["t"]
        if isinstance(keys, Dim) or keys == 0:
            none = b.insert(arith.CmpiOp(context.extent(keys), context.kernel.const(0), "eq")).result
            y = scalar.select(b, none, scalar.constant(b, "f32", 0.0), y)
        return scalar.cast(b, "f32", dtype_of(self.parts.y[0]), y)


def _exponential(context: Context, b: Body, xs: Sequence[SSAValue], out: SSAValue) -> SSAValue:
    """exp(s - top)"""
    return b.insert(math.ExpOp(b.insert(arith.SubfOp(xs[0], xs[1])).result)).result
