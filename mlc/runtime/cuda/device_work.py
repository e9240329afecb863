"""What a call does on a GPU at one set of sizes: launches, and copies inside of the GPU, with everything known but addresses.

    Worker(plan, table, functions).works(binding)   ->   [Launch(grid, block, arguments), Move(...), ...]

Whoever issues them knows the addresses: those of inputs, outputs, weights and the arena. Where a plan has loops or branches, its steps become
work one by one, as it is walked (device_walk.py).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlc.codegen.cuda.launches import KernelCode, LaunchTable
from mlc.errors import MlcError
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.kernel.places import Argument
from mlc.ir.kernel.plan import Copy, Plan, Step
from mlc.runtime.binding import Binding

# A value that a launch is given: a number, or memory of that number, whose address is looked up.
Item = tuple[str, int]
_FORMATS = {4: "i", 8: "q"}


@dataclass(frozen=True)
class Places:
    """Addresses on the GPU, by number; buffers by their offsets in the arena, at whose start is the scratch memory."""

    inputs: Sequence[int]
    outputs: Sequence[int]
    weights: Sequence[int]
    arena: int
    buffers: Sequence[int]

    def value(self, item: Item) -> int:
        kind, at = item
        match kind:
            case "input":
                return self.inputs[at]
            case "output":
                return self.outputs[at]
            case "weight":
                return self.weights[at]
            case "buffer":
                return self.arena + self.buffers[at]
            case "scratch":
                return self.arena
        return at


@dataclass(frozen=True)
class Launch:
    """One launch of a driver's function; `step` is the number of its step in the plan, of whose launches it may be the first."""

    function: Any
    symbol: str
    step: int
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int
    pack: struct.Struct
    arguments: tuple[Item, ...]
    first: bool = True

    def __str__(self) -> str:
        shared = f" with {self.shared} bytes of shared memory" if self.shared else ""
        return f"the launch of kernel '{self.symbol}' on {self.grid} blocks of {self.block} threads{shared}"

    def issue(self, places: Places, stream: Any) -> None:
        packed = self.pack.pack(*map(places.value, self.arguments))
        self.function._launch_kernel(self.grid, self.block, packed, self.shared, stream)


@dataclass(frozen=True)
class Move:
    """So many bytes from one place on the GPU to another."""

    target: Item
    source: Item
    bytes: int
    copy: Callable[..., None]

    def __str__(self) -> str:
        return f"a copy of {self.bytes} bytes on the GPU"

    def issue(self, places: Places, stream: Any) -> None:
        target, source = places.value(self.target), places.value(self.source)
        if target != source and self.bytes:
            self.copy(target, source, self.bytes, stream)


class DeviceCall:
    """A step of a plan with the code of its kernel: how its arguments are packed, and which of them are the extents that grids count with.

    Extents stand behind memory in a kernel: of what is computed on the way, numbers are those in the last places.
    """

    def __init__(self, number: int, step: Step, code: KernelCode):
        self.number, self.step, self.code = number, step, code
        numbers = [place for place, a in enumerate(step.arguments) if a.kind in ("size", "computed")]
        self.extents = numbers[len(numbers) - len(code.extents) :]
        small, format = _FORMATS[code.index_bytes], ""
        for place, argument in enumerate(step.arguments):
            format += (small if place in self.extents else "P") + small * len(argument.strides)
        self.pack = struct.Struct(format)
        self.grids = [tuple(map(dims.parse, launch.grid)) for launch in code.launches]

    def launches(self, items: Sequence[Sequence[Item]], functions: Mapping[str, Any]) -> list[Launch]:
        """With what each argument becomes: itself, then its strides. Launches without blocks are left out."""
        extents = {name: items[place][0][1] for name, place in zip(self.code.extents, self.extents, strict=True)}
        arguments = tuple(item for each in items for item in each)
        found: list[Launch] = []
        for launch, grid in zip(self.code.launches, self.grids, strict=True):
            x, y, z = (dims.evaluate(extent, extents) for extent in grid)
            if min(x, y, z) > 0:
                made = functions[launch.symbol], launch.symbol, self.number, (x, y, z), launch.block, launch.shared
                found.append(Launch(*made, self.pack, arguments, first=not found))
        return found


class Worker:
    """Makes the work of the steps and copies of a plan, whose functions are loaded. `copy` is the driver's, inside of the GPU."""

    def __init__(self, plan: Plan, table: LaunchTable, functions: Mapping[str, Any], copy: Callable[..., None]):
        self.plan, self.functions, self.copy = plan, functions, copy
        self.calls = [DeviceCall(number, step, table.kernels[step.kernel]) for number, step in enumerate(plan.steps)]
        self.counts = [dims.parse(text) for text in table.counts]

    def works(self, binding: Binding) -> list[Launch | Move]:
        """Of a straight plan."""
        sizes = dict(zip(self.plan.sizes, binding.sizes, strict=True))

        def known(extent: Extent) -> int:
            return extent if isinstance(extent, int) else sizes[extent]

        def items(argument: Argument) -> list[Item]:
            return [(argument.kind, known(argument.at)), *(("size", known(stride)) for stride in argument.strides)]

        calls = iter(self.calls)
        found: list[Launch | Move] = []
        for item in self.plan.sequence:
            if isinstance(item, Copy):
                found.append(Move(items(item.target)[0], items(item.source)[0], known(item.bytes), self.copy))
            else:
                found += next(calls).launches(list(map(items, item.arguments)), self.functions)
        return found

    def launches(self, number: int, known: Callable[[Argument], int]) -> list[Launch]:
        """Of one step, whose arguments are known by now."""
        items = [
            [("size", known(argument)), *(("size", known(Argument("size", stride))) for stride in argument.strides)]
            for argument in self.plan.steps[number].arguments
        ]
        return self.calls[number].launches(items, self.functions)

    def require_countable(self, binding: Binding) -> None:
        """Raises MlcError where positions do not fit into the numbers that kernels count with."""
        for count in self.counts:
            elements = dims.evaluate(dims.ceiling(count, self.plan.counted), binding.symbols)
            if elements >= 1 << 31:
                raise MlcError(
                    f"a tensor has {elements} elements at these sizes, and the kernels count to 2147483647",
                    remedy="Call it with smaller inputs, or state the bounds of the sizes where the model is compiled: --dim N=1..SIZE.",
                )
