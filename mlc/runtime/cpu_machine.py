"""Calls on the CPU at hand: one native entry function, the arena, the table of weights, the threads of the process."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import numpy as np

from mlc.codegen.llvm.object import check_runs_here, load
from mlc.codegen.llvm.rank_table import SYMBOL
from mlc.codegen.llvm.threads import pool
from mlc.errors import InternalError, MlcError
from mlc.ir.processors import thread_count
from mlc.runtime.arrays import Memory, address, in_place
from mlc.runtime.artifact import Artifact
from mlc.runtime.binding import Binding
from mlc.runtime.engine_table import table as engine_table
from mlc.runtime.machines import Run, Workspace
from mlc.runtime.space import HOST

_ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_TIMED = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


class Weights:
    """The arrays of a plan's weights, and the table of pointers to them."""

    def __init__(self, keys: Sequence[str], get: Callable[[str], np.ndarray]):
        self.arrays = {key: in_place(get(key)) for key in keys}
        self.table = (ctypes.c_void_p * max(1, len(keys)))(*map(address, self.arrays.values()))


class CpuWorkspace(Workspace):
    """With the arena, and the weights, which live as long as a call that reads them."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs)
        self.memory = Memory(0)
        self.arena = self.memory.place
        self.weights: Weights | None = None
        self.ready: Binding | None = None  # whose calls can begin at once

    @property
    def bytes(self) -> int:
        return super().bytes + self.memory.bytes

    def take(self, weights: Weights, binding: Binding) -> None:
        """Get ready for calls at these sizes that read these weights."""
        if self.weights is not weights:
            self.weights = weights
            self.io[len(self.io) - 1] = ctypes.addressof(weights.table)
        if self.memory.bytes < binding.arena:
            self.reserve(binding.arena)
        self.ready = binding

    def reserve(self, size: int) -> None:
        self.memory = Memory(0)  # give back the old before asking for the new
        self.memory = Memory(size)
        self.arena = self.memory.place


class CpuMachine:
    """A machine as mlc.runtime.machines.Machine has it; `threads` counts those that the system gave."""

    space = HOST

    def __init__(self, artifact: Artifact, threads: int | None):
        check_runs_here(artifact.target)
        self.target = artifact.target
        self.plan, self.entry = artifact.plan, artifact.entry
        self.pool = pool()
        self.threads = self.pool.start(thread_count(threads))
        self.grain = self.pool.grain(self.threads)
        self._current = [Weights(self.plan.weights, artifact.weights.__getitem__)]  # one: those of the next call
        self._library = load(artifact.objects, {"mlc_pool_run": self.pool.run, **engine_table().imports})
        self._sums = any(SYMBOL.encode() in item for item in artifact.objects)  # whether it adds up over ranks
        self.run = self._run_of(self._library.address(self.entry))

    @property
    def weights(self) -> dict[str, np.ndarray]:
        return self._current[0].arrays

    def read(self, get: Callable[[str], np.ndarray]) -> None:
        self._current[0] = Weights(self.plan.weights, get)

    def workspace(self) -> CpuWorkspace:
        return CpuWorkspace(len(self.plan.inputs), len(self.plan.outputs))

    def arena(self, workspace: CpuWorkspace) -> np.ndarray:
        memory = workspace.memory
        return memory.block[memory.offset : memory.offset + memory.bytes]

    def _run_of(self, address: int) -> Run:
        """Runs the entry at an address. A closure, and as little as can be, for it is a part of every call. It does not know the machine,
        whose memory would wait for a collection."""
        entry, pool, threads, current = _ENTRY(address), self.pool, self.threads, self._current
        engine = engine_table()

        def run(workspace: CpuWorkspace, binding: Binding, table: int) -> None:
            if threads > 1 and not pool.workers:  # this is the child of a fork
                pool.start(threads)
            if workspace.ready is not binding or workspace.weights is not current[0]:
                workspace.take(current[0], binding)
            entry(table, workspace.arena, workspace.place)

        def run_with_others(workspace: CpuWorkspace, binding: Binding, table: int) -> None:
            run(workspace, binding, table)
            engine.require_done()

        return run_with_others if self._sums else run

    def timed(self) -> tuple[Run, Callable[[], Sequence[tuple[float, float]]]]:
        try:
            entry = _TIMED(self._library.address(f"{self.entry}_timed"))
        except InternalError:
            raise MlcError("this executable was built without the entry that takes times") from None
        times = (ctypes.c_int64 * max(1, 2 * len(self.plan.steps)))()

        def run(workspace: CpuWorkspace, binding: Binding, table: int) -> None:
            workspace.take(self._current[0], binding)
            entry(table, workspace.arena, workspace.place, ctypes.addressof(times))

        return run, lambda: [(times[2 * n], times[2 * n + 1]) for n in range(len(self.plan.steps))]
