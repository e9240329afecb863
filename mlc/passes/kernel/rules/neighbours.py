"""Schedules around another one: what a search tries. Each differs in one respect from where it starts, those that more is expected of come first.

    register tiles    Level(m = 14) over n = 32        ->  m = 9 over n = 48, m = 6 over n = 64, m = 13, m = 7, ...
    shares            Level(m = 64 parallel, n = 32 parallel by 8)  ->  m = 128, m = 32, by 16, by 4, m behind n
    fetching ahead    w -> panel ahead 8               ->  ahead 16, ahead 4, none
    copies            x -> panel                       ->  read in place
    sums by blocks    Level(m = 14)                    ->  Level(k = 256) | Level(m = 14)
    vectors in a step Vector(i x 16, interleave 4)     ->  interleave 8, interleave 2

Whether the target lowers one is asked of it (verify.py), and a few are refused while they are lowered. What is added to what stays as it is in
`pieces`, so that a sum's error does. No schedule has fewer shares than the one it came from, but for SHARES of them: it serves any number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import ceil, prod

from mlc.errors import MlcError
from mlc.ir.dims import Extent
from mlc.ir.kernel.kernel import Kernel
from mlc.ir.kernel.schedule import Level, Schedule, Stage, Vector
from mlc.ir.kernel.target import Target
from mlc.passes.kernel.rules.cpu import even
from mlc.passes.kernel.rules.loop_facts import LoopFacts
from mlc.passes.loops.verify import verify_schedule

SHARES = 16  # enough for the threads of a launch
VECTORS = range(1, 7)  # of a register tile
BLOCKS = (256, 512, 1024)  # of a sum


def neighbours(kernel: Kernel, schedule: Schedule, target: Target) -> list[Schedule]:
    """For a kernel whose loops are merged and that has no schedule yet. Each fits it, as far as that can be asked before it is lowered."""
    group = LoopFacts(kernel)
    around = _Around(group, schedule, target)
    enough = min(_shares(schedule, group.loops), SHARES)
    found: dict[str, Schedule] = {}
    for other in around.all():
        if other != schedule and str(other) not in found and _shares(other, group.loops) >= enough:
            try:
                verify_schedule(kernel, other, target)
            except MlcError:
                continue
            found[str(other)] = other
    return list(found.values())


def _shares(schedule: Schedule, loops: Mapping[str, Extent]) -> int:
    """How many tiles threads share; a loop whose extent the run decides counts as one."""
    for level in schedule.levels:
        if level.bind:
            fixed = {n: e for n in level.bind if isinstance(e := loops.get(n), int)}
            return prod(ceil(extent / level.tiles[name]) for name, extent in fixed.items())
    return 1


class _Around:
    def __init__(self, group: LoopFacts, schedule: Schedule, target: Target):
        self.group, self.schedule, self.target = group, schedule, target
        self.levels, self.leaf = schedule.levels, schedule.leaf

    def all(self) -> Iterator[Schedule]:
        yield from self.register_tiles()
        yield from self.shares()
        yield from self.stages()
        yield from self.orders()
        yield from self.steps()
        yield from self.blocks_of_sums()

    def cut(self, sizes: Mapping[tuple[int, str], int]) -> Schedule:
        """With other sizes of tiles, by number of the level and loop."""
        levels = list(self.levels)
        for (number, name), size in sizes.items():
            levels[number] = replace(levels[number], tiles={**levels[number].tiles, name: size})
        return replace(self.schedule, levels=tuple(levels))

    def with_level(self, number: int, level: Level) -> Schedule:
        return replace(self.schedule, levels=(*self.levels[:number], level, *self.levels[number + 1 :]))

    def innermost(self, name: str) -> int | None:
        """The last level that cuts a loop."""
        return next((n for n in reversed(range(len(self.levels))) if name in self.levels[n].tiles), None)

    def outside(self, number: int, name: str) -> int | None:
        """The tile of a loop that a level cuts, or its extent."""
        outer = [level.tiles[name] for level in self.levels[:number] if name in level.tiles]
        return outer[-1] if outer else self.group.fixed(name)

    # -----------------------------------------------------------------------------------------------------------------
    def register_tiles(self) -> Iterator[Schedule]:
        """Other rows x vectors of what stays in registers."""
        leaf = self.leaf
        if not isinstance(leaf, Vector):
            return
        for across in leaf.loops:
            wide = self.innermost(across)
            rows = [(n, at) for n in leaf.unroll if n not in leaf.loops and (at := self.innermost(n)) is not None]
            tall = [(at, n) for n, at in rows if self.levels[at].tiles[n] > 1]
            now = None if wide is None else max(1, self.levels[wide].tiles[across] // leaf.lanes)
            for at, row in tall[-1:]:
                most, size = self.outside(at, row), self.levels[at].tiles[row]
                if wide is not None and now is not None:
                    for vectors in sorted(VECTORS, key=lambda v: abs(v - now)):
                        fit = max(1, (self.target.registers - 2 - vectors) // vectors)
                        for most_rows in dict.fromkeys((fit, fit - 1, fit // 2)):
                            if most_rows >= 1 and (vectors, most_rows) != (now, size):
                                tile = most_rows if most is None else even(most, most_rows)
                                yield self.cut({(wide, across): vectors * leaf.lanes, (at, row): tile})
                for other in (size - 1, size + 1, size // 2, 2 * size):
                    if other >= 1:
                        yield self.cut({(at, row): other})
            if not tall and wide is not None:
                for width in (2 * self.levels[wide].tiles[across], self.levels[wide].tiles[across] // 2):
                    if width >= leaf.lanes:
                        yield self.cut({(wide, across): width})

    def shares(self) -> Iterator[Schedule]:
        """Larger and smaller tiles that threads share, and blocks of them."""
        for number, level in enumerate(self.levels):
            if not level.bind:
                continue
            for name, size in level.tiles.items():
                for other in (2 * size, size // 2):
                    if other >= 1:
                        yield self.cut({(number, name): other})
            if len(level.bind) == len(level.tiles) >= 2:
                for block in {2 * level.block, level.block // 2, 0} if level.block else {2, 8}:
                    yield self.with_level(number, replace(level, block=block))

    def stages(self) -> Iterator[Schedule]:
        """The next panels asked for in other shares, or not; computed operands read in place."""
        for number, level in enumerate(self.levels):
            for name, stage in level.stage.items():
                if name in self.group.kernel.weights:
                    for ahead in {2 * stage.ahead, stage.ahead // 2, 0} if stage.ahead else {4, 16}:
                        yield self.with_level(number, self.staged(level, {name: replace(stage, ahead=ahead)}))
                else:
                    rest = {other: kept for other, kept in level.stage.items() if other != name}
                    yield self.with_level(number, replace(level, stage=rest))

    @staticmethod
    def staged(level: Level, changed: Mapping[str, Stage]) -> Level:
        return replace(level, stage={**level.stage, **changed})

    def orders(self) -> Iterator[Schedule]:
        """The loops of a level, and two levels, the other way round."""
        for number, level in enumerate(self.levels):
            if len(level.tiles) > 1:
                names = list(level.tiles)
                turned = [*names[:-2], names[-1], names[-2]]
                yield self.with_level(number, replace(level, tiles={name: level.tiles[name] for name in turned}))
        for number in range(1, len(self.levels) - 1):
            first, second = self.levels[number : number + 2]
            if not (first.bind or second.bind or first.tiles.keys() & second.tiles.keys()):
                levels = (*self.levels[:number], second, first, *self.levels[number + 2 :])
                yield replace(self.schedule, levels=levels)

    def steps(self) -> Iterator[Schedule]:
        """More and fewer vectors in a step of a loop along memory."""
        leaf = self.leaf
        if isinstance(leaf, Vector):
            for interleave in (2 * leaf.interleave, leaf.interleave // 2):
                if 1 <= interleave <= 16:
                    yield replace(self.schedule, leaf=replace(leaf, interleave=interleave))

    def blocks_of_sums(self) -> Iterator[Schedule]:
        """A long sum cut, or cut into other blocks."""
        for name in self.group.reduced:
            extent, at = self.group.fixed(name), self.innermost(name)
            if at is not None and self.levels[at].tiles[name] > 1:
                for size in (2 * self.levels[at].tiles[name], self.levels[at].tiles[name] // 2):
                    yield self.cut({(at, name): size})
            elif extent is not None and at is None and len(self.levels) > 1 and isinstance(self.leaf, Vector):
                for size in (size for size in BLOCKS if 2 * size <= extent):
                    levels = (*self.levels[:-1], Level({name: size}), self.levels[-1])
                    yield replace(self.schedule, levels=levels)
