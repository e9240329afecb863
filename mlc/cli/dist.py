"""`mlc dist plan MODEL`: how well data parallel training of a model is predicted to scale."""

from __future__ import annotations

import argparse
import re

from mlc.cli import flags
from mlc.cli.command_line import Parser, UsageError
from mlc.cli.console import Console
from mlc.cli.session import open_session
from mlc.cli.source import model

MOST = 1 << 20  # ranks


def configure(parser: Parser) -> None:
    parser.examples(
        "mlc dist plan model.onnx --dim N=64 --ranks 8..4096 --network 100Gb",
        "mlc dist plan model.onnx --ranks 2,4,8 --network 10Gb --step-ms 315",
    )
    parser.add_argument(
        "what", choices=["plan"], help="plan: what share of the ideal rate is predicted, and with which buckets"
    )
    flags.model(parser)
    group = parser.add_argument_group("ranks")
    group.add_argument(
        "--ranks", default="8..4096", metavar="N", help="how many: 2,4,8, or 8..4096 by factors of two (default)"
    )
    group.add_argument(
        "--network", default="100Gb", metavar="RATE", help="between any two: 10Gb, 100Gb (default), 4x200Gb"
    )
    group.add_argument("--step-ms", type=float, metavar="MS", help="a step of one rank alone, as measured")
    group.add_argument(
        "--tflops", type=float, default=5.0, metavar="T", help="without --step-ms: what a rank computes in a second (5)"
    )
    flags.inputs(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    from mlc.dist.efficiency import JITTER, Network, backward_stages, predictions
    from mlc.insight.numbers import quantity
    from mlc.insight.summary import summary
    from mlc.ir.byte_counts import bytes_text

    ranks, network = _ranks(args.ranks), Network.of(args.network)
    for flag, value in (("--step-ms", args.step_ms), ("--tflops", args.tflops)):
        if value is not None and not value > 0:
            raise UsageError(f"{flag} is {value:g}", remedy="Give a number above 0.")
    source = model(args.model)
    module = open_session(args, console.quiet(), source=source).module
    found = summary(module)
    stages = backward_stages(module, found.sizes)
    total = sum(stage.bytes for stage in stages)
    if not total or not found.flops:
        raise UsageError(
            f"{source.name} has no weights to train", remedy="Give a model whose weights are initializers."
        )
    seconds = 3 * found.flops / (args.tflops * 1e12) if args.step_ms is None else args.step_ms / 1e3
    rows = predictions(stages, seconds, network, ranks)
    console.result(
        "dist",
        model=source.name,
        sizes=found.sizes,
        gradient_bytes=total,
        step_seconds=seconds,
        latency=network.latency,
        bandwidth=network.bandwidth,
        predicted=[
            {"ranks": r.ranks, "at_the_end": r.at_the_end, "overlapped": r.overlapped, "bucket_bytes": r.bucket}
            for r in rows
        ],
    )
    at = ", ".join(f"{symbol} = {size}" for symbol, size in found.sizes.items())
    how = "as given" if args.step_ms is not None else f"3 x {quantity(found.flops, 'FLOP')} at {args.tflops:g} TFLOP/s"
    console.print(f"{source.name}{'  ' + at if at else ''}")
    console.print(f"{'gradients':<10} {bytes_text(total)} in f32")
    console.print(f"{'step':<10} {1e3 * seconds:.4g} ms of a rank alone: {how}")
    console.print(
        f"{'network':<10} {network.bandwidth / 1e9:.3g} GB/s, {1e6 * network.latency:g} us; every rank has its own;"
        f" ranks differ by {100 * JITTER:g} % of a step (assumed)"
    )
    console.print(
        f"\n{'ranks':>8}  one sum at the end  beside the backward pass  best buckets   (predicted shares of the ideal rate)"
    )
    for r in rows:
        console.print(f"{r.ranks:>8}  {r.at_the_end:>17.0%}  {r.overlapped:>24.0%}  {bytes_text(r.bucket):>12}")
    return 0


def _ranks(text: str) -> list[int]:
    """2,4,8, or 8..4096."""
    if match := re.fullmatch(r"(\d+)\.\.(\d+)", text):
        count, most = int(match[1]), int(match[2])
        found = []
        while 0 < count <= most <= MOST:
            found.append(count)
            count *= 2
    else:
        found = [int(part) for part in text.split(",")] if re.fullmatch(r"\d+(,\d+)*", text) else []
    if not found or not all(1 <= count <= MOST for count in found):
        raise UsageError(f"--ranks is {text!r}", remedy=f"Write 2,4,8 or 8..4096; at most {MOST}.")
    return found
