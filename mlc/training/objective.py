"""What a training step makes smaller: a model, its parameters, and a loss.

Objective.loss(params, buffers, key, *batch) -> (loss, (buffers, more))       Objective.predict(params, buffers, key, *inputs) -> prediction
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlc.errors import DTypeError, MlcError
from mlc.frontends.trace.pytree import flatten
from mlc.frontends.trace.tensor import Tensor, type_text
from mlc.frontends.trace.traced import name_of, signature_of
from mlc.frontends.trace.tracing import user_line
from mlc.ir.dims import Extent
from mlc.ir.module import Range
from mlc.ir.types import Shape, dtype_name, is_float
from mlc.passes.graph.facts import number

if TYPE_CHECKING:
    from mlc.nn import Module

Loss = Callable[..., Any]
LOSSES = "mlc.nn.losses"  # the file of losses that have a name


@dataclass(frozen=True)
class Objective:
    """`params` are trained; `buffers` change as `loss` says; both are pytrees of the numbers to begin with. `inputs` are names of what a
    call gives. `key`, u32[2], is another in each step. The code depends on what `mode` gives too."""

    name: str
    params: Any
    loss: Callable[..., tuple[Any, tuple[Any, Any]]]
    predict: Callable[..., Any]
    inputs: tuple[str, ...]
    buffers: Any = field(default_factory=dict)
    mode: Callable[[], Hashable] = lambda: None
    shapes: Mapping[str, Shape] = field(
        default_factory=dict
    )  # of inputs, where sizes among them differ from call to call
    rows: Extent | None = None  # the symbolic size that all of the batch begins with, if there is one
    bounds: Mapping[str, Range] = field(default_factory=dict)
    trained: Callable[[Any, Any], Any] | None = None  # (params, buffers) -> the model with these
    targets: int = 0  # how many of `inputs`, the last, go to the loss alone


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

    def measured(params: Any, buffers: Any, key: Any, *batch: Any) -> tuple[Any, tuple[Any, Any]]:
        value, more = valued(loss, predict(params, buffers, key, *batch[: len(inputs)]), batch[len(inputs) :])
        return value, (buffers, more)

    targets = targets_of(loss, inputs)
    return Objective(name_of(model), params, measured, predict, (*inputs, *targets), targets=len(targets))


def of_layers(module: Module, loss: Loss | None) -> Objective:
    """A module of mlc.nn. Parameters that require no gradient are constants. A step runs it in the mode that it is in, `predict` in that of
    module.eval()."""
    from mlc.nn import functional_call

    inputs, modules = tuple(positional(module.forward)), list(module.modules())

    def predict(params: Any, buffers: Any, key: Any, *given: Any) -> Any:
        modes = [(each, each.training) for each in modules]
        module.eval()
        try:
            return functional_call(module, params, buffers, *given)[0]
        finally:
            for each, training in modes:
                each.training = training

    def measured(params: Any, buffers: Any, key: Any, *batch: Any) -> tuple[Any, tuple[Any, Any]]:
        found, changed = functional_call(module, params, buffers, *batch[: len(inputs)], key=key)
        value, more = valued(loss, found, batch[len(inputs) :])
        return value, (changed, more)

    def taken(params: Any, buffers: Any) -> Module:
        module.load_state_dict({**params, **buffers}, strict=False)
        return module

    targets = targets_of(loss, inputs)
    return Objective(
        type(module).__name__,
        {name: p for name, p in module.named_parameters() if p.requires_grad},
        measured,
        predict,
        (*inputs, *targets),
        dict(module.named_buffers()),
        lambda: tuple([each.training for each in modules]),
        trained=taken,
        targets=len(targets),
    )


def valued(loss: Loss | None, prediction: Any, targets: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """(the loss, what the loss function gives behind it). Raises MlcError where a loss of mlc.nn is given more than one prediction."""
    if not isinstance(prediction, Tensor) and getattr(loss, "__module__", None) == LOSSES:
        raise MlcError(
            f"the model gives a {type(prediction).__name__}, and {name_of(loss)} takes one tensor",  # type: ignore[arg-type]
            file=user_line(),
            remedy="Give a loss of your own that takes it apart: lambda prediction, target: nn.mse_loss(prediction[0], target).",
        )
    found = prediction if loss is None else loss(prediction, *targets)
    value, *more = found if isinstance(found, tuple) else (found,)
    return value, tuple(more)


def targets_of(loss: Loss | None, taken: Sequence[str]) -> tuple[str, ...]:
    """The names of what a loss takes beside the prediction, apart from those that the model takes."""
    return names_apart(() if loss is None else positional(loss)[1:], taken)


def names_apart(names: Sequence[str], taken: Sequence[str]) -> tuple[str, ...]:
    """The names, with underscores behind those that are taken."""
    found: list[str] = []
    for name in names:
        while name in taken or name in found:
            name += "_"
        found.append(name)
    return tuple(found)


def positional(function: Callable[..., Any]) -> list[str]:
    """The names of arguments that have to be given by position. Raises MlcError for one that has to be given by name, which a step cannot do."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    rows = [row for row in signature_of(function).parameters.values() if row.default is inspect.Parameter.empty]
    for row in rows:
        if row.kind is inspect.Parameter.KEYWORD_ONLY and row.name != "key":
            raise MlcError(
                f"{name_of(function)} takes {row.name} by name alone, and a step gives what it is given by position",
                file=user_line(),
                remedy=f"Leave the star out of its arguments, or bind it: functools.partial(model, {row.name}=...).",
            )
    return [row.name for row in rows if row.kind in kinds]


def require_number(value: Any, name: str, line: str) -> None:
    """Raises MlcError for a loss that is not one float."""
    if isinstance(value, Tensor) and value.shape == () and value.dtype.kind not in "iub":
        return
    if isinstance(value, Tensor):
        shown, remedy = type_text(value), "Take the mean or the sum of it: loss.mean()."
        if value.dtype.kind in "iub":
            remedy = "Counts and comparisons have no derivative: compute the loss from the floats of the prediction."
    else:
        shown = (
            "None"
            if value is None
            else f"{value!r} of Python"
            if isinstance(value, int | float)
            else type(value).__name__
        )
        remedy = "Return a tensor that is made of the prediction."
    raise MlcError(f"the loss of {name} is {shown}, and not a tensor of one float", file=line, remedy=remedy)


def require_influence(grads: Any, name: str, line: str) -> None:
    """Raises MlcError where no parameter has a way to the loss: each step would leave them as they are."""
    gradients = [gradient for gradient in flatten(grads)[0] if gradient.size]
    if gradients and all(number(gradient.data) == 0 for gradient in gradients):
        raise MlcError(
            f"the loss of {name} does not depend on its parameters",
            file=line,
            remedy="It has to be computed from the prediction; argmax, comparisons, rounding and stop_gradient have no derivative.",
        )


def require_float(path: str, value: Any) -> None:
    """Raises DTypeError for a parameter that is not of floats."""
    found = Tensor(value) if not isinstance(value, Tensor) else value
    if not is_float(dtype_name(found.dtype)):
        raise DTypeError(
            f"the parameter {path.removeprefix('.')} is {type_text(found)}, and has no gradient",
            file=user_line(),
            remedy="Parameters are floats; give numbers of another kind to the model as a part of the batch.",
        )
