"""The schedule of attention on a CPU (mlc/passes/kernel/attention_draft.py says what its loops are):

Level(b = 1 parallel, h = 1 parallel, s = 32 parallel)     the scores of a block of queries lie in a cache
Level(s = 16, d_q = 16)                                    queries turned, by squares
Level(t = 14)                                              scores by register tiles of 14 keys, and their maxima
Level(t_2 = 96)                                            exponentials of so many keys, which stay in L1 while
Level(s = 11, n = 32)                                      values are added up, by register tiles
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from xdsl.dialects import math

from mlc.ir.kernel.kernel import loops_of
from mlc.ir.kernel.schedule import Level, Schedule, Vector
from mlc.ir.kernel.target import Target
from mlc.passes.kernel.rules.even_tiles import even
from mlc.passes.kernel.rules.loop_facts import LoopFacts

VECTORS = 2  # of queries in a block
PIECE = (
    16  # of the keys of a block that are added up before the next piece, so that sums over many keys keep their digits
)
Tile = Callable[
    [int | None, int | None, bool], tuple[int, int]
]  # rows, columns, aliased -> rows and vectors of a register tile


def attention(group: LoopFacts, target: Target, tile: Tile) -> Schedule | None:
    """The schedule of a kernel of two products around an exponential; None for any other."""
    products = [number for number in range(len(group.ops)) if group.is_product(number)]
    if len(products) != 2 or not group.has(math.ExpOp):
        return None
    scores, mixed = (group.used(number)[-1] for number in products)
    first, second = (list(loops_of(group.ops[number])) for number in products)
    s = next((name for name in first if name in group.common and scores.step(name) == 1), None)
    n = next((name for name in second if name not in group.common and mixed.step(name) == 1), None)
    keys = [name for name in first if name in scores.loops and name not in group.common]
    again = [name for name in second if name not in mixed.loops]
    often = [name for op in group.ops for name in loops_of(op)]
    turned = [name for name in group.loops if often.count(name) == 1 and name not in group.reduced]
    if s is None or n is None or len(keys) != 1 or len(again) != 1 or len(turned) > 1:
        return None
    (t,), (t_2,) = keys, again
    lanes, queries, size, count = target.lanes, group.fixed(s), group.fixed(n), group.fixed(t)
    block = VECTORS * lanes if queries is None else min(VECTORS, ceil(queries / lanes)) * lanes
    rows, vectors = tile(block, size, False)
    batch = {name: 1 for name in group.common if name != s}
    whole = {**batch, s: block}
    levels = [
        Level(whole, dict.fromkeys(whole, "parallel")),
        *(Level({s: lanes, q: min(lanes, group.fixed(q) or lanes)}) for q in turned),
        Level({t: tile(count, block, False)[0]}),
    ]
    if count is not None:
        near = target.l1 * 3 // 4 // (4 * (block + (size or block))) // PIECE * PIECE
        levels.append(Level({t_2: even(count, max(near, PIECE))}))
    levels.append(Level({s: rows, n: vectors * lanes}))
    return Schedule(tuple(levels), Vector((n, s), lanes, (*batch, t, *turned, s, n), pieces=PIECE))
