"""Which values a derivative with respect to others can flow through."""

from __future__ import annotations

from collections.abc import Collection

from xdsl.ir import Block, Operation, SSAValue

from mlc.ir.dtypes import TABLE
from mlc.ir.graph.base import GraphOp
from mlc.ir.types import dtype_of


def activity(block: Block, sources: Collection[SSAValue]) -> set[SSAValue]:
    """The sources and the floats of the block that are computed from them, but for what derivatives take for constants."""
    active = set(sources)
    for op in block.ops:
        if not is_flat(op) and any(x in active for x in op.operands):
            active.update(y for y in op.results if is_real(y))
    return active


def is_real(value: SSAValue) -> bool:
    """Whether a value is of floats, those of a byte and less too: derivatives flow through it, or are refused."""
    return TABLE[dtype_of(value)].kind == "float"


def is_flat(op: Operation) -> bool:
    return isinstance(op, GraphOp) and op.flat
