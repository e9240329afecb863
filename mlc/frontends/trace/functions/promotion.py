"""Which dtype operands of several have in common: NumPy's (`numpy.result_type`), where Python numbers are weak.

A Python number takes the dtype of the tensors beside it where that can hold its kind (bool < integer < float). Else it decides: i64 beside
bools, f64 beside integers. Alone an integer is i64 and a float f32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from xdsl.ir import SSAValue

from mlc.errors import DTypeError
from mlc.ir import builder as g
from mlc.ir.dtypes import TABLE
from mlc.ir.types import dtype_name, dtype_of, numpy_dtype

DEFAULT: dict[type, str] = {bool: "bool", int: "i64", float: "f32"}
_KINDS = {"bool": 0, "signed": 1, "unsigned": 1, "float": 2}
_WEAK = {bool: 0, int: 1, float: 2}
_BESIDE = {int: "i64", float: "f64"}  # a weak number whose kind the tensors beside it cannot hold


@dataclass(frozen=True)
class Weak:
    """A Python number whose dtype depends on what it meets; `make` gives it as a scalar of a dtype. Among its like it has its own: that of
    numbers which are arguments of a traced function holds all digits, as Python's arithmetic does."""

    kind: type
    make: Callable[[str], SSAValue]
    own: str | None = None

    @property
    def dtype(self) -> str:
        return self.own or DEFAULT[self.kind]


Operand = SSAValue | Weak


def common_dtype(*xs: Operand) -> str:
    """The dtype that the operands are promoted to. Raises DTypeError where there is none."""
    strong = [dtype_of(x) for x in xs if not isinstance(x, Weak)]
    weak = max((x.kind for x in xs if isinstance(x, Weak)), key=_WEAK.__getitem__, default=None)
    if not strong:
        return joined(*(x.dtype for x in xs if isinstance(x, Weak)))
    found = joined(*strong)
    if weak is None or _WEAK[weak] <= _KINDS[TABLE[found].kind]:
        return found
    return _BESIDE[weak]


def joined(*dtypes: str) -> str:
    """The smallest dtype that holds all values of these, as numpy.result_type has it."""
    if len(set(dtypes)) == 1:
        return dtypes[0]
    try:
        return dtype_name(np.result_type(*map(numpy_dtype, dtypes)))
    except (TypeError, KeyError) as error:
        names = " and ".join(dict.fromkeys(dtypes))
        raise DTypeError(f"{names} have no dtype in common", remedy="Cast one of them: x.astype(...).") from error


def as_dtype(x: Operand, dtype: str) -> SSAValue:
    """The operand in a dtype."""
    return x.make(dtype) if isinstance(x, Weak) else g.cast(x, dtype)


def value(x: Operand) -> SSAValue:
    """The operand in its own dtype, a Python number in its default."""
    return x.make(x.dtype) if isinstance(x, Weak) else x


def promoted(*xs: Operand) -> list[SSAValue]:
    """The operands in their common dtype."""
    dtype = common_dtype(*xs)
    return [as_dtype(x, dtype) for x in xs]


def lifted(*xs: Operand) -> tuple[SSAValue, ...]:
    """The operands in their common dtype and broadcast to their common shape."""
    return g.lift(*promoted(*xs))


def floating(x: Operand) -> SSAValue:
    """The operand as floats, of the size that NumPy gives the sine of an integer: f16 from 8 bits, f32 from 16, else f64."""
    if isinstance(x, Weak):
        return x.make("f32")
    dtype = dtype_of(x)
    return x if TABLE[dtype].kind == "float" else g.cast(x, joined(dtype, "f16"))
