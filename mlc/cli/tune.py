"""`mlc tune MODEL --time 60s --tune-store FILE`: search for schedules that are faster than those of the rules, and keep them in a file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlc.cli import flags
from mlc.cli.command_line import Parser, UsageError
from mlc.cli.console import Console
from mlc.cli.source import Model, model
from mlc.cli.writing import STDOUT, files_read, require_outputs

if TYPE_CHECKING:
    from mlc.cli.session import Session
    from mlc.tuning import Tuned

SUFFIX = ".schedules.json"


def configure(parser: Parser) -> None:
    parser.examples(
        "mlc tune model.onnx --time 60s --tune-store schedules.json",
        "mlc compile model.onnx --tune-store schedules.json",
        "mlc tune model.onnx --dim N=8 --threads 2",
    )
    flags.model(parser)
    parser.add_argument_group("search").add_argument(
        "--time",
        type=flags.duration,
        default=60.0,
        metavar="T",
        help="how long, as 60s (default) or 5m; Ctrl-C ends it and keeps what was found",
    )
    flags.target(parser)
    flags.data(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    from mlc.cli.session import open_session

    source = model(args.model)
    stem = Path(source.path.name).stem if source.path else "model"
    args.tune_store = args.tune_store or [stem + SUFFIX]
    path = store_to_write(args, source)
    session = open_session(args, console, packages=False, source=source)
    tuned = search(args, args.time, session, console)
    tuned.store.save(path)
    console.result("tune", model=source.name, output=path, **facts(tuned))
    for line in lines(tuned):
        console.print(line)
    console.wrote(path, f"      next: mlc compile {source.name} --tune-store {path}")
    return 0


def store_to_write(args: argparse.Namespace, source: Model) -> str:
    """The one file that --tune-store names; where it is not there yet, the search begins without it. Raises UsageError or MlcError."""
    if len(args.tune_store) > 1:
        raise UsageError("--tune-store names several files, and one is to be written", remedy="Name one.")
    (path,) = args.tune_store
    if path == STDOUT:
        raise UsageError("--tune-store - names no file", remedy="Name one: --tune-store schedules.json.")
    require_outputs({"--tune-store": path}, partial(files_read, args, source))
    args.tune_store = [path] if Path(path).exists() else []
    return str(path)


def search(args: argparse.Namespace, seconds: float, session: Session, console: Console) -> Tuned:
    """On the inputs that the flags give."""
    from mlc.tuning import tune_module

    assert session.compilation is not None
    feeds = session.feeds(args)
    arrays = [feeds[name] for name in session.module.input_names]
    return tune_module(session.compilation, session.module, arrays, seconds, console.progress)


def facts(tuned: Tuned) -> dict[str, Any]:
    """The fields of the JSON object."""
    from dataclasses import asdict

    return {
        "seconds": tuned.seconds,
        "tried": tuned.tried,
        "wrong": tuned.wrong,
        "interrupted": tuned.interrupted,
        "gain": tuned.gain,
        "kernels": [asdict(row) for row in tuned.rows],
        "entries": len(tuned.store.entries),
    }


def lines(tuned: Tuned) -> Sequence[str]:
    """As mlc explain has kernels: schedules are too long for a table."""
    if not tuned.tried:
        return ["there was no time to try a schedule, or there is none to try; --time gives more"]
    if not tuned.rows:
        return [f"{tuned.tried} schedules tried, none faster than the rules'"]
    found = []
    for row in tuned.rows:
        found += [
            f"{row.kernel}  {100 * row.share:.1f} % of the time, {row.gain:.2f} times as fast",
            f"  schedule  {row.schedule}",
            f"  rules     {row.rule}",
        ]
    return [*found, f"{tuned.tried} schedules tried; all kernels together {tuned.gain:.2f} times as fast"]
