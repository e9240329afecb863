"""Loads code for NVIDIA GPUs. What talks to the driver is imported when there is something to load."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from mlc.errors import TargetUnavailable
from mlc.ir import gpus
from mlc.ir.kernel.cuda_target import CudaTarget, cuda_target
from mlc.runtime.artifact import Artifact

if TYPE_CHECKING:
    from mlc.runtime.cuda.cuda_machine import CudaMachine


class CudaLoader:
    """Of fatbins and a table of their launches (mlc/codegen/cuda/launches.py)."""

    def target(self, facts: Mapping[str, Any]) -> CudaTarget:
        return CudaTarget(**facts)

    def lacking(self) -> list[str]:
        found = gpus.driver()
        gpu = [] if found.gpus else ["NVIDIA GPU" if found.present else "NVIDIA driver"]
        return gpu + ([] if importlib.util.find_spec("pycuda") else ["pycuda"])

    def load(self, artifact: Artifact, threads: int | None) -> CudaMachine:
        from mlc.runtime.cuda.cuda_machine import CudaMachine

        return CudaMachine(artifact)

    def export_library(self, artifact: Artifact, path: str | PathLike[str], header: str | PathLike[str] | None) -> None:
        raise TargetUnavailable(
            "target cuda writes no shared library", remedy="--emit cuda writes its kernels; a package runs from Python."
        )


def described(arch: str) -> str:
    """All that code for GPUs of that name depends on, the compiler too. Raises TargetUnavailable for other names, and without a compiler."""
    from mlc.codegen.cuda.machine_code import compiler

    chosen = compiler()
    return f"{cuda_target(arch)!r} {chosen.name} {chosen.options}"
