"""What stands between the brackets of x[...], as entries of an index (functions/index.py) and the arrays that it looks positions up in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlc.errors import DTypeError, ShapeError
from mlc.frontends.trace.functions.index import Array, At, Entry, New, Rest, Span
from mlc.ir.dims import Dim

Index = tuple[Entry, ...]


def normal_index(index: Any, rank: int, is_symbolic: Callable[[Any], bool]) -> tuple[Index, list[Any]]:
    """(entries, arrays) of an index on a tensor of this rank. A mask is the positions where it holds. Raises ShapeError, DTypeError."""
    parts = index if isinstance(index, tuple) else (index,)
    entries: list[Entry] = []
    arrays: list[Any] = []
    for part in parts:
        if part is None:
            entries.append(New())
        elif part is Ellipsis:
            if Rest() in entries:
                raise ShapeError("an index can hold one ellipsis (...)")
            entries.append(Rest())
        elif isinstance(part, slice):
            entries.append(_span(part))
        elif isinstance(part, Dim) or (isinstance(part, int | np.integer) and not isinstance(part, bool)):
            entries.append(At(part if isinstance(part, Dim) else int(part)))
        elif is_symbolic(part):
            if part.dtype == np.bool_:
                raise ShapeError(
                    "a traced mask as an index: how many elements it keeps is not known while tracing",
                    remedy="mlc.numpy.where(mask, x, 0) keeps the shape.",
                )
            entries.append(Array(len(arrays)))
            arrays.append(part)
        else:
            _add_array(np.asarray(part), entries, arrays)
    return tuple(entries), arrays


def has_sizes(index: Index) -> bool:
    """Whether symbolic sizes say what the index takes."""
    parts = [
        p
        for e in index
        for p in ((e.position,) if isinstance(e, At) else (e.start, e.stop) if isinstance(e, Span) else ())
    ]
    return any(isinstance(part, Dim) for part in parts)


def _add_array(part: np.ndarray, entries: list[Entry], arrays: list[Any]) -> None:
    if part.dtype == np.bool_:
        for positions in np.nonzero(part):
            entries.append(Array(len(arrays)))
            arrays.append(positions)
    elif part.dtype.kind in "iu" or part.size == 0:
        part = part.astype(np.int64)
        if part.ndim:
            entries.append(Array(len(arrays)))
            arrays.append(part)
        else:
            entries.append(At(int(part)))
    else:
        raise DTypeError(f"an index is an array of {part.dtype}, not of integers or bools")


def _span(part: slice) -> Span:
    step = 1 if part.step is None else part.step.__index__()
    if step == 0:
        raise ShapeError("a slice has the step 0")
    start, stop = (e if e is None or isinstance(e, Dim) else e.__index__() for e in (part.start, part.stop))
    return Span(start, stop, step)
