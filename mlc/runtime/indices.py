"""The values of inputs that are positions in a tensor, tested before native code runs: one pass over each such input.

input 'input_ids': [0, 3] is 30522, outside of -30522..30521 (rows of 'words.weight', node '/Gather')
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlc.errors import OutOfRange
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.indexing import IndexRange
from mlc.ir.kernel.plan import Plan

_largest = np.maximum.reduce
_UNSIGNED = {np.dtype(f"i{bytes}"): np.dtype(f"u{bytes}") for bytes in (1, 2, 4, 8)}


@dataclass(frozen=True)
class Positions:
    """The tightest range that the values of an input, or of a view of it, must keep at the sizes of one binding."""

    number: int  # of the input
    low: int
    high: int
    ranges: tuple[IndexRange, ...]  # of equal views
    symbols: Mapping[str, int]

    def at(self, extent: Extent) -> int:
        return dims.evaluate(extent, self.symbols)


def positions(plan: Plan, symbols: Mapping[str, int]) -> tuple[Positions, ...]:
    """What to test of a call at these sizes."""
    numbers = {spec.name: number for number, spec in enumerate(plan.inputs)}
    groups: dict[object, list[IndexRange]] = {}
    for each in plan.indices:
        groups.setdefault((each.input, each.views), []).append(each)
    return tuple(
        Positions(
            numbers[ranges[0].input],
            max(dims.evaluate(each.low, symbols) for each in ranges),
            min(dims.evaluate(each.high, symbols) for each in ranges),
            tuple(ranges),
            symbols,
        )
        for ranges in groups.values()
    )


def require_inside(
    tests: Sequence[Positions], arrays: Sequence[Any], values: Callable[[Any], np.ndarray] = np.asarray
) -> None:
    """Raises OutOfRange, naming input, position, value and range, for the first value that is not where it must be. `values` reads those of
    an array."""
    for test in tests:
        whole = array = values(arrays[test.number])
        if test.ranges[0].views:
            array = test.ranges[0].viewed(array, test.at)
        if not array.size:
            continue
        if array.size == 1:
            if not test.low <= array.item() <= test.high:
                raise _error(test, whole)
            continue
        # read without their sign negative numbers are large: one pass tells that there are none, and none beyond the end
        unsigned = _UNSIGNED.get(array.dtype)
        if test.low <= 0 and _largest(array.view(unsigned) if unsigned else array, None) <= test.high:
            continue
        if array.min() < test.low or array.max() > test.high:
            raise _error(test, whole)


def _error(test: Positions, whole: np.ndarray) -> OutOfRange:
    """The error for the first value outside, by its place in the input."""
    first = test.ranges[0]
    values = first.viewed(whole, test.at).reshape(-1)
    places = first.viewed(np.arange(whole.size).reshape(whole.shape), test.at).reshape(-1)
    number = int(np.argmax((values < test.low) | (values > test.high)))
    value = int(values[number])
    broken = next(each for each in test.ranges if not test.at(each.low) <= value <= test.at(each.high))
    low, high = test.at(broken.low), test.at(broken.high)
    place = [int(axis) for axis in np.unravel_index(int(places[number]), whole.shape)]
    named = f"input '{broken.input}'" + (f": {place}" if place else "")
    given = "".join(f", {name} = {test.symbols[name]}" for name in sorted(_symbols(broken)))
    allowed = f"outside of {low}..{high}" if low <= high else "and no value is inside"
    return OutOfRange(
        f"{named} is {value}, {allowed} ({broken.what}{given})",
        remedy="Negative positions count from the end. check_indices=False (--no-check-indices) compiles without this test.",
    )


def _symbols(each: IndexRange) -> frozenset[str]:
    return frozenset(s for e in (each.low, each.high) if isinstance(e, dims.Dim) for s in e.symbols())
