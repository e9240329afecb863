"""Modules made of others, one behind another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlc.errors import MlcError
from mlc.frontends.trace.tracing import user_line
from mlc.nn.module import Module


class Sequential(Module):
    """The modules one behind another, called 0, 1, ...: `Sequential(Linear(4, 8), ReLU(), Linear(8, 2))`."""

    def __init__(self, *modules: Module):
        for number, module in enumerate(modules):
            if not isinstance(module, Module):
                raise MlcError(
                    f"part {number} of Sequential is {type(module).__name__}, and no module",
                    file=user_line(),
                    remedy="Write Sequential(*modules)."
                    if isinstance(module, list | tuple)
                    else "Activations are modules here: ReLU() and others. A subclass of Module may call any function.",
                )
            setattr(self, str(number), module)

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self.children())

    def __getitem__(self, index: int | slice) -> Module:
        found = list(self)[index]
        return Sequential(*found) if isinstance(found, list) else found


class Residual(Module):
    """x + body(x); He et al. 2016. With `projection` the sum is of projection(x), where the body changes the shape."""

    def __init__(self, body: Module, projection: Module | None = None):
        self.body, self.projection = body, projection

    def forward(self, x: Any) -> Any:
        return (x if self.projection is None else self.projection(x)) + self.body(x)
