"""Sums over the ranks of a program."""

from __future__ import annotations

from xdsl.ir import SSAValue

from mlc.frontends.trace.functions.promotion import Operand, value
from mlc.ir import builder as g


def all_reduce(x: Operand) -> SSAValue:
    return g.all_reduce(value(x))
