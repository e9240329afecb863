"""What a training step makes smaller: a model, its parameters, and a loss.

Objective.loss(params, buffers, key, *batch) -> (loss, buffers, more)       Objective.predict(params, buffers, *inputs) -> prediction
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mlc.errors import MlcError
from mlc.frontends.trace.traced import name_of, signature_of
from mlc.frontends.trace.tracing import user_line

Loss = Callable[..., Any]


@dataclass(frozen=True)
class Objective:
    """`params` are trained; `buffers` change as `loss` says; both are pytrees of the numbers to begin with. `inputs` are names of what a
    call gives. `key` of `loss` is u32[2], and another in each step."""

    name: str
    params: Any
    loss: Callable[..., tuple[Any, Any, Any]]
    predict: Callable[..., Any]
    inputs: tuple[str, ...]
    buffers: Any = field(default_factory=dict)


def of_function(model: Callable[..., Any], loss: Loss | None, params: Any) -> Objective:
    """model(params, x, ...) gives a prediction, loss(prediction, target) a number; without a loss the model gives the number itself. What is
    behind that in a tuple comes out of each step as it is. A model that has an argument `key` is given one."""
    arguments = positional(model)
    if not arguments:
        raise MlcError(
            f"{name_of(model)} takes no argument for the parameters",
            file=user_line(),
            remedy="A model is a function of (params, x).",
        )
    keyed = "key" in signature_of(model).parameters
    inputs = tuple(name for name in arguments[1:] if name != "key")

    def predict(params: Any, buffers: Any, key: Any, *given: Any) -> Any:
        return model(params, *given, key=key) if keyed else model(params, *given)

    def measured(params: Any, buffers: Any, key: Any, *batch: Any) -> tuple[Any, Any, Any]:
        if loss is None:
            found = predict(params, buffers, key, *batch)
        else:
            found = loss(predict(params, buffers, key, *batch[: len(inputs)]), *batch[len(inputs) :])
        value, *more = found if isinstance(found, tuple) else (found,)
        return value, buffers, tuple(more)

    targets = () if loss is None else tuple(positional(loss)[1:])
    return Objective(name_of(model), params, measured, predict, (*inputs, *apart(targets, inputs)))


def positional(function: Callable[..., Any]) -> list[str]:
    """The names of arguments that have to be given by position."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    rows = signature_of(function).parameters.values()
    return [row.name for row in rows if row.kind in kinds and row.default is inspect.Parameter.empty]


def apart(names: tuple[str, ...], taken: tuple[str, ...]) -> tuple[str, ...]:
    """The names, those that are taken with an underscore behind them."""
    return tuple(f"{name}_" if name in taken else name for name in names)
