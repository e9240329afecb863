"""CUDA C text to a shared object or a program of this machine, by g++; kept in mlc's cache by the text, the flags and what they are compiled with.

The text is compiled as it stands, behind mlc/testing/host/mlc_host.h. The runtime that executes blocks is compiled once, apart.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import mlc.codegen.cuda
from mlc.codegen.llvm.cache import ObjectCache
from mlc.errors import InternalError, MlcError, TargetUnavailable

HOST = Path(__file__).parent / "host"
DEVICE = Path(mlc.codegen.cuda.__file__).parent
RUNTIME = ("fibers.cpp", "blocks.cpp", "warps.cpp", "copies.cpp")

_FLAGS = (
    "-std=c++17",
    "-fPIC",
    "-fno-gnu-unique",  # kernels of one name in two libraries are two
    "-fno-strict-aliasing",
    "-ffp-contract=off",
    "-Wall",
    "-Wno-unknown-pragmas",
    "-Wno-unused",
)
_BOUNDS = r"__launch_bounds__\s*\(((?:[^()]|\([^()]*\))*)\)"
_KERNEL = re.compile(rf"__global__\b(?:\s*{_BOUNDS})?\s+(?:static\s+)?void\b(?:\s*{_BOUNDS})?\s*(\w+)\s*\(")
_DYNAMIC = re.compile(
    r"\bextern\s+__shared__\s+(?:__align__\(\d+\)\s+|alignas\(\d+\)\s+)?([\w\s]+?)\s*(\w+)\s*\[\s*\]\s*;"
)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL)


class CompileFault(MlcError):
    """The text is no CUDA C that g++ takes as C++: its messages, with the lines of the text."""


def available() -> str | None:
    """None where kernels can run here; else why they cannot, in words."""
    if not shutil.which("g++"):
        return "g++ is not installed"
    return None if platform.system() == "Linux" else f"the runtime is for Linux, this is {platform.system()}"


def kernels_of(text: str) -> dict[str, str]:
    """The kernels that a text defines: name -> what `__launch_bounds__` says, "1024" where it says nothing."""
    plain = _COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    return {match[3]: match[1] or match[2] or "1024" for match in _KERNEL.finditer(plain)}


def shared_object(text: str, defines: Sequence[str] = ()) -> bytes:
    """A library of the kernels, whose runtime is loaded beside it. Raises CompileFault, TargetUnavailable."""
    flags = ("-O2", *processor_flags(), *defines)
    return _kept(
        ("shared", _exported(text), *flags), lambda folder: _link(folder, [_compiled(text, flags)], ["-shared"])
    )


def metered_object(text: str, defines: Sequence[str] = ()) -> bytes:
    """The same, with a call of meter.cpp before each access: the compiler has put ThreadSanitizer's there, which is not linked."""
    flags = ("-O1", "-g1", "-fsanitize=thread", "-fno-tree-sra", *defines)  # vectors stay whole

    def make(folder: Path) -> bytes:
        return _link(folder, [_compiled(text, flags), _runtime("meter.cpp", ())], ["-shared"])

    return _kept(("metered", _exported(text), *flags), make)


def program(text: str, flags: Sequence[str], runtime: Sequence[str]) -> bytes:
    """A program that launches a kernel by its name: main.cpp reads the arguments. `runtime`: flags of the runtime alone."""

    def make(folder: Path) -> bytes:
        objects = [_compiled(text, flags), *(_runtime(name, runtime) for name in (*RUNTIME, "main.cpp"))]
        return _link(folder, objects, ["-rdynamic", *(flag for flag in flags if flag.startswith("-fsanitize"))])

    return _kept(("program", _exported(text), *flags, *runtime), make)


@cache
def runtime_library() -> bytes:
    """What executes blocks: the symbols that the library of a kernel leaves open."""
    return _kept(("runtime",), lambda folder: _link(folder, [_runtime(name, ()) for name in RUNTIME], ["-shared"]))


def processor_flags() -> tuple[str, ...]:
    """Instructions that this machine has: fused multiply-add in one of them."""
    return ("-march=x86-64-v3",) if {"avx2", "fma", "f16c", "bmi2"} <= _cpu_flags() else ()


@cache
def _cpu_flags() -> frozenset[str]:
    try:
        found = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return frozenset()
    return frozenset(found[1].split()) if found else frozenset()


# How it is made ------------------------------------------------------------------------------------------------------
def _exported(text: str) -> str:
    """The text with what launches find its kernels by. Lines keep their numbers."""

    def shared(match: re.Match[str]) -> str:
        return f"{match[1]} *const &{match[2]} = reinterpret_cast<{match[1]} *const &>(mlc_host_block_now.shared);"

    lines = [f"MLC_HOST_KERNEL({name}, {bounds})" for name, bounds in kernels_of(text).items()]
    return "\n".join([_DYNAMIC.sub(shared, text), *lines, ""])


def _compiled(text: str, flags: Sequence[str]) -> bytes:
    def make(folder: Path) -> bytes:
        source = folder / "kernel.cu"
        source.write_text(_exported(text))
        return _g_plus_plus(
            folder,
            [
                *_FLAGS,
                "-fvisibility=hidden",
                *flags,
                "-I",
                HOST,
                "-I",
                DEVICE,
                "-include",
                "mlc_host.h",
                "-x",
                "c++",
                "-c",
                source,
            ],
            text,
        )

    return _kept(("kernel", _exported(text), *flags), make)


def _runtime(name: str, flags: Sequence[str]) -> bytes:
    """Not under a sanitizer: it tells them itself what it does for kernels."""
    options: list[str | Path] = [*_FLAGS, "-O3", *processor_flags(), *flags, "-I", HOST, "-c", HOST / name]
    return _kept(("part", name, *map(str, options)), lambda folder: _g_plus_plus(folder, options))


def _link(folder: Path, objects: Sequence[bytes], options: Sequence[str]) -> bytes:
    for number, content in enumerate(objects):
        (folder / f"{number}.o").write_bytes(content)
    return _g_plus_plus(folder, [*(folder / f"{number}.o" for number in range(len(objects))), *options])


def _g_plus_plus(folder: Path, options: Sequence[str | Path], text: str | None = None) -> bytes:
    out = folder / "out"
    plain = os.environ | {"LC_ALL": "C"}  # messages in English and ASCII
    done = subprocess.run(
        ["g++", *map(str, options), "-o", str(out)], capture_output=True, text=True, check=False, env=plain
    )
    if done.returncode:
        said = done.stderr.replace(f"{folder}/", "").strip()
        if text is None:
            raise InternalError(f"g++ refuses the runtime of kernels: {said[-2000:]}")
        raise CompileFault(
            f"g++ refuses the CUDA C:\n{said[-4000:]}",
            remedy="What there is of CUDA on a CPU: mlc/testing/host/mlc_host.h.",
        )
    return out.read_bytes()


def _kept(parts: Sequence[str], make: Callable[[Path], bytes]) -> bytes:
    cache = ObjectCache()
    digest = hashlib.sha256("\0".join((*parts, _basis())).encode()).hexdigest()
    content = cache.get(digest)
    if content is None:
        with tempfile.TemporaryDirectory(prefix="mlc-") as folder:
            content = make(Path(folder))
        cache.put(digest, content)
    return content


@cache
def _basis() -> str:
    """What every key holds: the compiler, and every file that a kernel is compiled with."""
    if why := available():
        raise TargetUnavailable(
            f"CUDA C cannot run on this machine: {why}", remedy="apt-get install g++ brings the compiler."
        )
    version = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    files = sorted(path for path in HOST.iterdir() if path.is_file())
    digest = hashlib.sha256()
    for path in [*files, DEVICE / "device.cuh", Path(__file__)]:  # this file has the flags
        digest.update(path.read_bytes())
    return f"{version}\0{digest.hexdigest()}"


def placed(content: bytes, suffix: str) -> str:
    """A file with this content, for a loader; whoever loads it removes it."""
    handle, name = tempfile.mkstemp(prefix="mlc-", suffix=suffix)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    return name
