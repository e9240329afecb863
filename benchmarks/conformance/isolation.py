"""Run cases one process each, so that an abort, a hang or a runaway allocation is one failed case.

The parent imports the backend and forks; it must not start threads or compile anything itself.
"""

import collections
import multiprocessing
import os
import resource
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal

import ml_dtypes
import numpy as np
from onnx.backend.test.runner import Runner

from benchmarks.conformance.backends import Backend
from benchmarks.conformance.structural import bake
from benchmarks.conformance.suite import Case, Value

Status = Literal["passed", "unsupported", "rounding", "wrong", "error", "crash"]


@dataclass(frozen=True)
class Result:
    """`rounding` is an answer outside of the case's tolerance and within one rounding of its largest element, `wrong` one that differs, `error` an exception, `crash` death by a signal or no answer in time."""

    status: Status
    kind: str = ""
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Limits:
    seconds: float = 60.0
    memory_gib: float = 0.0  # 0: none


def run_case(case: Case, backend: Backend, baked: bool) -> Result:
    """Every data set of a case, in this process; tolerances and comparison are the suite's own."""
    model, data_sets = case.load()
    for inputs, expected in data_sets:
        try:
            outputs = backend.run(*(bake(model, inputs) if baked else (model, inputs)))
        except Exception as error:  # noqa: BLE001 - whatever a backend raises is this case's result
            said = f"{type(error).__name__}: {_first_lines(str(error))}"
            if backend.refuses(error):
                return Result("unsupported", "refused", said)
            frame = traceback.extract_tb(error.__traceback__)[-1]
            return Result("error", type(error).__name__, f"{said} ({Path(frame.filename).name}:{frame.lineno})")
        if (difference := _difference(expected, outputs, case)) is not None:
            return difference
    return Result("passed")


def run_cases(
    cases: Iterable[Case],
    backend: Backend,
    limits: Limits,
    jobs: int,
    baked: bool,
    report: Callable[[Case, Result], None],
) -> None:
    """Run all, `jobs` at a time, and report each as it ends."""
    context = multiprocessing.get_context("fork")
    waiting = collections.deque(cases)
    active: dict[Connection, tuple[Case, Any, float, Path]] = {}
    with tempfile.TemporaryDirectory() as folder:
        while waiting or active:
            while waiting and len(active) < jobs:
                case = waiting.popleft()
                receive, send = context.Pipe(duplex=False)
                log = Path(folder) / f"{case.name}.log"
                process = context.Process(target=_child, args=(case, backend, baked, limits, send, log))
                process.start()
                send.close()
                active[receive] = (case, process, time.monotonic() + limits.seconds, log)
            slack = max(0.0, min(deadline for _, _, deadline, _ in active.values()) - time.monotonic())
            ready = set(wait(list(active), timeout=slack))
            now = time.monotonic()
            for connection in list(active):
                case, process, deadline, log = active[connection]
                late = connection not in ready and deadline <= now
                if connection in ready or late:
                    del active[connection]
                    report(case, _reap(process, connection, log, late, limits))
                    connection.close()
                    log.unlink(missing_ok=True)


def _difference(expected: list[Value], outputs: list[Value], case: Case) -> Result | None:
    kinds = [
        [len(v) if isinstance(v, list) else "nothing" if v is None else "tensor" for v in values]
        for values in (expected, outputs)
    ]
    if kinds[0] != kinds[1]:
        return Result("wrong", "kind", f"outputs are {kinds[1]}, expected {kinds[0]}")
    # the suite's comparison of lists stumbles over elements of several ranks
    expected, outputs = (
        [x for v in values for x in (v if isinstance(v, list) else [v])] for values in (expected, outputs)
    )
    for i, (want, got) in enumerate(zip(expected, outputs, strict=False)):
        if isinstance(want, np.ndarray) and isinstance(got, np.ndarray):
            if got.dtype != want.dtype:
                return Result("wrong", "dtype", f"output {i} is {got.dtype}, expected {want.dtype}")
            if got.shape != want.shape:
                return Result("wrong", "shape", f"output {i} is {got.shape}, expected {want.shape}")
    try:
        Runner.assert_similar_outputs(expected, outputs, case.rtol, case.atol)
    except Exception as error:  # noqa: BLE001 - the suite raises whatever its comparison met
        said = " ".join(str(error).split())[:300]
        rounded = len(expected) == len(outputs) and all(map(_rounds_to, expected, outputs))
        return Result("rounding" if rounded else "wrong", "value", said)
    return None


def _rounds_to(want: Value, got: Value) -> bool:
    """Do they differ by less than a unit in the last place of the largest element? The suite's absolute tolerance of 1e-7 asks for more of
    sums whose terms cancel than any order of float32 additions gives, and its file of expected values is no exception."""
    if not (isinstance(want, np.ndarray) and isinstance(got, np.ndarray)) or want.shape != got.shape or not want.size:
        return bool(np.array_equal(want, got))
    try:
        unit = float(ml_dtypes.finfo(want.dtype).eps)
    except ValueError:  # not a floating-point type
        return bool(np.array_equal(want, got))
    exact, found = want.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(exact)
    if not np.array_equal(exact[~finite], found[~finite], equal_nan=True):
        return False
    return bool(np.all(np.abs(found - exact)[finite] < unit * np.max(np.abs(exact[finite]), initial=0)))


def _child(case: Case, backend: Backend, baked: bool, limits: Limits, connection: Connection, log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.setsid()
    warnings.simplefilter("ignore")
    if limits.memory_gib:
        limit = int(limits.memory_gib * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    start = time.perf_counter()
    result = run_case(case, backend, baked)
    connection.send(Result(result.status, result.kind, result.reason, round(time.perf_counter() - start, 3)))
    connection.close()
    os._exit(0)  # a crash in a backend's own teardown would hide the answer


def _reap(process: Any, connection: Connection, log: Path, late: bool, limits: Limits) -> Result:
    if late:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        return Result("crash", "time-out", f"no answer in {limits.seconds:g} s", limits.seconds)
    try:
        result = connection.recv()
    except (EOFError, ConnectionResetError):
        result = None
    process.join(5)
    if process.is_alive():
        process.kill()
        process.join()
    if result is not None:
        return result
    code = process.exitcode
    kind = signal.Signals(-code).name if code is not None and code < 0 else f"exit status {code}"
    tail = log.read_text(errors="replace").strip().splitlines()[-3:] if log.exists() else []
    return Result("crash", kind, " | ".join(tail)[-300:])


def _first_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[:2])[:300]
