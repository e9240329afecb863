"""Training steps of modules of mlc.nn: parameters by name, frozen ones, buffers, modes, and the noise of a key."""

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc import nn
from mlc.errors import MlcError
from mlc.optim import SGD, Adam

RNG = np.random.default_rng(0)


class Counted(nn.Module):
    """A linear layer that keeps the mean of its inputs, and is noisy in training."""

    def __init__(self) -> None:
        self.linear = nn.Linear(3, 2)
        self.mean = nn.Buffer(np.zeros(3, np.float32))

    def forward(self, x):
        if not self.training:
            return self.linear(x - self.mean)
        self.mean = 0.5 * self.mean + 0.5 * x.mean(0)
        return self.linear(x)


def batch(rows: int = 4) -> tuple:
    return RNG.normal(size=(rows, 3)).astype(np.float32), RNG.normal(size=(rows, 2)).astype(np.float32)


def test_a_module_is_trained_and_takes_the_numbers_back() -> None:
    net = Counted()
    step = mlc.train_step(net, "mse", SGD(0.5))
    weight, mean = net.linear.weight.numpy().copy(), np.zeros(3)
    bias = net.linear.bias.numpy().copy()
    for _ in range(3):
        x, y = batch()
        error = x @ weight.T + bias - y
        np.testing.assert_allclose(float(step(x, y)), (error**2).mean(), rtol=1e-5)
        weight, bias = weight - 0.5 * 2 * error.T @ x / error.size, bias - 0.5 * 2 * error.sum(0) / error.size
        mean = 0.5 * mean + 0.5 * x.mean(0)
    np.testing.assert_allclose(step.parameters["linear.weight"], weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(step.buffers["mean"], mean, rtol=1e-5, atol=1e-7)
    assert net.training and (net.mean.numpy() == 0).all()
    np.testing.assert_allclose(step.evaluate(x), (x - mean) @ weight.T + bias, rtol=1e-4, atol=1e-5)
    assert net.training
    net.load_state_dict({**step.parameters, **step.buffers})
    np.testing.assert_allclose(net.eval()(x), step.evaluate(x), rtol=1e-5, atol=1e-6)


def test_a_module_in_another_mode_is_compiled_again() -> None:
    net = Counted()
    step = mlc.train_step(net, nn.mse_loss, Adam(0.1))
    x, y = batch()
    step(x, y)
    kept = step.buffers["mean"].numpy()
    net.eval()
    step(x, y)
    np.testing.assert_array_equal(step.buffers["mean"], kept)


def test_frozen_parameters_stay() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    net[0].requires_grad_(False)
    step = mlc.train_step(net, nn.mse_loss, SGD(0.1))
    x, y = batch()
    first, second = float(step(x, y)), float(step(x, y))
    assert second < first and set(step.parameters) == {"2.weight", "2.bias"}


def test_what_does_not_fit_is_refused_in_words() -> None:
    net = nn.Linear(3, 2)
    with pytest.raises(MlcError, match="Linear has parameters of its own"):
        mlc.train_step(net, "mse", SGD(0.1), {"w": mnp.ones(1)})
    with pytest.raises(MlcError, match="there is no loss 'mean_square'") as error:
        mlc.train_step(net, "mean_square", SGD(0.1))
    assert "cross_entropy" in str(error.value.remedy)
    with pytest.raises(MlcError, match="the parameters of <lambda> are missing"):
        mlc.train_step(lambda p: p, None, SGD(0.1))
