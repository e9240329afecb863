"""What a gradient costs: the Helmholtz free energy of a mixture of n substances, and its gradient in three ways.

    python examples/helmholtz.py                       n = 1, 8, 15, ..., 50
    python examples/helmholtz.py --sizes 1 50 --rounds 500

    f(x) = sum_i x_i ln(x_i / (1 - b.x)) - x'A x / (sqrt(8) b.x) ln((1 + (1 + sqrt 2) b.x) / (1 + (1 - sqrt 2) b.x))

One call evaluates 1,000 points, since a call from Python costs more than f. Times are relative to that of f. Reverse mode computes the gradient in a small
multiple of it, whatever n is; forward mode and differences need one more evaluation for each x_i.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

import mlc
import mlc.numpy as mnp
from mlc import Tensor

POINTS = 1000
ROOT2 = 2**0.5


def free_energy(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """f of every point x [points, n], with a [n, n] and b [n]."""
    bx = x @ b
    mixing = (x * mnp.log(x / (1 - bx)[:, None])).sum(axis=1)
    attraction = ((x @ a) * x).sum(axis=1) / (8**0.5 * bx)
    return mixing - attraction * mnp.log((1 + (1 + ROOT2) * bx) / (1 + (1 - ROOT2) * bx))


def reverse(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The gradients [points, n]: points do not know of each other, so that the gradient of the sum has all of them."""
    return mlc.grad(lambda x: free_energy(x, a, b).sum())(x)


def forward(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The gradients [n, points], one direction after another."""

    def along(_: None, direction: Tensor) -> tuple[None, Tensor]:
        return None, mlc.jvp(lambda x: free_energy(x, a, b), (x,), (mnp.broadcast_to(direction, x.shape),))[1]

    return mlc.scan(along, None, mnp.eye(x.shape[1], dtype=x.dtype))[1]


def differences(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Forward differences [n, points]."""
    h = 1e-7
    at_x = free_energy(x, a, b)

    def along(_: None, direction: Tensor) -> tuple[None, Tensor]:
        return None, (free_energy(x + h * direction, a, b) - at_x) / h

    return mlc.scan(along, None, mnp.eye(x.shape[1], dtype=x.dtype))[1]


def problem(n: int, points: int = POINTS) -> tuple[np.ndarray, ...]:
    """Points with b.x well below 1, where f is smooth; a symmetric."""
    random = np.random.default_rng(n)
    x = random.uniform(0.1, 1, size=(points, n)) / n
    a = random.uniform(0.5, 1.5, size=(n, n))
    return x, (a + a.T) / 2, random.uniform(0.1, 0.5, size=n)


def ops(function: Callable[..., Tensor], n: int) -> int:
    """How many ops compute something in the graph, those of loops' bodies counted once."""
    module = mlc.jit(function).trace(*problem(n)).module
    silent = ("graph.constant", "graph.broadcast", "graph.reshape", "graph.yield", "func.return", "func.func")
    return sum(op.name not in silent for op in module.main.body.walk())


@dataclass(frozen=True)
class Cost:
    """Milliseconds of f for all points, and the times of the gradients in multiples of it."""

    n: int
    f: float
    reverse: float
    forward: float
    differences: float


def cost(n: int, rounds: int = 20) -> Cost:
    """The best of some rounds, in which each function has its turn."""
    arguments = problem(n)
    compiled = [mlc.jit(f) for f in (free_energy, reverse, forward, differences)]
    best = [float("inf")] * len(compiled)
    for function in compiled:
        function(*arguments)  # compiles
    for _ in range(rounds):
        for k, function in enumerate(compiled):
            start = time.perf_counter()
            function(*arguments)
            best[k] = min(best[k], time.perf_counter() - start)
    return Cost(n, best[0] * 1e3, *(t / best[0] for t in best[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(range(1, 51, 7)))
    parser.add_argument("--rounds", type=int, default=100)
    args = parser.parse_args()
    table(args.sizes, args.rounds)


def table(sizes: Sequence[int], rounds: int) -> None:
    print(f"{'n':>3} {'ops of f':>8} {'reverse':>8} {'f, ms':>7} {'reverse':>8} {'forward':>8} {'differences':>12}")
    for n in sizes:
        c = cost(n, rounds)
        counts = f"{n:3} {ops(free_energy, n):8} {ops(reverse, n):8}"
        print(f"{counts} {c.f:7.3f} {c.reverse:8.1f} {c.forward:8.1f} {c.differences:12.1f}", flush=True)


if __name__ == "__main__":
    main()
