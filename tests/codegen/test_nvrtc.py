"""NVRTC in nvcc's place: the same table of launches, with machine code architecture by architecture. Needs the package nvidia-cuda-nvrtc, or a
library that $NVRTC names; no GPU."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

import mlc
from mlc.codegen.cuda.launches import LaunchTable, best_code
from mlc.codegen.cuda.machine_code import compile_files, compile_one, compiler
from mlc.codegen.cuda.nvcc import Nvcc
from mlc.codegen.cuda.nvrtc import Nvrtc
from mlc.codegen.llvm.cache import ObjectCache
from mlc.errors import InternalError, TargetUnavailable
from mlc.ir import builder as g

KERNEL = '#include <stdint.h>\nextern "C" __global__ void fill(float *y) { y[threadIdx.x] = -INFINITY; }\n'
GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.cu"))


@pytest.fixture
def nvrtc(monkeypatch: pytest.MonkeyPatch) -> Nvrtc:
    """The library, on a machine without nvcc."""
    found = Nvrtc.named() or Nvrtc.find()
    if found is None:
        pytest.skip("needs NVRTC: pip install nvidia-cuda-nvrtc, or NVRTC=/path/to/libnvrtc.so.13")
    monkeypatch.setattr(Nvcc, "find", lambda: None)
    return found


def classifier() -> mlc.Module:
    m = g.module_builder("classifier")
    with m.function(inputs=[("x", ("N", 8), "f32")]) as (x,):
        product = g.matmul(x, g.weight(np.ones((8, 5), np.float32), name="w"))
        m.outputs([("y", g.softmax(g.sin(product), -1))])
    return m.finish()


def test_a_package_has_code_for_each_architecture_and_ptx(nvrtc: Nvrtc, tmp_path: Path) -> None:
    exe = mlc.compile(classifier(), target="cuda", cache=False)
    assert exe.report["compiler"] == nvrtc.name
    table = LaunchTable.from_bytes(exe.objects[0])
    for file in table.files:
        assert set(file.code) == {"sm_80", "sm_90a", "compute_80"} and exe.objects[file.source].startswith(b"// CUDA C")
        assert all(exe.objects[file.code[arch]].startswith(b"\x7fELF") for arch in ("sm_80", "sm_90a"))
        ptx = exe.objects[file.code["compute_80"]]
        assert b".target sm_80" in ptx and ptx.endswith(b"\0")  # the driver reads up to a zero
        assert best_code(file.code, 90) == file.code["sm_90a"] and best_code(file.code, 120) == file.code["compute_80"]
    taken = [found for kernel in table.kernels.values() for row in kernel.launches for found in row.resources.items()]
    assert {arch for arch, _ in taken} == {"sm_80", "sm_90a"}
    assert all(found.registers > 0 and found.spills == found.stack == 0 for _, found in taken)
    exe.save(tmp_path / "m.mlc")
    with zipfile.ZipFile(tmp_path / "m.mlc") as package:
        assert {"code/0.cu", "code/0.sm_80.cubin", "code/0.compute_80.ptx"} <= set(package.namelist())
    assert mlc.load_executable(tmp_path / "m.mlc", strict=True).objects == exe.objects


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_it_takes_emitted_files(nvrtc: Nvrtc, path: Path) -> None:
    (made,) = compile_files([path.read_text()], ("sm_80",))
    assert made.resources and made.code["sm_80"].startswith(b"\x7fELF")


def test_code_is_kept_by_the_compiler(nvrtc: Nvrtc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archs = ("sm_80", "compute_80")
    (first,), (again,) = (compile_files([KERNEL], archs, cache=ObjectCache(tmp_path)) for _ in range(2))
    assert (first.cached, again.cached) == (False, True)
    assert (again.code, again.resources, again.compiler) == (first.code, first.resources, nvrtc.name)
    monkeypatch.setattr(Nvrtc, "__init__", _of_version_0(Nvrtc.__init__))
    (other,) = compile_files([KERNEL], archs, cache=ObjectCache(tmp_path))
    assert not other.cached


def _of_version_0(init):
    def changed(self: Nvrtc, path: Path) -> None:
        init(self, path)
        self.name = "NVRTC 0.0"

    return changed


def test_it_writes_ptx_and_cubins(nvrtc: Nvrtc) -> None:
    ptx = compile_one(KERNEL, "sm_90a", "ptx").decode()
    assert ".target sm_90a" in ptx and "\0" not in ptx
    assert compile_one(KERNEL, "sm_90a", "cubin").startswith(b"\x7fELF")


def test_what_it_refuses_is_said(nvrtc: Nvrtc) -> None:
    with pytest.raises(InternalError, match='NVRTC .* refuses generated CUDA C .*"unknown" is undefined'):
        compile_one(KERNEL.replace("-INFINITY", "unknown"), "sm_80", "cubin")
    with pytest.raises(TargetUnavailable, match="does not compile for sm_999"):
        compile_one(KERNEL, "sm_999", "cubin")


def test_without_a_compiler_the_error_says_what_brings_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NVRTC", raising=False)
    monkeypatch.setattr(Nvcc, "find", lambda: None)
    monkeypatch.setattr(Nvrtc, "find", lambda: None)
    with pytest.raises(TargetUnavailable, match="neither nvcc nor NVRTC") as caught:
        mlc.compile(classifier(), target="cuda")
    assert "pip install nvidia-cuda-nvrtc" in str(caught.value.remedy)
    monkeypatch.setenv("NVRTC", str(tmp_path / "none.so"))
    with pytest.raises(TargetUnavailable, match="names no file"):
        compiler()
    (tmp_path / "none.so").write_bytes(b"no library")
    with pytest.raises(TargetUnavailable, match="cannot be loaded"):
        compiler()
