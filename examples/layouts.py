"""Why layouts differ: recurrent networks time-major against batch-major, convolution networks with channels last against channels first.

    python examples/layouts.py
    python examples/layouts.py --rounds 50

The same numbers are computed from arrays whose axes are in another order, and timed. Beside the times stands what the compiler makes of them: how many kernels a call runs, and
how many of them move elements and compute nothing.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import mlc
from mlc import Tensor, nn

STEPS, BATCH, SIZE, HIDDEN = 64, 32, 64, 64
IMAGES, PIXELS, CHANNELS = 4, 28, 64
DIRECT = {"winograd": "off"}  # which exists for channels last alone, and would be compared instead of the layouts
NCHW = ("select-layout", "move-transposes")  # the passes without which channels stay where the model has them


# An LSTM -------------------------------------------------------------------------------------------------------------------
def lstm(batch_first: bool) -> tuple[Callable[[Tensor], Tensor], np.ndarray]:
    """The outputs of all steps for x [steps, batch, size], or with both exchanged."""
    nn.seed(0)
    layer = nn.LSTM(SIZE, HIDDEN, batch_first=batch_first)
    x = np.random.default_rng(0).standard_normal((STEPS, BATCH, SIZE)).astype(np.float32)
    return lambda x: layer(x)[0], np.ascontiguousarray(x.transpose(1, 0, 2)) if batch_first else x


# Images --------------------------------------------------------------------------------------------------------------------
def convolution() -> nn.Module:
    return nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)


def normalisation() -> nn.Module:
    """In the mode of training: by the statistics of the batch."""
    return nn.BatchNorm2d(CHANNELS)


def block() -> nn.Module:
    both = lambda: [convolution(), normalisation(), nn.ReLU()]
    return nn.Sequential(*both(), *both())


def images(make: Callable[[], nn.Module], channels_last: bool) -> tuple[Callable[[Tensor], Tensor], np.ndarray]:
    """The module for images [n, h, w, c] or [n, c, h, w]; `mlc.nn` has the second, and the compiler cancels transposes."""
    nn.seed(0)
    net = make().train()
    parameters, buffers = net.values()
    x = np.random.default_rng(0).standard_normal((IMAGES, CHANNELS, PIXELS, PIXELS)).astype(np.float32)

    def run(x: Tensor) -> Tensor:
        y, _ = nn.functional_call(net, parameters, buffers, x.transpose(0, 3, 1, 2) if channels_last else x)
        return y.transpose(0, 2, 3, 1) if channels_last else y

    return run, np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if channels_last else x


# -------------------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Layout:
    """A function, its input, and options of its compilation."""

    name: str
    function: Callable[[Tensor], Tensor]
    x: np.ndarray
    options: dict[str, Any]


def layouts() -> list[Layout]:
    found = [Layout("LSTM, time-major", *lstm(False), {}), Layout("LSTM, batch-major", *lstm(True), {})]
    for name, make in (("convolution", convolution), ("batch normalisation", normalisation), ("two of both", block)):
        found.append(Layout(f"{name}, NCHW", *images(make, False), {"disable_passes": NCHW, "settings": DIRECT}))
        if make is not normalisation:
            found.append(Layout(f"{name}, NCHW, layout selected", *images(make, False), {"settings": DIRECT}))
        found.append(Layout(f"{name}, NHWC", *images(make, True), {"settings": DIRECT}))
    return found


@dataclass(frozen=True)
class Row:
    """Milliseconds of processor time, calls of kernels, and those of them that copy and compute nothing, with what they say."""

    name: str
    milliseconds: float
    kernels: int
    copies: list[str]


def measure(given: list[Layout], rounds: int) -> list[Row]:
    """The best of some rounds, in which each has its turn, on one thread."""
    compiled = [mlc.jit(each.function, threads=1, **each.options).trace(each.x).lower().compile() for each in given]
    best = [float("inf")] * len(given)
    for _ in range(rounds):
        for number, (run, each) in enumerate(zip(compiled, given, strict=True)):
            for _ in range(3):
                start = time.thread_time()
                run(each.x)
                best[number] = min(best[number], time.thread_time() - start)
    return [Row(each.name, t * 1e3, *calls(run.executable)) for each, t, run in zip(given, best, compiled, strict=True)]


def calls(exe: mlc.Executable) -> tuple[int, list[str]]:
    """How many calls of kernels, and what those copy that compute nothing."""
    every = [call for kernel in exe.report["kernels"] for call in kernel["calls"]]
    lines = [line for call in every if int(call["flops"]) == 0 for line in call["copies"]]
    return len(every), [re.sub(r"[^ ]*/(?=\w+\.py:)", "", line) for line in lines]


def chosen(channels_last: bool) -> str:
    """What layout selection makes of two convolutions with all that stands between them: their axes, and the transposes that are left."""
    function, x = images(block, channels_last)
    text = mlc.jit(function, settings=DIRECT).trace(x).lower().as_text("fold")
    lines = [line.strip() for line in text.splitlines() if re.search(r"graph\.(convolution|transpose)", line)]
    return "\n".join(re.sub(r" \{.*?\} :", " :", line) for line in lines)


def table(rounds: int) -> list[Row]:
    rows = measure(layouts(), rounds)
    print(f"{'':<35} {'ms':>8} {'kernels':>8} {'copies':>7}")
    for row in rows:
        print(f"{row.name:<35} {row.milliseconds:8.3f} {row.kernels:8} {len(row.copies):7}")
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args(arguments)
    table(args.rounds)


if __name__ == "__main__":
    main()
