"""Where results go and in which order ops run, so that a result may take the memory of an argument.

    %g = group(%w, %x)     {graph.alias = "w"}           %g writes %x's successor over %w, behind the last op that reads %w
    %h = group(%w)                             ->        order: %h, %g

Every op reads the old value of an argument. So whoever overwrites it runs behind all of its other readers, where nothing that these need
forbids it, and reads it itself only where it writes. Otherwise the result has memory of its own and is copied at the end:

    return %b, %a          {graph.alias = "a"}, {graph.alias = "b"}      a swap: t = a;  a = b;  b = t
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import heappop, heappush

from xdsl.dialects.func import FuncOp
from xdsl.ir import BlockArgument, Operation, SSAValue

from mlc.ir.alias import aliases_of
from mlc.ir.graph.collective import AllReduceOp, AllReduceStartOp, AllReduceWaitOp
from mlc.ir.graph.control import ControlOp, GroupOp, ScanOp, WhileOp
from mlc.ir.graph.counted import PrefixOp
from mlc.ir.graph.shape import ReshapeOp

# (group, number of a result, number of an operand): may the kernel write the one over the other?
Overwrites = Callable[[GroupOp, int, int], bool]


@dataclass(frozen=True)
class Move:
    """The copy of a result, by its number, into its place."""

    result: int
    value: SSAValue


@dataclass(frozen=True)
class Placement:
    """The ops of a function in an order that works, with the copies of results among them.

    direct   values that are written into the place of a result when they are computed
    late     results that are copied behind everything; where they are a Move too, that one saves the value in memory of its own
    """

    order: list[Operation | Move]
    direct: dict[SSAValue, int]
    late: list[Move]


def place(main: FuncOp, overwrites: Overwrites) -> Placement:
    """The placement of a fused function. Linear in its size, but for the logarithm of a queue."""
    block = main.body.block
    ops = [op for op in block.ops if op is not block.last_op]
    results = list(block.last_op.operands) if block.last_op else []
    aliases = {result: main.args[argument] for result, argument in aliases_of(main).items()}
    direct: dict[SSAValue, int] = {}
    moves = []
    for number, value in enumerate(results):
        root = memory_of(value)
        taken = not isinstance(root.owner, GroupOp | ControlOp) or root in direct
        if taken or (number in aliases and not _may_write(root, aliases[number], overwrites)):
            moves.append(Move(number, value))
        else:
            direct[root] = number
    if not aliases:
        return Placement([*ops, *moves], direct, [])
    return _Order(ops, moves, direct, aliases).placement(results)


def memory_of(value: SSAValue) -> SSAValue:
    """The value in whose memory this one lies: views are looked through."""
    while isinstance(value.owner, ReshapeOp | PrefixOp):
        value = value.owner.x if isinstance(value.owner, ReshapeOp) else value.owner.source_of(value)
    return value


def _may_write(root: SSAValue, argument: BlockArgument, overwrites: Overwrites) -> bool:
    """Whether the op that computes a value may write it over an argument, as far as it reads that itself."""
    op, number = root.owner, list(root.owner.results).index(root)  # type: ignore[union-attr]
    reads = [n for n, operand in enumerate(op.operands) if memory_of(operand) is argument]  # type: ignore[union-attr]
    if not reads:
        return True
    if len(reads) > 1:
        return False
    match op:
        case GroupOp():
            return overwrites(op, number, reads[0])
        case ScanOp():  # a carry begins as the argument and is overwritten at the end of each step
            return reads[0] == number < op.carried.value.data
        case WhileOp():
            return reads[0] == 1 + number and number < op.carried.value.data
    return False


class _Order:
    """Kahn's algorithm, first come first served. What waits for readers of memory only may give up its place."""

    def __init__(
        self,
        ops: list[Operation],
        moves: list[Move],
        direct: dict[SSAValue, int],
        aliases: dict[int, BlockArgument],
    ):
        self.items: list[Operation | Move] = [*ops, *moves]
        self.direct, self.moves = direct, moves
        self.position: dict[Operation | Move, int] = {item: number for number, item in enumerate(self.items)}
        self.waiting = [0] * len(self.items)  # for values
        self.followers: list[list[int]] = [[] for _ in self.items]
        self.readers_left: dict[int, int] = {}  # aliased result -> readers of the argument that are still to come
        self.released: dict[int, list[int]] = defaultdict(list)  # item -> aliased results that wait for it
        self.places: dict[int, list[int]] = defaultdict(list)  # item -> aliased results that it writes over arguments
        self._dependences(ops)
        self._readers(ops, aliases)

    def _dependences(self, ops: list[Operation]) -> None:
        count: Operation | None = None
        collective: Operation | None = None
        for item in self.items:
            operands = item.operands if isinstance(item, Operation) else [item.value]
            needed = {operand.owner for operand in operands}
            if count is not None:  # a size means something behind the op that counts it
                needed.add(count)
            if isinstance(item, AllReduceOp | AllReduceStartOp | AllReduceWaitOp):  # all ranks have one order
                needed |= set() if collective is None else {collective}
                collective = item
            for owner in needed:
                if isinstance(owner, Operation) and owner in self.position:
                    self.followers[self.position[owner]].append(self.position[item])
                    self.waiting[self.position[item]] += 1
            if isinstance(item, PrefixOp):
                count = item

    def _readers(self, ops: list[Operation], aliases: dict[int, BlockArgument]) -> None:
        readers: dict[SSAValue, dict[int, None]] = defaultdict(dict)
        for item in self.items:
            if not isinstance(item, ReshapeOp | PrefixOp):
                for operand in item.operands if isinstance(item, Operation) else [item.value]:
                    readers[memory_of(operand)][self.position[item]] = None
        # a run that stops at a size it counts leaves arguments as they were
        counts = [self.position[op] for op in ops if isinstance(op, PrefixOp)]
        writers = {number: self.position[value.owner] for value, number in self.direct.items()}  # type: ignore[index]
        writers |= {move.result: self.position[move] for move in self.moves}
        for number, argument in aliases.items():
            writer = writers[number]
            others = [reader for reader in (*readers[argument], *counts) if reader != writer]
            self.places[writer].append(number)
            self.readers_left[number] = len(others)
            for reader in others:
                self.released[reader].append(number)
        self.writers = writers

    def placement(self, results: list[SSAValue]) -> Placement:
        order: list[Operation | Move] = []
        late: list[int] = []
        done = [False] * len(self.items)
        queue: list[int] = []
        first = 0

        def ready(numbers: Iterable[int]) -> None:
            for number in numbers:
                if not self.waiting[number] and not any(self.readers_left[n] for n in self.places[number]):
                    heappush(queue, number)

        ready(range(len(self.items)))
        while len(order) < len(self.items):
            if not queue:
                # whoever overwrites waits for others: the first of them writes elsewhere
                while done[first]:
                    first += 1
                given_up = [n for n in self.places[first] if self.readers_left[n]]
                late += given_up
                self.places[first] = [n for n in self.places[first] if n not in given_up]
                ready([first])
            number = heappop(queue)
            done[number] = True
            order.append(self.items[number])
            for follower in self.followers[number]:
                self.waiting[follower] -= 1
            for result in self.released[number]:
                self.readers_left[result] -= 1
            freed = [self.writers[n] for n in self.released[number] if not self.readers_left[n]]
            ready({n for n in (*self.followers[number], *freed) if not done[n]})
        direct = {value: number for value, number in self.direct.items() if number not in late}
        return Placement(order, direct, [Move(number, results[number]) for number in late])
