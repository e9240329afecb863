"""Files of CUDA C -> machine code, by nvcc in processes side by side; neither a driver nor a GPU is needed.

A file becomes one fatbin with a cubin for each architecture, and PTX that the driver compiles for later ones. What was compiled once is kept
on disk by its text, the architectures, the options and nvcc's version.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from mlc.codegen.cuda.launches import Resources
from mlc.codegen.llvm.cache import ObjectCache
from mlc.errors import InternalError, TargetUnavailable
from mlc.ir.processors import available_cpus

# -fmad=false: the text says where an fma is meant. Division and square root are exact by default.
OPTIONS = ("-std=c++17", "-O3", "-fmad=false", "-diag-suppress", "177")
_SUFFIXES = {"fatbin": ".fatbin", "cubin": ".cubin", "ptx": ".ptx"}


@dataclass(frozen=True)
class Compiled:
    """The code of one file, and what each of its functions takes on each architecture; whether it was `cached`."""

    content: bytes
    resources: Mapping[str, Mapping[str, Resources]]  # symbol -> architecture -> what it takes
    cached: bool = False


def compile_files(
    texts: Sequence[str], archs: Sequence[str], denormals: str = "flush", cache: ObjectCache | None = None
) -> list[Compiled]:
    """The fatbins of files. Raises TargetUnavailable without nvcc, InternalError for a text that it refuses."""
    with ThreadPoolExecutor(max(1, min(len(texts), available_cpus()))) as pool:
        found = list(pool.map(lambda text: _known(text, archs, denormals, "fatbin", cache), texts))
    if cache is not None and not all(item.cached for item in found):
        cache.trim()
    return found


def compile_one(text: str, arch: str, kind: str, denormals: str = "flush") -> bytes:
    """One file as a "cubin" of an architecture, or as "ptx" text."""
    return _compiled(text, [arch], denormals, kind).content


def require_nvcc() -> str:
    """The path of nvcc: $NVCC where that is set; else on the PATH, or where toolkits are installed. Raises TargetUnavailable."""
    named = os.environ.get("NVCC")
    if found := shutil.which(named) if named else shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc"):
        return found
    if named:
        raise TargetUnavailable(
            f"target cuda needs nvcc, and NVCC={named} is no program",
            remedy="Name the nvcc of a CUDA toolkit, or unset NVCC and have it on the PATH.",
        )
    raise TargetUnavailable(
        "target cuda needs nvcc, the compiler of NVIDIA's CUDA toolkit, and there is none",
        remedy="Install it, or name it with NVCC=/path/to/nvcc. --emit cuda writes CUDA C without one.",
    )


@cache
def version(nvcc: str) -> str:
    done = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else nvcc


def _known(text: str, archs: Sequence[str], denormals: str, kind: str, cache: ObjectCache | None) -> Compiled:
    if cache is None:
        return _compiled(text, archs, denormals, kind)
    parts = (version(require_nvcc()), *OPTIONS, *archs, denormals, kind, text)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    if (content := cache.get(key)) is not None:
        head, _, code = content.partition(b"\n")
        return Compiled(code, _read(json.loads(head)), cached=True)
    made = _compiled(text, archs, denormals, kind)
    rows = {s: {arch: asdict(row) for arch, row in found.items()} for s, found in made.resources.items()}
    cache.put(key, json.dumps(rows).encode() + b"\n" + made.content)
    return made


def _read(rows: Mapping[str, Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, Resources]]:
    return {symbol: {arch: Resources(**row) for arch, row in found.items()} for symbol, found in rows.items()}


def _compiled(text: str, archs: Sequence[str], denormals: str, kind: str) -> Compiled:
    nvcc = require_nvcc()
    with tempfile.TemporaryDirectory(prefix="mlc-") as folder:
        source, target = Path(folder) / "kernels.cu", Path(folder) / f"kernels{_SUFFIXES[kind]}"
        source.write_text(text)
        wanted = [f"-gencode=arch=compute_{_number(arch)},code={arch}" for arch in archs]
        if kind != "fatbin":
            wanted = [f"-arch={archs[0]}"]
        command = [nvcc, *OPTIONS, f"-ftz={'true' if denormals == 'flush' else 'false'}", *wanted, f"-{kind}"]
        done = subprocess.run(
            [*command, "-Xptxas", "-v", "-o", target, source], capture_output=True, text=True, check=False, cwd=folder
        )
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
            kept = Path(tempfile.mkdtemp(prefix="mlc-")) / "kernels.cu"
            kept.write_text(text)
            raise InternalError(f"nvcc refuses generated CUDA C ({kept}): {'; '.join(lines[:3])}")
        return Compiled(target.read_bytes(), resources(done.stderr))


def _number(arch: str) -> str:
    return arch.partition("_")[2]


_ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")


def resources(log: str) -> dict[str, dict[str, Resources]]:
    """What `ptxas -v` says of each function, by architecture."""
    found: dict[str, dict[str, Resources]] = {}
    symbol, arch, stack, spills = "", "", 0, 0
    for line in log.splitlines():
        if match := _ENTRY.search(line):
            symbol, arch = match.groups()
        elif match := _STACK.search(line):
            stack, spills = int(match[1]), int(match[2]) + int(match[3])
        elif (match := _USED.search(line)) and symbol:
            found.setdefault(symbol, {})[arch] = Resources(int(match[1]), spills, stack, int(match[2] or 0))
    return found
