"""Transforms against their definitions, sample by sample, and metrics against plain counting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
from mlc.data import Accuracy, CenterCrop, Draws, Mean, Normalize, RandomCrop, RandomHorizontalFlip


def draws(count: int, seed: int = 0) -> Draws:
    return Draws(seed, 0, np.arange(count))


def test_normalize_per_channel() -> None:
    x = np.random.default_rng(0).integers(0, 256, (4, 3, 2, 5)).astype(np.uint8)
    mean, std = [1.0, 2.0, 3.0], [2.0, 4.0, 8.0]
    y = Normalize(mean, std)(x, draws(4))
    assert y.dtype == np.float32
    for c in range(3):
        assert np.array_equal(y[:, c], ((x[:, c] - np.float64(mean[c])) / std[c]).astype(np.float32))
    assert np.array_equal(Normalize(1, 2)(x, draws(4)), ((x - 1.0) / 2).astype(np.float32))


def test_center_crop() -> None:
    x = np.arange(2 * 1 * 5 * 4).reshape(2, 1, 5, 4)
    assert np.array_equal(CenterCrop(2, 3)(x, draws(2)), x[:, :, 1:3, 0:3])
    assert np.array_equal(CenterCrop(5, 4)(x, draws(2)), x)


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(0, 5),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    padding=st.integers(0, 2),
    seed=st.integers(0, 99),
)
def test_a_random_crop_is_a_window_of_the_padded_image(
    n: int, height: int, width: int, padding: int, seed: int
) -> None:
    x = 1 + np.arange(n * 2 * 6 * 6).reshape(n, 2, 6, 6)
    y = RandomCrop(height, width, padding)(x, draws(n, seed))
    assert y.shape == (n, 2, height, width)
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    places = [(t, l) for t in range(7 + 2 * padding - height) for l in range(7 + 2 * padding - width)]
    for image, whole in zip(y, padded, strict=True):
        assert any(np.array_equal(image, whole[:, t : t + height, l : l + width]) for t, l in places)


def test_random_crop_reaches_every_place_and_flip_half_of_them() -> None:
    x = np.broadcast_to(np.arange(16).reshape(1, 1, 4, 4), (4000, 1, 4, 4))
    corners = RandomCrop(3, 2)(x, draws(4000))[:, 0, 0, 0]
    found, counts = np.unique(corners, return_counts=True)
    assert found.tolist() == [0, 1, 2, 4, 5, 6]
    assert abs(counts - 4000 / 6).max() < 5 * np.sqrt(4000 / 6)
    flipped = RandomHorizontalFlip(0.25)(x, draws(4000))
    was = flipped[:, 0, 0, 0] == 3
    assert np.array_equal(flipped[was], x[was][..., ::-1]) and np.array_equal(flipped[~was], x[~was])
    assert abs(was.sum() - 1000) < 5 * np.sqrt(1000 * 0.75)


def test_figures_show_what_they_are_of() -> None:
    mean = Mean()
    mean.update(0.5, 3)
    assert repr(mean) == "<Mean 0.5 of 3>" and repr(Accuracy()) == "<Accuracy nan of 0>"


def test_mean_and_accuracy_count_samples() -> None:
    mean = Mean()
    assert np.isnan(mean.value)
    mean.update(2.0, 3)
    mean.update(np.float32(6.0), 1)
    assert mean.value == 3.0 and str(mean) == "3"
    mean.reset()
    mean.update(np.array([[1.5]]))
    assert mean.value == 1.5

    logits = np.array([[0, 1, 2], [5, 5, 1], [9, 0, 1], [0, 3, 2]])
    labels = np.array([2, 1, 1, 2])
    for top, expected in ((1, 1), (2, 3), (3, 4)):
        accuracy = Accuracy(top)
        accuracy.update(logits[:1], labels[:1])
        accuracy.update(logits[1:], labels[1:])
        assert accuracy.value == expected / 4


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: CenterCrop(5, 5)(np.zeros((1, 1, 4, 9)), draws(1)), "5 x 5 is larger than images of 4 x 9"),
        (lambda: RandomCrop(9, 2, 2)(np.zeros((1, 1, 4, 9)), draws(1)), "9 x 2 is larger than images of 8 x 13"),
        (lambda: RandomCrop(2, 2)(np.zeros((4, 9)), draws(4)), "is no batch of images"),
        (lambda: RandomHorizontalFlip()(np.zeros((4, 9)), draws(4)), "is no batch of images"),
        (lambda: Normalize([1, 2], 1)(np.zeros((1, 3, 4)), draws(1)), r"mean of shape \[2\]"),
        (lambda: Accuracy().update(np.zeros((2, 3)), np.zeros(3)), r"\[2, 3\] and labels \[3\]"),
        (lambda: Mean().update(np.zeros(2)), r"shape \[2\]"),
        (lambda: draws(1).uniform(5), "5 numbers for a sample"),
    ],
)
def test_bad_input_is_refused_in_words(call: object, words: str) -> None:
    with pytest.raises(mlc.MlcError, match=words):
        call()  # type: ignore[operator]
