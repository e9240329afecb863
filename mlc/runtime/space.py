"""Where the arrays of a call lie: the memory that kernels of one machine read and write in place.

    HOST                         NumPy arrays in the memory of the process
    mlc/runtime/cuda/device_arrays.py   DeviceArrays in the memory of a GPU

Executable and Stateful say what lies where and for how long; a Space makes the memory and the arrays, and knows how values get into them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Protocol

import numpy as np

from mlc.runtime.arrays import Memory, address, as_array, as_updated
from mlc.runtime.dlpack import array_type


class Space(Protocol):
    """An array has shape, dtype and nbytes; its memory is what memory() made, or belongs to a caller."""

    own: bool
    """Whether it is the machine's: such a machine is handed the arrays of a call, and copies those that lie elsewhere."""

    def argument(self, value: Any, dtype: np.dtype, name: str) -> Any:
        """A value for an input as an array, in this space or in that of the host. Raises MlcError or DTypeError where it is none."""

    def updated(self, value: Any, dtype: np.dtype, name: str, result: str) -> Any:
        """As `argument`, for an input whose memory a call updates: nothing is converted or copied."""

    def memory(self, bytes: int) -> Any:
        """New memory of so many bytes: a Memory, or what has its fields."""

    def array(self, shape: Sequence[int], dtype: np.dtype, memory: Any) -> Any:
        """The array at the start of a memory."""

    def place(self, array: Any) -> int:
        """Address of an array's first element."""

    def fill(self, array: Any, value: Any) -> None:
        """Copy a value that `argument` gave into an array of its shape."""

    def front(self, array: Any, shape: Sequence[int]) -> Any:
        """The array of this shape at the start of an array's memory."""

    def numpy(self, array: Any) -> np.ndarray:
        """The values in host memory; the array itself where it lies there."""

    def copied(self, array: Any) -> np.ndarray:
        """A copy of the values in host memory."""


class Host:
    """The memory of the process."""

    own = False
    argument = staticmethod(as_array)
    updated = staticmethod(as_updated)
    memory = Memory
    place = staticmethod(address)

    def array(self, shape: Sequence[int], dtype: np.dtype, memory: Memory) -> np.ndarray:
        return array_type(dtype)(shape, dtype, memory.block, memory.offset)

    def fill(self, array: np.ndarray, value: np.ndarray) -> None:
        array[...] = value

    def front(self, array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        return array.reshape(-1)[: prod(shape)].reshape(shape)

    def numpy(self, array: np.ndarray) -> np.ndarray:
        return array

    def copied(self, array: np.ndarray) -> np.ndarray:
        return array.copy()


HOST = Host()
