"""What pycuda is built with: a library to link against with every function of cuda.h, and settings that its build reads."""

import ctypes
import runpy
import shutil
from pathlib import Path

import pytest

import mlc
from mlc.cli import pycuda_build
from mlc.errors import TargetUnavailable

needs_gcc = pytest.mark.skipif(shutil.which("g++") is None, reason="needs gcc and g++")
HEADER = """typedef enum { CUDA_SUCCESS } CUresult;
#define CUDAAPI
CUresult CUDAAPI cuInit(unsigned flags);
CUresult cuMemAlloc_v2(unsigned long long *place,
                       unsigned long bytes);
"""


@needs_gcc
def test_the_stub_has_the_functions_of_the_header(tmp_path: Path) -> None:
    (tmp_path / "cuda.h").write_text(HEADER)
    (tmp_path / "cudaProfiler.h").write_text("CUresult cuProfilerStart(void);\n")
    library = ctypes.CDLL(str(pycuda_build.write_stub(tmp_path, tmp_path)))
    for name in ("cuInit", "cuMemAlloc_v2", "cuProfilerStart"):
        assert getattr(library, name)() == 100  # CUDA_ERROR_NO_DEVICE
    (tmp_path / "cuda.h").write_text("#error not here")
    with pytest.raises(TargetUnavailable, match="cannot be read"):
        pycuda_build.write_stub(tmp_path, tmp_path)


def test_headers_are_those_of_a_toolkit_with_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pycuda_build, "_include_folders", lambda: iter([tmp_path / "none", tmp_path]))
    assert pycuda_build.headers() is None
    for name in ("cuda.h", "cudaProfiler.h"):
        (tmp_path / name).write_text("")
    assert pycuda_build.headers() == tmp_path


def test_settings_are_python_that_pycuda_reads_beside_all_else_of_the_users_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    (tmp_path / "user" / ".config" / "pip").mkdir(parents=True)
    (tmp_path / "user" / ".aksetup-defaults.py").write_text("CUDA_ENABLE_CURAND = True")
    (tmp_path / "work").mkdir()
    home = pycuda_build._home(tmp_path / "work", pycuda_build.configuration(Path("/cuda/include"), tmp_path))
    found = runpy.run_path(str(home / ".aksetup-defaults.py"))
    assert found["CUDA_ENABLE_CURAND"] is False and found["CUDA_ROOT"] == "/cuda"
    assert found["CUDADRV_LIB_DIR"] == [str(tmp_path)] and (home / ".config" / "pip").is_dir()


def test_without_headers_it_says_which_package_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pycuda_build, "headers", lambda: None)
    with pytest.raises(mlc.TargetUnavailable, match=r"cuda.h(.|\n)*nvidia-cuda-runtime nvidia-cuda-profiler-api"):
        pycuda_build.install()
