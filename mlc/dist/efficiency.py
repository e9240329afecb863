"""How well data parallel training will scale, predicted: no rank runs.

A step is a forward pass of a third of its time and a backward pass of two thirds, in which gradients become final layer by layer. A bucket is sent
when it is full, one at a time, and the step ends with the last one. A sum over n ranks of s bytes takes the less of a ring and a tree,

    2 (n - 1) (latency + s / n / bandwidth)          2 log2(n) latency + 2 s / bandwidth

(the alpha-beta model; Thakur, Rabenseifner, Gropp 2005), and all wait for the slowest of n ranks, whose times differ by a hundredth.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from mlc.errors import MlcError
from mlc.ir import dims
from mlc.ir.graph.base import GraphOp
from mlc.ir.graph.constants import WeightOp
from mlc.ir.graph.views import is_view
from mlc.ir.module import Module
from mlc.ir.types import is_float

JITTER = 0.01  # by how much of a step the ranks differ
USABLE = 0.88  # of a network's rate, as protocols leave it
FAST, SLOW = 3e-6, 30e-6  # seconds of latency: where networks have transports of their own, and of TCP
FAST_FROM = 40  # Gbit/s of a port from which the former is assumed


@dataclass(frozen=True)
class Network:
    """Between ranks: seconds that a message takes beside its bytes, and bytes per second."""

    latency: float
    bandwidth: float

    @classmethod
    def of(cls, text: str) -> Network:
        """From "100Gb" per second, or "4x200Gb" over several ports. Raises MlcError."""
        match = re.fullmatch(r"(?:(\d+)x)?(\d+(?:\.\d+)?)\s*gb", text.strip(), re.IGNORECASE)
        if match is None or not float(match[2]) or match[1] == "0":
            raise MlcError(f"{text!r} is no network", remedy="Write its bits per second: 10Gb, 100Gb, 4x200Gb.")
        ports, gigabits = int(match[1] or 1), float(match[2])
        return cls(FAST if gigabits >= FAST_FROM else SLOW, ports * gigabits * 1e9 / 8 * USABLE)

    def sum_seconds(self, bytes: float, ranks: int) -> float:
        if ranks == 1:
            return 0.0
        ring = 2 * (ranks - 1) * (self.latency + bytes / ranks / self.bandwidth)
        tree = 2 * math.ceil(math.log2(ranks)) * self.latency + 2 * bytes / self.bandwidth
        return min(ring, tree)


@dataclass(frozen=True)
class Stage:
    """A part of the backward pass: its share of that time, and the bytes of gradients that are final behind it."""

    share: float
    bytes: int


def backward_stages(module: Module, sizes: dict[str, int]) -> list[Stage]:
    """Of a model's graph at these sizes, in the order in which a backward pass goes: the gradient of a weight is final behind the first op that
    reads it. Gradients are of 4 bytes."""
    ops = [op for op in module.main.body.block.ops if isinstance(op, GraphOp)]
    first: dict[str, int] = {}
    keys: dict[object, str] = {}  # of weights and what only shows them
    for number, op in enumerate(ops):
        if isinstance(op, WeightOp):
            keys[op.result] = op.weight_key
        elif is_view(op) and op.operands and op.operands[0] in keys:
            keys[op.results[0]] = keys[op.operands[0]]
        else:
            for x in op.operands:
                if x in keys:
                    first.setdefault(keys[x], number)
    work = [dims.evaluate(dims.ceiling(op.flops, module.counted), sizes) for op in ops]
    total = sum(work) or 1
    made = [0] * len(ops)
    for key, number in first.items():
        shape, dtype = module.weights.type_of(key)
        if is_float(dtype) and shape:
            made[number] += 4 * math.prod(e for e in shape if isinstance(e, int))
    return [Stage(w / total, b) for w, b in zip(reversed(work), reversed(made), strict=True) if w or b]


def step_seconds(
    stages: Sequence[Stage], compute: float, network: Network, ranks: int, bucket: float, overlap: bool = True
) -> float:
    """Of a step that takes `compute` seconds alone."""
    if ranks > 1:
        compute *= 1 + JITTER * math.sqrt(2 * math.log(ranks))
    if not overlap:
        return compute + network.sum_seconds(sum(stage.bytes for stage in stages), ranks)
    clock, waiting, free = compute / 3, 0.0, 0.0  # free: when the network is
    for stage in stages:
        begin, clock = clock, clock + stage.share * compute * 2 / 3
        left = float(stage.bytes)
        while left and waiting + left >= bucket:  # gradients appear evenly over the time of their stage
            used = bucket - waiting
            begin += (clock - begin) * used / left
            left, waiting = left - used, 0.0
            free = max(free, begin) + network.sum_seconds(bucket, ranks)
        waiting += left
    if waiting:
        free = max(free, clock) + network.sum_seconds(waiting, ranks)
    return max(compute, free)


@dataclass(frozen=True)
class Prediction:
    """Shares of the ideal rate that so many ranks reach: with one sum at the end, and with buckets of the best of some sizes."""

    ranks: int
    at_the_end: float
    overlapped: float
    bucket: int


BUCKETS = tuple((1 << power) for power in range(18, 27))  # 256 KiB to 64 MiB


def predictions(
    stages: Sequence[Stage], compute: float, network: Network, ranks: Sequence[int], buckets: Sequence[int] = BUCKETS
) -> list[Prediction]:
    found = []
    for count in ranks:
        last = step_seconds(stages, compute, network, count, 1, overlap=False)
        best, bucket = min((step_seconds(stages, compute, network, count, size), size) for size in buckets)
        found.append(Prediction(count, compute / last, compute / best, bucket))
    return found
