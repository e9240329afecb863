"""Normalisations against onnxruntime and NumPy in double precision."""

from __future__ import annotations

import numpy as np
import pytest

from mlc.errors import UnsupportedOp
from mlc.frontends.onnx import load
from tests.frontends.one_node import check, interpreted, model, normal


def statistics(channels: int) -> list[np.ndarray]:
    return [
        normal(channels, seed=1),
        normal(channels, seed=2),
        normal(channels, seed=3),
        np.abs(normal(channels, seed=4)),
    ]


@pytest.mark.parametrize("opset", [7, 9, 14, 15])
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (1, 3, 2, 5)])
def test_batch_normalization(opset: int, shape: tuple[int, ...]) -> None:
    check("BatchNormalization", [normal(*shape), *statistics(3)], opset=opset, epsilon=1e-3)


def test_batch_normalization_in_training_returns_running_statistics() -> None:
    x, (scale, bias, mean, var) = normal(4, 3, 5), statistics(3)
    proto = model("BatchNormalization", [x, scale, bias, mean, var], opset=15, outputs=3, training_mode=1, momentum=0.8)
    y, running_mean, running_var = interpreted(proto, [x, scale, bias, mean, var])
    batch_mean, batch_var = x.mean((0, 2)), x.var((0, 2))
    wide = [v[:, None] for v in (batch_mean, batch_var, scale, bias)]
    np.testing.assert_allclose(y, (x - wide[0]) / np.sqrt(wide[1] + 1e-5) * wide[2] + wide[3], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(running_mean, 0.8 * mean + 0.2 * batch_mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(running_var, 0.8 * var + 0.2 * batch_var, rtol=1e-5, atol=1e-6)


def test_training_outputs_of_early_versions_are_refused() -> None:
    with pytest.raises(UnsupportedOp, match="training form"):
        load(model("BatchNormalization", [normal(2, 3), *statistics(3)], opset=9, outputs=3))


@pytest.mark.parametrize("axis", [-1, 1, 0])
@pytest.mark.parametrize("bias", [True, False])
def test_layer_normalization(axis: int, bias: bool) -> None:
    x = normal(2, 3, 4)
    shape = x.shape[axis:]
    inputs = [x, normal(*shape, seed=1), normal(*shape, seed=2) if bias else None]
    check("LayerNormalization", inputs[: 3 if bias else 2], opset=17, axis=axis)
    check("LayerNormalization", inputs[: 3 if bias else 2], opset=17, axis=axis, outputs=3)


@pytest.mark.parametrize("axis", [-1, 1])
def test_rms_normalization(axis: int) -> None:
    x, scale = normal(2, 3, 4), normal(*(2, 3, 4)[axis:], seed=1)
    check("RMSNormalization", [x, scale], opset=23, axis=axis)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5)])
def test_instance_normalization(shape: tuple[int, ...]) -> None:
    check("InstanceNormalization", [normal(*shape), normal(3, seed=1), normal(3, seed=2)], opset=22)


def test_group_normalization_scales_channels() -> None:
    x, scale, bias = normal(2, 6, 4, 5), normal(6, seed=1), normal(6, seed=2)
    found = interpreted(model("GroupNormalization", [x, scale, bias], opset=21, num_groups=2), [x, scale, bias])[0]
    groups = x.reshape(2, 2, -1).astype(np.float64)
    y = (groups - groups.mean(2, keepdims=True)) / np.sqrt(groups.var(2, keepdims=True) + 1e-5)
    np.testing.assert_allclose(
        found, y.reshape(x.shape) * scale[:, None, None] + bias[:, None, None], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_local_response_normalization(size: int) -> None:
    if size % 2:  # onnxruntime takes odd sizes only
        check("LRN", [normal(2, 7, 3, 3)], opset=13, size=size, alpha=0.5, beta=0.6, bias=1.5)
    else:
        x = normal(1, 4, 1, 1)
        found = interpreted(model("LRN", [x], opset=13, size=2, alpha=1.0, beta=1.0, bias=1.0), [x])[0].ravel()
        v = x.ravel()
        after = np.append(v[1:] ** 2, 0)
        np.testing.assert_allclose(found, v / (1 + (v**2 + after) / 2), rtol=1e-5)


def test_mean_variance_normalization() -> None:
    check("MeanVarianceNormalization", [normal(2, 3, 4, 5)], opset=13, rtol=1e-4)


@pytest.mark.parametrize("p", [1, 2])
def test_lp_normalization_of_zeros_is_zero(p: int) -> None:
    x = normal(2, 3, 4)
    x[0, 1] = 0
    check("LpNormalization", [x], opset=22, p=p, axis=-1)


def test_layer_normalization_of_halves_keeps_their_type() -> None:
    x = (normal(2, 64) * 100).astype(np.float16)
    inputs = [x, np.ones(64, np.float16), np.zeros(64, np.float16)]
    found = interpreted(model("LayerNormalization", inputs, opset=17), inputs)[0]
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(1, keepdims=True)) / np.sqrt(wide.var(1, keepdims=True) + 1e-5)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found.astype(np.float64), expected, atol=2e-3)
