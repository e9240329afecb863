"""Whole models for GPUs on this CPU, against the interpreter: the bundled one, small ones of every kind of memory, and the miniatures."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mlc
from mlc import nn
from mlc.frontends.onnx import load
from mlc.ir import builder as g
from mlc.ir import interpreter
from mlc.testing import ORDERS, HostModule, RecordedLaunch, host_build, on_host, recorded
from tests.onnx_models import PATHS, bindings, signature

pytestmark = pytest.mark.skipif(host_build.available() is not None, reason=str(host_build.available()))

CUDA = "cuda-on-cpu"


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def classifier() -> mlc.Module:
    """A contraction, a softmax, an element-wise chain, a result in a new shape; a size of calls."""
    m = g.module_builder("classifier")
    with m.function(inputs=[("x", ("N", 8), "f32")]) as (x,):
        product = g.matmul(x, g.weight(random(8, 5), name="w"))
        hidden = g.relu(g.add(product, g.broadcast_to(g.weight(random(5), name="b"), g.shape_of(product))))
        twice = g.tanh(g.add(x, x))
        m.outputs([("y", g.softmax(hidden, -1)), ("z", twice), ("flat", g.reshape(twice, (g.shape_of(twice)[0] * 8,)))])
    return m.finish()


MODEL = classifier()


@pytest.fixture(scope="module")
def exe() -> mlc.Executable:
    return mlc.compile(MODEL, target=CUDA)


def assert_near(found, want, tolerance=1e-5):
    for a, b in zip(found, want, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if b.size:
            assert np.abs(a - b).max() <= tolerance * max(np.abs(b).max(), 1e-9)


@pytest.mark.parametrize("rows", [0, 1, 2, 5, 64, 301])
def test_a_model_computes_what_the_interpreter_does(exe, rows):
    x = random(rows, 8)
    assert_near(exe(x), interpreter.run(MODEL, [x]))


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_in_every_order(exe, order):
    x = random(37, 8)
    other = on_host(exe, order)
    assert other.target.order == order
    for a, b in zip(other(x), exe(x), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_package_says_what_it_is_for(exe, tmp_path):
    x = random(3, 8)
    exe.save(tmp_path / "model.mlc")
    loaded = mlc.load_executable(tmp_path / "model.mlc")
    assert loaded.target == exe.target
    np.testing.assert_array_equal(loaded(x)[0], exe(x)[0])


def test_what_is_not_for_gpus_is_refused():
    with pytest.raises(mlc.MlcError, match='Compile it with target="cuda"'):
        on_host(mlc.compile(MODEL))


def test_the_bundled_model():
    path = Path(mlc.__file__).parent / "demo" / "digits.onnx"
    module = load(path)
    exe = mlc.compile(module, target=CUDA)
    shape = [extent if isinstance(extent, int) else 3 for extent in exe.get_inputs()[0].shape]
    x = np.random.default_rng(0).random(shape, np.float32)
    assert_near(exe.run(None, {exe.get_inputs()[0].name: x}), interpreter.run(module, [x]))


# The other exporter's have the same kernels.
MINIATURES = [path for path in PATHS if ".dynamo." in path.name]


@pytest.mark.parametrize("path", MINIATURES, ids=lambda path: path.name.removesuffix(".onnx"))
def test_a_miniature_computes_what_the_interpreter_does(path):
    module = load(path)
    exe = mlc.compile(module, target=CUDA)
    for seed, sizes in enumerate(bindings(path, count=2)):
        feeds = signature(path).feeds(sizes, seed)
        assert_near(exe.run(None, feeds), interpreter.run(module, [feeds[name] for name in module.input_names]))


def test_a_model_whose_data_decides_sizes():
    m = g.module_builder("chosen")
    with m.function(inputs=[("x", ("N",), "f32")]) as (x,):
        at = g.nonzero(g.cast(x, "bool"))
        m.outputs([("at", at), ("twice", g.add(at, at))])  # a kernel whose sizes were counted
    module = m.finish()
    exe = mlc.compile(module, target=CUDA)
    for values in ([0, 3, 0, 0, 5, 1], [0, 0], [2], []):
        x = np.array(values, np.float32)
        for found, want in zip(exe(x), interpreter.run(module, [x]), strict=True):
            np.testing.assert_array_equal(found, want)


def test_python_threads_call_one_executable(exe):
    x = random(50, 8)
    want = exe(x)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: exe(x), range(12)):
            for a, b in zip(found, want, strict=True):
                np.testing.assert_array_equal(a, b)


# Launch by launch ----------------------------------------------------------------------------------------------------
def layer(rows: int = 33, inner: int = 40, columns: int = 36) -> mlc.Module:
    m = g.module_builder("layer")
    with m.function(inputs=[("x", (rows, inner), "f32")]) as (x,):
        m.outputs([("y", g.softmax(g.matmul(x, g.weight(random(inner, columns), name="w")), -1))])
    return m.finish()


@pytest.fixture(scope="module")
def launches() -> list[RecordedLaunch]:
    return recorded(mlc.compile(layer(), target=CUDA), random(33, 40))


def test_generated_kernels_are_clean_launch_by_launch(launches):
    assert len(launches) >= 2
    for launch in launches:
        launch.check_races().require_clean()
        launch.check_memory().require_clean()
        seen = launch.watch()
        assert seen.between_blocks() == []
        assert max((use.ways for use in seen.shared_uses()), default=0) <= 1


def test_a_barrier_that_is_taken_out_of_generated_code_is_found(launches):
    (launch,) = [
        each for each in launches if "__syncthreads" in each.module.text and each.kernel.startswith("contraction")
    ]
    text = re.sub(r"__syncthreads\(\);", "", launch.module.text)
    report = replace(launch, module=HostModule(text, flush=True)).check_races()
    assert any("data race" in finding for finding in report.findings), report.output


def test_an_access_behind_a_buffer_of_a_model_is_found(launches):
    launch = launches[0]
    short = tuple(
        arg[:-1].copy() if isinstance(arg, np.ndarray) and arg.size == max(np.size(a) for a in launch.args) else arg
        for arg in launch.args
    )
    report = replace(launch, args=short).check_memory()
    assert any("heap-buffer-overflow" in finding for finding in report.findings), report.output


def test_only_models_on_this_cpu_are_recorded():
    with pytest.raises(mlc.MlcError, match='Compile it with target="cuda-on-cpu"'):
        recorded(mlc.compile(MODEL), random(2, 8))


def test_a_step_of_training():
    """Gradients, Adam and state that is updated in place, as on target cpu."""
    x = random(20, 6)
    labels = np.arange(20) % 3
    first = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 3))
    losses = []
    for target in ("cpu", CUDA):
        net = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 3))
        net.load_state_dict(first.state_dict())
        step = mlc.train_step(net, "cross_entropy", mlc.optim.Adam(lr=1e-2), target=target)
        losses.append([float(step(x, labels)) for _ in range(10)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert losses[1][-1] < 0.9 * losses[1][0]
