"""Memory whose neighbours nobody may touch: an access outside of a buffer ends the process at once.

Every input, weight, output, buffer of the arena and thread's scratch lies by itself, and ends in front of a page without permissions: inputs,
weights and outputs to the byte, the others with the vector that may be read behind them. Temporaries on the stack move to the scratch.
"""

from __future__ import annotations

import ctypes
import mmap
from dataclasses import replace
from typing import Any

import numpy as np

from mlc.ir import dims
from mlc.ir.kernel.cpu_target import CpuTarget
from mlc.ir.kernel.plan import ALIGNMENT, GUARD
from mlc.runtime import cpu_machine, executable
from mlc.runtime.arrays import Memory, address
from mlc.runtime.binding import Binder, Binding

PAGE = mmap.PAGESIZE
_mprotect = ctypes.CDLL(None, use_errno=True).mprotect
_mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
# How the arenas of bindings are laid out, by their sizes, which are made to differ: (bytes in front, the closed pages).
_layouts: dict[int, tuple[int, list[int]]] = {}


def guard_memory() -> None:
    """From now on, in this process."""
    executable.Memory = GuardedMemory  # type: ignore[misc]
    executable.Binder = GuardedBinder  # type: ignore[misc]
    cpu_machine.in_place = guarded_array
    executable._WORKSPACES = 0  # every call gets an arena of its own
    cpu_machine.CpuWorkspace.reserve = _reserve  # type: ignore[method-assign]
    CpuTarget.lowering = replace(CpuTarget.lowering, stack=0)


def guarded_array(array: np.ndarray) -> np.ndarray:
    """A copy whose last byte is the last in front of a closed page."""
    memory = GuardedMemory(array.nbytes, 1)
    copy: np.ndarray = np.ndarray(array.shape, array.dtype, memory.block, memory.offset)
    copy[...] = array
    return copy


class GuardedMemory(Memory):
    """Bytes between two closed pages, as close to the second as the alignment allows."""

    __slots__ = ("map",)

    def __init__(self, bytes: int, alignment: int = 4):
        self.bytes = bytes
        room = _pages(max(bytes, 1))
        self.map = mmap.mmap(-1, room + 2 * PAGE)
        self.block = np.frombuffer(self.map, np.uint8)
        start = address(self.block)
        self.offset = PAGE + room - -(-bytes // alignment) * alignment
        self.place = start + self.offset
        _close(start)
        _close(start + PAGE + room)


class GuardedBinder(Binder):
    """Bindings whose buffers share no memory."""

    def _make(self, symbols: dict[str, int]) -> Binding:
        made = super()._make(symbols)
        own = _pages(made.table[0])
        front = own - made.table[0]  # so that each scratch ends with its page
        top, closed = 0, []
        if own:
            made.table[0] = own + PAGE  # from one thread's scratch to the next
            for _ in range(self.threads):
                top += own + PAGE
                closed.append(top - PAGE)
        first = len(made.table) - len(self.plan.buffers)
        for number, life in enumerate(self.plan.buffers):
            size = dims.evaluate(life.bytes, symbols)
            bytes = size and -(-(size + GUARD) // ALIGNMENT) * ALIGNMENT
            made.table[first + number] = top + _pages(bytes) - bytes - front
            top += _pages(bytes) + PAGE
            closed.append(top - PAGE)
        while top in _layouts:
            top += PAGE
        _layouts[top] = front, closed
        return replace(made, arena=top, offsets=tuple(made.table[first:]))


def _reserve(self: Any, size: int) -> None:
    front, closed = _layouts[size]
    self.memory = GuardedMemory(size)
    start = self.memory.place
    self.arena = start + front
    for page in closed:
        _close(start + page)


def _close(place: int) -> None:
    """A page that from now on ends the process."""
    if _mprotect(place, PAGE, 0):
        raise OSError(ctypes.get_errno(), "mprotect")


def _pages(bytes: int) -> int:
    return -(-bytes // PAGE) * PAGE
