"""The NVIDIA driver: found on first use, its GPU with the primary context, and its errors in words.

    gpu = device()              the first GPU that the driver shows; CUDA_VISIBLE_DEVICES says which that is
    with gpu.active: ...        the context is current on this thread

The context is the primary one, which the CUDA runtime uses too: pointers of PyTorch or CuPy are valid in it. A context is current per thread,
and pycuda frees nothing where it is not: whatever holds pycuda's objects is a `Held`, which lets go of them inside the context.

pycuda has no graphs and no attributes of pointers; these few functions are called in libcuda by ctypes.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from threading import Lock
from typing import Any

from mlc.errors import InternalError, MlcError, TargetUnavailable
from mlc.ir.byte_counts import bytes_text
from mlc.ir.gpus import LIBRARY

INSTALL = "mlc doctor says what is missing, and how to get it."
BUILD = "mlc doctor --install-pycuda builds it."

# Errors after which the driver refuses everything else in the context, by what pycuda's message ends in.
_FATAL = (
    "illegal memory access",
    "misaligned address",
    "launch failed",
    "launch failure",
    "launch timed out",
    "illegal instruction",
    "invalid address space",
    "invalid program counter",
    "hardware stack error",
    "device-side assert",
    "uncorrectable ECC",
)
_lock = Lock()


@cache
def pycuda() -> Any:
    """The module pycuda.driver, initialised. Raises TargetUnavailable where it, the driver or a GPU is missing."""
    try:
        import pycuda.driver as cu
    except ImportError as error:
        raise _unavailable(error) from error
    try:
        cu.init()
        count = cu.Device.count()
    except cu.Error as error:
        raise TargetUnavailable(f"target cuda: the NVIDIA driver does not start: {error}", remedy=INSTALL) from error
    if not count:
        raise TargetUnavailable(
            "target cuda: the NVIDIA driver shows no GPU", remedy="CUDA_VISIBLE_DEVICES may hide it. " + INSTALL
        )
    return cu


def _unavailable(error: ImportError) -> TargetUnavailable:
    if isinstance(error, ModuleNotFoundError):
        return TargetUnavailable(
            f"target cuda: {error.name} is not installed",
            remedy="Compiling for cuda works without it, running does not. " + BUILD,
        )
    if LIBRARY in str(error):
        return TargetUnavailable(
            f"target cuda: there is no NVIDIA driver on this machine ({LIBRARY} is not found)",
            remedy="Compiling for cuda works without one, running does not. " + INSTALL,
        )
    return TargetUnavailable(f"target cuda: pycuda does not load: {error}", remedy=INSTALL)


@cache
def library() -> ctypes.CDLL:
    """libcuda, for what pycuda leaves out."""
    pycuda()
    found = ctypes.CDLL(LIBRARY)
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    for name, types in {
        "cuStreamBeginCapture_v2": [pointer, ctypes.c_int],
        "cuStreamEndCapture": [pointer, pointer],
        "cuGraphInstantiateWithFlags": [pointer, pointer, ctypes.c_ulonglong],
        "cuGraphLaunch": [pointer, pointer],
        "cuGraphDestroy": [pointer],
        "cuGraphExecDestroy": [pointer],
        "cuPointerGetAttribute": [pointer, ctypes.c_int, size],
        "cuStreamSynchronize": [pointer],
        "cuGetErrorString": [ctypes.c_int, pointer],
    }.items():
        getattr(found, name).argtypes = types
    return found


def call(name: str, *arguments: Any) -> None:
    """One function of libcuda. Raises pycuda.driver.Error, as pycuda's own functions do."""
    code = getattr(library(), name)(*arguments)
    if code:
        text = ctypes.c_char_p()
        library().cuGetErrorString(code, ctypes.byref(text))
        raise pycuda().Error(f"{name} failed: {(text.value or b'error %d' % code).decode()}")


class _Active:
    """A context, pushed on the thread that enters. Others may be current below it."""

    def __init__(self, context: Any):
        self.context = context

    def __enter__(self) -> None:
        self.context.push()

    def __exit__(self, *error: object) -> None:
        self.context.pop()


class Device:
    """One GPU with its primary context.

    capability  90 for compute capability 9.0
    lost        why nothing runs in the context any more
    """

    def __init__(self, ordinal: int):
        cu = pycuda()
        self.ordinal = ordinal
        self.handle = cu.Device(ordinal)
        self.name: str = self.handle.name()
        major, minor = self.handle.compute_capability()
        self.capability: int = 10 * major + minor
        self.memory: int = self.handle.total_memory()
        self.shared_block: int = self.handle.get_attribute(cu.device_attribute.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)
        context = self.handle.retain_primary_context()
        # it lives as long as the process: its destructor would detach a context that others use too
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(context))
        self.active = _Active(context)
        self.lost = ""
        self.process = os.getpid()

    def __str__(self) -> str:
        return f"GPU {self.ordinal} ({self.name}, sm_{self.capability}, {bytes_text(self.memory)})"

    def free(self) -> int:
        """Bytes that nobody has; the context is current."""
        return pycuda().mem_get_info()[0]

    def require_alive(self) -> None:
        """Raises InternalError where a kernel has failed before, MlcError in the child of a fork, which has no context."""
        if self.process != os.getpid():
            raise MlcError(
                f"{self} was used before this process was forked off, and cannot be used in it",
                remedy="Start processes by spawning: multiprocessing.get_context('spawn').",
            )
        if self.lost:
            raise InternalError(f"{self} does not run anything in this process any more: {self.lost}. Start it anew")

    def error(self, error: Exception, doing: str) -> Exception:
        """What to raise for an error of the driver, met while `doing` something."""
        text = str(error)
        if any(end in text for end in _FATAL):
            self.lost = f"{doing} failed ({text})"
            return InternalError(
                f"{doing} failed on {self}: {text}. The CUDA context of this process is lost, for everything that uses it, PyTorch too:"
                " start the process anew. With CUDA_LAUNCH_BLOCKING=1 the error names the kernel, compute-sanitizer finds its line"
            )
        if isinstance(error, pycuda().MemoryError):
            return MlcError(
                f"{doing} failed on {self}: {text}",
                remedy="Give memory back: exe.trim(), smaller inputs, fewer programs.",
            )
        return InternalError(f"{doing} failed on {self}: {text}")


@cache
def _device(ordinal: int) -> Device:
    return Device(ordinal)


def device(ordinal: int = 0) -> Device:
    """Raises TargetUnavailable where there is none."""
    with _lock:  # one context object for all threads: pycuda tells contexts apart by their objects
        return _device(ordinal)


def forget() -> None:
    """Look for the driver anew."""
    pycuda.cache_clear()
    library.cache_clear()
    _device.cache_clear()


class Held:
    """Holds objects of pycuda, and lets go of them in their context, on whatever thread that happens."""

    def __init__(self, gpu: Device):
        self.gpu = gpu

    def __del__(self) -> None:
        gpu = self.__dict__.pop("gpu", None)
        if gpu is not None and gpu.process == os.getpid():
            with gpu.active:
                self.__dict__.clear()
