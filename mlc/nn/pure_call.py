"""Modules as plain functions of their parameters and buffers, which is what jit, grad and a training step trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from mlc.errors import MlcError, ShapeError
from mlc.frontends.trace.tensor import Tensor, type_text, wrap
from mlc.frontends.trace.tracing import user_line
from mlc.nn.call_scope import calling
from mlc.nn.parameter import Buffer, OwnedTensor, Parameter


class Owner(Protocol):
    """What a call needs to know of a module."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def named_parameters(self) -> Iterator[tuple[str, Parameter]]: ...
    def named_buffers(self) -> Iterator[tuple[str, Buffer]]: ...


def functional_call(
    module: Owner,
    parameters: Mapping[str, Any],
    buffers: Mapping[str, Any],
    *args: Any,
    key: Any = None,
    **kwargs: Any,
) -> tuple[Any, dict[str, Tensor]]:
    """(module(*args, **kwargs), buffers after it), where tensors stand in the place of the module's parameters and buffers.

        parameters, buffers = module.values()

        def loss(parameters, buffers, x, target, key):
            y, buffers = nn.functional_call(module, parameters, buffers, x, key=key)
            return nn.mse_loss(y, target), buffers

    The module itself stays as it is. What is not given has the module's own value: a constant, where the call is traced. `key` (u32[2],
    mlc.random.key) is that of the call's random numbers, as dropout takes them: equal keys, equal numbers. Raises MlcError for names that the
    module does not have, ShapeError for other shapes.
    """
    values = {}
    for kind, own, given in (
        ("parameter", dict(module.named_parameters()), parameters),
        ("buffer", dict(module.named_buffers()), buffers),
    ):
        if not isinstance(given, Mapping):
            raise MlcError(
                f"functional_call takes {kind}s by name, not {type(given).__name__}",
                file=user_line(),
                remedy="functional_call(module, parameters, buffers, *args): parameters, buffers = module.values(), or {} for its own.",
            )
        for name, value in given.items():
            if name not in own:
                raise MlcError(
                    f"{type(module).__name__} has no {kind} '{name}'",
                    file=user_line(),
                    remedy=f"It has {', '.join(own) or 'none'}.",
                )
            values[id(own[name])] = _fitting(name, own[name], value)
    with calling(values, None if key is None else key if isinstance(key, Tensor) else Tensor(key)) as scope:
        output = module(*args, **kwargs)
    named = dict(module.named_buffers())
    return output, {name: scope.values[id(named[name])] for name in buffers}


def _fitting(name: str, owned: OwnedTensor, value: Any) -> Tensor:
    found = value if isinstance(value, Tensor) else wrap(value)
    if found.shape != owned.shape:
        raise ShapeError(f"'{name}' is {type_text(owned)}, and {type_text(found)} was given for it", file=user_line())
    return found
