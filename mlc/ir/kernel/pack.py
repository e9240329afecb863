"""Panels of a weight: how the bytes of a weight must lie when the kernel reads them.

    Pack(shape=(768, 768), tiles={1: 32})    B[k, n]  ->  P[n // 32][k][n % 32], zero behind the last column, rows of whole vectors

A kernel's schedule decides it, the weight store executes it once. The kernel's argument has the type of the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, IntegerAttr, i64
from xdsl.ir import Attribute

PANEL_ROW = 16  # elements: rows of a panel are padded to whole vectors of the widest machine


@dataclass(frozen=True)
class Pack:
    """`shape` is how the weight is seen first (its axes merged); each axis in `tiles` is cut into tiles of that size, whose numbers become
    leading axes; `order` permutes the axes inside a panel, last = contiguous."""

    shape: tuple[int, ...]
    tiles: Mapping[int, int] = field(default_factory=dict)
    order: tuple[int, ...] = ()

    def inside(self) -> list[int]:
        """The shape of a panel by the weight's own axes."""
        return [self.tiles.get(axis, extent) for axis, extent in enumerate(self.shape)]

    def panels(self) -> list[int]:
        return [-(-self.shape[axis] // size) for axis, size in self.tiles.items()]

    def strides(self) -> list[int]:
        """Of the packed weight: its panel numbers, then the weight's own axes."""
        inside = panel_strides(self.inside(), self.order)
        size = max((n * s for n, s in zip(self.inside(), inside, strict=True)), default=1)
        panels = self.panels()
        return [size * prod(panels[n + 1 :]) for n in range(len(panels))] + inside

    def elements(self) -> int:
        return self.strides()[0] * self.panels()[0] if self.tiles else prod(self.shape)

    def attr(self) -> DictionaryAttr:
        def numbers(values: Sequence[int]) -> ArrayAttr:
            return ArrayAttr([IntegerAttr(v, i64) for v in values])

        tiles = {str(axis): IntegerAttr(size, i64) for axis, size in self.tiles.items()}
        parts: dict[str, Attribute] = {"shape": numbers(self.shape), "order": numbers(self.order)}
        return DictionaryAttr({**parts, "tiles": DictionaryAttr(tiles)})

    @staticmethod
    def from_attr(attr: DictionaryAttr) -> Pack:
        def numbers(name: str) -> tuple[int, ...]:
            return tuple(v.value.data for v in attr.data[name].data)  # type: ignore[attr-defined]

        tiles = {int(axis): size.value.data for axis, size in attr.data["tiles"].data.items()}  # type: ignore[attr-defined]
        return Pack(numbers("shape"), tiles, numbers("order"))


def panel_strides(shape: Sequence[int], order: Sequence[int] = ()) -> list[int]:
    """Strides of a panel: axes in the given order, rows of whole vectors."""
    strides, row = [0] * len(shape), 1
    for position, axis in enumerate(reversed(order or range(len(shape)))):
        strides[axis] = row
        row *= shape[axis]
        if position == 0:
            row = -(-row // PANEL_ROW) * PANEL_ROW
    return strides


def pack(weight: np.ndarray, how: Pack) -> np.ndarray:
    """The bytes of a packed weight, flat and 64-byte aligned. `weight` has the elements of how.shape in row-major order."""
    weight = np.asarray(weight).reshape(how.shape)
    out = _aligned(how.elements(), weight.dtype)
    out[...] = 0
    strides, tiles = how.strides(), list(how.tiles.items())
    shape = [*how.panels(), *how.inside()]
    panels = np.lib.stride_tricks.as_strided(out, shape, [s * weight.itemsize for s in strides], writeable=True)
    for axis, size in tiles:
        short = -weight.shape[axis] % size
        if short:  # numpy.pad copies in any case
            weight = np.pad(weight, [(0, short if a == axis else 0) for a in range(weight.ndim)])
    split: list[int] = []
    numbers, inside = [], []
    for axis, extent in enumerate(weight.shape):
        if axis in how.tiles:
            numbers.append(len(split))
            split.append(extent // how.tiles[axis])
        inside.append(len(split))
        split.append(how.tiles.get(axis, extent))
    in_order = [numbers[sorted(how.tiles).index(axis)] for axis, _ in tiles]
    panels[...] = weight.reshape(split).transpose(in_order + inside)
    return out


def _aligned(elements: int, dtype: np.dtype) -> np.ndarray:
    raw = np.empty(elements * dtype.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + elements * dtype.itemsize].view(dtype)
