"""Files of CUDA C -> machine code, side by side, by nvcc or, where that is missing, by NVRTC; neither a driver nor a GPU is needed.

nvcc makes one fatbin of a file, with a cubin for each architecture and PTX that the driver compiles for later ones; of NVRTC these are files one
by one. What was compiled once is kept on disk by its text, the architectures, the options, the compiler and its version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from mlc.codegen.cuda.compiled import Compiled
from mlc.codegen.cuda.launches import Resources
from mlc.codegen.cuda.nvcc import Nvcc
from mlc.codegen.cuda.nvrtc import PACKAGE, Nvrtc
from mlc.codegen.llvm.cache import ObjectCache
from mlc.errors import TargetUnavailable
from mlc.ir.processors import available_cpus

Compiler = Nvcc | Nvrtc


def compiler() -> Compiler:
    """The one that $NVRTC names, nvcc ($NVCC, on the PATH, of a toolkit), or NVRTC where it is installed. Raises TargetUnavailable without any."""
    found = Nvrtc.named() or Nvcc.find() or Nvrtc.find()
    if found is None:
        raise TargetUnavailable(
            "target cuda needs a compiler of CUDA C, and there is neither nvcc nor NVRTC",
            remedy=f"pip install {PACKAGE} brings NVRTC. nvcc comes with NVIDIA's CUDA toolkit; NVCC=/path/to/nvcc names one."
            " --emit cuda writes CUDA C without either.",
        )
    return found


def compile_files(
    texts: Sequence[str], archs: Sequence[str], denormals: str = "flush", cache: ObjectCache | None = None
) -> list[Compiled]:
    """The machine code of files. Raises TargetUnavailable without a compiler, InternalError for a text that it refuses."""
    chosen = compiler()
    with ThreadPoolExecutor(max(1, min(len(texts), available_cpus()))) as pool:
        found = list(pool.map(lambda text: _known(chosen, text, archs, denormals, cache), texts))
    if cache is not None and not all(item.cached for item in found):
        cache.trim()
    return found


def compile_one(text: str, arch: str, kind: str, denormals: str = "flush") -> bytes:
    """One file as a "cubin" of an architecture, or as "ptx" text."""
    return compiler().one(text, arch, kind, denormals)


def _known(chosen: Compiler, text: str, archs: Sequence[str], denormals: str, cache: ObjectCache | None) -> Compiled:
    if cache is None:
        return chosen.compile(text, archs, denormals)
    parts = (chosen.name, *chosen.options, *archs, denormals, text)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    if (content := cache.get(key)) is not None:
        return _read(content, chosen.name)
    made = chosen.compile(text, archs, denormals)
    cache.put(key, _written(made))
    return made


def _written(made: Compiled) -> bytes:
    """A line that says what follows, and the codes one after the other."""
    rows = {s: {arch: asdict(row) for arch, row in found.items()} for s, found in made.resources.items()}
    head = {"sizes": {arch: len(code) for arch, code in made.code.items()}, "resources": rows}
    return json.dumps(head).encode() + b"\n" + b"".join(made.code.values())


def _read(content: bytes, compiler: str) -> Compiled:
    line, _, rest = content.partition(b"\n")
    head = json.loads(line)
    code, start = {}, 0
    for arch, size in head["sizes"].items():
        code[arch] = rest[start : start + size]
        start += size
    return Compiled(code, _resources(head["resources"]), compiler, cached=True)


def _resources(rows: Mapping[str, Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, Resources]]:
    return {symbol: {arch: Resources(**row) for arch, row in found.items()} for symbol, found in rows.items()}
