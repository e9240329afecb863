"""The driver that is not there, and executables on it."""

from __future__ import annotations

import gc
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from mlc.codegen.cuda import cuda_generator
from mlc.codegen.cuda.compiled import Compiled
from mlc.ir import gpus
from mlc.runtime.artifact import Artifact
from mlc.runtime.cuda import driver as cuda_driver
from mlc.runtime.executable import Executable
from tests.runtime.cuda import cuda_programs, stand_in


@pytest.fixture(scope="module")
def loaded() -> Iterator[stand_in.StandIn]:
    if shutil.which("g++") is None:
        pytest.skip("needs g++, which compiles CUDA C for the CPU")
    if stand_in.LOADED is None and stand_in.real_driver():
        pytest.skip("this machine has an NVIDIA driver: tests marked gpu run on it")
    gpus.driver.cache_clear()
    with stand_in.loaded() as found:
        yield found
    cuda_driver.forget()
    gpus.driver.cache_clear()  # else tests marked gpu would take the one of the stand-in for a GPU


@pytest.fixture
def driver(loaded: stand_in.StandIn) -> Iterator[stand_in.StandIn]:
    """The stand-in, as good as new. What a test leaves allocated or lets go of outside of its context fails it."""
    gc.collect()
    loaded.reset()
    cuda_driver.forget()
    before = loaded.allocations
    yield loaded
    gc.collect()
    shape = sys.modules.get("pycuda.driver")
    lost, failed = getattr(shape, "lost", 0), loaded.failed
    if shape is not None and lost:
        shape.lost = 0
    assert failed or (loaded.allocations, lost) == (before, 0)


@pytest.fixture
def run(driver: stand_in.StandIn) -> Callable[[Artifact], Executable]:
    return Executable


@pytest.fixture
def cuda(driver: stand_in.StandIn, monkeypatch: pytest.MonkeyPatch) -> stand_in.StandIn:
    """Target cuda makes code that the stand-in runs: g++ takes nvcc's place."""

    def compile_files(texts: Sequence[str], *_: object) -> list[Compiled]:
        with ThreadPoolExecutor(2) as pool:
            return [Compiled({"fatbin": content}, {}) for content in pool.map(cuda_programs.image, texts)]

    monkeypatch.setattr(cuda_generator, "compile_files", compile_files)
    return driver
