"""`mlc bench MODEL`: latency of repeated calls; `--per-op` by kernel; `--against` other engines on the same inputs, taking turns."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from mlc.cli.console import Console
from mlc.cli.parser import (
    Parser,
    UsageError,
    data_flags,
    model_flags,
    reference_flag,
    strict_flag,
    target_flags,
    trace_flag,
)
from mlc.cli.session import Session, open_session
from mlc.cli.writing import require_outputs

TURN = 0.3  # seconds that one engine runs before the next has its turn


@dataclass(frozen=True)
class Latency:
    """Milliseconds."""

    median: float
    p90: float
    p99: float
    least: float
    runs: int
    first: float

    @staticmethod
    def of(seconds: Sequence[float], first: float) -> Latency:
        ordered = sorted(seconds)

        def at(share: float) -> float:
            return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3

        return Latency(at(0.5), at(0.9), at(0.99), ordered[0] * 1e3, len(ordered), first * 1e3)

    def __str__(self) -> str:
        return f"median {self.median:.3g}  p90 {self.p90:.3g}  p99 {self.p99:.3g}  min {self.least:.3g}   ({self.runs} runs)   first call {self.first:.3g}"


def configure(parser: Parser) -> None:
    model_flags(parser)
    strict_flag(parser)
    group = parser.add_argument_group("measurement")
    group.add_argument("--seconds", type=float, default=2.0, metavar="S", help="how long each engine runs (default 2)")
    group.add_argument("--against", action="append", default=[], metavar="ENGINE", help="onnxruntime or interpreter")
    group.add_argument("--per-op", action="store_true", help="time of each kernel, with the nodes it computes")
    reference_flag(group)
    trace_flag(group, "the kernels of one more call")
    target_flags(parser)
    data_flags(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    for engine in args.against:
        if engine not in ("onnxruntime", "interpreter"):
            raise UsageError.unknown("engine", engine, ("onnxruntime", "interpreter"))
    if args.seconds <= 0:
        raise UsageError(f"--seconds {args.seconds:g}: not a duration")
    require_outputs({"--trace": args.trace}, [args.model])
    session = open_session(args, console)
    feeds = session.feeds(args)
    executable = session.executable  # compiled here, so that the first call is a call
    calls: dict[str, Callable[[], object]] = {"mlc": lambda: executable.run(None, feeds)}
    for engine in args.against:
        calls[_title(engine)] = _engine(engine, session, feeds, args)
    latencies = measure(calls, args.seconds)
    own = latencies["mlc"]
    rows = _per_op(session, feeds, args.seconds) if args.per_op else []
    if args.trace:
        session.write_trace(args.trace, feeds)
    console.result(
        "bench",
        model=args.model,
        unit="ms",
        latencies={name: asdict(row) for name, row in latencies.items()},
        kernels=rows,
    )
    console.print(
        f"inputs      {', '.join(f'{name} {list(x.shape)}' for name, x in feeds.items())}, {session.executable.threads} threads"
    )
    console.print(f"latency ms  {own}")
    for name, row in latencies.items():
        if name != "mlc":
            console.print(
                f"{name}, same inputs, taking turns: median {row.median:.3g}  ->  mlc {row.median / own.median:.2f}x"
            )
    if rows:
        _print_rows(rows, console)
    if args.trace:
        console.wrote(args.trace)
    return 0


def measure(calls: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, Latency]:
    """Engines take turns, so that a busy moment of the machine meets all of them."""
    first: dict[str, float] = {}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for name, call in calls.items():
        start = time.perf_counter()
        call()
        first[name] = time.perf_counter() - start
    spent = 0.0
    while spent < seconds:
        for name, call in calls.items():
            begin = time.perf_counter()
            while True:
                start = time.perf_counter()
                call()
                end = time.perf_counter()
                times[name].append(end - start)
                if end - begin >= min(TURN, seconds):
                    break
        spent += min(TURN, seconds)
    return {name: Latency.of(found, first[name]) for name, found in times.items()}


def _engine(name: str, session: Session, feeds: dict, args: argparse.Namespace) -> Callable[[], object]:
    run = session.run_reference(name, session.executable.threads, args.until)
    return lambda: run(feeds)


def _title(engine: str) -> str:
    from importlib.metadata import version

    return f"onnxruntime {version('onnxruntime')}" if engine == "onnxruntime" and _installed(engine) else engine


def _installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


def _per_op(session: Session, feeds: dict, seconds: float) -> list[dict[str, object]]:
    """One row per kernel call, the slowest first."""
    from mlc.insight.kernels import work_of_calls

    arrays = [feeds[spec.name] for spec in session.executable.get_inputs()]
    start = time.perf_counter()
    session.executable.profile(*arrays)
    once = max(time.perf_counter() - start, 1e-6)
    steps = session.executable.profile(*arrays, repeats=max(1, min(1000, int(seconds / once))))
    total = sum(step.nanoseconds for step in steps) or 1.0
    work = work_of_calls(session.executable, [array.shape for array in arrays])
    rows = []
    for step in steps:
        flops, bytes = work[step.step]
        rate = max(step.nanoseconds, 1.0)
        rows.append(
            {
                "kernel": step.kernel,
                "source": list(step.source),
                "ms": step.nanoseconds / 1e6,
                "share": step.nanoseconds / total,
                "gflops": flops / rate,
                "gbytes": bytes / rate,
            }
        )
    return sorted(rows, key=lambda row: -float(str(row["ms"])))


def _print_rows(rows: list[dict[str, object]], console: Console) -> None:
    console.print(f"{'#':>3}  {'kernel':<24} {'ms':>9} {'%':>6} {'GFLOP/s':>9} {'GB/s':>7}  source nodes")
    for number, row in enumerate(rows[:30], 1):
        source = ", ".join(row["source"])  # type: ignore[arg-type]
        shown = source if len(source) <= 60 else source[:57] + "..."
        console.print(
            f"{number:>3}  {row['kernel']!s:<24} {row['ms']:>9.4f} {100 * float(row['share']):>6.1f} "  # type: ignore[arg-type]
            f"{row['gflops']:>9.1f} {row['gbytes']:>7.1f}  {shown}"
        )
    if len(rows) > 30:
        console.print(f"     and {len(rows) - 30} more")
