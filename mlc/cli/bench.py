"""`mlc bench MODEL`: latency and throughput of repeated calls, at one or several `--sizes`; `--callers` at once; `--per-op` by kernel;
`--against` other engines on the same inputs, taking turns."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from mlc.cli import flags, sizes
from mlc.cli.command_line import Parser, UsageError
from mlc.cli.console import Console
from mlc.cli.reporting import add_run, reporting
from mlc.cli.session import Session, open_session
from mlc.cli.source import Model, model
from mlc.cli.tables import table
from mlc.cli.writing import files_read, require_outputs

if TYPE_CHECKING:
    import numpy as np

    from mlc.insight.machine import Load
    from mlc.insight.timing import Breakdown, Latency
    from mlc.insight.view.recorder import Recorder

ENGINES = ("onnxruntime", "interpreter")
SHOWN = 30  # kernels


@dataclass(frozen=True)
class Case:
    """What was measured at one set of sizes. `items` are those of a call, the batch; `threads` those of its most shared kernel."""

    sizes: dict[str, int]
    feeds: dict[str, np.ndarray]
    items: int
    threads: int
    latencies: dict[str, Latency]
    together: dict[str, Latency]  # by many callers at once
    breakdown: Breakdown | None


def configure(parser: Parser) -> None:
    parser.examples(
        "mlc bench model.onnx --against onnxruntime --per-op",
        "mlc bench model.mlc --sizes N=1 --sizes N=8 --callers 4",
    )
    flags.model(parser)
    flags.strict(parser)
    group = parser.add_argument_group("measurement")
    group.add_argument(
        "--seconds", type=flags.seconds, default=2.0, metavar="S", help="how long each engine runs (default 2)"
    )
    group.add_argument(
        "--sizes",
        action="append",
        default=[],
        metavar="N=8,T=64",
        help="measure at these sizes of symbolic dimensions; several flags measure one after the other",
    )
    group.add_argument(
        "--callers",
        type=flags.positive,
        default=1,
        metavar="N",
        help="also call from N threads at once: throughput of a server",
    )
    group.add_argument("--against", action="append", default=[], metavar="ENGINE", help="onnxruntime or interpreter")
    group.add_argument("--per-op", action="store_true", help="time of each kernel, with the nodes it computes")
    flags.reference(group)
    flags.trace(group, "the kernels of one more call")
    flags.report(group, "passes, kernels, memory and time, at the last of the sizes")
    flags.target(parser)
    flags.data(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    for engine in args.against:
        if engine not in ENGINES:
            raise UsageError.unknown("engine", engine, ENGINES)
    wanted = [sizes.exactly(text, "--sizes") for text in args.sizes] or [{}]
    source = model(args.model)
    require_outputs({"--trace": args.trace, "--report": args.report}, partial(files_read, args, source))
    if args.report and source.is_package:
        raise UsageError("--report is for models", remedy=f"mlc view {source.name} shows a package, with times.")
    with reporting(args, source) as recorder:
        return _bench(args, source, wanted, recorder, console)


def _bench(
    args: argparse.Namespace, source: Model, wanted: list[dict[str, int]], recorder: Recorder | None, console: Console
) -> int:
    from mlc.compiler import Inspection

    session = open_session(args, console, Inspection(report=recorder), source=source)
    inputs = [session.feeds(args, at) for at in wanted]  # tested before anything is compiled
    from mlc.insight.machine import LoadMeter

    executable = session.executable  # compiled here, so that the first call is a call
    engines = {_title(name): session.run_reference(name, executable.threads, args.until) for name in args.against}
    meter = LoadMeter()
    cases = [_case(session, at, feeds, engines, args) for at, feeds in zip(wanted, inputs, strict=True)]
    load = meter.read()
    if args.trace:
        session.write_trace(args.trace, inputs[-1])
    if recorder is not None:
        add_run(recorder, session, inputs[-1], args.seconds)
    console.result("bench", **_report(session, args, cases, load))
    for case in cases:
        _print_case(case, session, args.callers, console)
    if load is not None and load.busy:
        console.print(f"{'busy':<10} {load}: times may be too long")
    for path in filter(None, (args.trace, args.report)):
        console.wrote(path)
    return 0


def _case(
    session: Session,
    at: dict[str, int],
    feeds: dict[str, np.ndarray],
    engines: Mapping[str, Any],
    args: argparse.Namespace,
) -> Case:
    from mlc.insight.timing import kernels, measure

    executable = session.executable
    calls: dict[str, Callable[[], object]] = {"mlc": partial(executable.run, None, executable.unshared(feeds))}
    calls |= {name: partial(engine, feeds) for name, engine in engines.items()}
    return Case(
        at,
        feeds,
        _items(session, feeds),
        executable.threads_of(*(feeds[spec.name].shape for spec in executable.get_inputs())),
        measure(calls, args.seconds),
        measure(calls, args.seconds, args.callers) if args.callers > 1 else {},
        kernels(executable, feeds, args.seconds) if args.per_op else None,
    )


def _items(session: Session, feeds: Mapping[str, np.ndarray]) -> int:
    """The batch: the leading extent, where it is symbolic and the same of all inputs and outputs; else a call is one item."""
    plan = session.executable.plan
    leading = {spec.shape[0] if spec.shape else 1 for spec in (*plan.inputs, *plan.outputs)}
    if len(leading) != 1 or isinstance(leading.pop(), int):
        return 1
    return int(feeds[plan.inputs[0].name].shape[0])


def _title(engine: str) -> str:
    from importlib.metadata import version
    from importlib.util import find_spec

    return f"{engine} {version(engine)}" if engine == "onnxruntime" and find_spec(engine) else engine


def _report(session: Session, args: argparse.Namespace, cases: list[Case], load: Load | None) -> dict[str, Any]:
    """The fields of the JSON object."""
    import platform

    from mlc import __version__
    from mlc.provenance import versions

    executable = session.executable
    return {
        "model": args.model,
        "unit": "ms",
        "versions": {"mlc": __version__, "python": platform.python_version(), **versions()},
        "target": str(executable.target),
        "threads": executable.threads,
        "callers": args.callers,
        "machine": None if load is None else {**asdict(load), "busy": load.busy},
        "cases": [_case_report(case) for case in cases],
    }


def _case_report(case: Case) -> dict[str, Any]:
    def rows(latencies: Mapping[str, Latency]) -> dict[str, Any]:
        return {
            name: {**asdict(row), "items_per_second": row.calls_per_second * case.items}
            for name, row in latencies.items()
        }

    found = {
        "sizes": case.sizes,
        "inputs": {name: {"dtype": str(x.dtype), "shape": list(x.shape)} for name, x in case.feeds.items()},
        "items": case.items,
        "threads": case.threads,
        "latencies": rows(case.latencies),
    }
    if case.together:
        found["together"] = rows(case.together)
    if case.breakdown is not None:
        parts = asdict(case.breakdown)
        found.update(kernels=parts.pop("kernels"), kernel_times=parts)
    return found


def _print_case(case: Case, session: Session, callers: int, console: Console) -> None:
    own = case.latencies["mlc"]
    shapes = ", ".join(f"{name} {list(x.shape)}" for name, x in case.feeds.items())
    most = session.executable.threads
    threads = f"{case.threads} thread{'s' * (case.threads != 1)}" + (f" of {most}" if case.threads != most else "")
    console.print(f"{'inputs':<10} {shapes}, {threads}")
    console.print(
        f"{'latency ms':<10} {_spread(own)}  min {own.least:.3g}   ({own.runs} runs)   first call {own.first:.3g}"
    )
    console.print(f"{'throughput':<10} {_rate(own, case.items)}")
    for name, row in case.latencies.items():
        if name != "mlc":
            console.print(f"{name}, same inputs, taking turns: {_spread(row)}  ->  mlc {row.median / own.median:.2f}x")
    for name, row in case.together.items():
        alone = case.latencies[name].calls_per_second
        console.print(
            f"{callers} callers  {'' if name == 'mlc' else name + ': '}{_spread(row)}   "
            f"{_rate(row, case.items)}, {row.calls_per_second / alone:.2f} times one caller's"
        )
    if case.breakdown is not None:
        _print_kernels(case.breakdown, console)


def _spread(row: Latency) -> str:
    return f"median {row.median:.3g}  p10 {row.p10:.3g}  p90 {row.p90:.3g}  p99 {row.p99:.3g}"


def _rate(row: Latency, items: int) -> str:
    rate = row.calls_per_second
    return f"{_number(rate)} calls/s" + (f", {_number(rate * items)} items/s" if items > 1 else "")


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _print_kernels(breakdown: Breakdown, console: Console) -> None:
    heads = (
        ">#",
        "kernel",
        ">median ms",
        ">p90",
        ">%",
        ">predicted",
        ">of roof",
        "bound by",
        ">turns",
        ">GFLOP/s",
        ">GB/s",
    )
    rows: list[tuple[str, ...]] = [
        (
            str(number),
            row.kernel,
            f"{row.ms:.4f}",
            f"{row.p90:.4f}",
            f"{100 * row.share:.1f}",
            "" if row.predicted is None else f"{row.predicted:.4f}",
            "" if row.of_roofline is None else f"{100 * row.of_roofline:.0f} %",
            row.bound or "",
            f"{row.turns:,.0f}",
            f"{row.gflops:.1f}",
            f"{row.gbytes:.1f}",
            ", ".join(row.source),
        )
        for number, row in enumerate(breakdown.kernels[:SHOWN], 1)
    ]
    known = [row for row in breakdown.kernels if row.predicted is not None]
    expected, measured = sum(row.predicted or 0.0 for row in known), sum(row.ms for row in known)
    predicted = f"{expected:.4f}" if known else ""
    rows.append(("", "all kernels", f"{breakdown.total:.4f}", "", "", predicted, *[""] * 6))
    lines = table((*heads, "source nodes"), rows)
    if len(breakdown.kernels) > SHOWN:
        lines.insert(-1, f"    and {len(breakdown.kernels) - SHOWN} more")
    lines.append(f"    {breakdown.end_to_end:.4f} ms end to end ({breakdown.runs} calls of each, in turn)")
    if 0 < len(known) < len(breakdown.kernels):
        lines.append(f"    predicted for {len(known)} of them, which took {measured:.4f} ms")
    for line in lines:
        console.print(line)
