"""Losses of predictions and targets. `reduction` is "mean", "sum" or "none", which keeps the loss of each element.

Each is computed in the dtype of the predictions and finite wherever its value is.
"""

from __future__ import annotations

from typing import Any, Literal

import mlc.numpy as mnp
from mlc.errors import DTypeError, MlcError, ShapeError
from mlc.frontends.trace.tensor import Tensor, type_text
from mlc.frontends.trace.tracing import user_line
from mlc.ir.types import dtype_name, is_float
from mlc.nn.functional import log_softmax, positions, softplus

Reduction = Literal["mean", "sum", "none"]


def mse_loss(x: Any, target: Any, reduction: Reduction = "mean") -> Tensor:
    """(x - target)**2."""
    x, target = _pair("mse_loss", x, target)
    return _reduced((x - target) ** 2, reduction)


def l1_loss(x: Any, target: Any, reduction: Reduction = "mean") -> Tensor:
    """|x - target|; the derivative at 0 is 0."""
    x, target = _pair("l1_loss", x, target)
    return _reduced(abs(x - target), reduction)


def huber_loss(x: Any, target: Any, delta: float = 1.0, reduction: Reduction = "mean") -> Tensor:
    """d**2 / 2 of d = |x - target| up to delta, and from there on delta * (d - delta / 2). Huber 1964."""
    if delta <= 0:
        raise MlcError(f"huber_loss: delta is {delta}, and must be positive", file=user_line())
    x, target = _pair("huber_loss", x, target)
    distance = abs(x - target)
    near = mnp.minimum(distance, delta)
    return _reduced(near * (distance - 0.5 * near), reduction)


def cross_entropy(
    logits: Any,
    target: Any,
    axis: int = -1,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """-sum(p * log_softmax(logits)) over the classes, those of `axis`.

    target is the number of the right class, integers of the shape of the logits without `axis`; or p itself, floats of their shape. Of
    `label_smoothing` e, p is 1 - e at the right class plus e / classes everywhere. Rows whose target is `ignore_index` count for nothing, also not
    in the mean.
    """
    logits, target = mnp.asarray(logits), mnp.asarray(target)
    logs = log_softmax(logits, axis)
    if is_float(dtype_name(target.dtype)):
        _same_shape("cross_entropy", logits, target)
        if ignore_index is not None:
            raise MlcError(
                "cross_entropy: ignore_index names a class, and the target is probabilities", file=user_line()
            )
        target = target * (1 - label_smoothing) + label_smoothing / logits.shape[axis] if label_smoothing else target
        return _reduced(-(target * logs).sum(axis), reduction)
    right, kept = _picked("cross_entropy", logs, target, axis, ignore_index)
    found = -right
    if label_smoothing:
        found = found * (1 - label_smoothing) - logs.mean(axis) * label_smoothing
    return _reduced(found, reduction, kept)


def nll_loss(
    log_probabilities: Any, target: Any, axis: int = -1, ignore_index: int | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """-log_probabilities of the right class, whose number the target is; see `cross_entropy`."""
    right, kept = _picked("nll_loss", mnp.asarray(log_probabilities), mnp.asarray(target), axis, ignore_index)
    return _reduced(-right, reduction, kept)


def binary_cross_entropy_with_logits(logits: Any, target: Any, reduction: Reduction = "mean") -> Tensor:
    """-t log(sigmoid(x)) - (1 - t) log(1 - sigmoid(x)) of logits x and targets t in 0 .. 1."""
    x, t = _pair("binary_cross_entropy_with_logits", logits, target)
    return _reduced(t * softplus(-x) + (1 - t) * softplus(x), reduction)  # no difference of large numbers


def kl_divergence(log_probabilities: Any, target: Any, axis: int = -1, reduction: Reduction = "mean") -> Tensor:
    """sum(p * (log p - log_probabilities)) along `axis` of target probabilities p, of which 0 adds nothing. The mean is over what is left: distributions."""
    logs, p = _pair("kl_divergence", log_probabilities, target)
    safe = mnp.where(p > 0, p, 1)
    return _reduced((p * (mnp.log(safe) - mnp.where(p > 0, logs, 0))).sum(axis), reduction)


def _picked(
    what: str, logs: Tensor, target: Tensor, axis: int, ignore_index: int | None
) -> tuple[Tensor, Tensor | None]:
    """(the logarithms at the targets, those of class 0 where the target is `ignore_index`; where it is not)"""
    if not -logs.ndim <= axis < logs.ndim:
        raise ShapeError(f"{what}: {type_text(logs)} has no axis {axis}", file=user_line())
    place = axis % logs.ndim
    if target.shape != (*logs.shape[:place], *logs.shape[place + 1 :]):
        raise ShapeError(
            f"{what}: the target is {type_text(target)}, the predictions {type_text(logs)} with classes along axis {axis}",
            file=user_line(),
            remedy="The target has the shape of the predictions without that axis; axis= says which it is.",
        )
    kept = None if ignore_index is None else target != ignore_index
    known = positions(f"{what}: the target", target if kept is None else mnp.where(kept, target, 0), logs.shape[place])
    right = mnp.take_along_axis(logs, mnp.expand_dims(known, place), place).squeeze(place)
    return right, kept


def _pair(what: str, x: Any, target: Any) -> tuple[Tensor, Tensor]:
    """Both as tensors of one shape, the target in x's dtype."""
    x, target = mnp.asarray(x), mnp.asarray(target)
    _same_shape(what, x, target)
    if not is_float(dtype_name(x.dtype)):
        raise DTypeError(f"{what}: the predictions are {type_text(x)}, not floats", file=user_line())
    return x, target.astype(x.dtype)


def _same_shape(what: str, x: Tensor, target: Tensor) -> None:
    if x.shape != target.shape:
        raise ShapeError(
            f"{what}: the predictions are {type_text(x)}, the target {type_text(target)}", file=user_line()
        )


def _reduced(loss: Tensor, reduction: Reduction, kept: Tensor | None = None) -> Tensor:
    """The loss of all elements, or of those kept."""
    loss = loss if kept is None else mnp.where(kept, loss, 0)
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if reduction != "mean":
        raise MlcError(f"reduction is mean, sum or none, not {reduction!r}", file=user_line())
    return loss.mean() if kept is None else loss.sum() / kept.astype(loss.dtype).sum()
