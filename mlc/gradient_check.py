"""Compare the gradients of a function with differences of its values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlc.differentiation import jvp, vjp
from mlc.errors import MlcError, NoDerivative, NumericMismatch
from mlc.frontends.trace.pytree import flatten
from mlc.frontends.trace.tensor import Tensor, array_of
from mlc.frontends.trace.traced import name_of
from mlc.frontends.trace.traced_body import is_tensor
from mlc.frontends.trace.tracing import user_line

_STEP, _TOLERANCE, _ROUGH = 1e-5, 2e-6, 1e-3


def check_grads(
    function: Callable[..., Any],
    args: Sequence[Any],
    *,
    directions: int = 4,
    modes: Sequence[str] = ("reverse", "forward"),
    seed: int = 0,
) -> None:
    """Check the derivatives of function(*args) in float64: along random unit directions v the products <gradient, v> and jvp(v) against central
    differences of two widths, extrapolated (Richardson): (4 d(e) - d(2e)) / 3, d(e) = (f(x + e v) - f(x - e v)) / 2e. The width grows with |x|.

    Floats among the arguments (in pytrees) are moved, all else stays. Of several results, and of tensors, a random weighted sum is taken.
    Raises NumericMismatch where they differ by more than 2e-6, MlcError where the differences of both widths, or those on both sides, do: the function is not smooth there.
    """
    rng = np.random.default_rng(seed)
    leaves, tree = flatten(tuple(args))
    arrays = [array_of(leaf, None, copy=True) if is_tensor(leaf) else None for leaf in leaves]
    moved = [n for n, a in enumerate(arrays) if a is not None and a.dtype.kind == "f"]
    points = {n: np.asarray(arrays[n], np.float64) for n in moved}
    title = name_of(function)
    if not moved:
        raise MlcError(f"check_grads: no argument of {title} is of floats", file=user_line())

    def at(values: dict[int, Any]) -> Any:
        return function(*tree.unflatten([values.get(n, leaf) for n, leaf in enumerate(leaves)]))

    def weighted(*values: Any) -> Any:
        found = flatten(at(dict(zip(moved, values, strict=True))))[0]
        total: Any = 0.0
        draw = np.random.default_rng(seed + 1)
        for y in found:
            y = y if isinstance(y, Tensor) else Tensor(y)
            weights = draw.standard_normal(y.shape)  # type: ignore[arg-type]
            if y.dtype.kind == "f":
                total = total + (y.astype("f64") * weights).sum()
        return total

    start = [points[n] for n in moved]
    tensors = [Tensor(x) for x in start]
    _, pullback = vjp(weighted, *tensors)
    gradients = [g.numpy() for g in pullback(Tensor(np.float64(1)))] if "reverse" in modes else None
    scale = max(1.0, *(float(np.abs(x).max(initial=0)) for x in start))
    for number in range(directions):
        drawn = [rng.standard_normal(x.shape) for x in start]
        length = np.sqrt(sum(float((v * v).sum()) for v in drawn)) or 1.0
        v = [part / length for part in drawn]

        def at_step(e: float, v: list[np.ndarray] = v) -> float:
            return float(weighted(*(Tensor(x + e * part) for x, part in zip(start, v, strict=True))))

        e = _STEP * scale
        before, here, behind = (at_step(k * e) for k in (-1, 0, 1))
        narrow, wide = (behind - before) / (2 * e), (at_step(2 * e) - at_step(-2 * e)) / (4 * e)
        left, right = (here - before) / e, (behind - here) / e
        expected = (4 * narrow - wide) / 3
        rough = max(abs(narrow - wide), abs(right - left))
        if not rough <= _ROUGH * max(1.0, abs(narrow)):
            raise MlcError(
                f"check_grads: {title} is not smooth here",
                file=user_line(),
                remedy=f"Along direction {number} it changes by {left:.6g} in front of the point and by {right:.6g} behind it.",
            )
        found = {}
        if gradients is not None:
            found["reverse"] = sum(float((g * part).sum()) for g, part in zip(gradients, v, strict=True))
        if "forward" in modes:
            found["forward"] = _slope(weighted, tensors, [Tensor(part) for part in v])
        for mode, slope in found.items():
            if not abs(slope - expected) <= _TOLERANCE * max(1.0, scale, abs(expected)):
                raise NumericMismatch(
                    f"check_grads: {title} changes by {expected:.9g} along direction {number}, and {mode} mode says {slope:.9g}",
                    file=user_line(),
                )


def _slope(function: Callable[..., Any], tensors: Sequence[Tensor], direction: Sequence[Tensor]) -> float:
    """The change along a direction, by forward mode. Raises NoDerivative where that has no way through, with what to do about it."""
    try:
        return float(jvp(function, tensors, direction)[1])
    except NoDerivative as error:
        error.remedy = 'check_grads(..., modes=["reverse"]) leaves forward mode out.'
        raise
