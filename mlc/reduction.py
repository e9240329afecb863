"""Shrink a model while something still holds of it: the smallest model that shows a fault.

    reduce(model, lambda candidate: fails(candidate))

Cuts are tried the largest first: halves of the nodes, quarters, single ones (delta debugging, Zeller and Hildebrandt 2002), then outputs,
nodes that can be bypassed, sizes, weights, attributes; all again until none of them holds. The same tries in the same order every time.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from onnx import ModelProto

from mlc.frontends.onnx import smaller

_SIZES = (1, 2, 3)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Reduction:
    """`complete`: no cut is left that holds; else the time was over before."""

    model: ModelProto
    tries: int
    complete: bool


def reduce(
    model: ModelProto,
    holds: Callable[[ModelProto], bool],
    seconds: float | None = None,
    progress: Callable[[ModelProto, int], None] | None = None,
) -> Reduction:
    """The smallest model found for which `holds`, which is taken to hold for `model`; `progress` sees each smaller one and the number of
    tries. Stops where it stands when the time is over or at KeyboardInterrupt."""
    search = _Search(model, holds, None if seconds is None else time.monotonic() + seconds, progress)
    try:
        search.attempt(smaller.tidy(model))
        while sum(step(search) for step in _STEPS):
            pass
    except (_Over, KeyboardInterrupt):
        return Reduction(search.best, search.tries, complete=False)
    return Reduction(search.best, search.tries, complete=True)


class _Over(Exception):
    """The time is over."""


class _Search:
    def __init__(
        self,
        model: ModelProto,
        holds: Callable[[ModelProto], bool],
        end: float | None,
        progress: Callable[[ModelProto, int], None] | None,
    ):
        self.best, self.holds, self.end, self.progress = model, holds, end, progress
        self.tries = 0
        self._seen = {_digest(model)}
        self._sound = smaller.is_sound(model)
        self._types: smaller.Types | None = None

    @property
    def types(self) -> smaller.Types:
        if self._types is None:
            self._types = smaller.types(self.best)
        return self._types

    def attempt(self, candidate: ModelProto | None) -> bool:
        """Whether it holds of a candidate, which is the best then. None, what was tried before and,
        unless the model is such itself, one with nodes that break their schema do not count as tries."""
        if candidate is None or (digest := _digest(candidate)) in self._seen:
            return False
        if self.end is not None and time.monotonic() > self.end:
            raise _Over
        self._seen.add(digest)
        if self._sound and not smaller.is_sound(candidate):
            return False
        self.tries += 1
        if not self.holds(candidate):
            return False
        self.best, self._types = candidate, None
        if self.progress is not None:
            self.progress(candidate, self.tries)
        return True


def _digest(model: ModelProto) -> bytes:
    return hashlib.sha256(model.SerializeToString(deterministic=True)).digest()


# Steps: each tries cuts of one kind until none of them holds, and says whether one did -------------------------------
def _drop_nodes(search: _Search) -> bool:
    return _by_parts(
        search,
        lambda: range(len(search.best.graph.node)),
        lambda gone: smaller.without_nodes(search.best, set(gone), search.types),
    )


def _drop_outputs(search: _Search) -> bool:
    def names() -> list[str]:
        return [value.name for value in search.best.graph.output]

    def rest(gone: Sequence[str]) -> ModelProto | None:
        kept = [name for name in names() if name not in gone]
        return smaller.with_outputs(search.best, kept) if kept else None

    return _by_parts(search, names, rest)


def _bypass(search: _Search) -> bool:
    found = False
    for number in reversed(range(len(search.best.graph.node))):
        if number < len(search.best.graph.node):
            found |= any(search.attempt(c) for c in smaller.bypassed(search.best, number, search.types))
    return found


def _shrink(search: _Search) -> bool:
    found = False
    for old in smaller.extents(search.best):
        sizes = _SIZES if isinstance(old, str) else sorted({*_SIZES, old // 2})
        lower = (new for new in sizes if isinstance(old, str) or new < old)
        found |= any(search.attempt(c) for new in lower for c in smaller.resized(search.best, old, new))
    return found


def _simplify_weights(search: _Search) -> bool:
    found = False
    for value in (0, 1):
        found |= _by_parts(
            search,
            lambda: [tensor.name for tensor in search.best.graph.initializer],
            lambda names, value=value: smaller.plain_weights(search.best, set(names), value),  # type: ignore[misc]
        )
    return found


def _simplify_nodes(search: _Search) -> bool:
    found = False
    while any(search.attempt(candidate) for candidate in smaller.plainer_nodes(search.best)):
        found = True
    return found


_STEPS = (_drop_nodes, _drop_outputs, _bypass, _shrink, _simplify_weights, _simplify_nodes)


def _by_parts(
    search: _Search, items: Callable[[], Sequence[_T]], without: Callable[[Sequence[_T]], ModelProto | None]
) -> bool:
    """All items at once, then halves, quarters and so on, from the last to the first."""
    found, size = False, len(items())
    while size:
        end = len(items())
        while end > 0:
            if search.attempt(without(items()[max(0, end - size) : end])):
                found = True
            end = min(end - size, len(items()))
        size //= 2
    return found
