"""Where a weight's bytes come from, as data: a place in a file, the moves of elements from there, and how the result is packed.

    w.transposed.packed.32.768x768      Origin("w", (Move("transpose", (1, 0)),), Pack((768, 768), {1: 32}))

With it a weight is made again without the IR that it was decided in. What computes with elements has no origin but itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from mlc.ir.kernel.pack import Pack, pack
from mlc.ir.slabs import Slabs


class Place(NamedTuple):
    """Where the elements of a weight lie in a file, row by row and each as little-endian bytes."""

    file: str
    offset: int


class Move(NamedTuple):
    """An op that moves elements: `numbers` are the permutation, the shape, or the slice's starts, steps and sizes."""

    kind: Literal["transpose", "reshape", "slice"]
    numbers: tuple[int, ...]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        match self.kind:
            case "transpose":
                return x.transpose(self.numbers)
            case "reshape":
                return x.reshape(self.numbers)
            case "slice":
                rank = x.ndim
                starts, steps, sizes = (self.numbers[n * rank : (n + 1) * rank] for n in range(3))
                return x[tuple(map(_stretch, starts, steps, sizes))]


def _stretch(start: int, step: int, size: int) -> slice:
    end = start + size * step
    return slice(start, end if end >= 0 else None, step) if size else slice(0)


class Origin(NamedTuple):
    """The weight `key`, moved, then packed."""

    key: str
    moves: tuple[Move, ...] = ()
    how: Pack | None = None

    def make(self, x: np.ndarray, slabs: Slabs | None = None) -> np.ndarray:
        """The weight from the elements of `key`; without moves and packing that array itself."""
        if not self.moves and self.how is None:
            return x
        x = moved(x, self.moves)
        return np.ascontiguousarray(x) if self.how is None else pack(x, self.how, slabs)


def moved(x: np.ndarray, moves: Sequence[Move]) -> np.ndarray:
    for move in moves:
        x = move(x)
    return x
