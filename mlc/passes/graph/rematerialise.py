"""Compute values again instead of keeping them, so that what is alive at once fits into a budget of memory.

    %a = group(%x)                         %a = group(%x)
    %b = group(%a)                         %b = group(%a)
    ...                             ->     ...                     %a's memory serves others here
    %g = group(%c, %a)                     %a2 = group(%x)
                                           %g = group(%c, %a2)

Runs on fused groups, since what a group computes inside costs no memory, and nothing may merge equal ops behind it. Values keep their bits: the same
kernels run on the same numbers. Which to compute again is drawn without a look at the budget (recomputation.py); the first plan whose arena fits,
laid out as the program's will be, is taken. A smaller budget therefore never gives a larger arena, nor less work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from xdsl.dialects.builtin import DictionaryAttr, FloatAttr, IntegerAttr, f64, i64
from xdsl.ir import Block, BlockArgument, Operation, SSAValue

from mlc.errors import MlcError, ShapeError
from mlc.ir import dims
from mlc.ir.byte_counts import bytes_of, bytes_text
from mlc.ir.dims import Dim
from mlc.ir.graph.base import GraphOp
from mlc.ir.graph.constants import ConstantOp, WeightOp
from mlc.ir.graph.control import GroupOp
from mlc.ir.graph.shape import ReshapeOp
from mlc.ir.kernel.arena_layout import Layout, reserved
from mlc.ir.module import Module
from mlc.ir.sample_sizes import sample_binding
from mlc.ir.types import dtype_of, itemsize, shape_of
from mlc.passes.base import Pass, Stage
from mlc.passes.graph.recomputation import Program, ProgramStep, RecomputationPlan, staircase
from mlc.passes.kernel.arena import plan_arena
from mlc.passes.kernel.outline import Drafts, outlined_main
from mlc.passes.kernel.placement import memory_of

RECORD = "graph.memory"  # on @main: what was planned
FLOPS, BYTES = 50e9, 10e9  # per second: what tells a contraction from a copy, and enters into the choice of plans alone


@dataclass(frozen=True)
class Rematerialise(Pass):
    """Compute values again instead of keeping them, until intermediate results take at most `budget` bytes, as in `budget=200MiB`."""

    name: ClassVar[str] = "rematerialise"
    takes: ClassVar[tuple[Stage, ...]] = ("groups",)
    gives: ClassVar[Stage] = "groups"
    budget: str = ""

    def run(self, module: Module) -> None:
        if not self.budget:
            raise MlcError(f"pass '{self.name}' needs a budget", remedy=f"Write {self.name}{{budget=200MiB}}.")
        found = Stairs(module).under(bytes_of(self.budget))
        module.op = found.op


class Stairs:
    """What a fused module may become: as it is, then the plans of a staircase, each measured once when it is asked for."""

    def __init__(self, module: Module):
        self.module, self.sizes = module, largest_sizes(module)
        self.drafts = Drafts()
        self.without = self._arena(module)
        self.measured: dict[int, int] = {}

    def under(self, budget: int) -> Module:
        """The module of the least work that fits. Raises MlcError, naming the smallest budget that does, where none does."""
        if self.without <= budget:
            made = self.module.clone()
            self._record(made, budget, self.without)
            return made
        total = sum(step.cost for step in self.program.steps)
        for number, plan in enumerate(self.plans):
            if plan.peak <= budget and (planned := self.planned(number)) <= budget:
                made = self._made(plan)
                self._record(made, budget, planned, len(plan.dropped), plan.extra / total if total else 0.0)
                return made
        least = min(self.without, *(self.planned(number) for number in range(len(self.plans))))
        at = ", ".join(f"{name} = {size}" for name, size in self.sizes.items())
        raise MlcError(
            f"intermediate results take at least {bytes_text(least)}{' at ' + at if at else ''}, and the memory budget is {bytes_text(budget)}",
            remedy=f"The smallest budget that fits is {least} bytes; without one they take {bytes_text(self.without)}.",
        )

    @cached_property
    def written(self) -> Module:
        """The module whose steps the plans are of: in the order that plans gain from, unless that alone costs memory."""
        made = self.module.clone()
        _reorder(made.main.body.block)
        return made if self._arena(made) <= self.without else self.module

    @cached_property
    def program(self) -> Program:
        return program_of(_steps(self.written.main.body.block), self.sizes)

    @cached_property
    def plans(self) -> list[RecomputationPlan]:
        return staircase(self.program)

    def planned(self, number: int) -> int:
        """Bytes that a plan takes: its arena, which holds at least what is alive at once."""
        if number not in self.measured:
            plan = self.plans[number]
            self.measured[number] = max(plan.peak, self._arena(self._made(plan)))
        return self.measured[number]

    def _made(self, plan: RecomputationPlan) -> Module:
        made = self.written.clone()
        block = made.main.body.block
        recompute(block, _steps(block), self.program, plan)
        return made

    def _arena(self, module: Module) -> int:
        """What intermediate results take, as the kernels that the module becomes will have it: its own outline, lifetimes and layout."""
        lifetimes = plan_arena(outlined_main(module.clone(), self.drafts))
        bytes = [reserved(dims.evaluate(life.bytes, self.sizes)) for life in lifetimes]
        return Layout([(life.first, life.last) for life in lifetimes]).offsets(bytes)[1]

    def _record(self, module: Module, budget: int, planned: int, groups: int = 0, extra: float = 0.0) -> None:
        """Say on @main what was planned."""
        bytes = {"budget": budget, "planned": planned, "without": self.without, "groups": groups}
        module.main.attributes[RECORD] = DictionaryAttr(
            {
                **{name: IntegerAttr(number, i64) for name, number in bytes.items()},
                "extra": FloatAttr(extra, f64),
                "sizes": DictionaryAttr({name: IntegerAttr(size, i64) for name, size in self.sizes.items()}),
            }
        )


def memory_record(module: Module) -> dict[str, object] | None:
    """What the pass planned: bytes of the budget, of the arena as planned and without a budget, how many groups run again, which part of all work
    that adds, and the sizes that this is for."""
    record = module.main.attributes.get(RECORD)
    if not isinstance(record, DictionaryAttr):
        return None
    found: dict[str, object] = {}
    for name, value in record.data.items():
        match value:
            case DictionaryAttr():
                found[name] = {symbol: size.value.data for symbol, size in value.data.items()}  # type: ignore[attr-defined]
            case IntegerAttr() | FloatAttr():
                found[name] = value.value.data
    return found


def largest_sizes(module: Module) -> dict[str, int]:
    """The sizes that a budget is for: the most that symbols may be. Raises MlcError where one has no bound."""
    if module.counted:
        raise MlcError(
            f"a memory budget is for sizes that are known before a call, and data decides {next(iter(module.counted))}",
            remedy="Compile without a budget.",
        )
    bounds = {name: high for name, (_, high) in module.symbols.items()}
    extents = [e for shape, _ in module.input_types for e in shape if isinstance(e, Dim)]
    names = sorted({*bounds, *(name for extent in extents for name in extent.symbols())})
    for name in names:
        if bounds.get(name) is None:
            raise MlcError(
                f"a memory budget is for the largest sizes, and {name} has no bound",
                remedy=f"Bound it: --dim {name}=1..64, in Python dims={{{name!r}: (1, 64)}}.",
            )
    sizes = {name: high for name in names if (high := bounds[name]) is not None}
    try:
        return sample_binding(module, sizes)
    except ShapeError as error:
        at = ", ".join(f"{name} = {size}" for name, size in sizes.items())
        raise MlcError(
            f"a memory budget is for the largest sizes, and the model does not take {at}", remedy=error.remedy
        ) from error


def program_of(steps: Sequence[Operation], sizes: Mapping[str, int]) -> Program:
    """Steps with the bytes of their results. Arguments, weights and results of the function lie elsewhere."""
    if not steps:
        return Program((), ())
    block = steps[0].parent
    assert block is not None and block.last_op is not None
    outside = {memory_of(value) for value in block.last_op.operands}
    numbers: dict[SSAValue, int] = {}
    bytes: list[int] = []
    made: list[ProgramStep] = []

    def extent(value: SSAValue) -> int:
        return dims.evaluate(dims.prod(shape_of(value)), sizes) * itemsize(dtype_of(value))

    def number(value: SSAValue) -> int:
        value = memory_of(value)
        if value not in numbers:
            elsewhere = isinstance(value, BlockArgument) or isinstance(value.owner, ConstantOp | WeightOp)
            numbers[value] = len(bytes)
            bytes.append(0 if elsewhere or value in outside else extent(value))
        return numbers[value]

    for op in steps:
        moved = sum(extent(value) for value in (*op.operands, *op.results))
        cost = max(dims.evaluate(op.flops if isinstance(op, GraphOp) else 0, sizes) / FLOPS, moved / BYTES)
        inputs = tuple(dict.fromkeys(number(value) for value in op.operands))
        pure = isinstance(op, GroupOp) and outside.isdisjoint(op.results)
        made.append(ProgramStep(inputs, tuple(number(value) for value in op.results), cost, pure))
    return Program(tuple(made), tuple(bytes))


def recompute(block: Block, steps: Sequence[Operation], program: Program, plan: RecomputationPlan) -> None:
    """Write the steps of a plan a second time where it has them run again, and let the second half read what these write."""
    again: dict[SSAValue, SSAValue] = {}

    def latest(value: SSAValue, before: Operation) -> SSAValue:
        """The value to read: of the second run where there is one, through views as the first."""
        views: list[ReshapeOp] = []
        while value not in again and isinstance(value.owner, ReshapeOp):
            views.append(value.owner)
            value = value.owner.x
        if value not in again:
            return views[0].result if views else value
        value = again[value]
        for view in reversed(views):
            copy = view.clone()
            copy.operands = [value]
            block.insert_op_before(copy, before)
            value = again[view.result] = copy.result
        return value

    waiting: list[int] = []
    for number, second in program.order(plan.dropped)[program.half :]:
        if second:
            waiting.append(number)
            continue
        place = steps[number]
        for op in (steps[n] for n in waiting):
            copy = op.clone()
            copy.operands = [latest(value, place) for value in op.operands]
            block.insert_op_before(copy, place)
            again.update(zip(op.results, copy.results, strict=True))
        waiting = []
        place.operands = [latest(value, place) for value in place.operands]
    for op in reversed(list(block.ops)):
        if isinstance(op, ReshapeOp) and op.result.first_use is None:
            op.detach()
            op.erase()


def _steps(block: Block) -> list[Operation]:
    """The ops that run: no views, weights and constants."""
    still = (ReshapeOp, WeightOp, ConstantOp)
    return [op for op in block.ops if not isinstance(op, still) and op is not block.last_op]


def _reorder(block: Block) -> None:
    """Compute each result as soon as it can be: those first that need the fewest steps one behind the other, and what only they need right before.
    An update of a parameter then follows its gradient, which need not wait for the others."""
    last = block.last_op
    assert last is not None
    ops = [op for op in block.ops if op is not last]
    place = {op: number for number, op in enumerate(ops)}
    depth: dict[Operation, int] = {}
    for op in ops:
        depth[op] = 1 + max((depth[v.owner] for v in op.operands if isinstance(v.owner, Operation)), default=0)
    wanted = [value.owner for value in last.operands if isinstance(value.owner, Operation)]
    order: dict[Operation, None] = {}
    for root in (*sorted(wanted, key=lambda op: depth[op]), *ops):
        waiting = [(root, False)]
        while waiting:
            op, ready = waiting.pop()
            if op in order:
                continue
            if ready:
                order[op] = None
                continue
            waiting.append((op, True))
            needed = {v.owner for v in op.operands if isinstance(v.owner, Operation)}
            waiting += [(maker, False) for maker in sorted(needed, key=lambda maker: -place[maker])]
    for op in order:
        op.detach()
        block.insert_op_before(op, last)
