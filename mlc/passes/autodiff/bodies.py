"""Bodies of loops and branches: grown in place, and cut in two where their derivative runs elsewhere.

A body is pulled where it stands; what that appended becomes a body of its own. The values of the forward body that it reads are the
residuals. Constants and views of them are made anew instead of being kept.

    {t = exp(x); y = t * w}   ->   {t = exp(x); y = t * w; yield y, t}   and   {ct = cy * w; cx = ct * t; cw = cy * t}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from xdsl.builder import Builder
from xdsl.ir import Attribute, Block, Operation, OpResult, SSAValue
from xdsl.ir.core import SSAValues
from xdsl.rewriter import InsertPoint

from mlc.ir.dims import Extent
from mlc.ir.graph import shape as shapes
from mlc.ir.graph.base import building
from mlc.ir.graph.constants import ConstantOp, DimensionOp, IotaOp, WeightOp
from mlc.ir.graph.control import yielded
from mlc.ir.graph.derivative import Tangent
from mlc.ir.graph.shape import BroadcastOp, ReshapeOp, TransposeOp

Pull = Callable[[Block, Iterable[tuple[SSAValue, SSAValue]], Sequence[SSAValue]], list[Tangent]]
Push = Callable[[Block, Mapping[SSAValue, SSAValue]], list[Tangent]]

FREE = (ConstantOp, WeightOp, DimensionOp, IotaOp, BroadcastOp, ReshapeOp, TransposeOp)


@contextmanager
def at_end(block: Block, steps: Sequence[Extent] = ()) -> Iterator[None]:
    """Ops built inside stand in front of the terminator of a body."""
    assert block.last_op is not None
    with building(Builder(InsertPoint.before(block.last_op)), steps=steps):
        yield


def give(block: Block, values: Iterable[SSAValue]) -> None:
    """Have a body give these values."""
    assert block.last_op is not None
    block.last_op.operands = list(values)


def insert_results(op: Operation, at: int, types: Sequence[Attribute]) -> list[SSAValue]:
    """More results of an op, in place: a value that something holds stays valid."""
    fresh = [OpResult(type, op, at + n) for n, type in enumerate(types)]
    behind = list(op.results[at:])
    for result in behind:
        result.index += len(fresh)
    op.results = SSAValues((*op.results[:at], *fresh, *behind))
    return list(fresh)


def append_results(op: Operation, types: Sequence[Attribute]) -> list[SSAValue]:
    return insert_results(op, len(op.results), types)


def nothing_like(x: SSAValue) -> SSAValue:
    """Zeros of any dtype."""
    return shapes.full_like(x, 0)


@dataclass
class Half:
    """The backward ops of a body, taken out of it: `gradients` are of the wanted arguments, in terms of `seeds`, `residuals` and results of ops."""

    ops: list[Operation]
    views: list[Operation]  # of the forward body, to be made anew
    residuals: list[SSAValue]
    seeds: list[SSAValue]
    gradients: list[Tangent]

    def move(self, block: Block, values: dict[SSAValue, SSAValue]) -> list[Tangent]:
        """The ops at the end of a block, with these values for residuals and seeds; what the gradients are there."""
        for view in self.views:
            copy = view.clone(value_mapper=values)
            block.add_op(copy)
            values.update(zip(view.results, copy.results, strict=True))
        for op in self.ops:
            op.operands = [values.get(x, x) for x in op.operands]
            block.add_op(op)
        for seed in self.seeds:
            seed.owner.erase_arg(seed)  # type: ignore[union-attr, arg-type]
        return [None if c is None else values.get(c, c) for c in self.gradients]


def halve(block: Block, seeded: Sequence[int], wanted: Sequence[int], pull: Pull, steps: Sequence[Extent] = ()) -> Half:
    """Pull a body, given cotangents of some of its results, for some of its arguments; what that appended is taken out."""
    outs, arguments, before = yielded(block), list(block.args), block.last_op.prev_op if block.last_op else None
    seeds = [block.insert_arg(outs[n].type, len(block.args)) for n in seeded]
    with at_end(block, steps):
        gradients = pull(
            block, [(outs[n], s) for n, s in zip(seeded, seeds, strict=True)], [arguments[n] for n in wanted]
        )
    ops: list[Operation] = []
    op = block.first_op if before is None else before.next_op
    while op is not None and op is not block.last_op:
        ops.append(op)
        op = op.next_op
    for op in ops:
        op.detach()
    own = {y for op in ops for y in op.results} | set(seeds)
    read: dict[SSAValue, None] = dict.fromkeys(x for op in ops for x in op.operands if x not in own)
    read.update(dict.fromkeys(c for c in gradients if c is not None and c not in own))
    views: list[Operation] = []
    for op in reversed(list(block.ops)):
        if isinstance(op, FREE) and op.results[0] in read:
            views.append(op)
            del read[op.results[0]]
            read.update(dict.fromkeys(op.operands))
    return Half(ops, views[::-1], list(read), list(seeds), gradients)
