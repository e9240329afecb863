"""Loads code for CPUs. What links and calls it is imported when there is something to load."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from mlc.ir.kernel.cpu_target import CpuTarget, identity
from mlc.runtime.artifact import Artifact

if TYPE_CHECKING:
    from mlc.runtime.cpu_machine import CpuMachine


class CpuLoader:
    """Of native code, which LLVM links in memory."""

    def target(self, facts: Mapping[str, Any]) -> CpuTarget:
        return CpuTarget(**facts)

    def lacking(self) -> list[str]:
        return []

    def load(self, artifact: Artifact, threads: int | None) -> CpuMachine:
        from mlc.runtime.cpu_machine import CpuMachine

        return CpuMachine(artifact, threads)

    def export_library(self, artifact: Artifact, path: str | PathLike[str], header: str | PathLike[str] | None) -> None:
        from mlc.runtime.library import export_library

        export_library(artifact, path, header)


def described(arch: str) -> str:
    """All that code for the CPU of that name depends on. Raises TargetUnavailable for other names."""
    return identity(arch)
