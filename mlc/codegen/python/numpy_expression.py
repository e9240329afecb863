"""Expressions of NumPy source: a text, how tightly its outermost operator binds, and which axes of the value it has.

A broadcast is mostly left to NumPy: bias[:, None, None] stands for a value of the shape [N, 64, 28, 28], of whose axes it has the second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mlc.ir.dtypes import TABLE

# How tightly operators bind, as Python has it.
COMPARE, OR, XOR, AND, SHIFT, SUM, PRODUCT, SIGN, POWER, ATOM = range(10)


@dataclass(frozen=True)
class Expr:
    """`axes[i]` tells whether the text has axis i of the value: leading ones that it lacks are not there, others have the extent 1.

    `number` is the text of a literal, which takes its dtype from the array beside it. A `free` expression is written out wherever it is used.
    """

    text: str
    axes: tuple[bool, ...] = ()
    level: int = ATOM
    free: bool = False
    number: bool = False
    origins: tuple[str, ...] = ()

    @property
    def rank(self) -> int:
        """Of what the text evaluates to."""
        return len(self.axes) - missing(self.axes)

    @property
    def exact(self) -> bool:
        """Has the text the shape of the value?"""
        return all(self.axes) and not self.number

    def at(self, level: int) -> str:
        """The text as an operand of an operator that binds so tightly."""
        return self.text if self.level >= level else f"({self.text})"

    @property
    def atom(self) -> str:
        """The text as something that a method or an index is taken of."""
        return self.at(ATOM)

    def of(self, text: str, level: int = ATOM, free: bool = False) -> Expr:
        """Another text for a value of the same axes."""
        return replace(self, text=text, level=level, free=free, number=False)


def missing(axes: Sequence[bool]) -> int:
    """How many leading axes are not there."""
    return next((n for n, there in enumerate(axes) if there), len(axes))


def number(value: float | bool) -> str:
    """A Python literal; infinities and NaN by NumPy's names."""
    if isinstance(value, float) and not math.isfinite(value):
        return "np.nan" if math.isnan(value) else "np.inf" if value > 0 else "-np.inf"
    return repr(value)


def level_of(text: str) -> int:
    """How tightly a literal binds."""
    return SIGN if text.startswith("-") else ATOM


def is_builtin(dtype: str) -> bool:
    """Is it one of NumPy's own?"""
    return TABLE[dtype].numpy.isbuiltin == 1


def dtype_text(dtype: str) -> str:
    """A dtype as source has it: np.float32, ml_dtypes.bfloat16."""
    if dtype == "bool":
        return "np.bool_"
    return f"{'np' if is_builtin(dtype) else 'ml_dtypes'}.{TABLE[dtype].numpy.name}"
