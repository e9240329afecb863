"""The loaders by the kind of machine that code is for: one table."""

from __future__ import annotations

from mlc.runtime.compiled_only import CompiledOnlyLoader
from mlc.runtime.cpu_machine import CpuLoader
from mlc.runtime.machines import Loader

LOADERS: dict[str, Loader] = {"cpu": CpuLoader(), "cuda": CompiledOnlyLoader()}
