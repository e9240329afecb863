"""What is known of code at run time, by the kind of machine that it is for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mlc.runtime import cpu_loader
from mlc.runtime.cpu_loader import CpuLoader
from mlc.runtime.cuda import cuda_loader
from mlc.runtime.cuda.cuda_loader import CudaLoader

if TYPE_CHECKING:
    from mlc.runtime.machines import Loader

LOADERS: dict[str, Loader] = {"cpu": CpuLoader(), "cuda": CudaLoader()}
# What code for a machine of mlc's own kinds depends on besides mlc: the machine and a compiler, as text, by the machine's name.
DESCRIBED: dict[str, Callable[[str], str]] = {"cpu": cpu_loader.described, "cuda": cuda_loader.described}
