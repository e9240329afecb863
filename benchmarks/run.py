"""Check and time the exported models: mlc against onnxruntime, OpenVINO and PyTorch, as Markdown tables and JSON.

    python -m benchmarks.run                         tables of every exported model, 1 and 2 threads, of all engines that are installed
    python -m benchmarks.run --model bert gpt2 --threads 1 --rounds 5 --engines mlc onnxruntime
    python -m benchmarks.run --check                 results against onnxruntime only; exit 1 if one is off

Export the models first: `python -m benchmarks.models`. The tables go to benchmarks/results/<cpu>/.

All engines compute in f32. `best / mlc` is the time of the fastest other engine over mlc's: above 1, mlc is faster; "rested" is the same of calls
that each come after a rest. A row says "noisy" where the second half of the rounds differs from the first by more than 5 % for mlc or the
fastest other, and "impossible" where mlc's kernels would have done more than the cores can. Whose numbers are right is held against
PyTorch in float64.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import llvmlite.binding

import mlc
from benchmarks.engines import ENGINES, installed
from benchmarks.models import BUILD

CPU = llvmlite.binding.get_host_cpu_name()  # the microarchitecture: one vendor's name stands for several
RESULTS = Path(__file__).parent / "results" / CPU
TOLERANCE = 1e-3  # of the largest reference value
STARTS = 3  # processes that load a model, the median counts
NOISE = 0.05  # by which the halves of the rounds may differ


class MeasurementFailed(Exception):
    """The measuring process ended without an answer; the message is the end of what it said."""


def ask(cache: Path | None = None, **request: Any) -> dict[str, Any]:
    """Run one measurement in a process of its own; `cache` is where compiled objects are kept."""
    threads = str(request.get("threads", 1))
    environment = {**os.environ, "OMP_NUM_THREADS": threads}
    if cache is not None:
        environment["MLC_CACHE_DIR"] = str(cache)
    command = [sys.executable, "-m", "benchmarks.measure", json.dumps(request)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise MeasurementFailed(" | ".join(said[-2:])[-300:] or f"exit status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def measure_model(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    """All measurements of one file; what fails leaves its message under "failed"."""
    row: dict[str, Any] = {"model": path.name.removesuffix(".onnx"), "failed": {}}

    def attempt(key: str, caches: Sequence[Path | None], **request: Any) -> None:
        """One process per cache; of several the one with the median time to load counts."""
        try:
            found = [ask(cache, path=str(path), **request) for cache in caches]
            row[key] = sorted(found, key=lambda answer: answer.get("load_s", 0))[len(found) // 2]
        except MeasurementFailed as failure:
            row["failed"][key] = str(failure)

    read_once(path)
    with tempfile.TemporaryDirectory() as folder:
        fresh = [Path(folder) / str(number) for number in range(STARTS)]
        cache = fresh[0]
        attempt("cold", fresh, measure="startup", engine="mlc", threads=1)
        attempt("warm", [cache] * STARTS, measure="startup", engine="mlc", threads=1)
        attempt("onnxruntime_startup", [None] * STARTS, measure="startup", engine="onnxruntime", threads=1)
        attempt("accuracy", [cache], measure="accuracy", threads=max(args.threads), bindings=args.bindings)
        engines = [engine for engine in args.engines if engine != "mlc" or "cold" in row]
        attempt("exactness", [cache], measure="exactness", engines=engines, threads=1)
        attempt("work", [cache], measure="work")
        for threads in args.threads:
            attempt(
                f"latency_{threads}",
                [cache],
                measure="latency",
                engines=engines,
                threads=threads,
                rounds=args.rounds,
                turn_seconds=args.turn_seconds,
            )
    return row


def read_once(path: Path) -> None:
    """Bring a file into the system's memory, so that the first to load it does not wait for the disk alone."""
    with open(path, "rb") as file:
        while file.read(1 << 24):
            pass


def latency_table(rows: list[dict[str, Any]], threads: int, engines: list[str]) -> str:
    """Milliseconds per call; last the geometric mean of the ratios."""
    heads = [f"model, {threads} T", *(f"{engine} (ms)" for engine in engines), "best / mlc", "rested", "of peak", ""]
    lines = [_latency_cells(row, threads, engines) for row in rows]
    places = [len(engines) + 1, len(engines) + 2]
    means = {place: _mean([line[place] for line in lines]) for place in places}
    return markdown(heads, [*lines, ["geometric mean", *(means.get(place, "") for place in range(1, len(heads)))]])


def _latency_cells(row: dict[str, Any], threads: int, engines: list[str]) -> list[str]:
    found = row.get(f"latency_{threads}", {})
    times = {engine: _lookup(found, engine, "median_ms") for engine in engines}
    others = {engine: time for engine, time in times.items() if engine != "mlc" and time is not None}
    best = min(others, key=others.__getitem__, default=None)
    rested = [t for engine in others if (t := _lookup(found, engine, "rested_ms")) is not None]
    ratios = [
        _ratio(times[best] if best else None, times.get("mlc")),
        _ratio(min(rested, default=None), _lookup(found, "mlc", "rested_ms")),
    ]
    share = _share_of_peak(row, threads)
    halves = [_lookup(found, engine, "halves") or 0.0 for engine in ("mlc", best) if engine is not None]
    doubts = ["impossible"] * (share is not None and share > 1 + NOISE) + ["noisy"] * (max(halves) > NOISE)
    shown = [_text(time, ".2f") for time in times.values()] + [_text(ratio, ".2f") for ratio in ratios]
    return [row["model"], *shown, "-" if share is None else f"{share:.0%}", ", ".join(doubts)]


def _share_of_peak(row: dict[str, Any], threads: int) -> float | None:
    """What mlc's kernels did in a second, of what that many cores can."""
    time, work, peak = (
        _lookup(row, *keys)
        for keys in ((f"latency_{threads}", "mlc", "median_ms"), ("work", "gflop"), ("work", "peak_gflops"))
    )
    return None if None in (time, work, peak) else work / (1e-3 * time) / (threads * peak)


def _mean(ratios: list[str]) -> str:
    known = [float(text) for text in ratios if text != "-"]
    return f"{statistics.geometric_mean(known):.2f}" if known else "-"


def error_table(rows: list[dict[str, Any]], engines: list[str]) -> str:
    """Largest differences, relative to the largest value: of mlc to onnxruntime over all bindings, and of each to PyTorch in float64."""
    lines = []
    for row in rows:
        errors = [_number(row, "exactness", engine, form=".1e") for engine in engines]
        lines.append([row["model"], _number(row, "accuracy", "error", form=".1e"), *errors])
    return markdown(["error", "mlc to onnxruntime", *(f"{engine} to float64" for engine in engines)], lines)


def startup_table(rows: list[dict[str, Any]]) -> str:
    """What it takes until the first result: "cold" is the cache of compiled objects, the file was read before. Memory is that of the whole
    process: the largest, and what it holds after some calls."""
    heads = ["model", "compile, cold cache (s)", "warm (s)", "first call (ms)", "onnxruntime load (s)"]
    heads += ["peak (MiB)", "onnxruntime peak (MiB)", "running (MiB)", "onnxruntime running (MiB)"]
    columns = (
        ("cold", "load_s", ".2f"),
        ("warm", "load_s", ".2f"),
        ("warm", "first_call_ms", ".1f"),
        ("onnxruntime_startup", "load_s", ".2f"),
        ("warm", "peak_mib", ".0f"),
        ("onnxruntime_startup", "peak_mib", ".0f"),
        ("warm", "resident_mib", ".0f"),
        ("onnxruntime_startup", "resident_mib", ".0f"),
    )
    lines = [[row["model"], *(_number(row, what, key, form=form) for what, key, form in columns)] for row in rows]
    return markdown(heads, lines)


def markdown(heads: list[str], lines: list[list[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(heads) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [heads, rule, *lines]) + "\n"


def failures(rows: list[dict[str, Any]]) -> str:
    said = [f"- {row['model']}, {key}: {text}" for row in rows for key, text in row["failed"].items()]
    return "\nWhat failed:\n\n" + "\n".join(said) + "\n" if said else ""


def machine() -> str:
    """One line: processor, cores that may be used, versions."""
    names = [line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0))
    packages = ("onnxruntime", "openvino", "torch", "llvmlite", "numpy")
    versions = ", ".join([f"mlc {mlc.__version__}", *(f"{name} {_version(name)}" for name in packages)])
    return f"{names[0] if names else platform.machine()} ({CPU}), {cores} cores; {versions}"


def check(paths: list[Path], bindings: int, threads: int) -> int:
    """Print the error of every model against onnxruntime; 1 if one is above the tolerance or fails."""
    bad = 0
    for path in paths:
        try:
            answer = ask(measure="accuracy", path=str(path), threads=threads, bindings=bindings)
            error, said = answer["error"], f"{answer['error']:.1e} over {len(answer['bindings'])} bindings"
        except MeasurementFailed as failure:
            error, said = float("inf"), str(failure)
        fits = error <= TOLERANCE
        bad += not fits
        print(f"{'ok  ' if fits else 'FAIL'}  {path.name:<40} {said}", flush=True)
    print(f"{len(paths) - bad} of {len(paths)} models agree with onnxruntime within {TOLERANCE:g}")
    return 1 if bad else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", metavar="NAME", help="architectures, or files as NAME.symbolic.dynamo")
    parser.add_argument("--models", type=Path, default=BUILD, help="folder of exported models")
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=installed())
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--turn-seconds", type=float, default=0.4, help="an engine's turn lasts at least this long")
    parser.add_argument("--bindings", type=int, default=4, help="bindings of a symbolic model to compare")
    parser.add_argument("--check", action="store_true", help="compare results only")
    parser.add_argument("--out", type=Path, default=RESULTS / "models", help="where to write, without suffix")
    args = parser.parse_args()
    paths = [path for path in sorted(args.models.glob("*.onnx")) if _wanted(path, args.model)]
    if not paths:
        raise SystemExit(f"no exported models in {args.models}: python -m benchmarks.models writes them")
    if args.check:
        return check(paths, args.bindings, max(args.threads))
    rows = []
    for path in paths:
        rows.append(measure_model(path, args))
        for threads in args.threads:
            print(f"{threads} T | {' | '.join(_latency_cells(rows[-1], threads, args.engines))}", flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    tables = [latency_table(rows, threads, args.engines) for threads in args.threads]
    tables += [error_table(rows, args.engines), startup_table(rows)]
    text = "\n".join([f"{machine()}; load {os.getloadavg()[0]:.1f}", "", *tables]) + failures(rows)
    args.out.with_suffix(".md").write_text(text)
    args.out.with_suffix(".json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    print(text)
    return 0


def _wanted(path: Path, names: list[str] | None) -> bool:
    return names is None or path.name.split(".")[0] in names or path.name.removesuffix(".onnx") in names


def _lookup(row: dict[str, Any], *keys: str) -> float | None:
    value: Any = row
    for key in keys:
        value = value.get(key) if value is not None else None
    return value


def _ratio(other: float | None, own: float | None) -> float | None:
    return other / own if other is not None and own is not None else None


def _number(row: dict[str, Any], *keys: str, form: str) -> str:
    return _text(_lookup(row, *keys), form)


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())
