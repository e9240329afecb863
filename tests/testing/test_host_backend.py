"""Whole models for GPUs on this CPU, against the interpreter: the bundled one, small ones of every kind of memory, and the miniatures."""

from pathlib import Path

import numpy as np
import pytest

import mlc
from mlc.frontends.onnx import load
from mlc.ir import builder as g
from mlc.ir import interpreter
from mlc.testing import ORDERS, host_build, on_host
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
