"""Both gradients of convolutions, and the convolutions, beside PyTorch's on the CPU, in one process and by turns.

    python -m benchmarks.convolution_gradients                       the table below benchmarks/results/<cpu>
    python -m benchmarks.convolution_gradients --only depthwise --threads 1

Activations lie channels last. PyTorch has them channels last and channels first, and the faster one counts. A turn calls each side once, and
before a time counts both sides are checked against each other. On one thread the table has medians of what the thread computed, which other
processes hardly change; on more the shortest calls. On a machine with more processes than cores (see the load) PyTorch's threads wait for each
other, and ratios on several threads say that rather than how fast kernels are.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np

import mlc
from benchmarks.run import RESULTS, machine, markdown
from mlc.ir import builder as g
from mlc.ir.graph.convolution import ConvolutionOp
from mlc.ir.module import Module
from mlc.runtime.executable import Executable

Kind = Literal["forward", "by x", "by weight"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Layer:
    """A square image and window; padding is half of the window."""

    height: int
    inputs: int
    outputs: int
    window: int
    stride: int = 1
    groups: int = 1
    batch: int = 8

    def __str__(self) -> str:
        text = (
            f"{self.batch} x {self.height}x{self.height}x{self.inputs} -> {self.outputs}, {self.window}x{self.window}"
        )
        text += f", stride {self.stride}" if self.stride > 1 else ""
        return text + (", depthwise" if self.depthwise else f", {self.groups} groups" if self.groups > 1 else "")

    @property
    def depthwise(self) -> bool:
        return self.groups == self.inputs

    @property
    def positions(self) -> int:
        return (self.height + 2 * (self.window // 2) - self.window) // self.stride + 1

    @property
    def flops(self) -> int:
        return 2 * self.batch * self.positions**2 * self.outputs * self.inputs // self.groups * self.window**2

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, weight and what the gradients are given, channels last."""
        rng = np.random.default_rng(0)
        shapes = (
            (self.batch, self.height, self.height, self.inputs),
            (self.window, self.window, self.inputs // self.groups, self.outputs),
            (self.batch, self.positions, self.positions, self.outputs),
        )
        return tuple(rng.standard_normal(shape, dtype=np.float32) for shape in shapes)  # type: ignore[return-value]


LAYERS = (
    Layer(56, 64, 64, 3), Layer(28, 128, 128, 3), Layer(14, 256, 256, 3), Layer(7, 512, 512, 3),
    Layer(56, 64, 128, 3, 2), Layer(28, 128, 256, 3, 2), Layer(14, 256, 512, 3, 2),
    Layer(56, 64, 256, 1), Layer(14, 1024, 256, 1), Layer(56, 64, 128, 1, 2), Layer(28, 128, 256, 1, 2),
    Layer(112, 3, 64, 7, 2), Layer(56, 96, 96, 3, groups=96), Layer(56, 96, 96, 3, 2, 96), Layer(14, 384, 384, 3, groups=384),
    Layer(28, 128, 128, 3, groups=4), Layer(28, 128, 128, 3, groups=32),
)  # fmt: skip


def module_of(layer: Layer, kind: Kind) -> Module:
    m = g.module_builder("convolution")
    x, w, c = layer.arrays()
    given = {"x": x, "w": w, "c": c}
    names = {"forward": "xw", "by x": "cw", "by weight": "xc"}[kind]
    with m.function(inputs=[(name, given[name].shape, "f32") for name in names]) as values:
        known = dict(zip(names, values, strict=True))
        padding = [(layer.window // 2,) * 2] * 2
        operands = [known.get(name) or g.full(given[name].shape, 0, "f32") for name in "xw"]
        y = g.convolution(
            operands[0], operands[1], "n01c,01co->n01o", [layer.stride] * 2, padding, groups=layer.groups  # type: ignore[arg-type]
        )  # fmt: skip
        if kind != "forward":
            made = next(op for op in values[0].owner.ops if isinstance(op, ConvolutionOp))  # type: ignore[union-attr]
            cotangent = g.reshape(known["c"], g.shape_of(made.result))
            y = made.gradient_of_x(cotangent) if kind == "by x" else made.gradient_of_weight(cotangent)
            y = g.reshape(y, x.shape if kind == "by x" else w.shape)
        m.outputs([("y", y)])
    return m.finish()


@dataclass
class Case:
    layer: Layer
    kind: Kind
    threads: int
    ours: list[float] = field(default_factory=list)
    torch: dict[str, list[float]] = field(default_factory=dict)

    def time(self, calls: list[float]) -> float:
        """The seconds that count."""
        return statistics.median(calls) if self.threads == 1 else min(calls)

    @property
    def mine(self) -> float:
        return self.time(self.ours)

    @property
    def peer(self) -> float:
        return min(map(self.time, self.torch.values()))


def sides(case: Case) -> tuple[Executable, list[np.ndarray], dict[str, Callable[[], object]]]:
    """Our executable and its inputs, and PyTorch's call for either order of axes; all checked to agree."""
    import torch

    layer, kind = case.layer, case.kind
    executable = mlc.compile(module_of(layer, kind), threads=case.threads)
    assert isinstance(executable, Executable)
    x, w, c = layer.arrays()
    inputs = {"forward": [x, w], "by x": [c, w], "by weight": [x, c]}[kind]
    found = executable(*inputs)
    peers: dict[str, Callable[[], object]] = {}
    for order in (torch.channels_last, torch.contiguous_format):
        image = lambda a, order=order: torch.from_numpy(a).permute(0, 3, 1, 2).contiguous(memory_format=order)
        tx, tc = image(x), image(c)
        tw = torch.from_numpy(w).permute(3, 2, 0, 1).contiguous(memory_format=order)
        padding = [layer.window // 2] * 2

        def call(tx=tx, tw=tw, tc=tc, padding=padding) -> object:  # type: ignore[no-untyped-def]
            if kind == "forward":
                return torch.nn.functional.conv2d(tx, tw, None, layer.stride, padding, 1, layer.groups)
            mask = [kind == "by x", kind == "by weight", False]
            backward = torch.ops.aten.convolution_backward
            made = backward(
                tc, tx, tw, None, [layer.stride] * 2, padding, [1, 1], False, [0, 0], layer.groups, mask
            )  # fmt: skip
            return made[mask.index(True)]

        exact = call().permute(*((2, 3, 1, 0) if kind == "by weight" else (0, 2, 3, 1))).numpy()  # type: ignore[attr-defined]
        scale = np.abs(exact).max()
        if not np.allclose(found, exact, rtol=1e-3, atol=1e-4 * scale):
            raise SystemExit(
                f"{layer}, {kind}: differs from PyTorch by {np.abs(found - exact).max():.2g} of {scale:.2g}"
            )
        peers[str(order).removeprefix("torch.")] = call
    return executable, inputs, peers


def measure(case: Case, seconds: float) -> None:
    import torch

    torch.set_num_threads(case.threads)
    executable, inputs, peers = sides(case)
    turns = 0
    clock = time.thread_time if case.threads == 1 else time.perf_counter
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or turns < 5:
        start = clock()
        executable(*inputs)
        case.ours.append(clock() - start)
        for name, call in peers.items():
            start = clock()
            call()
            case.torch.setdefault(name, []).append(clock() - start)
        turns += 1


def table(cases: list[Case], threads: list[int]) -> str:
    heads = ["layer", "", *(f"{text}, {n} T" for n in threads for text in ("GFLOP/s", "PyTorch", "ratio"))]
    by_name = {(case.layer, case.kind, case.threads): case for case in cases}
    lines = []
    for layer, kind in dict.fromkeys((case.layer, case.kind) for case in cases):
        line = [str(layer), kind]
        for count in threads:
            case = by_name[layer, kind, count]
            line += [f"{layer.flops / t / 1e9:.1f}" for t in (case.mine, case.peer)]
            line.append(f"{case.peer / case.mine:.2f}")
        lines.append(line)
    return markdown(heads, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="part of the name of layers")
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each layer, gradient and number of threads")
    parser.add_argument(
        "--out", type=Path, default=RESULTS / "convolution_gradients.md", help="where to write the table"
    )
    args = parser.parse_args()
    cases = []
    for layer in (layer for layer in LAYERS if args.only in str(layer)):
        for kind in args.kind:
            for threads in args.threads:
                case = Case(layer, kind, threads)
                measure(case, args.seconds)
                cases.append(case)
                print(f"{layer}, {kind}, {threads} T: {case.peer / case.mine:.2f}", flush=True)
    text = f"{machine()}; load {os.getloadavg()[0]:.1f}. Ratios above 1: faster than PyTorch.\n\n"
    text += table(cases, args.threads)
    print(text)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text)


if __name__ == "__main__":
    main()
