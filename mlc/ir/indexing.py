"""What the values of an input must be because they are positions in a tensor, as plain data: a module states it, a plan carries it.

    IndexRange("input_ids", "-V", "V - 1", "rows of 'words.weight', node '/Gather'")

    input   every value of it, or of the part that `views` leave: the views that lie between the input and the indices
    low     least and largest position, negative ones counted from the end

mlc/ir/graph/indexed.py finds the ranges of a graph, mlc/runtime/indices.py tests them before a call.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np

from mlc.errors import InvalidModel
from mlc.ir import dims
from mlc.ir.dims import Dim, Extent


@dataclass(frozen=True)
class View:
    """One step from an input to indices. `numbers` are the axes of a transpose or broadcast, or the steps of a slice; `starts` those of a slice."""

    kind: Literal["reshape", "transpose", "broadcast", "slice"]
    shape: tuple[Extent, ...]
    numbers: tuple[int, ...] = ()
    starts: tuple[Extent, ...] = ()

    def of(self, x: np.ndarray, at: Callable[[Extent], int]) -> np.ndarray:
        """The view of an array; no element of a reshape, transpose or slice is copied unless NumPy has to."""
        shape = [at(e) for e in self.shape]
        if self.kind == "reshape":
            return x.reshape(shape)
        if self.kind == "transpose":
            return x.transpose(self.numbers)
        if self.kind == "broadcast":
            return np.broadcast_to(x.reshape([e if a in self.numbers else 1 for a, e in enumerate(shape)]), shape)
        cuts = []
        for start, size, step in zip(map(at, self.starts), shape, self.numbers, strict=True):
            stop = start + size * step
            cuts.append(slice(start, stop if stop >= 0 else None, step) if size else slice(0, 0))
        return x[tuple(cuts)]

    def misfit(self, before: Sequence[int], at: Callable[[Extent], int]) -> str | None:
        """Why it is no view of an array of this shape, where it is none."""
        shape, rank = [at(e) for e in self.shape], len(before)
        match self.kind:
            case "reshape":
                fits = prod(shape) == prod(before)
            case "transpose":
                fits = sorted(self.numbers) == list(range(rank)) and shape == [before[a] for a in self.numbers]
            case "broadcast":
                inside = len(self.numbers) == rank and all(0 <= a < len(shape) for a in self.numbers)
                fits = inside and list(self.numbers) == sorted(set(self.numbers))
                fits = fits and [shape[a] for a in self.numbers] == list(before)
            case _:
                fits = len(self.starts) == len(self.numbers) == len(shape) == rank and 0 not in self.numbers
                for start, size, step, whole in zip(self.starts, shape, self.numbers, before, strict=False):
                    ends = (at(start), at(start) + (size - 1) * step)
                    fits = fits and (0 in shape or all(0 <= end < whole for end in ends))
        return None if fits and min(shape, default=0) >= 0 else f"{self.kind} {shape} of {list(before)}"


@dataclass(frozen=True)
class IndexRange:
    """low <= value <= high for the values of an input, or of a view of it; `what` says what they index and who asks."""

    input: str
    low: Extent
    high: Extent
    what: str
    views: tuple[View, ...] = ()

    @property
    def symbols(self) -> frozenset[str]:
        extents = [self.low, self.high, *(e for view in self.views for e in (*view.shape, *view.starts))]
        return frozenset(s for e in extents if isinstance(e, Dim) for s in e.symbols())

    def viewed(self, x: np.ndarray, at: Callable[[Extent], int]) -> np.ndarray:
        """The values that index, of the array for the input. Raises InvalidModel where the views, which text may hold, do not fit it."""
        try:
            for view in self.views:
                x = view.of(x, at)
        except (IndexError, ValueError) as error:
            raise InvalidModel(
                f"the positions in input '{self.input}' are tested by a view that does not fit: {error}"
            ) from error
        return x

    def to_text(self) -> list[str]:
        """Five texts, which `from_text` reads."""
        views = [[v.kind, _texts(v.shape), list(v.numbers), _texts(v.starts)] for v in self.views]
        return [self.input, str(self.low), str(self.high), self.what, json.dumps(views)]

    @classmethod
    def from_text(cls, texts: Sequence[str]) -> IndexRange:
        """Raises ValueError, TypeError or MlcError for what to_text did not write."""
        name, low, high, what, text = texts
        views = tuple(_view(*row) for row in json.loads(text))
        return cls(str(name), dims.parse(low), dims.parse(high), str(what), views)


def _view(kind: Any, shape: Any, numbers: Any, starts: Any) -> View:
    if kind not in ("reshape", "transpose", "broadcast", "slice"):
        raise ValueError(f"there is no view '{kind}'")
    return View(
        kind,
        tuple(dims.parse(e) for e in shape),
        tuple(int(n) for n in numbers),
        tuple(dims.parse(e) for e in starts),
    )


def _texts(extents: Sequence[Extent]) -> list[str]:
    return [str(extent) for extent in extents]
