"""The loaders by the kind of machine that code is for: one table."""

from __future__ import annotations

from mlc.runtime.cpu_machine import CpuLoader
from mlc.runtime.cuda.cuda_machine import CudaLoader
from mlc.runtime.machines import Loader

LOADERS: dict[str, Loader] = {"cpu": CpuLoader(), "cuda": CudaLoader()}
