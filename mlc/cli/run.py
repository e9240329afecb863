"""`mlc run MODEL`: one call on given, random or saved inputs; prints each output's shape and range, or saves them."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from mlc.cli import data
from mlc.cli.console import Console
from mlc.cli.parser import Parser, data_flags, model_flags, strict_flag, target_flags, tolerance_flags, trace_flag
from mlc.cli.session import open_session
from mlc.cli.verification import verify


def configure(parser: Parser) -> None:
    model_flags(parser)
    strict_flag(parser)
    data_flags(parser)
    group = parser.add_argument_group("output")
    group.add_argument("--save-output", metavar="DIR", help="write each output as DIR/NAME.npy")
    group.add_argument(
        "--verify",
        nargs="?",
        const="any",
        choices=("any", "onnxruntime", "interpreter"),
        help="compare the outputs with onnxruntime (where installed) or the interpreter",
    )
    trace_flag(group, "the kernels of one more call")
    target_flags(parser)
    tolerance_flags(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    session = open_session(args, console)
    feeds = session.feeds(args)
    start = time.perf_counter()
    outputs = dict(zip(session.output_names, session.executable.run(None, feeds), strict=True))
    seconds = time.perf_counter() - start
    verified = session.verify(args, console, verify) if args.verify else None
    written = data.save(outputs, Path(args.save_output)) if args.save_output else []
    if args.trace:
        session.write_trace(args.trace, feeds)
    described = {name: data.describe(array) for name, array in outputs.items()}
    console.result(
        "run",
        model=args.model,
        seconds=seconds,
        inputs={name: data.describe(array) for name, array in feeds.items()},
        outputs=described,
        saved=[str(path) for path in written],
        verified=verified,
    )
    width = max((len(name) for name in outputs), default=0)
    for name, text in described.items():
        console.print(f"{name.ljust(width)}  {text}")
    for path in written:
        console.print(f"wrote {path}")
    return 0
