"""Walks what @main does between its calls (mlc/ir/kernel/steering.py), for machines whose code has no entry that does.

    Walk(plan, binding, table, machine).run()

The machine issues calls and copies and reads and writes single elements of its memory; what stands between them is done here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.kernel.places import Argument
from mlc.ir.kernel.plan import Plan
from mlc.ir.kernel.steering import Instruction, Steered, computed
from mlc.runtime.binding import Binding

ValueOf = Callable[[Argument], int]


class Issuing(Protocol):
    """What a machine does for a walk. Work that was issued before is done when an element is read."""

    def address(self, kind: str, number: int) -> int:
        """Of an input, output, weight or buffer."""

    def call(self, number: int, known: ValueOf) -> None:
        """Step `number` of the plan; `known` gives the numbers and addresses of its arguments."""

    def copy(self, number: int, known: ValueOf) -> None:
        """The plan's copy of this number; its bytes are known(Argument("size", bytes))."""

    def load(self, address: int, type: str) -> int:
        """An element of the type "i1" (0 or 1), "i8", ..., "i64" or "index" (8 bytes)."""

    def store(self, address: int, type: str, value: int) -> None: ...


class Walk:
    """One run. `table` is the binding's, or a copy for this call, into which sizes are written that the run counts: its first entry is no size."""

    def __init__(self, plan: Plan, binding: Binding, table: Any, machine: Issuing):
        assert plan.steered is not None
        self.plan, self.machine, self.table = plan, machine, table
        self.whole = plan.steered
        self.sizes: dict[Extent, int] = dict(zip(plan.sizes, binding.sizes, strict=True))
        self.symbols = dict(binding.symbols)
        self.numbers = {extent: 1 + number for number, extent in enumerate(plan.sizes)}
        self.slots: dict[int, int] = {}
        self.waiting = list(plan.counted)
        self.ended = False

    def run(self) -> None:
        self.block(self.whole, ())

    def known(self, argument: Argument) -> int:
        """A number, or the address of memory."""
        at = argument.at
        match argument.kind:
            case "size":
                return at if isinstance(at, int) else self.sizes[at]
            case "computed":
                assert isinstance(at, int)
                return self.slots[at]
        assert isinstance(at, int)
        return self.machine.address(argument.kind, at)

    def block(self, block: Steered, given: Sequence[int]) -> list[int]:
        """Run it; what it hands on."""
        self.slots.update(zip(block.parameters, given, strict=True))
        for instruction in block.body:
            self.do(instruction)
            if self.ended:
                return []
        return [self.known(value) for value in block.yields]

    def do(self, instruction: Instruction) -> None:
        op = instruction.op
        match op:
            case "call":
                self.machine.call(instruction.number, self.known)
            case "copy":
                self.machine.copy(instruction.number, self.known)
            case "store":
                value, *place = map(self.known, instruction.operands)
                self.machine.store(_element(place), instruction.detail, value)
            case "count":
                self.count(instruction)
            case _:
                found = self.results(instruction)
                self.slots.update(zip(instruction.results, found, strict=not self.ended))

    def results(self, instruction: Instruction) -> list[int]:
        operands = list(map(self.known, instruction.operands))
        match instruction.op:
            case "row":
                base, position, bytes = operands
                return [base + position * bytes]
            case "load":
                return [self.machine.load(_element(operands), instruction.detail)]
            case "for":
                start, stop, step, *carried = operands
                for position in range(start, stop, step):
                    carried = self.block(instruction.blocks[0], [position, *carried])
                    if self.ended:
                        break
                return carried
            case "if":
                (test,) = operands
                taken = instruction.blocks[0:1] if test else instruction.blocks[1:2]
                return self.block(taken[0], ()) if taken else []
            case "while":
                carried = operands
                while not self.ended:
                    goes_on, *passed = self.block(instruction.blocks[0], carried) or [0]
                    if not goes_on:
                        return passed
                    carried = self.block(instruction.blocks[1], passed)
                return []
        return [computed(instruction, operands)]

    def count(self, instruction: Instruction) -> None:
        """The symbol, and every size that depends on it; the run ends where a check fails."""
        base, most = map(self.known, instruction.operands)
        name = instruction.detail
        self.symbols[name] = min(max(self.machine.load(base, "i64"), 0), most)
        self.waiting.remove(name)
        for extent in self.plan.sizes:
            if isinstance(extent, Dim) and name in extent.symbols() and not extent.symbols() & set(self.waiting):
                self.sizes[extent] = self.table[self.numbers[extent]] = dims.evaluate(extent, self.symbols)
        for check in self.plan.late_checks:
            if name in check.symbols and not check.symbols & set(self.waiting):
                sides = [dims.evaluate(side, self.symbols) for side in (check.lhs, check.rhs)]
                self.ended |= sides[0] != sides[1]


def _element(operands: Sequence[int]) -> int:
    base, *pairs = operands
    return base + sum(position * stride for position, stride in zip(pairs[::2], pairs[1::2], strict=True))
