"""Schedule-free learning: an average of the iterates in place of a decaying learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlc.numpy as mnp
from mlc.frontends.trace.pytree import tree_map
from mlc.frontends.trace.tensor import Tensor
from mlc.optim.descent import averaged, unbias
from mlc.optim.update_rule import Number, Optimizer, Rate, Slots, two_shares


class ScheduleFreeAdamW(Optimizer):
    """Defazio et al. 2024: z takes the steps of Adam without momentum, the parameters x are a mean of all z, weighted by lr^2, and gradients
    are taken between them, at y = beta1 * x + (1 - beta1) * z.

        z = z - lr * (g / (sqrt(v') + eps) + weight_decay * y)        x = (1 - c) * x + c * z,    c = lr^2 / sum of lr^2 so far

    `lr` may be a schedule, best one that warms up. The parameters are what the model is to be used with; a training step takes its gradient at
    `point(state, params)`. The state has "weight", the sum of lr^2, where lr is the largest so far ("largest").
    """

    slots = ("ahead", "square")

    def __init__(
        self,
        lr: Rate = 2.5e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        super().__init__(lr)
        self.betas, self.eps, self.weight_decay = two_shares(betas), eps, weight_decay

    def start(self, p: Tensor) -> Slots:
        return {"ahead": p, "square": mnp.zeros_like(p)}

    def first(self) -> dict[str, Tensor]:
        return {"weight": mnp.zeros((), "f64"), "largest": mnp.zeros((), "f64")}

    def shared(self, state: Mapping[str, Any]) -> dict[str, Tensor]:
        largest = mnp.maximum(state["largest"], self.rate(state["step"]))
        return {"weight": state["weight"] + largest**2, "largest": largest}

    def point(self, state: Mapping[str, Any], params: Any) -> Any:
        return tree_map(lambda x, z: averaged(x, z, self.betas[0]).astype(mnp.asarray(x).dtype), params, state["ahead"])

    def numbers(self, step: Tensor, shared: Mapping[str, Tensor]) -> dict[str, Number]:
        weight = mnp.where(shared["weight"] > 0, shared["weight"], mnp.ones((), "f64"))
        return {
            "lr": self.rate(step),
            "share": shared["largest"] ** 2 / weight,
            "root": 1 / mnp.sqrt(unbias(self.betas[1], step)),
        }

    def rule(self, p: Tensor, g: Tensor, kept: Slots, now: Mapping[str, Any]) -> tuple[Tensor, Slots]:
        square = averaged(kept["square"], g * g, self.betas[1])
        step = g / (mnp.sqrt(square) * now["root"] + self.eps)
        if self.weight_decay:
            step = step + self.weight_decay * averaged(p, kept["ahead"], self.betas[0])
        ahead = kept["ahead"] - now["lr"] * step
        return p + now["share"] * (ahead - p), {"ahead": ahead, "square": square}
