"""Running folds, places of extremes, order."""

import numpy as np
from numpy.typing import DTypeLike


def arg_first(x: np.ndarray, axis: int, largest: bool) -> np.ndarray:
    """The place of the largest or smallest element along an axis, the first of equals; 0 on an axis without elements."""
    if not x.shape[axis]:
        return np.zeros(np.delete(x.shape, axis), np.int64)
    return (np.argmax if largest else np.argmin)(x, axis).astype(np.int64)


def arg_last(x: np.ndarray, axis: int, largest: bool) -> np.ndarray:
    """The place of the largest or smallest element along an axis, the last of equals; 0 on an axis without elements."""
    if not x.shape[axis]:
        return np.zeros(np.delete(x.shape, axis), np.int64)
    return (x.shape[axis] - 1 - (np.argmax if largest else np.argmin)(np.flip(x, axis), axis)).astype(np.int64)


def running(
    fold: np.ufunc, x: np.ndarray, axis: int, start: float, exclusive: bool = False, reverse: bool = False
) -> np.ndarray:
    """np.cumsum and its like for any fold; `exclusive` leaves the element itself out, `reverse` runs from the end."""
    x = np.flip(x, axis) if reverse else x
    if exclusive and x.shape[axis]:
        x = np.concatenate([np.full_like(x.take([0], axis), start), np.delete(x, -1, axis)], axis)
    result = fold.accumulate(x, axis, dtype=x.dtype)
    return np.flip(result, axis) if reverse else result


def top_k(
    x: np.ndarray, k: int, axis: int, largest: bool = True, keys: DTypeLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k largest (or smallest) elements along an axis in order, and their places; of equals the first comes first."""
    sorted_by = x if keys is None else x.astype(keys)
    if largest:  # the order of the reversed array, ascending, and back
        order = x.shape[axis] - 1 - np.flip(np.argsort(np.flip(sorted_by, axis), axis=axis, kind="stable"), axis)
    else:
        order = np.argsort(sorted_by, axis=axis, kind="stable")
    order = order.take(np.arange(k), axis).astype(np.int64)
    return np.take_along_axis(x, order, axis), order
