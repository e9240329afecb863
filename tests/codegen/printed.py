"""Modules printed as NumPy source, executed, and compared with the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlc.codegen.python.source import source, weight_ops
from mlc.ir.interpreter import run, unshared
from mlc.ir.module import Module


def namespace(text: str) -> dict[str, Any]:
    """What a program defines."""
    found: dict[str, Any] = {}
    exec(compile(text, "<printed>", "exec"), found)  # noqa: S102 of our own text
    return found


def call(module: Module, arrays: Sequence[np.ndarray], text: str | None = None) -> list[np.ndarray]:
    """The results of the printed program, or of its text that has been printed before."""
    weights = {op.weight_key: module.weights.get(op.weight_key) for op in weight_ops(module)}
    found = namespace(source(module) if text is None else text)["main"](
        *arrays, **({"weights": weights} if weights else {})
    )
    return [np.asarray(y) for y in (found if isinstance(found, tuple) else (found,))]


def assert_agrees(
    module: Module, arrays: Sequence[np.ndarray], tolerance: float = 1e-5, text: str | None = None, least: float = 0.0
) -> None:
    """The printed program gives what the interpreter gives: dtypes, shapes and integers the same, floats up to a part of the largest, or of
    `least`: sums of f32, which the interpreter takes in f64, may cancel."""
    with np.errstate(all="ignore"):
        want = run(module, unshared(module, arrays))
    got = call(module, unshared(module, arrays), text)
    for y, reference in zip(got, want, strict=True):
        assert (y.dtype, y.shape) == (reference.dtype, reference.shape)
        if reference.dtype.kind in "iub":
            np.testing.assert_array_equal(y, reference)
        else:
            assert distance(y, reference, least) <= tolerance


def distance(y: np.ndarray, reference: np.ndarray, least: float = 0.0) -> float:
    """The largest difference as a part of the largest finite element; NaNs and infinities are where the reference has them."""
    y, reference = y.astype(np.float64), reference.astype(np.float64)
    finite = np.isfinite(reference)
    np.testing.assert_array_equal(y[~finite], reference[~finite])
    gap = np.abs(y[finite] - reference[finite]).max(initial=0.0)
    scale = np.abs(reference[finite]).max(initial=least)
    return float(gap / scale if gap else 0.0)
