"""Optimiser steps of ai.onnx.preview.training against the formulas in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from mlc.errors import InvalidModel
from mlc.frontends.onnx import load
from mlc.ir import interpreter
from tests.frontends.one_node import normal

DOMAIN = "ai.onnx.preview.training"


def step(op_type: str, steps: int, tensors: list[np.ndarray], outputs: int, **attributes: Any) -> list[np.ndarray]:
    inputs = [np.array(0.1, np.float32), np.array(steps, np.int64), *tensors]
    names = [f"x{i}" for i in range(len(inputs))]
    node = onnx.helper.make_node(op_type, names, [f"y{i}" for i in range(outputs)], domain=DOMAIN, **attributes)
    graph = onnx.helper.make_graph(
        [node],
        "graph",
        [
            onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            for n, x in zip(names, inputs, strict=True)
        ],
        [onnx.ValueInfoProto(name=f"y{i}") for i in range(outputs)],
    )
    opsets = [onnx.helper.make_opsetid(DOMAIN, 1), onnx.helper.make_opsetid("", 20)]
    return interpreter.run(load(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)), inputs)


@pytest.mark.parametrize("steps", [0, 3])
def test_adam(steps: int) -> None:
    x, gradient, mean = (normal(3, seed=i) for i in range(3))
    variance = np.abs(normal(3, seed=3))
    attributes = {"alpha": 0.9, "beta": 0.99, "epsilon": 1e-3, "norm_coefficient": 0.1, "norm_coefficient_post": 0.2}
    found = step("Adam", steps, [x, gradient, mean, variance], 3, **attributes)
    g = 0.1 * x + gradient
    m, v = 0.9 * mean + 0.1 * g, 0.99 * variance + 0.01 * g * g
    rate = 0.1 * (np.sqrt(1 - 0.99**steps) / (1 - 0.9**steps) if steps else 1)
    expected = [0.8 * (x - rate * m / (np.sqrt(v) + 1e-3)), m, v]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


def test_adagrad_of_two_parameters_groups_by_kind() -> None:
    xs, gradients = [normal(2), normal(3)], [normal(2, seed=1), normal(3, seed=1)]
    sums = [np.abs(normal(2, seed=2)), np.abs(normal(3, seed=2))]
    found = step("Adagrad", 4, [*xs, *gradients, *sums], 4, decay_factor=0.5, epsilon=1e-3)
    totals = [s + g * g for s, g in zip(sums, gradients, strict=True)]
    steps = [0.1 / 3 * g / (np.sqrt(t) + 1e-3) for g, t in zip(gradients, totals, strict=True)]
    for a, b in zip(found, [x - s for x, s in zip(xs, steps, strict=True)] + totals, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


@pytest.mark.parametrize("mode", ["standard", "nesterov"])
@pytest.mark.parametrize("steps", [0, 2])
def test_momentum(mode: str, steps: int) -> None:
    x, gradient, velocity = (normal(4, seed=i) for i in range(3))
    found = step("Momentum", steps, [x, gradient, velocity], 2, alpha=0.9, beta=0.3, norm_coefficient=0.01, mode=mode)
    g = 0.01 * x + gradient
    v = 0.9 * velocity + (0.3 if steps else 1) * g
    expected = [x - 0.1 * (v if mode == "standard" else g + 0.9 * v), v]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


def test_incomplete_groups_are_refused() -> None:
    with pytest.raises(InvalidModel, match="2 tensors do not form groups of 3"):
        step("Adagrad", 0, [normal(2), normal(2)], 2)
