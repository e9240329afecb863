"""Simplify: rules that make a graph smaller or bring it to the form that later passes expect, applied until none matches.

The rules stand by subject beside this file; each says what it changes, before -> after.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mlc.ir.module import Module
from mlc.passes.base import Pass
from mlc.passes.graph.rewrite import rewrite
from mlc.passes.graph.simplify import (
    arithmetic,
    branches,
    broadcast,
    contract,
    index,
    reduce,
    reshape,
    slices,
    transpose,
)

RULES = (
    *transpose.RULES,
    *reshape.RULES,
    *broadcast.RULES,
    *arithmetic.RULES,
    *contract.RULES,
    *reduce.RULES,
    *slices.RULES,
    *index.RULES,
    *branches.RULES,
)


@dataclass(frozen=True)
class Simplify(Pass):
    """Merge, cancel and move ops that only rename, repeat or reorder elements; drop arithmetic that changes nothing."""

    name: ClassVar[str] = "simplify"

    def run(self, module: Module) -> None:
        rewrite(module, RULES)
