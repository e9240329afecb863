"""The case study of training: steps against the same methods in NumPy, norms against NumPy, and weight decay."""

import numpy as np
import pytest

from examples import training_dynamics as example

L = example.CURVATURES


def steps_of_momentum(rate, beta, nesterov, target=1e-8, most=5000):
    w, v, last = example.START.copy(), np.zeros(2), 0
    for n in range(1, most + 1):
        v = beta * v + L * w
        w = w - rate * (L * w + beta * v if nesterov else v)
        if 0.5 * (L * w * w).sum() >= target:
            last = n
    return last + 1


def steps_of_adam(rate, target=1e-8, most=5000):
    w, m, v, last = example.START.copy(), np.zeros(2), np.zeros(2), 0
    for n in range(1, most + 1):
        g = L * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w = w - rate * (m / (1 - 0.9**n)) / (np.sqrt(v / (1 - 0.999**n)) + 1e-8)
        if 0.5 * (L * w * w).sum() >= target:
            last = n
    return last + 1


def test_each_method_takes_as_many_steps_as_in_numpy():
    found = {name: example.steps_to(method) for name, method in example.methods().items()}
    assert found["gradient descent"] == steps_of_momentum(2 / 101, 0, False)
    assert found["momentum"] == steps_of_momentum(4 / 121, (9 / 11) ** 2, False)
    assert found["Nesterov"] == steps_of_momentum(1 / 100, 9 / 11, True)
    assert found["Adam"] == steps_of_adam(0.1)
    assert found["momentum"] < found["Nesterov"] < found["Adam"] < found["gradient descent"]


def test_newton_is_there_at_once():
    np.testing.assert_allclose(example.newton_step(np.array([3.0, -7.0])), [0, 0], atol=1e-14)


@pytest.mark.parametrize("variance", [1, 3])
def test_norms_are_those_of_numpy(variance):
    layers, n, rows = 4, 7, 3
    found, slopes = example.norms(variance, layers, n, rows)
    random = np.random.default_rng(0)
    weights = random.standard_normal((layers, n, n)) * (variance / n) ** 0.5
    x, c = random.standard_normal((rows, n)), random.standard_normal((rows, n))
    every, backwards = [], [c]
    for w in weights:
        every.append(np.maximum((every[-1] if every else x) @ w, 0))
    for w, y in zip(weights[:0:-1], every[:0:-1], strict=True):
        backwards.append((backwards[-1] * (y > 0)) @ w.T)
    np.testing.assert_allclose(found, [np.sqrt((y * y).mean()) for y in every], rtol=1e-12)
    np.testing.assert_allclose(slopes, [np.sqrt((y * y).mean()) for y in backwards[::-1]], rtol=1e-12)


def test_norms_vanish_stay_or_explode():
    ends = [example.norms(variance, n=64) for variance in (1, 2, 3)]
    for kind in (0, 1):
        sizes = [end[kind][-1 if kind == 0 else 0] for end in ends]
        assert sizes[0] < 1e-5 and 0.05 < sizes[1] < 20 and sizes[2] > 1e3


def test_decay_is_the_penalty_for_gradient_descent_and_not_for_adam():
    found = example.decayed()
    decay, penalty = found["gradient descent"]
    np.testing.assert_allclose(decay, penalty, rtol=1e-12)
    decay, penalty = found["Adam"]
    assert np.abs(decay - penalty).max() > 0.1


def test_the_tables_are_printed(capsys):
    example.table_of_decay()
    assert capsys.readouterr().out.startswith("gradient descent  decay")
