"""Which models a step can train, and by which losses."""

from __future__ import annotations

import inspect
from typing import Any

from mlc.errors import MlcError
from mlc.frontends.trace.traced import name_of
from mlc.frontends.trace.tracing import user_line
from mlc.nn import Module, losses
from mlc.training.imported import is_imported, of_imported
from mlc.training.objective import Loss, Objective, of_function, of_layers


def objective_of(
    model: Any, loss: Loss | str | None, params: Any, freeze: str = "", train_statistics: bool = False
) -> Objective:
    """The objective of a function of (params, ...), of a module of mlc.nn, or of a model that was or is to be imported."""
    loss = named_loss(loss) if isinstance(loss, str) else loss
    if loss is not None and not callable(loss):
        raise MlcError(f"a loss is a function, or the name of one, not {loss!r}", file=user_line())
    if is_imported(model):
        if params is not None:
            raise MlcError("an imported model has its own parameters: leave params out", file=user_line())
        return of_imported(model, loss, freeze, train_statistics)
    if freeze or train_statistics:
        raise MlcError(
            "freeze and train_statistics are for imported models",
            file=user_line(),
            remedy="In a module requires_grad_(False) and eval() do that.",
        )
    if isinstance(model, Module):
        if params is not None:
            raise MlcError(f"{type(model).__name__} has parameters of its own: leave params out", file=user_line())
        return of_layers(model, loss)
    if not callable(model):
        raise MlcError(f"a model is a function or a module, not a {type(model).__name__}", file=user_line())
    if params is None:
        raise MlcError(
            f"the parameters of {name_of(model)} are missing",
            file=user_line(),
            remedy="A module of another framework comes in as an ONNX file."
            if hasattr(model, "state_dict")
            else "train_step(model, loss, optimizer, params), where model is a function of (params, x).",
        )
    return of_function(model, loss, params)


def named_loss(name: str) -> Loss:
    """A loss of mlc.nn by its name, with or without "_loss" at the end."""
    own = {n: f for n, f in vars(losses).items() if inspect.isfunction(f) and f.__module__ == losses.__name__}
    known = {n.removesuffix("_loss"): f for n, f in own.items() if not n.startswith("_")}
    if (found := known.get(name.removesuffix("_loss"))) is None:
        raise MlcError(f"there is no loss '{name}'", file=user_line(), remedy=f"Losses: {', '.join(sorted(known))}.")
    return found
