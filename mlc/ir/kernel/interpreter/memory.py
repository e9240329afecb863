"""Memory as kernels see it: flat storage, strided views of it, and what is counted or forbidden when they are read and written.

Every access is checked against the extents of its view. Memory that nothing has written holds NaN (floats) or a fixed odd pattern.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

import numpy as np
from xdsl.dialects.builtin import (
    AnyFloat,
    IndexType,
    IntegerType,
    MemRefType,
    StringAttr,
)
from xdsl.ir import Attribute

from mlc.errors import InternalError
from mlc.ir.dtypes import TABLE
from mlc.ir.types import dtype_name, numpy_of

UNWRITTEN = 0xA5  # every byte of integers that nothing has written


def dtype_of(element: Attribute) -> np.dtype:
    """Integers are signed whatever the type says: in kernels signedness is in the ops."""
    if isinstance(element, IntegerType):
        width = element.width.data
        return np.dtype(np.bool_) if width == 1 else np.dtype(f"i{width // 8}")
    if isinstance(element, IndexType):
        return np.dtype(np.int64)
    if not isinstance(element, AnyFloat):
        raise InternalError(f"the interpreter has no element type {element}")
    return numpy_of(element)


def is_real(dtype: np.dtype) -> bool:
    return TABLE[dtype_name(dtype)].kind == "float"


@dataclass
class Counters:
    """Elements read and written, by buffer. `moved`: elements of a buffer that come into a tile, by (buffer, how many views deep the tile is):
    a view that is taken anew at the same place is still there and moves nothing."""

    loads: Counter[str] = field(default_factory=Counter)
    stores: Counter[str] = field(default_factory=Counter)
    moved: Counter[tuple[str, int]] = field(default_factory=Counter)


class Shadow:
    """Who touched each element of a buffer that several share: a number, or a sign for nobody or several. `who` calls them: tiles of a
    kernel, blocks of a grid, threads of a block between two barriers."""

    NOBODY, SEVERAL = -1, -2

    def __init__(self, size: int, who: str = "tile"):
        self.who, self.now = who, 0  # the one that runs now
        self.readers = np.full(size, self.NOBODY, np.int64)
        self.writers = np.full(size, self.NOBODY, np.int64)

    def read(self, name: str, positions: Any) -> None:
        self._conflict(name, "reads", "wrote", self.writers[positions])
        before = self.readers[positions]
        mixed = (before != self.NOBODY) & (before != self.now)
        self.readers[positions] = np.where(mixed, self.SEVERAL, self.now)

    def wrote(self, name: str, positions: Any) -> None:
        self._conflict(name, "writes", "wrote", self.writers[positions])
        self._conflict(name, "writes", "read", self.readers[positions])
        self.writers[positions] = self.now

    def _conflict(self, name: str, now: str, before: str, others: Any) -> None:
        others = np.asarray(others)
        wrong = others[(others != self.NOBODY) & (others != self.now)]
        if wrong.size:
            other = int(wrong.flat[0])
            who = "others" if other == self.SEVERAL else f"{self.who} {other}"
            raise InternalError(f"a race: {self.who} {self.now} {now} elements of '{name}' that {who} {before}")


class Storage:
    """The memory behind views: one argument or one allocation."""

    def __init__(self, name: str, counters: Counters | None = None):
        self.name, self.counters = name, counters
        self.shadows: list[Shadow] = []

    def read(self, positions: Any, elements: int) -> None:
        if self.counters is not None:
            self.counters.loads[self.name] += elements
        for shadow in self.shadows:
            shadow.read(self.name, positions)

    def wrote(self, positions: Any, elements: int) -> None:
        if self.counters is not None:
            self.counters.stores[self.name] += elements
        for shadow in self.shadows:
            shadow.wrote(self.name, positions)


class View:
    """A memref: where each element lies in flat storage. Strides and offset count elements."""

    __slots__ = ("depth", "elements", "offset", "shape", "space", "storage", "strides")

    def __init__(
        self,
        storage: Storage,
        elements: np.ndarray,
        offset: int,
        shape: Sequence[int],
        strides: Sequence[int],
        space: str | None = None,
        depth: int = 0,
    ):
        self.storage, self.elements, self.offset = storage, elements, offset
        self.shape, self.strides, self.space, self.depth = tuple(shape), tuple(strides), space, depth

    def position(self, indices: Sequence[int], op: object) -> int:
        """Of one element in the flat storage. Raises InternalError outside the extents."""
        position = self.offset
        for at, extent, stride in zip(indices, self.shape, self.strides, strict=True):
            if not 0 <= at < extent:
                raise self.outside(op, indices)
            position += at * stride
        return position

    def positions(self, indices: Sequence[Any], op: object) -> Any:
        """As `position`, for arrays of indices."""
        position: Any = self.offset
        for at, extent, stride in zip(indices, self.shape, self.strides, strict=True):
            if np.size(at) and not (np.min(at) >= 0 and np.max(at) < extent):
                raise self.outside(op, [f"{np.min(i)}..{np.max(i)}" for i in indices])
            position = position + at * stride
        return position

    def run(self, indices: Sequence[int], lanes: int, valid: int, op: object) -> slice:
        """Of `lanes` neighbouring elements of which `valid` must be there, along the axis whose elements are neighbours: in a transposed panel
        that is not the last one. Rows of a panel may be read beyond their end."""
        if not valid:  # no lane counts, and nothing is touched
            return slice(0, 0)
        along = len(self.strides) - 1
        if along < 0 or self.strides[along] != 1 or indices[along] + valid > self.shape[along]:
            along = self._unit_axis(indices, lanes, op)
        position = self.offset
        for axis, (at, extent, stride) in enumerate(zip(indices, self.shape, self.strides, strict=True)):
            needed = valid if axis == along and self.space != "panel" else min(valid, 1)
            if at < 0 or (needed and at + needed > extent):
                ends = [f"{i}..{i + valid - 1}" if axis == along else str(i) for axis, i in enumerate(indices)]
                raise self.outside(op, ends)
            position += at * stride
        if position + valid > len(self.elements):
            raise self.outside(op, indices)
        return slice(position, position + lanes)

    def _unit_axis(self, indices: Sequence[int], lanes: int, op: object) -> int:
        """Of the axes whose elements are neighbours the one with the most room."""
        axes = [axis for axis, stride in enumerate(self.strides) if stride == 1]
        if not axes and lanes > 1:
            raise InternalError(
                f"{label(op)}: a vector of '{self.storage.name}', whose strides are {list(self.strides)}"
            )
        return max(axes, key=lambda axis: self.shape[axis] - indices[axis], default=-1)

    def outside(self, op: object, indices: Sequence[object]) -> InternalError:
        at, shape = (", ".join(map(str, numbers)) for numbers in (indices, self.shape))
        return InternalError(f"{label(op)}: [{at}] lies outside '{self.storage.name}', whose extents are [{shape}]")

    def subview(self, offsets: Sequence[int], sizes: Sequence[int], steps: Sequence[int], op: object) -> View:
        offset = self.offset
        for at, size, step, extent, stride in zip(offsets, sizes, steps, self.shape, self.strides, strict=True):
            if size < 0 or (size and not (0 <= at and at + (size - 1) * step < extent)):
                raise self.outside(
                    op, [f"{a}..{a + (n - 1) * s}" for a, n, s in zip(offsets, sizes, steps, strict=True)]
                )
            offset += at * stride
        strides = [step * stride for step, stride in zip(steps, self.strides, strict=True)]
        return View(self.storage, self.elements, offset, sizes, strides, self.space, self.depth + 1)

    def touched(self, how: Literal["read", "wrote"]) -> None:
        """Every element was read or written."""
        where = (
            None
            if not self.storage.shadows
            else strided(np.arange(len(self.elements)), self.offset, self.shape, self.strides)
        )
        (self.storage.read if how == "read" else self.storage.wrote)(where, prod(self.shape))

    def array(self) -> np.ndarray:
        """The elements as NumPy sees them, without a copy."""
        return strided(self.elements, self.offset, self.shape, self.strides)


def strided(elements: np.ndarray, offset: int, shape: Sequence[int], strides: Sequence[int]) -> np.ndarray:
    """Elements of flat memory by offset and strides; refuses what would lie outside it."""
    if 0 in shape:
        return np.empty(shape, elements.dtype)
    first = offset + sum(min(0, (n - 1) * s) for n, s in zip(shape, strides, strict=True))
    last = offset + sum(max(0, (n - 1) * s) for n, s in zip(shape, strides, strict=True))
    if first < 0 or last >= len(elements):
        raise InternalError(f"elements {first} to {last} of memory that has {len(elements)}")
    size = elements.itemsize
    return np.lib.stride_tricks.as_strided(elements[offset:], shape, [s * size for s in strides])


def row_major(shape: Sequence[int]) -> list[int]:
    return [prod(shape[axis + 1 :]) for axis in range(len(shape))]


def allocated(name: str, type: MemRefType, shape: Sequence[int], counters: Counters | None) -> View:
    """New memory that holds NaN or a pattern. Strides of the type, else row-major."""
    dtype = dtype_of(type.element_type)
    strides = [s for s in type.get_strides() or () if s is not None]
    if len(strides) != len(shape) or None in (type.get_strides() or ()):
        strides = row_major(shape)
    size = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) if prod(shape) else 0
    if space_of(type) == "panel" and size:
        size = max(
            size, *(n * s for n, s in zip(shape, strides, strict=True))
        )  # the last row too is padded to whole vectors
    return View(Storage(name, counters), unwritten(size, dtype), 0, shape, strides, space_of(type))


def unwritten(size: int, dtype: np.dtype) -> np.ndarray:
    if is_real(dtype):
        return np.full(size, np.nan, dtype)
    return np.full(size * dtype.itemsize, 1 if dtype == np.bool_ else UNWRITTEN, np.uint8).view(dtype)


def space_of(type: MemRefType) -> str | None:
    return type.memory_space.data if isinstance(type.memory_space, StringAttr) else None


def flat(array: np.ndarray, dtype: np.dtype, name: str) -> np.ndarray:
    """The memory that an array spans, as elements of `dtype`; writing to it writes to the array."""
    if array.dtype.itemsize != dtype.itemsize:
        raise InternalError(f"'{name}' holds {array.dtype}, not {dtype}")
    if any(stride < 0 or stride % array.itemsize for stride in array.strides):
        raise InternalError(f"'{name}' has the strides {array.strides} in bytes")
    span = (
        1 + sum((n - 1) * s // array.itemsize for n, s in zip(array.shape, array.strides, strict=True))
        if array.size
        else 0
    )
    return np.lib.stride_tricks.as_strided(array, (span,), (array.itemsize,)).view(dtype)


def label(op: object) -> str:
    """How an error names an op: its name, and what its result is called."""
    results = getattr(op, "results", ())
    hint = results[0].name_hint if results else None
    return f"{getattr(op, 'name', op)}" + (f" %{hint}" if hint else "")
