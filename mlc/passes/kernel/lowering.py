"""From fused groups to loops: the passes that end every pipeline.

    outline      groups become kernels on memrefs, @main calls them
    merge-loops  loops of a kernel that run through memory as one become one
    schedule     each kernel gets a schedule, written on it as text: kernel.schedule = "Level(n = 32; B -> panel) | Vector(...)"
    lower        each kernel is rewritten as its schedule says, level after level; packed weights become weights of their own
    plan-arena   @main says which buffers live when

The schedule is data: whoever edits it in the printed module and goes on from there gets the kernel they wrote down.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from xdsl.dialects.builtin import MemRefType, StringAttr
from xdsl.dialects.func import FuncOp
from xdsl.parser import Parser
from xdsl.rewriter import InsertPoint, Rewriter

from mlc.errors import InternalError, MlcError
from mlc.ir import work
from mlc.ir.collection import without_collections
from mlc.ir.kernel import program
from mlc.ir.kernel.kernel import Kernel
from mlc.ir.kernel.schedule import Leaf, Level, Schedule
from mlc.ir.kernel.schedule_store import ScheduleStore, StoredSchedule
from mlc.ir.kernel.stubs import KNOWN, KnownKernels
from mlc.ir.kernel.target import Target
from mlc.ir.module import Module, context
from mlc.passes.base import Pass, Stage
from mlc.passes.kernel.arena import plan_arena
from mlc.passes.kernel.merge import merge_loops
from mlc.passes.kernel.outline import outline
from mlc.passes.kernel.rules.by_target import AT_HAND, RULES, target_of
from mlc.passes.loops.lower import steps
from mlc.passes.loops.refused import Refused
from mlc.passes.loops.verify import verify_schedule


@dataclass(frozen=True)
class OutlineKernels(Pass):
    """Make a kernel of each group, and @main the function that calls them."""

    name: ClassVar[str] = "outline"
    takes: ClassVar[tuple[Stage, ...]] = ("groups",)
    gives: ClassVar[Stage] = "kernels"

    def run(self, module: Module) -> None:
        made = outline(module)
        module.op, module.checks = made.op, made.checks


@dataclass(frozen=True)
class MergeLoops(Pass):
    """Make one loop of those that run through memory as one, in each kernel without a schedule: one that is there names loops."""

    name: ClassVar[str] = "merge-loops"
    takes: ClassVar[tuple[Stage, ...]] = ("kernels", "schedules")

    def run(self, module: Module) -> None:
        for function in kernels(module):
            work.at(function.sym_name.data)
            kernel = Kernel.from_func(function)
            if not kernel.schedule:
                merge_loops(kernel)
                kernel.finish()


@dataclass(frozen=True)
class ChooseSchedules(Pass):
    """Write a schedule on each kernel, for the machine `target`."""

    name: ClassVar[str] = "schedule"
    takes: ClassVar[tuple[Stage, ...]] = ("kernels", "schedules")
    gives: ClassVar[Stage] = "schedules"
    target: str = AT_HAND

    def run(self, module: Module) -> None:
        target = target_of(self.target)
        for function in kernels(module):
            work.at(function.sym_name.data)
            kernel = Kernel.from_func(function)
            if not kernel.schedule:
                kernel.schedule = self.schedule(kernel, target)
                kernel.finish()

    def schedule(self, kernel: Kernel, target: Target) -> str:
        return str(RULES[target.kind].choose(kernel, target))


class ChooseStoredSchedules(ChooseSchedules):
    """The same, but for kernels for which a store has a faster one; `used` are the entries that were taken, `left` those that were not, and why."""

    store: ScheduleStore
    used: list[StoredSchedule]
    left: list[str]

    def __init__(self, target: str, store: ScheduleStore):
        super().__init__(target)
        object.__setattr__(self, "store", store)  # no option of the pass: text cannot tell it
        object.__setattr__(self, "used", [])
        object.__setattr__(self, "left", [])

    def facts(self, target: Target) -> dict[str, Any]:
        """What became of the store, for reports."""
        return {
            "entries": len(self.store.entries),
            "for_machine": self.store.for_machine(target),
            "used": len(self.used),
            "left": self.left,
        }

    def schedule(self, kernel: Kernel, target: Target) -> str:
        entry = self.store.find(target, kernel.key())
        chosen = super().schedule(kernel, target)
        if entry is None:
            return chosen
        if chosen != entry.rule:
            self.left.append(
                f"kernel '{kernel.name}': the rules choose another schedule since it was measured: {chosen}"
            )
            return chosen
        try:
            verify_schedule(kernel, Schedule.parse(entry.schedule), target)
        except MlcError as error:
            self.left.append(error.message)
            return chosen
        self.used.append(entry)
        kernel.report.append(f"scheduled as measured, not as the rules do: {chosen}")
        return entry.schedule


@dataclass(frozen=True)
class LowerKernels(Pass):
    """Rewrite each kernel to loops for the machine `target`, as its schedule says."""

    name: ClassVar[str] = "lower"
    takes: ClassVar[tuple[Stage, ...]] = ("schedules",)
    gives: ClassVar[Stage] = "loops"
    target: str = AT_HAND

    def run(self, module: Module) -> None:
        calls = _calls(module)
        for function in list(kernels(module)):
            work.at(function.sym_name.data)
            _put(module, function, self.kernel(function), calls)

    def kernel(self, function: FuncOp) -> Kernel:
        return lowered(function, target_of(self.target))

    def stops(self, module: Module) -> Iterator[str]:
        """All kernels level by level: in the module, each level of theirs is applied as far as they have one, and last the leaves. The module
        is whole at each stop, and the pass goes on from its text."""
        calls, target = _calls(module), target_of(self.target)
        going = [(function, stepwise(function, target)) for function in list(kernels(module))]
        waiting = [Kernel.from_func(function) for function, _ in going]
        for number in range(1, max((levels_of(kernel) for kernel in waiting), default=0) + 1):
            for place, (function, parts) in enumerate(going):
                kernel = waiting[place]
                while kernel.applied < min(number, levels_of(kernel)):
                    kernel, _ = next(parts)
                if kernel is not waiting[place] or kernel.applied == number:
                    kernel.finish()
                    _put(module, function, kernel, calls)
                    going[place], waiting[place] = (kernel.op, parts), kernel
            yield f"level-{number}"
        for function, parts in going:
            for kernel, _ in parts:
                kernel.finish()
                _put(module, function, kernel, calls)
                function = kernel.op


def levels_of(kernel: Kernel) -> int:
    """How many levels its schedule has."""
    return len(Schedule.parse(kernel.schedule).levels)


def _put(module: Module, function: FuncOp, kernel: Kernel, calls: Mapping[str, list[program.CallOp]]) -> None:
    """The kernel in the place of the function that it was."""
    for made in kernel.functions():
        if made is not function and made.parent is None:
            Rewriter.insert_op(made, InsertPoint.before(function))
    if kernel.op is not function:
        Rewriter.erase_op(function, safe_erase=False)
    _pack_weights(module, kernel, calls[kernel.name])


class LowerNewKernels(LowerKernels):
    """The same, with stubs in place of the kernels whose machine code is known. That of the others is made here too, several at a time, unless
    nobody wants it: then they become loops."""

    known: KnownKernels
    wanted: bool

    def __init__(self, target: str, known: KnownKernels, wanted: bool = True):
        super().__init__(target)
        for name, value in (("known", known), ("wanted", wanted)):
            object.__setattr__(self, name, value)  # no options of the pass: they do not change what a module means

    def run(self, module: Module) -> None:
        calls, target = _calls(module), target_of(self.target)
        keys = {function: self.known.key(Kernel.from_func(function).key()) for function in list(kernels(module))}
        missing = {key: function for function, key in keys.items() if self.known.find(key) is None}
        if self.wanted:
            self.known.make(missing, lambda function: lowered(function, target).functions())
        for function, key in keys.items():
            work.at(function.sym_name.data)
            text = self.known.find(key)
            kernel = lowered(function, target) if text is None else _stub(function, key, text)
            _put(module, function, kernel, calls)


def _stub(function: FuncOp, key: str, text: str) -> Kernel:
    """In the place of a function, by the text of the stub."""
    stub = Parser(context(), text).parse_op()
    assert isinstance(stub, FuncOp)
    stub.properties["sym_name"] = function.sym_name
    stub.attributes[KNOWN] = StringAttr(key)
    return Kernel.from_func(stub)


def lowered(function: FuncOp, target: Target) -> Kernel:
    """A kernel as loops."""
    kernel = Kernel.from_func(function)  # where its schedule is applied already
    with without_collections():
        for made, _ in stepwise(function, target):
            kernel = made
    kernel.finish()
    return kernel


def stepwise(function: FuncOp, target: Target) -> Iterator[tuple[Kernel, Level | Leaf]]:
    """A kernel after each part of its schedule. One that refuses the schedule that the rules chose becomes plain loops, and its report says
    why; a schedule of somebody else's is an error."""
    kernel = Kernel.from_func(function.clone())
    if not kernel.schedule:
        raise InternalError(f"kernel '{kernel.name}' has no schedule: run the pass schedule first")
    schedule, rules = Schedule.parse(kernel.schedule), RULES[target.kind]
    try:
        for part in steps(kernel, schedule, target):
            yield kernel, part
    except Refused as refusal:
        kernel = Kernel.from_func(function.clone())
        if kernel.applied or rules.choose(kernel, target) != schedule:
            raise MlcError(
                f"kernel '{kernel.name}': {schedule}: {refusal}",
                remedy="Write another schedule, or leave out kernel.schedule for the one that mlc chooses.",
            ) from refusal
        kernel.report.append(f"scalar loops instead of {kernel.schedule}: {refusal}")
        for part in steps(kernel, rules.plain(kernel), target):
            yield kernel, part


def _pack_weights(module: Module, kernel: Kernel, calls: Sequence[program.CallOp]) -> None:
    """Calls of a kernel that wants panels get a packed copy of their weight: "fc.weight" -> "fc.weight.packed"."""
    places = [(list(kernel.buffers).index(name), how) for name, how in kernel.packs.items()]
    for call in calls:
        for place, how in places:
            value = call.arguments[place]
            if isinstance(value.owner, program.WeightOp) and value.type == kernel.block.args[place].type:
                continue  # packed at an earlier stop
            while isinstance(value.owner, program.ViewOp):
                value = value.owner.base
            if not isinstance(value.owner, program.WeightOp):
                raise InternalError(f"kernel '{kernel.name}' packs argument {place}, which is no weight in a call")
            type = kernel.buffers[list(kernel.buffers)[place]].type
            assert isinstance(type, MemRefType)
            weight = program.WeightOp(module.weights.pack(value.owner.key.data, how), type)
            Rewriter.insert_op(weight, InsertPoint.after(value.owner))
            call.operands[place] = weight.result


@dataclass(frozen=True)
class PlanArena(Pass):
    """Write down the size and life of each buffer of @main."""

    name: ClassVar[str] = "plan-arena"
    takes: ClassVar[tuple[Stage, ...]] = ("kernels", "schedules", "loops")

    def run(self, module: Module) -> None:
        plan_arena(module.main)


def kernels(module: Module) -> Iterator[FuncOp]:
    """The functions that @main calls."""
    called = _calls(module)
    for op in module.op.ops:
        if isinstance(op, FuncOp) and op.sym_name.data in called:
            yield op


def _calls(module: Module) -> Mapping[str, list[program.CallOp]]:
    """The calls in @main by the name of the kernel."""
    found = defaultdict(list)
    for op in module.main.walk():
        if isinstance(op, program.CallOp):
            found[op.kernel].append(op)
    return found
