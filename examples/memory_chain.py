"""Memory of a chain of N layers: what is planned, what is measured, and what it is for.

    python examples/memory_chain.py                    N = 4, 16, 36, 64
    python examples/memory_chain.py --layers 16 --rows 8192

A layer is x -> tanh(x W) of 4,096 rows and 64 columns: an activation takes 1 MiB, a weight 16 KiB. Inference needs two activations at a time. A step of training keeps
all N until the way back has read them. With a checkpoint every sqrt(N) layers it keeps about 2 sqrt(N), and computes the others a second time.
"""

from __future__ import annotations

import argparse
import gc
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from math import isqrt
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import mlc
import mlc.numpy as mnp
from mlc import Tensor
from mlc.ir.types import numpy_dtype

ROWS, COLUMNS = 4096, 64
KINDS = ("inference", "training", "checkpoints")


def chain(weights: list[Tensor], x: Tensor) -> Tensor:
    for w in weights:
        x = mnp.tanh(x @ w)
    return x


def checkpointed(weights: list[Tensor], x: Tensor) -> Tensor:
    """The same; of every run of sqrt(N) layers only what goes in is kept."""
    run = isqrt(len(weights))
    for start in range(0, len(weights), run):
        x = mlc.checkpoint(chain)(weights[start : start + run], x)
    return x


def loss(y: Tensor) -> Tensor:
    return (y * y).mean()


@dataclass(frozen=True)
class Memory:
    """Bytes: what stays between calls, by what it is; of one call, what the plan has for activations and for gradients of weights where most is alive, all that
    it plans, and by how much the process grew. `work` are operations, in those of one forward pass."""

    kind: str
    layers: int
    weights: int
    optimizer: int
    activations: int
    gradients: int
    planned: int
    measured: int
    work: float


def memory(kind: str, layers: int, rows: int = ROWS) -> Memory:
    random = np.random.default_rng(0)
    weights = [random.standard_normal((COLUMNS, COLUMNS)).astype(np.float32) / COLUMNS**0.5 for _ in range(layers)]
    x = mlc.TensorSpec((rows, COLUMNS), "f32")
    if kind == "inference":
        kept, module = 0, mlc.jit(lambda weights, x: loss(chain(weights, x))).trace(weights, x).module
    else:
        model = {"training": chain, "checkpoints": checkpointed}[kind]
        step = mlc.train_step(lambda weights, x: loss(model(weights, x)), None, mlc.optim.Adam(lr=1e-3), weights)
        kept, module = bytes_of(step.optimizer_state), step.trace(x)
    exe = mlc.compile(module, threads=1)
    use = exe.memory_analysis()
    activation, weight = 4 * rows * COLUMNS, 4 * COLUMNS * COLUMNS
    at = exe.plan.steps[use.step].at if use.step is not None else 0
    alive = [int(life.bytes) for life in exe.plan.buffers if life.first <= at <= life.last]
    flops = sum(int(call["flops"]) for kernel in exe.report["kernels"] for call in kernel["calls"])
    return Memory(
        kind,
        layers,
        bytes_of(weights),
        kept,
        sum(size for size in alive if size >= activation),
        sum(size for size in alive if weight <= size < activation),
        use.call,
        grown(exe),
        flops / (2 * layers * rows * COLUMNS**2),
    )


def bytes_of(tree: Any) -> int:
    return sum(np.asarray(leaf).nbytes for leaf in mlc.tree.leaves(tree))


def grown(exe: mlc.Executable) -> int:
    """By how many bytes the process grows at most in a first call. Linux says so."""
    arrays = [np.ones(spec.shape, numpy_dtype(spec.dtype)) for spec in exe.plan.inputs]
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the largest size from now on
    before = status("VmRSS")
    exe(*arrays)
    return status("VmHWM") - before


def status(key: str) -> int:
    rows = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(rows[key].split()[0]) << 10


def table(layers: list[int], rows: int = ROWS) -> list[Memory]:
    mib, found = 1 << 20, []
    unit = 4 * rows * COLUMNS
    print(f"MiB; an activation takes {unit / mib:.3g}")
    print(
        f"{'N':>3} {'':<12} {'weights':>8} {'optimiser':>9} {'gradients':>9} {'activations':>11} {'planned':>8} {'measured':>8} {'work':>5}"
    )
    cases = [(kind, n, rows) for n in layers for kind in KINDS]
    with ProcessPoolExecutor(
        1, get_context("spawn"), max_tasks_per_child=1
    ) as apart:  # memory is free of what was before
        for m in apart.map(memory, *zip(*cases, strict=True)):
            figures = (
                f"{m.weights / mib:8.2f} {m.optimizer / mib:9.2f} {m.gradients / mib:9.2f} {m.activations / mib:11.2f}"
            )
            print(
                f"{m.layers:3} {m.kind:<12} {figures} {m.planned / mib:8.2f} {m.measured / mib:8.2f} {m.work:5.2f}",
                flush=True,
            )
            found.append(m)
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, nargs="+", default=[4, 16, 36, 64])
    parser.add_argument("--rows", type=int, default=ROWS)
    args = parser.parse_args(arguments)
    if min(args.layers) < 1 or args.rows < 2 * COLUMNS:
        parser.error(
            f"a layer at least, and {2 * COLUMNS} rows, so that activations and gradients are told apart by their size"
        )
    table(args.layers, args.rows)


if __name__ == "__main__":
    main()
