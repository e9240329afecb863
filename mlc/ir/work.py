"""What is at work: long loops of every stage name the node, pass, kernel or weight they are at, for whoever watches. Nobody does: no cost.

with watched(report):                     # report("lower: gemm_3", 12, 19)
    with within("lower", 12, 19):
        at("gemm_3")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Watch = Callable[[str, int, int], None]  # name, done, total; a total of 0: not counted

# Of this thread of control, so that what is compiled beside it is not mixed in.
_WATCH: ContextVar[Watch | None] = ContextVar("mlc_work", default=None)


def at(name: str, done: int = 0, total: int = 0) -> None:
    """Work on `name` begins; `done` of `total` are behind it."""
    watch = _WATCH.get()
    if watch is not None:
        watch(name, done, total)


@contextmanager
def watched(watch: Watch | None) -> Iterator[None]:
    """Tell `watch` in place of whoever watched before."""
    token = _WATCH.set(watch)
    try:
        yield
    finally:
        _WATCH.reset(token)


@contextmanager
def within(name: str, done: int = 0, total: int = 0) -> Iterator[None]:
    """Work on `name`, whose parts are told behind its name and with its count."""
    outer = _WATCH.get()
    at(name, done, total)
    with watched(None if outer is None else lambda part, _done, _total: outer(f"{name}: {part}", done, total)):
        yield
