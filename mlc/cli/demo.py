"""`mlc demo`: the bundled digit recogniser, compiled, verified, asked about images it has never seen, and timed."""

from __future__ import annotations

import argparse

import numpy as np

from mlc.cli import flags
from mlc.cli.command_line import Parser
from mlc.cli.console import Console

SHADES = " .:-=+*#%@"
SHOWN = 6


def configure(parser: Parser) -> None:
    parser.examples(
        "mlc demo --threads 1",
    )
    parser.add_argument("--threads", type=flags.positive, metavar="N", help="largest number of threads a call uses")
    parser.add_argument("--seconds", type=flags.seconds, default=0.6, metavar="S", help="how long each engine is timed")


def run(args: argparse.Namespace, console: Console) -> int:
    from mlc import references
    from mlc.compiler import Compilation
    from mlc.demo import MODEL, digits
    from mlc.insight.timing import measure
    from mlc.numeric import compare_outputs, largest, require_agreement
    from mlc.options import CompileOptions

    compilation = Compilation(CompileOptions(threads=args.threads), console.progress)
    module = compilation.load(MODEL)
    executable = compilation.finish(module)
    images, labels = digits()
    (name,) = module.input_names
    feeds = {name: images}
    interpreter = references.interpreter(module)
    outputs = executable.run(None, feeds)
    differences = compare_outputs(module.output_names, outputs, interpreter(feeds))
    require_agreement(differences, "the interpreter")
    guesses = np.argmax(outputs[0], axis=-1)
    right = int((guesses == labels).sum())
    calls = {"mlc": lambda: executable.run(None, feeds), "mlc's own interpreter": lambda: interpreter(feeds)}
    if references.has_onnxruntime():
        other = references.onnxruntime(MODEL, executable.threads)
        calls["onnxruntime"] = lambda: other(feeds)
    latencies = measure(calls, args.seconds)
    own = latencies["mlc"].median
    console.result(
        "demo",
        error=largest(differences),
        right=right,
        images=len(labels),
        seconds=compilation.seconds,
        median_ms={engine: row.median for engine, row in latencies.items()},
    )
    console.print(
        f"{'verified':<10} against the interpreter, {len(labels)} images: max rel err {largest(differences):.1e}"
    )
    console.print()
    for line in pictures(images[:SHOWN, 0], [f"it is a {digit}" for digit in guesses[:SHOWN]]):
        console.print(line)
    console.print()
    console.print(f"{right} of {len(labels)} handwritten digits are recognised; the model has not seen them before")
    console.print(f"time for all {len(labels)} images, {executable.threads} threads:")
    for engine, row in latencies.items():
        faster = "" if engine == "mlc" else f"   mlc is {row.median / own:.1f}x as fast"
        console.print(f"  {engine:<22} {row.median:8.3f} ms{faster}")
    console.print()
    console.print("now try: mlc compile your.onnx")
    return 0


def pictures(images: np.ndarray, captions: list[str]) -> list[str]:
    """Images of values 0 to 16 side by side, two characters per pixel, each over its caption."""
    lines = []
    for row in range(images.shape[1]):
        cells = [
            "".join(2 * SHADES[min(len(SHADES) - 1, int(value / 16 * (len(SHADES) - 1)))] for value in image[row])
            for image in images
        ]
        lines.append("  ".join(cells).rstrip())
    width = 2 * images.shape[2]
    lines.append("  ".join(caption.center(width) for caption in captions).rstrip())
    return lines
