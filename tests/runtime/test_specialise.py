"""Native code with kernels for single sizes: real graphs in miniature at those sizes and beside them, as executable, package and C library."""

import ctypes
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import mlc
from mlc.ir.interpreter import bind
from mlc.runtime.executable import Executable
from tests.onnx_models import PATHS, signature
from tests.passes.test_specialise import shift, specialised, spoil
from tests.runtime.test_portable import foreign

DIGITS = Path(mlc.__file__).parent / "demo" / "digits.onnx"


def compiled(path: Path, *variants: dict[str, int]) -> Executable:
    executable = mlc.compile(path, threads=2, specialise=variants)
    assert isinstance(executable, Executable)
    return executable


def images(count: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, 1, 8, 8)).astype(np.float32)


def special(executable: Executable, *arrays: np.ndarray) -> set[bool]:
    """Whether the kernels that run for these inputs are those for N = 8."""
    return {step.kernel.endswith("_N_8") for step in executable.profile(*arrays)}


@pytest.fixture(scope="module")
def digits() -> Executable:
    return compiled(DIGITS, {"N": 8})


@pytest.mark.parametrize("name", ["bert", "gpt2_cache", "lstm", "resnet50", "unet_resize"])
def test_models_give_the_same_at_their_sizes_and_beside_them(name: str) -> None:
    path = next(path for path in PATHS if path.name == f"{name}.symbolic.legacy.onnx")
    known, module = signature(path), mlc.load(path)
    rng = np.random.default_rng(11)
    chosen, *others = (known.random_sizes("legacy", rng) for _ in range(4))
    feeds = known.feeds(chosen)
    symbols = bind(module, [feeds[name] for name in module.input_names])
    executable = compiled(path, symbols, {"N": chosen["N"]})
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(path, options)
    used = []
    for seed, sizes in enumerate([chosen, {**others[0], "N": chosen["N"]}, *others]):
        feeds = known.feeds(sizes, seed)
        for got, want in zip(executable.run(None, feeds), session.run(None, feeds), strict=True):
            assert got.shape == want.shape, sizes
            if want.size:
                assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max(), sizes
        used.append({step.kernel for step in executable.profile(*(feeds[name] for name in module.input_names))})
    assert len(used[0] - used[1]) > 3 and len(used[1] - used[2]) > 3  # kernels of their own
    assert executable.native_compilations == 0


def test_a_call_runs_the_kernels_for_its_size_alone(digits: Executable) -> None:
    assert special(digits, images(8)) == {True}
    for count in (1, 7, 9, 64):
        assert special(digits, images(count)) == {False}
    steps = digits.profile(images(8))
    assert len(steps) * 2 == len(digits.plan.steps)
    assert all(digits.plan.steps[step.step].kernel == step.kernel for step in steps)


def test_both_share_the_arena_and_say_whom_they_serve(digits: Executable) -> None:
    plain = mlc.compile(DIGITS, threads=2)
    assert digits.plan.buffers != () and len(digits.plan.buffers) == len(plain.plan.buffers)
    for count in (3, 8):
        assert digits.memory_analysis(N=count).arena == plain.memory_analysis(N=count).arena
    asked = {kernel["name"]: kernel["calls"][0]["sizes"] for kernel in digits.report["kernels"]}
    assert {name: {"N": 8} if name.endswith("_N_8") else {} for name in asked} == asked
    assert digits.report["specialise"] == [{"N": 8}]


def test_a_package_keeps_the_choice(digits: Executable, tmp_path: Path) -> None:
    digits.save(tmp_path / "digits.mlc")
    again = mlc.load_executable(tmp_path / "digits.mlc", threads=2)
    rebuilt = mlc.load_executable(foreign(tmp_path / "digits.mlc"), threads=2)
    for count in (7, 8):
        want = digits(images(count))
        np.testing.assert_array_equal(again(images(count)), want)
        np.testing.assert_allclose(rebuilt(images(count)), want, rtol=1e-4, atol=1e-6)
        assert special(again, images(count)) == special(rebuilt, images(count)) == {count == 8}


@pytest.mark.skipif(
    not any(shutil.which(tool) for tool in ("cc", "gcc", "clang", "ld")), reason="no cc and no ld on the PATH"
)
def test_a_c_library_makes_the_same_choice(tmp_path: Path) -> None:
    program = specialised(shift(), "N@8")
    spoil(program, "elementwise_0_N_8")
    mlc.compile(program).export_library(tmp_path / "shift.so")
    library = ctypes.CDLL(str(tmp_path / "shift.so"))
    for count in (1, 7, 8, 9):
        x, y = np.zeros(count, np.float32), np.empty(count, np.float32)
        inputs, outputs = (ctypes.c_void_p * 1)(x.ctypes.data), (ctypes.c_void_p * 1)(y.ctypes.data)
        assert library.shift_run((ctypes.c_int64 * 1)(count), inputs, outputs, None, None) == 0
        assert set(y) == {100.0 if count == 8 else 1.0}
