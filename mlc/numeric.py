"""Whether two results agree: relative error by output, tolerances by dtype, and the error that says what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlc.errors import NumericMismatch
from mlc.ir.dtypes import TABLE
from mlc.ir.types import dtype_name

# Largest difference allowed, as a share of the largest |reference|. Integers and truth values are equal or wrong.
RTOL: Mapping[str, float] = {name: row.tolerance for name, row in TABLE.items() if row.tolerance}
ATOL = 1e-6  # where the reference is all but zero
_PIECE = 1 << 20  # elements that are compared in f64 at once
# Native code may count what is smaller as 0, in the float that it computes in.
SMALLEST_NORMAL: Mapping[str, float] = {
    name: row.smallest_normal for name, row in TABLE.items() if row.kind == "float" and not row.storage
}


@dataclass(frozen=True)
class Difference:
    """How far one output is from its reference. `error` is max |got - want| / max |want|, infinite where shapes, dtypes or NaNs disagree."""

    name: str
    error: float
    tolerance: float
    text: str = ""  # what differs, where it does

    @property
    def agrees(self) -> bool:
        return not self.text


def compare_arrays(
    name: str, got: np.ndarray, want: np.ndarray, rtol: float | None = None, atol: float | None = None
) -> Difference:
    """`got` against `want`. Infinities and NaNs must be in the same places; differences below the smallest normal number are none."""
    got, want = np.asarray(got), np.asarray(want)
    dtype = dtype_name(want.dtype)
    tolerance = RTOL.get(dtype, 0.0) if rtol is None else rtol
    if got.shape != want.shape or got.dtype != want.dtype:
        text = f"{dtype_name(got.dtype)}{list(got.shape)}, the reference is {dtype}{list(want.shape)}"
        return Difference(name, float("inf"), tolerance, text)
    if got.size == 0:
        return Difference(name, 0.0, tolerance)
    x, y = got.reshape(-1), want.reshape(-1)
    worst, scale, where = 0.0, 0.0, 0
    for start in range(0, x.size, _PIECE):
        gap, most, strange = _gaps(x[start : start + _PIECE], y[start : start + _PIECE])
        if strange is not None:
            return Difference(name, float("inf"), tolerance, _place(got, want, start + strange))
        gap = np.where(gap < SMALLEST_NORMAL.get(dtype, 0.0), 0.0, gap)
        scale, top = max(scale, most), int(np.argmax(gap))
        if gap[top] > worst:
            worst, where = float(gap[top]), start + top
    error = worst / scale if scale else worst
    allowed = tolerance * scale + (0.0 if dtype not in RTOL else ATOL if atol is None else atol)
    return Difference(name, error, tolerance, "" if worst <= allowed else _place(got, want, where))


def _gaps(got: np.ndarray, want: np.ndarray) -> tuple[np.ndarray, float, int | None]:
    """(differences, 0 where the reference is not finite; the largest |reference|; where one is no number and the other not the same)"""
    x, y = _wide(got), _wide(want)
    finite = np.isfinite(y)
    strange = ~finite & ~((x == y) | (np.isnan(x) & np.isnan(y))) | finite & ~np.isfinite(x)
    gap = np.abs(np.subtract(x, y, out=np.zeros_like(x), where=finite))
    return gap, float(np.max(np.abs(y[finite]), initial=0.0)), int(np.argmax(strange)) if strange.any() else None


def compare_outputs(
    names: Sequence[str],
    got: Sequence[np.ndarray],
    want: Sequence[np.ndarray],
    rtol: float | None = None,
    atol: float | None = None,
) -> list[Difference]:
    """All outputs, in order."""
    return [compare_arrays(*row, rtol, atol) for row in zip(names, got, want, strict=True)]


def largest(differences: Sequence[Difference]) -> float:
    return max((d.error for d in differences), default=0.0)


def require_agreement(differences: Sequence[Difference], reference: str, remedy: str | None = None) -> None:
    """Raises NumericMismatch about the output that is farthest off."""
    wrong = [d for d in differences if not d.agrees]
    if wrong:
        worst = max(wrong, key=lambda d: d.error)
        raise NumericMismatch(
            f"output '{worst.name}' differs from {reference}: max rel err {worst.error:.2g} (tolerance {worst.tolerance:g})",
            shapes=[("worst element", worst.name, worst.text)],
            remedy=remedy,
        )


def _wide(array: np.ndarray) -> np.ndarray:
    """Integers of 64 bits do not fit f64 exactly; their differences that matter do."""
    return array.astype(np.longdouble if array.dtype.kind in "iu" and array.dtype.itemsize == 8 else np.float64)


def _place(got: np.ndarray, want: np.ndarray, flat: int) -> str:
    where = [int(i) for i in np.unravel_index(flat, want.shape)]
    return f"at {where}: {got.reshape(-1)[flat]}, the reference has {want.reshape(-1)[flat]}"
