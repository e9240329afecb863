"""`mlc doctor`: what this installation can do, one line per capability, and how to get what is missing."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

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
    parser.epilog = "Exit code 4 where native code for this machine cannot be made."
    parser.examples(
        "mlc doctor --json",
    )


def run(args: argparse.Namespace, console: Console) -> int:
    import mlc

    findings = [*_packages(), _cpu(), _cache(), _linker(), _cuda(), _onnxruntime()]
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


def _cuda() -> Finding:
    parts = []
    if importlib.util.find_spec("pycuda") is None:
        parts.append("pycuda not installed")
    nvcc = shutil.which("nvcc")
    parts.append(f"nvcc: {nvcc}" if nvcc else "no nvcc")
    return Finding(
        "cuda", False, f"this version of mlc compiles for GPUs and has no runtime for them yet ({', '.join(parts)})"
    )


def _onnxruntime() -> Finding:
    purpose = "only needed for --verify=onnxruntime and bench --against onnxruntime"
    try:
        return Finding("onnxruntime", True, f"{version('onnxruntime')} ({purpose})")
    except PackageNotFoundError:
        return Finding("onnxruntime", False, f"not installed ({purpose})", "pip install onnxruntime")
