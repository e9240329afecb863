"""The function being traced: where its ops go, and what it uses from outside of itself.

A trace is of a module's @main, or of a body inside it (a branch, a step of a loop). A body is closed: what it uses of the traces around it
is lifted, which means that it becomes a constant operand of the op that holds the body.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from types import FrameType
from typing import Any

import numpy as np
from xdsl.dialects.builtin import FileLineColLoc, IntAttr, StringAttr
from xdsl.ir import Block, SSAValue

from mlc.ir import builder as g
from mlc.ir.dims import Extent
from mlc.ir.graph.base import building
from mlc.ir.graph.constants import IN_TEXT

_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_COMMANDS = os.path.join(_PACKAGE, "cli") + os.sep


class Trace:
    """One function or body under construction. `name` is what errors call it."""

    def __init__(self, name: str, block: Block, outer: Trace | None):
        self.name, self.block, self.outer, self.open = name, block, outer, True
        self.lifted: dict[SSAValue, SSAValue] = {}  # value of the trace around -> argument of this body
        self.arrays: dict[int, tuple[np.ndarray, SSAValue]] = {}  # constants, by the identity of the array
        self.captured: dict[
            int, tuple[Any, np.ndarray]
        ] = {}  # tensors from outside, with the arrays that they hold now

    def within(self, other: Trace) -> bool:
        """Whether this trace is the other or a body inside it."""
        trace: Trace | None = self
        while trace is not None and trace is not other:
            trace = trace.outer
        return trace is not None

    def lift(self, value: SSAValue, home: Trace) -> SSAValue:
        """A value of a trace around as one of this."""
        bodies: list[Trace] = []
        trace = self
        while trace is not home:
            bodies.append(trace)
            assert trace.outer is not None
            trace = trace.outer
        for body in reversed(bodies):
            body.take([value])
            value = body.lifted[value]
        return value

    def take(self, values: Iterable[SSAValue]) -> None:
        """Have the body use values of the trace around it, in this order."""
        for value in values:
            if value not in self.lifted:
                self.lifted[value] = self.block.insert_arg(value.type, len(self.block.args))

    @property
    def outermost(self) -> Trace:
        home = self
        while home.outer is not None:
            home = home.outer
        return home

    def constant(self, array: np.ndarray) -> SSAValue:
        """An array that is known now: in the text where it is small, else a weight of the module."""
        if array.size <= IN_TEXT:
            return g.constant(array)
        home = self.outermost
        if id(array) not in home.arrays:
            with building(home.block):
                home.arrays[id(array)] = array, g.weight(array, "constant")
        return self.lift(home.arrays[id(array)][1], home)


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def current_trace() -> Trace | None:
    """The innermost trace that is under way."""
    return _current.get()


@contextmanager
def tracing(name: str, block: Block, steps: Sequence[Extent] = ()) -> Iterator[Trace]:
    """Ops on symbolic tensors go to the block, inside of the trace that is under way. `steps` is of a loop whose body it is."""
    trace = Trace(name, block, _current.get())
    token = _current.set(trace)
    try:
        with building(block, steps=steps):
            yield trace
    finally:
        trace.open = False
        _current.reset(token)


def user_frame() -> FrameType | None:
    """The innermost frame that is not of mlc; None for what a command does, which no code of a user called."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (file := frame.f_code.co_filename).startswith(_PACKAGE):
        frame = None if file.startswith(_COMMANDS) else frame.f_back
    return frame


@lru_cache(maxsize=4096)
def _location(file: str, line: int) -> FileLineColLoc:
    return FileLineColLoc(StringAttr(file), IntAttr(line), IntAttr(0))


def user_location() -> FileLineColLoc:
    """Where the user's code is, as the location of ops."""
    frame = user_frame()
    return _location("<unknown>", 0) if frame is None else _location(frame.f_code.co_filename, frame.f_lineno)


def user_line() -> str:
    """file:line of the user's code, as errors say it; "" where there is none."""
    frame = user_frame()
    return "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
