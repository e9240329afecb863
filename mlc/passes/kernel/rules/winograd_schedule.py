"""The schedule of Winograd's convolution on a CPU (mlc/passes/kernel/winograd_draft.py says what its loops are):

Level(block = 1 parallel, band = 1 parallel, share = 1 parallel)       what is kept of a block lies in a cache
Level(image = 1, ty = 1, tx = 1, c = 16) | Level(b = 3) | Level(xi = 3)                a tile there, by columns and rows in registers
Level(panel = 1) | Level(t = 1, p = 14)                                products of a panel of channels, by register tiles
Level(image = 1, ty = 1, tx = 1, oc = 16) | Level(s = 3) | Level(i = 4)                a tile back
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from mlc.ir.kernel.kernel import loops_of
from mlc.ir.kernel.schedule import Level, Schedule, Vector
from mlc.ir.kernel.target import Target
from mlc.passes.kernel.rules.loop_facts import LoopFacts
from mlc.passes.loops.leaves import constant_values

POINTS = ("a", "b", "d", "e", "f", "h", "xi", "nu", "r", "s", "q", "u", "i", "j")  # of transforms
TILE = ("image", "ty", "tx")


def winograd(group: LoopFacts, target: Target) -> Schedule | None:
    """The schedule of a kernel that transforms tiles by constant matrices; None for any other."""
    transforms = [op for op in group.ops if any(constant_values(value) is not None for value in op.operands)]
    if not transforms:
        return None
    there, back = (list(loops_of(op)) for op in (transforms[0], transforms[-1]))
    (c,), (o,) = ([n for n in names if n not in (*POINTS, *TILE, "panel", *group.common)] for names in (there, back))
    tile = dict.fromkeys((name for name in TILE if name in there), 1)
    lanes, vectors = target.lanes, ceil((group.fixed(o) or 1) / target.lanes)
    count, most = group.fixed("p") if "p" in group.loops else 1, min((target.registers - 2 - vectors) // vectors, 14)
    lines = lambda name: few(group, name, target)
    levels = [
        Level(dict.fromkeys(group.common, 1), dict.fromkeys(group.common, "parallel")),
        Level({**tile, c: lanes}),
        Level({"b": lines("b")}),
        Level({"xi": lines("xi")}),
        Level({"panel": 1}),
        Level({"t": 1, "p": ceil(count / ceil(count / most)) if count else 1}),
        Level({**tile, o: lanes}),
        Level({"s": lines("s")}),
        Level({"i": lines("i")}),
    ]
    there_are = [{name: size for name, size in level.tiles.items() if name in group.loops} for level in levels]
    kept = tuple(replace(level, tiles=tiles) for level, tiles in zip(levels, there_are, strict=True) if tiles)
    return Schedule(
        kept, Vector((c, o), lanes, tuple(name for name in (*tile, *POINTS, "p", c, o) if name in group.loops))
    )


def few(group: LoopFacts, name: str, target: Target) -> int:
    """Of the lines of a tile, so many that their points leave registers for what is added up; equal parts of all."""
    lines, points = group.fixed(name) or 1, group.fixed("a") or 1
    return next(
        n for n in range(lines, 0, -1) if lines % n == 0 and (n == 1 or n * points <= target.registers * 3 // 4)
    )
