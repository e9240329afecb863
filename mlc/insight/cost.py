"""Floating-point operations of a graph module, as one expression of its symbols."""

from __future__ import annotations

from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph.cost import work_of
from mlc.ir.module import Module


def flops(module: Module) -> Extent:
    """Of one call, with sizes that data decides at their most."""
    return dims.ceiling(work_of(module.main.body.block), module.counted)
