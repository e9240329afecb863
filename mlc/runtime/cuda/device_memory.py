"""Memory of a GPU, and memory of the host that it reads and writes directly."""

from __future__ import annotations

import numpy as np

from mlc.errors import MlcError
from mlc.ir.byte_counts import bytes_text
from mlc.runtime.cuda.driver import Device, Held, pycuda


class Block(Held):
    """One allocation. Arrays hold it as long as they live."""

    def __init__(self, gpu: Device, bytes: int, what: str):
        super().__init__(gpu)
        gpu.require_alive()
        cu = pycuda()
        with gpu.active:
            try:
                self.allocation = cu.mem_alloc(max(1, bytes))
            except cu.MemoryError:
                raise out_of_memory(gpu, bytes, what) from None
            self.place = int(self.allocation)


class DeviceMemory:
    """Bytes of a GPU, uninitialised, as mlc.runtime.arrays.Memory has bytes of the host; on a boundary of 256 bytes."""

    __slots__ = ("block", "bytes", "offset", "place")

    def __init__(self, gpu: Device, bytes: int, what: str = "arrays"):
        self.bytes, self.offset = bytes, 0
        self.block = Block(gpu, bytes, what)
        self.place = self.block.place


class Pinned(Held):
    """Page-locked bytes of the host, as an array."""

    def __init__(self, gpu: Device, bytes: int):
        super().__init__(gpu)
        cu = pycuda()
        with gpu.active:
            try:
                self.array: np.ndarray = cu.pagelocked_empty(max(1, bytes), np.uint8)
            except cu.MemoryError:
                raise MlcError(
                    f"the host has no {bytes_text(bytes)} of memory that can be locked, which copies to {gpu} go through",
                    remedy="Hand in arrays that lie on the GPU, or smaller ones.",
                ) from None


def out_of_memory(gpu: Device, bytes: int, what: str) -> MlcError:
    """The context is current."""
    return MlcError(
        f"{gpu} has {bytes_text(gpu.free())} of memory left, and {what} take {bytes_text(bytes)}",
        remedy="Call it with smaller inputs, let go of other executables and arrays (exe.trim() gives back what calls keep), or end what else"
        " runs on the GPU: nvidia-smi lists it.",
    )
