"""A learning rate of its own for each element, from the gradients that it has seen."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

import mlc.numpy as mnp
from mlc.frontends.trace.tensor import Tensor
from mlc.optim.descent import averaged, decayed
from mlc.optim.update_rule import Number, Optimizer, Rate, Slots, count, require, share, sizes, two_shares


class AdaGrad(Optimizer):
    """Duchi, Hazan and Singer 2011: p - lr * g / (sqrt(sum of g^2) + eps), lr divided by 1 + t * lr_decay. torch.optim.Adagrad."""

    slots = ("sum",)

    def __init__(self, lr: Rate = 1e-2, lr_decay: float = 0.0, eps: float = 1e-10, weight_decay: float = 0.0):
        super().__init__(lr)
        self.lr_decay, self.eps, self.weight_decay = lr_decay, eps, weight_decay

    def numbers(self, step: Tensor, shared: Mapping[str, Tensor]) -> dict[str, Number]:
        rate = self.rate(step)
        return {"lr": rate / (1 + step.astype("f64") * self.lr_decay) if self.lr_decay else rate}

    def rule(self, p: Tensor, g: Tensor, kept: Slots, now: Mapping[str, Any]) -> tuple[Tensor, Slots]:
        g = decayed(p, g, self.weight_decay)
        total = kept["sum"] + g * g
        return p - now["lr"] * g / (mnp.sqrt(total) + self.eps), {"sum": total}


class RMSprop(Optimizer):
    """Hinton 2012: p - lr * g / (sqrt(v) + eps), v the running mean of g^2, without the square of the mean of g where `centered`.

    With momentum these quotients are summed up as SGD sums gradients. torch.optim.RMSprop.
    """

    def __init__(
        self,
        lr: Rate = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ):
        super().__init__(lr)
        self.alpha, self.eps, self.weight_decay = share("alpha", alpha), eps, weight_decay
        self.momentum, self.centered = share("momentum", momentum), centered
        self.slots = ("square", *["mean"] * centered, *["velocity"] * bool(momentum))  # type: ignore[misc]

    def rule(self, p: Tensor, g: Tensor, kept: Slots, now: Mapping[str, Any]) -> tuple[Tensor, Slots]:
        g = decayed(p, g, self.weight_decay)
        new = {"square": averaged(kept["square"], g * g, self.alpha)}
        square = new["square"]
        if self.centered:
            new["mean"] = averaged(kept["mean"], g, self.alpha)
            square = square - new["mean"] ** 2
        step = g / (mnp.sqrt(square) + self.eps)
        if self.momentum:
            step = new["velocity"] = self.momentum * kept["velocity"] + step
        return p - now["lr"] * step, new


class AdaDelta(Optimizer):
    """Zeiler 2012: p - lr * d, d = g * sqrt(u + eps) / sqrt(v + eps), v and u running means of g^2 and of d^2. torch.optim.Adadelta."""

    slots = ("square", "change")

    def __init__(self, lr: Rate = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0.0):
        super().__init__(lr)
        self.rho, self.eps, self.weight_decay = share("rho", rho), eps, weight_decay

    def rule(self, p: Tensor, g: Tensor, kept: Slots, now: Mapping[str, Any]) -> tuple[Tensor, Slots]:
        g = decayed(p, g, self.weight_decay)
        square = averaged(kept["square"], g * g, self.rho)
        change = mnp.sqrt(kept["change"] + self.eps) / mnp.sqrt(square + self.eps) * g
        return p - now["lr"] * change, {"square": square, "change": averaged(kept["change"], change * change, self.rho)}


class Adafactor(Optimizer):
    """Shazeer and Stern 2018: of the mean square of a matrix of gradients only its rows' and columns' means are kept. torch.optim.Adafactor.

    beta2_decay  the mean's share of the past is 1 - t**beta2_decay
    eps          the least root of a mean square (that of the dtype, where None), and the least scale of a parameter
    d            the largest root mean square of a step, in units of the rate
    """

    slots = ("row", "column")

    def __init__(
        self,
        lr: Rate = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
    ):
        super().__init__(lr)
        require("beta2_decay", beta2_decay, beta2_decay <= 0, "at most 0")
        self.beta2_decay, self.eps, self.d, self.weight_decay = beta2_decay, eps, d, weight_decay

    def start(self, p: Tensor) -> Slots:
        if p.ndim < 2:  # the mean square itself
            return {"row": mnp.zeros_like(p), "column": mnp.zeros((), p.dtype)}
        *outer, rows, columns = p.shape
        return {"row": mnp.zeros((*outer, rows, 1), p.dtype), "column": mnp.zeros((*outer, 1, columns), p.dtype)}

    def numbers(self, step: Tensor, shared: Mapping[str, Tensor]) -> dict[str, Number]:
        t, rate = count(step), self.rate(step)
        return {"lr": rate, "most": mnp.minimum(rate, 1 / mnp.sqrt(t)), "share": mnp.power(t, self.beta2_decay)}

    def rule(self, p: Tensor, g: Tensor, kept: Slots, now: Mapping[str, Any]) -> tuple[Tensor, Slots]:
        least, smallest = np.finfo(p.dtype).eps.item() if self.eps[0] is None else self.eps[0], self.eps[1]
        mix = lambda old, new: old + now["share"] * (new - old)
        square, new = g * g, dict(kept)
        if p.ndim < 2:
            estimate = new["row"] = mix(kept["row"], square)
        else:
            row = new["row"] = mix(kept["row"], square.mean(-1, keepdims=True))
            column = new["column"] = mix(kept["column"], square.mean(-2, keepdims=True))
            estimate = row * column / mnp.maximum(row.mean(-2, keepdims=True), least)
        step = g / mnp.sqrt(mnp.maximum(estimate, least * least))
        root = prod(sizes(p)) ** 0.5 or 1.0
        size = mnp.maximum(mnp.norm(p) / root, smallest) * now["most"]
        step = step * (size / mnp.maximum(mnp.norm(step) / (root * self.d), 1.0))
        return p * (1 - now["lr"] * self.weight_decay) - step, new


class Rprop(Optimizer):
    """Riedmiller and Braun 1993: steps by the sign of the gradient, each element's grows by etas[1] while the sign stays and shrinks by etas[0]
    where it turns, in which case it rests once. They begin as lr, and stay within `sizes`. torch.optim.Rprop. For whole batches."""

    slots = ("previous", "size")

    def __init__(
        self,
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        sizes: tuple[float, float] = (1e-6, 50.0),
    ):
        super().__init__(lr)
        require("etas", etas, 0 < etas[0] < 1 < etas[1], "of one below and one above 1")
        self.etas, self.sizes = etas, sizes

    def start(self, p: Tensor) -> Slots:
        return {"previous": mnp.zeros_like(p), "size": mnp.full_like(p, self.lr)}

    def rule(self, p: Tensor, g: Tensor, kept: Slots, now: Mapping[str, Any]) -> tuple[Tensor, Slots]:
        turn = mnp.sign(g) * mnp.sign(kept["previous"])
        size, (down, up) = kept["size"], self.etas
        size = mnp.where(turn > 0, size * up, mnp.where(turn < 0, size * down, size))
        size = mnp.clip(size, *self.sizes)
        g = mnp.where(turn < 0, 0.0, g)
        return p - mnp.sign(g) * size, {"previous": g, "size": size}


class Lion(Optimizer):
    """Chen et al. 2023: p * (1 - lr * weight_decay) - lr * sign(beta1 * m + (1 - beta1) * g), and m = beta2 * m + (1 - beta2) * g."""

    slots = ("mean",)

    def __init__(self, lr: Rate = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0):
        super().__init__(lr)
        self.betas, self.weight_decay = two_shares(betas), weight_decay

    def rule(self, p: Tensor, g: Tensor, kept: Slots, now: Mapping[str, Any]) -> tuple[Tensor, Slots]:
        direction = mnp.sign(averaged(kept["mean"], g, self.betas[0]))
        smaller = p * (1 - now["lr"] * self.weight_decay) if self.weight_decay else p
        return smaller - now["lr"] * direction, {"mean": averaged(kept["mean"], g, self.betas[1])}
