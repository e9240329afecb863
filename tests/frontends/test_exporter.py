"""Modules as ONNX models: onnxruntime computes of them what the interpreter computes of the module, and mlc imports them again."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import mlc
import mlc.numpy as mnp
from mlc.ir import builder as g

RNG = np.random.default_rng(2)
X, W = RNG.normal(size=(3, 4)).astype(np.float32), RNG.normal(size=(4, 2)).astype(np.float32)
IMAGE = RNG.normal(size=(2, 4, 7, 6)).astype(np.float32)
KERNEL = RNG.normal(size=(6, 4, 3, 3)).astype(np.float32)
AT = np.array([2, 0, 2])


def run(model: onnx.ModelProto, feeds: list[np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return session.run(None, dict(zip(names, feeds, strict=True)))


FUNCTIONS: dict[str, Callable] = {
    "mlp": lambda x, w: {"y": mnp.tanh(x @ w) * 2 + 1, "z": (x**2).mean()},
    "comparisons": lambda x, w: (mnp.where(x > 0, x, -x), x != 1, mnp.logical_not(x < 0), mnp.maximum(x, 0.5)),
    "functions": lambda x, w: [
        getattr(mnp, n)(mnp.abs(x) + 0.1) for n in ("exp", "log", "log1p", "expm1", "sqrt", "arctan", "exp2")
    ],
    "remainders": lambda x, w: (x % 0.3, mnp.fmod(x, 0.3), x // 0.3, mnp.clip(x, -1, 0.5)),
    "reductions": lambda x, w: (
        x.sum(0),
        x.max(),
        x.min(1, keepdims=True),
        x.prod(1),
        (x > 0).any(1),
        x.var(),
        x.argmax(1),
    ),
    "arrangement": lambda x, w: (
        x[::-1, 1:3],
        x[1, None, ::2],
        x.T.reshape(2, -1),
        mnp.pad(x, 1),
        mnp.tile(x, (2, 1)),
        mnp.roll(x, 1),
    ),
    "joined": lambda x, w: (
        mnp.concatenate([x, x[:1]]),
        mnp.stack([x, x], -1),
        mnp.split(x, 2, 1),
        mnp.arange(4) + x,
        mnp.tril(x),
    ),
    "positions": lambda x, w: (
        x[AT],
        x[AT, AT],
        mnp.take_along_axis(x, mnp.argsort(x, 1), 1),
        mnp.sort(x, 0),
        mnp.top_k(x, 2),
    ),
    "written": lambda x, w: (x.at[1].set(0), x.at[AT, 0].add(w[0, 0]), mnp.cumsum(x, 1)),
    "products": lambda x, w: (mnp.einsum("ij,jk->ki", x, w), mnp.outer(x[0], w[:, 0]), mnp.einsum("ij,kj->ikj", x, x)),
    "composites": lambda x, w: (
        mlc.nn.functional.softmax(x) if hasattr(mlc.nn.functional, "softmax") else x,
        mnp.logsumexp(x, 1),
    ),
    "dtypes": lambda x, w: (x.astype("i32") + 1, x.astype("f64"), (x > 0).astype("f32"), mnp.arange(3) // 2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_onnxruntime_computes_what_the_interpreter_does(name: str) -> None:
    module = mlc.jit(FUNCTIONS[name]).trace(X, W).module
    model = mlc.export_onnx(module, None)
    expected = module.run(X, W)
    for found in (run(model, [X, W]), mlc.load(model).run(X, W)):
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == other.dtype and one.shape == other.shape
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


def test_sizes_stay_symbolic(tmp_path: Path) -> None:
    def function(x):
        return (
            (x - x.mean(0)).reshape(-1, 2, 2)[:, ::-1],
            mnp.ones(x.shape[0] + 1).sum(),
            x[1:].max(1),
            x.shape[0] // 2 + x[0, 0],
        )

    path = tmp_path / "f.onnx"
    model = mlc.export_onnx(function, path, mlc.TensorSpec(("N", 4)))
    assert [d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim] == ["N", ""]
    for rows in (2, 5):
        x = RNG.normal(size=(rows, 4)).astype(np.float32)
        for one, other in zip(run(onnx.load(path), [x]), function(mlc.Tensor(x)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


CONVOLUTIONS = {
    "plain": ("nc01,oc01->no01", IMAGE, KERNEL, {"padding": [(1, 1), (0, 2)], "strides": [2, 1]}),
    "channels last": (
        "n01c,01co->n01o",
        IMAGE.transpose(0, 2, 3, 1),
        KERNEL.transpose(2, 3, 1, 0),
        {"dilations": [2, 1]},
    ),
    "grouped": ("ngc01,goc01->ngo01", IMAGE.reshape(2, 2, 2, 7, 6), KERNEL[:, :2].reshape(2, 3, 2, 3, 3), {}),
    "depthwise": ("ng01,g01->ng01", IMAGE, KERNEL[0], {"padding": [(1, 1), (1, 1)]}),
    "cropped": ("nc01,oc01->no01", IMAGE, KERNEL, {"padding": [(-1, 0), (0, 1)]}),
    "spread": ("nc01,oc01->no01", IMAGE, KERNEL, {"padding": [(1, 2), (2, 1)], "x_dilation": [2, 3]}),
    "spread, with zeros around": (
        "nc01,oc01->no01",
        IMAGE,
        KERNEL,
        {"padding": [(5, 1), (0, 4)], "x_dilation": [2, 1]},
    ),
    "spread, in groups, dilated": (
        "ngc01,goc01->ngo01",
        IMAGE.reshape(2, 2, 2, 7, 6),
        KERNEL[:, :2].reshape(2, 3, 2, 3, 3),
        {"padding": [(2, 2), (1, 3)], "x_dilation": [2, 2], "dilations": [2, 1]},
    ),
    "spread, every second": (
        "nc01,oc01->no01",
        IMAGE,
        KERNEL,
        {"padding": [(2, 2), (-1, 2)], "x_dilation": [3, 2], "strides": [2, 1]},
    ),
    "the gradient of a weight": ("nc01,no01->oc01", IMAGE, IMAGE[:, :3, :3, :2], {}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_by_any_maps(name: str) -> None:
    spec, x, weight, options = CONVOLUTIONS[name]
    made = g.module_builder("main")
    with made.function([("x", x.shape, "f32"), ("w", weight.shape, "f32")]) as (a, b):
        made.outputs([("y", g.convolution(a, b, spec, **options))])
    module = made.finish()
    np.testing.assert_allclose(
        run(mlc.export_onnx(module, None), [x, weight])[0], module.run(x, weight)[0], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("kind", ["max", "sum"])
def test_pooling(kind: str) -> None:
    made = g.module_builder("main")
    with made.function([("x", IMAGE.shape, "f32")]) as (x,):
        made.outputs([("y", g.reduce_window(x, kind, [1, 1, 3, 2], [1, 1, 2, 2], [(0, 0), (0, 0), (1, 1), (0, 1)]))])
    module = made.finish()
    np.testing.assert_allclose(run(mlc.export_onnx(module, None), [IMAGE])[0], module.run(IMAGE)[0], rtol=1e-5)


@pytest.mark.parametrize(
    "shape, axis", [((2, 3, 4, 5), 1), ((2, 3), 1), ((2, 4, 3), 2), ((3, 2), 0), ((3,), 0), ((0, 3, 2), 1)]
)
def test_a_batch_normalisation_is_one_node_which_training_knows(shape: tuple[int, ...], axis: int) -> None:
    scale, bias, mean, variance = (RNG.random(3, np.float32) + 0.5 for _ in range(4))
    made = g.module_builder("main")
    with made.function([("x", shape, "f32")]) as (x,):
        weights = [g.weight(v, name) for name, v in zip("sbmv", (scale, bias, mean, variance), strict=True)]
        made.outputs([("y", g.batch_norm(x, *weights, axis=axis))])
    module, images = made.finish(), RNG.normal(size=shape).astype(np.float32)
    model = mlc.export_onnx(module, None)
    assert [node.op_type for node in model.graph.node].count("BatchNormalization") == 1
    np.testing.assert_allclose(run(model, [images])[0], module.run(images)[0], rtol=1e-5, atol=1e-6)
    if len(shape) > 1:
        step = mlc.train_step(model, "mse", mlc.optim.SGD(0.1), train_statistics=True)
        assert set(step.parameters) == {"s", "b"} and set(step.buffers) == {"m", "v"}


def test_parameters_of_a_batch_normalisation_may_have_different_types() -> None:
    kinds = (np.float32, np.float16, np.float16, np.float32)
    scale, bias, mean, variance = (RNG.random(3).astype(kind) + kind(0.5) for kind in kinds)
    made = g.module_builder("main")
    with made.function([("x", (2, 3), "f32")]) as (x,):
        made.outputs(
            [("y", g.batch_norm(x, *(g.weight(v, f"w{n}") for n, v in enumerate((scale, bias, mean, variance)))))]
        )
    module = made.finish()
    images = RNG.normal(size=(2, 3)).astype(np.float32)
    model = mlc.export_onnx(module, None)
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_allclose(mlc.load(model).run(images)[0], module.run(images)[0], rtol=1e-6)


def test_a_weight_is_written_once_and_the_bundled_model_goes_there_and_back() -> None:
    module = mlc.load(Path(mlc.__file__).parent / "demo" / "digits.onnx")
    images = RNG.random((3, 1, 8, 8), np.float32)
    np.testing.assert_allclose(
        run(mlc.export_onnx(module, None), [images])[0], module.run(images)[0], rtol=1e-4, atol=1e-6
    )
    table = mlc.Tensor(RNG.normal(size=(5, 5)))
    model = mlc.export_onnx(lambda x: x @ table + table, None, np.ones((5, 5)))
    assert [tuple(t.dims) for t in model.graph.initializer].count((5, 5)) == 1


def steps_of(x, w):  # type: ignore[no-untyped-def]
    shift = w.sum(0)

    def step(state, row):  # type: ignore[no-untyped-def]
        h = mnp.tanh(row @ w + state * shift)
        return h, (h * 2, h.sum())

    return mlc.scan(step, mnp.zeros(2), x), mlc.scan(step, mnp.ones(2), x, reverse=True)


CONTROL: dict[str, Callable] = {
    "scan": steps_of,
    "scan of nothing": lambda x, w: mlc.scan(lambda s, _: (s @ w.T @ w, s[0]), x[0] @ w, length=3),
    "sizes within a body": lambda x, w: mlc.scan(lambda s, r: (s + r.sum() * x.shape[0], None), 0.0, x)[0] + x.shape[0],
    "branch": lambda x, w: [
        mlc.cond(x[n, 0] > 0, lambda: {"a": x @ w, "b": x[0]}, lambda: {"a": -(x @ w), "b": x[1]}) for n in range(3)
    ],
    "branch in a loop": lambda x, w: mlc.scan(
        lambda s, r: (mlc.cond(r[0] > 0, lambda: s + w[0], lambda: s * w[1]), s), w[2], x
    ),
    "while": lambda x, w: mlc.while_loop(
        lambda s: mnp.logical_and(s[0] < 9, s[1].sum() < 40), lambda s: (s[0] + 1, s[1] + abs(x[0])), (0, abs(x[1]))
    ),
    "derivatives of a scan": lambda x, w: mlc.grad(lambda x, w: steps_of(x, w)[0][0].sum(), (0, 1))(x, w),
}


@pytest.mark.parametrize("name", CONTROL)
@pytest.mark.parametrize("rows", [3, "N"])
def test_loops_and_branches_have_bodies_there_too(name: str, rows: int | str) -> None:
    model = mlc.export_onnx(CONTROL[name], None, mlc.TensorSpec((rows, 4)), W)
    onnx.checker.check_model(model, full_check=True)
    for x in (X, -X) if rows == 3 else (X, RNG.normal(size=(5, 4)).astype(np.float32)):
        expected = mlc.tree.leaves(CONTROL[name](mlc.Tensor(x), mlc.Tensor(W)))
        for found in (run(model, [x, W]), mlc.load(model).run(x, W)):
            for one, other in zip(found, expected, strict=True):
                assert one.dtype == other.dtype and one.shape == other.shape
                np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [mlc.nn.LSTM, mlc.nn.GRU, mlc.nn.RNN])
@pytest.mark.parametrize("bias", [True, False])
def test_recurrent_layers_are_one_node_for_each_direction(kind: type, bias: bool) -> None:
    layer = kind(4, 6, layers=2, bidirectional=True, bias=bias)
    x = RNG.normal(size=(5, 3, 4)).astype(np.float32)
    lengths = np.array([5, 1, 3])
    for more in ((), (lengths,)):
        function = lambda x, *lengths: layer(x, lengths=lengths[0] if lengths else None)
        specs = [mlc.TensorSpec(("T", "N", 4)), *(mlc.TensorSpec(("N",), "i64") for _ in more)]
        model = mlc.export_onnx(function, None, *specs)
        onnx.checker.check_model(model, full_check=True)
        wanted = "Scan" if kind is mlc.nn.RNN else kind.__name__
        assert [node.op_type for node in model.graph.node].count(wanted) == 4
        for one, other in zip(run(model, [x, *more]), mlc.tree.leaves(function(x, *more)), strict=True):
            np.testing.assert_allclose(one, other.detach(), rtol=1e-4, atol=1e-5)


def test_a_transposed_convolution_is_one_node() -> None:
    layer = mlc.nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1)
    model = mlc.export_onnx(layer, None, mlc.TensorSpec(("N", 4, "H", "W")))
    assert [node.op_type for node in model.graph.node].count("ConvTranspose") == 1
    np.testing.assert_allclose(run(model, [IMAGE])[0], layer(IMAGE).detach(), rtol=1e-4, atol=1e-5)


def test_what_onnx_has_no_nodes_for_is_named() -> None:
    with pytest.raises(mlc.UnsupportedOp, match="no ONNX nodes for nonzero") as error:
        made = g.module_builder("main")
        with made.function([("x", ("N",), "f32")]) as (x,):
            made.outputs([("y", g.nonzero(g.cast(x, "bool")))])
        mlc.export_onnx(made.finish(), None)
    assert error.value.kinds[0].op == "nonzero"
    with pytest.raises(mlc.MlcError, match="exported as it is"):
        mlc.export_onnx(mlc.jit(lambda x: x).trace(X).module, None, X)
