"""The schedule of Winograd's convolution on a CPU (mlc/passes/kernel/winograd_draft.py says what its loops are):

Level(block = 1 parallel, band = 1 parallel, share = 1 parallel)       what is kept of a block lies in a cache
Level(image = 1, ty = 1, tx = 1, c = 16) | Level(b = 3) | Level(xi = 3)                a tile there, by columns and rows in registers
Level(panel = 1) | Level(t = 1, p = 14)                                products of a panel of channels, by register tiles
Level(image = 1, ty = 1, tx = 1, oc = 16) | Level(s = 3) | Level(i = 4)                a tile back

Where height or width is symbolic, rows of tiles are cut here, and products run along each:

Level(block ~ 1 parallel, ty ~ 2 parallel beside 4 oh, share ~ 1 parallel) | ... | Level(t = 1, ty = 1, px = 6) | ...
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil, prod

from mlc.ir.kernel.kernel import loops_of
from mlc.ir.kernel.schedule import Level, Schedule, Vector
from mlc.ir.kernel.target import Target
from mlc.passes.kernel.rules.loop_facts import LoopFacts
from mlc.passes.loops.leaves import constant_values

POINTS = ("a", "b", "d", "e", "f", "h", "xi", "nu", "r", "s", "q", "u", "i", "j")  # of transforms
TILE = ("image", "ty", "tx")
ROWS = 8  # of tiles in a block, at most, where only the run knows how many tiles there are
STREAMS = 2.5  # times L2: windows that may be read from the next cache for every block


def winograd(group: LoopFacts, target: Target) -> Schedule | None:
    """The schedule of a kernel that transforms tiles by constant matrices; None for any other."""
    transforms = [op for op in group.ops if any(constant_values(value) is not None for value in op.operands)]
    if not transforms:
        return None
    there, back = (list(loops_of(op)) for op in (transforms[0], transforms[-1]))
    (c,), (o,) = ([n for n in names if n not in (*POINTS, *TILE, "panel", *group.common)] for names in (there, back))
    tile = dict.fromkeys((name for name in TILE if name in there), 1)
    lanes, vectors = target.lanes, ceil((group.fixed(o) or 1) / target.lanes)
    by_rows = any({"t", "ty"} <= loops_of(op).keys() for op in group.ops)
    most = min((target.registers - 2 - vectors) // vectors, 8 if by_rows else 14)
    lines = lambda name: few(group, name, target)
    products = {"t": 1} | {name: even(group, name, most) for name in ("p", "px")}
    levels = [
        blocks(group, rows_of_block(stored(group, c, o), target.l2) if by_rows else 0),
        Level({**tile, c: lanes}),
        Level({"b": lines("b")}),
        Level({"xi": lines("xi")}),
        Level({"panel": 1}),
        Level({"ty": 1, **products} if by_rows else products),
        Level({**tile, o: lanes}),
        Level({"s": lines("s")}),
        Level({"i": lines("i")}),
    ]
    # loops of one step are gone
    there_are = [{name: size for name, size in level.tiles.items() if name in group.loops} for level in levels]
    kept = tuple(replace(level, tiles=tiles) for level, tiles in zip(levels, there_are, strict=True) if tiles)
    return Schedule(
        kept, Vector((c, o), lanes, tuple(name for name in (*tile, *POINTS, "p", "px", c, o) if name in group.loops))
    )


def blocks(group: LoopFacts, rows: int) -> Level:
    """Blocks that threads share: of so many rows of tiles, and the rows of outputs that the last ops have in their place, if rows are a loop."""
    sizes = (
        {"block": 1, "ty": min(rows, group.fixed("ty") or rows), "share": 1} if rows else dict.fromkeys(group.common, 1)
    )
    tiles = {name: size for name, size in sizes.items() if name in group.loops}
    beside = {"oh": ("ty", group.fixed("i") or 1)} if rows else {}
    return Level(tiles, dict.fromkeys(tiles, "parallel"), ragged=rows > 1, beside=beside)


def stored(group: LoopFacts, c: str, o: str) -> int:
    """Bytes of all windows."""
    return 4 * prod(group.fixed(name) or 1 for name in ("share", "panel", "t", c, o) if name in group.loops)


def rows_of_block(stored: int, l2: int) -> int:
    """How many rows of tiles use windows of so many bytes while they are at hand: more where no cache keeps these until the next block."""
    return 1 if stored <= STREAMS * l2 else min(ROWS, stored // l2)


def even(group: LoopFacts, name: str, most: int) -> int:
    """Tiles that are nearly equal, where their number is known."""
    count = group.fixed(name) if name in group.loops else None
    return most if count is None else ceil(count / ceil(count / most)) if count else 1


def few(group: LoopFacts, name: str, target: Target) -> int:
    """Of the lines of a tile, so many that their points leave registers for what is added up; equal parts of all."""
    lines, points = group.fixed(name) or 1, group.fixed("a") or 1
    return next(
        n for n in range(lines, 0, -1) if lines % n == 0 and (n == 1 or n * points <= target.registers * 3 // 4)
    )
