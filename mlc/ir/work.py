"""What is at work: long loops of every stage name the node, pass, kernel or weight they are at, for whoever watches. Nobody does: no cost.

with watched(report):                     # report("lower: gemm_3", 12, 19)
    with within("lower", 12, 19):
        at("gemm_3")

Loops over ops say with `on(op)` which one they are at. That only writes it down, for there are many, in a `Part`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xdsl.ir import Operation

Watch = Callable[[str, int, int], None]  # name, done, total; a total of 0: not counted


class Part:
    """The op at work, inside of what was named last."""

    __slots__ = ("op",)

    def __init__(self) -> None:
        self.op: Operation | None = None


# Of this thread of control, so that what is compiled beside it is not mixed in.
_WATCH: ContextVar[Watch | None] = ContextVar("mlc_work", default=None)
_PART: ContextVar[Part | None] = ContextVar("mlc_work_part", default=None)


def at(name: str, done: int = 0, total: int = 0) -> None:
    """Work on `name` begins; `done` of `total` are behind it."""
    watch = _WATCH.get()
    if watch is not None:
        if (part := _PART.get()) is not None:
            part.op = None
        watch(name, done, total)


def on(op: Operation) -> None:
    """Work on one op of many begins."""
    part = _PART.get()
    if part is not None:
        part.op = op


@contextmanager
def watched(watch: Watch | None, part: Part | None = None) -> Iterator[None]:
    """Tell `watch` in place of whoever watched before; `part`, where it is given, is told of ops."""
    tokens = _WATCH.set(watch), _PART.set(part or _PART.get())
    try:
        yield
    finally:
        _WATCH.reset(tokens[0])
        _PART.reset(tokens[1])
        if part is not None:
            part.op = None


@contextmanager
def within(name: str, done: int = 0, total: int = 0) -> Iterator[None]:
    """Work on `name`, whose parts are told behind its name and with its count."""
    outer = _WATCH.get()
    at(name, done, total)
    with watched(None if outer is None else lambda part, _done, _total: outer(f"{name}: {part}", done, total)):
        yield
