"""Element-wise work on a GPU: 16 bytes at a time, or through shared memory where an operand lies across.

    along memory     Level(i = 4096 block.x) | Vector(i x 1024, unroll i)                     256 threads with four times 16 bytes each
    short rows       Level(row = 8 block.x) | Level(row = 1 thread.y) | Vector(i x 128, unroll row*i)
    across           Level(c = 32 block.x, r = 32 block.x; x -> workgroup+1) | Level(c = 4 thread.y, r = 1 thread.x) | Scalar

A tile of 32 rows of 33 elements is read along its rows and written along its columns without two threads in one bank.
"""

from __future__ import annotations

from xdsl.dialects.builtin import f32

from mlc.ir.kernel.cuda_target import CudaTarget
from mlc.ir.kernel.kernel import loops_of, type_of
from mlc.ir.kernel.schedule import Binding, Level, Scalar, Schedule, Stage, Vector
from mlc.passes.kernel.rules.cuda.rows import BLOCK, WARP, is_wide
from mlc.passes.kernel.rules.loop_facts import LoopFacts, OperandFacts

VECTORS = 4  # of a block in one tile: reads under way at a time
ROWS = 8  # of a block with a warp for each
SQUARE, PART = 32, 4  # a tile of a transpose, and elements of it that a thread moves


def pointwise(group: LoopFacts, target: CudaTarget) -> Schedule | None:
    """Every op has all loops, none is folded, and the last loop runs through what is written."""
    if group.reduced or 0 in group.loops.values() or set(group.loops) != set(group.common) or not group.results:
        return None
    i = next((name for name in group.common if all(result.step(name) == 1 for result in group.results)), None)
    if i is None:
        return None
    outer = [name for name in loops_of(group.ops[group.main]) if name != i]
    operands = [operand for number in range(len(group.ops)) for operand in group.used(number)]
    across = [operand for operand in operands if operand.step(i) not in (0, 1)]
    if across:
        return through_shared_memory(group, i, outer, across)
    if group.integers_alone or group.not_for_vectors():
        return None
    return along_memory(group, i, outer)


def along_memory(group: LoopFacts, i: str, outer: list[str]) -> Schedule | None:
    extent, scale = group.fixed(i), 2 if is_wide(group) else 1
    block, warp = BLOCK // scale, WARP // scale
    binds: dict[str, Binding] = dict.fromkeys((*outer, i), "block.x")
    if extent is None or extent >= block or not outer:
        vectors = VECTORS if extent is None else max(1, min(VECTORS, extent // block))
        lanes = block if extent is None or extent >= block else warp
        level = Level({**dict.fromkeys(outer, 1), i: vectors * lanes}, binds)
        return Schedule((level,), Vector((i,), lanes, (*outer, i)))
    if extent < warp // 4:
        return None
    *first, row = outer
    count = group.fixed(row)
    rows = ROWS if count is None else min(ROWS, count)
    del binds[i]
    levels = Level({**dict.fromkeys(first, 1), row: rows}, binds), Level({row: 1}, {row: "thread.y"})
    return Schedule(levels, Vector((i,), warp, (*outer, i)))


def through_shared_memory(group: LoopFacts, i: str, outer: list[str], across: list[OperandFacts]) -> Schedule | None:
    """Operands that lie along another loop are read in squares."""
    kernel = group.kernel
    along = {name for operand in across for name in outer if operand.step(name) == 1}
    if len(along) != 1 or any(type_of(operand.value).element_type != f32 for operand in across):
        return None
    (other,) = along
    stages: dict[str, Stage] = {}
    for operand in across:
        name = kernel.name_of(operand.value)
        if (
            name is None
            or operand.step(other) != 1
            or any(form.loop() is None and form.terms for form in operand.access)
        ):
            return None
        stages[name] = Stage("workgroup", pad=1)
    written = {kernel.name_of(result.value) for result in group.results}
    if written & stages.keys() or any(
        len([o for o in across if kernel.name_of(o.value) == name]) > 1 for name in stages
    ):
        return None
    rest = [name for name in outer if name != other]
    binds: dict[str, Binding] = {**dict.fromkeys(rest, "block.x"), other: "block.x", i: "block.x"}
    tiles = {**dict.fromkeys(rest, 1), other: SQUARE, i: SQUARE}
    threads: dict[str, Binding] = {other: "thread.y", i: "thread.x"}
    return Schedule((Level(tiles, binds, stages), Level({other: PART, i: 1}, threads)), Scalar())
