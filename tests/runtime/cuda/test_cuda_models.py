"""Models and training steps that mlc compiled for GPUs, through pycuda on the stand-in, beside the CPU target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.optim import Adam
from mlc.runtime.cuda.device_arrays import DeviceArray
from tests.runtime.cuda.stand_in import StandIn
from tests.test_control_flow import LAYERS, parse, rows
from tests.test_counted import sum_of_positions


def test_the_bundled_model_runs_on_arrays_of_either_memory(cuda: StandIn) -> None:
    model = mlc.load(Path(mlc.__file__).parent / "demo" / "digits.onnx")
    exe, cpu = mlc.compile(model, target="cuda"), mlc.compile(model)
    for batch in (1, 3, 3, 3):
        x = np.random.default_rng(batch).random((batch, 1, 8, 8), np.float32)
        want = cpu(x)
        np.testing.assert_allclose(exe(x), want, atol=1e-5)
        y = exe(mlc.to_device(x))
        assert type(y) is DeviceArray
        np.testing.assert_allclose(y.numpy(), want, atol=1e-5)
    assert cuda.count("cuGraphLaunch") >= 2
    assert {time.turns for time in exe.profile(x)} == {1.0}


def model(params: dict, x: mlc.Tensor) -> mlc.Tensor:
    return mnp.tanh(x @ params["hidden"] + params["bias"]) @ params["out"]


def squared(prediction: mlc.Tensor, y: mlc.Tensor) -> mlc.Tensor:
    return ((prediction - y) ** 2).mean()


def test_a_step_of_training_keeps_parameters_and_means_on_the_gpu(cuda: StandIn) -> None:
    rng = np.random.default_rng(0)
    params = {
        name: rng.normal(size=shape).astype(np.float32) for name, shape in (("hidden", (3, 40)), ("bias", (40,)), ("out", (40, 2)))
    }  # fmt: skip
    steps = [mlc.train_step(model, squared, Adam(0.05), params, target=target) for target in ("cpu", "cuda")]
    moved = 0
    for call in range(5):
        x, y = rng.normal(size=(6, 3)).astype(np.float32), rng.normal(size=(6, 2)).astype(np.float32)
        want, got = (float(step(x, y)) for step in steps)
        np.testing.assert_allclose(got, want, rtol=1e-5)
        if call == 1:
            moved = cuda.bytes("cuMemcpyHtoD")
    assert cuda.bytes("cuMemcpyHtoD") == moved  # neither parameters nor means
    for name in params:
        np.testing.assert_allclose(steps[1].parameters[name], steps[0].parameters[name], rtol=1e-4, atol=1e-5)


def test_branches_are_decided_by_what_is_on_the_gpu(cuda: StandIn) -> None:
    exe, cpu = mlc.compile(parse(LAYERS), target="cuda"), mlc.compile(parse(LAYERS))
    for n in (0, 1, 7):
        for c in (True, False):
            feeds = {"c": np.array(c), "x": rows(n), "y": rows(n, 1)}
            there = {name: mlc.to_device(array) for name, array in feeds.items()}
            found = zip(exe.run(None, feeds), exe.run(None, there), cpu.run(None, feeds), strict=True)
            for host, device, want in found:
                np.testing.assert_allclose(host, want, rtol=1e-5, atol=1e-6)
                np.testing.assert_allclose(device.numpy(), want, rtol=1e-5, atol=1e-6)
    taken = [{time.step for time in exe.profile(np.array(c), rows(4), rows(4, 1))} for c in (True, False)]
    assert taken[0] and taken[1] and not taken[0] & taken[1]
    assert cuda.count("cuGraphLaunch") == 0


def test_what_data_counts_is_cut_off_results(cuda: StandIn) -> None:
    exe, cpu = mlc.compile(sum_of_positions(), target="cuda"), mlc.compile(sum_of_positions())
    for n, at in ((6, [1, 4]), (1, []), (9, [0, 3, 8]), (3, [0, 1, 2])):
        x, y = np.zeros(n, np.float32), np.zeros(2 * n, np.float32)
        x[at], y[[2 * place for place in at]] = 1, 1
        want = cpu(x, y)
        np.testing.assert_array_equal(exe(x, y), want)
        got = exe(mlc.to_device(x), y)
        assert got.shape == want.shape
        np.testing.assert_array_equal(got.numpy(), want)
    with pytest.raises(mlc.ShapeError, match="count0 is 3, but must equal count1, which is 2.*from the data"):
        exe(np.ones(3, np.float32), np.ones(2, np.float32))
