"""bfloat16 in and out by DLPack, which NumPy leaves out: there it has no such dtype.

Memory goes through NumPy as 16-bit words, in a capsule whose type code says which of the two they are. A capsule belongs to whoever
asked for it, and its memory is freed without a look at that code.

    from_dlpack(torch_tensor)  ->  array of ml_dtypes.bfloat16, in place
    torch.from_dlpack(output)  for outputs that are a Bfloat16Array
"""

from __future__ import annotations

import ctypes
from typing import Any

import ml_dtypes
import numpy as np

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_UNSIGNED, _BFLOAT = 1, 4  # DLDataTypeCode


class _Tensor(ctypes.Structure):
    """The start of DLTensor."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
    ]


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype = ctypes.c_void_p
_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


def _tensor(capsule: Any) -> _Tensor:
    return _Tensor.from_address(_pointer(capsule, b"dltensor"))


class _Words:
    """Offers another object's bfloat16 memory as 16-bit words."""

    def __init__(self, producer: Any):
        self.producer = producer
        self.found = False  # whether there was bfloat16

    def __dlpack__(self, **_: Any) -> Any:
        capsule = self.producer.__dlpack__()
        tensor = _tensor(capsule)
        if (tensor.code, tensor.bits, tensor.lanes) == (_BFLOAT, 16, 1):
            tensor.code, self.found = _UNSIGNED, True
        return capsule

    def __dlpack_device__(self) -> Any:
        return self.producer.__dlpack_device__()


def from_dlpack(value: Any) -> np.ndarray:
    """The memory of an object with DLPack as an array, in place. Raises what NumPy raises where it cannot be had."""
    words = _Words(value)
    array = np.from_dlpack(words)
    return array.view(BFLOAT16) if words.found else array


class Bfloat16Array(np.ndarray):
    """An array of bfloat16 that offers DLPack. Whatever is computed from it offers what NumPy does for its dtype."""

    def __dlpack__(self, **options: Any) -> Any:
        if self.dtype != BFLOAT16:
            return super().__dlpack__(**options)
        capsule = self.view(np.ndarray).view(np.uint16).__dlpack__()
        _tensor(capsule).code = _BFLOAT
        return capsule


def array_type(dtype: np.dtype) -> type[np.ndarray]:
    """The class of an output of this dtype."""
    return Bfloat16Array if dtype == BFLOAT16 else np.ndarray
