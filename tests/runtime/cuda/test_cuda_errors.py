"""What is missing, too large, for another GPU, or broken is said in words, and what to do about it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import mlc
from mlc.codegen.cuda.launches import LaunchTable
from mlc.ir import gpus
from mlc.runtime.artifact import Artifact
from mlc.runtime.cuda import driver as cuda_driver
from mlc.runtime.cuda.cuda_loader import CudaLoader
from mlc.runtime.cuda.cuda_machine import runs_on
from mlc.runtime.cuda.device_arrays import to_device
from mlc.runtime.executable import Executable
from tests.runtime.cuda import cuda_programs
from tests.runtime.cuda.stand_in import StandIn

Run = Callable[[Artifact], Executable]
OUT_OF_MEMORY, NO_DEVICE, UNSUPPORTED_PTX, INVALID_VALUE, ILLEGAL_ADDRESS, LAUNCH_FAILED = 2, 100, 222, 1, 700, 719
X = np.arange(6, dtype=np.float32)


def test_code_runs_on_the_gpus_it_is_for() -> None:
    assert [c for c in (75, 80, 86, 89, 90, 100) if runs_on("sm_80", c)] == [80, 86, 89]
    assert [c for c in (75, 80, 86, 89, 90, 100) if runs_on("sm_86", c)] == [86, 89]
    assert [c for c in (80, 89, 90, 100) if runs_on("sm_90a", c)] == [90]
    assert [c for c in (75, 80, 86, 90, 100) if runs_on("compute_80", c)] == [80, 86, 90, 100]


def test_without_pycuda_running_says_what_to_install(driver: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    exe = Executable(cuda_programs.two_steps())
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(mlc.TargetUnavailable, match=r"not installed(.|\n)*mlc doctor --install-pycuda"):
        exe(X)


def test_without_a_gpu_running_says_so(driver: StandIn) -> None:
    exe = Executable(cuda_programs.two_steps())
    driver.machine(devices=0)
    with pytest.raises(mlc.TargetUnavailable, match="shows no GPU"):
        exe(X)
    driver.reset()
    driver.fail("cuInit", NO_DEVICE)
    with pytest.raises(mlc.TargetUnavailable, match="does not start: .*no CUDA-capable device"):
        exe(X)
    np.testing.assert_array_equal(exe(X), cuda_programs.expected(X))  # it was only then


def test_without_a_driver_running_says_so() -> None:
    error = cuda_driver._unavailable(ImportError("libcuda.so.1: cannot open shared object file"))
    assert "no NVIDIA driver" in str(error) and "Compiling for cuda works without one" in str(error)


@pytest.mark.parametrize("sm", [80, 89, 100])
def test_code_for_another_gpu_is_refused(driver: StandIn, sm: int) -> None:
    driver.machine(sm=sm)
    with pytest.raises(
        mlc.TargetUnavailable, match=rf"the code is for sm_90, .*Stand-in, sm_{sm}(.|\n)*--arch sm_{sm}"
    ):
        Executable(cuda_programs.two_steps())(X)


def test_a_driver_older_than_the_code_is_named(driver: StandIn) -> None:
    driver.fail("cuModuleLoadData", UNSUPPORTED_PTX)
    with pytest.raises(mlc.TargetUnavailable, match="driver is too old"):
        Executable(cuda_programs.two_steps())(X)


def test_damaged_code_is_refused(driver: StandIn) -> None:
    artifact = cuda_programs.two_steps()
    table = LaunchTable.from_bytes(artifact.objects[0])
    for objects, match in (
        ([], "table of launches"),
        ([b"{}", *artifact.objects[1:]], "table of launches"),
        ([artifact.objects[0], b"", b"no code"], "the code is for sm_90"),
        ([replace(table, kernels={}).to_bytes(), *artifact.objects[1:]], "'scale'"),
    ):
        with pytest.raises((mlc.InternalError, mlc.TargetUnavailable), match=match):
            Executable(replace(artifact, objects=objects))(X)


def test_too_little_memory_names_what_was_planned(run: Run, driver: StandIn) -> None:
    exe = run(cuda_programs.two_steps())
    exe(X)
    driver.machine(memory=700 << 10)
    large = np.zeros(100_000, np.float32)
    with pytest.raises(
        mlc.MlcError, match=r"memory left, and inputs and outputs that lie in host memory take 781.*KiB"
    ):
        exe(large)
    driver.machine(memory=1 << 20)
    with pytest.raises(mlc.MlcError, match=r"memory left, and intermediate results at N = 100000 take 390"):
        exe(large)
    driver.machine()
    np.testing.assert_array_equal(exe(large), cuda_programs.expected(large))
    driver.machine(memory=driver.used)
    with pytest.raises(mlc.MlcError, match="arrays take 24 bytes"):
        to_device(X)


def test_tensors_beyond_what_kernels_count_to_are_refused(driver: StandIn) -> None:
    artifact = cuda_programs.two_steps()
    table = replace(LaunchTable.from_bytes(artifact.objects[0]), counts=("N*1000000000",))
    exe = Executable(replace(artifact, objects=[table.to_bytes(), *artifact.objects[1:]]))
    exe(X[:2])
    with pytest.raises(mlc.MlcError, match="has 3000000000 elements"):
        exe(X[:3])


def test_a_kernel_that_fails_ends_the_context_and_says_so(run: Run, driver: StandIn) -> None:
    exe, x = run(cuda_programs.two_steps()), to_device(X)
    exe(X)
    driver.fail("cuStreamSynchronize", ILLEGAL_ADDRESS)
    with pytest.raises(
        mlc.InternalError, match="one of 2 kernels failed on .*illegal memory access.*context of this process is lost"
    ):
        exe(X)
    for again in (lambda: exe(X), x.numpy, lambda: to_device(X), lambda: run(cuda_programs.update())(X, X)):
        with pytest.raises(mlc.InternalError, match=r"any more: one of 2 kernels failed .*Start it anew"):
            again()


def test_a_launch_that_is_refused_names_what_failed(run: Run, driver: StandIn) -> None:
    exe = run(cuda_programs.update())
    driver.fail("cuLaunchKernel", INVALID_VALUE)
    with pytest.raises(
        mlc.InternalError,
        match=r"launch of kernel 'update' on \(1, 1, 1\) blocks of \(32, 1, 1\) threads failed on .*invalid argument",
    ):
        exe(X.copy(), X)
    new, _ = exe(X.copy(), X)  # nothing is lost
    np.testing.assert_array_equal(new, X / 2)


@pytest.mark.parametrize(
    "function", ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate", "cuGraphLaunch"]
)
def test_a_recording_that_fails_is_an_error_and_no_slower_call(run: Run, driver: StandIn, function: str) -> None:
    exe = run(cuda_programs.update())
    exe(X.copy(), X)
    driver.fail(function, INVALID_VALUE)
    with pytest.raises(mlc.InternalError, match="'update' failed on .*invalid argument"):
        exe(X.copy(), X)


def test_more_than_48_KiB_of_shared_memory_are_asked_for(run: Run, driver: StandIn) -> None:
    exe = run(cuda_programs.two_steps(shared=60 << 10))
    np.testing.assert_array_equal(exe(X), cuda_programs.expected(X))
    assert driver.count("cuFuncSetAttribute") == 1


def test_libraries_are_not_made_of_code_for_gpus(run: Run, tmp_path: object) -> None:
    with pytest.raises(mlc.TargetUnavailable, match="no shared library"):
        run(cuda_programs.two_steps()).export_library(tmp_path / "a.so")  # type: ignore[operator]


def test_the_child_of_a_fork_has_no_context(run: Run, driver: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    exe, x = run(cuda_programs.two_steps()), to_device(X)
    exe(X)
    own = os.getpid()
    driver.failed = True  # what a child lets go of is not given back, for it is its parent's
    monkeypatch.setattr(os, "getpid", lambda: own + 1)
    for use in (lambda: exe(X), x.numpy, lambda: to_device(X)):
        with pytest.raises(mlc.MlcError, match="before this process was forked off(.|\n)*spawn"):
            use()


def test_a_package_says_what_the_machine_lacks_to_run_it(driver: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = CudaLoader()
    for found, want in (
        (gpus.Driver(False), ["NVIDIA driver"]),
        (gpus.Driver(True, "13.0"), ["NVIDIA GPU"]),
        (gpus.Driver(True, "13.0", (gpus.Gpu("G", 90, 1),)), []),
    ):
        monkeypatch.setattr(gpus, "driver", lambda found=found: found)
        assert [each for each in loader.lacking() if each != "pycuda"] == want


def test_the_driver_says_which_gpus_there_are(driver: StandIn) -> None:
    driver.machine(devices=2, sm=89)
    gpus.driver.cache_clear()
    found = gpus.driver()
    gpus.driver.cache_clear()
    assert found.version == "13.0" and [str(gpu) for gpu in found.gpus] == ["Stand-in, sm_89, 1.0 GiB"] * 2
    driver.fail("cuInit", NO_DEVICE)
    assert "no CUDA-capable device" in gpus.driver().error
    gpus.driver.cache_clear()
