"""`mlc run MODEL`: one call on given, random or saved inputs; prints each output's shape and range, or saves them."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from mlc.cli import data, flags
from mlc.cli.command_line import Parser, UsageError
from mlc.cli.console import Console
from mlc.cli.session import open_session
from mlc.cli.source import model
from mlc.cli.verification import verify
from mlc.cli.writing import files_read, require_outputs


def configure(parser: Parser) -> None:
    parser.examples(
        "mlc run model.mlc --dim N=2 --save-output out",
        "mlc run model.onnx --input x=@x.npy --verify",
    )
    flags.model(parser)
    flags.strict(parser)
    flags.data(parser)
    group = parser.add_argument_group("output")
    group.add_argument("--save-output", metavar="DIR", help="write each output as DIR/NAME.npy")
    flags.verify(group, "compare the outputs")
    flags.reference(group)
    flags.trace(group, "the kernels of one more call")
    flags.target(parser)
    flags.tolerance(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    folder = Path(args.save_output) if args.save_output else None
    source = model(args.model)
    read = partial(files_read, args, source)
    require_outputs({"--trace": args.trace}, read)
    session = open_session(args, console, source=source)
    feeds = session.feeds(args)
    if folder is not None:
        data.require_folder(folder)
        _require_other_files(read(), session.output_names, folder)
    executable = session.executable  # compiled before the clock runs
    given = executable.unshared(feeds)
    start = time.perf_counter()
    outputs = dict(zip(session.output_names, executable.run(None, given), strict=True))
    seconds = time.perf_counter() - start
    described = {name: data.describe(array) for name, array in outputs.items()}
    inputs = {name: data.describe(array) for name, array in feeds.items()}
    if folder is None:
        outputs.clear()  # arrays may be large, and verify makes its own
    if not args.trace:
        feeds.clear()
        given.clear()
    verified = verify(args, session, console) if args.verify else None
    written = data.save(outputs, folder) if folder is not None else []
    if args.trace:
        session.write_trace(args.trace, feeds)
        written.append(Path(args.trace))
    console.result(
        "run",
        model=args.model,
        seconds=seconds,
        inputs=inputs,
        outputs=described,
        saved=[str(path) for path in written],
        verified=verified,
    )
    width = max((len(name) for name in described), default=0)
    for name, text in described.items():
        console.print(f"{name.ljust(width)}  {text}")
    for path in written:
        console.wrote(path)
    return 0


def _require_other_files(files: Iterable[Path], names: Sequence[str], folder: Path) -> None:
    """Raises UsageError where an output would replace a file that the command reads."""
    read = {os.path.realpath(path) for path in files}
    taken: list[Path] = []
    for name in names:
        taken.append(data.file_of(name, folder, taken))
        if os.path.realpath(taken[-1]) in read:
            raise UsageError(
                f"output '{name}' would replace {taken[-1]}, which the command reads", remedy="Name another folder."
            )
