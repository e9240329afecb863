"""Compute equal values once: two ops of one kind with the same operands, attributes and bodies become the first of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xdsl.ir import Block, Operation
from xdsl.traits import Pure

from mlc.ir import work
from mlc.ir.graph.elementwise import OPS
from mlc.ir.module import Module
from mlc.passes.base import Pass
from mlc.passes.graph.rewrite import erase

Key = tuple[object, ...]
# Of these x op y and y op x are one value, to the bit.
COMMUTATIVE = frozenset(
    OPS[name]
    for name in ("add", "mul", "eq", "ne", "logical_and", "logical_or", "logical_xor", "bit_and", "bit_or", "bit_xor")
)


@dataclass(frozen=True)
class Cse(Pass):
    """Merge ops that compute the same."""

    name: ClassVar[str] = "cse"

    def run(self, module: Module) -> None:
        for function in module.op.ops:
            for region in function.regions:
                for block in region.blocks:
                    _merge(block)


def _merge(block: Block) -> None:
    known: dict[Key, list[Operation]] = {}
    for op in list(block.ops):
        work.on(op)
        for region in op.regions:
            for inner in region.blocks:
                _merge(inner)
        if not op.results or not op.has_trait(Pure):
            continue
        same = known.setdefault(_key(op), [])
        first = next((other for other in same if _bodies_agree(op, other)), None)
        if first is None:
            same.append(op)
            continue
        for old, new in zip(op.results, first.results, strict=True):
            old.replace_all_uses_with(new)
        erase(op)


def _key(op: Operation) -> Key:
    # operands by identity: earlier duplicates are replaced already
    operands = tuple(id(operand) for operand in op.operands)
    if type(op) in COMMUTATIVE:
        operands = tuple(sorted(operands))
    properties = tuple(sorted(op.properties.items()))
    return type(op), operands, properties, tuple(result.type for result in op.results)


def _bodies_agree(op: Operation, other: Operation) -> bool:
    return all(a.is_structurally_equivalent(b) for a, b in zip(op.regions, other.regions, strict=True))
