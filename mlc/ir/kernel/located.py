"""A builder whose ops come from the op that is being rewritten, so that code can be followed back to the kernel it was made of.

with located(op):
    b.insert(...)          # has the location of op, unless it brings its own
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from xdsl import builder
from xdsl.dialects.builtin import LocationAttr, UnknownLoc
from xdsl.ir import Operation
from xdsl.rewriter import InsertPoint

OpT = TypeVar("OpT", bound=Operation)

_UNKNOWN = UnknownLoc()
_place: ContextVar[LocationAttr] = ContextVar("kernel_location", default=_UNKNOWN)


@contextmanager
def located(op: Operation) -> Iterator[None]:
    """Ops inserted inside come from where `op` comes from."""
    token = _place.set(op.location)
    try:
        yield
    finally:
        _place.reset(token)


class Builder(builder.Builder):
    def insert(self, op: OpT, insertion_point: InsertPoint | None = None) -> OpT:  # type: ignore[override]
        place = _place.get()
        if place is not _UNKNOWN and isinstance(op.location, UnknownLoc):
            op.location = place
        return super().insert(op, insertion_point)
