"""Losses against NumPy in float64, at random shapes and at the ends of the range."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
from mlc import nn
from tests.nn.calls import random

SHAPES = st.tuples(st.integers(1, 7), st.integers(1, 5))


def log_softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    x = x - x.max(axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


def reduced(x: np.ndarray, reduction: str) -> np.ndarray:
    return {"none": lambda: x, "sum": x.sum, "mean": x.mean}[reduction]()


ELEMENTS = {
    nn.mse_loss: lambda x, t: (x - t) ** 2,
    nn.l1_loss: lambda x, t: abs(x - t),
    nn.huber_loss: lambda x, t: np.where(abs(x - t) < 1, (x - t) ** 2 / 2, abs(x - t) - 0.5),
    nn.binary_cross_entropy_with_logits: lambda x, t: -t * log_sigmoid(x) - (1 - t) * log_sigmoid(-x),
}


def log_sigmoid(x: np.ndarray) -> np.ndarray:
    return -np.log(1 + np.exp(-x))


@given(SHAPES, st.integers(0, 99))
@settings(max_examples=15, deadline=None)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("loss", ELEMENTS, ids=lambda f: f.__name__)
def test_losses_of_elements(loss, reduction: str, shape: tuple[int, ...], seed: int) -> None:
    x, target = 2 * random(shape, seed), np.random.default_rng(seed).random(shape)
    expected = reduced(ELEMENTS[loss](x, target), reduction)
    np.testing.assert_allclose(np.asarray(loss(mlc.Tensor(x), target, reduction=reduction)), expected, rtol=1e-12)


@given(st.integers(1, 6), st.integers(1, 5), st.sampled_from([(), (1,), (3,)]), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_cross_entropy_of_classes(rows: int, classes: int, more: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, target = 3 * random((rows, classes, *more), seed), rng.integers(0, classes, (rows, *more))
    logs = log_softmax(logits, 1)
    p = np.moveaxis(np.eye(classes)[target], -1, 1)
    kept = target != 0
    for smoothing in (0.0, 0.1):
        each = -((p * (1 - smoothing) + smoothing / classes) * logs).sum(1)
        found = nn.cross_entropy(logits, target, axis=1, label_smoothing=smoothing, reduction="none")
        np.testing.assert_allclose(np.asarray(found), each, rtol=1e-10, atol=1e-12)
        found = nn.cross_entropy(logits, p, axis=1, label_smoothing=smoothing)
        np.testing.assert_allclose(np.asarray(found), each.mean(), rtol=1e-10, atol=1e-12)
        if kept.any():
            found = nn.cross_entropy(logits, target, axis=1, label_smoothing=smoothing, ignore_index=0)
            np.testing.assert_allclose(np.asarray(found), each[kept].mean(), rtol=1e-10, atol=1e-12)
    found = nn.nll_loss(logs, target, axis=1, ignore_index=0, reduction="sum")
    np.testing.assert_allclose(np.asarray(found), -(logs * p).sum(1)[kept].sum(), rtol=1e-10, atol=1e-12)


@given(SHAPES, st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_kl_divergence(shape: tuple[int, int], seed: int) -> None:
    p = np.exp(log_softmax(random(shape, seed)))
    p[:, 0] = p[:, 0] if shape[1] == 1 else 0
    p /= p.sum(1, keepdims=True)
    q = np.exp(log_softmax(random(shape, seed + 1)))
    expected = np.where(p > 0, p * np.log(np.where(p > 0, p, 1) / q), 0).sum(1)
    for reduction in ("mean", "sum", "none"):
        found = nn.kl_divergence(np.log(q), p, reduction=reduction)
        np.testing.assert_allclose(np.asarray(found), reduced(expected, reduction), rtol=1e-10, atol=1e-14)


def test_losses_stay_finite_at_the_ends() -> None:
    far = np.array([[1e4, -1e4, 0], [-3e38, 3e38, 0]], np.float32)
    found = np.asarray(nn.cross_entropy(far, np.array([1, 1]), reduction="none"))
    np.testing.assert_allclose(found, [2e4, 0])
    tiny = np.array([[0, 40.0]], np.float32)
    assert float(nn.cross_entropy(tiny, np.array([1]))) == pytest.approx(np.exp(-40.0))
    ends = np.array([1e4, -1e4, 90, -90], np.float32)
    found = np.asarray(nn.binary_cross_entropy_with_logits(ends, np.array([0, 1, 1, 0]), reduction="none"))
    np.testing.assert_allclose(found, [1e4, 1e4, np.exp(-90.0), np.exp(-90.0)], rtol=1e-6, atol=1e-44)
    ignored = nn.cross_entropy(far, np.array([-100, 1]), ignore_index=-100)
    assert float(ignored) == 0
    certain = nn.kl_divergence(np.array([[0, -np.inf]], np.float32), np.array([[1, 0]]))
    assert float(certain) == 0
    assert float(nn.huber_loss(np.array([1e20], np.float32), np.zeros(1))) == pytest.approx(1e20)


def test_gradients() -> None:
    x, target = random((4, 3)), np.random.default_rng(1).random((4, 3)) + 0.1
    p, classes = target / target.sum(1, keepdims=True), np.array([0, 2, 1, 1])
    functions = [lambda x, loss=loss: loss(x, target) for loss in ELEMENTS]
    functions += [
        lambda x: nn.cross_entropy(x, classes, label_smoothing=0.2, ignore_index=1),
        lambda x: nn.cross_entropy(x, p),
        lambda x: nn.kl_divergence(nn.functional.log_softmax(x), p),
    ]
    for function in functions:
        mlc.check_grads(function, [x], directions=1)
    at_zero = mlc.grad(lambda x: nn.binary_cross_entropy_with_logits(x, np.array([0.0, 0.25, 1.0]), "sum"))(np.zeros(3))
    np.testing.assert_allclose(np.asarray(at_zero), [0.5, 0.25, -0.5])
    assert np.asarray(mlc.grad(lambda x: nn.l1_loss(x, x * 0))(np.zeros(2))).tolist() == [0, 0]


def test_losses_compile() -> None:
    logits, target = random((4, 5), dtype="float32"), np.array([0, 4, 2, 1])
    both = mlc.jit(lambda x, t: (nn.cross_entropy(x, t, label_smoothing=0.1, ignore_index=2), nn.mse_loss(x, x * 2)))
    expected = nn.cross_entropy(logits, target, label_smoothing=0.1, ignore_index=2)
    np.testing.assert_allclose(np.asarray(both(logits, target)[0]), np.asarray(expected), rtol=1e-6)
    np.testing.assert_allclose(np.asarray(both(logits, target)[1]), (logits**2).mean(), rtol=1e-5)


def test_what_does_not_fit_is_said() -> None:
    logits = random((4, 5))
    with pytest.raises(mlc.ShapeError, match=r"mse_loss: the predictions are f64\[4, 5\], the target f64\[4, 1\]"):
        nn.mse_loss(logits, logits[:, :1])
    with pytest.raises(
        mlc.ShapeError, match=r"the target is i64\[4, 1\], the predictions f64\[4, 5\] with classes along axis -1"
    ):
        nn.cross_entropy(logits, np.zeros((4, 1), int))
    for call in (nn.cross_entropy, mlc.jit(lambda x, t: nn.cross_entropy(x, t))):
        for wrong in (5, -1):
            with pytest.raises(mlc.OutOfRange, match=rf"\[3\] is {wrong}, outside of 0..4"):
                call(logits, np.array([0, 1, 2, wrong]))
    with pytest.raises(mlc.DTypeError, match=r"nll_loss: the target is f64\[4\], not integers"):
        nn.nll_loss(logits, np.zeros(4))
    with pytest.raises(mlc.DTypeError, match=r"l1_loss: the predictions are i64\[2\], not floats"):
        nn.l1_loss(np.array([1, 2]), np.array([1, 2]))
    with pytest.raises(mlc.MlcError, match="reduction is mean, sum or none, not 'avg'"):
        nn.mse_loss(logits, logits, reduction="avg")
    with pytest.raises(mlc.MlcError, match="delta is 0, and must be positive"):
        nn.huber_loss(logits, logits, delta=0)
