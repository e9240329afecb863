"""Adam and what came of it: steps of the running mean of gradients over the root of that of their squares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlc.numpy as mnp
from mlc.frontends.trace.tensor import Tensor
from mlc.optim.descent import averaged, decayed, power, unbias
from mlc.optim.update_rule import Number, Optimizer, Rate, Slots, count, two_shares


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
        self.betas, self.eps, self.weight_decay = two_shares(betas), eps, weight_decay

    def numbers(self, step: Tensor, shared: Mapping[str, Tensor]) -> dict[str, Number]:
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


class AdaMax(Adam):
    """Kingma and Ba 2015, section 7: Adam with the largest of the decayed |g| + eps in place of the root of the mean square. torch.optim.Adamax."""

    slots = ("mean", "largest")

    def __init__(
        self,
        lr: Rate = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        super().__init__(lr, betas, eps, weight_decay)

    def numbers(self, step: Tensor, shared: Mapping[str, Tensor]) -> dict[str, Number]:
        return {"lr": self.rate(step) / unbias(self.betas[0], step)}

    def rule(self, p: Tensor, g: Tensor, kept: Slots, now: Mapping[str, Any]) -> tuple[Tensor, Slots]:
        g = self.gradient(p, g)
        mean = averaged(kept["mean"], g, self.betas[0])
        largest = mnp.maximum(self.betas[1] * kept["largest"], abs(g) + self.eps)
        return p - now["lr"] * mean / largest, {"mean": mean, "largest": largest}


class NAdam(Adam):
    """Dozat 2016: Adam whose momentum looks one step ahead, with momentum beta1 * (1 - 0.96**(t * decay) / 2). torch.optim.NAdam.

    The state has "product", that of the momenta so far.
    """

    def __init__(
        self,
        lr: Rate = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
    ):
        super().__init__(lr, betas, eps, weight_decay)
        self.momentum_decay = momentum_decay

    def first(self) -> dict[str, Tensor]:
        return {"product": mnp.ones((), "f64")}

    def shared(self, state: Mapping[str, Any]) -> dict[str, Tensor]:
        return {"product": state["product"] * self._momentum(count(state["step"]))}

    def numbers(self, step: Tensor, shared: Mapping[str, Tensor]) -> dict[str, Number]:
        rate, t, product = self.rate(step), count(step), shared["product"]
        now, following = self._momentum(t), self._momentum(t + 1)
        return {
            "of_gradient": rate * (1 - now) / (1 - product),
            "of_mean": rate * following / (1 - product * following),
            "root": 1 / mnp.sqrt(unbias(self.betas[1], step)),
        }

    def _momentum(self, t: Tensor) -> Tensor:
        return self.betas[0] * (1 - 0.5 * power(0.96, t * self.momentum_decay))

    def rule(self, p: Tensor, g: Tensor, kept: Slots, now: Mapping[str, Any]) -> tuple[Tensor, Slots]:
        g, (beta1, beta2) = self.gradient(p, g), self.betas
        mean, square = averaged(kept["mean"], g, beta1), averaged(kept["square"], g * g, beta2)
        step = (now["of_gradient"] * g + now["of_mean"] * mean) / (mnp.sqrt(square) * now["root"] + self.eps)
        return p - step, {"mean": mean, "square": square}


class RAdam(Adam):
    """Liu et al. 2020: Adam whose first steps are those of the mean alone, until the variance of the mean square is known (rho > 5), and are then
    rectified. torch.optim.RAdam."""

    def numbers(self, step: Tensor, shared: Mapping[str, Tensor]) -> dict[str, Number]:
        beta1, beta2 = self.betas
        t, unbiased = count(step), unbias(beta2, step)
        most = 2 / (1 - beta2) - 1
        rho = most - 2 * t * (1 - unbiased) / unbiased
        known = mnp.maximum(rho, 5.0)  # below it the root is not taken
        factor = mnp.sqrt((known - 4) * (known - 2) * most / ((most - 4) * (most - 2) * known) * unbiased)
        return {"lr": self.rate(step) / unbias(beta1, step), "factor": factor, "rectified": (rho > 5).astype("f64")}

    def rule(self, p: Tensor, g: Tensor, kept: Slots, now: Mapping[str, Any]) -> tuple[Tensor, Slots]:
        g, (beta1, beta2) = self.gradient(p, g), self.betas
        mean, square = averaged(kept["mean"], g, beta1), averaged(kept["square"], g * g, beta2)
        scale = mnp.where(now["rectified"] > 0, now["factor"] / (mnp.sqrt(square) + self.eps), 1.0)
        return p - now["lr"] * mean * scale, {"mean": mean, "square": square}
