"""Dtypes, shapes and axes as users write them -> as the parameters of functions have them."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from mlc.errors import DTypeError, ShapeError
from mlc.frontends.trace.functions.promotion import DEFAULT
from mlc.frontends.trace.tracing import user_line
from mlc.ir.dims import Dim, Extent
from mlc.ir.types import DTYPES, dtype_name


def dtype_text(dtype: Any) -> str:
    """The name of a dtype: "f32", numpy.float32, "float32", float (f32) and int (i64). Raises DTypeError."""
    if isinstance(dtype, str) and dtype in DTYPES:
        return dtype
    if isinstance(dtype, type) and dtype in DEFAULT:
        return DEFAULT[dtype]
    try:
        return dtype_name(dtype)
    except (TypeError, KeyError):
        raise DTypeError(f"no dtype {dtype!r}", file=user_line(), remedy=f"DTypes: {', '.join(DTYPES)}.") from None


def shape_from(shape: Any) -> tuple[Extent, ...]:
    """A shape as a tuple, from numbers, sizes, or one sequence of them."""
    if isinstance(shape, int | Dim | np.integer):
        shape = (shape,)
    try:
        if len(shape) == 1 and not isinstance(shape[0], int | Dim | np.integer):
            shape = shape[0]
        return tuple(e if isinstance(e, Dim) else operator.index(e) for e in shape)
    except TypeError as error:
        raise ShapeError(f"a shape is of whole numbers, and not {shape!r}", file=user_line()) from error


def axis_from(axis: Any) -> int | tuple[int, ...] | None:
    """axis= as a parameter."""
    if axis is None or isinstance(axis, int):
        return axis
    return tuple(a.__index__() for a in axis) if isinstance(axis, list | tuple) else axis.__index__()


def axes_from(axis: Any) -> tuple[int, ...] | None:
    found = axis_from(axis)
    return (found,) if isinstance(found, int) else found
