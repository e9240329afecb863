"""Weights that change: what is made anew from them, what has become code, and weights as arguments."""

import threading

import numpy as np
import pytest

import mlc
from mlc.errors import DTypeError, MlcError, ShapeError
from mlc.ir import builder as g
from mlc.ir.interpreter import run
from mlc.ir.module import Module
from mlc.passes.manager import PassManager

RNG = np.random.default_rng(0)
X = RNG.standard_normal((7, 40)).astype(np.float32)
W = RNG.standard_normal((33, 40)).astype(np.float32)
B = RNG.standard_normal(33).astype(np.float32)


def linear() -> Module:
    """relu(x w' + b * 2): w is folded by a transpose and packed in panels, b is folded by a product."""
    m = g.module_builder("linear")
    with m.function(inputs=[("x", ("N", 40), "f32")]) as (x,):
        w, b = g.weight(W, "w"), g.weight(B, "b")
        product = g.matmul(x, g.transpose(w, [1, 0]))
        bias = g.mul(b, g.full_like(b, 2.0))
        m.outputs([("y", g.relu(g.add(product, g.broadcast_to(bias, g.shape_of(product)))))])
    return m.finish()


def expected(w: np.ndarray = W, b: np.ndarray = B) -> np.ndarray:
    return np.maximum(X.astype(np.float64) @ w.T.astype(np.float64) + 2.0 * b, 0)


def close(found: np.ndarray, want: np.ndarray) -> None:
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)


def test_replaced_weights_are_seen_after_refresh_through_panels_and_folded_values():
    module = linear()
    exe = mlc.compile(module)
    close(exe(X), expected())
    module.weights.replace("w", 2 * W)
    close(exe(X), expected())  # not before refresh
    exe.refresh()
    close(exe(X), expected(2 * W))
    module.weights.replace("b", B + 1)
    exe.refresh()
    close(exe(X), expected(2 * W, B + 1))
    close(run(module, [X])[0], expected(2 * W, B + 1))
    close(mlc.compile(module)(X), expected(2 * W, B + 1))
    assert exe.native_compilations == 0


def test_the_store_keeps_a_copy_of_its_own():
    module, mine = linear(), 3 * W
    exe = mlc.compile(module)
    module.weights.replace("w", mine)
    mine[...] = 0
    exe.refresh()
    close(exe(X), expected(3 * W))


def test_a_weight_of_another_type_is_refused():
    weights = linear().weights
    with pytest.raises(
        ShapeError, match=r"weight 'w' has the shape \[33, 40\], and the array that replaces it \[40, 33\]"
    ):
        weights.replace("w", W.T.copy())
    with pytest.raises(DTypeError, match="weight 'w' is f32, and the array that replaces it float64"):
        weights.replace("w", W.astype(np.float64))
    with pytest.raises(MlcError, match="there is no weight 'v'"):
        weights.replace("v", W)


@pytest.mark.parametrize("through", ["package", "bytes"])
def test_weights_of_a_package_are_mapped_and_replaced_ones_get_memory_of_their_own(tmp_path, through):
    path = tmp_path / "linear.mlc"
    mlc.compile(linear()).save(path)
    content = path.read_bytes()
    if through == "package":
        exe = mlc.load_executable(path)
    else:
        import pickle

        exe = pickle.loads(pickle.dumps(mlc.load_executable(path)))
    assert sorted(set(exe.store) - set(exe.weights)) == ["w"]  # the module in a package is the fused one: b is folded
    close(exe(X), expected())
    assert not next(iter(exe.weights.values())).flags.writeable
    exe.store.replace("w", -W)
    exe.refresh()
    close(exe(X), expected(-W))
    assert path.read_bytes() == content
    exe.save(tmp_path / "changed.mlc")
    close(mlc.load_executable(tmp_path / "changed.mlc", verify=True)(X), expected(-W))


def test_an_executable_of_a_file_has_the_weights_that_its_package_would_have():
    import onnx.parser
    from onnx import numpy_helper

    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
    main (float[N, 40] x) => (float[N, 33] y) { y = MatMul (x, w) }""")
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(W.T), "w"))
    exe = mlc.compile(model.SerializeToString())
    close(exe(X), X @ W.T)
    exe.store.replace("w", np.ascontiguousarray(2 * W.T))
    exe.refresh()
    close(exe(X), 2 * X @ W.T)


def test_numbers_that_became_code_are_named():
    m = g.module_builder("m")
    with m.function(inputs=[("x", (), "f32")]) as (x,):
        m.outputs([("y", g.mul(x, g.reduce(g.weight(W[0], "w"), [0], "sum")))])  # one number, which stands in the text
    module = m.finish()
    exe = mlc.compile(module)
    exe.refresh()
    module.weights.replace("w", 2 * W[0])
    with pytest.raises(MlcError, match="weight 'w' was replaced, and its numbers have become a part of the code"):
        exe.refresh()
    x = np.float32(3)
    np.testing.assert_allclose(mlc.compile(module)(x), x * 2 * W[0].sum(), rtol=1e-4)


def test_calls_under_way_go_on_with_the_old_weights():
    module = linear()
    exe = mlc.compile(module, threads=1)
    wanted = [expected(k * W) for k in (1, 2)]
    stop, wrong = threading.Event(), []

    def call() -> None:
        while not stop.is_set():
            y = exe(X)
            if min(np.abs(y - want).max() for want in wanted) > 1e-2:
                wrong.append(y)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(40):
        module.weights.replace("w", (1 + turn % 2) * W)
        exe.refresh()
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    close(exe(X), wanted[1])


# Weights as arguments ----------------------------------------------------------------------------------------------------
def test_weights_become_arguments_and_weights_again():
    module = linear()
    opened = PassManager("weights-to-arguments{weights=w}", verify_each=True).run(module)
    assert opened.input_names == ["x", "w"]
    close(run(opened, [X, 2 * W])[0], expected(2 * W))
    exe = mlc.compile(module, passes="weights-to-arguments,default")
    assert [each.name for each in exe.get_inputs()] == ["x", "w", "b"]
    close(exe(X, 3 * W, -B), expected(3 * W, -B))
    closed = PassManager("arguments-to-weights", verify_each=True).run(opened)
    assert closed.input_names == ["x"] and str(closed).count("graph.weight") == 2
    close(run(closed, [X])[0], expected())
    opened.weights.replace("w", 2 * W)
    close(mlc.compile(opened, passes="arguments-to-weights,default")(X), expected(2 * W))


def test_weights_in_loops_become_arguments():
    m = g.module_builder("m")
    with m.function(inputs=[("x", (5, 40), "f32")]) as (x,):

        def body(carries, slices, constants):
            return [g.tanh(g.add(carries[0], g.mul(slices[0], g.weight(B[:1].repeat(40), "inside"))))], []

        (last,), _ = g.scan(body, [g.full((40,), 0.0, "f32")], [x], 5)
        m.outputs([("y", last)])
    module = m.finish()
    opened = PassManager("weights-to-arguments", verify_each=True).run(module)
    assert opened.input_names == ["x", "inside"]
    w, want = module.weights.get("inside"), np.zeros(40)
    for row in X[:5]:
        want = np.tanh(want + row * w)
    close(run(opened, [X[:5], w])[0], want)
    close(mlc.compile(opened)(X[:5], w), want)


def test_what_cannot_become_an_argument_or_a_weight_is_named():
    module = linear()
    with pytest.raises(MlcError, match="there is no weight 'fc.w'"):
        PassManager("weights-to-arguments{weights=fc.w}").run(module)
    m = g.module_builder("m")
    with m.function(inputs=[("w", (33, 40), "f32"), ("v", (2,), "f32")]) as (w, v):
        key = m.weights.add(np.ones((33, 40), np.float32), "w")
        m.outputs([("new", g.neg(w)), ("v", v)], {"new": key})
    updated = m.finish()
    with pytest.raises(MlcError, match="the result 'new' lives in the input 'w'"):
        PassManager("arguments-to-weights").run(updated)
    with pytest.raises(MlcError, match="the weight store has nothing for the input 'v'"):
        PassManager("arguments-to-weights{arguments=v}").run(updated)
    with pytest.raises(MlcError, match="there is an input 'w' already"):
        m = g.module_builder("m")
        with m.function(inputs=[("w", (33, 40), "f32")]) as (w,):
            m.outputs([("y", g.add(w, g.weight(W, "w")))])
        PassManager("weights-to-arguments").run(m.finish())
