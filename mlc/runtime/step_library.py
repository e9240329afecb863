"""Shared libraries that train: `libstep.so` with a C interface, the state that a step begins with in its read-only data.

    export_step(train, evaluate, kept, state, "libstep.so", header="step.h")

The functions around the native code are C (codegen/c/step_interface.py), so that this takes a C compiler, where a library that infers needs a linker.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlc.codegen.c.step_interface import FUNCTIONS, Part, Side, State, header_text, source_text
from mlc.codegen.llvm.object import compile_text
from mlc.codegen.llvm.threads import pool_text
from mlc.errors import MlcError, TargetUnavailable
from mlc.ir.dtypes import BY_SAFETENSORS
from mlc.ir.files import require_path, write_text
from mlc.runtime.artifact import Artifact
from mlc.runtime.binding import Solver
from mlc.runtime.library import cpu_target_of, data_text, library_name, link, linker_found, parts_of


def export_step(
    train: Artifact,
    evaluate: Artifact,
    kept: Sequence[str],
    state: Path,
    path: str | os.PathLike[str],
    header: str | os.PathLike[str] | None = None,
) -> None:
    """Write a shared library, and the header that declares its functions. Each appears complete or not at all.

    train     a step whose first inputs are the parts of the state, and whose results live there, or are for the caller
    evaluate  what runs on the same state: its first inputs are the parts called `kept`
    state     a safetensors file: the parts in the order of the step's inputs

    The functions are called after the library: libstep.so gives step_train. Raises TargetUnavailable without a C compiler.
    """
    path = require_path(path)
    if header is not None and os.path.realpath(require_path(header)) == os.path.realpath(path):
        raise MlcError(f"the header and the library have the same path, {path}", remedy="Name another for one.")
    name, found, target = library_name(path), _state(state), cpu_target_of(train)
    numbers = {part.name: number for number, part in enumerate(found.parts)}
    sides = {
        "mlc_train": _side(train, range(len(numbers))),
        "mlc_evaluate": _side(evaluate, [numbers[each] for each in kept]),
    }
    compiler = _compiler()
    with tempfile.TemporaryDirectory(prefix="mlc-") as folder:
        work = Path(folder)
        parts = [compile_text(pool_text(), target), compile_text(data_text("mlc_initial", state), target)]
        for artifact, (what, side) in zip((train, evaluate), sides.items(), strict=True):
            parts += parts_of(artifact, side.symbols, what, work)
        declared = header_text(name, found, *sides.values())
        parts.append(_compiled(compiler, work, name, source_text(name, found, *sides.values()), declared))
        # kernels that both have are equal: their names are made from what they do
        link(compiler, work, list(dict.fromkeys(parts)), [f"{name}_{what}" for what in FUNCTIONS], path)
    if header is not None:
        write_text(header, declared)


def _side(artifact: Artifact, kept: Sequence[int]) -> Side:
    return Side(artifact.plan, tuple(Solver(artifact.plan.inputs, artifact.plan).symbols), tuple(kept))


def _state(path: Path) -> State:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        rows: Mapping[str, dict[str, object]] = json.loads(file.read(length))
    parts = []
    for name, row in rows.items():
        if "data_offsets" not in row or name.startswith("__padding__."):
            continue
        begin, end = row["data_offsets"]  # type: ignore[misc]  # two numbers
        parts.append(Part(name, BY_SAFETENSORS[row["dtype"]], tuple(row["shape"]), begin, end - begin))  # type: ignore
    return State(tuple(parts), 8 + length, path.stat().st_size - 8 - length)


def _compiler() -> list[str]:
    command = linker_found()
    if Path(command[0]).name.endswith("ld"):
        raise TargetUnavailable(
            "a library that trains needs a C compiler, and there is none on the PATH",
            remedy="Install one: apt-get install gcc libc6-dev, dnf install gcc. A package (.mlc) needs none.",
        )
    return command


def _compiled(compiler: list[str], work: Path, name: str, source: str, header: str) -> bytes:
    (work / f"{name}.h").write_text(header)
    (work / f"{name}.c").write_text(source)
    command = [*compiler, "-std=c11", "-O2", "-fPIC", "-c", f"{name}.c", "-o", f"{name}.o"]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TargetUnavailable(
            f"{compiler[0]} cannot compile the functions of the library (exit status {done.returncode})",
            remedy=(done.stderr.strip() or done.stdout.strip())[-2000:],
        )
    return (work / f"{name}.o").read_bytes()
