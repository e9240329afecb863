"""Panels of a weight: how the bytes of a weight must lie when the kernel reads them.

    Pack(shape=(768, 768), tiles={1: 32})    B[k, n]  ->  P[n // 32][k][n % 32], zero behind the last column, rows of whole vectors

A kernel's schedule decides it, the weight store executes it once. The kernel's argument has the type of the result. Nothing is lost:
`unpack` gives the weight back, so that a package holds each weight once and its module can still be compiled again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlc.ir.slabs import Slabs

if TYPE_CHECKING:  # weights are packed where no IR is
    from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr
    from xdsl.ir import Attribute


@dataclass(frozen=True)
class Pack:
    """`shape` is how the weight is seen first (its axes merged); each axis in `tiles` is cut into tiles of that size, whose numbers become
    leading axes; `order` permutes the axes inside a panel, last = contiguous, whose rows are padded to whole vectors of `lanes` elements."""

    shape: tuple[int, ...]
    tiles: Mapping[int, int] = field(default_factory=dict)
    order: tuple[int, ...] = ()
    lanes: int = 16

    def inside(self) -> list[int]:
        """The shape of a panel by the weight's own axes."""
        return [self.tiles.get(axis, extent) for axis, extent in enumerate(self.shape)]

    def panels(self) -> list[int]:
        return [-(-self.shape[axis] // size) for axis, size in self.tiles.items()]

    def strides(self) -> list[int]:
        """Of the packed weight: its panel numbers, then the weight's own axes."""
        panels, size = self.panels(), self._panel_size()
        return [size * prod(panels[n + 1 :]) for n in range(len(panels))] + panel_strides(
            self.inside(), self.order, self.lanes
        )

    def elements(self) -> int:
        return self._panel_size() * prod(self.panels())

    def _panel_size(self) -> int:
        inside = self.inside()
        return max(
            (n * s for n, s in zip(inside, panel_strides(inside, self.order, self.lanes), strict=True)), default=1
        )

    def attr(self) -> DictionaryAttr:
        from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, IntegerAttr, i64

        def numbers(values: Sequence[int]) -> ArrayAttr:
            return ArrayAttr([IntegerAttr(v, i64) for v in values])

        tiles = {str(axis): IntegerAttr(size, i64) for axis, size in self.tiles.items()}
        parts: dict[str, Attribute] = {"shape": numbers(self.shape), "order": numbers(self.order)}
        return DictionaryAttr({**parts, "tiles": DictionaryAttr(tiles), "lanes": IntegerAttr(self.lanes, i64)})

    @staticmethod
    def from_attr(attr: DictionaryAttr) -> Pack:
        def numbers(name: str) -> tuple[int, ...]:
            return tuple(v.value.data for v in attr.data[name].data)  # type: ignore[attr-defined]

        tiles = {int(axis): size.value.data for axis, size in attr.data["tiles"].data.items()}  # type: ignore[attr-defined]
        return Pack(numbers("shape"), tiles, numbers("order"), attr.data["lanes"].value.data)  # type: ignore[attr-defined]


def panel_strides(shape: Sequence[int], order: Sequence[int], lanes: int) -> list[int]:
    """Strides of a panel: axes in the given order, rows of whole vectors of `lanes` elements."""
    strides, row = [0] * len(shape), 1
    for position, axis in enumerate(reversed(order or range(len(shape)))):
        strides[axis] = row
        row *= shape[axis]
        if position == 0:
            row = -(-row // lanes) * lanes
    return strides


def pack(weight: np.ndarray, how: Pack, slabs: Slabs | None = None) -> np.ndarray:
    """The bytes of a packed weight, flat and 64-byte aligned. `weight` has the elements of how.shape in row-major order, at any address."""
    weight = np.asarray(weight).reshape(how.shape)
    out = (slabs or Slabs(least=0)).take(how.elements() * weight.itemsize).view(weight.dtype)
    if how.elements() != weight.size:
        out[...] = 0
    for panels, source in _pairs(out, weight, how):
        panels[...] = source
    return out


def unpack(packed: np.ndarray, how: Pack) -> np.ndarray:
    """The weight, of shape how.shape, whose packed bytes these are."""
    weight = np.empty(how.shape, packed.dtype)
    for panels, target in _pairs(packed, weight, how):
        target[...] = panels
    return weight


def _pairs(packed: np.ndarray, weight: np.ndarray, how: Pack) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Views of the same elements in both, of the same shape; together they are the whole weight."""
    shape, strides = [*how.panels(), *how.inside()], [s * weight.itemsize for s in how.strides()]
    panels = np.lib.stride_tricks.as_strided(packed, shape, strides)
    for part in itertools.product(*(_parts(extent, how.tiles.get(axis)) for axis, extent in enumerate(how.shape))):
        to = tuple([part[axis].panels for axis in how.tiles] + [cut.inside for cut in part])
        yield panels[to], _in_panels(weight[tuple(cut.source for cut in part)], panels[to].shape, how)


class _Part(NamedTuple):
    """A stretch of an axis: panel numbers, place in a panel, place in the weight."""

    panels: slice
    inside: slice
    source: slice


def _parts(extent: int, tile: int | None) -> list[_Part]:
    """The whole tiles of an axis and what is left of it; the axis itself where it is not cut."""
    everything = slice(None)
    if tile is None:
        return [_Part(everything, everything, everything)]
    full, short = divmod(extent, tile)
    whole = _Part(slice(full), everything, slice(full * tile))
    rest = _Part(slice(full, None), slice(short), slice(full * tile, None))
    return [whole] * bool(full) + [rest] * bool(short)


def _in_panels(weight: np.ndarray, panels: Sequence[int], how: Pack) -> np.ndarray:
    """Whole tiles of the weight, or one per cut axis, seen with the axes of `panels`: their numbers, then those inside a panel."""
    split: list[int] = []
    numbers: dict[int, int] = {}
    inside = []
    for axis, extent in enumerate(weight.shape):
        if axis in how.tiles:
            numbers[axis] = len(split)
            count = panels[list(how.tiles).index(axis)]
            split.append(count)
            extent //= count
        inside.append(len(split))
        split.append(extent)
    return weight.reshape(split).transpose([numbers[axis] for axis in how.tiles] + inside)
