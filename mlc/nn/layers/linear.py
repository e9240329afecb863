"""Layers that multiply by a matrix, or look up rows of one."""

from __future__ import annotations

from typing import Any

import mlc.numpy as mnp
from mlc import random
from mlc.errors import ShapeError
from mlc.frontends.trace.tensor import Tensor, type_text
from mlc.frontends.trace.tracing import user_line
from mlc.nn import functional
from mlc.nn import initialization as init
from mlc.nn.module import Module
from mlc.nn.parameter import Parameter
from mlc.nn.rng import default_rng


class Linear(Module):
    """x W' + bias: x [..., inputs] to [..., outputs]. weight [outputs, inputs] and bias [outputs] begin uniform up to 1 / sqrt(inputs)."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True, dtype: Any = "f32", key: Any = None):
        self.inputs, self.outputs = inputs, outputs
        keys = random.split(default_rng.key() if key is None else key)
        self.weight = Parameter(init.per_fan_in(keys[0], (outputs, inputs), inputs, dtype))
        self.bias = Parameter(init.per_fan_in(keys[1], (outputs,), inputs, dtype)) if bias else None

    def forward(self, x: Any) -> Tensor:
        x = mnp.asarray(x)
        if x.ndim == 0 or (isinstance(x.shape[-1], int) and x.shape[-1] != self.inputs):
            raise ShapeError(
                f"x is {type_text(x)}, and its last axis must be {self.inputs}",
                file=user_line(),
                shapes=[("weight", "", type_text(self.weight), "[outputs, inputs]")],
            )
        return functional.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.inputs}, {self.outputs}" + ("" if self.bias is not None else ", bias=False")


class Embedding(Module):
    """The rows of weight [count, size] that integers 0 .. count - 1 name: x of any shape to [*x.shape, size]. The weight begins normal, of variance 1."""

    def __init__(self, count: int, size: int, dtype: Any = "f32", key: Any = None):
        self.count, self.size = count, size
        self.weight = Parameter(init.normal(default_rng.key() if key is None else key, (count, size), dtype=dtype))

    def forward(self, x: Any) -> Tensor:
        return functional.embedding(x, self.weight)

    def extra_repr(self) -> str:
        return f"{self.count}, {self.size}"
