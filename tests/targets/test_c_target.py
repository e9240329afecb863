"""A backend that is not mlc's own compiles, runs, saves and refuses, through the seam alone."""

import ast
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

import mlc
from mlc.backends import backend, summaries
from mlc.ir import builder as g
from mlc.ir import interpreter
from mlc.passes.kernel.rules.by_target import option_of, target_of
from mlc.runtime.loaders import LOADERS
from tests.targets import c_target

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


def random(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def classifier() -> mlc.Module:
    """A contraction with what follows it, a softmax, element-wise work, and a result in a new shape."""
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
    return mlc.compile(MODEL, target="c")


@needs_compiler
@pytest.mark.parametrize("rows", [0, 1, 2, 5, 16, 33])
def test_it_computes_what_the_interpreter_does(exe, rows):
    x = random(rows, 8)
    want = interpreter.run(MODEL, [x])
    for found in (exe(x), exe(x=x), exe.run(None, {"x": x})):
        for a, b in zip(found, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@needs_compiler
def test_sizes_that_are_known_and_doubles():
    m = g.module_builder("fixed")
    with m.function(inputs=[("x", (13, 7), "f64"), ("y", (7, 3), "f64")]) as (x, y):
        m.outputs([("z", g.exp(g.reduce(g.matmul(x, y), [1], "max")))])
    module = m.finish()
    x, y = random(13, 7, dtype="float64"), random(7, 3, dtype="float64")
    (want,) = interpreter.run(module, [x, y])
    for level in (0, 2):
        np.testing.assert_allclose(mlc.compile(module, target="c", opt_level=level)(x, y), want, rtol=1e-12)


@needs_compiler
def test_it_runs_the_bundled_model():
    model = mlc.load(Path(mlc.__file__).parent / "demo" / "digits.onnx")
    x = random(3, 1, 8, 8)
    (want,) = interpreter.run(model, [x])
    np.testing.assert_allclose(mlc.compile(model, target="c")(x), want, rtol=1e-5, atol=1e-6)


@needs_compiler
def test_calls_at_the_same_time_do_not_meet(exe):
    inputs = [random(rows, 8) for rows in (3, 17, 40, 64)]
    want = [exe(x)[0] for x in inputs]
    wrong: list[int] = []

    def call(number: int) -> None:
        for _ in range(50):
            if not np.array_equal(exe(inputs[number])[0], want[number]):
                wrong.append(number)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@needs_compiler
def test_its_package_says_its_kind_and_is_refused_in_words_where_nobody_knows_it(exe, tmp_path, monkeypatch):
    exe.save(tmp_path / "m.mlc")
    again, x = mlc.load_executable(tmp_path / "m.mlc"), random(9, 8)
    assert again.target == exe.target and again.target.kind == "c"
    np.testing.assert_array_equal(again(x)[0], exe(x)[0])
    monkeypatch.delitem(LOADERS, "c")
    with pytest.raises(mlc.InvalidModel, match="holds code for 'c', and this mlc has no such backend\n.*code for: cpu"):
        mlc.load_executable(tmp_path / "m.mlc")


@needs_compiler
def test_weights_can_be_replaced():
    exe, x = mlc.compile(classifier(), target="c"), random(2, 8)
    before = exe(x)[0]
    exe.store.replace("w", np.zeros((8, 5), np.float32))
    np.testing.assert_array_equal(exe(x)[0], before)
    exe.refresh()
    assert not np.allclose(exe(x)[0], before)


def test_what_it_does_not_have_is_refused_in_words(tmp_path):
    m = g.module_builder("sines")
    with m.function(inputs=[("x", (4,), "f32")]) as (x,):
        m.outputs([("y", g.sin(x))])
    with pytest.raises(mlc.UnsupportedOp, match="kernel 'elementwise_0': target c has no text for math.sin"):
        mlc.compile(m.finish(), target="c")
    with pytest.raises(mlc.TargetUnavailable, match="target c needs a C compiler no-such-cc"):
        mlc.compile(classifier(), target="c", arch="no-such-cc")
    with pytest.raises(mlc.TargetUnavailable, match="no cc backend\n  Did you mean c"):
        mlc.compile(classifier(), target="cc")


@needs_compiler
def test_what_only_the_cpu_does_is_refused_in_words(exe, tmp_path):
    with pytest.raises(mlc.TargetUnavailable, match="no shared library"):
        exe.export_library(tmp_path / "libm.so")
    with pytest.raises(mlc.MlcError, match="takes no times"):
        exe.profile(random(1, 8))


def test_passes_find_a_machine_by_its_kind():
    assert target_of("c").name == "cc" and target_of("c:gcc").name == "gcc" and target_of("x86-64-v3").kind == "cpu"
    assert target_of(option_of("c", "gcc")).name == "gcc" and option_of("cpu", "native") == "native"
    with pytest.raises(mlc.TargetUnavailable, match="no schedules for targets of the kind 'tpu'\n  Kinds: cpu, "):
        target_of("tpu:v4")


def test_a_name_is_given_once():
    assert backend("c") is c_target.BACKEND and "c" in summaries() and backend("cpu").name == "cpu"
    with pytest.raises(mlc.MlcError, match="the target 'c' is taken"):
        mlc.register_backend(c_target.BACKEND)


def test_it_names_nothing_of_the_cpu():
    tree = ast.parse(Path(c_target.__file__).read_text())
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert modules and not [name for name in modules if "llvm" in name or "cpu" in name]
