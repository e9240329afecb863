"""Activations, the softmax family and losses against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.errors import ShapeError
from mlc.frontends.onnx import load
from tests.frontends.one_node import check, integers, interpreted, model, normal, reference

ACTIVATIONS: list[tuple[str, int, dict[str, Any]]] = [
    ("LeakyRelu", 16, {"alpha": 0.2}),
    ("Elu", 6, {"alpha": 0.7}),
    ("Selu", 6, {"alpha": 1.5, "gamma": 1.2}),
    ("Celu", 12, {"alpha": 0.8}),
    ("ThresholdedRelu", 10, {"alpha": 0.3}),
    ("Shrink", 9, {"lambd": 0.4, "bias": 0.1}),
    ("HardSigmoid", 6, {"alpha": 0.3, "beta": 0.4}),
    ("HardSwish", 14, {}),
    ("Softplus", 1, {}),
    ("Softsign", 1, {}),
    ("Mish", 18, {}),
    ("Swish", 24, {"alpha": 1.7}),
    ("Gelu", 20, {}),
    ("Gelu", 20, {"approximate": "tanh"}),
]


@pytest.mark.parametrize("op_type, opset, attributes", ACTIVATIONS)
def test_activation(op_type: str, opset: int, attributes: dict[str, Any]) -> None:
    x = np.concatenate([np.linspace(-6, 6, 41), [0.0, -0.0]]).astype(np.float32)
    check(op_type, [x], opset=max(opset, 7), **attributes)
    check(op_type, [np.zeros((2, 0), np.float32)], opset=max(opset, 7), **attributes)


@pytest.mark.parametrize("op_type", ["Softplus", "Mish"])
def test_no_overflow_far_from_zero(op_type: str) -> None:
    x = np.array([-1000, -100, 100, 1000], np.float32)
    found = interpreted(model(op_type, [x], opset=18), [x])[0]
    np.testing.assert_allclose(found, np.maximum(x, 0), atol=1e-6)


@pytest.mark.parametrize("slope", [(4,), (3, 1), (1,), (2, 3, 4)])
def test_prelu_broadcasts_its_slope(slope: tuple[int, ...]) -> None:
    check("PRelu", [normal(2, 3, 4), normal(*slope, seed=1)], opset=16)


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax", "Hardmax"])
@settings(max_examples=10, deadline=None)
@given(shape=st.lists(st.sampled_from([1, 2, 3, 7]), min_size=1, max_size=4), axis=st.integers(-4, 3))
def test_softmax_family(op_type: str, shape: list[int], axis: int) -> None:
    x = normal(*shape) * 3
    if -len(shape) <= axis < len(shape):
        check(op_type, [x], opset=13, axis=axis)
    if 0 <= axis < len(shape):
        check(op_type, [x], opset=11, axis=axis)  # all axes from `axis` on are one row
        check(op_type, [x], opset=7, axis=axis)


def test_softmax_of_large_values() -> None:
    check("Softmax", [np.array([[1e4, 1e4 + 1, -1e4]], np.float32)], opset=13)


def test_an_axis_out_of_range_is_refused() -> None:
    with pytest.raises(ShapeError, match="axis 3 is not one of the 2 axes"):
        load(model("Softmax", [normal(2, 3)], opset=13, axis=3))


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignored", [None, 1, -1])
@pytest.mark.parametrize("spatial", [(), (2, 3)])
def test_losses(reduction: str, weighted: bool, ignored: int | None, spatial: tuple[int, ...]) -> None:
    scores, labels = normal(5, 4, *spatial), integers(0, 4, 5, *spatial)
    if ignored is not None:
        labels.flat[0] = ignored
    inputs = [scores, labels, *([np.abs(normal(4, seed=1))] if weighted else [])]
    attributes = {"reduction": reduction} | ({} if ignored is None else {"ignore_index": ignored})
    check("NegativeLogLikelihoodLoss", inputs, opset=13, **attributes)
    check("SoftmaxCrossEntropyLoss", inputs, opset=13, outputs=2, **attributes)


def test_log_probabilities_are_the_second_output() -> None:
    scores, labels = normal(3, 4), integers(0, 4, 3)
    proto = model("SoftmaxCrossEntropyLoss", [scores, labels], opset=13, outputs=2)
    found = interpreted(proto, [scores, labels])
    for x, y in zip(found, reference(proto, [scores, labels]), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
