"""`mlc explain MODEL|PACKAGE`: what was decided for each kernel: the nodes it computes, its schedule, its work and bytes, and notes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mlc.cli import flags
from mlc.cli.command_line import Parser, UsageError
from mlc.cli.console import Console
from mlc.cli.session import open_session, require_file
from mlc.cli.source import model, require_as_compiled

if TYPE_CHECKING:
    from mlc.ir.kernel.target import Target


def configure(parser: Parser) -> None:
    parser.examples(
        "mlc explain model.onnx",
        "mlc explain model.mlc --op NODE",
        "mlc explain model.onnx --target cuda",
    )
    flags.model(parser, "MODEL|PACKAGE")
    parser.add_argument(
        "--op", metavar="NODE", help="only the kernels that compute a node of the model, or have this name"
    )
    flags.target(parser)
    flags.inputs(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    from mlc.errors import TargetUnavailable
    from mlc.insight.footprint import memory_lines

    source = model(args.model)
    unknown = ""
    if source.is_package:
        from mlc.runtime.package import read

        require_as_compiled(args, source)
        package = read(require_file(source))
        report, machine = package.report, package.target
    else:
        session = open_session(args, console, source=source)
        compilation = session.compilation
        assert compilation is not None
        lowered = compilation.lower(session.module)
        if compilation.target.kind == "cuda":  # what its code takes only the compiler of CUDA C knows
            try:
                compilation.generate(lowered)
            except TargetUnavailable as error:
                unknown = f"registers and shared memory are not known: {error.message}"
        report = {**compilation.report, "target": str(compilation.target)}
        machine = compilation.target
    kernels = _with_predictions(report, machine)
    chosen = kernels if args.op is None else _about(args.op, kernels)
    memory = report.get("memory")
    console.result("explain", model=source.name, target=report.get("target"), kernels=chosen, memory=memory)
    console.print(f"{source.name}  for {report.get('target', 'an unnamed target')}")
    calls = sum(len(kernel["calls"]) for kernel in kernels)
    console.print(f"{calls} calls of {len(kernels)} kernels")
    for line in memory_lines(memory):
        console.print(line)
    if unknown:
        console.print(unknown)
    for kernel in chosen:
        _print(kernel, console)
    return 0


def _with_predictions(report: dict[str, Any], target: Target) -> list[dict[str, Any]]:
    """The kernels of a report; each call whose sizes are known also says how long it is expected to take on one thread of the machine at hand."""
    from dataclasses import asdict

    from mlc.insight.decisions import work_of
    from mlc.insight.prediction import core_at_hand, predict
    from mlc.ir import dims

    kernels = [{**kernel, "calls": [dict(call) for call in kernel["calls"]]} for kernel in report.get("kernels", [])]
    core = core_at_hand(target) if any(kernel.get("cost") for kernel in kernels) else None
    for kernel in kernels if core is not None else ():
        for call in kernel["calls"] if kernel.get("cost") else ():
            texts = (*call.get("extents", {}).values(), call["flops"], call["bytes"])
            if core is not None and all(isinstance(dims.parse(text), int) for text in texts):
                work = work_of(kernel, call, {})
                found = predict(work.cost or {}, core, work.extents, report.get("weight_bytes", 0))
                call["prediction"] = asdict(found)
    return kernels


def _about(name: str, kernels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for kernel in kernels:
        calls = [call for call in kernel["calls"] if name in call["source"]]
        if calls or kernel["name"] == name:
            found.append({**kernel, "calls": calls or kernel["calls"]})
    if not found:
        nodes = dict.fromkeys(node for kernel in kernels for call in kernel["calls"] for node in call["source"])
        raise UsageError.unknown("node", name, nodes)
    return found


def _nodes(call: dict[str, Any]) -> str:
    """The nodes that a call computes, with the name of what one is as a whole: norm1 (layer_norm)."""
    named = call.get("composites", {})
    return ", ".join(f"{node} ({named[node]})" if node in named else node for node in call["source"])


def _print(kernel: dict[str, Any], console: Console) -> None:
    calls = kernel["calls"]
    console.print()
    console.print(f"{kernel['name']}{f'  called {len(calls)} times' if len(calls) > 1 else ''}")
    for call in calls[:4]:
        only = ", ".join(f"{name} = {size}" for name, size in call.get("sizes", {}).items())
        console.print(f"  computes  {_nodes(call) or '(no node of the model)'}{f'  where {only}' if only else ''}")
        for line in call.get("fusion", []):
            console.print(f"            {line}")
        for line in call.get("copies", []):
            console.print(f"  copies    {line}")
    if len(calls) > 4:
        console.print(f"            and {len(calls) - 4} calls more for other nodes")
    for number, op in enumerate(kernel["ops"]):
        console.print(f"  {'loops' if not number else '':<9} {op}")
    console.print(f"  schedule  {kernel['schedule']}")
    console.print(f"  work      {calls[0]['flops']} operations, {calls[0]['bytes']} bytes")
    if found := calls[0].get("prediction"):
        share = found["roofline"] / found["nanoseconds"]
        console.print(
            f"  predicted {found['nanoseconds'] / 1e6:.4f} ms on one thread, {share:.0%} of the roofline, bound by {found['bound']}"
        )
    for number, fact in enumerate(kernel.get("code", [])):
        console.print(f"  {'code' if not number else '':<9} {fact}")
    for note in kernel["notes"]:
        console.print(f"  note      {note}")
