"""Gradients of random programs, against differences (and PyTorch, where it is installed)."""

import numpy as np
import pytest

from benchmarks.random_gradients import compared, main, within_rounding


def test_no_gradient_of_a_random_program_is_wrong(capsys) -> None:  # type: ignore[no-untyped-def]
    assert main(["--count", "30", "--seed", "5"]) == 0, capsys.readouterr().out


POINT = [np.linspace(0.1, 0.9, 6).reshape(2, 3)]


@pytest.mark.parametrize(("rate", "factor", "verdict"), [(2, 1, "right"), (2, 1.001, "wrong"), (1e9, 1, "kink")])
def test_differences_judge_where_they_agree_with_each_other(rate: float, factor: float, verdict: str) -> None:
    """The sum of sin(rate x), with its gradient times a factor."""
    gradient = [factor * rate * np.cos(rate * POINT[0])]
    assert compared(lambda xs: float(np.sin(rate * xs[0]).sum()), POINT, gradient, seed=3) == verdict


@pytest.mark.parametrize(("scale", "within"), [(1e12, True), (1.0, False)])
def test_rounding_is_told_from_a_difference(scale: float, within: bool) -> None:
    """The last bit of x moves a cosine of 1e12 x by more than 1e-5, and one of x by nothing near it."""
    gradient = lambda xs: [np.cos(scale * xs[0])]
    found = gradient(POINT)
    assert within_rounding(found, [found[0] + 1e-5], gradient, POINT, np.random.default_rng(0)) is within
