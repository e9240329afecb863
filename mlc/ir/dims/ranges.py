"""Between which numbers an expression lies, and what follows: comparisons, and minima that one side always wins."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mlc.ir.dims.expression import Atom, Call, Dim, Extent, Monomial, apply_call, dim_of

Range = tuple[int | None, int | None]
# Symbol -> (low, high); a missing symbol is an extent, hence (0, None); None is "no limit".
Bounds = Mapping[str, tuple[int, int | None]]

# Calls replaced one after the other by what limits them, when bounds of single terms decide nothing.
_RELAXATIONS = 8


def bounds_of(extent: Extent, bounds: Bounds) -> Range:
    """(low, high) between which the extent lies under the bounds of its symbols; None where nothing limits it.

    Always valid, not always the tightest: `H - 4*(H//4)` is within (0, 3), `N*N - N` within (None, None).
    """
    low = _low(extent, bounds, _RELAXATIONS)
    high = _low(-extent, bounds, _RELAXATIONS)
    return low, None if high is None else -high


def compare(a: Extent, b: Extent, bounds: Bounds) -> int | None:
    """-1, 0 or 1 as `a` is less than, equal to or greater than `b` for every binding within bounds; None if undecided."""
    difference = a - b
    if isinstance(difference, int):
        return (difference > 0) - (difference < 0)
    low, high = bounds_of(difference, bounds)
    if low is not None and low > 0:
        return 1
    if high is not None and high < 0:
        return -1
    return 0 if low == high == 0 else None


def simplify(extent: Extent, bounds: Bounds) -> Extent:
    """The extent without the minima, maxima and divisions that the bounds decide: max(0, N) -> N."""
    if isinstance(extent, int):
        return extent
    low, high = bounds_of(extent, bounds)
    if low is not None and low == high:
        return low
    total: Extent = 0
    for monomial, coefficient in extent.terms:
        product: Extent = coefficient
        for atom in monomial:
            if isinstance(atom, str):
                product = product * dim_of(atom)
                continue
            args = [simplify(arg, bounds) for arg in atom.args]
            if atom.op != "//":
                args = _undominated(atom.op, args, bounds)
            elif args[1] == 0:  # no call has these sizes: left to say so where one tries
                args = list(atom.args)
            product = product * apply_call(atom.op, args)
        total = total + product
    return total


def _undominated(op: str, args: list[Extent], bounds: Bounds) -> list[Extent]:
    kept: list[Extent] = []
    for arg in args:
        if not any(_at_most(other, arg, op, bounds) for other in kept):
            kept = [other for other in kept if not _at_most(arg, other, op, bounds)] + [arg]
    return kept


def _at_most(a: Extent, b: Extent, op: str, bounds: Bounds) -> bool:
    low = _low(b - a if op == "min" else a - b, bounds, _RELAXATIONS)
    return low is not None and low >= 0


def _low(extent: Extent, bounds: Bounds, relaxations: int) -> int | None:
    """A lower bound: of each term by itself and, where that finds none, with a call replaced by what limits it."""
    if isinstance(extent, int):
        return extent
    total: int | None = 0
    for monomial, coefficient in extent.terms:
        least = _range(monomial, coefficient, bounds, relaxations)[0]
        total = None if least is None or total is None else total + least
    best = total
    calls = [(m[0], c) for m, c in extent.terms if len(m) == 1 and isinstance(m[0], Call)]
    if not relaxations or not calls or len(extent.terms) < 2:
        return best
    # each call by itself, and all of them one after the other: trying every subset would take exponential time
    for number, (call, coefficient) in enumerate(calls):
        found = _relaxed(extent, call, coefficient, bounds, relaxations - 1 if not number else 0)
        if found is not None and (best is None or found > best):
            best = found
    return best


def _relaxed(extent: Dim, atom: Call, coefficient: int, bounds: Bounds, relaxations: int) -> int | None:
    """A lower bound of an extent that has the term coefficient*atom."""
    others = extent - dim_of(atom) * coefficient
    if atom.op == "//":
        x, k = atom.args
        if not isinstance(k, int):
            return None
        # x - k + 1 <= k*(x//k) <= x
        low = _low(others * k + (x - (k - 1 if coefficient > 0 else 0)) * coefficient, bounds, relaxations)
        return None if low is None else -(-low // k)
    cases = [_low(others + arg * coefficient, bounds, relaxations) for arg in atom.args]
    known = [low for low in cases if low is not None]
    if (atom.op == "min") == (coefficient < 0):  # -min(x, y) >= -x and >= -y: the best of them
        return max(known, default=None)
    return min(known) if len(known) == len(cases) else None


def _range(monomial: Monomial, coefficient: int, bounds: Bounds, relaxations: int) -> Range:
    low: float = coefficient
    high: float = coefficient
    for atom in monomial:
        a, b = _atom_range(atom, bounds, relaxations)
        corners = [_times(p, q) for p in (low, high) for q in (a, b)]
        low, high = min(corners), max(corners)
    return _finite(low), _finite(high)


def _times(a: float, b: float) -> float:
    return 0 if a == 0 or b == 0 else a * b


def _finite(value: float) -> int | None:
    return None if math.isinf(value) else int(value)


def _atom_range(atom: Atom, bounds: Bounds, relaxations: int) -> tuple[float, float]:
    """As numbers in which infinity stands for no limit; finite ones stay ints."""
    if isinstance(atom, str):
        least, most = bounds.get(atom, (0, None))
        return least, math.inf if most is None else most
    ranges = []
    for arg in atom.args:
        low, negated = _low(arg, bounds, relaxations), _low(-arg, bounds, relaxations)
        ranges.append((-math.inf if low is None else low, math.inf if negated is None else -negated))
    if atom.op == "min":
        return min(low for low, _ in ranges), min(high for _, high in ranges)
    if atom.op == "max":
        return max(low for low, _ in ranges), max(high for _, high in ranges)
    (a, b), (p, q) = ranges
    if p <= 0:  # a divisor that may be zero or negative limits nothing
        return -math.inf, math.inf
    corners = [_quotient_limit(x, y) for x in (a, b) for y in (p, q)]
    return min(corners), max(corners)


def _quotient_limit(x: float, y: float) -> float:
    if math.isinf(x):
        return x
    if math.isinf(y):
        return -1 if x < 0 else 0
    return x // y
