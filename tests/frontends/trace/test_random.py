"""Random tensors: known answers, the same at once and compiled, and distributions."""

import numpy as np
import pytest

import mlc
from mlc import random
from mlc.ir.philox import philox


def test_bits_are_those_of_philox() -> None:
    key = random.key((5 << 32) + 3)
    words = [np.array([word], np.uint32) for word in (1, 0, 4, 0, 3, 5)]  # the second block of stream 4
    expected = np.concatenate(philox(*words))
    np.testing.assert_array_equal(np.asarray(random.bits(key, (2, 4), stream=4))[1], expected)


def test_bits_of_many_blocks() -> None:
    found = np.asarray(random.bits(random.key(3), (70_001,), stream=2))
    for block in (0, 16_383, 16_384, 17_499, 17_500):
        expected = np.concatenate(philox(*[np.array([word], np.uint32) for word in (block, 0, 2, 0, 3, 0)]))
        np.testing.assert_array_equal(found[4 * block : 4 * block + 4], expected[: 70_001 - 4 * block])


def test_numbers_are_the_same_at_once_and_compiled() -> None:
    def draw(key):
        first, second = random.split(key)
        later = random.fold_in(second, 3)
        return (random.uniform(first, (5,), -2, 2), random.normal(second, (2, 3)), random.bernoulli(later, 0.3, (9,)))

    key = random.key(1)
    for one, other in zip(draw(key), mlc.jit(draw)(key), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-5, atol=1e-6)
    keys = np.asarray(random.split(key, 4))
    np.testing.assert_array_equal(keys[3], np.asarray(random.fold_in(key, 3)))
    assert len({tuple(row) for row in keys.tolist()}) == 4


def test_distributions() -> None:
    key, n = random.key(2), 20_000
    uniform = np.asarray(random.uniform(key, (n,), dtype="f64"))
    assert uniform.min() >= 0 and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 5 / np.sqrt(12 * n)
    normal = np.asarray(random.normal(key, (n,)))
    assert abs(normal.mean()) < 5 / np.sqrt(n) and normal.var() == pytest.approx(1, rel=5 * np.sqrt(2 / n))
    for p in (0, 0.25, 1):
        kept = np.asarray(random.bernoulli(key, p, (n,)))
        assert kept.dtype == bool and abs(kept.mean() - p) <= 5 * np.sqrt(p * (1 - p) / n)


def test_what_is_no_key_seed_or_probability() -> None:
    with pytest.raises(mlc.ShapeError, match=r"i64\[2\] is no key"):
        random.normal(np.array([1, 2]), (3,))
    with pytest.raises(mlc.MlcError, match=r"the seed -1 is outside of 0 .. 2\*\*64 - 1"):
        random.key(-1)
    with pytest.raises(mlc.MlcError, match="the probability 1.5 is outside"):
        random.bernoulli(random.key(0), 1.5, (2,))
