"""Hooks on gradients that pass through a module, at once or traced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlc.custom_derivative import custom_vjp
from mlc.frontends.trace.pytree import tree_map
from mlc.frontends.trace.tape import Hook
from mlc.frontends.trace.tensor import Tensor
from mlc.ir.types import dtype_name, is_float


def backward_through(module: Any, hooks: Mapping[int, Hook], tree: Any) -> Any:
    """The pytree, by whose tensors the gradients go through hooks that there are now."""
    calls = [lambda gradient, hook=hook: hook(module, gradient) for hook in hooks.values()]
    return tree_map(lambda leaf: _hooked(leaf, calls), tree) if calls else tree


def _hooked(x: Any, hooks: list[Hook]) -> Any:
    """x as another tensor, whose gradient the hooks see and change."""
    if not isinstance(x, Tensor) or not is_float(dtype_name(x.dtype)):
        return x
    if x.trace is None:
        if x.requires_grad:
            x = x.astype(x.dtype)
            for hook in hooks:
                x.register_hook(hook)
        return x

    def backward(_: Any, gradient: Tensor) -> tuple[Tensor]:
        for hook in hooks:
            found = hook(gradient)
            gradient = gradient if found is None else found
        return (gradient,)

    same = custom_vjp(lambda x: x)
    same.defvjp(lambda x: (x, ()), backward)
    return same(x)
