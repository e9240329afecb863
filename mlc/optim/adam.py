"""Adam and what came of it: steps of the running mean of gradients over the root of that of their squares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlc.numpy as mnp
from mlc.frontends.trace.tensor import Tensor
from mlc.optim.descent import averaged, decayed, unbias
from mlc.optim.update_rule import Number, Optimizer, Rate, Slots, share


class Adam(Optimizer):
    """Kingma and Ba 2015: p - lr * m' / (sqrt(v') + eps), m and v running means of g and g^2, m' and v' without their bias. torch.optim.Adam.

    weight_decay is added to the gradient, times p; AdamW takes it off the parameter instead.
    """

    slots = ("mean", "square")

    def __init__(
        self,
        lr: Rate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        super().__init__(lr)
        self.betas, self.eps, self.weight_decay = (
            (share("beta1", betas[0]), share("beta2", betas[1])),
            eps,
            weight_decay,
        )

    def numbers(self, step: Tensor) -> dict[str, Number]:
        rate, (beta1, beta2) = self.rate(step), self.betas
        # lr * m' / (sqrt(v') + eps) with one factor for each of m and sqrt(v), which all parameters share
        return {"rate": rate / unbias(beta1, step), "root": 1 / mnp.sqrt(unbias(beta2, step)), "lr": rate}

    def rule(self, p: Tensor, g: Tensor, kept: Slots, now: Mapping[str, Any]) -> tuple[Tensor, Slots]:
        g, (beta1, beta2) = self.gradient(p, g), self.betas
        mean, square = averaged(kept["mean"], g, beta1), averaged(kept["square"], g * g, beta2)
        step = now["rate"] * mean / (mnp.sqrt(square) * now["root"] + self.eps)
        return self.smaller(p, now) - step, {"mean": mean, "square": square}

    def gradient(self, p: Tensor, g: Tensor) -> Tensor:
        """With weight decay."""
        return decayed(p, g, self.weight_decay)

    def smaller(self, p: Tensor, now: Mapping[str, Any]) -> Tensor:
        """The parameter that the step starts from."""
        return p


class AdamW(Adam):
    """Loshchilov and Hutter 2019: Adam on the plain gradient, and the parameter is made smaller by lr * weight_decay. torch.optim.AdamW."""

    def __init__(
        self,
        lr: Rate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ):
        super().__init__(lr, betas, eps, weight_decay)

    def gradient(self, p: Tensor, g: Tensor) -> Tensor:
        return g

    def smaller(self, p: Tensor, now: Mapping[str, Any]) -> Tensor:
        return p * (1 - now["lr"] * self.weight_decay)
