"""Tensors that modules own: parameters, which are trained, and buffers, which are state beside the gradient."""

from __future__ import annotations

from typing import Any

from mlc.errors import DTypeError, ShapeError
from mlc.frontends.trace.tensor import Tensor, array_of, type_text
from mlc.frontends.trace.tracing import user_line
from mlc.ir.types import dtype_name, is_float


class OwnedTensor(Tensor):
    """A tensor that has a place in a module: training and loading give it other numbers, and it stays the same object."""

    @property
    def is_float(self) -> bool:
        return is_float(dtype_name(self.dtype))

    def assign(self, value: Any) -> None:
        """Take the numbers of a value of the same shape, as floats of this precision where both are floats. Raises ShapeError, DTypeError."""
        found = array_of(value, None, copy=False)
        if found.shape != self.shape:
            raise ShapeError(
                f"{type_text(self)} cannot take the numbers of shape {list(found.shape)}", file=user_line()
            )
        if found.dtype != self.dtype and not (is_float(dtype_name(found.dtype)) and self.is_float):
            raise DTypeError(f"{type_text(self)} cannot take numbers of {found.dtype}", file=user_line())
        self.data = found.astype(self.dtype, order="C")  # a copy: whoever gave the array may write into it


class Parameter(OwnedTensor):
    """A tensor that is trained: `self.weight = Parameter(...)` in a module. `requires_grad_(False)` freezes it."""

    def __init__(self, value: Any, dtype: Any = None, requires_grad: bool = True):
        super().__init__(value, dtype, requires_grad)


class Buffer(OwnedTensor):
    """State that is no parameter: `self.mean = Buffer(...)` in a module, and `self.mean = ...` in `forward` gives it its next value.

    One that is not `persistent` is left out of the state dict.
    """

    def __init__(self, value: Any, dtype: Any = None, persistent: bool = True):
        super().__init__(value, dtype)
        self.persistent = persistent
