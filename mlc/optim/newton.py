"""Newton's method by products of the Hessian with vectors: its diagonal estimated, or its equations solved by conjugate gradients.

`update` of these takes the function v -> H v behind the parameters, v and H v pytrees like them; a training step gives them that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import mlc.numpy as mnp
from mlc import random
from mlc.errors import MlcError
from mlc.frontends.trace.pytree import flatten, tree_map
from mlc.frontends.trace.tensor import Tensor
from mlc.frontends.trace.tracing import user_line
from mlc.optim.descent import averaged, unbias
from mlc.optim.update_rule import Hessian, Number, Optimizer, Rate, Slots, require, share, widened


class DiagonalNewton(Optimizer):
    """p - lr * g / max(|d|, floor), where d estimates the diagonal of the Hessian: the running mean, without its bias, of v * (H v) for random
    signs v (Bekas, Kokiopoulou and Saad 2007). For a diagonal Hessian each of these is exact.

    floor    the least curvature: directions in which the loss is flat, or curved the other way, take steps of at most lr * g / floor
    samples  products with the Hessian per update
    seed     of the signs, which are other ones in each update
    """

    slots = ("curvature",)
    curved: ClassVar[bool] = True

    def __init__(self, lr: Rate = 0.1, beta: float = 0.99, floor: float = 1e-2, samples: int = 1, seed: int = 0):
        super().__init__(lr)
        require("samples", samples, samples >= 1, "at least 1")
        require("floor", floor, floor > 0, "above 0")
        self.beta, self.floor, self.samples, self.seed = share("beta", beta), floor, samples, seed

    def update(
        self, grads: Any, state: Mapping[str, Any], params: Any, hessian: Hessian | None = None
    ) -> tuple[Any, dict[str, Any]]:
        hessian = _given(self, hessian)
        key = random.fold_in(random.key(self.seed), state["step"])
        pairs = [self._sample(random.fold_in(key, n), params, hessian) for n in range(self.samples)]
        found = tree_map(lambda first, *more: sum(more, first) / self.samples, *pairs)
        curvature = tree_map(lambda mean, d: averaged(mean, d, self.beta), state["curvature"], found)
        return super().update(grads, {**state, "curvature": curvature}, params)

    def _sample(self, key: Tensor, params: Any, hessian: Hessian) -> Any:
        leaves, tree = flatten(params)
        signs = [
            mnp.where(random.bernoulli(key, 0.5, p.shape, stream=n), mnp.ones_like(p), -1)
            for n, p in enumerate(map(mnp.asarray, leaves))
        ]
        return tree_map(lambda v, product: v * product, tree.unflatten(signs), hessian(tree.unflatten(signs)))

    def numbers(self, step: Tensor, shared: Mapping[str, Tensor]) -> dict[str, Number]:
        return {"lr": self.rate(step), "bias": unbias(self.beta, step)}

    def rule(self, p: Tensor, g: Tensor, kept: Slots, now: Mapping[str, Any]) -> tuple[Tensor, Slots]:
        curvature = mnp.maximum(abs(kept["curvature"]) / now["bias"], self.floor)
        return p - now["lr"] * g / curvature, kept


class NewtonCG(Optimizer):
    """p - lr * d, where (H + damping) d = g is solved by at most `iterations` steps of conjugate gradients (Nocedal and Wright 2006, algorithm 7.1):
    they end where the residual is a share `tolerance` of g, and at a direction of no or negative curvature, which in the first step leaves d = g."""

    curved: ClassVar[bool] = True

    def __init__(self, lr: Rate = 1.0, iterations: int = 5, damping: float = 0.0, tolerance: float = 1e-6):
        super().__init__(lr)
        require("iterations", iterations, iterations >= 1, "at least 1")
        require("damping", damping, damping >= 0, "at least 0")
        self.iterations, self.damping, self.tolerance = iterations, damping, tolerance

    def update(
        self, grads: Any, state: Mapping[str, Any], params: Any, hessian: Hessian | None = None
    ) -> tuple[Any, dict[str, Any]]:
        return super().update(self._solved(grads, _given(self, hessian)), state, params)

    def _solved(self, g: Any, hessian: Hessian) -> Any:
        found, residual, direction = tree_map(mnp.zeros_like, g), g, g
        square = start = _product(g, g)
        going = start > 0
        for number in range(self.iterations):
            turned = hessian(direction)
            if self.damping:
                turned = tree_map(lambda h, v: h + self.damping * v, turned, direction)
            curvature = _product(direction, turned)
            if number == 0:
                found = tree_map(lambda v, flat=going & (curvature <= 0): mnp.where(flat, v, mnp.zeros_like(v)), g)
            going = going & (curvature > 0)
            length = mnp.where(going, square / mnp.where(going, curvature, 1), 0)
            found = _moved(found, length, direction)
            residual = _moved(residual, -length, turned)
            before, square = square, _product(residual, residual)
            going = going & (square > self.tolerance**2 * start)
            direction = _moved(residual, mnp.where(going, square / mnp.where(before > 0, before, 1), 0), direction)
        return found

    def rule(self, p: Tensor, g: Tensor, kept: Slots, now: Mapping[str, Any]) -> tuple[Tensor, Slots]:
        return p - now["lr"] * g, {}


def _given(optimizer: Optimizer, hessian: Hessian | None) -> Hessian:
    if hessian is None:
        raise MlcError(
            f"{type(optimizer).__name__} needs products with the Hessian",
            file=user_line(),
            remedy="mlc.train_step gives it them; update(grads, state, params, hessian) takes the function v -> H v.",
        )
    return hessian


def _product(x: Any, y: Any) -> Tensor:
    """The inner product of two pytrees, f64."""
    return sum(
        ((widened(a) * widened(b)).sum().astype("f64") for a, b in zip(flatten(x)[0], flatten(y)[0], strict=True)),
        mnp.zeros((), "f64"),
    )


def _moved(x: Any, length: Tensor, direction: Any) -> Any:
    """x + length * direction."""
    return tree_map(lambda a, b: a + length.astype(a.dtype) * b, x, direction)
