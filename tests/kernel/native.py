"""Compile a lowered kernel and call it on NumPy arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np

from mlc.codegen.llvm.object import compile_text, load
from mlc.codegen.llvm.printer import argument_types, emit
from mlc.ir import dims
from mlc.ir.kernel.kernel import Kernel, strides_of
from mlc.ir.kernel.pack import pack
from mlc.ir.kernel.schedule import Schedule
from mlc.ir.kernel.target import cpu_target
from mlc.passes.loops.lower import lower


class Native:
    """A kernel as machine code. `native(arrays by buffer name, extents by name)` runs all its tiles; `parts` splits them as threads do."""

    def __init__(self, kernel: Kernel, schedule: Schedule | None = None, target=None, after: Callable | None = None):
        self.target = target or cpu_target()
        self.kernel = lower(kernel, schedule, after) if schedule else kernel
        self.text = emit(kernel.functions(), self.target)
        self.library = load([compile_text(self.text, self.target, kernel.optimise)])
        types = argument_types(kernel.op)
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(types))
        self.entry = function(self.library.address(kernel.name))

    def arguments(self, arrays: dict[str, np.ndarray], extents: dict[str, int]) -> list[int]:
        found: list[int] = []
        self.kept = []
        for arg in self.kernel.block.args:
            name = arg.name_hint
            if name in self.kernel.buffers:
                array = arrays[name]
                if name in self.kernel.packs:
                    array = pack(array, self.kernel.packs[name])
                    self.kept.append(array)
                    found.append(array.ctypes.data)
                    continue
                found.append(array.ctypes.data)
                found += [array.strides[axis] // array.itemsize for axis, s in enumerate(strides_of(arg)) if s is None]
            elif name in self.kernel.extents:
                found.append(extents[name])
            elif name == "scratch":
                size = dims.evaluate(dims.parse(str(self.kernel.scratch)), extents)
                self.kept.append(np.empty(size + 128, np.uint8))
                found.append(self.kept[-1].ctypes.data + 63 & -64)
        return found

    def tiles(self, extents: dict[str, int]) -> int:
        return dims.evaluate(dims.parse(str(self.kernel.tiles)), extents)

    def __call__(self, arrays: dict[str, np.ndarray], parts: int = 1, **extents: int) -> None:
        arguments = self.arguments(arrays, extents)
        if self.kernel.tiles is None:
            self.entry(*arguments)
            return
        tiles = self.tiles(extents)
        cuts = [tiles * n // parts for n in range(parts + 1)]
        for begin, end in zip(cuts, cuts[1:], strict=False):
            self.entry(*arguments, begin, end)


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy with room behind it, so that writes outside the result can be seen."""
    raw = np.empty(array.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    out = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    out[...] = array
    return out
