"""Which values to drop and compute again later, so that less memory is alive at once.

A program is a list of steps with the bytes of what they write, in two halves. A plan drops steps of the first half: what they write lives until
its last reader in that half, and each runs once more right before the first step of the second half that needs it (Chen et al. 2016). Plans are drawn
without a look at any budget, each is measured over the very sequence that will run, and those that no other beats in both bytes and work form
a staircase: whoever walks down it for a smaller budget never gets more bytes nor less work.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

COUNTS = (2, 3, 4, 6, 8, 11, 16, 23, 32)  # pieces that a first half is cut into, at most
SHARES = (0.3, 0.5, 0.7, 0.9)  # of its steps, those that cost least per byte
LEVELS = 8  # peaks to aim at, from each of these
TRIALS = 24_000  # steps to look at in single changes to the lowest plans

Order = list[tuple[int, bool]]  # (step, whether it runs again)
Lives = dict[tuple[int, bool], list[int]]  # (value, whether of the second run) -> first and last place in an order


@dataclass(frozen=True)
class ProgramStep:
    """What runs at once: numbers of the values that it reads and writes, and seconds that it takes, roughly. Only a step that is `pure` and writes
    nothing that leaves the program may run again."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    cost: float
    pure: bool = True


@dataclass(frozen=True)
class RecomputationPlan:
    """Steps that run again, bytes alive at most, and the seconds that this takes."""

    dropped: frozenset[int]
    peak: int
    extra: float


@dataclass(frozen=True)
class Program:
    """Steps, and bytes of each value: 0 for what lies elsewhere whatever is planned."""

    steps: tuple[ProgramStep, ...]
    sizes: tuple[int, ...]

    @cached_property
    def half(self) -> int:
        """Where the second half begins: over this place most bytes lie idle, between a reader of theirs and the next."""
        touched: dict[int, list[int]] = {}
        for place, step in enumerate(self.steps):
            for value in (*step.inputs, *step.outputs):
                touched.setdefault(value, []).append(place)
        idle = np.zeros(len(self.steps) + 1, np.int64)
        for value, places in touched.items():
            for before, after in pairwise(places):
                idle[before + 1] += self.sizes[value]
                idle[max(after, before + 1)] -= self.sizes[value]
        return int(np.cumsum(idle).argmax())

    @cached_property
    def makers(self) -> dict[int, int]:
        """Value -> the step of the first half that can make it again."""
        return {v: n for n, step in enumerate(self.steps[: self.half]) if step.pure for v in step.outputs}

    def bytes_of(self, step: int) -> int:
        return sum(self.sizes[value] for value in self.steps[step].outputs)

    def order(self, dropped: Collection[int]) -> Order:
        """All steps, those of `dropped` once more before the first of the second half that needs them: what they need first."""
        order, done = [(n, False) for n in range(self.half)], set()
        for n in range(self.half, len(self.steps)):
            waiting = self._lost(n, dropped)
            while waiting:
                step, ready = waiting.pop()
                if step in done:
                    continue
                if ready:
                    done.add(step)
                    order.append((step, True))
                else:
                    waiting.append((step, True))
                    waiting += self._lost(step, dropped)
            order.append((n, False))
        return order

    def _lost(self, step: int, dropped: Collection[int]) -> Order:
        needed = (self.makers.get(value, -1) for value in reversed(self.steps[step].inputs))
        return [(maker, False) for maker in needed if maker in dropped]

    def lives(self, dropped: Collection[int], order: Order) -> Lives:
        lost = {value for step in dropped for value in self.steps[step].outputs}
        found: Lives = {}
        for place, (n, again) in enumerate(order):
            late = again or n >= self.half
            for value in self.steps[n].inputs:
                if (key := (value, late and value in lost)) in found:
                    found[key][1] = place
            for value in self.steps[n].outputs:
                found[value, again] = [place, place]
        return found

    def profile(self, lives: Lives, length: int) -> np.ndarray:
        """Bytes alive at each place of an order."""
        change = np.zeros(length + 1, np.int64)
        for (value, _), (first, last) in lives.items():
            change[first] += self.sizes[value]
            change[last + 1] -= self.sizes[value]
        return np.cumsum(change)[:-1]

    def measure(self, dropped: Collection[int]) -> RecomputationPlan:
        order = self.order(dropped)
        again = frozenset(n for n, second in order if second)
        live = self.profile(self.lives(dropped, order), len(order))
        return RecomputationPlan(again, int(live.max(initial=0)), sum(self.steps[n].cost for n in sorted(again)))


def staircase(program: Program) -> list[RecomputationPlan]:
    """Plans by rising work and falling peak, the first of which drops nothing."""
    nothing = program.measure(())
    plans = [nothing]
    droppable = [n for n in range(program.half) if program.steps[n].pure and program.bytes_of(n)]
    if not droppable:
        return plans
    drawn = [_between_cuts(program, droppable, count) for count in COUNTS]
    drawn += [_cheapest(program, droppable, share) for share in SHARES]
    for dropped in dict.fromkeys(drawn):
        base = program.measure(dropped)
        plans.append(base)
        targets = np.linspace(base.peak, nothing.peak, LEVELS, endpoint=False)
        plans += [program.measure(kept) for kept in dict.fromkeys(_kept_again(program, base, targets))]
    trials = TRIALS // (len(program.steps) + 100)
    for low in sorted(plans, key=lambda plan: plan.peak)[:3]:
        plans += _lowered(program, low, trials)
    stairs: list[RecomputationPlan] = []
    for plan in sorted(plans, key=lambda plan: (plan.extra, plan.peak)):
        if not stairs or plan.peak < stairs[-1].peak:
            stairs.append(plan)
    return stairs


def _between_cuts(program: Program, droppable: Sequence[int], count: int) -> frozenset[int]:
    """All but what is read across `count` - 1 cuts, which go where few bytes cross, near equal shares of the bytes."""
    first, half = program.steps[: program.half], program.half
    last = {value: n for n, step in enumerate(first) for value in step.inputs}
    made = {value: n for n, step in enumerate(first) for value in step.outputs}
    crossing = np.zeros(half + 1, np.int64)
    for value, n in made.items():
        crossing[n + 1 : last.get(value, n) + 1] += program.sizes[value]
    total = np.cumsum([program.bytes_of(n) for n in range(half)])
    cuts: list[int] = []
    for part in range(1, count):
        near = [total[-1] * (part + aside) / count for aside in (-0.3, 0.3)]
        low, high = (int(place) for place in np.searchsorted(total, near))
        low, high = max(low, cuts[-1] + 1 if cuts else 1), min(high + 1, half)
        if low < high:
            cuts.append(high - 1 - int(np.argmin(crossing[low:high][::-1])))
    kept = {n for value, n in made.items() if any(n < cut <= last.get(value, n) for cut in cuts)}
    return frozenset(droppable) - kept


def _cheapest(program: Program, droppable: Sequence[int], share: float) -> frozenset[int]:
    """The steps that cost least per byte: element-wise chains before contractions."""
    rated = sorted(droppable, key=lambda n: program.steps[n].cost / program.bytes_of(n))
    return frozenset(rated[: int(share * len(rated))])


def _kept_again(
    program: Program, base: RecomputationPlan, targets: Sequence[float] | np.ndarray
) -> list[frozenset[int]]:
    """For each peak aimed at, what is left of a plan when steps that cost most per byte stay, as long as they fit below it."""
    order = program.order(base.dropped)
    lives = program.lives(base.dropped, order)
    empty = program.profile(lives, len(order))
    gaps = {
        n: [(lives[v, False][1] + 1, lives[v, True][0], program.sizes[v]) for v in program.steps[n].outputs]
        for n in sorted(base.dropped)
    }
    ranked = sorted(gaps, key=lambda n: -program.steps[n].cost / program.bytes_of(n))
    found = []
    for target in targets:
        live, dropped = empty.copy(), set(base.dropped)
        for n in ranked:
            if all(live[first:last].max(initial=0) + size <= target for first, last, size in gaps[n]):
                for first, last, size in gaps[n]:
                    live[first:last] += size
                dropped.remove(n)
        found.append(frozenset(dropped))
    return found


def _lowered(program: Program, plan: RecomputationPlan, trials: int) -> list[RecomputationPlan]:
    """Better and better plans, each by one step that is dropped or kept, whose value is alive at the peak."""
    found = []
    while trials > 0:
        order = program.order(plan.dropped)
        lives = program.lives(plan.dropped, order)
        at = int(program.profile(lives, len(order)).argmax())
        alive = {
            (-program.sizes[value], program.makers[value])
            for (value, _), (first, last) in lives.items()
            if first <= at <= last and program.sizes[value] and value in program.makers
        }
        tried = [program.measure(plan.dropped ^ {n}) for _, n in sorted(alive)[: max(4, trials)]]
        trials -= max(1, len(tried))
        best = min(tried, key=lambda other: (other.peak, other.extra), default=plan)
        if best.peak >= plan.peak:
            break
        plan = best
        found.append(plan)
    return found
