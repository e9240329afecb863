"""NVRTC, the library of NVIDIA's compiler, by ctypes: a file of CUDA C becomes a cubin for each architecture and PTX, without a CUDA toolkit.

It has no headers: of <stdint.h> and <math.h> it is given what emitted files use. Only the library's own tables need to be loaded before it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mlc.codegen.cuda.compiled import Compiled, refused, resources
from mlc.errors import InternalError, TargetUnavailable

PACKAGE = "nvidia-cuda-nvrtc"
# As nvcc's in nvcc.py; ptxas optimises by default.
OPTIONS = ("--std=c++17", "--fmad=false", "--diag-suppress=177", "--ptxas-options=-v")
HEADER = """\
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fc00000)
"""
_INVALID_OPTION, _COMPILATION = 5, 6  # of nvrtcResult


class Nvrtc:
    """The library at `path`. Raises TargetUnavailable where it cannot be loaded."""

    def __init__(self, path: Path):
        self.path = path
        self._library = _loaded(path)
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        self.version = f"{major.value}.{minor.value}"
        self.name = f"NVRTC {self.version}"
        self.options = OPTIONS

    @staticmethod
    def named() -> Nvrtc | None:
        """The library that $NVRTC names. Raises TargetUnavailable where there is none."""
        if not (place := os.environ.get("NVRTC")):
            return None
        if not Path(place).is_file():
            raise TargetUnavailable(
                f"NVRTC={place} names no file", remedy="NVRTC is the path of the library, as in .../lib/libnvrtc.so.13."
            )
        return Nvrtc(Path(place))

    @staticmethod
    def find() -> Nvrtc | None:
        """That of the package nvidia-cuda-nvrtc, or of a toolkit."""
        return Nvrtc(path) if (path := next(_installed(), None)) is not None else None

    def compile(self, text: str, archs: Sequence[str], denormals: str) -> Compiled:
        code, logs = {}, []
        for arch in archs:
            content, log = self._run(text, arch, denormals, "cubin" if arch.startswith("sm_") else "ptx")
            code[arch] = content
            logs.append(log)
        return Compiled(code, resources("\n".join(logs)), self.name)

    def one(self, text: str, arch: str, kind: str, denormals: str) -> bytes:
        """A "cubin" of an architecture, or "ptx" for it."""
        wanted = arch if kind == "cubin" else arch.replace("sm_", "compute_")
        return self._run(text, wanted, denormals, kind)[0].rstrip(b"\0" if kind == "ptx" else b"")

    def _run(self, text: str, arch: str, denormals: str, kind: str) -> tuple[bytes, str]:
        """Code and log. PTX ends in a zero byte, as the driver wants it."""
        flush = f"--ftz={'true' if denormals == 'flush' else 'false'}"
        options = [option.encode() for option in (*OPTIONS, flush, f"--gpu-architecture={arch}")]
        program = ctypes.c_void_p()
        headers = [(ctypes.c_char_p * 1)(content) for content in (HEADER.encode(), b"stdint.h")]
        self._call("nvrtcCreateProgram", ctypes.byref(program), text.encode(), b"kernels.cu", 1, *headers)
        try:
            code = self._library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
            log = self._text("nvrtcGetProgramLog", program).rstrip(b"\0").decode(errors="replace")
            if code == _INVALID_OPTION:
                raise TargetUnavailable(
                    f"{self.name} does not compile for {arch}: {log.strip()}",
                    remedy=f"Name other architectures with --arch, or get a later one: pip install -U {PACKAGE}",
                )
            if code == _COMPILATION:
                raise refused(self.name, text, log.splitlines())
            self._check("nvrtcCompileProgram", code)
            return self._text("nvrtcGetCUBIN" if kind == "cubin" else "nvrtcGetPTX", program), log
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _text(self, function: str, program: ctypes.c_void_p) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"{function}Size", program, ctypes.byref(size))
        content = ctypes.create_string_buffer(size.value)
        self._call(function, program, content)
        return content.raw

    def _call(self, function: str, *arguments: Any) -> None:
        self._check(function, getattr(self._library, function)(*arguments))

    def _check(self, function: str, code: int) -> None:
        if code:
            words = self._library.nvrtcGetErrorString
            words.restype = ctypes.c_char_p
            raise InternalError(f"{function} of {self.path} fails with {code}: {words(code).decode()}")


@cache
def _loaded(path: Path) -> ctypes.CDLL:
    """The library. The one with its tables comes first, since the loader would look for that in the system's folders only."""
    try:
        for tables in sorted(path.parent.glob("libnvrtc-builtins.so*")):
            ctypes.CDLL(str(tables), mode=ctypes.RTLD_GLOBAL)
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise TargetUnavailable(
            f"NVRTC at {path} cannot be loaded: {error}", remedy=f"Install it anew: pip install {PACKAGE}"
        ) from error


def _installed() -> Iterator[Path]:
    package = importlib.util.find_spec("nvidia")
    places = package.submodule_search_locations if package is not None else None
    found = [path for place in places or () for path in Path(place).glob("*/lib/libnvrtc.so.*")]
    yield from sorted(found, key=_major, reverse=True)
    yield from Path("/usr/local/cuda/lib64").glob("libnvrtc.so.*")


def _major(path: Path) -> int:
    """13 of libnvrtc.so.13"""
    number = path.name.removeprefix("libnvrtc.so.").partition(".")[0]
    return int(number) if number.isdigit() else 0
