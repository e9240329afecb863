"""`mlc opt FILE`: run passes on IR text (or on the IR of an ONNX model) and print the result, or what they changed."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from functools import partial
from pathlib import Path

from mlc.cli import flags
from mlc.cli.command_line import Parser, UsageError
from mlc.cli.console import Console
from mlc.cli.inspection import inspection
from mlc.cli.session import open_session
from mlc.cli.source import model
from mlc.cli.writing import STDOUT, files_read, require_module, require_outputs, write_module, write_text


def configure(parser: Parser) -> None:
    parser.examples(
        "mlc opt model.onnx --passes decompose,simplify,dce -o simple.mlir",
        "mlc opt simple.mlir --passes fold,cse --diff",
        "mlc opt --list-passes",
    )
    flags.model(parser, "FILE")
    parser.set_model_optional()
    group = parser.add_argument_group("passes")
    group.add_argument(
        "--passes", default="", metavar="LIST", help="'simplify,fuse{max-ops=8},dce', in this order; none: only parse"
    )
    group.add_argument("--list-passes", action="store_true", help="list the passes and their options")
    group.add_argument("-o", "--output", metavar="OUT", help="write the IR to a file; default: standard output")
    group.add_argument("--diff", action="store_true", help="print what the passes changed, not the IR")
    group.add_argument("--locations", action="store_true", help="print where each op came from")
    flags.ir(parser)
    flags.inputs(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    if args.list_passes:
        return _list(console)
    if args.model is None:
        raise UsageError("opt needs a FILE", remedy="mlc opt module.mlir --passes simplify, or mlc opt --list-passes.")
    from mlc.ir.value_names import ValueNames
    from mlc.passes.pipelines import parse

    source = model(args.model)
    in_place = (
        source.path is not None
        and args.output is not None
        and os.path.realpath(args.output) == os.path.realpath(source.path)
    )
    read = partial(files_read, args, *([] if in_place and source.kind == ".mlir" else [source]))
    require_outputs({"-o": args.output}, read, (".diff", ".patch", ".txt") if args.diff else (".mlir",))
    if args.output and not args.diff:
        require_module(args.output, read)
    session = open_session(args, console.quiet(), inspection(args), packages=False, source=source)
    compilation, before = session.compilation, session.module
    assert compilation is not None
    names = ValueNames()
    names.keep(before.op)
    after = compilation.lower(before, parse(args.passes))
    text = after.text(args.locations, ValueNames())
    if args.diff:
        lines = difflib.unified_diff(
            before.text(args.locations, names).splitlines(), text.splitlines(), "before", "after", lineterm=""
        )
        text = "".join(f"{line}\n" for line in lines)
    console.result("opt", passes=args.passes, ir=text)
    if args.output and args.output != STDOUT:
        if args.diff:
            write_text(args.output, text)
        for path in [Path(args.output)] if args.diff else write_module(args.output, after, args.locations):
            console.wrote(path)
    elif not console.json:
        sys.stdout.write(text)
    if args.dump_ir:
        console.wrote(Path(args.dump_ir) / "index.html")
    return 0


def _list(console: Console) -> int:
    from dataclasses import fields

    from mlc.passes.pipelines import PASSES

    rows = []
    for name, kind in sorted(PASSES.items()):
        settings = [{"name": f.name.replace("_", "-"), "default": f.default} for f in fields(kind)]
        summary = (kind.__doc__ or "").strip().splitlines()[0]
        rows.append({"name": name, "summary": summary, "options": settings})
    console.result("opt", passes=rows)
    width = max(len(str(row["name"])) for row in rows)
    for row in rows:
        given = ", ".join(f"{o['name']}={o['default']}" for o in row["options"])  # type: ignore[index]
        console.print(f"{str(row['name']).ljust(width)}  {row['summary']}{f'  ({given})' if given else ''}")
    return 0
