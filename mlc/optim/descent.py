"""Gradient descent, plain and with momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlc.numpy as mnp
from mlc.frontends.trace.pytree import tree_map
from mlc.frontends.trace.tensor import Tensor
from mlc.optim.update_rule import Number, Optimizer, Rate, Slots, count, require, share


class SGD(Optimizer):
    """p - lr * v, where v = momentum * v + (1 - dampening) * g, and the first v is g: torch.optim.SGD.

    nesterov      the step is g + momentum * v
    weight_decay  is added to the gradient, times p
    """

    def __init__(
        self,
        lr: Rate = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ):
        super().__init__(lr)
        self.momentum, self.dampening, self.nesterov = share("momentum", momentum), dampening, nesterov
        require("nesterov", nesterov, not nesterov or (momentum > 0 and dampening == 0), "used with momentum alone")
        self.weight_decay = weight_decay
        if momentum:
            self.slots = ("velocity",)  # type: ignore[misc]  # nothing is kept without momentum

    def numbers(self, step: Tensor, shared: Mapping[str, Tensor]) -> dict[str, Number]:
        found = super().numbers(step, shared)
        if self.momentum and self.dampening:
            found["share"] = mnp.where(step == 0, mnp.asarray(1.0, "f64"), 1.0 - self.dampening)
        return found

    def rule(self, p: Tensor, g: Tensor, kept: Slots, now: Mapping[str, Any]) -> tuple[Tensor, Slots]:
        g = decayed(p, g, self.weight_decay)
        if not self.momentum:
            return p - now["lr"] * g, {}
        velocity = self.momentum * kept["velocity"] + (now["share"] * g if self.dampening else g)
        direction = g + self.momentum * velocity if self.nesterov else velocity
        return p - now["lr"] * direction, {"velocity": velocity}


class Momentum(Optimizer):
    """p - lr * v with the running mean v = beta * v + (1 - beta) * g; `unbiased` divides it by 1 - beta**t, as Adam does (t from 1)."""

    slots = ("mean",)

    def __init__(self, lr: Rate = 1e-3, beta: float = 0.9, unbiased: bool = False, weight_decay: float = 0.0):
        super().__init__(lr)
        self.beta, self.unbiased, self.weight_decay = share("beta", beta), unbiased, weight_decay

    def numbers(self, step: Tensor, shared: Mapping[str, Tensor]) -> dict[str, Number]:
        rate = self.rate(step)
        return {"lr": rate / unbias(self.beta, step) if self.unbiased else rate}

    def rule(self, p: Tensor, g: Tensor, kept: Slots, now: Mapping[str, Any]) -> tuple[Tensor, Slots]:
        mean = averaged(kept["mean"], decayed(p, g, self.weight_decay), self.beta)
        return p - now["lr"] * mean, {"mean": mean}


class Nesterov(Optimizer):
    """Nesterov 1983: v = momentum * v + lr * g, p - v, with the gradient taken at the point ahead, p - momentum * v.

    That point is what a training step differentiates at; who calls `update` takes it from `point(state, params)`. `SGD(nesterov=True)` takes
    the gradient where it is, and is another method.
    """

    slots = ("velocity",)

    def __init__(self, lr: Rate = 1e-3, momentum: float = 0.9, weight_decay: float = 0.0):
        super().__init__(lr)
        self.momentum, self.weight_decay = share("momentum", momentum), weight_decay

    def point(self, state: Mapping[str, Any], params: Any) -> Any:
        return tree_map(lambda p, v: (p - self.momentum * v).astype(mnp.asarray(p).dtype), params, state["velocity"])

    def rule(self, p: Tensor, g: Tensor, kept: Slots, now: Mapping[str, Any]) -> tuple[Tensor, Slots]:
        ahead = p - self.momentum * kept["velocity"]
        velocity = self.momentum * kept["velocity"] + now["lr"] * decayed(ahead, g, self.weight_decay)
        return p - velocity, {"velocity": velocity}


def decayed(p: Tensor, g: Tensor, weight_decay: float) -> Tensor:
    """The gradient of the loss with weight_decay / 2 * |p|^2 added to it."""
    return g + weight_decay * p if weight_decay else g


def averaged(mean: Tensor, x: Tensor, beta: float) -> Tensor:
    """The running mean after one more x."""
    return beta * mean + (1 - beta) * x


def unbias(beta: float, step: Tensor) -> Tensor:
    """1 - beta**t in f64, t counted from 1: what a running mean that began at 0 is too small by."""
    return 1 - power(beta, count(step))


def power(base: float, exponent: Tensor) -> Tensor:
    """base**exponent in f64."""
    return mnp.power(mnp.asarray(base, "f64"), exponent)
