"""Reductions across memory on a GPU: pooling and depthwise convolutions channels last, sums along columns. A thread folds four neighbours at a time.

    Level(oh = 1 block.x, ow = 32 block.x, g = 32 block.x) | Level(ow = 1 thread.y, g = 4 thread.x)
    | Level(kh = 1, kw = 1, g = 4; x -> register; w -> register) | Level(g = 4; bias -> register; y -> register) | Scalar

Each step of the fold moves 16 bytes of what runs along memory; neighbouring threads have neighbouring columns, and what windows share is in the L1
cache. Where there are too few columns for that, each is a thread's (generic.py).
"""

from __future__ import annotations

from math import prod

from xdsl.dialects.builtin import f32

from mlc.ir.kernel.cuda_target import CudaTarget
from mlc.ir.kernel.kernel import loops_of, type_of
from mlc.ir.kernel.schedule import Binding, Level, Scalar, Schedule, Stage
from mlc.passes.kernel.rules.cuda.contraction import PIECE, UNKNOWN
from mlc.passes.kernel.rules.loop_facts import LoopFacts
from mlc.passes.loops.sums import PIECE as ADDED
from mlc.passes.loops.sums import is_sum, long_loop

THREADS = 256  # of a block
WARPS = 2  # per multiprocessor, below which fewer and larger pieces of work do not pay


def columns(group: LoopFacts, target: CudaTarget) -> Schedule | None:
    """Folds over loops that are not the one along which results lie, all in f32."""
    if not group.reduced or not group.results or 0 in group.loops.values():
        return None
    c = next((name for name in group.common if all(result.step(name) == 1 for result in group.results)), None)
    extent = None if c is None else group.fixed(c)
    if c is None or c in group.reduced or extent is None or extent % PIECE or extent < 4 * PIECE:
        return None
    operands = [operand for number in range(len(group.ops)) for operand in group.used(number)]
    if any(type_of(o.value).element_type != f32 or o.step(c) not in (0, 1) for o in operands):
        return None
    main = group.main
    outer = [name for name in loops_of(group.ops[main]) if name not in (c, *group.reduced)]
    if not group.reduced <= loops_of(group.ops[main]).keys() or not set(outer) <= group.common or not outer:
        return None
    folded = [o for o in group.used(main)[:-1] if o.step(c) == 1]
    moved = {name for o in folded if (name := group.kernel.name_of(o.value)) is not None}
    if not any(o.loops & group.reduced for o in folded) or len(moved) < len(folded):
        return None
    if any(
        is_sum(op) and any(long_loop(loops_of(op)[n], ADDED) for n in group.reduced & loops_of(op).keys())
        for op in group.ops
    ):
        return None  # long sums are taken by pieces, which this does not
    elements = prod(UNKNOWN if (size := group.fixed(name)) is None else size for name in (*outer, c))
    if elements < PIECE * 32 * WARPS * target.sms:
        return None
    beside: dict[str, Stage] = {}
    for number, used in enumerate(group.operands):
        for operand in used if number != main else ():
            name = group.kernel.name_of(operand.value)
            if name is not None and name not in moved and operand.step(c) == 1:
                beside[name] = Stage("register")
    *_, last = outer
    across = min(32, extent // PIECE)
    across = 1 << (across.bit_length() - 1)
    size = group.fixed(last)
    down = min(THREADS // across, 1 << ((UNKNOWN if size is None else size) - 1).bit_length())
    blocks: dict[str, Binding] = dict.fromkeys((*outer, c), "block.x")
    levels = (
        Level({**dict.fromkeys(outer, 1), last: down, c: across * PIECE}, blocks),
        Level({last: 1, c: PIECE}, {last: "thread.y", c: "thread.x"}),
        Level(
            {**dict.fromkeys(sorted(group.reduced), 1), c: PIECE}, stage=dict.fromkeys(sorted(moved), Stage("register"))
        ),
        Level({c: PIECE}, stage=beside),
    )
    return Schedule(levels, Scalar())
