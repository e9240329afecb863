"""One measurement in a process of its own; the parent asks with JSON as the argument and reads the last line of stdout.

latency   engines side by side in one process, in turns, so that a change of the machine's speed meets all of them
startup   time from nothing to the first result, and the largest resident memory
accuracy  largest difference to onnxruntime over some bindings of the symbols, relative to the largest reference value
"""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engines import ENGINES, Run
from benchmarks.model_inputs import Signature, read

# After a turn an engine's workers may spin for a while; the next engine shall not pay for it.
REST_SECONDS = 0.03


def signature_of(path: Path) -> Signature:
    return read(path.parent)[path.name.split(".")[0]]


def latency(path: Path, engines: list[str], threads: int, rounds: int, turn_seconds: float) -> dict[str, Any]:
    """Median milliseconds per call of each engine: the median over rounds of each turn's median."""
    feeds = signature_of(path).feeds()
    runs = {engine: ENGINES[engine](path, threads)(feeds) for engine in engines}
    return in_turns(runs, rounds, turn_seconds)


def in_turns(
    runs: Mapping[str, Run], rounds: int, turn_seconds: float, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Any]:
    """Median, least time and spread of each, called in turns of some seconds."""
    return alternated(
        {engine: partial(median_turn, run, clock=clock) for engine, run in runs.items()}, rounds, turn_seconds
    )


def alternated(turns: Mapping[str, Callable[[float], float]], rounds: int, turn_seconds: float) -> dict[str, Any]:
    """As in_turns, of functions that call an engine for so many seconds and give the median seconds of a call."""
    for turn in turns.values():
        turn(0)
    found: dict[str, list[float]] = {engine: [] for engine in turns}
    for index in range(rounds):
        for engine in turns if index % 2 == 0 else reversed(turns):
            time.sleep(REST_SECONDS)
            found[engine].append(turns[engine](turn_seconds))
    return {
        engine: {
            "median_ms": 1e3 * statistics.median(times),
            "min_ms": 1e3 * min(times),
            "spread": max(times) / min(times),
        }
        for engine, times in found.items()
    }


def median_turn(run: Callable[[], object], seconds: float, clock: Callable[[], float]) -> float:
    run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = clock()
        run()
        times.append(clock() - start)
    return statistics.median(times)


def startup(path: Path, engine: str, threads: int) -> dict[str, float]:
    """Imports are not counted: another model in the same process would not pay them again."""
    feeds = signature_of(path).feeds()
    if engine == "mlc":
        import mlc.compiler  # noqa: F401
    elif engine == "onnxruntime":
        import onnxruntime  # noqa: F401
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    run = ENGINES[engine](path, threads)(feeds)
    load = time.perf_counter() - start
    start = time.perf_counter()
    run()
    first = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"load_s": load, "first_call_ms": 1e3 * first, "peak_mib": peak / 1024, "base_mib": base / 1024}


def accuracy(path: Path, threads: int, bindings: int) -> dict[str, Any]:
    """Worst over the outputs and the bindings: the fixed export's sizes, then random ones if the file is symbolic."""
    known = signature_of(path)
    exporter = path.name.split(".")[-2]
    rng = np.random.default_rng(0)
    sizes = [dict(known.sizes)]
    if ".symbolic." in path.name:
        sizes += [known.random_sizes(exporter, rng) for _ in range(bindings - 1)]
    compiled, reference = ENGINES["mlc"](path, threads), ENGINES["onnxruntime"](path, threads)
    worst = 0.0
    for seed, binding in enumerate(sizes):
        feeds = known.feeds(binding, seed)
        got, want = compiled(feeds)(), reference(feeds)()
        for g, w in zip(got, want, strict=True):
            if g.shape != w.shape or g.dtype != w.dtype:
                raise SystemExit(f"{path.name} at {binding}: {g.dtype}{g.shape}, expected {w.dtype}{w.shape}")
            if w.size:
                worst = max(worst, float(np.abs(g - w).max() / max(np.abs(w).max(), np.finfo(np.float32).tiny)))
    return {"error": worst, "bindings": sizes}


def main() -> None:
    request = json.loads(sys.argv[1])
    measure = {"latency": latency, "startup": startup, "accuracy": accuracy}[request.pop("measure")]
    answer = measure(path=Path(request.pop("path")), **request)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
