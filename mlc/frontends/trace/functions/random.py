"""Random numbers of a key, by Philox4x32-10: equal keys, streams and shapes give equal numbers on every machine."""

from __future__ import annotations

from xdsl.ir import SSAValue

from mlc.frontends.trace.functions.promotion import Operand, as_dtype, value
from mlc.ir import builder as g
from mlc.ir.dims import Extent
from mlc.ir.types import Shape


def split(key: Operand, count: Extent) -> SSAValue:
    return g.random_split(value(key), count)


def fold_in(key: Operand, number: Operand) -> SSAValue:
    return g.random_fold_in(value(key), as_dtype(number, "u32"))


def bits(key: Operand, shape: Shape, stream: int) -> SSAValue:
    return g.random_bits(value(key), shape, stream)


def uniform(key: Operand, shape: Shape, dtype: str, stream: int) -> SSAValue:
    return g.random_uniform(value(key), shape, dtype, stream)


def normal(key: Operand, shape: Shape, dtype: str, stream: int) -> SSAValue:
    return g.random_normal(value(key), shape, dtype, stream)
