"""A process that tries programs: a crash or a hang of one is its result."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from multiprocessing.connection import Connection

from benchmarks.random_programs.drawing import Program

SECONDS = 120.0  # for one program, after which it hangs: on a busy machine the first takes long


@dataclass(frozen=True)
class Verdict:
    """`status`: right, wrong, refused (an error that blames the model), internal, crash, hang, or skipped (infinite or beyond the dtype)."""

    status: str
    text: str = ""


def serve(connection: Connection, guard: bool) -> None:
    """The worker: programs as text in, verdicts out."""
    from benchmarks.random_programs.guard_pages import guard_memory, guarded_array
    from benchmarks.random_programs.trial import trial

    if guard:
        guard_memory()
    while (text := connection.recv()) is not None:
        try:
            connection.send(trial(Program.parse(text), guarded_array if guard else None))
        except Exception as error:  # noqa: BLE001 - anything that escapes is a fault of mlc, or of this benchmark
            connection.send(Verdict("internal", f"{type(error).__name__}: {error}"))


class Worker:
    """A process that tries programs; a new one after a crash."""

    def __init__(self, guard: bool = False):
        self.guard = guard
        self.process: multiprocessing.process.BaseProcess | None = None

    def attempt(self, program: Program) -> Verdict:
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.connection, theirs = context.Pipe()
            self.process = context.Process(target=serve, args=(theirs, self.guard), daemon=True)
            self.process.start()
            theirs.close()
        try:
            self.connection.send(program.text())
            if self.connection.poll(SECONDS):
                return self.connection.recv()
            verdict = Verdict("hang", f"no answer after {SECONDS:.0f} s")
        except (EOFError, ConnectionResetError, BrokenPipeError):
            self.process.join()
            verdict = Verdict("crash", f"the process ended with {self.process.exitcode}")
        self.close()
        return verdict

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None
