"""Take constant factors out of a contraction's operands, into one factor of its result.

    contract(x * 0.354, reshape(y * 0.354))   -> contract(x, reshape(y)) * 0.125

Exporters scale queries and keys by the root of the factor; afterwards both are read as they are stored, and the one product left
joins the contraction's kernel. Rounds fewer times than what is written, hence differently.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from xdsl.ir import SSAValue

from mlc.ir import builder as g
from mlc.ir.graph.elementwise import OPS
from mlc.ir.graph.linear import ContractOp
from mlc.ir.graph.shape import ReshapeOp
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, shape_of
from mlc.passes.base import Pass
from mlc.passes.graph.facts import made_by, number
from mlc.passes.graph.rewrite import rewrite, rule

_LIMIT = 2.0**20  # factors this far from 1 may be there to keep sums from overflowing


@dataclass(frozen=True)
class MergeScales(Pass):
    """Scale the result of a contraction once instead of its operands."""

    name: ClassVar[str] = "merge-scales"

    def run(self, module: Module) -> None:
        rewrite(module, [scale_result])


@rule(ContractOp)
def scale_result(op: ContractOp, module: Module) -> SSAValue | None:
    """contract(mul(x, a), mul(y, b)) -> mul(contract(x, y), a * b)"""
    if dtype_of(op.result) not in ("f32", "f64"):
        return None
    factor, operands = 1.0, []
    for operand in op.operands:
        value, x = _unscaled(operand)
        factor *= value
        operands.append(x)
    if operands == list(op.operands) or not 1 / _LIMIT <= abs(factor) <= _LIMIT:
        return None
    result = g.contract(operands[0], operands[1], op.spec.data)
    return g.mul(result, g.full_like(result, factor))


def _unscaled(value: SSAValue) -> tuple[float, SSAValue]:
    """(factor, what it scales); (1, value) where there is none that only this contraction reads."""
    inner = value
    while inner.has_one_use() and isinstance(inner.owner, ReshapeOp):
        inner = inner.owner.x
    scaled = made_by(inner, OPS["mul"]) if inner.has_one_use() else None
    found = number(scaled.operands[1]) if scaled is not None else None
    if scaled is None or found is None or math.isinf(found) or found == 0:
        return 1.0, value
    x = scaled.operands[0]
    return float(found), x if inner is value else g.reshape(x, shape_of(value))
