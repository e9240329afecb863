"""Rows on a GPU: softmax, normalisations, sums along memory. A warp or a block has a row.

    up to 1,024 columns    Level(row = 4 block.x) | Level(row = 1 thread.y) | Vector(col x 128, unroll row*col)
    beyond                 Level(row = 1 block.x) | Vector(col x 1024, unroll row*col)
    of any length          Level(row = 1 block.x) | Vector(col x 1024, unroll row, interleave 4)

A vector of 128 lanes is 4 elements in each of 32 threads, one of 1,024 in each of 256: what a row has in all of its threads is folded by shuffles,
and by shared memory where it has several warps. What is written along a row and read again is kept in registers, and must fit there; a
row that is only read is read again.
"""

from __future__ import annotations

from xdsl.dialects.builtin import f64

from mlc.ir.kernel.cuda_target import CudaTarget
from mlc.ir.kernel.kernel import loops_of, type_of
from mlc.ir.kernel.schedule import Binding, Level, Schedule, Vector
from mlc.passes.kernel.rules.loop_facts import LoopFacts
from mlc.passes.loops.sums import PIECE, is_sum, long_loop

WARP, BLOCK = 128, 1024  # lanes of 4 bytes of a vector that a warp has, and a block of 256 threads
WARPS = 4  # rows of a block whose warps have a row each
HELD = 64  # 32-bit registers of a thread for rows that are kept
SHORT = 1024  # columns of a row for one warp


def rows(group: LoopFacts, target: CudaTarget) -> Schedule | None:
    """Reductions along one loop that runs through memory, and element-wise work on the same rows."""
    if group.integers_alone or group.not_for_vectors() or 0 in group.loops.values() or len(group.reduced) != 1:
        return None
    (col,) = group.reduced
    outer = [name for name in loops_of(group.ops[group.main]) if name != col]
    if not group.steps_by_one(col) or set(outer) != {*group.loops} - {col} or not {*outer} <= group.common:
        return None
    extent, kept, bytes = group.fixed(col), group.kept_along(col), 8 if is_wide(group) else 4
    if extent is not None and extent <= SHORT and held(extent, WARP, kept, bytes) <= HELD:
        return on_rows(group, col, outer, WARP * 4 // bytes, in_registers=True)
    if not kept:
        return on_rows(group, col, outer, BLOCK * 4 // bytes, in_registers=False)
    for lanes in (BLOCK, 4 * BLOCK):  # a block of 1,024 threads has 64 registers for each, and half of them for rows
        if extent is not None and held(extent, lanes, kept, bytes) <= (HELD if lanes == BLOCK else HELD // 2):
            return on_rows(group, col, outer, lanes * 4 // bytes, in_registers=True)
    return None


def held(extent: int, lanes: int, kept: int, bytes: int) -> int:
    """Registers of 4 bytes in which a thread keeps its part of `kept` rows, or works on one."""
    return -(-extent * bytes // (4 * lanes)) * 4 * max(1, kept)


def on_rows(group: LoopFacts, col: str, outer: list[str], lanes: int, in_registers: bool) -> Schedule:
    unroll = (*outer, col) if in_registers else tuple(outer)
    sums = [loops_of(op)[col] for op in group.ops if is_sum(op) and col in loops_of(op)]
    pieces = PIECE if not in_registers and any(long_loop(extent, PIECE) for extent in sums) else 0
    leaf = Vector((col,), lanes, unroll, 1 if in_registers else 4, pieces)
    if not outer:
        return Schedule((), leaf)
    *first, row = outer
    binds: dict[str, Binding] = dict.fromkeys(outer, "block.x")
    if lanes > WARP:
        return Schedule((Level(dict.fromkeys(outer, 1), binds),), leaf)
    count = group.fixed(row)
    warps = WARPS if count is None else min(WARPS, count)
    return Schedule((Level({**dict.fromkeys(first, 1), row: warps}, binds), Level({row: 1}, {row: "thread.y"})), leaf)


def is_wide(group: LoopFacts) -> bool:
    return any(type_of(o.value).element_type == f64 for operands in group.operands for o in operands)
