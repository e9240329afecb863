"""`mlc check MODEL`: sizes, operators, parameters and work of a model, or everything in it that cannot be compiled; of a package, what it
holds. `--ops`: the table of operators."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from mlc.cli import flags
from mlc.cli.command_line import Parser, UsageError
from mlc.cli.console import Console
from mlc.cli.reporting import reporting
from mlc.cli.session import open_session
from mlc.cli.source import Model, model
from mlc.cli.writing import files_read, require_outputs
from mlc.errors import UnsupportedOp

if TYPE_CHECKING:
    from mlc.insight.footprint import CallMemory
    from mlc.insight.summary import Summary
    from mlc.insight.view.recorder import Recorder


def configure(parser: Parser) -> None:
    parser.examples(
        "mlc check model.onnx --dim N=8",
        "mlc check model.mlc",
        "mlc check --ops",
    )
    flags.model(parser)
    parser.set_model_optional()
    parser.add_argument(
        "--ops", action="store_true", help="list the ONNX operators that can be imported, and from which opset"
    )
    flags.report(parser, "the graph, with what cannot be compiled in red")
    flags.strict(parser)
    flags.inputs(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    if args.ops:
        return _operators(console)
    if args.model is None:
        raise UsageError("check needs a MODEL", remedy="mlc check model.onnx, or mlc check --ops.")
    source = model(args.model)
    if source.is_package:
        from mlc.cli.check_package import run as check_package

        if args.report:
            raise UsageError("--report is for models", remedy=f"mlc view {source.name} shows a package.")

        return check_package(args, source, console)
    require_outputs({"--report": args.report}, partial(files_read, args, source))
    with reporting(args, source) as recorder:
        return _check(args, source, recorder, console)


def _check(args: argparse.Namespace, source: Model, recorder: Recorder | None, console: Console) -> int:
    from mlc.compiler import Inspection
    from mlc.insight.summary import summary

    facts = _facts(source, args.until)
    try:
        session = open_session(args, console.quiet(), Inspection(report=recorder), source=source)
        found = summary(session.module)
    except UnsupportedOp:
        if not console.json:
            console.print(f"{source.name}  {facts}" if facts else source.name)
        raise
    assert session.compilation is not None
    session.compilation.progress = console.progress  # this may take a while
    memory = session.compilation.memory(session.module, found.sizes)
    console.result(
        "check",
        model=source.name,
        inputs=[{"name": v.name, "dtype": v.dtype, "shape": [_extent(e) for e in v.shape]} for v in found.inputs],
        outputs=[{"name": v.name, "dtype": v.dtype, "shape": [_extent(e) for e in v.shape]} for v in found.outputs],
        symbols={name: list(bounds) for name, bounds in found.symbols.items()},
        counted=found.counted,
        checks=found.checks,
        operators=found.operators,
        parameters=found.parameters,
        weight_bytes=found.weight_bytes,
        flops=found.flops,
        sizes=found.sizes,
        memory=memory.facts(),
    )
    _print(source.name, facts, found, memory, console)
    if args.report:
        console.wrote(args.report)
    return 0


def _print(name: str, facts: str, found: Summary, memory: CallMemory, console: Console) -> None:
    from mlc.insight.numbers import quantity
    from mlc.insight.summary import symbol_text
    from mlc.ir.byte_counts import bytes_text

    console.print(f"{name}  {facts}".rstrip())
    for title, values in (("inputs", found.inputs), ("outputs", found.outputs)):
        width = max((len(v.name) for v in values), default=0)
        for number, value in enumerate(values):
            console.print(f"{title if not number else '':<10} {value.name.ljust(width)}  {value}")
    at = ", ".join(f"{symbol} = {size}" for symbol, size in found.sizes.items())
    console.print(f"{'weights':<10} {quantity(found.parameters)} parameters, {bytes_text(found.weight_bytes)}")
    console.print(f"{'work':<10} {quantity(found.flops, 'FLOP')} per call{' at ' + at if at else ''}")
    for number, line in enumerate(memory.lines()):
        console.print(f"{'memory' if not number else '':<10} {line}")
    if found.symbols:
        console.print(
            f"{'sizes':<10} {', '.join(map(symbol_text, found.symbols.items()))}: one compilation serves all of them"
        )
    if found.counted:
        bounds = ", ".join(f"{name} (at most {most})" for name, most in found.counted.items())
        console.print(f"{'counted':<10} {bounds}: the data of each call decides")
    for number, check in enumerate(found.checks):
        console.print(f"{'at call' if not number else '':<10} {check}")
    kinds = ", ".join(f"{kind} {count}" for kind, count in found.operators.items())
    console.print(f"{'graph':<10} {sum(found.operators.values())} ops: {kinds}")
    console.print("everything can be imported")


def _facts(source: Model, until: str | None) -> str:
    """Opset and nodes of an ONNX file."""
    if not source.is_onnx:
        return ""
    from mlc.frontends.onnx.reader import read

    proto = read(source.source, until).proto
    opset = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), None)
    made_by = f", by {proto.producer_name} {proto.producer_version}".rstrip() if proto.producer_name else ""
    count = len(proto.graph.node)
    cut = f" until '{until}'" if until else ""
    return f"opset {opset}, {count:,} node{'s' * (count != 1)}{cut}{made_by}"


def _operators(console: Console) -> int:
    from mlc.frontends.onnx import table

    found: dict[tuple[str, str], list[int]] = {}
    for key in sorted(table.load()):
        found.setdefault((key.domain, key.op_type), []).append(key.version)
    console.result(
        "check", operators=[{"domain": d, "name": n, "since_versions": versions} for (d, n), versions in found.items()]
    )
    for (domain, name), versions in found.items():
        console.print(f"{domain + '.' if domain else ''}{name:<28} since {', '.join(map(str, versions))}")
    console.print(f"{len(found)} operators; those that ONNX defines by others are expanded as well")
    return 0


def _extent(extent: object) -> int | str:
    return extent if isinstance(extent, int) else str(extent)
