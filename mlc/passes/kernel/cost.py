"""What a scheduled kernel takes of a CPU's core, counted from its loops, its schedule and its accesses: vector instructions by what carries them out,
and bytes by buffer. mlc/insight/prediction.py makes nanoseconds of it.

    [m: 128, n: 768, k: 768] with register tiles of 14 x 2 vectors of 16      ->  4,718,592 multiply-adds; loads: 2 vectors and 14 elements for 28 of them

An instruction of a body counts once for every point of the loops that its operands depend on: what is the same for a whole row is computed once a row.
An operand that does not move along a loop in registers is loaded once for all of its steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import gcd, prod
from typing import Any

from xdsl.dialects import arith, math, memref, scf
from xdsl.dialects.builtin import IntegerAttr
from xdsl.dialects.func import FuncOp
from xdsl.dialects.linalg.ops import IndexOp, YieldOp
from xdsl.ir import Operation, SSAValue

from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.kernel.kernel import Kernel, element_bytes, loops_of, type_of
from mlc.ir.kernel.schedule import Schedule, Vector
from mlc.ir.kernel.target import Target
from mlc.passes.kernel.rules.loop_facts import LoopFacts, OperandFacts
from mlc.passes.loops.leaves import constant_values

# Instructions that an op of a body becomes, in vectors: polynomials of mlc/passes/loops/math.py; a division blocks its unit for as long.
INSTRUCTIONS: Mapping[str, int] = {
    "arith.divf": 9,
    "arith.divsi": 20,
    "arith.remsi": 24,
    "math.sqrt": 9,
    "math.rsqrt": 14,
    "math.exp": 14,
    "math.log": 18,
    "math.tanh": 18,
    "math.erf": 24,
    "math.sin": 22,
    "math.cos": 22,
    "math.powf": 40,
}
FREE = (arith.ConstantOp, IndexOp, YieldOp, arith.BitcastOp, arith.IndexCastOp)
LATENCY = 4  # cycles until a sum can be added to again
QUAD = 4  # products of bytes of an instruction, for each of its lanes
SHUFFLES = 2  # loads that a vector costs which is read along another loop than it is written along: 16 of them transpose a square
LOOP = 1  # cycles of an innermost loop of plain code beside its instructions
TILE = 10  # cycles of a tile beside its instructions: addresses, a call
SUMS = 20  # cycles until the last sums of a tile are there, for what waits for them
STRAY = 6  # cycles in which ten elements are copied one by one
CHAIN = 40  # cycles of a function between two sums, each of whose steps waits for the one before
PAGE = 4096  # bytes between addresses that fall on one set of L1
LINE = 64


@dataclass(frozen=True)
class OpCost:
    """Of one structured op: vector instructions that compute, load and store; cycles for which sums wait for each other; lines that come from L2 since
    too few sets of L1 hold them."""

    arithmetic: Extent = 0
    loads: Extent = 0
    stores: Extent = 0
    waits: Extent = 0
    far: Extent = 0


@dataclass(frozen=True)
class Touched:
    """Bytes of an argument, by its number, that are read or written at least, of so many that it has."""

    argument: int
    bytes: Extent
    whole: Extent
    written: bool


@dataclass(frozen=True)
class KernelCost:
    """`around` are cycles between tiles, `weights` the numbers of arguments that are weights."""

    ops: tuple[OpCost, ...]
    touched: tuple[Touched, ...]
    around: Extent = 0
    weights: tuple[int, ...] = ()

    def facts(self) -> dict[str, Any]:
        """As text for reports, in the kernel's own extents."""
        return {
            "ops": [[str(v) for v in (op.arithmetic, op.loads, op.stores, op.waits, op.far)] for op in self.ops],
            "touched": [[t.argument, str(t.bytes), str(t.whole), t.written] for t in self.touched],
            "weights": list(self.weights),
            "around": str(self.around),
        }


def cost_of(function: FuncOp, target: Target) -> KernelCost | None:
    """None where there is no telling: the kernel is neither structured ops nor plain loops of known extents."""
    kernel = Kernel.from_func(function)
    group = LoopFacts(kernel)
    if not kernel.schedule:
        return None
    if group.strange_code() is not None:
        return _plain(kernel, target.lanes)
    counter = _Counter(group, Schedule.parse(kernel.schedule), target)
    ops = tuple(counter.op(number) for number in range(len(group.ops)))
    weights = tuple(number for number, name in enumerate(kernel.buffers) if name in kernel.weights)
    return KernelCost((*ops, *counter.copies()), tuple(counter.touched()), counter.around(), weights)


class _Counter:
    def __init__(self, group: LoopFacts, schedule: Schedule, target: Target):
        self.group, self.schedule, self.target = group, schedule, target
        self.leaf = schedule.leaf if isinstance(schedule.leaf, Vector) else None
        self.tile: dict[str, int] = {}
        for level in schedule.levels:
            self.tile.update({} if level.fits else level.tiles)
        self.staged = {name for level in schedule.levels for name in level.stage}

    def op(self, number: int) -> OpCost:
        op, operands = self.group.ops[number], self.group.operands[number]
        loops, across = loops_of(op), self.across(number)
        points = self.points(loops, across)
        if self.group.quad(number) is not None:
            points = dims.ceildiv(points, QUAD)
        loads: Extent = 0
        far: Extent = 0
        for operand, argument in zip(operands, op.body.block.args, strict=True):
            if argument.first_use is None or operand is operands[-1] or not self.in_memory(operand):
                continue
            several, once = self.reuse(operand, loops, across)
            count = dims.ceildiv(points * once, several)
            if across in operand.loops and not self.unit(operand, across):
                count = count * SHUFFLES
            loads = loads + count
            far = far + (count if across in operand.loops and self.conflicts(operand, loops) else 0)
        result = operands[-1]
        kept = {name: extent for name, extent in loops.items() if name in result.loops}
        stores = self.points(kept, across if across in kept else None) if self.in_memory(result) else 0
        waits: Extent = 0
        if self.runs(number):
            waits = dims.ceildiv(LATENCY * points, self.in_flight(result, loops, across))
        folds = self.group.is_product_of_bytes(number)
        arithmetic = points if folds else self.arithmetic(number, loops, across)
        return OpCost(arithmetic, loads, stores, waits, far)

    def across(self, number: int) -> str | None:
        """The loop of an op that runs across lanes; of scalar loops the innermost, which LLVM lays there where it can."""
        loops = loops_of(self.group.ops[number])
        if self.leaf is not None:
            return next((name for name in self.leaf.loops if name in loops), None)
        last = next(reversed(loops), None)
        moved = [o for o in self.group.operands[number] if last in o.loops]
        return last if last is not None and all(o.step(last) == 1 for o in moved) else None

    @property
    def lanes(self) -> int:
        return self.leaf.lanes if self.leaf is not None else self.target.lanes

    def points(self, loops: Mapping[str, Extent], across: str | None) -> Extent:
        """Points of loops, a vector of them at a time."""
        return dims.prod([dims.ceildiv(e, self.lanes) if name == across else e for name, e in loops.items()])

    def arithmetic(self, number: int, loops: Mapping[str, Extent], across: str | None) -> Extent:
        """Of the body: a product that is added at once is one instruction; of a constant matrix only what is not 0 counts."""
        op, operands = self.group.ops[number], self.group.operands[number]
        moves: dict[SSAValue, frozenset[str]] = {
            argument: frozenset(operand.loops) for operand, argument in zip(operands, op.body.block.args, strict=True)
        }
        if self.sums(number):
            moves[op.body.block.args[-1]] = frozenset(loops)
        total: Extent = 0
        for inner in op.body.block.ops:
            along = frozenset().union(*(moves.get(value, frozenset()) for value in inner.operands))
            if isinstance(inner, IndexOp):
                along = frozenset({list(loops)[inner.dim.value.data]})
            for result in inner.results:
                moves[result] = along
            if isinstance(inner, FREE) or _fused(inner):
                continue
            some = {name: extent for name, extent in loops.items() if name in along}
            count = self.points(some, across if across in some else None)
            total = total + count * _instructions(inner)
        for operand in operands:
            values = constant_values(operand.value)
            if values is not None and values.size:
                nonzero = int((values != 0).sum())
                total = dims.ceildiv(total * nonzero, int(values.size))
        return total

    def sums(self, number: int) -> bool:
        """Does an op add, or take the largest, along a loop?"""
        return bool(
            set(loops_of(self.group.ops[number])) & self.group.reduced - set(self.group.operands[number][-1].loops)
        )

    def runs(self, number: int) -> bool:
        """Does an op add in a loop, so that a sum waits for itself? Short ones that are unrolled overlap with those of the next tile."""
        return self.sums(number) and not (self.leaf is not None and self.reduced(number) <= set(self.leaf.unroll))

    def ends(self, number: int) -> bool:
        """Does every tile end with sums that something waits for: of a loop, or across lanes?"""
        return self.runs(number) or (self.sums(number) and self.across(number) in self.reduced(number))

    def reduced(self, number: int) -> set[str]:
        return set(loops_of(self.group.ops[number])) - set(self.group.operands[number][-1].loops)

    def in_memory(self, operand: OperandFacts) -> bool:
        """Arguments are; temporaries stay in registers, or in a cache that costs as little."""
        return self.group.kernel.is_argument(operand.value)

    def unit(self, operand: OperandFacts, loop: str) -> bool:
        """Do neighbours along a loop lie side by side? In panels they do."""
        return operand.step(loop) == 1 or self.group.kernel.name_of(operand.value) in self.staged

    def reuse(self, operand: OperandFacts, loops: Mapping[str, Extent], across: str | None) -> tuple[int, int]:
        """How many vectors of a tile read an operand, and how many loads they take: one serves all steps of loops that it does not move along, and
        windows that overlap in registers."""
        steps = {name: self.steps(name, extent, across) for name, extent in loops.items()}
        once = prod(size for name, size in steps.items() if name in operand.loops)
        for form in operand.access:
            if len(form.terms) > 1 and across not in form.terms:
                reach = 1 + sum(abs(by) * (steps[name] - 1) for name, by in form.terms.items())
                every = prod(steps[name] for name in form.terms)
                once = once // every * min(reach, every)
        return prod(steps.values()), once

    def in_flight(self, result: OperandFacts, loops: Mapping[str, Extent], across: str | None) -> int:
        """Sums that are added to in turn."""
        own = prod(self.steps(name, e, across) for name, e in loops.items() if name in result.loops)
        split = self.leaf.interleave if self.leaf is not None and across not in result.loops else 1
        return max(1, own * split)

    def steps(self, loop: str, extent: Extent, across: str | None) -> int:
        """Steps of a loop that one tile has in registers, in vectors along the lanes."""
        if self.leaf is None or loop not in self.leaf.unroll:
            return 1
        size = self.tile.get(loop, extent if isinstance(extent, int) else 1)
        size = min(size, extent) if isinstance(extent, int) else size
        return max(1, -(-size // self.lanes) if loop == across else size)

    def conflicts(self, operand: OperandFacts, loops: Mapping[str, Extent]) -> bool:
        """Does a window read pixels again that few sets of L1 would have to hold? Their addresses differ by multiples of a step."""
        wide = element_bytes(type_of(operand.value).element_type)
        windows = [form for form in operand.access if len(form.terms) > 1]
        if not windows:
            return False
        pixels, step = 1, PAGE
        for form in windows:
            extents = [self.tile.get(n) or loops[n] for n in form.terms]
            if not all(isinstance(extent, int) for extent in extents):
                return False
            reach = 1 + sum(
                c * (e - 1) for c, e in zip(form.terms.values(), extents, strict=True) if isinstance(e, int)
            )
            pixels *= max(1, reach)
            step = gcd(step, (operand.step(next(iter(form.terms))) or PAGE) * wide)
        sets = max(1, PAGE // max(step, LINE))
        return 4 * pixels > 3 * sets * (self.target.l1 // PAGE)

    def touched(self) -> Iterator[Touched]:
        """Of each argument at least what its most far-reaching op runs through."""
        numbers = {value: number for number, value in enumerate(self.group.kernel.buffers.values())}
        read: dict[int, Extent] = {}
        written: dict[int, Extent] = {}
        for op, operands in zip(self.group.ops, self.group.operands, strict=True):
            loops = loops_of(op)
            for operand, argument in zip(operands, op.body.block.args, strict=True):
                result = operand is operands[-1]
                root = self.group.kernel.root_of(operand.value)
                if root not in numbers or (argument.first_use is None and not result):
                    continue
                wide = element_bytes(type_of(operand.value).element_type)
                bytes = wide * _elements(operand, loops)
                found = written if result else read
                found[numbers[root]] = dims.dmax(found.get(numbers[root], 0), bytes)
            for load in (inner for inner in op.body.walk() if isinstance(inner, memref.LoadOp)):
                root = self.group.kernel.root_of(load.memref)
                if root in numbers:
                    wide = element_bytes(type_of(load.memref).element_type)
                    read[numbers[root]] = wide * dims.prod(list(loops.values()))
        for found, is_written in ((read, False), (written, True)):
            for number, bytes in found.items():
                yield Touched(number, bytes, _whole(self.group.kernel, number), is_written)

    def around(self) -> Extent:
        """Cycles between the tiles that the leaf computes of the op that has most loops."""
        if self.leaf is None:
            return 0
        loops, result = loops_of(self.group.ops[self.group.main]), self.group.operands[self.group.main][-1]
        cut = {n: size for n, size in self.tile.items() if n in loops and n in result.loops}
        tiles = dims.prod([dims.ceildiv(loops[name], size) for name, size in cut.items()])
        ends = sum(map(self.ends, range(len(self.group.ops))))
        chain = CHAIN if ends and any(self.group.has(kind) for kind in (math.ExpOp, math.TanhOp, math.ErfOp)) else 0
        return tiles * (TILE + SUMS * ends + chain)

    def copies(self) -> Iterator[OpCost]:
        """What a schedule copies while it runs: whole vectors, or element by element where the copy has another order."""
        cut: list[str] = []
        for level in self.schedule.levels:
            cut += [name for name in level.tiles if name not in cut]
            for name, stage in level.stage.items():
                reads = [
                    o
                    for operands in self.group.operands
                    for o in operands
                    if self.group.kernel.name_of(o.value) == name
                ]
                if name in self.group.kernel.weights or not reads:
                    continue
                loops = self.group.loops
                again = [dims.ceildiv(loops[n], self.tile[n]) for n in cut if n not in reads[0].loops]
                count = _elements(reads[0], loops) * dims.prod(again)
                moved = dims.ceildiv(count * STRAY, 10) if stage.order else dims.ceildiv(count, self.lanes)
                yield OpCost(loads=moved, stores=moved)


def _whole(kernel: Kernel, number: int) -> Extent:
    """Bytes of an argument."""
    value = list(kernel.buffers.values())[number]
    return element_bytes(type_of(value).element_type) * dims.prod(kernel.shape_of(value))


def _elements(operand: OperandFacts, loops: Mapping[str, Extent]) -> Extent:
    """How many elements an op runs through: along an axis that several loops index, as far as they reach."""
    total: Extent = 1
    for form in operand.access:
        reach: Extent = 1
        for name, by in form.terms.items():
            reach = reach + abs(by) * (loops[name] - 1)
        total = total * dims.dmax(reach, 0)
    return total


def _instructions(inner: Operation) -> int:
    if isinstance(
        inner, arith.MaximumfOp | arith.MinimumfOp
    ):  # of two numbers that may both be NaN a comparison and a choice more
        return 1 if any(isinstance(v.owner, arith.ConstantOp) for v in inner.operands) else 3
    return INSTRUCTIONS.get(inner.name, 1)


def _fused(inner: Operation) -> bool:
    """A product whose only use is a sum."""
    if not isinstance(inner, arith.MulfOp):
        return False
    uses = list(inner.results[0].uses)
    return len(uses) == 1 and isinstance(uses[0].operation, arith.AddfOp | arith.SubfOp)


def _plain(kernel: Kernel, lanes: int) -> KernelCost | None:
    """Of loops that were written as they are: what they store, where all trips are known. LLVM makes vectors of the innermost."""
    numbers = {value: number for number, value in enumerate(kernel.buffers.values())}
    stores, bytes = 0, dict[int, int]()
    for op in kernel.op.walk():
        if not isinstance(op, memref.StoreOp):
            continue
        trips, root = _trips(op, kernel), kernel.root_of(op.memref)
        if trips is None or root not in numbers:
            return None
        *outer, inner = trips or [1]
        stores += prod(outer) * (-(-inner // lanes) + LOOP)
        count = prod(trips) * element_bytes(type_of(op.memref).element_type)
        bytes[numbers[root]] = bytes.get(numbers[root], 0) + count
    touched = [Touched(number, count, _whole(kernel, number), True) for number, count in bytes.items()]
    return KernelCost((OpCost(stores=stores),), tuple(touched)) if stores else None


def _trips(op: Operation, kernel: Kernel) -> list[int] | None:
    """How often each loop around an op runs, when one thread has all tiles; None where only the run knows."""
    found: list[int] = []
    parent = op.parent_op()
    while parent is not None and not isinstance(parent, FuncOp):
        if not isinstance(parent, scf.ForOp):
            return None
        low, high, step = (_number(value, kernel) for value in (parent.lb, parent.ub, parent.step))
        if low is None or high is None or not step:
            return None
        found.insert(0, max(0, -(-(high - low) // step)))
        parent = parent.parent_op()
    return found


def _number(value: SSAValue, kernel: Kernel) -> int | None:
    if value in kernel.range:
        every = kernel.tiles if isinstance(kernel.tiles, int) else None
        return 0 if value is kernel.range[0] else every
    op = value.owner
    if isinstance(op, arith.ConstantOp) and isinstance(op.value, IntegerAttr):
        return op.value.value.data
    if isinstance(op, arith.MaxSIOp | arith.MinSIOp):
        lhs, rhs = _number(op.lhs, kernel), _number(op.rhs, kernel)
        if lhs is not None and rhs is not None:
            return max(lhs, rhs) if isinstance(op, arith.MaxSIOp) else min(lhs, rhs)
    return None
