"""DLPack's capsules, for memory of GPUs: NumPy reads and writes those of the host only.

borrow(x.__dlpack__(stream=1))   ->  Borrowed(place, shape, dtype, strides), which gives the memory back when it is let go of
export(owner, shape, ...)        ->  a capsule; the owner lives until whoever took it is done
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlc.runtime.dlpack import DLTensor, dtype_of, type_code

CUDA_DEVICES = (2, 13)  # kDLCUDA, kDLCUDAManaged


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = [("tensor", DLTensor), ("context", ctypes.c_void_p), ("deleter", _Deleter)]


_api = ctypes.PyDLL(None)
_api.PyCapsule_GetPointer.restype = ctypes.c_void_p
_api.PyCapsule_GetPointer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
_api.PyCapsule_IsValid.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
_api.PyCapsule_SetName.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
_api.PyCapsule_New.restype = ctypes.py_object
_api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]

_NAME, _USED = b"dltensor", b"used_dltensor"


class Borrowed:
    """Memory of somebody else's, who `owner` is. strides are in bytes, None for rows without gaps."""

    def __init__(
        self, owner: Any, place: int, shape: tuple[int, ...], dtype: np.dtype, strides: tuple[int, ...] | None
    ):
        self.owner, self.place, self.shape, self.dtype, self.strides = owner, place, shape, dtype, strides

    @property
    def contiguous(self) -> bool:
        if self.strides is None or 0 in self.shape:
            return True
        expected = self.dtype.itemsize
        for extent, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if extent != 1 and stride != expected:
                return False
            expected *= extent
        return True


class _Loan:
    """A tensor that was taken out of its capsule, and is given back by its deleter."""

    def __init__(self, address: int):
        self.address = address

    def __del__(self) -> None:
        deleter = _Managed.from_address(self.address).deleter
        if deleter:
            deleter(self.address)


def borrow(capsule: Any) -> Borrowed:
    """The memory in a capsule, which is used up. Raises BufferError for an element type that no kernel has."""
    address = _api.PyCapsule_GetPointer(id(capsule), _NAME)
    tensor = _Managed.from_address(address).tensor
    dtype = dtype_of(tensor.code, tensor.bits, tensor.lanes)
    _api.PyCapsule_SetName(id(capsule), _USED)
    loan = _Loan(address)
    shape = tuple(tensor.shape[: tensor.ndim]) if tensor.ndim else ()
    strides = None
    if tensor.ndim and tensor.strides:
        strides = tuple(stride * dtype.itemsize for stride in tensor.strides[: tensor.ndim])
    return Borrowed(loan, (tensor.data or 0) + tensor.byte_offset, shape, dtype, strides)


# Address of a DLManagedTensor that is out -> itself, its shape, and the owner of the memory.
_out: dict[int, tuple[Any, ...]] = {}


@_Deleter
def _give_back(address: int) -> None:
    _out.pop(address, None)


@_Deleter
def _drop(capsule: int) -> None:
    """The destructor of a capsule that nobody took."""
    if _api.PyCapsule_IsValid(capsule, _NAME):
        _give_back(_api.PyCapsule_GetPointer(capsule, _NAME))


def export(owner: Any, shape: Sequence[int], dtype: np.dtype, place: int, ordinal: int) -> Any:
    """A capsule with memory of a GPU. Raises BufferError for a dtype that DLPack has no code for."""
    extents = (ctypes.c_int64 * max(1, len(shape)))(*shape)
    tensor = DLTensor(
        place, CUDA_DEVICES[0], ordinal, len(shape), type_code(dtype), dtype.itemsize * 8, 1, extents, None, 0
    )
    managed = _Managed(tensor, None, _give_back)
    address = ctypes.addressof(managed)
    _out[address] = (managed, extents, owner)
    return _api.PyCapsule_New(address, _NAME, ctypes.cast(_drop, ctypes.c_void_p))
