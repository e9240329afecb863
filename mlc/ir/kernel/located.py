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
from xdsl.dialects import arith
from xdsl.dialects.builtin import LocationAttr, UnknownLoc
from xdsl.ir import Operation, SSAValue
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
        point = insertion_point or self.insertion_point  # as xDSL does, for one op and without names and listeners
        if point.insert_before is None:
            point.block.add_op(op)
        else:
            point.block.insert_op_before(op, point.insert_before)
        return op


def index_op(b: Builder, kind: type[arith.AddiOp | arith.MuliOp], lhs: SSAValue, rhs: SSAValue) -> SSAValue:
    """A sum or product of indices. There are so many that the general constructor, which looks at types and flags, takes a part of the time of
    a compilation."""
    return b.insert(kind.create(operands=[lhs, rhs], result_types=[lhs.type])).results[0]
