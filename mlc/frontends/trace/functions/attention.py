"""Attention of queries to keys and values."""

from __future__ import annotations

from xdsl.ir import SSAValue

from mlc.frontends.trace.functions.promotion import Operand, promoted, value
from mlc.ir import builder as g
from mlc.ir.types import dtype_of


def attention(q: Operand, k: Operand, v: Operand, *mask: Operand, scale: float | None, causal: bool) -> SSAValue:
    """softmax(q k' * scale + mask) v; a mask of bools keeps where it holds, another is added."""
    queries, keys, values = promoted(q, k, v)
    given = value(mask[0]) if mask else None
    if given is not None and dtype_of(given) != "bool":
        given = g.cast(given, dtype_of(queries))
    return g.attention(queries, keys, values, given, scale, causal)
