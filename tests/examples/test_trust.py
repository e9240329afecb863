"""The case study of trust: errors of differences, swell of expressions, dual numbers."""

from itertools import pairwise

import numpy as np
import pytest

import mlc
from examples import trust


def test_the_derivative_of_the_graph_is_that_of_the_product_rule():
    x = 0.2
    a, b, c, d = x, 1 - x, 1 - 2 * x, 1 - 8 * x + 8 * x * x
    by_hand = 64 * (b * c**2 * d**2 - a * c**2 * d**2 - 4 * a * b * c * d**2 + 2 * a * b * c**2 * d * (16 * x - 8))
    assert trust.truncated(x) == pytest.approx(trust.logistic(x, 3), rel=1e-14)
    assert trust.exact() == pytest.approx(by_hand, rel=1e-14)


def test_differences_are_at_best_as_far_off_as_stated():
    (forward, h), (central, wider) = trust.best()
    assert 1e-9 < forward < 1e-7 and 1e-10 < h < 1e-7
    assert 1e-12 < central < 1e-9 and 1e-8 < wider < 1e-5


def test_errors_fall_with_the_step_and_its_square_and_grow_again():
    slope = trust.exact()
    coarse, fine, tiny = (trust.errors(h, slope) for h in (1e-3, 1e-4, 1e-12))
    assert coarse[0] / fine[0] == pytest.approx(10, rel=0.05) and coarse[1] / fine[1] == pytest.approx(100, rel=0.05)
    assert tiny[0] > 1e-6 and tiny[1] > 1e-6


@pytest.mark.parametrize("iterations", [0, 1, 4])
def test_the_expressions_are_what_they_stand_for(iterations):
    e = trust.logistic_expression(iterations)
    assert trust.value(e, 0.3) == pytest.approx(trust.logistic(0.3, iterations), rel=1e-12)
    slope = mlc.grad(lambda x: trust.logistic(x, iterations))(np.float64(0.3)).item()
    assert trust.value(trust.derivative(e), 0.3) == pytest.approx(slope, rel=1e-12)


def test_expressions_swell_and_graphs_grow():
    sizes = [trust.size(trust.derivative(trust.logistic_expression(n))) for n in range(2, 8)]
    assert all(later > 2 * size for size, later in pairwise(sizes))
    extended = [trust.graph_ops(n)[1] for n in range(2, 6)]
    assert np.diff(extended).tolist() == [7, 7, 7]


@pytest.mark.parametrize("name, of_dual, of_tensor", trust.pairs(), ids=lambda x: x if isinstance(x, str) else "")
@pytest.mark.parametrize("x", [0.2, 1.7])
def test_dual_numbers_agree_with_jvp(name, of_dual, of_tensor, x):
    value, found = mlc.jvp(of_tensor, (np.float64(x),), (np.float64(1),))
    assert trust.tangent(of_dual, x) == pytest.approx(found.item(), rel=1e-12)
    assert of_dual(trust.Dual(x)).value == pytest.approx(value.item(), rel=1e-12)


def test_the_program_prints_its_tables(capsys):
    trust.table_of_swell(2)
    trust.table_of_duals()
    assert "with derivative" in capsys.readouterr().out
