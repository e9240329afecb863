"""Where the arguments of a call lie, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

from mlc.ir import dims
from mlc.ir.dims import Extent

Place = Literal["input", "output", "weight", "buffer", "size", "scratch", "computed"]
_PLACES = get_args(Place)


class Argument(NamedTuple):
    """What a kernel gets in one place, by its kind:

    input, output, weight, buffer   a pointer to the memory of that number, `at`, then the strides that the kernel leaves open
    size                            the number `at`
    scratch                         a pointer to the scratch memory of whoever runs the tile
    computed                        what @main computes on its way: a row of a buffer at a position of a loop, say; `at` is its slot (steering.py)
    """

    kind: Place
    at: Extent = 0
    strides: tuple[Extent, ...] = ()


def extent_row(extent: Extent) -> int | str:
    return extent if isinstance(extent, int) else str(extent)


def extent_of(value: int | str) -> Extent:
    return _parsed(value) if isinstance(value, str) else int(value)


@lru_cache(1024)
def _parsed(text: str) -> Extent:
    """A plan says the same few extents again and again."""
    return dims.parse(text)


def argument_row(argument: Argument) -> list[int | str]:
    return [argument.kind, extent_row(argument.at), *map(extent_row, argument.strides)]


def argument_of(row: Sequence[Any]) -> Argument:
    kind, at, *strides = row
    if kind not in _PLACES:
        raise ValueError(f"there is no argument of the kind {kind!r}")
    return Argument(kind, extent_of(at), tuple(map(extent_of, strides)))
