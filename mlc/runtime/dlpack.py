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
_CODES = {"i": 0, "u": _UNSIGNED, "f": 2, "b": 6}  # by NumPy's kind
_READABLE = (1, 3, 11, 13)  # kDLCPU, and what CPUs share with GPUs: kDLCUDAHost, kDLROCMHost, kDLCUDAManaged
_KINDS = {code: kind for kind, code in _CODES.items()}


def type_code(dtype: np.dtype) -> int:
    """DLPack's code of a dtype. Raises BufferError where it has none."""
    if dtype == BFLOAT16:
        return _BFLOAT
    if dtype.kind not in _CODES:
        raise BufferError(f"DLPack has no {dtype.name}")
    return _CODES[dtype.kind]


def dtype_of(code: int, bits: int, lanes: int) -> np.dtype:
    """The dtype of DLPack's elements. Raises BufferError where there is none."""
    if (code, bits, lanes) == (_BFLOAT, 16, 1):
        return BFLOAT16
    if code not in _KINDS or bits not in (8, 16, 32, 64) or lanes != 1:
        raise BufferError(f"elements of type code {code}, {bits} bits, {lanes} lanes")
    return np.dtype(f"{_KINDS[code]}{bits // 8}")


class DLTensor(ctypes.Structure):
    """As dlpack.h has it; `code`, `bits` and `lanes` are its DLDataType."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype = ctypes.c_void_p
_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


def _tensor(capsule: Any) -> DLTensor:
    return DLTensor.from_address(_pointer(capsule, b"dltensor"))


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
    """The memory of an object with DLPack as an array, in place. Raises what NumPy raises where it cannot be had, BufferError where the host
    cannot read it."""
    kind, _ = value.__dlpack_device__()
    if kind not in _READABLE:
        raise BufferError(f"its memory is a device's, of DLPack's kind {int(kind)}")
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
