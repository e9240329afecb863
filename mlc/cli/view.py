"""`mlc view MODEL -o view.html`: one page that shows what the compiler did: the graph after every pass, kernels down to assembly, memory and
time. Two models, or packages, stand beside each other."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlc.cli import flags
from mlc.cli.command_line import Parser, UsageError
from mlc.cli.console import Console
from mlc.cli.reporting import add_memory, add_run, failing
from mlc.cli.session import open_session
from mlc.cli.source import Model, model
from mlc.cli.writing import files_read, require_outputs

if TYPE_CHECKING:
    from mlc.insight.view.recorder import Recorder
    from mlc.options import CompileOptions
    from mlc.runtime.executable import Executable

EXPORTS = {".dot": "Graphviz", ".onnx": "an ONNX model, for Netron", ".json": "a graph for Model Explorer"}


def configure(parser: Parser) -> None:
    parser.examples(
        "mlc view model.onnx -o view.html",
        "mlc view old.mlc new.mlc -o view.html",
        "mlc view ir/ -o view.html                 a folder of dumped IR",
        "mlc view model.onnx -o graph.dot --after fuse",
    )
    flags.model(parser, "MODEL|PACKAGE|DIR")
    parser.add_argument("other", metavar="OTHER", nargs="?", help="a second one, to stand beside the first")
    group = parser.add_argument_group("page")
    group.add_argument(
        "-o",
        "--output",
        default="view.html",
        metavar="OUT",
        help="default view.html; NAME.dot writes one graph for Graphviz, NAME.onnx as an ONNX model, NAME.json for Model Explorer",
    )
    group.add_argument(
        "--after", metavar="PASS", help="with .dot, .onnx or .json: the graph after this pass (default: as imported)"
    )
    group.add_argument(
        "--seconds", type=flags.seconds, default=1.0, metavar="S", help="how long calls are timed (default 1)"
    )
    group.add_argument("--no-run", action="store_true", help="do not call the model: a page without times")
    group.add_argument("--no-assembly", action="store_true", help="leave out assembly, which takes LLVM a second time")
    flags.target(parser)
    flags.data(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    suffix = Path(args.output).suffix.lower()
    names = [name for name in (args.model, args.other) if name is not None]
    sources = [None if Path(name).is_dir() else model(name) for name in names]
    require_outputs({"-o": args.output}, partial(files_read, args, *filter(None, sources)), tuple(EXPORTS))
    if suffix in EXPORTS:
        return _export(suffix, args, sources, console)
    if args.after:
        raise UsageError(
            "--after is for one graph", remedy="A page shows all passes; -o NAME.dot, NAME.onnx and NAME.json one."
        )
    from mlc.insight.view.recorder import Recorder, page

    titles = [Path(name.rstrip("/")).name for name in names]
    file = page(args.output, " and ".join(titles))
    for side, (name, source) in enumerate(zip(names, sources, strict=True)):
        recorder = Recorder(file, titles[side], side, assembly=not args.no_assembly)
        if source is None:
            from mlc.insight.view.folder import add_dump

            add_dump(recorder, Path(name))
        else:
            _record(recorder, source, args, console)
    console.result("view", models=names, output=args.output)
    console.wrote(args.output)
    return 0


def _record(recorder: Recorder, source: Model, args: argparse.Namespace, console: Console) -> None:
    from mlc.compiler import Compilation, Inspection

    inspection = Inspection(report=recorder)
    with failing(recorder, source, args):
        session = open_session(args, console, inspection, source=source)
        if session.loaded is not None:  # a package holds neither passes nor texts: its module makes them again
            options = _options_of(session.loaded, args)
            session.compilation, session.loaded = Compilation(options, console.progress, inspection), None
        if args.no_run:
            add_memory(recorder, session)
        else:
            add_run(recorder, session, session.feeds(args), args.seconds)


def _options_of(executable: Executable, args: argparse.Namespace) -> CompileOptions:
    """Those that a package was compiled with."""
    from mlc.options import CompileOptions

    report = executable.report
    return CompileOptions.of(
        target=executable.target.kind,
        threads=args.threads or executable.threads,
        specialise=report.get("specialise"),
        denormals=report.get("denormals"),
        precision=report.get("precision"),
    )


def _export(suffix: str, args: argparse.Namespace, sources: list[Model | None], console: Console) -> int:
    """One graph for another tool."""
    if len(sources) != 1 or sources[0] is None:
        raise UsageError(f"{EXPORTS[suffix]} is of one model", remedy="Name one MODEL.")
    from mlc.cli.writing import write_text
    from mlc.compiler import Inspection

    inspection = Inspection(stop_after=args.after) if args.after else Inspection()
    session = open_session(args, console, inspection, source=sources[0])
    module = session.module
    if args.after:
        if session.compilation is None:
            raise UsageError("--after is for models, and a package is compiled already", remedy="Leave --after out.")
        module = session.compilation.lower(module)
    if suffix == ".dot":
        from mlc.insight.view.graphviz import dot

        write_text(args.output, dot(module))
    elif suffix == ".json":
        from mlc.insight.view.model_explorer import graph_json

        write_text(args.output, graph_json(module, Path(sources[0].name).name, args.after or "input"))
    else:
        from mlc.onnx_export import export_onnx

        export_onnx(module, args.output)
    console.result("view", models=[args.model], output=args.output)
    console.wrote(args.output)
    return 0
