"""Functions turned into Python closures: each op becomes a step on a frame, a list that holds the values of one call.

A family of ops registers how its steps are made:  @steps("scf.for") def make(compiler, op) -> Action
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from xdsl.dialects.builtin import StringAttr
from xdsl.dialects.func import FuncOp
from xdsl.ir import Block, Operation, Region, SSAValue

from mlc.errors import InternalError
from mlc.ir.dims import Extent
from mlc.ir.kernel.extents import factors, spelled
from mlc.ir.kernel.interpreter.arith import compute
from mlc.ir.kernel.interpreter.memory import Counters, label

Frame = list[Any]
Action = Callable[[Frame], None]
Maker = Callable[["Compiler", Any], Action]

_MAKERS: dict[str, Maker] = {}


def steps(*names: str) -> Callable[[Maker], Maker]:
    """Registers how ops of these names run."""

    def register(make: Maker) -> Maker:
        _MAKERS.update(dict.fromkeys(names, make))
        return make

    return register


class Machine:
    """What the calls of one run share: functions by name, counters, values of weights and symbols for planned programs."""

    def __init__(self, functions: Mapping[str, FuncOp], counters: Counters | None = None, watched: bool = False):
        self.functions, self.counters = functions, counters
        self.watched = watched or counters is not None  # are accesses told to the storage?
        self.weight: Callable[[Any], np.ndarray] | None = None
        self.size: Callable[[str], int] | None = None
        self._compiled: dict[FuncOp, Compiler] = {}

    def call(self, function: FuncOp, arguments: Sequence[Any]) -> list[Any]:
        if function not in self._compiled:
            self._compiled[function] = Compiler(self, function)
        return self._compiled[function].run(arguments)

    def function(self, name: str, op: Operation) -> FuncOp:
        if name not in self.functions:
            raise InternalError(f"{label(op)}: there is no function @{name}")
        return self.functions[name]


class Compiler:
    """One function: the slots of its values and the steps of its body."""

    def __init__(self, machine: Machine, function: FuncOp):
        self.machine, self.function = machine, function
        self._slots: dict[SSAValue, int] = {}
        self._defined: set[SSAValue] = set()
        self.points: dict[Block, list[int]] = {}  # where the point-wise run of a structured op stands
        self.extents = _extents(function)
        block = function.body.block
        self._arguments = self.slots(block.args)
        *_, terminator = block.ops
        self._steps = self.compile(block)
        self._results = self.slots(terminator.operands)

    def compile(self, block: Block) -> list[Action]:
        """The steps of the body."""
        return self.block(block)

    def run(self, arguments: Sequence[Any]) -> list[Any]:
        if len(arguments) != len(self._arguments):
            name = self.function.sym_name.data
            raise InternalError(f"@{name} takes {len(self._arguments)} arguments, {len(arguments)} were given")
        frame: Frame = [None] * len(self._slots)
        for slot, value in zip(self._arguments, arguments, strict=True):
            frame[slot] = value
        for step in self._steps:
            step(frame)
        return [frame[slot] for slot in self._results]

    def slot(self, value: SSAValue) -> int:
        return self._slots.setdefault(value, len(self._slots))

    def slots(self, values: Sequence[SSAValue]) -> list[int]:
        return [self.slot(value) for value in values]

    def block(self, block: Block) -> list[Action]:
        """The steps of a block, without its terminator."""
        self._defined.update(block.args)
        found = [self.step(op) for op in list(block.ops)[:-1]]
        if block.last_op is not None:
            self.check_defined(block.last_op)
        return found

    def check_defined(self, op: Operation) -> None:
        """xDSL's verifier lets an op use what a later one defines."""
        for value in op.operands:
            if value not in self._defined:
                raise InternalError(f"{label(op)} uses %{value.name_hint} before it is defined")
        self._defined.update(op.results)

    def region(self, region: Region) -> tuple[list[Action], list[int]]:
        """The steps of a region of one block, and where what it yields is."""
        last = region.block.last_op
        assert last is not None
        return self.block(region.block), self.slots(last.operands)

    def step(self, op: Operation) -> Action:
        self.check_defined(op)
        if make := _MAKERS.get(op.name):
            return make(self, op)
        if function := compute(op):
            return self.computed(op, function)
        raise InternalError(f"the interpreter does not run {label(op)}")

    def computed(self, op: Operation, function: Callable[..., Any]) -> Action:
        """result = function(operands)."""
        result = self.slot(op.results[0])
        match self.slots(op.operands):
            case []:
                value = function()

                def step(frame: Frame) -> None:
                    frame[result] = value
            case [x]:

                def step(frame: Frame) -> None:
                    frame[result] = function(frame[x])
            case [x, y]:

                def step(frame: Frame) -> None:
                    frame[result] = function(frame[x], frame[y])
            case [x, y, z]:

                def step(frame: Frame) -> None:
                    frame[result] = function(frame[x], frame[y], frame[z])
            case operands:
                raise InternalError(f"{label(op)} has {len(operands)} operands")

        return step

    def mixed(self, values: Sequence[SSAValue], static: Sequence[int], dynamic: int) -> Callable[[Frame], list[int]]:
        """Numbers some of which are operands: `static` has `dynamic` in their place."""
        operands = iter(self.slots(values))
        parts = [(next(operands), None) if number == dynamic else (None, number) for number in static]
        return lambda frame: [frame[slot] if slot is not None else number for slot, number in parts]  # type: ignore[misc]

    def extent(self, extent: Extent, op: Operation) -> Callable[[Frame], int]:
        """A number, or a product of the function's extents."""
        names, number = ([text], 1) if (text := spelled(extent)) in self.extents else factors(extent)
        if missing := [name for name in names if name not in self.extents]:
            raise InternalError(f"{label(op)}: @{self.function.sym_name.data} has no extent '{missing[0]}'")
        slots = [self.slot(self.extents[name]) for name in names]

        def value(frame: Frame) -> int:
            found = number
            for slot in slots:
                found *= frame[slot]
            return found

        return value


def _extents(function: FuncOp) -> dict[str, SSAValue]:
    """The index arguments that are extents, and how much of a loop a tile has, by the names that loops and shapes use."""
    found: dict[str, SSAValue] = {}
    attrs = function.arg_attrs.data if function.arg_attrs is not None else [None] * len(function.args)
    for arg, attr in zip(function.args, attrs, strict=True):
        named = attr.data.get("kernel.name") if attr is not None else None
        name = named.data if isinstance(named, StringAttr) else arg.name_hint
        if name:
            found[name] = arg
    for op in function.walk():
        if isinstance(part := op.attributes.get("extent"), StringAttr):
            found[part.data] = op.results[0]
    return found
