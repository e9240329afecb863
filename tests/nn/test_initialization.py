"""First values: their variance or orthogonality, and that a key gives the same ones each time."""

import numpy as np
import pytest

import mlc
from mlc import nn
from mlc.nn import init

KEY = mlc.random.key(7)
SHAPE = (150, 40, 3)  # fan-in 120, fan-out 450


@pytest.mark.parametrize(
    ("draw", "variance", "bounded"),
    [
        (lambda k: init.xavier_uniform(k, SHAPE, gain=2), 4 * 2 / 570, True),
        (lambda k: init.xavier_normal(k, SHAPE), 2 / 570, False),
        (lambda k: init.kaiming_uniform(k, SHAPE), 2 / 120, True),
        (lambda k: init.kaiming_uniform(k, SHAPE, fan="out"), 2 / 450, True),
        (lambda k: init.kaiming_normal(k, SHAPE, slope=1), 1 / 120, False),
        (lambda k: init.normal(k, SHAPE, 0.02), 0.0004, False),
        (lambda k: init.uniform(k, SHAPE, 3), 3, True),
        (lambda k: init.per_fan_in(k, SHAPE, 120), 1 / 360, True),
    ],
)
def test_variance_and_range(draw, variance: float, bounded: bool) -> None:
    found = np.asarray(draw(KEY))
    assert found.dtype == np.float32 and found.shape == SHAPE
    deviation = np.sqrt(variance)
    assert abs(found.mean()) < 5 * deviation / np.sqrt(found.size)
    assert found.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / found.size))
    largest = abs(found).max() / deviation
    assert 0.99 * np.sqrt(3) < largest <= np.sqrt(3) * (1 + 1e-6) if bounded else 3 < largest < 6
    np.testing.assert_array_equal(found, np.asarray(draw(KEY)))
    assert (found != np.asarray(draw(mlc.random.key(8)))).mean() > 0.99


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (3, 7), (8, 2), (4, 2, 3)])
def test_orthogonal_rows_or_columns(shape: tuple[int, ...]) -> None:
    found = np.asarray(init.orthogonal(KEY, shape, gain=3, dtype="f64")).reshape(shape[0], -1)
    product = found @ found.T if found.shape[0] <= found.shape[1] else found.T @ found
    np.testing.assert_allclose(product, 9 * np.eye(len(product)), atol=1e-12)


def test_a_seed_gives_the_same_modules_again() -> None:
    nn.seed(3)
    first, second = nn.Linear(6, 4), nn.Linear(6, 4)
    nn.seed(3)
    again = nn.Linear(6, 4)
    np.testing.assert_array_equal(np.asarray(first.weight), np.asarray(again.weight))
    assert (np.asarray(first.weight) != np.asarray(second.weight)).any()
    keyed = [np.asarray(nn.Linear(6, 4, key=KEY).bias) for _ in range(2)]
    np.testing.assert_array_equal(*keyed)
    nn.seed(0)


def test_a_weight_of_one_axis_has_no_fans() -> None:
    with pytest.raises(mlc.ShapeError, match=r"shape \[3\] has no fan-in and fan-out"):
        init.xavier_normal(KEY, (3,))
