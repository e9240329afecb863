"""What a call does on a GPU at one set of sizes: launches, and copies inside of the GPU, with everything known but addresses.

    works(plan, table, binding, functions)   ->   [Launch(grid, block, arguments), Move(...), ...]

Whoever issues them knows the addresses: those of inputs, outputs, weights and the arena.
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
from mlc.ir.kernel.plan import Argument, Copy, Plan, Step
from mlc.runtime.binding import Binding

# An argument of a launch: a number, or a place whose address is looked up.
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
    """One launch of a driver's function; `step` is the number of its step in the plan."""

    function: Any
    symbol: str
    step: int
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int
    pack: struct.Struct
    arguments: tuple[Item, ...]

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
    step: int | None = None

    def issue(self, places: Places, stream: Any) -> None:
        target, source = places.value(self.target), places.value(self.source)
        if target != source and self.bytes:
            self.copy(target, source, self.bytes, stream)


class Worker:
    """Makes the work of steps and copies of a plan, whose functions are loaded. `copy` is the driver's, inside of the GPU."""

    def __init__(self, plan: Plan, table: LaunchTable, functions: Mapping[str, Any], copy: Callable[..., None]):
        self.plan, self.table, self.functions, self.copy = plan, table, functions, copy
        self.counts = [dims.parse(text) for text in table.counts]

    def works(self, binding: Binding) -> list[Launch | Move]:
        """Of a straight plan. Raises MlcError where positions do not fit into the numbers that kernels count with."""
        self.require_countable(binding)
        sizes = dict(zip(self.plan.sizes, binding.sizes, strict=True))

        def known(extent: Extent) -> int:
            return extent if isinstance(extent, int) else sizes[extent]

        numbers = {id(step): number for number, step in enumerate(self.plan.steps)}
        found: list[Launch | Move] = []
        for item in self.plan.sequence:
            if isinstance(item, Copy):
                target, source = _items(item.target, known)[0], _items(item.source, known)[0]
                found.append(Move(target, source, known(item.bytes), self.copy))
            else:
                found += self.launches(item, numbers[id(item)], known)
        return found

    def launches(self, step: Step, number: int, known: Callable[[Extent], int]) -> list[Launch]:
        """Of one step; those without blocks are left out."""
        code = self.table.kernels[step.kernel]
        arguments = [item for argument in step.arguments for item in _items(argument, known)]
        pack = struct.Struct("".join(_format(kind, code) for kind, _ in arguments))
        extents = dict(
            zip(code.extents, (known(a.at) for a in step.arguments if a.kind in ("size", "computed")), strict=True)
        )
        found = []
        for launch in code.launches:
            x, y, z = (dims.evaluate(dims.parse(text), extents) for text in launch.grid)
            if min(x, y, z) > 0:
                function = self.functions[launch.symbol]
                found.append(
                    Launch(
                        function, launch.symbol, number, (x, y, z), launch.block, launch.shared, pack, tuple(arguments)
                    )
                )
        return found

    def require_countable(self, binding: Binding) -> None:
        for count in self.counts:
            if (elements := dims.evaluate(count, binding.symbols)) >= 1 << 31:
                raise MlcError(
                    f"a tensor has {elements} elements at these sizes, and the kernels count to 2147483647",
                    remedy="Call it with smaller inputs, or state the bounds of the sizes where the model is compiled: --dim N=1..SIZE.",
                )


def _items(argument: Argument, known: Callable[[Extent], int]) -> list[Item]:
    return [(argument.kind, known(argument.at)), *(("stride", known(stride)) for stride in argument.strides)]


def _format(kind: str, code: KernelCode) -> str:
    return _FORMATS[code.index_bytes] if kind in ("size", "computed", "stride") else "P"
