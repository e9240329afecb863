"""Sums over ranks, many in one and beside what else there is to compute.

bucket-collectives      what follows from gradients stands behind the backward pass; neighbours travel together, up to so many bytes

    %sa = all_reduce %a;  %w.2 = update %w, %sa        %a = ...;  %b = ...
    %b = ...                                      ->   %sa, %sb = all_reduce %a, %b
    %sb = all_reduce %b;  %v.2 = update %v, %sb        %w.2 = update %w, %sa;  %v.2 = update %v, %sb

overlap-collectives     a sum starts behind what it needs, and is waited for where it is needed first

    %s = all_reduce %a;  %c = ...;  use %s        ->   %f = start %a;  %c = ...;  %s = wait %f;  use %s

Engines want one order of sums on all ranks: it is that of the program, which is one, and neither pass has two of them change places. A sum that
another one needs (statistics of the whole batch) is on the way of the backward pass and travels alone. Members of a bucket lie side by side in
memory in the order in which they are computed, so that nothing is copied, and an element is summed up as it would be alone: bits do not depend on
the size of buckets with engines that sum up element by element in one order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from xdsl.dialects.func import FuncOp
from xdsl.ir import Block, Operation, SSAValue

from mlc.errors import MlcError
from mlc.ir.graph.collective import MOST, AllReduceOp, AllReduceStartOp, AllReduceWaitOp, bucket_places
from mlc.ir.graph.counted import PrefixOp
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, is_static, itemsize, shape_of, tensor_type
from mlc.passes.base import Pass

BUCKET = 4 << 20  # bytes: half of it or twice as much cost a step of 32 MB of gradients 2 % at most
IN_FLIGHT = 4096  # sums of a program: each has a place in the table of the engine


def has_sums_over_ranks(module: Module) -> bool:
    """Whether there is something to do for these passes."""
    return any(isinstance(op, AllReduceOp) for op in module.main.body.block.ops)


@dataclass(frozen=True)
class BucketCollectives(Pass):
    """Gather sums over ranks that no other sum waits for into buckets of about so many `bytes`."""

    name: ClassVar[str] = "bucket-collectives"
    takes = ("graph", "groups")
    bytes: int = BUCKET

    def run(self, module: Module) -> None:
        block = module.main.body.block
        if has_sums_over_ranks(module) and not any(isinstance(op, PrefixOp) for op in block.ops):
            _Buckets(block, self.bytes).rewrite()


@dataclass(frozen=True)
class OverlapCollectives(Pass):
    """Start sums over ranks as soon as what they sum up is there, and wait for them where their results are needed."""

    name: ClassVar[str] = "overlap-collectives"
    takes = ("graph", "groups")

    def run(self, module: Module) -> None:
        for function in module.op.ops:
            if isinstance(function, FuncOp) and function.body.blocks:
                _overlap(function.body.block)


class _Buckets:
    def __init__(self, block: Block, limit: int):
        self.block, self.limit = block, limit
        self.ops = [op for op in block.ops if op is not block.last_op]
        self.gathered = self._gathered()
        self.level: dict[
            Operation, int
        ] = {}  # of what follows from a bucket, its number; of what follows from several, the last
        self.members: list[list[AllReduceOp]] = []
        self.placed: list[Operation | int] = []  # an op, or the number of a bucket

    def _gathered(self) -> set[Operation]:
        """The sums of fixed size that no other one waits for."""
        found, needed = set[Operation](), set[Operation]()
        for op in reversed(self.ops):
            if isinstance(op, AllReduceOp) and op not in needed and all(is_static(shape_of(x)) for x in op.xs):
                found.add(op)
            if isinstance(op, AllReduceOp) or op in needed:
                needed.update(x.owner for x in op.operands if isinstance(x.owner, Operation))
        return found

    def rewrite(self) -> None:
        follows = self._followers()
        order = {op: number for number, op in enumerate(self.ops)}
        ready: dict[Operation | None, list[AllReduceOp]] = {}  # by what computes the last of their operands
        for op in self.ops:
            if isinstance(op, AllReduceOp) and op in self.gathered:
                owners = [x.owner for x in op.xs if isinstance(x.owner, Operation)]
                ready.setdefault(max(owners, key=order.__getitem__, default=None), []).append(op)
        self.open: dict[str, list[AllReduceOp]] = {}  # by dtype
        self.filled: dict[str, int] = {}  # elements of these
        for each in ready.get(None, ()):
            self._take(each)
        for op in self.ops:
            if op in self.gathered or op in follows:
                continue
            self.placed.append(op)
            for each in ready.get(op, ()):
                self._take(each)
        for dtype in list(self.open):
            self._close(dtype)
        self._write(follows)

    def _followers(self) -> set[Operation]:
        """What depends on a gathered sum."""
        found = set[Operation]()
        for op in self.ops:
            if any(x.owner in self.gathered or x.owner in found for x in op.operands):
                found.add(op)
        return found

    def _take(self, op: AllReduceOp) -> None:
        """Into the open bucket of its dtype, which may be full then, or too full before."""
        dtype, elements = dtype_of(op.xs[0]), _elements(op)
        if dtype in self.open and self.filled[dtype] + elements > MOST:
            self._close(dtype)
        self.open.setdefault(dtype, []).append(op)
        self.filled[dtype] = self.filled.get(dtype, 0) + elements
        if self.filled[dtype] * itemsize(dtype) >= self.limit:
            self._close(dtype)

    def _close(self, dtype: str) -> None:
        members = self.open.pop(dtype)
        self.filled[dtype] = 0
        for op in members:
            self.level[op] = len(self.members)
        self.placed.append(len(self.members))
        self.members.append(members)

    def _write(self, follows: set[Operation]) -> None:
        """The ops in their new order, a sum in place of the members of each bucket, and behind all what follows, bucket by bucket."""
        for op in self.ops:
            if op in follows:
                self.level[op] = max(self.level.get(x.owner, 0) for x in op.operands if isinstance(x.owner, Operation))
        late = sorted((op for op in self.ops if op in follows), key=self.level.__getitem__)
        last = self.block.last_op
        assert last is not None
        for op in self.ops:
            op.detach()
        for item in [*self.placed, *late]:
            self.block.insert_op_before(self._joined(self.members[item]) if isinstance(item, int) else item, last)
        for op in self.gathered:
            op.erase()

    def _joined(self, members: Sequence[AllReduceOp]) -> AllReduceOp:
        made = AllReduceOp([x for op in members for x in op.xs])
        made.location = members[-1].location
        for old, new in zip([y for op in members for y in op.outputs], made.outputs, strict=True):
            old.replace_all_uses_with(new)
        return made


def _elements(op: AllReduceOp) -> int:
    """What it takes of a bucket, up to where the next member begins."""
    return bucket_places([*(shape_of(x) for x in op.xs), (0,)])[0][-1]


def _overlap(block: Block) -> None:
    """Each sum in two halves. Starts keep their order: one goes up to the one before it at most."""
    sums = [op for op in block.ops if isinstance(op, AllReduceOp)]
    if not sums:
        return
    if len(sums) > IN_FLIGHT:
        raise MlcError(
            f"the program has {len(sums)} sums over ranks, and {IN_FLIGHT} have a place",
            remedy="Larger buckets are fewer: mlc.dist.data(bucket_bytes=...).",
        )
    last = block.last_op
    assert last is not None
    halves = {op: _halves(op) for op in sums}
    waits: dict[SSAValue, AllReduceWaitOp] = {y: wait for op, (_, wait) in halves.items() for y in op.outputs}
    left = deque(sums)  # that have not started
    there: set[Operation] = set()
    ops = list(block.ops)
    for op in ops:
        op.detach()

    def place(op: Operation) -> None:
        for x in _uses(op):
            if x in waits and waits[x] not in there:
                there.add(waits[x])
                block.add_op(waits[x])
        there.add(op)
        block.add_op(op)

    for op in ops:
        if not isinstance(op, AllReduceOp):
            place(op)
        while left and (
            op is left[0] or all(not isinstance(x.owner, Operation) or x.owner in there for x in left[0].xs)
        ):
            place(halves[left.popleft()][0])
    for op, (_, wait) in halves.items():
        if wait not in there:  # nobody reads it, and it is on its way all the same
            block.insert_op_before(wait, last)
        for old, new in zip(op.outputs, wait.outputs, strict=True):
            old.replace_all_uses_with(new)
        op.erase()


def _halves(op: AllReduceOp) -> tuple[AllReduceStartOp, AllReduceWaitOp]:
    start = AllReduceStartOp(op.xs)
    wait = AllReduceWaitOp(start.flight, [tensor_type(x) for x in op.xs])
    start.location = wait.location = op.location
    return start, wait


def _uses(op: Operation) -> Iterator[SSAValue]:
    """What an op reads, its bodies included."""
    for inner in op.walk():
        yield from inner.operands
