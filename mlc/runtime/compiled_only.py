"""Code that this version of mlc compiles and saves, and does not run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any

import numpy as np

from mlc.errors import TargetUnavailable
from mlc.ir.kernel.cuda_target import CudaTarget
from mlc.runtime.arrays import in_place
from mlc.runtime.artifact import Artifact
from mlc.runtime.binding import Binding
from mlc.runtime.machines import Run, Workspace
from mlc.runtime.space import HOST


class CompiledOnly:
    """A machine whose calls say that they cannot be."""

    threads, grain, space = 1, 1 << 30, HOST

    def __init__(self, artifact: Artifact):
        self.target, self.plan = artifact.target, artifact.plan
        self.read(artifact.weights.__getitem__)

    def read(self, get: Callable[[str], np.ndarray]) -> None:
        self.weights = {key: in_place(get(key)) for key in self.plan.weights}

    def workspace(self) -> Workspace:
        return Workspace(len(self.plan.inputs), len(self.plan.outputs))

    def arena(self, workspace: Workspace) -> np.ndarray:
        raise self._unavailable()

    def run(self, workspace: Any, binding: Binding, table: Any) -> None:
        raise self._unavailable()

    def timed(self) -> tuple[Run, Any]:
        raise self._unavailable()

    def _unavailable(self) -> TargetUnavailable:
        return TargetUnavailable(
            f"code for {self.target.name} does not run here: this version of mlc compiles for GPUs and has no runtime for them",
            remedy="Save it with exe.save, or compile for target cpu.",
        )


class CompiledOnlyLoader:
    def target(self, facts: Mapping[str, Any]) -> CudaTarget:
        return CudaTarget(**facts)

    def load(self, artifact: Artifact, threads: int | None) -> CompiledOnly:
        return CompiledOnly(artifact)

    def export_library(self, artifact: Artifact, path: str | PathLike[str], header: str | PathLike[str] | None) -> None:
        raise TargetUnavailable(
            "target cuda writes no shared library with an interface", remedy="--emit cuda writes its kernels."
        )
