"""Looking up, writing and choosing by position."""

from collections.abc import Sequence

import numpy as np


def take(x: np.ndarray, indices: np.ndarray, axis: int) -> np.ndarray:
    """np.take; a negative index counts from the end, and of one that is out of range the nearest is taken."""
    size, indices = x.shape[axis], indices.astype(np.int64)
    return x.take(np.clip(np.where(indices < 0, indices + size, indices), 0, size - 1), axis)


def positions(
    x: Sequence[int], indices: np.ndarray, shape: Sequence[int], loops: Sequence[int], axes: Sequence[int]
) -> list[np.ndarray]:
    """Where each axis of x is read or written at every point of the loops, which have this shape; see gather."""
    grid = np.indices(shape, sparse=True)
    columns = iter(np.moveaxis(indices.astype(np.int64), -1, 0))
    order = np.argsort(loops)
    found = []
    for size, axis in zip(x, axes, strict=True):
        if axis >= 0:
            found.append(grid[axis])
        else:
            place = next(columns).transpose(order).reshape([n if d in loops else 1 for d, n in enumerate(shape)])
            found.append(np.where(place < 0, place + size, place))
    return found


def gather(x: np.ndarray, indices: np.ndarray, loops: Sequence[int], axes: Sequence[int]) -> np.ndarray:
    """result[d0, d1, ...] = x[...], whose axis i is read at loop d_axes[i] or, of -1, at the next column of indices[d_loops, :].

    A negative index counts from the end, and of one that is out of range the nearest is taken.
    """
    extents = {a: n for a, n in zip(axes, x.shape, strict=True) if a >= 0} | dict(
        zip(loops, indices.shape, strict=False)
    )
    shape = [extents[loop] for loop in sorted(extents)]
    if 0 in shape:
        return np.zeros(shape, x.dtype)
    if 0 in x.shape:
        raise ValueError(f"elements of shape {shape} are read from an array without elements, {list(x.shape)}")
    where = positions(x.shape, indices, shape, loops, axes)
    return np.broadcast_to(x[tuple(np.clip(p, 0, n - 1) for p, n in zip(where, x.shape, strict=True))], shape)


def scatter(
    x: np.ndarray,
    indices: np.ndarray,
    updates: np.ndarray,
    loops: Sequence[int],
    axes: Sequence[int],
    fold: np.ufunc | None = None,
) -> np.ndarray:
    """A copy of x with the updates written, or folded in, where `gather` would read; those out of range are left out."""
    result = x.copy()
    if updates.size == 0:
        return result
    found = positions(x.shape, indices, updates.shape, loops, axes)
    where = [np.broadcast_to(p, updates.shape) for p in found]
    inside = np.ones(updates.shape, bool)
    for p, n in zip(where, x.shape, strict=True):
        inside &= (p >= 0) & (p < n)
    places = tuple(p[inside] for p in where)
    if fold is None:
        result[places] = updates[inside]
    else:
        fold.at(result, places, updates[inside])
    return result


def nonzero(flags: np.ndarray) -> tuple[np.ndarray, np.int64]:
    """The places of the true elements with zeros behind them, and how many there are."""
    found = np.flatnonzero(flags)
    return np.pad(found, (0, len(flags) - len(found))), np.int64(len(found))


def overlapping(box: np.ndarray, others: np.ndarray, limit: float) -> np.ndarray:
    """Whether the intersection of a box with each of the others is more than this part of their union. Corners: y0, x0, y1, x1."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = sides[:, 0] * sides[:, 1]
    own, their = (box[2] - box[0]) * (box[3] - box[1]), np.prod(others[:, 2:] - others[:, :2], axis=1)
    union = own + their - shared
    real = (sides > 0).all(axis=1) & (shared > 0) & (own > 0) & (their > 0) & (union > 0)
    return real & (shared / union > limit)


def non_max_suppression(
    boxes: np.ndarray, scores: np.ndarray, candidates: np.ndarray, overlap: float, limit: int
) -> np.ndarray:
    """Per batch and class the boxes in the order of their scores, without those that overlap a better one; -1 behind the last."""
    result = np.full((*scores.shape[:2], limit), -1)
    for b, c in np.ndindex(*scores.shape[:2]):
        left = np.flatnonzero(candidates[b, c])
        for slot in range(limit if left.size else 0):
            best = left[np.argmax(scores[b, c, left])]
            result[b, c, slot] = best
            left = left[(left != best) & ~overlapping(boxes[b, best], boxes[b, left], overlap)]
            if not left.size:
                break
    return result
