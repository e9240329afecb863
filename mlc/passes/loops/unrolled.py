"""Loops of few steps that are written out on a GPU, and sums of positions: what leaves that spread tiles over registers are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from xdsl.dialects import arith
from xdsl.dialects.builtin import UnitAttr
from xdsl.ir import SSAValue

from mlc.ir.kernel.kernel import Kernel
from mlc.ir.kernel.located import Builder
from mlc.passes.loops.scf_blocks import for_loop

At = Mapping[str, SSAValue]


def unrolled(
    kernel: Kernel, b: Builder, counts: Mapping[str, int], fill: Callable[[Builder, At], None], at: At | None = None
) -> None:
    """A nest of loops over `counts`, marked for unrolling, whose body `fill(b, positions)` builds; one of a single step is no loop."""
    at = at or {}
    if not counts:
        fill(b, at)
        return
    (name, count), *rest = counts.items()
    const = kernel.const
    if count == 1:
        unrolled(kernel, b, dict(rest), fill, {**at, name: const(0)})
        return
    inner = lambda b, iv: unrolled(kernel, b, dict(rest), fill, {**at, name: iv})
    loop = for_loop(const(0), const(count), const(1), name, inner)
    loop.attributes["unroll"] = UnitAttr()
    b.insert(loop)


def summed(kernel: Kernel, b: Builder, *terms: tuple[SSAValue, int]) -> SSAValue:
    """The sum of positions, each times a number."""
    found: SSAValue | None = None
    for value, by in terms:
        term = value if by == 1 else b.insert(arith.MuliOp(value, kernel.const(by))).result
        found = term if found is None else b.insert(arith.AddiOp(found, term)).result
    assert found is not None
    return found
