"""How arrays of the host get to a GPU and back: through one piece of pinned memory and its mirror on the GPU, with one copy each way.

inputs | inputs that the call updates | outputs
------------------------------>                    to the GPU before the run
         ------------------------------------>     back after it
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlc.runtime.cuda.device_arrays import DeviceArray, words
from mlc.runtime.cuda.device_memory import DeviceMemory, Pinned
from mlc.runtime.cuda.driver import Device, pycuda

_BOUNDARY = 256  # what the driver aligns memory to


class Staging:
    """Grows to what calls need. `mirror` is the memory on the GPU."""

    def __init__(self, gpu: Device):
        self.gpu = gpu
        self.pinned: Pinned | None = None
        self.mirror: DeviceMemory | None = None
        self.bytes = 0

    def reserve(self, bytes: int) -> bool:
        """Whether the memory is another one now."""
        if bytes <= self.bytes:
            return False
        self.pinned = self.mirror = None  # give back the old before asking for the new
        self.bytes = 0
        self.mirror = DeviceMemory(self.gpu, bytes, "inputs and outputs that lie in host memory")
        self.pinned = Pinned(self.gpu, bytes)
        self.bytes = bytes
        return True


class Layout:
    """Which arrays of a call lie in host memory, and where each has its place in the staging memory.

    to, back  the parts of it that are copied, as (begin, end)
    """

    def __init__(self, arrays: Sequence[Any], outputs: Sequence[Any], aliases: dict[int, int]):
        updated = set(aliases.values())
        self.inputs: dict[int, int] = {}  # number -> offset
        self.outputs: dict[int, int] = {}
        end = 0
        host = [number for number, array in enumerate(arrays) if type(array) is not DeviceArray]
        for number in host:
            if number not in updated:
                self.inputs[number], end = end, _aligned(end + arrays[number].nbytes)
        middle = end
        for number in host:
            if number in updated:
                self.inputs[number], end = end, _aligned(end + arrays[number].nbytes)
        self.to = 0, end
        for number, array in enumerate(outputs):
            if number not in aliases and type(array) is not DeviceArray:
                self.outputs[number], end = end, _aligned(end + array.nbytes)
        self.back = middle, end
        self.bytes = end
        self.updated = [number for number in self.inputs if number in updated]

    def put(self, staging: Staging, arrays: Sequence[Any]) -> None:
        """Inputs into the pinned memory."""
        for number, offset in self.inputs.items():
            if bytes := arrays[number].nbytes:
                _part(staging, offset, bytes)[:] = words(arrays[number])

    def take(self, staging: Staging, arrays: Sequence[Any], outputs: Sequence[Any]) -> None:
        """What came back out of the pinned memory."""
        back = [(arrays[number], self.inputs[number]) for number in self.updated]
        back += [(outputs[number], offset) for number, offset in self.outputs.items()]
        for array, offset in back:
            if array.nbytes:
                words(array)[:] = _part(staging, offset, array.nbytes)

    def issue_to(self, staging: Staging, stream: Any) -> None:
        begin, end = self.to
        if end > begin:
            assert staging.mirror is not None
            source = _part(staging, begin, end - begin)
            pycuda().memcpy_htod_async(staging.mirror.place + begin, source, stream)

    def issue_back(self, staging: Staging, stream: Any) -> None:
        begin, end = self.back
        if end > begin:
            assert staging.mirror is not None
            pycuda().memcpy_dtoh_async(_part(staging, begin, end - begin), staging.mirror.place + begin, stream)


def _part(staging: Staging, offset: int, bytes: int) -> np.ndarray:
    assert staging.pinned is not None
    return staging.pinned.array[offset : offset + bytes]


def _aligned(size: int) -> int:
    return -(-size // _BOUNDARY) * _BOUNDARY
