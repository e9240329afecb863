"""Shared libraries: `libmodel.so` with a C interface, weights in its read-only data, for programs without Python.

    export_library(exe.artifact, "libmodel.so", header="model.h")

Objects come from LLVM; putting them together is the one step that needs the system's linker.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mlc.codegen.llvm.interface import emit_interface, header_text
from mlc.codegen.llvm.object import compile_text
from mlc.codegen.llvm.threads import pool_text
from mlc.errors import MlcError, TargetUnavailable
from mlc.ir.files import replacing, require_path, write_text
from mlc.ir.kernel.cpu_target import CpuTarget
from mlc.ir.kernel.plan import ALIGNMENT
from mlc.runtime.artifact import Artifact
from mlc.runtime.binding import Solver


def export_library(
    artifact: Artifact, path: str | os.PathLike[str], header: str | os.PathLike[str] | None = None
) -> None:
    """Write a shared library, and the header that declares its functions. Each appears complete or not at all.

    The functions are called after the library: libmodel.so gives model_run. Raises TargetUnavailable without cc or ld.
    """
    path = require_path(path)
    if header is not None and os.path.realpath(require_path(header)) == os.path.realpath(path):
        raise MlcError(f"the header and the library have the same path, {path}", remedy="Name another for one.")
    name = library_name(path)
    plan, target = artifact.plan, cpu_target_of(artifact)
    if begins := [spec for spec in plan.outputs if spec.front is not None]:
        raise MlcError(
            f"a library keeps nothing between runs, and the output '{begins[0].name}' grows in the memory of '{begins[0].front}'",
            remedy="Compile without the pass grow-in-place.",
        )
    symbols = Solver(plan.inputs, plan).symbols
    linker = linker_found()
    with tempfile.TemporaryDirectory(prefix="mlc-") as folder:
        work = Path(folder)
        parts = [*parts_of(artifact, symbols, name, work), compile_text(pool_text(), target)]
        exported = [f"{name}_{what}" for what in ("run", "workspace", "shapes", "threads")]
        link(linker, work, parts, exported, path)
    if header is not None:
        write_text(header, header_text(plan, symbols, name))


def cpu_target_of(artifact: Artifact) -> CpuTarget:
    """What its code is for. Raises TargetUnavailable for another kind than CPUs."""
    if not isinstance(artifact.target, CpuTarget):
        raise TargetUnavailable(
            f"a shared library holds code for CPUs, and this executable is for {artifact.target.name}",
            remedy="Compile the model with target='cpu', or save a package.",
        )
    return artifact.target


def parts_of(artifact: Artifact, symbols: Sequence[str], name: str, work: Path) -> list[bytes]:
    """The objects of an executable, of its C interface, and of its weights; but for the pool of threads, which a library has once."""
    target, weights = cpu_target_of(artifact), work / f"{name}.bin"
    offsets = _write_weights(artifact, weights)
    interface = emit_interface(artifact.plan, symbols, name, artifact.entry, offsets)
    data = data_text(f"{name}_weights", weights)
    return [*artifact.objects, compile_text(interface, target), compile_text(data, target)]


def library_name(path: Path) -> str:
    """What the functions of a library are called after: libmy-model.so -> my_model."""
    name = re.sub(r"\W", "_", path.name.split(".")[0].removeprefix("lib"), flags=re.ASCII)
    return name if re.match(r"[A-Za-z]", name) else f"model_{name}".rstrip("_")


def linker_found() -> list[str]:
    """The command that links shared libraries here. CC is taken where it is set."""
    for command in (os.environ.get("CC"), "cc", "gcc", "clang", "ld"):
        if command and (found := shutil.which(command)):
            return [os.path.abspath(found)]
    raise TargetUnavailable(
        "a shared library needs a linker, and there is neither cc nor ld on the PATH",
        remedy="Install one: apt-get install binutils (or gcc), dnf install binutils. A package (.mlc) needs none.",
    )


def link(linker: list[str], work: Path, parts: Sequence[bytes], exported: Sequence[str], path: Path) -> None:
    """Write the library of these objects, of which it shows the functions `exported`. The linker works in the folder `work`, so that what it says
    names no folder that is gone."""
    files = [f"{number}.o" for number in range(len(parts))]
    for file, content in zip(files, parts, strict=True):
        (work / file).write_bytes(content)
    (work / "exports").write_text(f"{{ global: {'; '.join(exported)}; local: *; }};\n")
    # the threads of the pool wait in this code: nodelete keeps it where a program closes the library
    options = ["--version-script", "exports", "-z", "nodelete", "-z", "noexecstack"]
    direct = Path(linker[0]).name.endswith("ld")
    if not direct:
        options = [f"-Wl,{','.join(options[i : i + 2])}" for i in range(0, len(options), 2)]
    libraries = ["-lm", "-lpthread", "-lc"]
    command = [*linker, "-shared", "-o", "library.so", *options, *files, *libraries]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TargetUnavailable(
            f"{linker[0]} cannot link the library (exit status {done.returncode})",
            remedy=(done.stderr.strip() or done.stdout.strip())[-2000:],
        )
    with replacing(path, mode=0o755) as temporary:
        shutil.copyfile(work / "library.so", temporary)


def _write_weights(artifact: Artifact, path: Path) -> list[int]:
    """All weights in one file, each on a vector boundary; where each begins."""
    offsets = []
    with path.open("wb") as file:
        for array in artifact.weights.values():
            offsets.append(file.tell())
            file.write(array.tobytes() if not array.flags.c_contiguous else array.reshape(-1).view("u1").data)
            file.write(bytes(-file.tell() % ALIGNMENT))
        file.write(bytes(ALIGNMENT))  # the last may be read in whole vectors
    return offsets


def data_text(symbol: str, path: Path) -> str:
    """LLVM's assembler copies the file into read-only data, where the symbol says."""
    quoted = str(path).replace("\\", "\\\\").replace('"', '\\"')
    lines = [
        '.section .rodata.weights,"a",@progbits',
        f".balign {ALIGNMENT}",
        f".globl {symbol}",
        f".hidden {symbol}",
        f"{symbol}:",
        f'.incbin "{quoted}"',
    ]
    return "\n".join('module asm "' + line.replace("\\", "\\5C").replace('"', "\\22") + '"' for line in lines) + "\n"
