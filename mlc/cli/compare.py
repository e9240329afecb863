"""`mlc compare MODEL`: every stage on the same inputs, through the interpreters and natively; names the first that differs. Exit code 3 then."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from mlc.cli import data, sizes
from mlc.cli.console import Console
from mlc.cli.parser import Parser, UsageError, data_flags, model_flags, target_flags, tolerance_flags
from mlc.cli.source import model, options
from mlc.errors import NumericMismatch


def configure(parser: Parser) -> None:
    model_flags(parser)
    parser.add_argument(
        "--against",
        choices=("interpreter", "onnxruntime"),
        default="interpreter",
        help="the reference: the imported module by the interpreter, or onnxruntime, which also checks the import",
    )
    parser.add_argument("--all", action="store_true", help="interpret loops however long that takes")
    target_flags(parser)
    data_flags(parser)
    tolerance_flags(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    source = model(args.model)
    if source.is_package:
        raise UsageError(f"{source.name} is compiled already", remedy="Compare the model it was compiled from.")
    from mlc.comparison import compare
    from mlc.compiler import load

    chosen = options(args)
    module = load(source.source, chosen.shapes, chosen.dims, until=chosen.until)
    given = data.read(args.input, module.input_names)
    feeds = data.feeds(module, given, sizes.fixed(args.dim), args.seed, usual=sizes.usual(args.dim))
    found = compare(
        source.source,
        feeds,
        against=args.against,
        options=chosen,
        rtol=args.rtol,
        atol=args.atol,
        everything=args.all,
        progress=console.progress,
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
    if first is None:
        return 0
    where = f"  first: {first.op}\n" if first.op else ""
    console.print(f"{where}  {first.text}")
    console.print(f"  tolerance {first.tolerance:g}")
    return NumericMismatch.exit_code
