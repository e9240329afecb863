"""`mlc trace FILE.py:FUNCTION --args ...`: the graph of a Python function, as IR text."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from mlc.cli import flags
from mlc.cli.command_line import Parser, UsageError
from mlc.cli.console import Console
from mlc.cli.session import open_session
from mlc.cli.source import model
from mlc.cli.writing import STDOUT, files_read, require_module, require_outputs, write_module


def configure(parser: Parser) -> None:
    parser.examples(
        "mlc trace file.py:function --args f32[N,3] f32[3,4] 0.5",
        "mlc trace file.py:function --args f32[2,3] --locations",
    )
    flags.model(parser, "FILE.py:FUNCTION")
    parser.add_argument("-o", "--output", metavar="OUT.mlir", help="write the IR to a file; default: standard output")
    parser.add_argument("--locations", action="store_true", help="print the line of Python that each op came from")
    flags.inputs(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    source = model(args.model)
    if source.function is None:
        raise UsageError(f"{source.name} is no Python function", remedy="mlc trace file.py:function --args f32[2,3]")
    from mlc.ir.value_names import ValueNames

    read = partial(files_read, args, source)
    require_outputs({"-o": args.output}, read, (".mlir",))
    if args.output:
        require_module(args.output, read)
    module = open_session(args, console.quiet(), packages=False, source=source).module
    text = module.text(args.locations, ValueNames())
    console.result("trace", model=source.name, ir=text)
    if args.output and args.output != STDOUT:
        for path in write_module(args.output, module, args.locations):
            console.wrote(path)
    elif not console.json:
        sys.stdout.write(text)
    return 0
