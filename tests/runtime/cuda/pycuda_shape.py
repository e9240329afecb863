"""The part of pycuda.driver that mlc uses, on whatever libcuda.so.1 is loaded: for tests where pycuda is not installed.

As in pycuda, what is let go of while its context is not current on the thread is lost: `lost` counts such objects.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

__path__: list[str] = []  # it stands for the package pycuda too
driver: Any = None
lost = 0
_pointer = ctypes.c_void_p
_pushed: list[int] = []


class Error(Exception):
    pass


class MemoryError(Error):
    pass


class LogicError(Error):
    pass


class LaunchError(Error):
    pass


_KINDS = {2: MemoryError, 719: LaunchError}


class device_attribute:
    MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97


class function_attribute:
    MAX_DYNAMIC_SHARED_SIZE_BYTES = 8


class event_flags:
    DISABLE_TIMING = 2


def _call(name: str, *arguments: Any) -> None:
    library = ctypes.CDLL("libcuda.so.1")
    code = getattr(library, name)(*arguments)
    if code:
        text = ctypes.c_char_p()
        library.cuGetErrorString(code, ctypes.byref(text))
        raise _KINDS.get(code, LogicError)(f"{name.removesuffix('_v2')} failed: {(text.value or b'').decode()}")


def _made(name: str, *arguments: Any) -> int:
    made = _pointer()
    _call(name, ctypes.byref(made), *arguments)
    return made.value or 0


def init() -> None:
    _call("cuInit", 0)


def get_driver_version() -> int:
    version = ctypes.c_int()
    _call("cuDriverGetVersion", ctypes.byref(version))
    return version.value


class Device:
    def __init__(self, ordinal: int):
        _call("cuDeviceGet", ctypes.byref(ctypes.c_int()), ordinal)
        self.ordinal = ordinal

    @staticmethod
    def count() -> int:
        found = ctypes.c_int()
        _call("cuDeviceGetCount", ctypes.byref(found))
        return found.value

    def name(self) -> str:
        text = ctypes.create_string_buffer(64)
        _call("cuDeviceGetName", text, 64, self.ordinal)
        return text.value.decode()

    def compute_capability(self) -> tuple[int, int]:
        major, minor = ctypes.c_int(), ctypes.c_int()
        _call("cuDeviceComputeCapability", ctypes.byref(major), ctypes.byref(minor), self.ordinal)
        return major.value, minor.value

    def total_memory(self) -> int:
        found = ctypes.c_size_t()
        _call("cuDeviceTotalMem_v2", ctypes.byref(found), self.ordinal)
        return found.value

    def get_attribute(self, attribute: int) -> int:
        found = ctypes.c_int()
        _call("cuDeviceGetAttribute", ctypes.byref(found), attribute, self.ordinal)
        return found.value

    def retain_primary_context(self) -> Context:
        return Context(_made("cuDevicePrimaryCtxRetain", self.ordinal))


class Context:
    def __init__(self, handle: int):
        self.handle = handle

    def push(self) -> None:
        _call("cuCtxPushCurrent_v2", _pointer(self.handle))

    @staticmethod
    def pop() -> None:
        _made("cuCtxPopCurrent_v2")

    @staticmethod
    def synchronize() -> None:
        _call("cuCtxSynchronize")


class _Object:
    """Given back by `end`, where the context is current."""

    end = ""

    def __init__(self, handle: int):
        self.handle = handle

    def __int__(self) -> int:
        return self.handle

    def __del__(self) -> None:
        global lost
        try:
            _call("cuCtxGetDevice", ctypes.byref(ctypes.c_int()))
        except Error:
            lost += 1
        else:
            _call(self.end, _pointer(self.handle))


class _Allocation(_Object):
    end = "cuMemFree_v2"


def mem_alloc(bytes: int) -> _Allocation:
    return _Allocation(_made("cuMemAlloc_v2", ctypes.c_size_t(bytes)))


def mem_get_info() -> tuple[int, int]:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    _call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
    return free.value, total.value


class _Locked(_Object):
    end = "cuMemFreeHost"

    def __init__(self, bytes: int):
        super().__init__(_made("cuMemHostAlloc", ctypes.c_size_t(bytes), 0))
        self.__array_interface__ = {"shape": (bytes,), "typestr": "|u1", "data": (self.handle, False), "version": 3}


def pagelocked_empty(shape: int, dtype: Any) -> np.ndarray:
    return np.asarray(_Locked(shape * np.dtype(dtype).itemsize)).view(dtype)


def _address(array: np.ndarray) -> Any:
    return _pointer(array.ctypes.data)


def memcpy_htod(target: int, source: np.ndarray) -> None:
    _call("cuMemcpyHtoD_v2", _pointer(target), _address(source), ctypes.c_size_t(source.nbytes))


def memcpy_dtoh(target: np.ndarray, source: int) -> None:
    _call("cuMemcpyDtoH_v2", _address(target), _pointer(source), ctypes.c_size_t(target.nbytes))


def memcpy_dtod(target: int, source: int, bytes: int) -> None:
    _call("cuMemcpyDtoD_v2", _pointer(target), _pointer(source), ctypes.c_size_t(bytes))


def memcpy_htod_async(target: int, source: np.ndarray, stream: Stream) -> None:
    _call(
        "cuMemcpyHtoDAsync_v2",
        _pointer(target),
        _address(source),
        ctypes.c_size_t(source.nbytes),
        _pointer(stream.handle),
    )


def memcpy_dtoh_async(target: np.ndarray, source: int, stream: Stream) -> None:
    _call(
        "cuMemcpyDtoHAsync_v2",
        _address(target),
        _pointer(source),
        ctypes.c_size_t(target.nbytes),
        _pointer(stream.handle),
    )


def memcpy_dtod_async(target: int, source: int, bytes: int, stream: Stream) -> None:
    _call("cuMemcpyDtoDAsync_v2", _pointer(target), _pointer(source), ctypes.c_size_t(bytes), _pointer(stream.handle))


class Stream(_Object):
    end = "cuStreamDestroy_v2"

    def __init__(self, flags: int = 0):
        super().__init__(_made("cuStreamCreate", flags))

    def synchronize(self) -> None:
        _call("cuStreamSynchronize", _pointer(self.handle))

    def wait_for_event(self, event: Event) -> None:
        _call("cuStreamWaitEvent", _pointer(self.handle), _pointer(event.handle), 0)


class Event(_Object):
    end = "cuEventDestroy_v2"

    def __init__(self, flags: int = 0):
        super().__init__(_made("cuEventCreate", flags))

    def record(self, stream: Stream | None = None) -> None:
        _call("cuEventRecord", _pointer(self.handle), _pointer(stream.handle if stream else 0))

    def time_till(self, end: Event) -> float:
        found = ctypes.c_float()
        _call("cuEventElapsedTime_v2", ctypes.byref(found), _pointer(self.handle), _pointer(end.handle))
        return found.value


class _Module(_Object):
    end = "cuModuleUnload"

    def get_function(self, name: str) -> _Function:
        return _Function(_made("cuModuleGetFunction", _pointer(self.handle), name.encode()))


def module_from_buffer(content: bytes) -> _Module:
    return _Module(_made("cuModuleLoadDataEx", content, 0, None, None))


class _Function:
    def __init__(self, handle: int):
        self.handle = handle

    def set_attribute(self, attribute: int, value: int) -> None:
        _call("cuFuncSetAttribute", _pointer(self.handle), attribute, value)

    def _launch_kernel(self, grid: Any, block: Any, arguments: bytes, shared: int, stream: Stream) -> None:
        size = ctypes.c_size_t(len(arguments))
        buffer = ctypes.create_string_buffer(arguments, max(1, len(arguments)))
        extra = (_pointer * 5)(1, ctypes.addressof(buffer), 2, ctypes.addressof(size), 0)
        handle = _pointer(self.handle)
        _call("cuLaunchKernel", handle, *grid, *block, shared, _pointer(stream.handle), None, extra)
