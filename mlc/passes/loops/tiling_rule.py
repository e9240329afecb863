"""The rule of tiling, on kernels: what one op of a tile writes and another touches is the same tile in both, and finished.

The graph has the same rule for groups (mlc.ir.graph.fusion_rule); here it is asked again of every run of structured ops that a level or a leaf
takes through a loop together, whatever made the kernel and its schedule.

    acc[m, n] = ...;  y[m, n] = acc[m, n] + acc[n, m]      Level(m = 14, n = 32): refused, the tile of acc is no square
    s[r] = sum of x[r, c];  y[r, c] = x[r, c] * s[c]       Level(r = 2): refused, the tile holds two sums
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from xdsl.dialects.builtin import DYNAMIC_INDEX
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import SSAValue

from mlc.errors import InternalError
from mlc.ir.kernel.kernel import Kernel, loops_of, type_of
from mlc.passes.loops.tile_view import accesses

ALONE: Mapping[str, tuple[str, int]] = MappingProxyType({})


def obstacle(
    run: Sequence[GenericOp], names: Sequence[str], beside: Mapping[str, tuple[str, int]] = ALONE
) -> str | None:
    """Why ops cannot alternate tile by tile: what one writes and another touches must be the same tile, and finished, in both. `beside`: loops
    in place of a tiled one (Level.beside)."""
    for op in run:
        target = op.outputs[0]
        *reads, mine = tiled_accesses(op, target, names, beside)
        if any(read != mine for read in reads):
            return f"'{target.name_hint}' is read at another place"
        unfinished = [name for name in names if name in loops_of(op) and not any(name in axis for axis, _ in mine)]
        for other in run:
            if other is op or target not in other.operands:
                continue
            if unfinished:
                return f"'{target.name_hint}' reduces over {', '.join(unfinished)}"
            if any(access != mine for access in tiled_accesses(other, target, names, beside)):
                return f"'{target.name_hint}' is read at another place"
    return None


def tiled_accesses(
    op: GenericOp, value: SSAValue, tiled: Sequence[str], beside: Mapping[str, tuple[str, int]] = ALONE
) -> list[list[tuple[dict[str, int], int]]]:
    """How the tiled loops index `value`, and how far from their own place, per axis, once for each operand that it is."""
    found = []
    for operand, access in zip(op.operands, accesses(op), strict=True):
        if operand is value:
            terms = [
                {
                    name: c * times
                    for n, c in form.terms.items()
                    for name, times in [beside.get(n, (n, 1))]
                    if name in tiled
                }
                for form in access
            ]
            found.append([(used, form.constant if used else 0) for used, form in zip(terms, access, strict=True)])
    return found


def verify_bounds(kernel: Kernel) -> None:
    """Every element that a structured op touches is in its buffer, where both are known. Raises InternalError: a level has made a tile that
    its ops leave."""
    for op in kernel.op.walk():
        if not isinstance(op, GenericOp):
            continue
        loops = loops_of(op)
        if 0 in loops.values():
            continue
        for value, access in zip(op.operands, accesses(op), strict=True):
            for axis, (form, size) in enumerate(zip(access, type_of(value).get_shape(), strict=True)):
                first = last = form.constant
                for name, c in form.terms.items():
                    if not isinstance(extent := loops[name], int):
                        size = DYNAMIC_INDEX
                    elif c > 0:
                        last += c * (extent - 1)
                    else:
                        first += c * (extent - 1)
                if size != DYNAMIC_INDEX and (first < 0 or last >= size):
                    raise InternalError(
                        f"kernel '{kernel.name}': [{first}, {last}] on axis {axis} of '{value.name_hint}' lies outside of its {size} elements"
                    )
