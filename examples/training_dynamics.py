"""How training moves: optimisers in a narrow valley, norms through fifty layers, and what weight decay is.

    python examples/training_dynamics.py

1. Steps that gradient descent, momentum, Nesterov's method and Adam take down a quadratic with a condition number of 100, and the one step of Newton's method.
2. Norms of activations and gradients through 50 layers with ReLU, by the variance of the weights: 1/n vanishes, 2/n keeps, 3/n explodes.
3. Weight decay, w - lr lambda w in each step, is a penalty lambda/2 |w|^2 for gradient descent; for Adam, which divides by the size of the gradient, it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import mlc
import mlc.numpy as mnp
from mlc import Tensor
from mlc.optim import SGD, Adam, AdamW, Optimizer

CURVATURES = np.array([1.0, 100.0])
START = np.array([1.0, 1.0])


# 1. A narrow valley ----------------------------------------------------------------------------------------------------
def valley(w: Tensor) -> Tensor:
    """1/2 (w0^2 + 100 w1^2): 0 at 0, a hundred times steeper across than along."""
    return 0.5 * (CURVATURES * w * w).sum()


def methods() -> dict[str, Optimizer]:
    """Each with the rate that the theory gives it for curvatures from m = 1 to L = 100; Adam's is found by trying."""
    m, most = np.sqrt(CURVATURES)
    beta = (most - m) / (most + m)
    return {
        "gradient descent": SGD(2 / (m**2 + most**2)),
        "momentum": SGD(4 / (most + m) ** 2, momentum=beta**2),
        "Nesterov": SGD(1 / most**2, momentum=beta, nesterov=True),
        "Adam": Adam(0.1),
    }


def steps_to(method: Optimizer, target: float = 1e-8, most: int = 5000) -> int:
    """How many steps until f is below the target for good; a loop of compiled code takes them all."""

    @mlc.jit
    def descend(w: Tensor) -> Tensor:
        def step(carried: Any, _: None) -> Any:
            w, state = carried
            w, state = method.update(mlc.grad(valley)(w), state, w)
            return (w, state), valley(w)

        return mlc.scan(step, (w, method.init(w)), None, length=most)[1]

    above = np.flatnonzero(np.asarray(descend(START)) >= target)
    return int(above[-1]) + 2 if len(above) else 1


def newton_step(w: np.ndarray) -> np.ndarray:
    """Where the quadratic that f looks like at w has its minimum."""
    return w - np.linalg.solve(np.asarray(mlc.hessian(valley)(w)), np.asarray(mlc.grad(valley)(w)))


# 2. Fifty layers -------------------------------------------------------------------------------------------------------
def norms(variance: float, layers: int = 50, n: int = 256, rows: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Root mean squares through the layers, behind each: of the activations, and of the gradient by them when a random one comes in from the top. Weights are normal
    with a variance of `variance` / n."""
    random = np.random.default_rng(0)
    weights = random.standard_normal((layers, n, n)) * (variance / n) ** 0.5
    x, top = random.standard_normal((rows, n)), random.standard_normal((rows, n))

    def activations(bumps: Tensor, weights: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """(the last, all); a bump of zeros at each: the gradient by it is that by the activation."""

        def layer(x: Tensor, each: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            w, bump = each
            x = mnp.maximum(x @ w, 0) + bump
            return x, x

        return mlc.scan(layer, x, (weights, bumps))

    @mlc.jit
    def both(weights: Tensor, x: Tensor, top: Tensor) -> tuple[Tensor, Tensor]:
        def loss(bumps: Tensor) -> tuple[Tensor, Tensor]:
            last, every = activations(bumps, weights, x)
            return (last * top).sum(), every

        slopes, every = mlc.grad(loss, has_aux=True)(mnp.zeros((layers, rows, n), "f64"))
        return _size(every), _size(slopes)

    found, slopes = both(weights, x, top)
    return np.asarray(found), np.asarray(slopes)


def _size(x: Tensor) -> Tensor:
    return mnp.sqrt((x * x).mean(axis=(1, 2)))


# 3. Weight decay --------------------------------------------------------------------------------------------------------
def decayed(decay: float = 0.5, steps: int = 30) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(weights with decay, weights with the penalty) after some steps down the valley shifted to (1, 1), by method."""

    def shifted(w: Tensor) -> Tensor:
        return valley(w - 1)

    def penalised(w: Tensor) -> Tensor:
        return shifted(w) + decay / 2 * (w * w).sum()

    rate = 1e-2
    pairs: dict[str, Sequence[tuple[Any, Any]]] = {
        "gradient descent": [(SGD(rate, weight_decay=decay), shifted), (SGD(rate), penalised)],
        "Adam": [(AdamW(rate, weight_decay=decay), shifted), (Adam(rate), penalised)],
    }
    return {name: tuple(_after(*pair, steps) for pair in both) for name, both in pairs.items()}


def _after(method: Optimizer, f: Any, steps: int) -> np.ndarray:
    w = mnp.asarray(np.array([3.0, 2.0]))
    state = method.init(w)
    for _ in range(steps):
        w, state = method.update(mlc.grad(f)(w), state, w)
    return np.asarray(w)


# ------------------------------------------------------------------------------------------------------------------------
def table_of_steps() -> None:
    for name, method in methods().items():
        print(f"{name:17} {steps_to(method):5} steps")
    print(f"{'Newton':17} {1:5} step, to {newton_step(START).tolist()}")


def table_of_norms() -> None:
    print(f"{'variance':>8} {'activations, layer 1':>21} {'50':>8} {'gradients, layer 50':>20} {'1':>8}")
    for variance in (1, 2, 3):
        found, slopes = norms(variance)
        print(f"{variance:6}/n {found[0]:21.1e} {found[-1]:8.1e} {slopes[-1]:20.1e} {slopes[0]:8.1e}")


def table_of_decay() -> None:
    for name, (decay, penalty) in decayed().items():
        print(f"{name:17} decay {decay.round(6).tolist()}, penalty {penalty.round(6).tolist()}")


def main() -> None:
    table_of_steps()
    table_of_norms()
    table_of_decay()


if __name__ == "__main__":
    main()
