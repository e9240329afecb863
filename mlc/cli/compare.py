"""`mlc compare MODEL`: every stage on the same inputs, through the interpreters and natively; names the first that differs. Exit code 3 then.

`mlc compare OLD.mlc NEW.mlc`: the native code of two packages, and the first kernel whose result differs.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mlc.cli import flags
from mlc.cli.command_line import Parser, UsageError
from mlc.cli.console import Console
from mlc.cli.reporting import reporting
from mlc.cli.session import Session, open_session, require_file
from mlc.cli.source import Model, model
from mlc.cli.writing import files_read, require_outputs
from mlc.errors import NumericMismatch

if TYPE_CHECKING:
    from mlc.comparison import Comparison
    from mlc.insight.view.recorder import Recorder
    from mlc.package_comparison import Side


def configure(parser: Parser) -> None:
    parser.examples(
        "mlc compare model.onnx",
        "mlc compare old.mlc new.mlc",
    )
    flags.model(parser)
    parser.add_argument("other", metavar="NEW.mlc", nargs="?", help="a second package; MODEL is one too, the older")
    parser.add_argument(
        "--against",
        choices=("interpreter", "onnxruntime"),
        default="interpreter",
        help="the reference: the imported module by the interpreter, or onnxruntime, which also checks the import",
    )
    parser.add_argument("--all", action="store_true", help="interpret loops however long that takes")
    flags.report(parser, "the errors of each node, over the graph")
    flags.strict(parser)
    flags.reference(parser)
    flags.target(parser)
    flags.data(parser)
    flags.tolerance(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    if args.other is not None:
        return _packages(args, console)
    source = model(args.model)
    require_outputs({"--report": args.report}, partial(files_read, args, source))
    if args.report and source.is_package:
        raise UsageError("--report is for models", remedy=f"mlc view {source.name} shows a package.")
    with reporting(args, source) as recorder:
        return _stages(args, source, recorder, console)


def _stages(args: argparse.Namespace, source: Model, recorder: Recorder | None, console: Console) -> int:
    session = open_session(args, console.quiet(), source=source)
    feeds = session.feeds(args)
    if session.compilation is None:
        found = _package(args, session, feeds)
    else:
        from mlc.comparison import compare

        found = compare(
            session.module if source.function or (source.path is None and source.kind == ".mlir") else source.source,
            feeds,
            against=args.against,
            options=session.compilation.options,
            rtol=args.rtol,
            atol=args.atol,
            everything=args.all,
            progress=console.progress,
            report=recorder,
        )
    first = found.first_divergence
    console.result(
        "compare",
        model=source.name,
        reference=found.reference,
        sizes=found.sizes,
        stages=[asdict(stage) for stage in found.stages],
        first_divergence=None if first is None else asdict(first),
    )
    at = ", ".join(f"{symbol}={size}" for symbol, size in found.sizes.items())
    console.print(f"reference: {found.reference}{', ' + at if at else ''}")
    for stage in found.stages:
        if stage.skipped:
            console.print(f"{stage.name:<24} left out: {stage.skipped} (--all)")
        else:
            mark = "agrees" if stage.agrees else "DIFFERS"
            console.print(
                f"{stage.name:<24} {mark:<8} max rel err {stage.error:.1e}{'' if stage.agrees else '   <- first'}"
            )
    if recorder is not None:
        recorder.overlay("error", found.errors)
        console.wrote(args.report)
    if first is None:
        return 0
    where = f"  first: {first.op}\n" if first.op else ""
    console.print(f"{where}  {first.text}")
    console.print(f"  tolerance {first.tolerance:g}")
    return NumericMismatch.exit_code


def _package(args: argparse.Namespace, session: Session, feeds: Mapping[str, np.ndarray]) -> Comparison:
    """The code in a package beside the module that it carries; with --reference both beside that model."""
    from mlc import references
    from mlc.comparison import Comparison, compare_results
    from mlc.ir.interpreter import bind

    module = references.interpreter(session.module)
    found = Comparison("the interpreter on the module in the package", bind(session.module, list(feeds.values())))
    stages = {"code in the package": lambda: session.executable.run(None, session.executable.unshared(feeds))}
    if session.reference is None:
        if args.against != "interpreter":
            session.run_reference(args.against)  # says what it needs
        want = module(feeds)
    else:
        engine = "the interpreter" if args.against == "interpreter" else args.against
        found.reference = f"{engine} on {session.reference.source.name}"
        want = session.run_reference(args.against, until=args.until)(feeds)
        stages = {"module in the package": lambda: module(feeds), **stages}
    for name, run in stages.items():
        if found.first_divergence is None:
            compare_results(found, name, session.output_names, run(), want, args.rtol, args.atol)
    return found


def _packages(args: argparse.Namespace, console: Console) -> int:
    """The code in two packages on the same inputs."""
    sources = [model(name) for name in (args.model, args.other)]
    for source in sources:
        if not source.is_package:
            raise UsageError(
                f"{source.name} is not a package, and two packages are compared",
                remedy="Compile it first; a package is compared with its model by mlc compare PACKAGE --reference MODEL.",
            )
    if args.reference or args.against != "interpreter":
        raise UsageError("two packages are compared with one another", remedy="Leave --reference and --against out.")
    from mlc.package_comparison import compare_executables
    from mlc.runtime.package import read

    sessions = [open_session(args, console.quiet(), source=source) for source in sources]
    sides = [_side(session) for session in sessions]
    narrow = min(
        sessions, key=lambda session: len(session.module.symbols)
    )  # the other takes the sizes that this one fixes
    feeds = narrow.feeds(args)
    found = compare_executables(sides[0], sides[1], feeds, args.rtol, args.atol)
    first = found.first
    console.result(
        "compare",
        model=sources[0].name,
        other=sources[1].name,
        agrees=found.agrees,
        error=found.error,
        outputs=[asdict(difference) for difference in found.outputs],
        first_divergence=None if first is None else asdict(first),
    )
    width = max(len(side.name) for side in sides)
    for source, side in zip(sources, sides, strict=True):
        level = side.executable.report.get("opt_level")
        text = "" if level is None else f", -O{level}"
        console.print(
            f"{side.name:<{width}}  mlc {read(require_file(source)).version}{text}, {side.executable.target.name}"
        )
    if first is None:
        console.print(f"the outputs agree, max rel err {found.error:.1e}")
        return 0
    console.print(f"the outputs DIFFER, max rel err {found.error:.1e}; {found.values} values between were looked at")
    if first.node:
        console.print(f"  first: {first.node}")
        for side, kernel, nodes in zip(sides, first.kernels, first.nodes, strict=True):
            console.print(f"    {side.name:<{width}}  kernel {kernel}: {', '.join(nodes)}")
    for line in filter(None, (first.text, first.verdict)):
        console.print(f"  {line}")
    console.print(f"  tolerance {first.tolerance:g}")
    return NumericMismatch.exit_code


def _side(session: Session) -> Side:
    from mlc.package_comparison import Side

    return Side(session.source.name, session.executable, session.module)
