"""Muon: steps of matrices along the orthogonal matrix next to the mean of their gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlc.numpy as mnp
from mlc.errors import ShapeError
from mlc.frontends.trace.tensor import Tensor, type_text
from mlc.frontends.trace.tracing import user_line
from mlc.optim.descent import averaged
from mlc.optim.update_rule import Optimizer, Rate, Slots, share, sizes

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic whose slope at 0 is steepest, by Jordan


class Muon(Optimizer):
    """Jordan et al. 2024: the running mean of the gradients, made nearly orthogonal, times lr * sqrt(max(1, rows / columns)). torch.optim.Muon.

    nesterov      the mean is moved on by the gradient once more
    iterations    of Newton and Schulz: x becomes a x + (b x x' + c (x x')^2) x, which drives the singular values to about 1

    For matrices; mlc.optim.Groups gives other parameters another optimiser. The iterations are computed in the dtype of the update.
    """

    slots = ("mean",)

    def __init__(
        self,
        lr: Rate = 1e-3,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float = 0.1,
        iterations: int = 5,
        eps: float = 1e-7,
    ):
        super().__init__(lr)
        self.momentum, self.nesterov, self.weight_decay = share("momentum", momentum), nesterov, weight_decay
        self.iterations, self.eps = iterations, eps

    def start(self, p: Tensor) -> Slots:
        if p.ndim != 2:
            raise ShapeError(
                f"Muon updates matrices, and a parameter is {type_text(p)}",
                file=user_line(),
                remedy='Give the others to another optimiser: Groups({"*.weight": Muon(), "*": AdamW()}).',
            )
        return super().start(p)

    def rule(self, p: Tensor, g: Tensor, kept: Slots, now: Mapping[str, Any]) -> tuple[Tensor, Slots]:
        mean = averaged(kept["mean"], g, self.momentum)
        direction = orthogonalized(
            averaged(g, mean, 1 - self.momentum) if self.nesterov else mean, self.iterations, self.eps
        )
        rows, columns = sizes(p)
        scale = max(1.0, rows / max(columns, 1)) ** 0.5
        return p * (1 - now["lr"] * self.weight_decay) - now["lr"] * (scale * direction), {"mean": mean}


def orthogonalized(x: Tensor, iterations: int, eps: float) -> Tensor:
    """A matrix with the singular vectors of x, and singular values between about 0.7 and 1.2."""
    a, b, c = COEFFICIENTS
    rows, columns = sizes(x)
    tall = rows > columns
    x = x.T if tall else x
    x = x / mnp.maximum(mnp.norm(x), eps)
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.T if tall else x
