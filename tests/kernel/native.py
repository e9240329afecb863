"""Compile a lowered kernel and call it on NumPy arrays."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable

import numpy as np

from mlc.codegen.llvm.object import compile_text, load
from mlc.codegen.llvm.printer import argument_types, emit
from mlc.ir import dims
from mlc.ir.kernel.cpu_target import CpuTarget, cpu_target
from mlc.ir.kernel.kernel import Kernel, strides_of
from mlc.ir.kernel.pack import pack
from mlc.ir.kernel.schedule import Schedule
from mlc.passes.kernel.lowering import stepwise
from mlc.passes.kernel.merge import merge_loops
from mlc.passes.kernel.rules.cpu import choose
from mlc.passes.loops.lower import lower


def by_rules(kernel: Kernel, target: CpuTarget, after: Callable[[str, Kernel], None] | None = None) -> Kernel:
    """What the passes merge-loops, schedule and lower make of a kernel. `after` sees it behind each part."""
    look = after or (lambda part, made: None)
    merge_loops(kernel)
    kernel.finish()
    look("merge", kernel)
    kernel.schedule = str(choose(kernel, target))
    kernel.finish()
    for made, part in stepwise(kernel.op, target):
        made.finish()
        look(str(part), made)
    return made


class Native:
    """A kernel as machine code. `native(arrays by buffer name, extents by name)` runs all its tiles; `parts` splits them as threads do."""

    def __init__(self, kernel: Kernel, schedule: Schedule | None = None, target=None, after: Callable | None = None):
        self.target = target or cpu_target()
        self.kernel = lower(kernel, schedule, self.target, after) if schedule else kernel
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
        for begin, end in itertools.pairwise(cuts):
            self.entry(*arguments, begin, end)


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy with room behind it, so that writes outside the result can be seen."""
    raw = np.empty(array.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    out = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    out[...] = array
    return out


TARGETS = [cpu_target(name) for name in ("x86-64-v4", "x86-64-v3", "x86-64-v2")]
RUNNABLE = [target for target in TARGETS if not target.missing()]
GUARD = 64  # elements on both sides of a result


def run(
    kernel: Kernel,
    arrays: dict[str, np.ndarray],
    out: str,
    target: CpuTarget | None = None,
    parts: int = 1,
    **extents: int,
) -> np.ndarray:
    """Lower, compile and run a kernel; the array `out` in a buffer of its own, whose surroundings must stay as they were."""
    target = target or cpu_target()
    native = Native(by_rules(kernel, target), target=target)
    like = arrays[out]
    raw = np.full(like.size + 2 * GUARD, 77).astype(like.dtype)
    around = raw.copy()
    result = raw[GUARD : GUARD + like.size].reshape(like.shape)
    native({**arrays, out: result}, parts, **extents)
    around[GUARD : GUARD + like.size] = raw[GUARD : GUARD + like.size]
    assert raw.tobytes() == around.tobytes(), "wrote outside the result"
    return result


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def close(found: np.ndarray, exact: np.ndarray, tolerance: float = 2e-6) -> None:
    """Within a tolerance of the largest exact value."""
    assert found.shape == exact.shape
    if exact.size:
        assert np.max(np.abs(found.astype(np.float64) - exact)) <= tolerance * max(1.0, float(np.max(np.abs(exact))))
