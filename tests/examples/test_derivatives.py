"""The case study of derivatives: numbers against closed forms and NumPy, and what the extended graphs consist of."""

import re
from collections import Counter
from math import cos, log, sin

import numpy as np
import pytest

import mlc
from examples import derivatives


def test_values_tangents_and_adjoints_of_the_trace_are_those_of_calculus():
    values, adjoints = derivatives.adjoints()
    expected = [2, 5, log(2), 10, sin(5), log(2) + 10, log(2) + 10 - sin(5)]
    assert list(values.values()) == pytest.approx(expected, rel=1e-14)
    assert list(adjoints.values()) == pytest.approx([5.5, 2 - cos(5), 1, 1, -1, 1, 1], rel=1e-14)
    by_x1 = dict(zip(values, [1, 0, 0.5, 5, 0, 5.5, 5.5], strict=True))
    by_x2 = dict(zip(values, [0, 1, 0, 2, cos(5), 2, 2 - cos(5)], strict=True))
    assert derivatives.tangents((1, 0)) == pytest.approx(by_x1, rel=1e-14)
    assert derivatives.tangents((0, 1)) == pytest.approx(by_x2, rel=1e-14)


def test_an_exponential_of_two_calls_is_computed_once_and_nothing_has_no_effect():
    module = derivatives.extended(derivatives.twice, np.float64(2))
    kinds = Counter(op.name for op in module.main.body.block.ops)
    assert kinds == {"graph.exp": 1, "graph.constant": 1, "graph.add": 2, "graph.mul": 2, "func.return": 1}
    slope = mlc.grad(derivatives.twice)(np.float64(0.5)).item()
    assert slope == pytest.approx(np.exp(0.5) * (2 * np.exp(0.5) + 1), rel=1e-14)


def test_the_gradient_of_the_perceptron_is_that_of_the_five_lines():
    batch = derivatives.batch(7, 5, 11, 3)
    for found, expected in zip(
        mlc.grad(derivatives.perceptron, argnums=(1, 2))(*batch), derivatives.by_hand(*batch), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_its_backward_graph_begins_with_softmax_minus_one_hot_and_has_the_ops_of_the_five_lines():
    text = str(derivatives.extended(derivatives.perceptron, *derivatives.batch(), wrt="w*"))
    dz = re.search(r"(%\d+) = graph.sub %\d+, %one_hot ", text)
    assert dz
    behind = re.findall(r"graph\.(\w+)", text[dz.end() :].split("func.return")[0])
    assert Counter(behind) == {"contract": 3, "mul": 2, "sub": 1, "broadcast": 1}


def test_the_program_prints_the_gradient_also_with_plain_numbers(capsys):
    derivatives.main()
    out = capsys.readouterr().out
    assert re.search(r"v4 - v3 +11\.652 +5\.500 +1\.716 +1\.000", out)
    assert "x2 a plain number:     5.500" in out and "x1 a plain number:     1.716" in out
    assert "under no_grad:         11.652, with a way back: False" in out
