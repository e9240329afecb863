"""Arrange attention for one kernel: scores with the queries last, and weights that are divided by their sums at the end.

    s = contract(q, k, "bhsd,bhtd->bhst") + mask            s = contract(q, k, "bhsd,bhtd->bhts") + transpose(mask)
    e = exp(s - max s);  p = e * (1 / sum e)          ->    e = exp(s - max s)
    y = contract(p, v, "bhst,bhtd->bhsd")                   y = contract(e, v, "bhts,bhtd->bhsd") * (1 / sum e)

`fuse` makes one group of what stands on the right. Its kernel takes a block of queries after the other, whose scores with all keys stay in a cache
(mlc/passes/kernel/rules/attention_schedule.py). A vector has the scores of neighbouring queries with one key: keys and values are read as they lie,
maxima and sums go over whole vectors, and a row of weights is divided once, not key by key (as Dao 2023 does).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from xdsl.ir import Operation, SSAValue

from mlc.ir import builder as g
from mlc.ir.graph.attention import AttentionOp, pays_online
from mlc.ir.graph.constants import ConstantOp, WeightOp
from mlc.ir.graph.elementwise import OPS, PointwiseOp
from mlc.ir.graph.linear import ContractOp, labels
from mlc.ir.graph.reduce import ReduceOp
from mlc.ir.graph.shape import BroadcastOp, TransposeOp
from mlc.ir.kernel.target import Target
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, rank_of, shape_of
from mlc.passes.base import Pass
from mlc.passes.graph.facts import OpT, made_by
from mlc.passes.graph.rewrite import rewrite, rule
from mlc.passes.kernel.rules.by_target import AT_HAND, target_of

MOST = 24  # element-wise ops between scores and their softmax


@dataclass(frozen=True)
class ArrangeAttention(Pass):
    """Lay out the scores of attention so that one kernel computes them, a block of queries after the other, on the machine `target`."""

    name: ClassVar[str] = "arrange-attention"
    target: str = AT_HAND

    def run(self, module: Module) -> None:
        target = target_of(self.target)
        if target.lowering.attention:
            rewrite(module, [rule(ContractOp)(lambda op, module: arrange(op, target.lanes))])


@dataclass(frozen=True)
class Attention:
    """The ops of attention: mixed(scaled(weights(product(q, k)))), or scaled(mixed(weights(...))) where it is arranged.

    product   of queries and keys, and `between` it and the softmax, element by element, in order
    weights   max, sub and exp of the scores, along their axis `keys`
    sums      sum and reciprocal of these
    scaled    the product with the latter, of the weights or of what they are multiplied to
    mixed     the product of weights and values
    """

    product: ContractOp
    between: Sequence[Operation]
    weights: tuple[ReduceOp, Operation, Operation]
    sums: tuple[ReduceOp, Operation]
    scaled: Operation
    mixed: ContractOp
    keys: int

    @property
    def arranged(self) -> bool:
        return self.mixed.result in self.scaled.operands

    @property
    def ops(self) -> list[Operation]:
        """In order, where it is arranged."""
        return [self.product, *self.between, *self.weights, *self.sums, self.mixed, self.scaled]

    @staticmethod
    def of(e: Operation) -> Attention | None:
        """The attention that an exponential is a part of, if nobody else reads what it computes on the way."""
        if not isinstance(e, OPS["exp"]) or dtype_of(e.results[0]) != "f32":
            return None
        centred = made_by(e.operands[0], OPS["sub"])
        repeat = made_by(centred.operands[1], BroadcastOp) if centred is not None else None
        top = repeat.x.owner if repeat is not None else None
        if centred is None or not isinstance(top, ReduceOp) or top.kind.data != "max" or len(top.axes) != 1:
            return None
        scores, (keys,) = centred.operands[0], top.axes.get_values()
        rows = [axis for axis in range(rank_of(scores)) if axis != keys]
        readers = _readers(e)
        total = next((op for op in readers if isinstance(op, ReduceOp)), None)
        if top.x is not scores or len(readers) != 2 or total is None or total.kind.data != "sum":
            return None
        inverse = _only_reader(total, OPS["reciprocal"])
        turned = _only_reader(inverse, TransposeOp)
        spread = _only_reader(turned or inverse, BroadcastOp)
        scaled = _only_reader(spread, OPS["mul"])
        if total.axes != top.axes or inverse is None or spread is None or scaled is None:
            return None
        if repeat is None or list(repeat.axes.get_values()) != rows:
            return None
        (other,) = [op for op in readers if op is not total]
        mixed = _only_reader(other, ContractOp) if other is scaled else other
        if not isinstance(mixed, ContractOp) or (other is mixed and _only_reader(mixed, OPS["mul"]) is not scaled):
            return None
        if other is scaled and (turned is not None or list(spread.axes.get_values()) != rows):
            return None
        behind = _behind(scores, {top, centred})
        if behind is None:
            return None
        found = Attention(*behind, (top, centred, e), (total, inverse), scaled, mixed, keys)
        return found if _multiplies(found, other.results[0] if other is scaled else e.results[0]) else None

    @property
    def fits_registers(self) -> bool:
        """Does a kernel pay whose softmax goes along with its keys, as one of graph.attention does?"""
        if self.arranged:
            return False
        mixed, weights = self.mixed, self.scaled.results[0]
        left, _, out = labels(self.product.spec.data)
        p, v = labels(mixed.spec.data)[:2]
        p, v, values = (p, v, mixed.rhs) if mixed.lhs is weights else (v, p, mixed.lhs)
        extents = dict(zip(left, shape_of(self.product.lhs), strict=True))
        size = next(extents[c] for c in _long(self.product.lhs, left) if c not in out)
        width = next(e for c, e in zip(v, shape_of(values), strict=True) if e != 1 and c not in p)
        return pays_online(shape_of(self.product.result)[self.queries], [size, width])

    @property
    def queries(self) -> int:
        """The axis of the scores along which vectors lie: the last one that keys and values do not have."""
        left, right, out = labels(self.product.spec.data)
        theirs = right if out[self.keys] in right else left
        return max(axis for axis, label in enumerate(out) if label not in theirs)


def _readers(op: Operation) -> list[Operation]:
    return list(dict.fromkeys(use.operation for use in op.results[0].uses))


def _only_reader(op: Operation | None, kind: type[OpT]) -> OpT | None:
    readers = _readers(op) if op is not None else []
    return readers[0] if len(readers) == 1 and isinstance(readers[0], kind) else None


def _behind(scores: SSAValue, readers: set[Operation]) -> tuple[ContractOp, list[Operation]] | None:
    """The one contraction that scores are computed of, and the element-wise ops on the way, in order; None where others read these."""
    shape, waiting, seen = shape_of(scores), [scores], dict[Operation, None]()
    products: dict[ContractOp, None] = {}
    while waiting:
        op = waiting.pop().owner
        if isinstance(op, ContractOp):
            products[op] = None
        elif isinstance(op, PointwiseOp) and op not in seen and shape_of(op.results[0]) == shape:
            seen[op] = None
            waiting += op.operands
        if len(seen) > MOST:
            return None
    if len(products) != 1:
        return None
    (product,) = products
    between: list[Operation] = []
    moving: set[SSAValue] = {product.result}
    left = [*seen]
    while ready := [op for op in left if all(v in moving or v.owner not in seen for v in op.operands)]:
        left = [op for op in left if op not in ready]
        for op in ready:
            if moving.isdisjoint(op.operands):
                del seen[op]  # a part of what is added to the scores
            else:
                between.append(op)
                moving.update(op.results)
    inside = {*between, *readers}
    closed = all(use.operation in inside for op in (product, *between) for use in op.results[0].uses)
    return (product, between) if closed and scores in moving else None


def _multiplies(found: Attention, weights: SSAValue) -> bool:
    """Are both contractions products of matrices, for each of some leading axes, the one over a size and the other over the keys? Axes of one
    element do not count."""
    left, right, out = labels(found.product.spec.data)
    key = out[found.keys]
    k, q = (right, left) if key in right else (left, right)
    folded = [c for c in _long(found.product.lhs, left) + _long(found.product.rhs, right) if c not in out]
    both = key not in q and len(set(folded)) == 1 and len(folded) == 2
    if not both or not any(c in q and c not in k for c in out) or dtype_of(found.product.result) != "f32":
        return False
    first, second, result = labels(found.mixed.spec.data)
    p, v = (first, second) if found.mixed.lhs is weights else (second, first)
    own = [c for c in _long(found.mixed.rhs if v is second else found.mixed.lhs, v) if c not in p]
    key = p[found.keys]
    query = p[found.queries]
    return (
        found.mixed.lhs is not found.mixed.rhs
        and [c for c in p if c not in result] == [key]
        and key in v
        and query not in v
        and len(own) == 1
        and own[0] == v[-1]
        and own[0] in result
    )


def _long(value: SSAValue, names: str) -> list[str]:
    """The labels of its axes that have more than one element."""
    return [c for c, e in zip(names, shape_of(value), strict=True) if e != 1]


def one_kernel(op: AttentionOp, target: Target) -> bool:
    """Will the decomposition of attention of known sizes be one kernel on a machine?"""
    q, k, _, *masks = op.inputs
    queries, keys = shape_of(q)[2], shape_of(k)[2]
    return (
        target.lowering.attention
        and dtype_of(q) == "f32"
        and isinstance(queries, int)
        and queries >= target.lanes
        and keys != 0
        and all(isinstance(mask.owner, BroadcastOp) for mask in masks)
    )


def arrange(op: ContractOp, lanes: int) -> SSAValue | None:
    """The product of weights and values -> the same, arranged. Of fewer queries than a vector has lanes, or of an open number of them, it stays."""
    found = next((a for x in op.operands if (a := _weighted(x)) is not None and a.mixed is op), None)
    if found is None or found.arranged:
        return None
    shape = shape_of(found.product.result)
    queries, keys = shape[found.queries], shape[found.keys]
    if not isinstance(queries, int) or queries < lanes or keys == 0:
        return None
    order = [a for a in range(len(shape)) if a not in (found.keys, found.queries)] + [found.keys, found.queries]
    moved: dict[SSAValue, SSAValue] = {found.product.result: _in_order(found.product, order)}
    for step in found.between:
        operands = []
        for value in step.operands:
            if value not in moved:
                if (turned := _turned(value, order)) is None:
                    return None
                moved[value] = turned
            operands.append(moved[value])
        moved[step.results[0]] = step.on(*operands)  # type: ignore[attr-defined]
    scores = moved[found.weights[1].operands[0]]
    axis, kept = len(order) - 2, [a for a in range(len(order)) if a != len(order) - 2]
    top = g.reduce(scores, [axis], "max")
    e = g.exp(g.sub(scores, g.broadcast(top, shape_of(scores), kept)))
    inverse = g.reciprocal(g.reduce(e, [axis], "sum"))
    left, right, out = labels(op.spec.data)
    if op.lhs is found.scaled.results[0]:
        names = "".join(left[a] for a in order)
        mixed = g.contract(e, op.rhs, f"{names},{right}->{out}")
    else:
        names = "".join(right[a] for a in order)
        mixed = g.contract(op.lhs, e, f"{left},{names}->{out}")
    rows = [names[a] for a in kept]
    places = sorted(range(len(rows)), key=lambda n: out.index(rows[n]))
    spread = g.broadcast(g.transpose(inverse, places), shape_of(mixed), [out.index(rows[n]) for n in places])
    return g.mul(mixed, spread)


def _weighted(value: SSAValue) -> Attention | None:
    """The attention whose weights, divided by their sums, a value is."""
    scaled = made_by(value, OPS["mul"])
    if scaled is None:
        return None
    return next((a for x in scaled.operands if isinstance(x.owner, Operation) and (a := Attention.of(x.owner))), None)


def _in_order(op: ContractOp, order: Sequence[int]) -> SSAValue:
    left, right, out = labels(op.spec.data)
    return op.on(op.lhs, op.rhs, f"{left},{right}->{''.join(out[a] for a in order)}")


def _turned(value: SSAValue, order: Sequence[int]) -> SSAValue | None:
    """What is added to scores, or compared with them, with its axes in this order. None where it is as large as they are: turning it would cost what
    the arrangement saves."""
    shape = [shape_of(value)[a] for a in order]
    repeat = made_by(value, BroadcastOp)
    if repeat is None:
        known = isinstance(value.owner, ConstantOp | WeightOp) or prod(e == 1 for e in shape[:-2])
        return g.transpose(value, order) if known else None
    axes = list(repeat.axes.get_values())
    places = sorted(range(len(axes)), key=lambda n: order.index(axes[n]))
    return g.broadcast(g.transpose(repeat.x, places), shape, [order.index(axes[n]) for n in places])
