"""Recurrent layers against steps written out in NumPy in float64: layers, directions, lengths, order of axes."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects import scf

import mlc
from mlc import nn
from mlc.frontends.trace.pytree import leaves_of
from mlc.ir.kernel.program import CallOp
from mlc.passes.graph.fuse import Fuse
from mlc.passes.kernel.lowering import OutlineKernels
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import graph_passes
from tests.nn.calls import check_calls, random

Cell = Callable[[np.ndarray, list, dict], list]  # (x, states, parameters) -> states


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def rnn(x: np.ndarray, states: list, p: dict) -> list:
    return [np.tanh(x @ p["weight_ih"].T + p["bias_ih"] + states[0] @ p["weight_hh"].T + p["bias_hh"])]


def gru(x: np.ndarray, states: list, p: dict) -> list:
    (h,) = states
    r, z, n = np.split(x @ p["weight_ih"].T + p["bias_ih"], 3, -1)
    r_h, z_h, n_h = np.split(h @ p["weight_hh"].T + p["bias_hh"], 3, -1)
    z = sigmoid(z + z_h)
    return [(1 - z) * np.tanh(n + sigmoid(r + r_h) * n_h) + z * h]


def lstm(x: np.ndarray, states: list, p: dict) -> list:
    h, c = states
    gates = x @ p["weight_ih"].T + p["bias_ih"] + h @ p["weight_hh"].T + p["bias_hh"]
    i, f, g, o = np.split(gates, 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


KINDS = {nn.RNN: rnn, nn.GRU: gru, nn.LSTM: lstm}


def reference(layer: nn.Module, cell: Cell, x: np.ndarray, states: list, lengths: np.ndarray) -> tuple:
    """(outputs, final states) of x [steps, batch, inputs], item by item of the batch."""
    parameters = {name: np.asarray(p, np.float64) for name, p in layer.named_parameters()}
    finals = [np.zeros_like(s) for s in states]
    directions = 2 if layer.bidirectional else 1
    for number in range(layer.layers * directions):
        suffix = f"_l{number // directions}" + ("_reverse" if number % directions else "")
        own = {
            n[: -len(suffix)]: p
            for n, p in parameters.items()
            if n.endswith(suffix) and n[: -len(suffix)].count("_") == 1
        }
        own = {"bias_ih": 0.0, "bias_hh": 0.0} | own
        y = np.zeros((*x.shape[:2], layer.hidden))
        for item, length in enumerate(lengths):
            now = [s[number, item] for s in states]
            for t in range(length)[:: -1 if number % directions else 1]:
                now = cell(x[t, item], now, own)
                y[t, item] = now[0]
            for final, state in zip(finals, now, strict=True):
                final[number, item] = state
        outputs = y if number % directions == 0 else np.concatenate([outputs, y], -1)  # noqa: F821
        if number % directions == directions - 1:
            x = outputs
    return x, finals


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(1, 2)),
    st.booleans(), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
@settings(max_examples=12, deadline=None)
def test_layers_of_any_sizes(kind, sizes: tuple, both: bool, first: bool, bias: bool, ends: bool) -> None:
    steps, batch, inputs, hidden, layers = sizes
    layer = kind(inputs, hidden, layers, bias=bias, batch_first=first, bidirectional=both, dtype="f64")
    x = random((steps, batch, inputs))
    count = layers * (2 if both else 1)
    states = [random((count, batch, hidden), k + 1) for k in range(kind.states)]
    lengths = np.random.default_rng(0).integers(0, steps + 1, batch) if ends else np.full(batch, steps)
    y, finals = reference(layer, KINDS[kind], x, states, lengths)
    state = tuple(states) if kind is nn.LSTM else states[0]
    options = {"lengths": lengths} if ends else {}
    found, last = layer(x.swapaxes(0, 1) if first else x, state, **options)
    found = np.asarray(found)
    np.testing.assert_allclose(found.swapaxes(0, 1) if first else found, y, rtol=1e-9, atol=1e-12)
    for one, other in zip(last if kind is nn.LSTM else [last], finals, strict=True):
        np.testing.assert_allclose(np.asarray(one), other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_they_compile(kind) -> None:
    layer, x = kind(3, 4, 2, bidirectional=True), random((3, 2, 3), dtype="float32")
    y, finals = reference(layer, KINDS[kind], x, [np.zeros((4, 2, 4))] * kind.states, np.full(2, 3))
    check_calls(layer, (y, tuple(finals) if kind is nn.LSTM else finals[0]), x)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_gradients(kind) -> None:
    layer = kind(2, 3, bidirectional=True, dtype="f64")
    parameters = {name: np.asarray(p) for name, p in layer.named_parameters()}

    def run(p: dict, x: mlc.Tensor) -> mlc.Tensor:
        return nn.functional_call(layer, p, {}, x)[0][0]

    mlc.check_grads(run, [parameters, random((3, 2, 2))], directions=1)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_gradients_compiled_for_any_number_of_steps_and_rows(kind) -> None:
    """In two directions, against eager gradients in float64; threads give the same bits."""
    layer = kind(
        5, 32, 2, bidirectional=True, key=mlc.random.key(0)
    )  # weights part into panels for some kinds, not for all
    parameters = {name: np.asarray(p) for name, p in layer.named_parameters()}

    def loss(p: dict, x: mlc.Tensor, c: mlc.Tensor) -> mlc.Tensor:
        return (nn.functional_call(layer, p, {}, x)[0][0] * c).sum()

    gradient = mlc.grad(loss, argnums=(0, 1))
    shapes = {"x": ("T", "N", 5), "c": ("T", "N", 64)}
    compiled = [mlc.jit(gradient, shapes=shapes, threads=threads) for threads in (1, 2)]
    for steps, rows in ((0, 2), (1, 1), (6, 3)):
        x, c = random((steps, rows, 5), 1), random((steps, rows, 64), 2)
        exact = leaves_of(gradient({n: p.astype(np.float64) for n, p in parameters.items()}, x, c))
        found, again = (leaves_of(f(parameters, x.astype(np.float32), c.astype(np.float32))) for f in compiled)
        for wanted, one, other in zip(exact, found, again, strict=True):
            np.testing.assert_allclose(np.asarray(one), np.asarray(wanted), rtol=1e-4, atol=2e-5)
            assert np.array_equal(np.asarray(one), np.asarray(other))


def kernels_of_steps(module: mlc.Module) -> list[list[str]]:
    """The kinds of the kernels that each loop of a module calls in a step."""
    calls: list[list[str]] = []
    PassManager(
        [*graph_passes(2), Fuse(), OutlineKernels()],
        callback=lambda number, done, changed: calls.extend(
            [op.kernel.split("_")[0] for op in loop.body.block.ops if isinstance(op, CallOp)]
            for loop in changed.main.walk()
            if done.name == "outline" and isinstance(loop, scf.ForOp)
        ),
    ).run(module)
    return calls


def test_a_step_of_an_lstm_is_a_product_and_a_cell_in_both_directions() -> None:
    """The product with the state and one kernel of all gates; back, one kernel of all their gradients and the product with the weights."""
    layer = nn.LSTM(16, 64, 2)
    step = mlc.train_step(layer, lambda out: out[0].sum(), mlc.optim.SGD(0.1))
    found = kernels_of_steps(step.trace(random((12, 3, 16), dtype="float32")))
    assert found == [["contraction", "elementwise"]] * 2 + [["elementwise", "contraction"]] * 2


def test_a_relu_and_dropout_between_layers() -> None:
    layer, x = nn.RNN(2, 16, 2, activation="relu", dropout=1.0), random((4, 1, 2), dtype="float32")
    y, _ = nn.functional_call(layer, {}, {}, x, key=mlc.random.key(0))[0]
    other = nn.functional_call(layer, {}, {}, -x, key=mlc.random.key(0))[0][0]
    np.testing.assert_array_equal(np.asarray(y), np.asarray(other))  # nothing of x comes through
    assert (np.asarray(y) >= 0).all()
    layer.eval()
    assert (np.asarray(layer(x)[0]) != np.asarray(layer(-x)[0])).any()


def test_what_does_not_fit_is_said() -> None:
    x = np.zeros((4, 2, 3), np.float32)
    with pytest.raises(mlc.ShapeError, match=r"LSTM: x is f32\[4, 2, 3\], and must be \[batch, steps, 5\]"):
        nn.LSTM(5, 2, batch_first=True)(x)
    with pytest.raises(mlc.ShapeError, match=r"the state is f32\[1, 2, 3\], and must be .* = \[2, 2, 2\]"):
        nn.GRU(3, 2, bidirectional=True)(x, np.zeros((1, 2, 3), np.float32))
    with pytest.raises(mlc.MlcError, match="the state of an LSTM is a pair"):
        nn.LSTM(3, 2)(x, np.zeros((1, 2, 2), np.float32))
    with pytest.raises(mlc.MlcError, match="activation is 'sin', and may be 'tanh' or 'relu'"):
        nn.RNN(3, 2, activation="sin")
    with pytest.raises(mlc.ShapeError, match="lengths are i64"):
        nn.GRU(3, 2)(x, lengths=np.array([1, 2, 3]))
    assert repr(nn.LSTM(3, 2, 2, bidirectional=True)) == "LSTM(3, 2, layers=2, bidirectional=True)"
