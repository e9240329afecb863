"""A text of CUDA C, compiled for this machine and loaded: its kernels are launched on NumPy arrays."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from mlc.errors import DTypeError, MlcError
from mlc.ir.spelling import nearest
from mlc.testing import host_build

SHARED_LIMIT = 227 << 10  # dynamic shared memory of a block on sm_90; the most that a kernel of ours may ask for


class KernelFault(MlcError):
    """A kernel broke a rule of CUDA as it ran: threads that wait for each other in vain, a copy that is not aligned, a launch that no GPU takes.
    The message names lines of its text."""


@dataclass(frozen=True)
class Order:
    """In which order blocks, warps and lanes take their turns, and when asynchronous copies land: as they are issued, or not before they are
    waited for. `seed` is for shuffled turns."""

    turns: Literal["forward", "reverse", "shuffled"] = "forward"
    copies: Literal["late", "early"] = "late"
    seed: int = 1

    def __post_init__(self) -> None:
        if self.turns not in _TURNS:
            raise MlcError(f"turns are {', '.join(_TURNS)}, not {self.turns!r}")
        if self.copies not in _COPIES:
            raise MlcError(f"copies are {' or '.join(_COPIES)}, not {self.copies!r}")

    def __str__(self) -> str:
        return f"{self.turns}, copies {self.copies}"

    @property
    def numbers(self) -> tuple[str, str, str]:
        """As programs take it."""
        return str(_TURNS.index(self.turns)), str(_COPIES.index(self.copies)), str(self.seed)


_TURNS = ("forward", "reverse", "shuffled")
_COPIES = ("late", "early")

# What each shows: a missing barrier in one of two orders, a missing wait with late copies, a buffer filled too soon with early ones.
ORDERS = (
    Order("forward", "late"),
    Order("reverse", "late"),
    Order("shuffled", "early"),
    Order("forward", "early"),
    Order("reverse", "early"),
)


class _Parameter(ctypes.Structure):
    _fields_ = [
        ("bytes", ctypes.c_uint),
        ("pointee", ctypes.c_uint),
        ("kind", ctypes.c_char),
        ("pointee_kind", ctypes.c_char),
        ("constant", ctypes.c_bool),
    ]


class _Settings(ctypes.Structure):
    _fields_ = [
        ("order", ctypes.c_int),
        ("early", ctypes.c_int),
        ("seed", ctypes.c_uint64),
        ("shared_limit", ctypes.c_uint64),
        ("switches", ctypes.c_uint64),
    ]


_LAUNCH = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.POINTER(ctypes.c_uint * 6),
    ctypes.c_size_t,
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.POINTER(_Settings),
    ctypes.c_char_p,
    ctypes.c_size_t,
)


class _Kernel(ctypes.Structure):
    _fields_ = [
        ("launch", _LAUNCH),
        ("parameters", ctypes.POINTER(_Parameter)),
        ("count", ctypes.c_uint),
        ("threads", ctypes.c_uint),
        ("shared_begin", ctypes.c_void_p),
        ("shared_end", ctypes.c_void_p),
    ]


@dataclass(frozen=True)
class Parameter:
    """Of a kernel. kind: f(loat), i(nteger), u(nsigned), s(truct) of so many bytes; of a pointer, what it points at, and whether as const."""

    bytes: int
    kind: str
    pointer: bool = False
    constant: bool = False

    def __str__(self) -> str:
        names = {"f": "floating point", "i": "an integer", "u": "an unsigned integer", "s": "a struct", "v": "anything"}
        what = names[self.kind] + (f" of {self.bytes} bytes" if self.bytes else "")
        return f"a pointer to {what}" if self.pointer else what


class HostModule:
    """The kernels of a text.

    text    CUDA C, as nvcc would take it; `#include "device.cuh"` finds the project's
    flush   whether numbers too small for full precision are zero, as with nvcc's -ftz=true
    metered whether accesses.watch can count in it
    """

    def __init__(self, text: str, *, flush: bool = False, metered: bool = False):
        names = host_build.kernels_of(text)
        if not names:
            raise MlcError("the text has no kernel", remedy="A kernel is written `__global__ void name(...)`.")
        self.text = text
        self.defines = ("-DMLC_FLUSH",) if flush else ()
        load_runtime()
        build = host_build.metered_object if metered else host_build.shared_object
        self.content = build(text, self.defines)
        self.library = _loaded(self.content, ctypes.RTLD_LOCAL)
        self.parameters: dict[str, tuple[Parameter, ...]] = {}
        self._kernels = {name: _Kernel.in_dll(self.library, f"mlc_kernel_{name}") for name in names}
        for name, kernel in self._kernels.items():
            self.parameters[name] = tuple(map(_parameter, kernel.parameters[: kernel.count]))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the kernels, as they stand in the text."""
        return tuple(self._kernels)

    def static_shared(self, name: str) -> tuple[int, int]:
        """Where the module's shared memory of fixed size begins and ends."""
        kernel = self._kernels[name]
        return kernel.shared_begin or 0, kernel.shared_end or 0

    def launch(
        self,
        name: str,
        grid: int | Sequence[int],
        block: int | Sequence[int],
        args: Sequence[Any],
        *,
        shared: int = 0,
        order: Order = ORDERS[0],
        shared_limit: int = SHARED_LIMIT,
    ) -> int:
        """Run a kernel to its end; arrays are updated where they lie. Returns how often a thread was resumed.

        grid, block   one to three numbers, x first
        args          for a pointer an array (row-major, elements of the size that the parameter points at) or an address; numbers for the rest
        shared        bytes of dynamic shared memory, filled with NaN for each block

        Raises KernelFault for a rule of CUDA that was broken, DTypeError or MlcError for arguments that do not fit. Python threads take turns.
        """
        require_kernel(name, self.names)
        kernel = self._kernels[name]
        values = packed(name, self.parameters[name], args)
        places = (ctypes.c_void_p * (len(values) + 1))(*(ctypes.addressof(value) for value in values))
        settings = _Settings(
            _TURNS.index(order.turns), _COPIES.index(order.copies), order.seed, min(shared_limit, SHARED_LIMIT), 0
        )
        error = ctypes.create_string_buffer(512)
        if kernel.launch((ctypes.c_uint * 6)(*geometry(grid, block)), shared, places, settings, error, len(error)):
            raise KernelFault(f"kernel '{name}': {error.value.decode(errors='replace')}")
        return settings.switches


def require_kernel(name: str, names: Sequence[str]) -> None:
    """Raises MlcError for a kernel that is not there."""
    if name not in names:
        near = nearest(name, names)
        raise MlcError(
            f"the text has no kernel '{name}'",
            remedy=(f"Did you mean {near[0]}? " if near else "") + f"Kernels: {', '.join(names)}.",
        )


def geometry(grid: int | Sequence[int], block: int | Sequence[int]) -> list[int]:
    """Blocks and threads along x, y, z."""
    sizes: list[int] = []
    for what, given in (("grid", grid), ("block", block)):
        found = [int(given)] if isinstance(given, int | np.integer) else [int(size) for size in given]
        if not 1 <= len(found) <= 3 or not all(0 <= size < 1 << 32 for size in found):
            raise MlcError(f"the {what} is {given!r}", remedy="It is one to three numbers: (x, y, z).")
        sizes += [*found, *[1] * (3 - len(found))]
    return sizes


def packed(name: str, parameters: Sequence[Parameter], args: Sequence[Any]) -> list[Any]:
    """The arguments as memory that a launch reads. Raises MlcError or DTypeError, with the number of the argument."""
    if len(args) != len(parameters):
        raise MlcError(f"kernel '{name}' takes {len(parameters)} arguments, {len(args)} are given")
    return [
        _packed(f"kernel '{name}', argument {n}", p, a) for n, (p, a) in enumerate(zip(parameters, args, strict=True))
    ]


def _packed(where: str, parameter: Parameter, value: Any) -> Any:
    if parameter.pointer:
        if isinstance(value, int):
            return ctypes.c_void_p(value)
        if not isinstance(value, np.ndarray):
            raise MlcError(f"{where}: takes {parameter}, a {type(value).__name__} is given", remedy="Hand in an array.")
        _require(where, parameter, value)
        return ctypes.c_void_p(value.ctypes.data)
    if isinstance(value, np.ndarray) and value.ndim:
        raise MlcError(f"{where}: takes {parameter}, an array is given")
    if parameter.kind == "s":
        content = value if isinstance(value, bytes) else np.asarray(value).tobytes()
    else:
        dtype = np.dtype(f"{parameter.kind}{parameter.bytes}")
        number = np.asarray(value)
        if number.dtype.kind not in ("fiub" if parameter.kind == "f" else "iub"):
            raise DTypeError(f"{where}: takes {parameter}, {value!r} is given")
        if parameter.kind != "f" and not np.iinfo(dtype).min <= int(number) <= np.iinfo(dtype).max:
            raise MlcError(f"{where}: takes {parameter}, and {value} is beyond it")
        content = number.astype(dtype).tobytes()
    if len(content) != parameter.bytes:
        raise MlcError(f"{where}: takes {parameter}, {len(content)} bytes are given")
    return ctypes.create_string_buffer(content, len(content))


def _require(where: str, parameter: Parameter, array: np.ndarray) -> None:
    size = array.dtype.itemsize
    whole = parameter.kind == "s" and size and parameter.bytes % size == 0  # float4 over an array of floats
    if parameter.bytes and parameter.bytes != size and not whole:
        raise DTypeError(f"{where}: takes {parameter}, the array has elements of {size} ({array.dtype})")
    if (
        parameter.kind == "f"
        and array.dtype.kind != "f"
        or parameter.kind in "iu"
        and size > 2
        and array.dtype.kind in "fc"
    ):
        raise DTypeError(f"{where}: takes {parameter}, the array is {array.dtype}")
    if not array.flags.c_contiguous:
        raise MlcError(
            f"{where}: the array is not row-major without gaps", remedy="Hand in numpy.ascontiguousarray(x)."
        )
    if not parameter.constant and not array.flags.writeable:
        raise MlcError(f"{where}: the kernel may write there, and the array is read-only")


def _parameter(raw: _Parameter) -> Parameter:
    kind = raw.kind.decode()
    if kind == "p":
        return Parameter(raw.pointee, raw.pointee_kind.decode(), True, raw.constant)
    return Parameter(raw.bytes, kind)


@cache
def load_runtime() -> ctypes.CDLL:
    """The runtime, where libraries of kernels find it: once in a process."""
    return _loaded(host_build.runtime_library(), ctypes.RTLD_GLOBAL)


def _loaded(content: bytes, mode: int) -> ctypes.CDLL:
    path = host_build.placed(content, ".so")
    try:
        return ctypes.CDLL(path, mode=mode)
    finally:
        os.unlink(path)
