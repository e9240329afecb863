"""`mlc doctor --install-pycuda`: pycuda built from its source into this Python, with or without a driver on the machine.

There are no binary packages of pycuda, and its own build wants more than mlc needs: CURAND, and a libcuda to link against. Here it gets
    headers  cuda.h and cudaProfiler.h of a CUDA toolkit, or of the packages nvidia-cuda-runtime and nvidia-cuda-profiler-api
    a stub   a library called libcuda.so.1 that has every function of cuda.h and does nothing: the driver's own takes its place where pycuda is
             used. One without functions would not do, for the linker drops what it needs nothing of
    no CURAND
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlc.errors import TargetUnavailable

PACKAGES = "nvidia-cuda-runtime nvidia-cuda-profiler-api"
_FUNCTION = re.compile(r"\bCUresult\s+(?:CUDAAPI\s+)?(cu[A-Z]\w*)\s*\(")


def install() -> None:
    """Build and install pycuda; pip says how it goes. Raises TargetUnavailable where something is missing."""
    include = headers()
    if include is None:
        raise TargetUnavailable(
            "building pycuda needs cuda.h, and there is no CUDA toolkit here",
            remedy=f"{sys.executable} -m pip install {PACKAGES}   (or name a toolkit: CUDA_HOME=...)",
        )
    with tempfile.TemporaryDirectory(prefix="mlc-pycuda-") as name:
        folder = Path(name)
        write_stub(include, folder)
        settings = configuration(include, folder)
        home = _home(folder, settings)
        command = [sys.executable, "-m", "pip", "install", "--no-binary", "pycuda", "pycuda"]
        if subprocess.run(command, env={**os.environ, "HOME": str(home)}, check=False).returncode:
            raise TargetUnavailable(
                "pycuda was not built: pip's messages above say why", remedy="Its settings were:\n" + settings
            )


def headers() -> Path | None:
    """The folder of cuda.h: of $CUDA_HOME, a toolkit, or a package of NVIDIA's in this Python."""
    wanted = ("cuda.h", "cudaProfiler.h")
    return next((folder for folder in _include_folders() if all((folder / name).exists() for name in wanted)), None)


def _include_folders() -> Iterator[Path]:
    for root in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda", "/opt/cuda"):
        if root:
            yield Path(root) / "include"
    if nvcc := shutil.which("nvcc"):
        yield Path(nvcc).resolve().parent.parent / "include"
    packages = Path(sysconfig.get_paths()["purelib"]) / "nvidia"
    yield from sorted(packages.glob("cu*/include"), reverse=True)
    yield packages / "cuda_runtime" / "include"


def write_stub(include: Path, folder: Path) -> Path:
    """libcuda.so with the functions that cuda.h declares. Raises TargetUnavailable without a C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or shutil.which("g++") is None:
        raise TargetUnavailable("building pycuda needs gcc and g++", remedy="apt-get install g++ brings both.")
    declared = "#include <cuda.h>\n#include <cudaProfiler.h>\n"
    read = subprocess.run(
        [compiler, "-E", "-P", "-x", "c", "-I", str(include), "-"],
        input=declared,
        capture_output=True,
        text=True,
        check=False,
    )
    names = sorted(set(_FUNCTION.findall(read.stdout)))
    if read.returncode or "cuInit" not in names:
        raise TargetUnavailable(f"cuda.h in {include} cannot be read: {read.stderr.strip()[-300:]}")
    source, library = folder / "stub.c", folder / "libcuda.so"
    source.write_text("".join(f"int {name}(void) {{ return 100; }}\n" for name in names))
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-w", str(source), "-Wl,-soname,libcuda.so.1", "-o", str(library)], check=True
    )
    return library


def configuration(include: Path, folder: Path) -> str:
    """What pycuda's build reads from ~/.aksetup-defaults.py, and nowhere else."""
    return (
        f"CUDA_ROOT = {str(include.parent)!r}\n"
        f"CUDA_INC_DIR = [{str(include)!r}]\n"
        "CUDA_ENABLE_CURAND = False\n"
        f"CUDADRV_LIB_DIR = [{str(folder)!r}]\n"
    )


def _home(folder: Path, settings: str) -> Path:
    """A home folder with these settings, and all else as in the user's: pip has its own there."""
    home, own = folder / "home", ".aksetup-defaults.py"
    home.mkdir()
    for entry in Path.home().iterdir():
        if entry.name != own:
            (home / entry.name).symlink_to(entry)
    (home / own).write_text(settings)
    return home
