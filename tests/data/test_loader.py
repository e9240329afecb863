"""Batches come in an order that the seed alone decides, whoever makes them and wherever one stopped."""

from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
from mlc.data import ArrayDataset, Compose, DataLoader, Draws, RandomCrop, RandomHorizontalFlip, random_split

IMAGES = np.arange(13 * 2 * 5 * 6, dtype=np.float32).reshape(13, 2, 5, 6)
LABELS = np.arange(13)


class Listed:
    """Samples one by one, of any structure."""

    def __init__(self, samples: list) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> object:
        return self.samples[index]


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(0, 30),
    size=st.integers(1, 12),
    shuffle=st.booleans(),
    drop=st.booleans(),
    prefetch=st.integers(0, 4),
)
def test_an_epoch_gives_each_sample_once(count: int, size: int, shuffle: bool, drop: bool, prefetch: int) -> None:
    loader = DataLoader(
        ArrayDataset(np.arange(count)), size, shuffle=shuffle, drop_last=drop, prefetch=prefetch, seed=3
    )
    for _ in range(2):
        batches = list(loader)
        assert len(batches) == len(loader)
        assert all(len(batch) == size for batch in batches[:-1])
        seen = np.concatenate([np.zeros(0, int), *batches])
        assert len(set(seen.tolist())) == len(seen) == (count // size * size if drop else count)
        assert shuffle or (seen == np.arange(len(seen))).all()


def test_epochs_have_other_orders_and_equal_seeds_the_same() -> None:
    orders = lambda seed: [np.concatenate(list(loader)) for loader in [_shuffled(seed)] for _ in range(3)]
    first, again, other = orders(0), orders(0), orders(1)
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1]) and not np.array_equal(first[1], first[2])


def _shuffled(seed: int) -> DataLoader:
    return DataLoader(ArrayDataset(np.arange(50)), 7, shuffle=True, seed=seed)


def test_every_place_of_a_sample_is_equally_likely() -> None:
    loader = DataLoader(ArrayDataset(np.arange(4)), 4, shuffle=True, prefetch=0)
    counts = np.zeros((4, 4))
    for _ in range(4000):
        counts[next(iter(loader)), np.arange(4)] += 1
    assert abs(counts - 1000).max() < 5 * np.sqrt(1000 * 0.75)  # five standard deviations


def _augmented(size: int, prefetch: int) -> DataLoader:
    change = Compose(RandomCrop(4, 4, padding=1), RandomHorizontalFlip())
    dataset = ArrayDataset(IMAGES, LABELS)
    return DataLoader(dataset, size, shuffle=True, seed=5, transform=change, prefetch=prefetch)


def test_augmentation_depends_on_neither_batch_size_nor_prefetch() -> None:
    one, other = (
        {int(label): image for _ in range(1) for x, y in loader for image, label in zip(x, y, strict=True)}
        for loader in (_augmented(3, 0), _augmented(5, 3))
    )
    assert set(one) == set(range(13))
    assert all(np.array_equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("prefetch", [0, 1, 4])
def test_a_resumed_loader_goes_on_with_the_very_next_batch(prefetch: int) -> None:
    whole = _augmented(4, prefetch)
    wanted = [batch for _ in range(3) for batch in whole]
    stopped, given = _augmented(4, prefetch), []
    for _ in stopped:
        pass
    for batch in stopped:
        given.append(batch)
        if len(given) == 2:
            break
    state = stopped.state_dict()
    assert state == {"seed": 5, "epoch": 1, "position": 2}
    resumed = _augmented(4, prefetch)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    rest = [batch for _ in range(2) for batch in resumed]
    for found, expected in zip(given + rest, wanted[4:], strict=True):
        assert np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])


def test_samples_keep_their_structure() -> None:
    Pair = namedtuple("Pair", "x y")
    rows = [{"x": np.full(3, k, np.float32), "y": (k, [k + 1])} for k in range(5)]
    (batch,) = DataLoader(Listed(rows), 5)
    assert batch["x"].shape == (5, 3) and batch["x"].dtype == np.float32
    assert batch["y"][0].tolist() == [0, 1, 2, 3, 4] and batch["y"][1][0].tolist() == [1, 2, 3, 4, 5]
    (pair,) = DataLoader(Listed([Pair(1.0, 2), Pair(3.0, 4)]), 2, transform={1: _halved})
    assert isinstance(pair, Pair) and pair.x.tolist() == [1, 3] and pair.y.tolist() == [1, 2]


def _halved(x: np.ndarray, draws: Draws) -> np.ndarray:
    return x / 2


def test_an_error_in_a_sample_reaches_the_loop() -> None:
    class Broken(Listed):
        def __getitem__(self, index: int) -> object:
            if index == 5:
                raise OSError("sample 5 is not there")
            return super().__getitem__(index)

    seen = []
    with pytest.raises(OSError, match="sample 5"):
        for batch in DataLoader(Broken(list(range(9))), 2, prefetch=3):
            seen.append(batch.tolist())
    assert seen == [[0, 1], [2, 3]]


def test_random_split_gives_each_sample_to_one_part() -> None:
    dataset = ArrayDataset(IMAGES, LABELS)
    parts = random_split(dataset, [0.7, 0.3], seed=1)
    assert [len(part) for part in parts] == [9, 4]
    labels = [label for part in parts for _, y in DataLoader(part, 4) for label in y.tolist()]
    assert sorted(labels) == list(range(13)) and labels != list(range(13))
    assert parts[0][0][1] == labels[0]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ArrayDataset(np.zeros((3, 2)), np.zeros(4)), r"shapes \[3, 2\], \[4\]"),
        (lambda: ArrayDataset(np.zeros(())), "same number of samples"),
        (lambda: ArrayDataset(), "no arrays"),
        (lambda: DataLoader(ArrayDataset(LABELS), 0), "batch_size 0"),
        (lambda: list(DataLoader(ArrayDataset(LABELS), 3, seed=-1, shuffle=True)), "does not fit 64 bits"),
        (lambda: list(DataLoader(Listed([np.zeros(2), np.zeros(3)]), 2)), r"\[2\] and \[3\] do not make a batch"),
        (lambda: list(DataLoader(ArrayDataset(LABELS), 3, transform={"x": _halved})), "lone arrays"),
        (lambda: list(DataLoader(ArrayDataset(LABELS, LABELS), 3, transform={2: _halved})), r"samples have \[0, 1\]"),
        (lambda: random_split(ArrayDataset(LABELS), [0.5, 0.6]), "do not sum to 1"),
        (lambda: _shuffled(0).load_state_dict({"seed": 0, "epoch": 0, "position": 9}), "batch 9 of an epoch, which has 8"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_words(make: object, words: str) -> None:
    with pytest.raises(mlc.MlcError, match=words):
        make()  # type: ignore[operator]


def test_data_needs_none_of_the_compiler() -> None:
    import subprocess
    import sys

    code = "import sys, mlc.data; print(sorted({'xdsl', 'onnx', 'llvmlite'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == "[]"
