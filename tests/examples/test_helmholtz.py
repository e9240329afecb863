"""The case study of the cost of a gradient: three gradients that agree, and work that does not grow with n."""

import numpy as np
import pytest

import mlc
from examples import helmholtz


def by_hand(x: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The gradients [points, n] in NumPy."""
    bx, plus, minus = (x @ b)[:, None], 1 + 2**0.5, 1 - 2**0.5
    mixing = np.log(x / (1 - bx)) + 1 + x.sum(1, keepdims=True) * b / (1 - bx)
    xax = (x @ a * x).sum(1, keepdims=True)
    log = np.log((1 + plus * bx) / (1 + minus * bx))
    slope = plus / (1 + plus * bx) - minus / (1 + minus * bx)
    factor = xax / (8**0.5 * bx)
    return mixing - (2 * x @ a / (8**0.5 * bx) - factor / bx * b) * log - factor * slope * b


@pytest.mark.parametrize("n, points", [(1, 3), (7, 1), (16, 13)])
def test_the_gradients_are_those_of_calculus(n, points):
    arguments = helmholtz.problem(n, points)
    expected = by_hand(*arguments)
    np.testing.assert_allclose(mlc.jit(helmholtz.reverse)(*arguments), expected, rtol=1e-11)
    np.testing.assert_allclose(mlc.jit(helmholtz.forward)(*arguments), expected.T, rtol=1e-11)
    np.testing.assert_allclose(mlc.jit(helmholtz.differences)(*arguments), expected.T, rtol=1e-4, atol=1e-5)


def test_the_graph_of_the_gradient_is_a_small_multiple_of_that_of_f_for_every_n():
    sizes = (2, 8, 50)
    assert len({helmholtz.ops(helmholtz.free_energy, n) for n in sizes}) == 1
    assert len({helmholtz.ops(helmholtz.reverse, n) for n in sizes}) == 1
    assert helmholtz.ops(helmholtz.reverse, 8) < 3 * helmholtz.ops(helmholtz.free_energy, 8)


def test_reverse_mode_is_the_cheapest(capsys):
    helmholtz.table([1], 1)
    cost = helmholtz.cost(30, rounds=5)
    assert cost.reverse < cost.forward / 2 and cost.reverse < cost.differences / 2
    assert "differences" in capsys.readouterr().out
