"""What tells attention where in a sequence an element stands."""

from __future__ import annotations

from typing import Any

import numpy as np

import mlc.numpy as mnp
from mlc.errors import MlcError, OutOfRange, ShapeError
from mlc.frontends.trace.tensor import Tensor, type_text
from mlc.frontends.trace.tracing import user_line
from mlc.nn.module import Module
from mlc.nn.parameter import Buffer


def angles(length: int, size: int, base: float) -> np.ndarray:
    """position / base**(2 i / size) for each position and i < size / 2, in float64."""
    return np.arange(length)[:, None] / base ** (np.arange(0, size, 2) / size)


class _Encoding(Module):
    """Tables of one row for each of `length` positions."""

    def __init__(self, size: int, length: int, base: float):
        if size < 2 or size % 2:
            raise MlcError(f"a size of {size}: sines and cosines come in pairs", file=user_line())
        self.size, self.length, self.base = size, length, base

    def _rows(self, table: Tensor, x: Tensor, start: Any) -> Tensor:
        """The rows of the positions of x [..., length, size], whose first is `start`. Raises OutOfRange beyond the table, unless that is known
        only when the code runs: its last row stands there then."""
        if isinstance(x.shape[-1], int) and x.shape[-1] != self.size:
            raise ShapeError(f"x is {type_text(x)}, and its last axis must be {self.size}", file=user_line())
        count = x.shape[-2]
        known = not isinstance(start, Tensor) or start.trace is None
        if known and isinstance(count, int) and int(start) + count > self.length:
            raise OutOfRange(
                f"positions {int(start)}..{int(start) + count - 1}, and the table has {self.length}", file=user_line()
            )
        if isinstance(start, int):
            return table[start : start + count]
        return mnp.take(table, start + mnp.arange(count), 0)

    def extra_repr(self) -> str:
        return f"{self.size}, length={self.length}"


class SinusoidalEncoding(_Encoding):
    """x [..., length, size] plus sin(p / base**(2 i / size)) at the places 2 i and the cosine at 2 i + 1, of positions p from `start` on. Vaswani et al.
    2017. `length` is the most positions there are."""

    def __init__(self, size: int, length: int = 2048, base: float = 10000.0, dtype: Any = "f32"):
        super().__init__(size, length, base)
        found = angles(length, size, base)
        table = np.stack([np.sin(found), np.cos(found)], -1).reshape(length, size)
        self.table = Buffer(table, dtype, persistent=False)

    def forward(self, x: Any, start: Any = 0) -> Tensor:
        x = mnp.asarray(x)
        return x + self._rows(self.table, x, start).astype(x.dtype)


class RotaryEncoding(_Encoding):
    """x [..., length, size] turned in the planes of its elements i and i + size / 2 by the angles p / base**(2 i / size), of positions p from `start` on.
    Su et al. 2021. `interleaved` pairs 2 i and 2 i + 1. `length` is the most positions there are."""

    def __init__(
        self, size: int, length: int = 2048, base: float = 10000.0, interleaved: bool = False, dtype: Any = "f32"
    ):
        super().__init__(size, length, base)
        self.interleaved = interleaved
        found = angles(length, size, base)
        self.cosine = Buffer(np.cos(found), dtype, persistent=False)
        self.sine = Buffer(np.sin(found), dtype, persistent=False)

    def forward(self, x: Any, start: Any = 0) -> Tensor:
        x = mnp.asarray(x)
        cosine, sine = (self._rows(table, x, start).astype(x.dtype) for table in (self.cosine, self.sine))
        half = self.size // 2
        if self.interleaved:
            pairs = x.reshape(*x.shape[:-1], half, 2)
            first, second = pairs[..., 0], pairs[..., 1]
        else:
            first, second = x[..., :half], x[..., half:]
        turned = [first * cosine - second * sine, second * cosine + first * sine]
        if self.interleaved:
            return mnp.stack(turned, -1).reshape(x.shape)
        return mnp.concatenate(turned, -1)
