"""Winograd's convolutions beside the direct ones: time and error of the 3 x 3 layers of ResNets and U-Nets, and of a training step's.

    python -m benchmarks.winograd                 the layers below, on one thread
    python -m benchmarks.winograd --model resnet18.onnx --model unet.onnx

By turns in one process: medians of the processor's time. Errors are the largest against float64, as shares of the largest output; those of a model
are against onnxruntime, whose own are about as large as the direct kernels'.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import mlc
from benchmarks.measure import in_turns, signature_of
from benchmarks.run import markdown
from mlc.ir import builder as g
from mlc.ir.module import Module

WAYS = ("off", "2", "4", "auto")
LAYERS = (  # images, pixels of a side, channels in and out
    (1, 56, 64, 64),
    (1, 28, 128, 128),
    (1, 14, 256, 256),
    (1, 7, 512, 512),
    (1, 56, 16, 16),
    (1, 64, 96, 32),
    (1, 20, 100, 100),
    (1, 112, 64, 64),
    (32, 32, 32, 32),
    (32, 16, 64, 64),
    (32, 8, 128, 128),
)


def layer(images: int, side: int, inputs: int, outputs: int) -> tuple[Module, np.ndarray, np.ndarray]:
    """A convolution with a border of one, its input, and its result in float64."""
    rng = np.random.default_rng(0)
    weight = (rng.standard_normal((3, 3, inputs, outputs)) / np.sqrt(9 * inputs)).astype(np.float32)
    x = rng.standard_normal((images, side, side, inputs)).astype(np.float32)
    m = g.module_builder("layer")
    with m.function([("x", x.shape, "f32")]) as (value,):
        m.outputs([("y", g.convolution(value, g.weight(weight, "w"), "n01c,01co->n01o", padding=[(1, 1), (1, 1)]))])
    wide = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    exact = sum(
        wide[:, i : i + side, j : j + side] @ weight[i, j].astype(np.float64) for i in range(3) for j in range(3)
    )
    return m.finish(), x, np.asarray(exact)


def rows(
    source: Module | str, feeds: Sequence[np.ndarray], exact: np.ndarray, seconds: float, rounds: int
) -> list[str]:
    """Milliseconds and error of each way."""
    ways = {way: mlc.compile(source, threads=1, settings={"winograd": way}) for way in WAYS}
    calls = {way: (lambda exe=exe: exe(*feeds)) for way, exe in ways.items()}
    times = in_turns(calls, rounds, seconds, time.process_time)
    cells = []
    for way, call in calls.items():
        found = call()
        first = found[0] if isinstance(found, (list, tuple)) else found
        error = np.max(np.abs(first - exact)) / np.max(np.abs(exact))
        ratio = times["off"]["median_ms"] / times[way]["median_ms"]
        cells.append(f"{times[way]['median_ms']:.3g} ({ratio:.2f}), {error:.0e}")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", action="append", default=[], metavar="FILE", help="ONNX models instead of the layers"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--turn", type=float, default=0.05, metavar="SECONDS")
    args = parser.parse_args()
    print(markdown(["", "direct, ms; error", "tiles of 2", "tiles of 4", "chosen"], []), end="")
    for path in args.model:
        import onnxruntime

        feeds = signature_of(Path(path)).feeds()
        exact = onnxruntime.InferenceSession(path).run(None, feeds)[0]
        show(Path(path).stem, rows(path, list(feeds.values()), exact, args.turn, args.rounds))
    for images, side, inputs, outputs in () if args.model else LAYERS:
        module, x, exact = layer(images, side, inputs, outputs)
        show(f"{images} x {side}x{side}x{inputs} -> {outputs}", rows(module, [x], exact, args.turn, args.rounds))


def show(name: str, cells: Sequence[str]) -> None:
    print(f"| {' | '.join([name, *cells])} |", flush=True)


if __name__ == "__main__":
    main()
