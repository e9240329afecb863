"""Modules as native code: `mlc.jit(module)`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from mlc.errors import MlcError
from mlc.frontends.trace.pytree import leaves_of
from mlc.frontends.trace.tape import Barrier, is_recording
from mlc.frontends.trace.tensor import Tensor
from mlc.frontends.trace.tracing import current_trace, user_line
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
        self.module, self.name = module, type(module).__name__
        self._signature = inspect.signature(module.forward)
        self._static = (static,) if isinstance(static, str) else tuple(static)
        self._call = jit(self._function(), static=_MODE, **options)

        def plain(*args: Any, **kwargs: Any) -> Any:
            return module(*args, **kwargs)

        plain.__signature__, plain.__name__ = self._signature, self.name  # type: ignore[attr-defined]
        self._plain = jit(plain, static=self._static, **options)

    def trace(self, *args: Any, **kwargs: Any) -> Any:
        """The module traced for arguments like these, with its parameters as weights: what is looked at, and exported."""
        return self._plain.trace(*args, **kwargs)

    def lower(self, *args: Any, target: str | None = None, **kwargs: Any) -> Any:
        return self._plain.lower(*args, target=target, **kwargs)

    def _function(self) -> Callable[..., Any]:
        """The module as a function of its state, what decides its code, and the arguments of `forward` that are traced."""

        def call(
            state: dict[str, Any], mode: tuple[Any, tuple[tuple[str, Any], ...]], *args: Any, **kwargs: Any
        ) -> Any:
            parameters, buffers = state["parameters"], state["buffers"]
            given = inspect.BoundArguments(
                self._signature, {**traced.bind_partial(*args, **kwargs).arguments, **dict(mode[1])}
            )
            output, after = functional_call(
                self.module, parameters, buffers, *given.args, key=state["key"], **given.kwargs
            )
            return output, {name: value for name, value in after.items() if value is not buffers[name]}

        own = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in (_STATE, _MODE)]
        kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        free = [p if p.kind in kinds else p.replace(default=None) for p in self._signature.parameters.values()]
        traced = inspect.Signature(free)
        call.__signature__ = inspect.Signature([p.replace(default=None) for p in own] + free)  # type: ignore[attr-defined]
        call.__name__ = self.name
        return call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the module gives; bools and texts among the arguments decide what is compiled. No gradients lead back through it: mlc.grad of a
        `functional_call`, and mlc.train_step, compile those too."""
        if current_trace() is not None:
            return self.module(*args, **kwargs)
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise MlcError(f"{self.name}: {error}", file=user_line()) from error
        fixed = {n: x for n, x in bound.arguments.items() if isinstance(x, bool | str) or n in self._static}
        for name in fixed:
            del bound.arguments[name]
        flags = tuple(module.training for module in self.module.modules())
        parameters, buffers = self.module.values()
        state = {"parameters": parameters, "buffers": buffers, "key": default_rng.key() if any(flags) else None}
        output, changed = self._call(state, (flags, tuple(fixed.items())), *bound.args, **bound.kwargs)
        owners = dict(self.module.named_buffers()) if changed else {}
        for name, value in changed.items():
            owners[name].assign(value)
        if is_recording() and any(p.requires_grad for _, p in self.module.named_parameters()):
            Barrier(self.name, [x for x in leaves_of(output) if isinstance(x, Tensor)])
        return output
