"""Between which numbers or expressions an expression lies, and what follows: comparisons, and minima that one side always wins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from mlc.ir.dims.expression import Atom, Call, Dim, Extent, Monomial, apply_call, dim_of, dmax, dmin, floordiv

Interval = tuple[int | None, int | None]
# Symbol -> (low, high); a missing symbol is an extent, hence (0, None); None is "no limit".
Bounds = Mapping[str, tuple[int, int | None]]

# Calls replaced one after the other by what limits them, when bounds of single terms decide nothing.
_RELAXATIONS = 8
# Expressions that one question may look at: calls within calls would else take time exponential in their depth. The miniatures of real models need up to 105.
_STEPS = 1000


@dataclass
class _Search:
    """One question about limits: the bounds of symbols, what is found so far, and how many more expressions may be looked at."""

    bounds: Bounds
    steps: int = _STEPS
    found: dict[tuple[Dim, int], int | None] = field(default_factory=dict)


def bounds_of(extent: Extent, bounds: Bounds) -> Interval:
    """(low, high) between which the extent lies under the bounds of its symbols; None where nothing limits it.

    Always valid, not always the tightest: `H - 4*(H//4)` is within (0, 3), `N*N - N` within (None, None).
    """
    low = _low(extent, _Search(bounds), _RELAXATIONS)
    high = _low(-extent, _Search(bounds), _RELAXATIONS)
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


def ceiling(extent: Extent, most: Mapping[str, Extent]) -> Extent:
    """No less than the extent wherever each symbol of `most` is within 0 and its expression there: M - K with K <= N is at most M.

    An expression of the other symbols. Valid, not always the tightest: each symbol is bounded at each place by itself.
    """
    return _ends(extent, most)[1]


def _ends(extent: Extent, most: Mapping[str, Extent]) -> tuple[Extent, Extent]:
    """Expressions between which the extent lies."""
    if isinstance(extent, int) or extent.symbols().isdisjoint(most):
        return extent, extent
    low: Extent = 0
    high: Extent = 0
    for monomial, coefficient in extent.terms:
        ends: tuple[Extent, Extent] = (coefficient, coefficient)
        for atom in monomial:
            ends = _product_ends(ends, _atom_ends(atom, most))
        low, high = low + ends[0], high + ends[1]
    return low, high


def _product_ends(a: tuple[Extent, Extent], b: tuple[Extent, Extent]) -> tuple[Extent, Extent]:
    if a[0] == a[1] and _is_size(b[0]) and isinstance(a[0], int):
        return (b[0] * a[0], b[1] * a[0]) if a[0] >= 0 else (b[1] * a[0], b[0] * a[0])
    if _is_size(a[0]) and _is_size(b[0]):
        return a[0] * b[0], a[1] * b[1]
    corners = [x * y for x in a for y in b]
    return dmin(*corners), dmax(*corners)


def _is_size(extent: Extent) -> bool:
    low = bounds_of(extent, {})[0]
    return low is not None and low >= 0


def _atom_ends(atom: Atom, most: Mapping[str, Extent]) -> tuple[Extent, Extent]:
    if isinstance(atom, str):
        return (0, most[atom]) if atom in most else (dim_of(atom), dim_of(atom))
    ends = [_ends(arg, most) for arg in atom.args]
    if atom.op == "//":
        (low, high), (least, largest) = ends
        if least == largest and _is_size(least):
            return floordiv(low, least), floordiv(high, least)
        return dmin(low, -high, 0), dmax(high, -low, 0)  # a divisor of any sign leaves no more than is divided
    return apply_call(atom.op, [low for low, _ in ends]), apply_call(atom.op, [high for _, high in ends])


def _undominated(op: str, args: list[Extent], bounds: Bounds) -> list[Extent]:
    kept: list[Extent] = []
    for arg in args:
        if not any(_at_most(other, arg, op, bounds) for other in kept):
            kept = [other for other in kept if not _at_most(arg, other, op, bounds)] + [arg]
    return kept


def _at_most(a: Extent, b: Extent, op: str, bounds: Bounds) -> bool:
    low = _low(b - a if op == "min" else a - b, _Search(bounds), _RELAXATIONS)
    return low is not None and low >= 0


def _low(extent: Extent, search: _Search, relaxations: int) -> int | None:
    """A lower bound: of each term by itself and, where that finds none, with a call replaced by what limits it."""
    if isinstance(extent, int):
        return extent
    key = extent, relaxations
    if key not in search.found:
        search.steps -= 1
        if search.steps < 0:
            return None
        search.found[key] = _lower(extent, search, relaxations)
    return search.found[key]


def _lower(extent: Dim, search: _Search, relaxations: int) -> int | None:
    total: int | None = 0
    for monomial, coefficient in extent.terms:
        least = _range(monomial, coefficient, search, relaxations)[0]
        total = None if least is None or total is None else total + least
    best = total
    calls = [(m[0], c) for m, c in extent.terms if len(m) == 1 and isinstance(m[0], Call)]
    if not relaxations or not calls or len(extent.terms) < 2:
        return best
    # each call by itself, and all of them one after the other: trying every subset would take exponential time
    for number, (call, coefficient) in enumerate(calls):
        found = _relaxed(extent, call, coefficient, search, relaxations - 1 if not number else 0)
        if found is not None and (best is None or found > best):
            best = found
    return best


def _relaxed(extent: Dim, atom: Call, coefficient: int, search: _Search, relaxations: int) -> int | None:
    """A lower bound of an extent that has the term coefficient*atom."""
    others = extent - dim_of(atom) * coefficient
    if atom.op == "//":
        x, k = atom.args
        if not isinstance(k, int):
            return None
        # x - k + 1 <= k*(x//k) <= x
        low = _low(others * k + (x - (k - 1 if coefficient > 0 else 0)) * coefficient, search, relaxations)
        return None if low is None else -(-low // k)
    cases = [_low(others + arg * coefficient, search, relaxations) for arg in atom.args]
    known = [low for low in cases if low is not None]
    if (atom.op == "min") == (coefficient < 0):  # -min(x, y) >= -x and >= -y: the best of them
        return max(known, default=None)
    return min(known) if len(known) == len(cases) else None


def _range(monomial: Monomial, coefficient: int, search: _Search, relaxations: int) -> Interval:
    low: float = coefficient
    high: float = coefficient
    for atom in monomial:
        a, b = _atom_range(atom, search, relaxations)
        corners = [_times(p, q) for p in (low, high) for q in (a, b)]
        low, high = min(corners), max(corners)
    return _finite(low), _finite(high)


def _times(a: float, b: float) -> float:
    return 0 if a == 0 or b == 0 else a * b


def _finite(value: float) -> int | None:
    return None if math.isinf(value) else int(value)


def _atom_range(atom: Atom, search: _Search, relaxations: int) -> tuple[float, float]:
    """As numbers in which infinity stands for no limit; finite ones stay ints."""
    if isinstance(atom, str):
        least, most = search.bounds.get(atom, (0, None))
        return least, math.inf if most is None else most
    ranges = []
    for arg in atom.args:
        low, negated = _low(arg, search, relaxations), _low(-arg, search, relaxations)
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
