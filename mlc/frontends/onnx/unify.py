"""What a model's own checks say about its symbols: past_0 == past_1 leaves one symbol, S == min(64, S) is the bound S <= 64.

Exporters give one size several names (a cache of four layers has four "past" lengths) and slice tables at sizes they must not exceed. What the
operators need equal is found by importing, and solved once; the solution is put in place of the symbols throughout the module, so that equal
shapes agree by their text:

    past_1 == past_0          past_1 is past_0
    mask == past + 1          the mask's axis is past + 1
    S == min(64, S)           S <= 64
    min(H, 3) == 3            H >= 3
    H == 2*(H//2)             H is 2*H_by_2, where H_by_2 is any size
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from mlc.errors import ShapeError
from mlc.frontends.onnx.inputs import Signature, symbol_name
from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.graph.base import Check
from mlc.ir.module import Module, Range
from mlc.ir.substitution import put

_LOWEST = 256  # sizes tried as the least one
_LARGE = 1 << 20  # a check that holds here is taken to have no upper limit


@dataclass(frozen=True)
class Solution:
    """The signature that was asked about, what is known of it now, and what came in the place of its symbols."""

    asked: Signature
    signature: Signature
    values: Mapping[str, Extent] = field(default_factory=dict)

    @property
    def is_news(self) -> bool:
        return self.signature != self.asked

    def extent(self, extent: Extent) -> Extent:
        """An extent of the signature asked about, over the symbols that are left."""
        return dims.simplify(dims.substitute(extent, self.values), self.signature.bounds)

    def decides(self, signs: Iterable[Extent]) -> bool:
        """Whether one of these extents has one sign for all sizes."""
        return any(dims.compare(self.extent(e), 0, self.signature.bounds) is not None for e in signs)

    def holds(self, check: Check) -> bool:
        """Whether a check is true for every size within the bounds."""
        try:
            lhs, rhs = self.extent(check.lhs), self.extent(check.rhs)
        except dims.DivisionByZero:  # left to the call
            return False
        return lhs == rhs or dims.compare(lhs, rhs, self.signature.bounds) == 0

    def put_into(self, module: Module) -> bool:
        """Write a module that was built with the signature asked about over the symbols that are left. Whether an extent became a number, for
        which other ops may be built. Raises ShapeError for an extent that no size gives any more."""
        bounds = self.signature.bounds
        module.symbols = {symbol: bounds[symbol] for symbol in dict.fromkeys((*self.signature.symbols, *bounds))}
        module.checks = [check for check in module.checks if not self.holds(check)]
        if not self.is_news:
            return False
        unlike: dict[frozenset[Extent], Check] = {}
        for check in module.checks:
            lhs, rhs = self.extent(check.lhs), self.extent(check.rhs)
            unlike.setdefault(frozenset((lhs, rhs)), replace(check, lhs=lhs, rhs=rhs))
        module.checks = list(unlike.values())
        return put(module, self.extent)

    def with_extent(self, symbol: str, extent: Extent) -> Solution:
        values = {name: dims.substitute(e, {symbol: extent}) for name, e in self.values.items()}
        return Solution(self.asked, self.signature.replaced(symbol, extent), values | {symbol: extent})

    def with_bounds(self, symbol: str, limits: Range) -> Solution:
        return replace(self, signature=self.signature.narrowed(symbol, limits))


def solve(signature: Signature, checks: Iterable[Check]) -> Solution:
    """The solution under which as many checks as possible hold by the form of its shapes. Raises ShapeError where no size suits one."""
    found, asked = Solution(signature, signature), list(checks)
    while True:
        before = found
        for check in asked:
            found = _solved_by(found, check)
        if found is before:
            return found


def _solved_by(found: Solution, check: Check) -> Solution:
    """The solution that knows all that one check says."""
    try:
        while (better := _refined(found, check)) is not None:
            found = better
    except dims.DivisionByZero:  # the size that solves it would divide something by zero: left to the call
        pass
    except ShapeError as error:
        raise ShapeError(f"{check.message}: {error.message}") from error
    return found


def _refined(found: Solution, check: Check) -> Solution | None:
    """The solution that knows what a check says; None where it says nothing new."""
    signature = found.signature
    lhs, rhs = found.extent(check.lhs), found.extent(check.rhs)
    difference = lhs - rhs
    if isinstance(difference, int):
        return None
    solved = _solved(difference, signature)
    if solved is not None:
        return found.with_extent(*solved)
    names = difference.symbols()
    if len(names) != 1:
        return None
    symbol = next(iter(names))
    least = _least(lhs, rhs, symbol, signature.bounds[symbol])
    if least is None:
        return None
    if least > signature.bounds[symbol][0]:
        return found.with_bounds(symbol, (least, None))
    factor = _factor(difference, symbol)
    if factor is not None:
        return _divided(found, symbol, factor)
    limits = _limits(lhs, rhs, symbol, signature.bounds[symbol])
    return None if limits is None else found.with_bounds(symbol, limits)


def _solved(difference: Dim, signature: Signature) -> tuple[str, Extent] | None:
    """A symbol that `difference == 0` gives as an extent of others; of several the one that the inputs name last."""
    candidates: list[tuple[bool, int, str, Extent]] = []
    order = signature.symbols
    for monomial, coefficient in difference.terms:
        if len(monomial) != 1 or not isinstance(symbol := monomial[0], str) or abs(coefficient) != 1:
            continue
        rest = (dims.symbol(symbol) * coefficient - difference) * coefficient
        if isinstance(rest, Dim) and symbol in rest.symbols() or symbol not in order:
            continue
        if isinstance(rest, Dim) and not all(isinstance(a, str) for m, _ in rest.terms for a in m):
            continue  # another check will give a plainer form
        plain = isinstance(rest, int) or symbol_name(rest) is not None
        low = dims.bounds_of(rest, signature.bounds)[0]
        if low is None or low < 0 or not (plain or signature.bounds[symbol] == (0, None)):
            continue
        if signature.replaced(symbol, rest).is_solvable:
            candidates.append((plain, order.index(symbol), symbol, rest))
    return max(candidates, key=lambda c: c[:2])[2:] if candidates else None


def _factor(difference: Dim, symbol: str) -> int | None:
    """k where the difference is a multiple of symbol - k*(symbol//k)."""
    size = dims.symbol(symbol)
    for monomial, coefficient in difference.terms:
        if monomial == (symbol,):
            for k in range(2, 65):
                if difference == (size - dims.floordiv(size, k) * k) * coefficient:
                    return k
    return None


def _divided(found: Solution, symbol: str, factor: int) -> Solution | None:
    bounds = found.signature.bounds
    low, high = bounds[symbol]
    base, before = symbol, 1
    if match := re.fullmatch(r"(.+)_by_(\d+)", symbol):
        base, before = match[1], int(match[2])
    name = f"{base}_by_{before * factor}"
    if name in bounds:
        return None
    refined = found.with_extent(symbol, dims.symbol(name) * factor)
    return refined.with_bounds(name, (-(-low // factor), None if high is None else high // factor))


def _agree(lhs: Extent, rhs: Extent, symbol: str, size: int) -> bool:
    return dims.evaluate(lhs, {symbol: size}) == dims.evaluate(rhs, {symbol: size})


def _least(lhs: Extent, rhs: Extent, symbol: str, old: Range) -> int | None:
    """The least size within the bounds at which both are equal."""
    sizes = range(old[0], old[0] + _LOWEST if old[1] is None else min(old[0] + _LOWEST, old[1] + 1))
    return next((size for size in sizes if _agree(lhs, rhs, symbol, size)), None)


def _limits(lhs: Extent, rhs: Extent, symbol: str, old: Range) -> Range | None:
    """Bounds within which both are equal in form, outside of which they differ; None where there are none such. They agree at the least size."""
    low, high = old
    if not _agree(lhs, rhs, symbol, _LARGE if high is None else high):
        inside, outside = low, _LARGE if high is None else high
        while outside - inside > 1:
            middle = (inside + outside) // 2
            inside, outside = (middle, outside) if _agree(lhs, rhs, symbol, middle) else (inside, middle)
        if any(_agree(lhs, rhs, symbol, outside + distance) for distance in range(64)):
            return None
        high = inside
    bounds: Mapping[str, Range] = {symbol: (low, high)}
    if (low, high) == old or dims.compare(dims.simplify(lhs, bounds), dims.simplify(rhs, bounds), bounds) != 0:
        return None
    return low, high
