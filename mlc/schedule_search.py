"""Search for schedules that win against those of the rules, by measuring, within a time: how, whatever is compiled and timed.

A variant is the whole model with another schedule for each of its kernels that take time, so that each runs among the others, with the caches as
they leave them, and one measurement says something of every kernel. It takes turns with the model as the rules schedule it. A schedule is
taken where its kernel wins by more than the rounds differ by, in nearly every one, and wins again when all that were taken
run together; a variant whose outputs are not those of the rules' counts for nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from mlc.ir.kernel.schedule import Schedule

Times = Mapping[str, float]  # nanoseconds by kernel, all of its calls in one run together

ROUNDS = 5
ROUND, RUNS = 0.02, 3  # seconds and runs, at least, of each side of a round: the least time of its runs counts
GAIN = 1.03  # below it a difference is not worth a word
SHARE, LEAST = (
    0.01,
    500.0,
)  # of all kernels' time, and nanoseconds, below which a kernel keeps its schedule: clocks and chance are too much of it
SEARCHED = 0.8  # of the time; the rest is for seeing it again


class Variant(Protocol):
    """A model with some schedules."""

    refused: frozenset[
        str
    ]  # kernels that keep the rules' schedule, for the one asked for turned out not to go with them

    def run(self) -> Sequence[np.ndarray]: ...

    def times(self) -> Times: ...


@dataclass
class Space:
    """A kernel, and the schedules that wait for their turn: the `first`, then those around the rules', the most promising in front. `best` is the
    one that won most so far, with its gain."""

    name: str
    rule: Schedule
    around: Callable[[Schedule], list[Schedule]]
    first: Sequence[Schedule] = ()
    best: Schedule | None = None
    gain: float = 1.0
    seen: set[str] = field(default_factory=set)

    @cached_property
    def waiting(self) -> list[Schedule]:
        self.seen.update(map(str, (self.rule, *self.first)))
        return [*self.first, *self._fresh(self.rule)]

    def _fresh(self, schedule: Schedule) -> list[Schedule]:
        found = [other for other in self.around(schedule) if str(other) not in self.seen]
        self.seen.update(map(str, found))
        return found

    def won(self, schedule: Schedule, gain: float) -> None:
        """What lies around a schedule that won is tried next."""
        if gain > self.gain:
            self.best, self.gain = schedule, gain
            self.waiting[:0] = self._fresh(schedule)


@dataclass(frozen=True)
class Row:
    """What became of a kernel: its share of the time before, what the rules chose, what is better, by how much."""

    kernel: str
    share: float
    rule: str
    schedule: str
    gain: float


@dataclass
class Search:
    """`build` makes a variant; `clock` gives seconds. Nothing here knows how a model is compiled or timed."""

    spaces: Mapping[str, Space]
    build: Callable[[Mapping[str, Schedule]], Variant]
    agree: Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], bool]
    seconds: float
    clock: Callable[[], float] = time.perf_counter
    told: Callable[[str, int], None] = lambda text, tried: None
    tried: int = 0  # schedules
    wrong: int = 0  # variants whose outputs were others
    interrupted: bool = False

    def run(self) -> list[Row]:
        """The kernels for which something better was found; what was found so far, where it is interrupted."""
        self._begin = self.clock()
        try:
            return self._all()
        except KeyboardInterrupt:  # the caller's way to say that it is enough
            self.interrupted = True
            return self._rows(self.spaces)

    def _all(self) -> list[Row]:
        self._shares: dict[str, float] = {}
        self._rule = self.build({})
        self._expected = [np.array(y) for y in self._rule.run()]
        times = least([self._rule.times() for _ in range(3)])
        total = sum(times.values()) or 1.0
        self._shares = {name: ns / total for name, ns in times.items()}
        long = {name for name, ns in times.items() if ns >= max(SHARE * total, LEAST)}
        worth = [space for name, space in self.spaces.items() if name in long]
        longest = 0.0
        while picks := {space.name: space.waiting.pop(0) for space in worth if space.waiting}:
            start = self.clock()
            if start - self._begin + longest > SEARCHED * self.seconds:
                break
            for name, gain in self._gains(picks).items():
                self.spaces[name].won(picks[name], gain)
            longest = max(longest, self.clock() - start)
        found = {space.name: space.best for space in worth if space.best is not None}
        again = self._gains(found) if found else {}
        for name, gain in again.items():
            self.spaces[name].gain = min(self.spaces[name].gain, gain)
        return self._rows(again)

    def _gains(self, schedules: Mapping[str, Schedule]) -> dict[str, float]:
        """Of the schedules that win against the rules': how many times as fast they are."""
        self.tried += len(schedules)
        won = [f"{s.name} {s.gain:.2f}x" for s in self.spaces.values() if s.best is not None]
        self.told(", ".join(won) or "nothing better yet", self.tried)
        variant = self.build(schedules)
        if not self.agree(variant.run(), self._expected):
            self.wrong += 1
            return {}
        rounds = [self._round(variant, turn) for turn in range(ROUNDS)]
        found = {}
        for name in schedules.keys() - variant.refused:
            before = [rule[name] for rule, _ in rounds if name in rule]
            after = [own[name] for _, own in rounds if name in own]
            if len(before) == len(after) == ROUNDS and (gain := won_by(before, after)):
                found[name] = gain
        return found

    def _round(self, variant: Variant, turn: int) -> tuple[Times, Times]:
        """Both in turn, the other one first the next time."""
        sides = [self._rule, variant] if turn % 2 == 0 else [variant, self._rule]
        found: dict[int, list[Times]] = {id(side): [] for side in sides}
        start = self.clock()
        while True:
            for side in sides:
                found[id(side)].append(side.times())
            if len(found[id(variant)]) >= RUNS and self.clock() - start >= 2 * ROUND:
                return least(found[id(self._rule)]), least(found[id(variant)])

    def _rows(self, names: Mapping[str, Any]) -> list[Row]:
        rows = [
            Row(s.name, self._shares.get(s.name, 0.0), str(s.rule), str(s.best), s.gain)
            for s in self.spaces.values()
            if s.name in names and s.best is not None
        ]
        return sorted(rows, key=lambda row: -row.share * (1 - 1 / row.gain))


def least(runs: Sequence[Times]) -> dict[str, float]:
    """Whatever disturbs a run makes it longer."""
    return {name: min(run[name] for run in runs) for name in runs[0]}


def won_by(before: Sequence[float], after: Sequence[float]) -> float | None:
    """How many times as fast `after` is; None where it does not win. Times of rounds, in pairs: the median of their ratios is beyond GAIN and twice
    what the ratios differ by, and all rounds but one agree."""
    ratios = sorted(x / max(y, 1.0) for x, y in zip(before, after, strict=True))
    gain = median(ratios)
    noise = median(abs(ratio - gain) for ratio in ratios)
    return gain if gain >= max(GAIN, 1 + 2 * noise) and ratios[1 if len(ratios) > 2 else 0] > 1 else None
