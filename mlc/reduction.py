"""Shrink a model, or a module of the graph dialect, while something still holds of it: the smallest that shows a fault.

    reduce(model, lambda candidate: fails(candidate))

Cuts are tried the largest first: halves of the nodes, quarters, single ones (delta debugging, Zeller and Hildebrandt 2002), then outputs,
nodes that can be bypassed, sizes, weights, attributes; all again until none of them holds. The same tries in the same order every time.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from onnx import ModelProto

from mlc.frontends.onnx import smaller
from mlc.ir.module import Module
from mlc.passes.graph import cuts as smaller_ir

_SIZES = (1, 2, 3)
_T = TypeVar("_T")
_M = TypeVar("_M", ModelProto, Module)


@dataclass(frozen=True)
class Reduction(Generic[_M]):
    """`complete`: no cut is left that holds; else the time was over before."""

    model: _M
    tries: int
    complete: bool


@dataclass(frozen=True)
class _Form(Generic[_M]):
    """What is to be known of a kind of models."""

    digest: Callable[[_M], bytes]
    is_sound: Callable[[_M], bool]
    steps: Sequence[Callable[[_Search[_M]], bool]]


def reduce(
    model: _M,
    holds: Callable[[_M], bool],
    seconds: float | None = None,
    progress: Callable[[_M, int], None] | None = None,
) -> Reduction[_M]:
    """The smallest model found for which `holds`, which is taken to hold for `model`; `progress` sees each smaller one and the number of
    tries. Stops where it stands when the time is over or at KeyboardInterrupt."""
    form: _Form[_M] = _IR if isinstance(model, Module) else _ONNX  # type: ignore[assignment]
    search = _Search(model, form, holds, None if seconds is None else time.monotonic() + seconds, progress)
    try:
        if isinstance(model, ModelProto):
            search.attempt(smaller.tidy(model))
        while sum(step(search) for step in form.steps):
            pass
    except (_Over, KeyboardInterrupt):
        return Reduction(search.best, search.tries, complete=False)
    return Reduction(search.best, search.tries, complete=True)


class _Over(Exception):
    """The time is over."""


class _Search(Generic[_M]):
    def __init__(
        self,
        model: _M,
        form: _Form[_M],
        holds: Callable[[_M], bool],
        end: float | None,
        progress: Callable[[_M, int], None] | None,
    ):
        self.best: _M = model
        self.form: _Form[_M] = form
        self.holds: Callable[[_M], bool] = holds
        self.progress: Callable[[_M, int], None] | None = progress
        self.end = end
        self.tries = 0
        self._seen = {form.digest(model)}
        self._sound = form.is_sound(model)
        self._types: smaller.Types | None = None

    def types(self: _Search[ModelProto]) -> smaller.Types:
        if self._types is None:
            self._types = smaller.types(self.best)
        return self._types

    def attempt(self, candidate: _M | None) -> bool:
        """Whether it holds of a candidate, which is the best then. None, what was tried before and,
        unless the model is such itself, one with nodes that break their schema do not count as tries."""
        if candidate is None or (digest := self.form.digest(candidate)) in self._seen:
            return False
        if self.end is not None and time.monotonic() > self.end:
            raise _Over
        self._seen.add(digest)
        if self._sound and not self.form.is_sound(candidate):
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


def _digest_ir(module: Module) -> bytes:
    """Of the text, and of some numbers of each weight, which are all the same or what they were in the beginning."""
    found = hashlib.sha256(module.text().encode())
    for key in smaller_ir.weights_of(module):
        found.update(np.ascontiguousarray(module.weights.get(key).reshape(-1)[:1024]).tobytes())
    return found.digest()


def _by_parts(
    search: _Search[_M], items: Callable[[], Sequence[_T]], without: Callable[[Sequence[_T]], _M | None]
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


# Steps for ONNX: each tries cuts of one kind until none of them holds, and says whether one did -------------------------------
def _drop_nodes(search: _Search[ModelProto]) -> bool:
    return _by_parts(
        search,
        lambda: range(len(search.best.graph.node)),
        lambda gone: smaller.without_nodes(search.best, set(gone), search.types()),
    )


def _drop_outputs(search: _Search[ModelProto]) -> bool:
    def names() -> list[str]:
        return [value.name for value in search.best.graph.output]

    def rest(gone: Sequence[str]) -> ModelProto | None:
        kept = [name for name in names() if name not in gone]
        return smaller.with_outputs(search.best, kept) if kept else None

    return _by_parts(search, names, rest)


def _bypass(search: _Search[ModelProto]) -> bool:
    found = False
    for number in reversed(range(len(search.best.graph.node))):
        if number < len(search.best.graph.node):
            found |= any(search.attempt(c) for c in smaller.bypassed(search.best, number, search.types()))
    return found


def _shrink(search: _Search[ModelProto]) -> bool:
    found = False
    for old in smaller.extents(search.best):
        sizes = _SIZES if isinstance(old, str) else sorted({*_SIZES, old // 2})
        lower = (new for new in sizes if isinstance(old, str) or new < old)
        found |= any(search.attempt(c) for new in lower for c in smaller.resized(search.best, old, new))
    return found


def _simplify_weights(search: _Search[ModelProto]) -> bool:
    found = False
    for value in (0, 1):
        found |= _by_parts(
            search,
            lambda: [tensor.name for tensor in search.best.graph.initializer],
            lambda names, value=value: smaller.plain_weights(search.best, set(names), value),  # type: ignore[misc]
        )
    return found


def _simplify_nodes(search: _Search[ModelProto]) -> bool:
    found = False
    while any(search.attempt(candidate) for candidate in smaller.plainer_nodes(search.best)):
        found = True
    return found


_ONNX = _Form[ModelProto](
    _digest,
    smaller.is_sound,
    (_drop_nodes, _drop_outputs, _bypass, _shrink, _simplify_weights, _simplify_nodes),
)


# Steps for modules -------------------------------------------------------------------------------------------------------
def _drop_ops(search: _Search[Module]) -> bool:
    return _by_parts(
        search,
        lambda: range(len(smaller_ir.ops_of(search.best))),
        lambda gone: smaller_ir.without_ops(search.best, set(gone)),
    )


def _drop_results(search: _Search[Module]) -> bool:
    def names() -> list[str]:
        return search.best.output_names

    return _by_parts(
        search, names, lambda gone: smaller_ir.with_outputs(search.best, [n for n in names() if n not in gone])
    )


def _change_ops(search: _Search[Module]) -> bool:
    """Bypass ops, and put bodies in the place of ops."""
    found = False
    for cut in (smaller_ir.opened, smaller_ir.bypassed):
        for number in reversed(range(len(smaller_ir.places_of(search.best)))):
            if number < len(smaller_ir.places_of(search.best)):
                found |= any(search.attempt(candidate) for candidate in cut(search.best, number))
    return found


def _plain_weights(search: _Search[Module]) -> bool:
    found = False
    for value in (0, 1):
        found |= _by_parts(
            search,
            lambda: smaller_ir.weights_of(search.best),
            lambda keys, value=value: smaller_ir.plain_weights(search.best, set(keys), value),  # type: ignore[misc]
        )
    return found


_IR = _Form[Module](_digest_ir, smaller_ir.is_sound, (_drop_ops, _drop_results, _change_ops, _plain_weights))
