"""Times of repeated calls: of several engines that take turns, of many callers at once, and of each kernel beside the whole call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from mlc.insight.decisions import CallWork, work_of_calls
from mlc.insight.prediction import core_at_hand, predict
from mlc.ir.kernel.machine_rates import Core

if TYPE_CHECKING:
    from mlc.runtime.executable import Executable, StepTime

TURN = 0.3  # seconds that one engine runs before the next has its turn


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one call, and how many calls all callers together finished in a second."""

    median: float
    p10: float
    p90: float
    p99: float
    least: float
    runs: int
    first: float
    calls_per_second: float

    @staticmethod
    def of(seconds: Sequence[float], first: float, spent: float) -> Latency:
        """Of the times of all calls, which took `spent` seconds together."""
        ordered = sorted(seconds)

        def at(share: float) -> float:
            return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3

        rate = len(ordered) / max(spent, 1e-9)
        return Latency(at(0.5), at(0.1), at(0.9), at(0.99), ordered[0] * 1e3, len(ordered), first * 1e3, rate)


def measure(calls: Mapping[str, Callable[[], object]], seconds: float, callers: int = 1) -> dict[str, Latency]:
    """Each engine called for `seconds`, by `callers` threads at the same time. Engines take turns, so that a busy moment of the machine
    meets all of them."""
    first: dict[str, float] = {}
    times: dict[str, list[float]] = {name: [] for name in calls}
    spent = dict.fromkeys(calls, 0.0)
    turn = min(TURN, seconds)
    for name, call in calls.items():
        start = time.perf_counter()
        call()
        first[name] = time.perf_counter() - start
    waited = 0.0
    while waited < seconds:
        for name, call in calls.items():
            found, took = _turn(call, turn) if callers == 1 else _turn_of_many(call, turn, callers)
            times[name] += found
            spent[name] += took
        waited += turn
    return {name: Latency.of(found, first[name], spent[name]) for name, found in times.items()}


def _turn(call: Callable[[], object], seconds: float) -> tuple[list[float], float]:
    """The times of calls one after the other, and of all of them."""
    found = []
    begin = time.perf_counter()
    while True:
        start = time.perf_counter()
        call()
        end = time.perf_counter()
        found.append(end - start)
        if end - begin >= seconds:
            return found, end - begin


def _turn_of_many(call: Callable[[], object], seconds: float, callers: int) -> tuple[list[float], float]:
    """As `_turn`, by threads that begin together. Raises what a call raises."""
    gate = threading.Barrier(callers + 1)

    def work() -> list[float]:
        gate.wait()
        return _turn(call, seconds)[0]

    with ThreadPoolExecutor(callers, "mlc bench caller") as threads:
        waiting = [threads.submit(work) for _ in range(callers)]
        gate.wait()
        start = time.perf_counter()
        found = [took for each in waiting for took in each.result()]
        return found, time.perf_counter() - start


@dataclass(frozen=True)
class KernelTime:
    """One kernel call of a run: median milliseconds, those of all turns together where it stands in a loop, and what it gets done in them.

    `predicted` and `roofline` are milliseconds too (prediction.py), of as many turns, and `bound` says what the predicted ones are spent on; None where
    the kernel or the machine tells too little.
    """

    kernel: str
    source: tuple[str, ...]
    step: int  # of the plan
    ms: float
    p10: float
    p90: float
    share: float  # of the time of all kernels
    turns: float
    flops: float
    bytes: float
    gflops: float  # per second
    gbytes: float
    threads: int = 1
    predicted: float | None = None
    roofline: float | None = None
    bound: str | None = None

    @property
    def of_roofline(self) -> float | None:
        """The share of what no schedule can beat."""
        return None if self.roofline is None else self.roofline / max(self.ms, 1e-9)


@dataclass(frozen=True)
class Breakdown:
    """Kernels, the slowest first. `total` is the median of their sum, `end_to_end` that of whole calls which took turns with the timed ones;
    the rest is spent between kernels, on clocks, and in Python."""

    kernels: list[KernelTime]
    total: float
    end_to_end: float
    runs: int


def latencies(executable: Executable, feeds: Mapping[str, Any], seconds: float) -> list[float]:
    """Milliseconds of calls one after the other."""
    call = partial(executable.run, None, executable.unshared(feeds))
    call()
    return [took * 1e3 for took in _turn(call, seconds)[0]]


def kernels(executable: Executable, feeds: Mapping[str, Any], seconds: float) -> Breakdown:
    """The medians of each kernel's time over profiled calls, every one of them beside a plain call."""
    arrays = [feeds[spec.name] for spec in executable.get_inputs()]
    executable(*arrays)
    executable.profile(*arrays)
    samples: dict[int, list[StepTime]] = {}
    totals: list[float] = []
    whole: list[float] = []
    begin = time.perf_counter()
    while not totals or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        executable(*arrays)
        whole.append((time.perf_counter() - start) * 1e3)
        steps = executable.profile(*arrays)
        totals.append(sum(step.nanoseconds for step in steps) / 1e6)
        for step in steps:
            samples.setdefault(step.step, []).append(step)
    shapes = [array.shape for array in arrays]
    work, shares, core = work_of_calls(executable, shapes), executable.shares(*shapes), core_at_hand(executable.target)
    resident = executable.report.get("weight_bytes", 0)
    rows = [
        {**_row(found, work[number]), **_predicted(found, work[number], core, resident, shares[number])}
        for number, found in samples.items()
    ]
    all_ms = sum(row["ms"] for row in rows) or 1.0
    ordered = sorted((KernelTime(**row, share=row["ms"] / all_ms) for row in rows), key=lambda row: -row.ms)
    return Breakdown(ordered, median(totals), median(whole), len(totals))


def _predicted(
    samples: Sequence[StepTime], work: CallWork, core: Core | None, resident: int, threads: int
) -> dict[str, Any]:
    """What was to be expected of the call."""
    if core is None or work.cost is None:
        return {"threads": threads}
    turns = sum(step.turns for step in samples) / len(samples)
    found = predict(work.cost, core, work.extents, resident, threads, turns > 1)
    predicted, roofline = (turns * ns / 1e6 for ns in (found.nanoseconds, found.roofline))
    return {"threads": threads, "predicted": predicted, "roofline": roofline, "bound": found.bound}


def _row(samples: Sequence[StepTime], work: CallWork) -> dict[str, Any]:
    """What is known of one kernel call."""
    ordered = sorted(step.nanoseconds for step in samples)
    ns = median(ordered)
    turns = sum(step.turns for step in samples) / len(samples)
    return {
        "kernel": samples[0].kernel,
        "source": samples[0].source,
        "step": samples[0].step,
        "ms": ns / 1e6,
        "p10": ordered[len(ordered) // 10] / 1e6,
        "p90": ordered[min(len(ordered) - 1, 9 * len(ordered) // 10)] / 1e6,
        "turns": turns,
        "flops": work.flops * turns,
        "bytes": work.bytes * turns,
        "gflops": work.flops * turns / max(ns, 1.0),
        "gbytes": work.bytes * turns / max(ns, 1.0),
    }
