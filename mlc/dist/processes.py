"""The processes that train together: how they find each other, agree, and end together.

Sums of a step go through a table that native code knows (mlc/runtime/engine_table.py). What is said here beside it, rarely, goes through Python: a
comparison of programs before the first step, a barrier behind a checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol, TypeVar

from mlc.errors import MlcError, TargetUnavailable
from mlc.frontends.trace.tracing import user_line
from mlc.ir.processors import available_cpus
from mlc.runtime.engine_table import TIMEOUT, table

Made = TypeVar("Made")
Engine = Literal["mpi", "nccl"]
ENGINES = ("mpi", "nccl")
_PATIENCE = 300.0


class EngineGroup(Protocol):
    """What an engine knows of the processes beside the table."""

    name: str
    beside: int  # ranks on this machine
    first: bool  # whether this is the first of them

    def gather(self, said: bytes, what: str, patience: float) -> list[bytes]:
        """What each rank says, of equal length, in the order of ranks. Raises MlcError where one says nothing for so many seconds."""

    def finish(self) -> None:
        """Take the engine out of the table."""


_group: EngineGroup | None = None


def init(engine: Engine | None = "mpi", *, timeout: float | None = None) -> None:
    """Join the processes that a launcher started together: `mpiexec -n 4 python -m mpi4py train.py`.

    engine   "mpi": whatever MPI mpi4py was installed for. None: this process alone, as without `init`
    timeout  seconds that a rank waits for the others before it gives up, 300 by default, or what MLC_DIST_TIMEOUT says

    A second call with the same engine changes the timeout at most. Raises TargetUnavailable where the engine is not installed.
    """
    global _group
    if engine is None:
        return
    if engine not in ENGINES:
        raise MlcError(f"there is no engine {engine!r}", file=user_line(), remedy=f"Engines: {', '.join(ENGINES)}, None.")
    if engine == "nccl":
        raise TargetUnavailable(
            "sums over GPUs (NCCL) are not there yet", remedy='Train on CPUs: mlc.dist.init("mpi").'
        )
    if timeout is not None and not timeout > 0:
        raise MlcError(f"timeout is {timeout!r}", file=user_line(), remedy="Give seconds, more than 0.")
    if _group is None:
        from mlc.dist.mpi import MpiGroup

        _group = MpiGroup()
        _warn_of_cores()
        table().limit = _seconds()
    if timeout is not None:
        table().limit = timeout


def _seconds() -> float:
    said = os.environ.get(TIMEOUT, "")
    try:
        found = float(said) if said else _PATIENCE
    except ValueError:
        found = 0.0
    if not found > 0:
        raise MlcError(f"{TIMEOUT} is {said!r}", remedy="Give seconds, more than 0.")
    return found


def _warn_of_cores() -> None:
    """Where ranks outnumber cores, each waits for others to be given one."""
    import logging

    cores = os.cpu_count() or available_cpus()
    if size() > cores and rank() == 0:
        logging.getLogger("mlc.dist").warning(
            "%d ranks share at most %d cores where they are on one machine: steps take longer than on one rank", size(), cores
        )


def rank() -> int:
    """The number of this process: 0, 1, ...; 0 before `init`."""
    return table().rank


def size() -> int:
    """How many processes there are; 1 before `init`."""
    return table().size


def threads_of_a_rank() -> int | None:
    """How many threads a rank may use where nobody said so: the cores of the machine are for all ranks on it. None: as many as else."""
    asked = any(os.environ.get(name) for name in ("MLC_NUM_THREADS", "OMP_NUM_THREADS"))
    if _group is None or asked or _group.beside == 1:
        return None
    cores = available_cpus()
    bound = cores < (os.cpu_count() or cores)  # the launcher gave this rank cores of its own
    return cores if bound else max(1, cores // _group.beside)


def barrier(what: str = "a barrier") -> None:
    """Wait until all ranks are here. Raises MlcError where one does not come within the timeout."""
    agreed({"barrier": what.encode()}, what)


def finish() -> None:
    """Leave the group: from here on this process is alone. The engine itself ends with the process."""
    global _group
    if _group is not None:
        _group.finish()
        _group = None


def first_of_the_machine_first(make: Callable[[], Made]) -> Made:
    """make(), by one rank of each machine before the others, which find what it has left in the cache."""
    if _group is None:
        return make()
    made = [make()] if _group.first else []
    _group.gather(b"", "compiling", float("inf"))  # it takes what it takes, and who dies meanwhile ends all
    return made[0] if made else make()


def agreed(said: Mapping[str, bytes], what: str) -> None:
    """Raises MlcError on every rank where ranks say different things of `what`, naming which and who."""
    if _group is None:
        return
    from hashlib import sha256

    names: Sequence[str] = list(said)
    digests = [sha256(said[name]).digest() for name in names]
    found = _group.gather(b"".join(digests), what, table().limit)
    different = []
    for n, name in enumerate(names):
        each = [row[32 * n : 32 * n + 32] for row in found]
        if others := [r for r, digest in enumerate(each) if digest != each[0]]:
            different.append(f"{name}: {_ranks(others)} and rank 0 differ")
    if different:
        raise MlcError(
            f"the ranks do not do the same: {what}",
            remedy="\n".join([*different, "All ranks run one program, of one version, on batches of one shape, from one seed."]),
        )


def _ranks(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")
    return f"rank{'s' * (len(numbers) > 1)} {shown}"
