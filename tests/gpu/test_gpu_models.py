"""On a GPU, beside the CPU target: every miniature at several sizes, training steps, arrays of PyTorch. `pytest -m gpu` on a machine with one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.ir import builder as g
from mlc.ir.gpus import driver
from mlc.optim import SGD, Adam
from mlc.runtime.cuda.device_arrays import DeviceArray, DeviceSpace
from tests.onnx_models import PATHS, bindings, signature

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True, scope="module")
def gpu() -> Iterator[None]:
    found = driver()
    if not found.gpus:
        pytest.skip(f"needs an NVIDIA GPU: {found.error or 'the driver shows none'}")
    pytest.importorskip("pycuda.driver", reason="needs pycuda: mlc doctor says how to get it")
    yield


def assert_close(got: object, want: np.ndarray, tolerance: float = 1e-4) -> None:
    array = got.numpy() if isinstance(got, DeviceArray) else np.asarray(got)
    assert (array.dtype, array.shape) == (want.dtype, want.shape)
    if want.dtype.kind != "f":
        np.testing.assert_array_equal(array, want)
    elif want.size:
        scale = np.abs(want, where=np.isfinite(want), out=np.zeros_like(want)).max() or 1
        np.testing.assert_allclose(array, want, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name.removesuffix(".onnx"))
def test_a_miniature_gives_what_the_cpu_gives(path: Path) -> None:
    exe, cpu = mlc.compile(path, target="cuda"), mlc.compile(path, threads=2)
    for seed, sizes in enumerate(bindings(path, count=4)):
        feeds = signature(path).feeds(sizes, seed)
        want = cpu.run(None, feeds)
        for _ in range(3):  # as it comes, recorded, replayed
            for got, each in zip(exe.run(None, feeds), want, strict=True):
                assert_close(got, each)
        there = {name: mlc.to_device(array) for name, array in feeds.items()}
        for got, each in zip(exe.run(None, there), want, strict=True):
            assert isinstance(got, DeviceArray) or not there
            assert_close(got, each)


def conv_net(params: dict, x: mlc.Tensor) -> mlc.Tensor:
    image = mnp.maximum(mlc.nn.functional.conv2d(x, params["conv"], padding=1), 0)
    return image.mean((2, 3)) @ params["out"]


def mlp(params: dict, x: mlc.Tensor) -> mlc.Tensor:
    return mnp.tanh(x @ params["w1"] + params["b1"]) @ params["w2"]


def squared(prediction: mlc.Tensor, y: mlc.Tensor) -> mlc.Tensor:
    return ((prediction - y) ** 2).mean()


CASES = {
    "mlp": (mlp, {"w1": (16, 64), "b1": (64,), "w2": (64, 4)}, (16,), 4),
    "conv": (conv_net, {"conv": (8, 3, 3, 3), "out": (8, 4)}, (3, 12, 12), 4),
}


@pytest.mark.parametrize("optimizer", [SGD(0.1, momentum=0.9), Adam(0.01)], ids=["sgd", "adam"])
@pytest.mark.parametrize("name", CASES)
def test_training_goes_as_on_the_cpu(name: str, optimizer: object) -> None:
    model, shapes, inputs, outputs = CASES[name]
    rng = np.random.default_rng(0)
    params = {key: (0.3 * rng.normal(size=shape)).astype(np.float32) for key, shape in shapes.items()}
    steps = [mlc.train_step(model, squared, optimizer, params, target=target) for target in ("cpu", "cuda")]
    for rows in (8, 8, 8, 5, 8):
        x, y = (rng.normal(size=(rows, *shape)).astype(np.float32) for shape in (inputs, (outputs,)))
        want, got = (float(step(x, y)) for step in steps)
        assert got == pytest.approx(want, rel=1e-4)
    for key in params:
        assert_close(steps[1].parameters[key], steps[0].parameters[key], 1e-3)


def twice() -> mlc.Module:
    m = g.module_builder("twice")
    with m.function(inputs=[("x", ("N",), "f32")]) as (x,):
        m.outputs([("y", g.add(x, x))])
    return m.finish()


def test_tensors_of_pytorch_go_in_and_out_where_they_lie() -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    exe = mlc.compile(twice(), target="cuda")
    for n in (1, 1000, 100_000):
        x = torch.randn(n, device="cuda")
        y = torch.from_dlpack(exe(x * 3))  # work of PyTorch that is under way
        torch.testing.assert_close(y, x * 6)
        assert y.data_ptr() != x.data_ptr() and y.device == x.device
    with pytest.raises(mlc.MlcError, match="without gaps"):
        exe(torch.randn(8, device="cuda")[::2])


def test_too_much_memory_is_an_error_and_the_next_call_works() -> None:
    exe = mlc.compile(twice(), target="cuda")
    small = mlc.to_device(np.ones(4, np.float32))
    exe(small)
    with pytest.raises(mlc.MlcError, match="memory left"):
        DeviceSpace().memory(driver().gpus[0].memory * 2)
    np.testing.assert_array_equal(exe(small).numpy(), 2 * np.ones(4, np.float32))
