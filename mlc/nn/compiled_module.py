"""Modules as native code: `mlc.jit(module)`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from mlc.frontends.trace.pytree import leaves_of
from mlc.frontends.trace.tape import Barrier, is_recording
from mlc.frontends.trace.tensor import Tensor
from mlc.frontends.trace.tracing import current_trace
from mlc.nn.pure_call import Owner, functional_call
from mlc.nn.rng import default_rng

_STATE, _MODE = "module_state", "module_mode"


class Moded(Owner, Protocol):
    """What else compiling a module needs."""

    training: bool

    def forward(self, *args: Any, **kwargs: Any) -> Any: ...
    def modules(self) -> Iterator[Moded]: ...
    def values(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]: ...


class CompiledModule:
    """A module whose calls run as native code, compiled at the first call for each signature and mode. Parameters and buffers are those that the
    module has when it is called, and it takes the buffers that a call changes; random numbers are those of the next key of `nn.seed`."""

    def __init__(self, module: Moded, jit: Callable[..., Any], static: Sequence[str] | str = (), **options: Any):
        self.module = module

        def call(state: dict[str, Any], _: Any, *args: Any, **kwargs: Any) -> Any:
            parameters, buffers = state["parameters"], state["buffers"]
            output, after = functional_call(module, parameters, buffers, *args, key=state["key"], **kwargs)
            return output, {name: value for name, value in after.items() if value is not buffers[name]}

        own = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in (_STATE, _MODE)]
        given = inspect.signature(module.forward).parameters.values()
        call.__signature__ = inspect.Signature([*own, *given])  # type: ignore[attr-defined]
        call.__name__ = type(module).__name__
        names = (static,) if isinstance(static, str) else tuple(static)
        self._call = jit(call, static=(_MODE, *names), **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the module gives. No gradients lead back through it: mlc.grad of a `functional_call`, and mlc.train_step, compile those too."""
        if current_trace() is not None:
            return self.module(*args, **kwargs)
        mode = tuple(module.training for module in self.module.modules())
        parameters, buffers = self.module.values()
        state = {"parameters": parameters, "buffers": buffers, "key": default_rng.key() if any(mode) else None}
        output, changed = self._call(state, mode, *args, **kwargs)
        owners = dict(self.module.named_buffers()) if changed else {}
        for name, value in changed.items():
            owners[name].assign(value)
        if is_recording() and any(p.requires_grad for _, p in self.module.named_parameters()):
            Barrier(type(self.module).__name__, [x for x in leaves_of(output) if isinstance(x, Tensor)])
        return output
