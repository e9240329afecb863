"""The NVIDIA GPUs of this machine, as the driver itself tells: nothing else is needed to ask it, and nothing is started on them."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache

from mlc.ir.byte_counts import bytes_text

LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*


@dataclass(frozen=True)
class Gpu:
    """One GPU: capability 90 stands for compute capability 9.0; memory in bytes."""

    name: str
    capability: int
    memory: int

    def __str__(self) -> str:
        return f"{self.name}, sm_{self.capability}, {bytes_text(self.memory)}"


@dataclass(frozen=True)
class Driver:
    """What there is of a driver. version: of CUDA, as "13.0"; error: why it shows no GPU, where it does not."""

    present: bool
    version: str = ""
    gpus: tuple[Gpu, ...] = ()
    error: str = ""


@cache
def driver() -> Driver:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        return Driver(False, error=str(error))
    number = ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(number))
    version = f"{number.value // 1000}.{number.value % 1000 // 10}"
    if code := library.cuInit(0):
        return Driver(True, version, error=_text(library, code))
    library.cuDeviceGetCount(ctypes.byref(number))
    return Driver(True, version, tuple(_gpu(library, ordinal) for ordinal in range(number.value)))


def _gpu(library: ctypes.CDLL, ordinal: int) -> Gpu:
    device, major, minor, memory = ctypes.c_int(), ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(256)
    library.cuDeviceGet(ctypes.byref(device), ordinal)
    library.cuDeviceGetName(name, len(name), device)
    library.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    library.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return Gpu(name.value.decode(errors="replace"), 10 * major.value + minor.value, memory.value)


def _text(library: ctypes.CDLL, code: int) -> str:
    text = ctypes.c_char_p()
    library.cuGetErrorString(code, ctypes.byref(text))
    return (text.value or b"error %d" % code).decode(errors="replace")
