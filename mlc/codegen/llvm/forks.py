"""Independent pieces of work, shared among this process and forks of it. Python and llvmlite hold one lock each, so threads do not help.

    shared(work, 12, processes())        # [work(0), ..., work(11)]

Each process takes the next piece as long as there is one. A fork has all modules imported and all IR made, so a piece is a number on the way
there, and bytes on the way back, which lie in a file without a name. What a fork leaves behind that fails is done here.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import IO

from mlc.ir import work as at_work
from mlc.ir.processors import available_cpus

OWN = "mlc "  # how the names of mlc's own threads begin
_NUMBER = 8  # bytes of one in a pipe or file
_log = logging.getLogger("mlc.compile")


def processes() -> int:
    """How many may share work. One where forks are not safe: beside threads that may hold a lock at that moment, which nobody would release in
    the fork, and on systems whose libraries do not stand it. mlc's own threads hold none that matters there."""
    others = (thread for thread in threading.enumerate() if thread is not threading.current_thread())
    alone = sys.platform == "linux" and all(thread.name.startswith(OWN) for thread in others)
    return available_cpus() if alone else 1


def shared(work: Callable[[int], bytes], count: int, processes: int) -> list[bytes]:
    """What work(0), work(1), ... return. Raises what one of them raises."""
    found: list[bytes | None] = [None] * count
    if count > 1 and processes > 1:
        _share(work, found, processes)
    return [work(number) if result is None else result for number, result in enumerate(found)]


def _share(work: Callable[[int], bytes], found: list[bytes | None], processes: int) -> None:
    """Fill in what comes back."""
    numbers, end = os.pipe()
    os.set_blocking(end, False)  # what does not fit into the pipe is left out
    waiting = os.write(end, b"".join(number.to_bytes(_NUMBER, "little") for number in range(len(found)))) // _NUMBER
    os.close(end)
    forks: list[tuple[int, IO[bytes]]] = []
    try:
        for _ in range(min(processes, waiting) - 1):
            try:
                forks.append(_fork(work, numbers))
            except OSError as error:
                _log.info("no more processes to compile in: %s", error)
                break
        while (number := _next(numbers)) is not None:
            found[number] = work(number)
        while forks:
            fork, results = forks.pop()
            with suppress(ChildProcessError), results:  # whoever ignores SIGCHLD has no children to wait for
                os.waitpid(fork, 0)
                _read(results, found)
    finally:
        os.close(numbers)
        for fork, results in forks:
            results.close()
            with suppress(ChildProcessError, ProcessLookupError):
                os.kill(fork, signal.SIGKILL)
                os.waitpid(fork, 0)


def _fork(work: Callable[[int], bytes], numbers: int) -> tuple[int, IO[bytes]]:
    """A process that works until nothing is left, and the file of its results. It ends with that, and does nothing of what is to be done at the
    end of the one it is a fork of."""
    results = tempfile.TemporaryFile()  # noqa: SIM115
    if fork := os.fork():
        return fork, results
    status = 1
    try:
        with at_work.watched(None):
            while (number := _next(numbers)) is not None:
                content = work(number)
                results.write(number.to_bytes(_NUMBER, "little") + len(content).to_bytes(_NUMBER, "little") + content)
        results.flush()
        status = 0
    finally:
        os._exit(status)


def _next(numbers: int) -> int | None:
    """A number that nobody has taken."""
    taken = os.read(numbers, _NUMBER)
    return int.from_bytes(taken, "little") if len(taken) == _NUMBER else None


def _read(results: IO[bytes], found: list[bytes | None]) -> None:
    """Whole results: the last one of a fork that was stopped may be none."""
    results.seek(0)
    while len(head := results.read(2 * _NUMBER)) == 2 * _NUMBER:
        number, size = (int.from_bytes(part, "little") for part in (head[:_NUMBER], head[_NUMBER:]))
        content = results.read(size)
        if len(content) == size:
            found[number] = content
