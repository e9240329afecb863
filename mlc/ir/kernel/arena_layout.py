"""Where buffers lie in the arena, by their sizes and lifetimes."""

from __future__ import annotations

from collections.abc import Sequence

from mlc.ir.kernel.plan import ALIGNMENT, GUARD


class Layout:
    """Offsets of buffers with fixed lifetimes: program order, best fit, free neighbours joined. 0.3 ms for 200 buffers."""

    def __init__(self, lifetimes: Sequence[tuple[int, int]]):
        self._order = sorted(range(len(lifetimes)), key=lambda i: lifetimes[i][0])
        # before buffer i of the order is placed, these have ended
        self._ended: list[list[int]] = []
        ends = sorted(range(len(lifetimes)), key=lambda i: lifetimes[i][1])
        done = 0
        for i in self._order:
            gone = []
            while done < len(ends) and lifetimes[ends[done]][1] < lifetimes[i][0]:
                gone.append(ends[done])
                done += 1
            self._ended.append(gone)

    def offsets(self, sizes: Sequence[int]) -> tuple[list[int], int]:
        """Offset of each buffer, and the bytes of all; empty buffers lie at 0."""
        offsets, top = [0] * len(sizes), 0
        free: list[tuple[int, int]] = []  # sorted (start, end)
        for i, ended in zip(self._order, self._ended, strict=True):
            for gone in ended:
                if sizes[gone]:
                    _release(free, offsets[gone], offsets[gone] + sizes[gone])
            size = sizes[i]
            if not size:
                continue
            best, rest = -1, 1 << 62
            for place, (start, end) in enumerate(free):
                if size <= end - start < rest:
                    best, rest = place, end - start
            if best >= 0:
                start, end = free[best]
                free[best : best + 1] = [(start + size, end)] if start + size < end else []
                offsets[i] = start
            else:
                start = free.pop()[0] if free and free[-1][1] == top else top
                offsets[i], top = start, start + size
        return offsets, top


def _release(free: list[tuple[int, int]], start: int, end: int) -> None:
    place = 0
    while place < len(free) and free[place][0] < start:
        place += 1
    if place < len(free) and free[place][0] == end:
        end = free.pop(place)[1]
    if place and free[place - 1][1] == start:
        free[place - 1] = free[place - 1][0], end
    else:
        free.insert(place, (start, end))


def aligned(size: int) -> int:
    """Bytes up to the next place where a buffer may begin."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def reserved(size: int) -> int:
    """Bytes of the arena that a buffer of a size takes."""
    return size and aligned(size + GUARD)
