"""One measurement in a process of its own; the parent asks with JSON as the argument and reads the last line of stdout.

latency   engines side by side in one process, in turns, so that a change of the machine's speed meets all of them
startup   time from nothing to the first result, and the resident memory: the largest, and that after some calls
accuracy  largest difference to onnxruntime over some bindings of the symbols, relative to the largest reference value
exactness largest difference of each engine to PyTorch in float64, relative to the largest value
work      floating-point operations of mlc's kernels in a call, and what one core can do of them in a second
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

from benchmarks.engines import ENGINES, Run, load_float64
from benchmarks.model_inputs import Signature, read

# After a turn an engine's workers may spin for a while; the next engine shall not pay for it.
REST_SECONDS = 0.03
PEAK_TURNS = 5


def signature_of(path: Path) -> Signature:
    return read(path.parent)[path.name.split(".")[0]]


def latency(path: Path, engines: list[str], threads: int, rounds: int, turn_seconds: float) -> dict[str, Any]:
    """Median milliseconds per call of each engine, back to back and each call after a rest: the median over rounds of each turn's median."""
    feeds = signature_of(path).feeds()
    runs = {engine: ENGINES[engine](path, threads)(feeds) for engine in engines}
    busy = in_turns(runs, rounds, turn_seconds)
    rested = alternated(
        {engine: partial(rested_turn, run) for engine, run in runs.items()}, min(rounds, 5), turn_seconds
    )
    return {engine: {**busy[engine], "rested_ms": rested[engine]["median_ms"]} for engine in runs}


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
            "halves": _halves(times),
        }
        for engine, times in found.items()
    }


def _halves(times: list[float]) -> float:
    """How far the median of the second half of the rounds is from that of the first, as a share of the lesser."""
    middle = len(times) // 2
    if not middle:
        return 0.0
    early, late = statistics.median(times[:middle]), statistics.median(times[-middle:])
    return max(early, late) / min(early, late) - 1


def median_turn(run: Callable[[], object], seconds: float, clock: Callable[[], float]) -> float:
    run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = clock()
        run()
        times.append(clock() - start)
    return statistics.median(times)


def rested_turn(run: Callable[[], object], seconds: float) -> float:
    """As median_turn, of calls that each come after a rest: what a server sees between requests. At least five calls."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        time.sleep(REST_SECONDS)
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
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
    for _ in range(3):
        run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"load_s": load, "first_call_ms": 1e3 * first, "peak_mib": peak / 1024, "base_mib": base / 1024}
    return {**found, "resident_mib": resident_bytes() / (1 << 20)}


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


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
        if any(g.shape != w.shape or g.dtype != w.dtype for g, w in zip(got, want, strict=True)):
            kinds = [f"{g.dtype}{g.shape} for {w.dtype}{w.shape}" for g, w in zip(got, want, strict=True)]
            raise SystemExit(f"{path.name} at {binding}: {', '.join(kinds)}")
        worst = max(worst, relative_error(got, want))
    return {"error": worst, "bindings": sizes}


def exactness(path: Path, engines: list[str], threads: int) -> dict[str, float]:
    """The largest error of each engine over the outputs, at the sizes of the fixed export."""
    feeds = signature_of(path).feeds()
    exact = load_float64(path, threads)(feeds)()
    errors = {}
    for engine in engines:
        outputs = ENGINES[engine](path, threads)(feeds)()
        errors[engine] = relative_error(outputs, exact)
    return errors


def work(path: Path) -> dict[str, float]:
    import mlc
    from benchmarks.kernels import Peak
    from mlc.insight.decisions import work_of_calls
    from mlc.runtime.executable import Executable

    executable = mlc.compile(path, target="cpu", threads=1)
    assert isinstance(executable, Executable)
    shapes = [array.shape for array in signature_of(path).feeds().values()]
    peak = Peak()
    for _ in range(PEAK_TURNS):
        peak.turn()
    return {"gflop": sum(call.flops for call in work_of_calls(executable, shapes)) / 1e9, "peak_gflops": peak.best}


def relative_error(got: list[np.ndarray], want: list[np.ndarray]) -> float:
    """Worst over the outputs: largest difference over largest value wanted; inf where shapes, kinds of number or NaNs differ."""
    worst = 0.0
    for g, w in zip(got, want, strict=True):
        if g.shape != w.shape or g.dtype.kind != w.dtype.kind:
            return float("inf")
        if w.size:
            difference = float(np.abs(g.astype(np.float64) - w.astype(np.float64)).max())
            share = difference / max(float(np.abs(w).max()), float(np.finfo(np.float32).tiny))
            worst = max(worst, share if np.isfinite(share) else float("inf"))
    return worst


MEASURES: Mapping[str, Callable[..., dict[str, Any]]] = {
    measure.__name__: measure for measure in (latency, startup, accuracy, exactness, work)
}


def main() -> None:
    request = json.loads(sys.argv[1])
    measure = MEASURES[request.pop("measure")]
    answer = measure(path=Path(request.pop("path")), **request)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
