"""The schedules that need no rule: one thread per element of a result, and loops as they were written."""

from __future__ import annotations

from mlc.ir.kernel.schedule import Grid, Scalar, Schedule

THREADS = 256  # of a block: eight warps, of which six to eight blocks fill a multiprocessor, whatever its generation


def generic() -> Schedule:
    """Every run of ops with the same parallel loops is a launch of its own, with one thread per point of these loops."""
    return Schedule((), Grid(THREADS))


def written_as_loops() -> Schedule:
    """Kernels of plain loops say themselves what can run at the same time: a thread takes a tile."""
    return Schedule((), Scalar())
