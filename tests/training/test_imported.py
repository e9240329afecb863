"""Training steps of imported models: which weights move, whose statistics follow, and the model that comes out."""

import logging
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from onnx import numpy_helper

import mlc
from mlc import nn
from mlc.errors import MlcError
from mlc.optim import SGD

RNG = np.random.default_rng(0)


def model(body: str, weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    proto = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]>\nmain (float[N, 3] x) => (float[N, 2] y) {{ {body} }}'
    )
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return proto


def random(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def batch(rows: int) -> tuple[np.ndarray, np.ndarray]:
    return random(rows, 3), random(rows, 2)


def test_small_weights_are_parameters_too_and_frozen_ones_stay(tmp_path: Path) -> None:
    weights = {"fc_w": random(3, 2), "fc_b": random(2)}
    proto = model("h = MatMul(x, fc_w)  y = Add(h, fc_b)", weights)
    step = mlc.train_step(proto, "mse", SGD(0.5))
    frozen = mlc.train_step(proto, "mse", SGD(0.5), freeze=["fc_w"])
    with pytest.raises(MlcError, match="the model takes x: 2 inputs were given"):
        step.evaluate(*batch(4))
    assert set(step.parameters) == {"fc_w", "fc_b"} and set(frozen.parameters) == {"fc_b"}
    w, b = weights["fc_w"], weights["fc_b"]
    for rows in (4, 1, 6):
        x, y = batch(rows)
        error = x @ w + b - y
        np.testing.assert_allclose(float(step(x, y)), (error**2).mean(), rtol=1e-5)
        w, b = w - x.T @ error / error.size, b - error.sum(0) / error.size
        frozen(x, y)
    np.testing.assert_allclose(step.parameters["fc_w"], w, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(step.parameters["fc_b"], b, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(step.evaluate(x), x @ w + b, rtol=1e-4, atol=1e-5)
    mlc.export_onnx(step.trained(), tmp_path / "trained.onnx")
    (found,) = onnxruntime.InferenceSession(tmp_path / "trained.onnx").run(None, {"x": x})
    np.testing.assert_allclose(found, x @ w + b, rtol=1e-4, atol=1e-5)
    changed = frozen.trained()
    assert (changed.weights.get("fc_w") == weights["fc_w"]).all()
    assert (changed.weights.get("fc_b") != weights["fc_b"]).all()


def test_statistics_stay_or_follow_the_batches() -> None:
    weights = {
        "scale": np.float32([1, 2]),
        "shift": np.float32([0, 1]),
        "mean": random(2),
        "var": np.float32([2, 3]),
        "w": random(3, 2),
    }
    proto = model("h = MatMul(x, w)  y = BatchNormalization(h, scale, shift, mean, var)", weights)
    still = mlc.train_step(proto, "mse", SGD(0.0))
    following = mlc.train_step(proto, "mse", SGD(0.0), train_statistics=True)
    assert set(still.parameters) == set(following.parameters) == {"scale", "shift", "w"}
    assert set(following.buffers) == {"mean", "var"} and still.buffers == {}
    x, y = batch(8)
    h = x @ weights["w"]
    mean, var = h.mean(0), h.var(0)
    for step, m, v in ((still, weights["mean"], weights["var"]), (following, mean, var)):
        expected = (h - m) / np.sqrt(v + 1e-5) * weights["scale"] + weights["shift"]
        np.testing.assert_allclose(float(step(x, y)), ((expected - y) ** 2).mean(), rtol=1e-4)
    np.testing.assert_allclose(following.buffers["mean"], 0.9 * weights["mean"] + 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(following.buffers["var"], 0.9 * weights["var"] + 0.1 * var, rtol=1e-4)
    kept = following.buffers
    stored = (h - kept["mean"].numpy()) / np.sqrt(kept["var"].numpy() + 1e-5) * weights["scale"] + weights["shift"]
    np.testing.assert_allclose(following.evaluate(x), stored, rtol=1e-3, atol=1e-5)


def test_first_values_that_are_equal_by_chance_part_in_training() -> None:
    # as exporters write fresh norms: ones and zeros are there once, and the others are Identity of them
    nodes = """mean = Identity(shift)  var = Identity(scale)  scale2 = Identity(scale)  shift2 = Identity(shift)  tied = Identity(w)
        h = MatMul(x, w)  n = BatchNormalization(h, scale, shift, mean, var)
        k = MatMul(x, tied)  m = BatchNormalization(k, scale2, shift2, mean, var)  y = Add(n, m)"""
    weights = {"w": random(3, 2), "scale": np.ones(2, np.float32), "shift": np.zeros(2, np.float32)}
    step = mlc.train_step(model(nodes, weights), "mse", SGD(0.1), train_statistics=True)
    assert set(step.parameters) == {"w", "scale", "shift", "scale2", "shift2"} and set(step.buffers) == {"mean", "var"}
    apart = {
        **weights,
        "scale2": weights["scale"],
        "shift2": weights["shift"],
        "mean": weights["shift"],
        "var": weights["scale"],
    }
    nodes = nodes[nodes.index("tied") :]
    plain = mlc.train_step(model(nodes, apart), "mse", SGD(0.1), train_statistics=True)
    for _ in range(3):
        given = batch(5)
        assert step(*given).item() == plain(*given).item()
    for name, value in plain.parameters.items():
        np.testing.assert_array_equal(step.parameters[name], value)


def test_weights_that_became_constants_are_named(caplog: pytest.LogCaptureFixture) -> None:
    proto = model("h = MatMul(x, w)  y = Add(h, b)", {"w": random(3, 2), "b": random(2)})
    with caplog.at_level(logging.WARNING, "mlc.train"):
        mlc.train_step(mlc.load(proto, trainable=True), "mse", SGD(0.1))
        assert not caplog.records
        with pytest.raises(MlcError, match="the model has no weights to train"):
            mlc.train_step(mlc.load(proto), "mse", SGD(0.1))
    assert "small weights are constants of the module and are not trained (w, b)" in caplog.text


def test_a_model_that_ends_in_softmax_is_no_source_of_logits(caplog: pytest.LogCaptureFixture) -> None:
    proto = model("h = MatMul(x, w)  y = Softmax(h)", {"w": random(3, 2)})
    proto.graph.node[1].name = "last"
    with caplog.at_level(logging.WARNING, "mlc.train"):
        mlc.train_step(proto, nn.mse_loss, SGD(0.1))
        mlc.train_step(mlc.load(proto, until="h", trainable=True), "cross_entropy", SGD(0.1))
        assert not caplog.records
        mlc.train_step(proto, "cross_entropy", SGD(0.1))
    assert "ends in a softmax, node 'last'" in caplog.text


def test_what_does_not_fit_is_refused_in_words() -> None:
    proto = model("h = MatMul(x, w)  y = Relu(h)", {"w": random(3, 2)})
    with pytest.raises(MlcError, match="there is no weight 'v'"):
        mlc.train_step(proto, "mse", SGD(0.1), freeze="v")
    with pytest.raises(MlcError, match="the model has no weights to train"):
        mlc.train_step(proto, "mse", SGD(0.1), freeze="*")
    with pytest.raises(MlcError, match="freeze and train_statistics are for imported models"):
        mlc.train_step(nn.Linear(3, 2), "mse", SGD(0.1), freeze="weight")
    with pytest.raises(MlcError, match="y"):
        mlc.train_step(proto, "mse", SGD(0.1))(random(4, 3), random(4, 5))
    with pytest.raises(MlcError, match=r"axis 1 of x is 4, and must be 3: it is \[N, 3\]"):
        mlc.train_step(proto, "mse", SGD(0.1))(random(4, 4), random(4, 2))
    proto = model("h = MatMul(x, w)  n = NonZero(h)  y = Cast<to = 1>(n)", {"w": random(3, 2)})
    proto.graph.node[1].name = "places"
    del proto.graph.output[0].type.tensor_type.shape.dim[:]
    with pytest.raises(MlcError, match="how many elements 'places' gives is counted when it runs"):
        mlc.train_step(proto, lambda y: y.sum(), SGD(0.1))(random(4, 3))
