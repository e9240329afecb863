"""A driver and a GPU that are not there: libcuda.so.1 made of stand_in.cpp, under pycuda itself or, where that is not installed, a module of its
shape. Kernels run on the CPU, compiled by mlc.testing."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlc.codegen.llvm.cache import ObjectCache
from mlc.testing import host_module
from tests.runtime.cuda import pycuda_shape

SOURCE = Path(__file__).with_suffix(".cpp")


def pycuda_is_installed() -> bool:
    return importlib.util.find_spec("pycuda") is not None


def real_driver() -> bool:
    """Whether this machine has a driver of its own, beside which none can stand."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def wanted_by_pycuda() -> set[str]:
    """The functions that pycuda links against."""
    spec = importlib.util.find_spec("pycuda._driver") if pycuda_is_installed() else None
    if spec is None or spec.origin is None:
        return set()
    return {name.decode() for name in re.findall(rb"(?<=\0)cu[A-Z]\w*(?=\0)", Path(spec.origin).read_bytes())}


def compiled() -> bytes:
    text = SOURCE.read_text()
    there = set(re.findall(r"\b(cu[A-Z]\w*)\(", text)) | {
        f"cuMemcpy{way}{how}_v2" for way in ("HtoD", "DtoH", "DtoD") for how in ("", "Async")
    }
    absent = " ".join(f"ABSENT({name})" for name in sorted(wanted_by_pycuda() - there))
    key = hashlib.sha256(f"{text}{absent}".encode()).hexdigest()
    if (found := ObjectCache().get(key)) is not None:
        return found
    with tempfile.TemporaryDirectory(prefix="mlc-") as folder:
        out = Path(folder) / "libcuda.so.1"
        command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-Wl,-soname,libcuda.so.1"]
        done = subprocess.run(
            [*command, f"-DABSENTS={absent}", str(SOURCE), "-o", str(out)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        content = out.read_bytes()
    ObjectCache().put(key, content)
    return content


LOADED: StandIn | None = None  # what this process asks for as libcuda.so.1 from then on is the stand-in, by its name


@contextmanager
def loaded() -> Iterator[StandIn]:
    """The stand-in; afterwards it has no GPU."""
    global LOADED
    if LOADED is None:
        host_module.load_runtime()  # which its kernels need
        handle, path = tempfile.mkstemp(prefix="mlc-", suffix="-libcuda.so.1")
        with os.fdopen(handle, "wb") as file:
            file.write(compiled())
        LOADED = StandIn(ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL))
        os.unlink(path)
    shaped = [] if pycuda_is_installed() else ["pycuda", "pycuda.driver"]
    pycuda_shape.driver = pycuda_shape
    sys.modules.update(dict.fromkeys(shaped, pycuda_shape))
    try:
        yield LOADED
    finally:
        LOADED.machine(devices=0)
        for name in shaped:
            del sys.modules[name]


class StandIn:
    """What tests ask of the driver, and have it do."""

    def __init__(self, library: ctypes.CDLL):
        self.library = library
        self.failed = False  # whether a failure was planned, after which not everything is given back
        for name in ("count", "bytes", "used", "allocations"):
            getattr(library, f"stand_in_{name}").restype = ctypes.c_long
        library.stand_in_kernel_error.restype = ctypes.c_char_p

    def reset(self) -> None:
        self.library.stand_in_reset()
        self.failed = False

    def count(self, name: str) -> int:
        """How often a function was called; "kernels": that ran."""
        return self.library.stand_in_count(name.encode())

    def bytes(self, name: str) -> int:
        return self.library.stand_in_bytes(name.encode())

    def fail(self, name: str, code: int, after: int = 0) -> None:
        """The call of a function that comes after so many more fails."""
        self.failed = True
        self.library.stand_in_fail(name.encode(), code, ctypes.c_long(after))

    def machine(self, devices: int = 1, sm: int = 90, memory: int = 1 << 30) -> None:
        self.library.stand_in_machine(devices, sm, ctypes.c_uint64(memory))

    def move(self, address: int, ordinal: int) -> None:
        """Say that memory is another GPU's."""
        self.library.stand_in_move(ctypes.c_uint64(address), ordinal)

    @property
    def used(self) -> int:
        return self.library.stand_in_used()

    @property
    def allocations(self) -> int:
        return self.library.stand_in_allocations()

    @property
    def kernel_error(self) -> str:
        return self.library.stand_in_kernel_error().decode()
