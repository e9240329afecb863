"""nvcc, the compiler of NVIDIA's CUDA toolkit, as a process: a file of CUDA C becomes one fatbin with a cubin for each architecture and PTX."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from mlc.codegen.cuda.compiled import Compiled, refused, resources
from mlc.errors import TargetUnavailable

# -fmad=false: the text says where an fma is meant. Division and square root are exact by default.
OPTIONS = ("-std=c++17", "-O3", "-fmad=false", "-diag-suppress", "177")


class Nvcc:
    """nvcc at `path`."""

    def __init__(self, path: str):
        self.path = path
        self.name = f"nvcc ({_version(path)})"
        self.options = OPTIONS

    @staticmethod
    def find() -> Nvcc | None:
        """$NVCC where that is set; else on the PATH, or where toolkits are installed. Raises TargetUnavailable where $NVCC is no program."""
        named = os.environ.get("NVCC")
        if found := shutil.which(named) if named else shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc"):
            return Nvcc(found)
        if named:
            raise TargetUnavailable(
                f"target cuda needs nvcc, and NVCC={named} is no program",
                remedy="Name the nvcc of a CUDA toolkit, or unset NVCC: what is on the PATH is taken then, else NVRTC.",
            )
        return None

    def compile(self, text: str, archs: Sequence[str], denormals: str) -> Compiled:
        wanted = [f"-gencode=arch=compute_{arch.partition('_')[2]},code={arch}" for arch in archs]
        content, log = self._run(text, denormals, "fatbin", wanted)
        return Compiled({"fatbin": content}, resources(log), self.name)

    def one(self, text: str, arch: str, kind: str, denormals: str) -> bytes:
        """A "cubin" of an architecture, or "ptx" for it."""
        return self._run(text, denormals, kind, [f"-arch={arch}"])[0]

    def _run(self, text: str, denormals: str, kind: str, wanted: Sequence[str]) -> tuple[bytes, str]:
        with tempfile.TemporaryDirectory(prefix="mlc-") as folder:
            source, target = Path(folder) / "kernels.cu", Path(folder) / f"kernels.{kind}"
            source.write_text(text)
            flush = f"-ftz={'true' if denormals == 'flush' else 'false'}"
            command = [self.path, *OPTIONS, flush, *wanted, f"-{kind}", "-Xptxas", "-v", "-o", str(target), str(source)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
            if done.returncode:
                raise refused("nvcc", text, done.stderr.splitlines())
            return target.read_bytes(), done.stderr


@cache
def _version(path: str) -> str:
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else path
