"""Many modules of LLVM IR at once: from the cache where they are known, else compiled here and in helper processes.

llvmlite holds one lock around LLVM, so threads do not help; processes do (1.8 times with two). A helper takes 0.2 s to start,
so the first one is started once a good deal of text is waiting. Helpers are fresh interpreters that read text from a pipe:
nothing is forked, so it does not matter which threads this process has.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Self

from mlc.codegen.llvm.cache import ObjectCache
from mlc.codegen.llvm.object import compile_text, versions
from mlc.errors import InternalError
from mlc.ir import work
from mlc.ir.kernel.cpu_target import CpuTarget, cpu_target
from mlc.ir.processors import available_cpus

_log = logging.getLogger("mlc.compile")

# Text compiles at about 1 MB per second: below this a helper is not worth its start.
WORTH_A_HELPER = 400_000


class ObjectCompiler:
    """Compiles modules as they are handed in; equal ones once.

    with ObjectCompiler(target, cache) as compiler:
        number = compiler.submit(text)
        objects = compiler.finish()        # in the order of the numbers

    Counts: `compiled` modules, of them `helped` in other processes; the rest came from the cache.
    """

    def __init__(self, target: CpuTarget | None = None, cache: ObjectCache | None = None, helpers: int | None = None):
        self.target = target or cpu_target()
        self.cache = cache
        self.limit = available_cpus() - 1 if helpers is None else helpers
        self.compiled = 0
        self.helped = 0
        self._versions = versions()
        self._numbers: dict[str, int] = {}  # key -> number
        self._keys: list[str] = []
        self._names: list[str] = []
        self._results: list[bytes | None] = []
        self._waiting: deque[tuple[int, str, bool]] = deque()
        self._text_waiting = 0
        self._changed = threading.Condition()
        self._closed = False
        self._error: Exception | None = None
        self._helpers: list[threading.Thread] = []
        self._away: dict[int, str] = {}  # what helpers are at, by number

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def submit(self, text: str, optimise: bool = False, name: str = "") -> int:
        """Hand in a module; returns its place in what finish() returns. `name` is what it is called while it is compiled."""
        key = ObjectCache.key(text, self.target, optimise, self._versions)
        if key in self._numbers:
            return self._numbers[key]
        number = self._numbers[key] = len(self._results)
        self._keys.append(key)
        self._names.append(name)
        found = self.cache.get(key) if self.cache else None
        self._results.append(found)
        if found is None:
            with self._changed:
                self._waiting.append((number, text, optimise))
                self._text_waiting += len(text)
                self._changed.notify()
            if len(self._helpers) < self.limit and self._text_waiting > WORTH_A_HELPER * (len(self._helpers) + 1):
                self._start_helper()
        return number

    def key(self, number: int) -> str:
        """Under which the cache keeps the object of a module that was handed in."""
        return self._keys[number]

    def finish(self) -> list[bytes]:
        """All objects. Raises InternalError for a module that LLVM refuses."""
        while (job := self._take()) is not None:
            work.at(self._names[job[0]], self.compiled, self.compiled + len(self._waiting) + 1)
            self._done(job[0], compile_text(job[1], self.target, job[2]))
        with self._changed:
            while self._away and self._error is None:
                names = ", ".join(dict.fromkeys(self._away.values()))
                work.at(names, self.compiled, self.compiled + len(self._away))
                self._changed.wait()
        self._close()
        if self._error is not None:
            raise self._error
        if self.compiled and self.cache:
            self.cache.trim()
        objects = [result for result in self._results if result is not None]
        if len(objects) != len(self._results):
            raise InternalError("a module was not compiled")
        return objects

    def _take(self) -> tuple[int, str, bool] | None:
        with self._changed:
            if not self._waiting:
                return None
            job = self._waiting.popleft()
            self._text_waiting -= len(job[1])
            return job

    def _done(self, number: int, content: bytes) -> None:
        with self._changed:
            self._results[number] = content
            self.compiled += 1
        if self.cache:
            self.cache.put(self._keys[number], content)

    def _close(self) -> None:
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        for thread in self._helpers:
            thread.join()

    def _start_helper(self) -> None:
        thread = threading.Thread(target=self._feed, name="mlc compile helper", daemon=True)
        self._helpers.append(thread)
        thread.start()

    def _feed(self) -> None:
        """Hand modules to one helper process until there are none."""
        try:
            helper = _start_process(self.target)
        except OSError as error:
            _log.warning("no helper process for compiling: %s", error)
            return
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._waiting or self._closed)
                    if not self._waiting:
                        return
                    job = self._waiting.popleft()
                    self._text_waiting -= len(job[1])
                    self._away[job[0]] = self._names[job[0]]
                try:
                    self._done(job[0], _ask(helper, job[1], job[2]))
                    self.helped += 1
                finally:
                    with self._changed:
                        del self._away[job[0]]
                        self._changed.notify_all()
        except InternalError as error:
            with self._changed:
                self._error = self._error or error
                self._changed.notify_all()
        finally:
            helper.communicate()  # closes its input, which ends it


def compile_all(
    modules: Sequence[tuple[str, bool]], target: CpuTarget | None = None, cache: ObjectCache | None = None
) -> list[bytes]:
    """The objects of (text, optimise) modules, in order; equal modules give the same object."""
    with ObjectCompiler(target, cache) as compiler:
        numbers = [compiler.submit(text, optimise) for text, optimise in modules]
        objects = compiler.finish()
    return [objects[number] for number in numbers]


# ---------------------------------------------------------------- the helper process


def _start_process(target: CpuTarget) -> subprocess.Popen[bytes]:
    root = Path(__file__).parents[3]
    path = os.pathsep.join(part for part in (str(root), os.environ.get("PYTHONPATH")) if part)
    process = subprocess.Popen(
        [sys.executable, "-m", "mlc.codegen.llvm.workers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdin is not None
    fields = {"name": target.name, "features": target.features, "lanes": target.lanes, "registers": target.registers}
    _send(process.stdin, {**fields, "l1": target.l1, "l2": target.l2, "fma": target.fma, "arch": target.arch}, b"")
    return process


def _ask(process: subprocess.Popen[bytes], text: str, optimise: bool) -> bytes:
    assert process.stdin is not None and process.stdout is not None
    try:
        _send(process.stdin, {"optimise": optimise}, text.encode())
        header, content = _receive(process.stdout)
    except (OSError, EOFError):
        name = next((line for line in text.splitlines() if line.startswith("define")), "a module")[:120]
        raise InternalError(f"LLVM stopped while it compiled {name} (exit status {process.wait()})") from None
    if "error" in header:
        raise InternalError(str(header["error"]))
    return content


def _send(stream: IO[bytes], header: dict[str, object], content: bytes) -> None:
    stream.write(json.dumps({**header, "size": len(content)}).encode() + b"\n")
    stream.write(content)
    stream.flush()


def _receive(stream: IO[bytes]) -> tuple[dict[str, object], bytes]:
    line = stream.readline()
    if not line:
        raise EOFError
    header = json.loads(line)
    content = stream.read(header["size"])
    if len(content) != header["size"]:
        raise EOFError
    return header, content


def _serve() -> None:
    """Compile what standard input brings until it ends."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    fields, _ = _receive(source)
    del fields["size"]
    target = CpuTarget(**fields)  # type: ignore[arg-type]
    while True:
        try:
            header, text = _receive(source)
        except EOFError:
            return
        try:
            _send(sink, {}, compile_text(text.decode(), target, bool(header["optimise"])))
        except InternalError as error:
            _send(sink, {"error": str(error)}, b"")


if __name__ == "__main__":
    _serve()
