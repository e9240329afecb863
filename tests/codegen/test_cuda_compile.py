"""What nvcc makes of CUDA C, on a machine without a GPU: machine code for two generations, nothing spilled, a package that says how to launch it."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

import mlc
from mlc.codegen.cuda.compiled import resources
from mlc.codegen.cuda.cuda_generator import without_tight_bounds
from mlc.codegen.cuda.launches import FileCode, KernelCode, Launch, LaunchTable, Resources, best_code
from mlc.ir import builder as g
from mlc.ir.kernel.cuda_target import architecture
from tests.onnx_models import PATHS

needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")


def classifier() -> mlc.Module:
    m = g.module_builder("classifier")
    with m.function(inputs=[("x", ("N", 8), "f32")]) as (x,):
        product = g.matmul(x, g.weight(np.ones((8, 5), np.float32), name="w"))
        m.outputs([("y", g.softmax(g.relu(product), -1)), ("z", g.gelu(x))])
    return m.finish()


@pytest.fixture(scope="module")
def exe() -> mlc.Executable:
    return mlc.compile(classifier(), target="cuda")


@needs_nvcc
def test_every_launch_has_code_for_each_architecture_and_spills_nothing(exe) -> None:
    table = LaunchTable.from_bytes(exe.objects[0])
    assert table.archs == ("sm_80", "sm_90a", "compute_80") and len(table.kernels) == 3
    for kernel in table.kernels.values():
        for launch in kernel.launches:
            assert launch.resources.keys() == {"sm_80", "sm_90a"}
            for found in launch.resources.values():
                assert 0 < found.registers <= 255 and found.spills == found.stack == 0
    for file in table.files:
        assert exe.objects[file.source].startswith(b"// CUDA C") and len(exe.objects[file.code["fatbin"]]) > 1000


@needs_nvcc
@pytest.mark.parametrize("name", ["gpt2.symbolic.legacy", "lstm.symbolic.legacy"])
def test_models_spill_nothing_and_need_no_stack(name: str) -> None:
    (path,) = [path for path in PATHS if path.name == f"{name}.onnx"]
    table = LaunchTable.from_bytes(mlc.compile(path, target="cuda").objects[0])
    launches = [launch for kernel in table.kernels.values() for launch in kernel.launches]
    assert launches and {(r.spills, r.stack) for row in launches for r in row.resources.values()} == {(0, 0)}


@needs_nvcc
def test_an_emitted_file_is_compiled_as_pycudas_source_module_does(tmp_path: Path) -> None:
    """nvcc on the text as it is, with no option but those that docs/cuda.md names: what SourceModule(text, no_extern_c=True) runs."""
    source, target = tmp_path / "kernel.cu", tmp_path / "kernel.cubin"
    source.write_bytes((Path(__file__).parent / "golden" / "half.cu").read_bytes())
    command = ["nvcc", "--cubin", "-fmad=false", "-ftz=true", "-arch", "sm_90", "-o", target, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert target.read_bytes().startswith(b"\x7fELF")


@needs_nvcc
def test_angles_need_no_stack() -> None:
    m = g.module_builder("angles")
    with m.function(inputs=[("x", ("N",), "f32")]) as (x,):
        m.outputs([("s", g.sin(x)), ("c", g.cos(x)), ("t", g.tan(x))])
    table = LaunchTable.from_bytes(mlc.compile(m.finish(), target="cuda").objects[0])
    taken = [r for kernel in table.kernels.values() for row in kernel.launches for r in row.resources.values()]
    assert taken and {(found.spills, found.stack) for found in taken} == {(0, 0)}


@needs_nvcc
def test_a_package_is_saved_and_read_without_a_gpu(exe, tmp_path) -> None:
    exe.save(tmp_path / "m.mlc")
    with zipfile.ZipFile(tmp_path / "m.mlc") as package:
        assert json.loads(package.read("manifest.json"))["target"]["kind"] == "cuda"
        assert {"code/table.json", "code/0.cu", "code/0.fatbin"} <= set(package.namelist())
    read = mlc.load_executable(tmp_path / "m.mlc", strict=True)
    assert read.objects == exe.objects and read.target == exe.target
    assert mlc.compile(classifier(), target="cuda").report["objects"] == {"compiled": 0, "cached": 1}


@needs_nvcc
def test_reports_say_what_the_code_of_a_kernel_takes(exe) -> None:
    for kernel in exe.report["kernels"]:
        first, *rest = kernel["code"]
        assert first.startswith(kernel["name"]) and "<<<" in first, kernel["code"]
        assert [line[2:8] for line in rest if line.startswith("  ")][:2] == ["sm_80:", "sm_90a"], kernel["code"]
        assert all("registers" in line and "nothing spilled" in line for line in rest if line.startswith("  "))


def test_a_gpu_is_known_by_its_compute_capability() -> None:
    found = {text: architecture(text) for text in ("8.0", "8.6", "8.9 ", "9.0", "10.0", "7.5", "")}
    assert found == {
        "8.0": "sm_80",
        "8.6": "sm_86",
        "8.9 ": "sm_89",
        "9.0": "sm_90a",
        "10.0": "sm_100",
        "7.5": None,
        "": None,
    }


def test_a_function_that_spills_is_not_held_to_several_blocks_at_a_time() -> None:
    text = "void __launch_bounds__(256, 2) a_0(int n) {}\nvoid __launch_bounds__(256, 2) a_01(int n) {}\n"
    taken = {"a_0": {"sm_80": Resources(128), "sm_90a": Resources(128, spills=8)}, "a_01": {"sm_80": Resources(96)}}
    assert without_tight_bounds(text, taken) == text.replace("(256, 2) a_0(", "(256) a_0(")


def test_what_ptxas_says_is_read() -> None:
    log = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'gemm_0' for 'sm_80'
ptxas info    : Function properties for gemm_0
    32 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 127 registers, used 1 barriers, 33280 bytes smem, 400 bytes cmem[0]
ptxas info    : Compiling entry function 'gemm_0' for 'sm_90a'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 24 registers, used 0 barriers
"""
    assert resources(log) == {"gemm_0": {"sm_80": Resources(127, 12, 32, 33280), "sm_90a": Resources(24)}}


def test_a_table_of_launches_travels_as_text() -> None:
    launch = Launch("gemm_0", ("(s0 + 127)//128", "6", "1"), (16, 16, 1), 49152, {"sm_80": Resources(127)})
    table = LaunchTable({"gemm_0": KernelCode((launch,), ("s0",))}, (FileCode(1, {"fatbin": 2}),), ("sm_80",), ("N*4",))
    assert LaunchTable.from_bytes(table.to_bytes()) == table
    with pytest.raises(ValueError, match="form 0"):
        LaunchTable.from_bytes(b'{"form": 0}')


def test_a_gpu_gets_the_code_that_it_runs() -> None:
    code = {"sm_80": 1, "sm_86": 2, "sm_90a": 3, "compute_80": 4}
    chosen = {75: None, 80: 1, 86: 2, 89: 2, 90: 3, 100: 4}
    assert {gpu: best_code(code, gpu) for gpu in chosen} == chosen
    assert best_code({"fatbin": 7}, 120) == 7
    assert best_code({"sm_90a": 3}, 100) is None
