"""What the derivative rules of ops are written with.

An op states how a small change of its operands changes its results, `jvp`, in ops that are linear in the changes; an op that is linear in an
operand also states the transpose of that map, `transpose_rule`. A change (tangent) or its dual (cotangent) that is zero is None, never an op.

    def jvp(self, g, tangents):                       # softmax: y * (t - sum(y * t))
        weighted = g.mul(tangents[0], self.result)
        return [g.sub(weighted, g.mul(self.result, self._spread(g, g.reduce(weighted, [self.axis]))))]

Rules build through `g`, whose functions leave out what changes nothing (x * 1, x + 0): no pass has to clean up behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from xdsl.ir import SSAValue

from mlc.ir.dims import Extent

Tangent = SSAValue | None  # None: zero
Tangents = Sequence[Tangent]
Padding = Sequence[tuple[Extent, Extent]]


class Algebra(Protocol):
    """The builders of rules. Shapes and dtypes are those of the ops that they are named after."""

    def like(self, x: SSAValue, value: float) -> SSAValue:
        """A number in the shape and dtype of x."""

    def zeros(self, values: Sequence[SSAValue], tangents: Tangents) -> list[SSAValue]:
        """The tangents, with zeros like the values for those that are None."""

    def accumulate(self, x: Tangent, y: Tangent) -> Tangent:
        """The sum of two tangents, each of which may be zero."""

    def apply(self, name: str, *operands: SSAValue) -> SSAValue:
        """The element-wise op of this name."""

    def neg(self, x: SSAValue) -> SSAValue: ...
    def add(self, x: SSAValue, y: SSAValue) -> SSAValue: ...
    def sub(self, x: SSAValue, y: SSAValue) -> SSAValue: ...
    def mul(self, x: SSAValue, y: SSAValue) -> SSAValue: ...
    def div(self, x: SSAValue, y: SSAValue) -> SSAValue: ...
    def select(self, condition: SSAValue, x: SSAValue, y: SSAValue) -> SSAValue: ...
    def cast(self, x: SSAValue, dtype: str) -> SSAValue: ...

    def scale(self, x: SSAValue, by: float) -> SSAValue:
        """x times a number."""

    def number(self, x: SSAValue) -> float | int | bool | None:
        """The number that every element of x is, where that is known."""

    def reduce(self, x: SSAValue, axes: Sequence[int], kind: str = "sum") -> SSAValue: ...

    def mean(self, x: SSAValue, axes: Sequence[int]) -> SSAValue: ...

    def spread(self, x: SSAValue, shape: Sequence[Extent], axes: Sequence[int]) -> SSAValue:
        """x repeated along the axes that a reduction took out of this shape."""

    def broadcast(self, x: SSAValue, shape: Sequence[Extent], axes: Sequence[int]) -> SSAValue: ...
    def reshape(self, x: SSAValue, shape: Sequence[Extent]) -> SSAValue: ...
    def transpose(self, x: SSAValue, permutation: Sequence[int]) -> SSAValue: ...
    def slice(
        self, x: SSAValue, starts: Sequence[Extent], sizes: Sequence[Extent], steps: Sequence[int] | None = None
    ) -> SSAValue: ...
    def pad(
        self,
        x: SSAValue,
        low: Sequence[Extent],
        high: Sequence[Extent],
        value: SSAValue | float = 0,
        interior: Sequence[int] | None = None,
    ) -> SSAValue: ...
    def concatenate(self, xs: Sequence[SSAValue], axis: int) -> SSAValue: ...
    def contract(self, lhs: SSAValue, rhs: SSAValue, spec: str) -> SSAValue: ...

    def window_place(
        self,
        x: SSAValue,
        y: SSAValue,
        window: Sequence[int],
        strides: Sequence[int] | None = None,
        padding: Padding | None = None,
        dilations: Sequence[int] | None = None,
    ) -> SSAValue: ...
    def window_pick(
        self,
        x: SSAValue,
        places: SSAValue,
        window: Sequence[int],
        strides: Sequence[int] | None = None,
        padding: Padding | None = None,
        dilations: Sequence[int] | None = None,
    ) -> SSAValue: ...

    def scan(
        self,
        body: Callable[
            [tuple[SSAValue, ...], tuple[SSAValue, ...], tuple[SSAValue, ...]],
            tuple[Sequence[SSAValue], Sequence[SSAValue]],
        ],
        init: Sequence[SSAValue],
        xs: Sequence[SSAValue],
        length: Extent,
        constants: Sequence[SSAValue] = (),
        reverse: bool = False,
    ) -> tuple[tuple[SSAValue, ...], tuple[SSAValue, ...]]: ...


Partial = Callable[
    ..., SSAValue
]  # (g, t, y, *operands) -> what an element-wise result changes by as one operand does by t
