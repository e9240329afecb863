"""`mlc compile --train`: a package that steps, its state beside it, and what is said of flags that do not fit."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

import mlc as package
from mlc.ir import safetensors
from mlc.ir.weights import WeightStore


@pytest.fixture
def linear(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(3, 2)).astype(np.float32), "b": rng.normal(size=2).astype(np.float32)}
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]>\nmain (float[N, 3] x) => (float[N, 2] y) { h = MatMul(x, w)  y = Add(h, b) }'
    )
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    onnx.save(proto, tmp_path / "linear.onnx")
    return tmp_path / "linear.onnx", weights


def test_the_package_steps_on_batches_of_every_size(mlc: Callable, linear: tuple) -> None:
    path, weights = linear
    outcome = mlc("compile", path, "--train", "mse", "--optimizer", "sgd:lr=0.5", "--freeze", "b", "-o", "step.mlc")
    assert outcome.code == 0 and "wrote      step.safetensors" in outcome.out
    store = WeightStore()
    safetensors.add_file(store, Path("step.safetensors"))
    step = package.load_executable("step.mlc").with_state(initial={key: store.get(key) for key in store})
    w, b, rng = weights["w"], weights["b"], np.random.default_rng(1)
    for rows in (4, 1):
        x, y = rng.normal(size=(rows, 3)).astype(np.float32), rng.normal(size=(rows, 2)).astype(np.float32)
        error = x @ w + b - y
        np.testing.assert_allclose(step(x, y), (error**2).mean(), rtol=1e-5)
        w = w - 0.5 * 2 * x.T @ error / error.size
    np.testing.assert_allclose(step.state["params.w"], w, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(not shutil.which("cc"), reason="no cc on the PATH")
def test_a_library_takes_the_place_of_the_package(mlc: Callable, linear: tuple) -> None:
    for _ in range(2):  # the second takes the place of the first
        outcome = mlc("compile", linear[0], "--train", "mse", "-o", "libstep.so", "--header", "step.h")
        assert outcome.code == 0 and "wrote      step.h" in outcome.out
    assert (
        "int step_train(step_handle *self, int64_t N, const float *x, const float *target" in Path("step.h").read_text()
    )
    assert not Path("step.safetensors").exists() and not Path("libstep.safetensors").exists()


@pytest.mark.parametrize(
    "words, said",
    [
        (["--train", "mse", "--optimizer", "adamm"], "unknown optimizer 'adamm'"),
        (["--train", "mse", "--optimizer", "adam:rate=1"], "--optimizer adam:rate=1"),
        (["--train", "mse", "--optimizer", "adam:lr=-1"], "lr is -1"),
        (["--train", "square"], "there is no loss 'square'"),
        (["--train", "mse", "--emit", "mlir"], "--train writes a package"),
        (["--train", "mse", "--freeze", "q"], "there is no weight 'q'"),
        (["--freeze", "w"], "are of --train LOSS"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(mlc: Callable, linear: tuple, words: list[str], said: str) -> None:
    outcome = mlc("compile", linear[0], *words)
    assert outcome.code and said in outcome.err


def test_a_memory_budget_is_for_bounded_sizes_and_told(mlc: Callable, linear: tuple) -> None:
    path, _ = linear
    refused = mlc("compile", path, "--memory-budget", "1MiB", "-o", "tight.mlc")
    assert refused.code and "N has no bound" in refused.err and not Path("tight.mlc").exists()
    assert "is no number of bytes" in mlc("compile", path, "--memory-budget", "much", "-o", "tight.mlc").err
    assert mlc("compile", path, "--memory-budget", "1MiB", "--dim", "N=1..4", "-o", "tight.mlc").code == 0
    assert "intermediate results 0 bytes of 1.0 MiB" in mlc("explain", "tight.mlc").out
