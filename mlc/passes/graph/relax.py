"""Cheaper arithmetic that rounds differently, by a few units in the last place: for opt level 3.

x / 3                          -> x * (1 / 3)
x / broadcast(y)               -> x * broadcast(reciprocal(y))
reciprocal(sqrt(x))            -> rsqrt(x)
(x * 0.5) * 3                  -> x * 1.5
x + 0.0                        -> x            -0.0 stays -0.0
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from xdsl.ir import SSAValue

from mlc.ir import builder as g
from mlc.ir.graph.elementwise import OPS, ElementwiseOp
from mlc.ir.graph.shape import BroadcastOp
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, is_float, numpy_dtype, shape_of
from mlc.passes.base import Pass
from mlc.passes.graph.facts import made_by, number
from mlc.passes.graph.rewrite import rewrite, rule


@dataclass(frozen=True)
class RelaxArithmetic(Pass):
    """Replace divisions by products and merge constant factors, which rounds differently."""

    name: ClassVar[str] = "relax-arithmetic"

    def run(self, module: Module) -> None:
        rewrite(module, [divide_by_constant, divide_by_broadcast, inverse_root, merge_factors, add_zero])


@rule(OPS["div"])
def divide_by_constant(op: ElementwiseOp, module: Module) -> SSAValue | None:
    """x / c -> x * (1 / c)"""
    x, y = op.operands
    value = number(y)
    if value is None or not is_float(dtype_of(x)) or not _is_normal(value, dtype_of(x)):
        return None
    return g.mul(x, g.full_like(x, 1 / value))


@rule(OPS["div"])
def divide_by_broadcast(op: ElementwiseOp, module: Module) -> SSAValue | None:
    """x / broadcast(y) -> x * broadcast(reciprocal(y)): one division for each element of y"""
    x, y = op.operands
    inner = made_by(y, BroadcastOp)
    if inner is None or number(y) is not None or dtype_of(x) not in ("f32", "f64"):
        return None
    return g.mul(x, g.broadcast(g.reciprocal(inner.x), shape_of(y), inner.axes.get_values()))


@rule(OPS["reciprocal"])
def inverse_root(op: ElementwiseOp, module: Module) -> SSAValue | None:
    """reciprocal(sqrt(x)) -> rsqrt(x)"""
    inner = made_by(op.operands[0], OPS["sqrt"])
    return g.rsqrt(inner.operands[0]) if inner is not None else None


@rule(OPS["mul"])
def merge_factors(op: ElementwiseOp, module: Module) -> SSAValue | None:
    """(x * a) * b -> x * (a * b)"""
    inner = made_by(op.operands[0], OPS["mul"])
    if inner is None or not is_float(dtype_of(op.operands[0])):
        return None
    a, b = number(inner.operands[1]), number(op.operands[1])
    if a is None or b is None or not _is_normal(a * b, dtype_of(op.operands[0])):
        return None
    return g.mul(inner.operands[0], g.full_like(op.operands[0], a * b))


@rule(OPS["add"])
def add_zero(op: ElementwiseOp, module: Module) -> SSAValue | None:
    """x + 0.0 -> x"""
    return op.operands[0] if number(op.operands[1]) == 0 else None


def _is_normal(value: float, dtype: str) -> bool:
    """The number and its inverse are far from overflow and underflow."""
    magnitude = abs(float(numpy_dtype(dtype).type(value)))
    return not math.isinf(magnitude) and 2.0**-10 <= magnitude <= 2.0**10
