"""Arrays in and out: element types by name, what a caller may hand in, memory aligned for vectors."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from sys import getrefcount
from typing import Any

import numpy as np

from mlc.errors import DTypeError, MlcError
from mlc.ir.dtypes import TABLE
from mlc.ir.kernel.plan import ALIGNMENT, GUARD
from mlc.runtime.arguments import all_at_once
from mlc.runtime.dlpack import from_dlpack

# Name -> (NumPy, ONNX's name of the tensor type)
DTYPES: dict[str, tuple[np.dtype, str]] = {
    name: (row.numpy, f"tensor({row.onnx.lower()})") for name, row in TABLE.items()
}


def _by_interface(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _by_object(array: np.ndarray) -> int:
    return _word(id(array) + _DATA).value


# NumPy's array object holds the pointer right behind CPython's header, in versions 1 and 2: 0.15 us to read, against 1.1 us for
# __array_interface__. Where a test array says otherwise the public way is taken.
_word = ctypes.c_size_t.from_address
_DATA = object.__basicsize__
_sample = np.zeros(3)
address: Callable[[np.ndarray], int] = (
    _by_object
    if sys.implementation.name == "cpython" and _by_object(_sample) == _by_interface(_sample)
    else _by_interface
)
"""Address of an array's first element."""


def as_array(value: Any, dtype: np.dtype, name: str) -> np.ndarray:
    """`value` as a row-major array of this dtype: itself where it is one, a view of DLPack memory, a copy where its order differs.

    Numbers and lists take the dtype; whatever has another dtype of its own is refused, for converting is the caller's to decide.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise MlcError(f"input '{name}' is a masked array", remedy="Say what its masked elements are: x.filled(0).")
    if not isinstance(value, np.ndarray):
        value = _foreign(value, dtype, name)
    if value.dtype != dtype and value.dtype.newbyteorder("=") == dtype:
        value = value.astype(dtype)  # the same numbers in the other byte order
    if value.dtype != dtype:
        raise DTypeError(
            f"input '{name}' takes {dtype.name}, the array is {value.dtype.name}",
            remedy=f"Convert it: {name}.astype('{dtype.name}')." if name.isidentifier() else None,
        )
    return in_place(value)


def as_updated(value: Any, dtype: np.dtype, name: str, result: str) -> np.ndarray:
    """`value` as an array whose memory a call updates: itself, or a view of DLPack memory. Nothing is converted or copied, for the caller
    would not see what becomes of it. Raises DTypeError or MlcError."""
    what = f"input '{name}' is updated in place, for the result '{result}' lives in it"
    if not isinstance(value, np.ndarray) and not hasattr(value, "__dlpack__"):
        raise MlcError(f"{what}, and a {type(value).__name__} was given", remedy="Hand in a NumPy array.")
    array = value if isinstance(value, np.ndarray) else _foreign(value, dtype, name)
    if array.dtype != dtype:
        raise DTypeError(f"{what}: it takes {dtype.name}, the array is {array.dtype.name}")
    for fits, problem in (
        (array.flags.writeable, "is read-only"),
        (array.flags.c_contiguous, "is not row-major without gaps"),
        (array.flags.aligned, "does not lie on a boundary of its elements"),
    ):
        if not fits:
            raise MlcError(
                f"{what}, and the array {problem}", remedy=f"Hand in a copy: numpy.array({name}, order='C')."
            )
    return array


def require_apart(
    arrays: Sequence[Any], written: Collection[int], names: Sequence[str], place: Callable[[Any], int] = address
) -> None:
    """Raises MlcError where an array that a call updates shares memory with another one. `place` gives the address of one."""
    spans = sorted((place(array), number) for number, array in enumerate(arrays) if array.nbytes)
    end, owner, end_written, owner_written = (
        0,
        0,
        0,
        0,
    )  # how far the arrays so far reach, and those of them that are updated
    for start, number in spans:
        other = owner if number in written and start < end else owner_written if start < end_written else None
        if other is not None:
            updated, beside = (number, other) if number in written else (other, number)
            raise MlcError(
                f"input '{names[updated]}' is updated in place, and shares memory with input '{names[beside]}'",
                remedy="Hand in a copy of one of them.",
            )
        last = start + arrays[number].nbytes
        if last > end:
            end, owner = last, number
        if number in written and last > end_written:
            end_written, owner_written = last, number


def _foreign(value: Any, dtype: np.dtype, name: str) -> np.ndarray:
    if isinstance(value, Mapping):
        raise all_at_once(value)
    try:
        if hasattr(value, "__dlpack__"):
            return from_dlpack(value)
        return np.asarray(value) if hasattr(value, "__array__") else np.asarray(value, dtype)
    except (TypeError, ValueError, RuntimeError, BufferError, OverflowError) as error:
        usual = "Hand in a NumPy array, or memory of the CPU that offers DLPack."
        raise MlcError(
            f"input '{name}' is a {type(value).__name__} that cannot be read as an array: {str(error).strip()}",
            remedy="Hand in its values alone: x.detach()." if getattr(value, "requires_grad", False) else usual,
        ) from error


class Memory:
    """Uninitialised bytes on a vector boundary, with room for a vector behind the last."""

    __slots__ = ("block", "bytes", "offset", "place")

    def __init__(self, bytes: int):
        self.bytes = bytes
        self.block = np.empty(bytes + ALIGNMENT + GUARD, np.uint8)
        start = address(self.block)
        self.offset = -start % ALIGNMENT
        self.place = start + self.offset  # the address


def return_free_memory() -> None:
    """Have the C library give pages that it keeps for later back to the system, where it can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


# References to the block of a memory where no array lies any more: arrays and all that is made of them (views, DLPack) hold it as their base.
_sample_memory = Memory(0)
UNUSED = getrefcount(_sample_memory.block)


def in_place(array: np.ndarray) -> np.ndarray:
    """The array, or a row-major copy where native code could not read it as it lies. Packed weights lie on vector boundaries by
    themselves; for the others it makes no difference, and a model's weights are too large to copy without need."""
    return array if array.flags.c_contiguous and array.flags.aligned else np.array(array, order="C")
