"""LSTM, GRU and RNN against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.errors import UnsupportedOp
from mlc.frontends.onnx import load
from tests.frontends.one_node import check, model, normal, reference, run

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
HIDDEN = 3
DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


def layer(op_type: str, steps: int, batch: int, directions: int = 1) -> list[np.ndarray | None]:
    """x, W, R, B."""
    rows = GATES[op_type] * HIDDEN
    return [
        normal(steps, batch, 2),
        normal(directions, rows, 2, seed=1),
        normal(directions, rows, HIDDEN, seed=2),
        normal(directions, 2 * rows, seed=3),
    ]


@pytest.mark.parametrize("op_type", GATES)
@settings(max_examples=12, deadline=None)
@given(
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
    steps=st.integers(1, 4),
    batch=st.integers(1, 3),
    bias=st.booleans(),
    lengths=st.booleans(),
    state=st.booleans(),
)
def test_directions_lengths_and_states(
    op_type: str, direction: str, steps: int, batch: int, bias: bool, lengths: bool, state: bool
) -> None:
    directions = 2 if direction == "bidirectional" else 1
    x, w, r, b = layer(op_type, steps, batch, directions)
    inputs = [x, w, r, b if bias else None, np.arange(batch, dtype=np.int32) % steps + 1 if lengths else None]
    if state:
        inputs.append(normal(directions, batch, HIDDEN, seed=4))
        inputs += [normal(directions, batch, HIDDEN, seed=5)] if op_type == "LSTM" else []
    while inputs[-1] is None:
        inputs.pop()
    outputs = 3 if op_type == "LSTM" else 2
    check(op_type, inputs, opset=14, outputs=outputs, hidden_size=HIDDEN, direction=direction)


@pytest.mark.parametrize("linear_before_reset", [0, 1])
@pytest.mark.parametrize("bias", [False, True])
def test_gru_reset_before_or_after_the_product(linear_before_reset: int, bias: bool) -> None:
    inputs = layer("GRU", 4, 2)
    given_inputs = inputs if bias else inputs[:3]
    check("GRU", given_inputs, opset=14, outputs=2, hidden_size=HIDDEN, linear_before_reset=linear_before_reset)


def test_lstm_peepholes() -> None:
    inputs = [*layer("LSTM", 4, 2), None, None, None, normal(1, 3 * HIDDEN, seed=6)]
    check("LSTM", inputs, opset=14, outputs=3, hidden_size=HIDDEN)


def test_lstm_coupled_gates_follow_the_definition() -> None:
    x, w, r, b = layer("LSTM", 3, 2)
    proto = model("LSTM", [x, w, r, b], opset=14, outputs=3, hidden_size=HIDDEN, input_forget=1)
    h = c = np.zeros((2, HIDDEN))
    assert w is not None and r is not None and b is not None and x is not None
    for step in x.astype(np.float64):
        gates = step @ w[0].T + h @ r[0].T + b[0, : 4 * HIDDEN] + b[0, 4 * HIDDEN :]
        i, o, _, candidate = np.split(gates, 4, axis=1)
        i = 1 / (1 + np.exp(-i))
        c = (1 - i) * c + i * np.tanh(candidate)
        h = np.tanh(c) / (1 + np.exp(-o))
    y, last_h, last_c = run(load(proto), [x, w, r, b])
    np.testing.assert_allclose(last_h[0], h, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(last_c[0], c, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(y[-1, 0], h, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "op_type, activations, more",
    [
        ("LSTM", ["HardSigmoid", "Softsign", "Relu"], {"activation_alpha": [0.3], "activation_beta": [0.4]}),
        ("GRU", ["Sigmoid", "LeakyRelu"], {"activation_alpha": [0.1]}),
        ("RNN", ["ScaledTanh"], {"activation_alpha": [0.7], "activation_beta": [0.9]}),
        ("RNN", ["Elu"], {"activation_alpha": [0.5]}),
        ("RNN", ["Affine"], {"activation_alpha": [0.5], "activation_beta": [0.1]}),
        ("RNN", ["ThresholdedRelu"], {"activation_alpha": [0.5]}),
        ("RNN", ["Softplus"], {}),
    ],
)
def test_activations(op_type: str, activations: list[str], more: dict[str, Any]) -> None:
    outputs = 3 if op_type == "LSTM" else 2
    inputs = layer(op_type, 3, 2)
    check(op_type, inputs, opset=14, outputs=outputs, hidden_size=HIDDEN, activations=activations, **more)


@pytest.mark.parametrize("op_type", GATES)
def test_clip_bounds_the_gates(op_type: str) -> None:
    inputs = layer(op_type, 3, 2)
    check(op_type, inputs, opset=14, outputs=2, hidden_size=HIDDEN, clip=0.5)


@pytest.mark.parametrize("op_type", GATES)
def test_batch_first_layout_only_moves_axes(op_type: str) -> None:
    x, w, r, b = layer(op_type, 4, 2, 2)
    assert x is not None
    attributes = {"hidden_size": HIDDEN, "direction": "bidirectional"}
    time_first = model(op_type, [x, w, r, b], opset=14, outputs=2, **attributes)
    y, h = reference(time_first, [x, w, r, b])
    batch_x = np.ascontiguousarray(x.transpose(1, 0, 2))
    batch_first = model(op_type, [batch_x, w, r, b], opset=14, outputs=2, layout=1, **attributes)
    found_y, found_h = run(load(batch_first), [batch_x, w, r, b])
    np.testing.assert_allclose(found_y, y.transpose(2, 0, 1, 3), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found_h, h.transpose(1, 0, 2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("op_type", GATES)
def test_steps_and_batch_are_symbols(op_type: str) -> None:
    x, w, r, b = layer(op_type, 1, 1)
    proto = model(
        op_type, [x, w, r, b], opset=14, outputs=2, constants=[1, 2, 3], shapes={0: ("T", "N", 2)}, hidden_size=HIDDEN
    )
    module = load(proto)
    for steps, batch in [(1, 1), (5, 3), (2, 7)]:
        x = normal(steps, batch, 2)
        for found, expected in zip(run(module, [x]), reference(proto, [x]), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(UnsupportedOp, match="activation 'Cubic'"):
        load(model("RNN", layer("RNN", 1, 1), opset=14, hidden_size=HIDDEN, activations=["Cubic"]))
