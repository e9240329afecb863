"""Contractions take over what only renames axes: transposes, merged and unit axes, repeated operands.

contract(transpose(x), w, "mk,kn->mn")                  -> contract(x, w, "km,kn->mn")
transpose(contract(x, w, "mk,kn->mn"))                  -> contract(x, w, "mk,kn->nm")
contract(reshape(x, [N*S, 768]), w, "mk,kn->mn")        -> reshape(contract(x, w, "mak,kn->man"), [N*S, n])
contract(q, broadcast(k), "bgqsd,bgqtd->bgqst")         -> contract(q, k, "bgqsd,bgtd->bgqst")
"""

from __future__ import annotations

import string
from collections.abc import Sequence

from xdsl.ir import SSAValue

from mlc.ir import builder as g
from mlc.ir.dims import Extent
from mlc.ir.graph.linear import ContractOp, labels
from mlc.ir.graph.shape import BroadcastOp, ReshapeOp, TransposeOp
from mlc.ir.module import Module
from mlc.ir.types import shape_of
from mlc.passes.graph.facts import axis_groups, made_by
from mlc.passes.graph.rewrite import rule


@rule(ContractOp)
def transposed_operands(op: ContractOp, module: Module) -> SSAValue | None:
    """contract(transpose(x), y) -> contract(x, y) with x's labels permuted"""
    *names, out = labels(op.spec.data)
    operands = list(op.operands)
    for side, operand in enumerate(operands):
        if inner := made_by(operand, TransposeOp):
            permutation = list(inner.permutation.get_values())
            if _moves_bytes(op, permutation):
                continue
            names[side] = "".join(names[side][permutation.index(a)] for a in range(len(permutation)))
            operands[side] = inner.x
    if operands == list(op.operands):
        return None
    return op.on(operands[0], operands[1], f"{names[0]},{names[1]}->{out}")


@rule(TransposeOp)
def transposed_result(op: TransposeOp, module: Module) -> SSAValue | None:
    """transpose(contract(x, y)) -> contract(x, y) with the result's labels permuted, where nobody else reads it"""
    inner = made_by(op.x, ContractOp)
    if inner is None or not op.x.has_one_use() or _moves_bytes(inner, op.permutation.get_values()):
        return None
    lhs, rhs, out = labels(inner.spec.data)
    return inner.on(inner.lhs, inner.rhs, f"{lhs},{rhs}->{''.join(out[a] for a in op.permutation.get_values())}")


def _moves_bytes(op: ContractOp, permutation: Sequence[int]) -> bool:
    """Does a transpose give bytes that are multiplied, or the sums of their products, another last axis? It is there because processors multiply
    neighbouring bytes."""
    return op.of_bytes and list(permutation)[-1:] != [len(permutation) - 1]


@rule(ContractOp)
def repeated_operands(op: ContractOp, module: Module) -> SSAValue | None:
    """contract(x, broadcast(y)) -> contract(x, y): a repeated axis that x has as well is not needed"""
    *names, out = labels(op.spec.data)
    operands = list(op.operands)
    for side, operand in enumerate(operands):
        inner = made_by(operand, BroadcastOp)
        if inner is None:
            continue
        own = inner.axes.get_values()
        new = [a for a in range(len(names[side])) if a not in own and names[side][a] in names[1 - side]]
        if not new:
            continue
        kept = [a for a in range(len(names[side])) if a not in new]
        operands[side] = g.broadcast(inner.x, [shape_of(operand)[a] for a in kept], [kept.index(a) for a in own])
        names[side] = "".join(names[side][a] for a in kept)
    if operands == list(op.operands):
        return None
    return op.on(operands[0], operands[1], f"{names[0]},{names[1]}->{out}")


@rule(ContractOp)
def reshaped_operands(op: ContractOp, module: Module) -> SSAValue | None:
    """contract(reshape(x), y) -> reshape(contract(x, y)) where the reshape only merged axes that are not summed, or unit axes"""
    for side in (0, 1):
        if (inner := made_by(op.operands[side], ReshapeOp)) and (found := _unmerged(op, inner, side)) is not None:
            return found
    return None


def _unmerged(op: ContractOp, reshape: ReshapeOp, side: int) -> SSAValue | None:
    *names, out = labels(op.spec.data)
    groups = axis_groups(shape_of(reshape.x), shape_of(reshape.result))
    if groups is None:
        return None
    other = 1 - side
    free = iter(c for c in string.ascii_letters if c not in op.spec.data)
    mine: list[str] = []
    parts: dict[str, tuple[str, list[Extent]]] = {}  # a label that falls apart -> its new labels and their extents
    for group in groups:
        if len(group.target) > 1:
            return None
        extents = [shape_of(reshape.x)[a] for a in group.source]
        if not group.target:
            mine.append(next(free))
            continue
        label = names[side][group.target[0]]
        if len(group.source) == 1:
            mine.append(label)
            continue
        if label not in out:
            if group.source or label in names[other]:
                return None  # summed over: the other operand would have to fall apart as well
            continue
        fresh = "".join(next(free) for _ in group.source)
        if group.source or label not in names[other]:
            parts[label] = fresh, extents
        mine += fresh
    operands = list(op.operands)
    operands[side] = reshape.x
    y = op.operands[other]
    operands[other] = g.reshape(y, _split(names[other], shape_of(y), parts))
    new = ["", ""]
    new[side], new[other] = "".join(mine), _renamed(names[other], parts)
    result = op.on(operands[0], operands[1], f"{new[0]},{new[1]}->{_renamed(out, parts)}")
    return g.reshape(result, shape_of(op.result))


def _renamed(names: str, parts: dict[str, tuple[str, list[Extent]]]) -> str:
    return "".join(parts[c][0] if c in parts else c for c in names)


def _split(names: str, shape: tuple[Extent, ...], parts: dict[str, tuple[str, list[Extent]]]) -> list[Extent]:
    return [e for c, whole in zip(names, shape, strict=True) for e in (parts[c][1] if c in parts else [whole])]


RULES = (transposed_operands, transposed_result, repeated_operands, reshaped_operands)
