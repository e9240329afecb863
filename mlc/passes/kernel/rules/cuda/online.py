"""Attention on a GPU: a block has 64 queries, or fewer where there are few, and goes through the keys once.

    Level(b = 1 block.x, g = 1 block.x, m = 64 block.x) | Online(t x 64) | resident 2
    ... Online(t x 64, m16n8k16_f16)                    operands of f16 and bf16, and of f32 with leave to round them

Queries lie along x, innermost: blocks that run at the same time have the keys and values of the same head in L2.
"""

from __future__ import annotations

from math import ceil, prod

from xdsl.dialects.builtin import f32

from mlc.ir.kernel.cuda_target import CudaTarget
from mlc.ir.kernel.kernel import type_of
from mlc.ir.kernel.schedule import Binding, Instruction, Level, Online, Schedule
from mlc.passes.kernel.rules.cuda.warp_tiles import INSTRUCTIONS
from mlc.passes.kernel.rules.loop_facts import LoopFacts
from mlc.passes.loops.attention_ops import AttentionOps
from mlc.passes.loops.attention_products import ROWS

WARPS = 4  # of a block at most
KEYS = (64, 32, 16)  # at a time
HELD = 136  # registers of a lane for scores and sums
LARGEST = 256  # numbers of a head: a lane has 128 of the sums


def online(group: LoopFacts, target: CudaTarget) -> Schedule | None:
    """What mlc/passes/kernel/online_draft.py writes."""
    ops = AttentionOps.of(group.kernel, group.ops)
    if ops is None or 0 in group.loops.values():
        return None
    d, e = (group.fixed(name) for name in (ops.d, ops.e))
    types = {str(type_of(operand.value).element_type) for operand in (ops.q, ops.k, ops.v)}
    if d is None or e is None or max(d, e) > LARGEST or len(types) != 1:
        return None
    (type,) = types
    instruction = INSTRUCTIONS.get(target.precision if type == str(f32) else type)
    if instruction is None and type != str(f32):
        return None
    width, most = 4 if type == str(f32) else 2, rows_of(group, ops, target)
    able = [keys for keys in KEYS if (keys >= 32 if instruction is None else held(keys, e) <= HELD)]
    ways = [(warps, keys) for warps in range(most, 0, -1) for keys in able]
    sizes = {way: workgroup_bytes(*way, d, e, width, instruction) for way in ways}
    fitting = [way for way in ways if sizes[way] <= target.lowering.shared]
    twice = [
        way for way in fitting if way[0] == most and 2 * sizes[way] <= target.shared_sm
    ]  # with another block beside it
    if not fitting:
        return None
    warps, keys = way = (twice or fitting)[0]
    binds: dict[str, Binding] = dict.fromkeys((*ops.outer, ops.m), "block.x")
    level = Level({**dict.fromkeys(ops.outer, 1), ops.m: ROWS * warps}, binds)
    fit = resident(warps, keys, e, sizes[way], instruction, target)
    return Schedule((level,), Online(ops.t, keys, instruction), fit)


def rows_of(group: LoopFacts, ops: AttentionOps, target: CudaTarget) -> int:
    """Warps of a block: as many as there are rows for, and fewer where there are else too few blocks for the multiprocessors."""
    known = [group.fixed(name) for name in (*ops.outer, ops.m)]
    *outer, queries = [size for size in known if size is not None] if None not in known else (0,)
    if not queries:
        return WARPS
    warps = min(WARPS, ceil(queries / ROWS))
    while warps > 1 and prod(outer) * ceil(queries / (ROWS * warps)) < target.sms:
        warps = ceil(warps / 2)
    return warps


def workgroup_bytes(warps: int, keys: int, d: int, e: int, width: int, instruction: Instruction | None) -> int:
    """Of queries, keys and values, and of what scores have become where a warp reads it back, as attention_products.py lays them."""
    rows, up = ROWS * warps, lambda size, to: ceil(size / to) * to
    if instruction is None:
        return width * (rows * (up(d, 4) + keys) + up(d, 4) * (keys + 4) + keys * up(e, 32))
    depth = up(d, 16)
    if width == 2:
        return width * ((rows + keys) * (depth + 8) + up(e, 8) * (keys + 8))
    queries = (rows + keys) * (depth + 4) if "k8" in instruction else depth * (rows + keys + 8)
    return width * (queries + keys * (up(e, 8) + 4))


def held(keys: int, e: int) -> int:
    """Registers of a lane for its part of the scores and of the sums."""
    return ROWS * (keys + ceil(e / 32) * 32) // 32


def resident(warps: int, keys: int, e: int, bytes: int, instruction: Instruction | None, target: CudaTarget) -> int:
    """Blocks that fit: a lane has its part of the scores and of the sums, and 96 registers more."""
    registers = 96 + held(keys, e)
    return max(1, min(8, target.registers_sm // (registers * 32 * warps), target.shared_sm // (bytes + 1024)))
