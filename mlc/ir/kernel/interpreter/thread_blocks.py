"""Kernels of a GPU: the blocks of a grid one after another, the threads of a block in turns between two barriers.

    kernel.launch = {block.x = "8", thread.x = "16", thread.y = "16"}

Each thread has a frame of its own; memory of the space "workgroup" is one for a block. What all threads do together is a step of the team:
a barrier, a copy into workgroup memory, an instruction of a tensor core, and the loops and branches around them, which every thread must take
alike. Without a thread.x in the code the lanes of a vector are a warp's, and a warp is one thread here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

from xdsl.dialects import gpu, memref, scf
from xdsl.dialects.builtin import DictionaryAttr, MemRefType
from xdsl.dialects.func import FuncOp
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import Block, Operation

from mlc.errors import InternalError
from mlc.ir.kernel.interpreter.engine import Action, Compiler, Frame, Machine, steps
from mlc.ir.kernel.interpreter.memory import Shadow, View, label, space_of
from mlc.ir.kernel.signature import place_of

Team = Sequence[Frame]
TeamAction = Callable[[Team], None]
TeamMaker = Callable[["GridCompiler", Any], TeamAction]

_MAKERS: dict[str, TeamMaker] = {}
_PLACES = [f"{kind}.{axis}" for kind in ("block", "thread") for axis in "zyx"]  # x runs fastest


def team_steps(*names: str) -> Callable[[TeamMaker], TeamMaker]:
    """Registers how all threads of a block run ops of these names together."""

    def register(make: TeamMaker) -> TeamMaker:
        _MAKERS.update(dict.fromkeys(names, make))
        return make

    return register


def call(
    machine: Machine, function: FuncOp, arguments: Sequence[Any], count: Callable[[str], int], races: bool = False
) -> None:
    """Run a kernel, on its grid if it has one. `count` evaluates the text of an extent; `races` finds elements that two blocks, or two
    threads between barriers, touch where one writes: threads then run last to first."""
    launch = function.attributes.get("kernel.launch")
    if not isinstance(launch, DictionaryAttr):
        machine.call(function, arguments)
        return
    compiler = GridCompiler(machine, function)
    compiler.launch(arguments, {bind: count(text.data) for bind, text in launch.data.items()}, races)  # type: ignore[attr-defined]


class GridCompiler(Compiler):
    """One kernel, as steps of its threads and of its teams."""

    def __init__(self, machine: Machine, function: FuncOp):
        self.place: dict[str, int] = {}  # of the thread that runs now
        self.shared: list[View] = []  # memory that threads share: arguments, and workgroup memory of this block
        self.races = False
        self._together: dict[Operation, bool] = {}
        super().__init__(machine, function)

    def compile(self, block: Block) -> list[Action]:
        self.team = self.team_block(block)
        return []

    def launch(self, arguments: Sequence[Any], counts: Mapping[str, int], races: bool) -> None:
        self.races = races
        used = {place_of(op) for op in self.function.walk() if isinstance(op, gpu.BlockIdOp | gpu.ThreadIdOp)}
        views = [value for value in arguments if isinstance(value, View)]
        blocks = {place: counts.get(place, 1) for place in _PLACES[:3]}
        threads = {place: counts.get(place, 1) if place in used else 1 for place in _PLACES[3:]}
        if races:
            for view in views:
                view.storage.shadows = [Shadow(len(view.elements), "block")]
        for number, block in enumerate(product(*map(range, blocks.values()))):
            self.shared = list(views)
            for view in views if races else ():
                view.storage.shadows[0].now = number
            team: list[Frame] = []
            self.places = []
            for thread in product(*map(range, threads.values())):
                frame: Frame = [None] * len(self._slots)
                for slot, value in zip(self._arguments, arguments, strict=True):
                    frame[slot] = value
                team.append(frame)
                self.places.append(dict(zip(_PLACES, (*block, *thread), strict=True)))
            self.next_phase()
            self.team(team)
        for view in views if races else ():
            view.storage.shadows = []

    def next_phase(self) -> None:
        """All that was touched before may be touched by other threads now."""
        if not self.races:
            return
        for view in self.shared:
            kept = [shadow for shadow in view.storage.shadows if shadow.who != "thread"]
            view.storage.shadows = [*kept, Shadow(len(view.elements), "thread")]

    def each(self, team: Team, actions: Sequence[Action]) -> None:
        """Every thread runs these steps, the last one first where races are looked for."""
        numbers = range(len(team))
        for number in reversed(numbers) if self.races else numbers:
            self.place = self.places[number]
            for view in self.shared if self.races else ():
                view.storage.shadows[-1].now = number
            for action in actions:
                action(team[number])

    def team_block(self, block: Block) -> TeamAction:
        """The steps of a block, without its terminator."""
        self._defined.update(block.args)
        parts: list[TeamAction | list[Action]] = []
        for op in list(block.ops)[:-1]:
            if self.together(op):
                self.check_defined(op)
                parts.append(_MAKERS[op.name](self, op))
            elif parts and isinstance(parts[-1], list):
                parts[-1].append(self.step(op))
            else:
                parts.append([self.step(op)])
        if block.last_op is not None:
            self.check_defined(block.last_op)

        def run(team: Team) -> None:
            for part in parts:
                if isinstance(part, list):
                    self.each(team, part)
                else:
                    part(team)

        return run

    def together(self, op: Operation) -> bool:
        """Do the threads of a block run this op as one?"""
        if op not in self._together:
            match op:
                case GenericOp():
                    found = "copy" in op.attributes and _workgroup(op.outputs[0].type)
                case memref.AllocOp():
                    found = _workgroup(op.memref.type)
                case scf.ForOp() | scf.IfOp():
                    found = any(
                        self.together(inner) for region in op.regions for block in region.blocks for inner in block.ops
                    )
                case _:
                    found = op.name in _MAKERS
            self._together[op] = found
        return self._together[op]


def _workgroup(type: object) -> bool:
    return isinstance(type, MemRefType) and space_of(type) == "workgroup"


@steps("gpu.block_id", "gpu.thread_id")
def _place(c: Compiler, op: gpu.BlockIdOp | gpu.ThreadIdOp) -> Action:
    assert isinstance(c, GridCompiler)
    result, place = c.slot(op.result), place_of(op)

    def step(frame: Frame) -> None:
        frame[result] = c.place[place]

    return step


@team_steps("gpu.barrier")
def _barrier(c: GridCompiler, op: gpu.BarrierOp) -> TeamAction:
    return lambda team: c.next_phase()


@team_steps("memref.alloc")
def _alloc(c: GridCompiler, op: memref.AllocOp) -> TeamAction:
    """One memory for all threads, at the entry of a block: taken again in a loop it is still the same."""
    step, result = c.step(op), c.slot(op.memref)

    def run(team: Team) -> None:
        step(team[0])
        view = team[0][result]
        c.shared.append(view)
        if c.races:
            view.storage.shadows = [Shadow(len(view.elements), "thread")]
        for frame in team:
            frame[result] = view

    return run


@team_steps("linalg.generic")
def _copy(c: GridCompiler, op: GenericOp) -> TeamAction:
    """Copied by all threads together, and told as what the first one did."""
    step = c.step(op)
    return lambda team: c.each(team[:1], [step])


@team_steps("scf.for")
def _for(c: GridCompiler, op: scf.ForOp) -> TeamAction:
    bounds = c.slots([op.lb, op.ub, op.step])
    iv, *carried = c.slots(op.body.block.args)
    first, results = c.slots(op.iter_args), c.slots(op.results)
    body = c.team_block(op.body.block)
    last = op.body.block.last_op
    assert last is not None
    yielded = c.slots(last.operands)

    def run(team: Team) -> None:
        start, stop, by = _alike(op, [[frame[slot] for slot in bounds] for frame in team])
        _move(team, first, carried)
        for position in range(start, stop, by):
            for frame in team:
                frame[iv] = position
            body(team)
            _move(team, yielded, carried)
        _move(team, carried, results)

    return run


@team_steps("scf.if")
def _if(c: GridCompiler, op: scf.IfOp) -> TeamAction:
    condition, results = c.slot(op.cond), c.slots(op.results)
    branches = []
    for region in (op.true_region, op.false_region):
        if region.blocks:
            last = region.block.last_op
            assert last is not None
            branches.append((c.team_block(region.block), c.slots(last.operands)))
        else:
            branches.append((lambda team: None, []))

    def run(team: Team) -> None:
        body, yielded = branches[0 if _alike(op, [bool(frame[condition]) for frame in team]) else 1]
        body(team)
        _move(team, yielded, results)

    return run


def _alike(op: Operation, values: Sequence[Any]) -> Any:
    """What all threads have: they go through what holds a barrier together."""
    if any(value != values[0] for value in values):
        raise InternalError(f"{label(op)} holds a barrier, and the threads of a block do not go through it alike")
    return values[0]


def _move(team: Team, sources: Sequence[int], targets: Sequence[int]) -> None:
    for frame in team:
        found = [frame[slot] for slot in sources]
        for slot, value in zip(targets, found, strict=True):
            frame[slot] = value
