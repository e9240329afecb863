"""Activations as layers."""

from __future__ import annotations

from typing import Any, Literal

from mlc.frontends.trace.tensor import Tensor
from mlc.nn import functional
from mlc.nn.module import Module


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Any) -> Tensor:
        return functional.relu(x)


class GELU(Module):
    """x * Phi(x); `approximate` is "none" or "tanh"."""

    def __init__(self, approximate: Literal["none", "tanh"] = "none"):
        self.approximate = approximate

    def forward(self, x: Any) -> Tensor:
        return functional.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return "" if self.approximate == "none" else f"approximate={self.approximate!r}"


class SiLU(Module):
    """x * sigmoid(x)."""

    def forward(self, x: Any) -> Tensor:
        return functional.silu(x)


class Tanh(Module):
    """tanh(x)."""

    def forward(self, x: Any) -> Tensor:
        return functional.tanh(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Any) -> Tensor:
        return functional.sigmoid(x)
