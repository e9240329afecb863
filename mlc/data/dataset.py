"""Where samples come from: anything with a length and an index; arrays with their first axis cut are the usual case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mlc.data.draws import permutation
from mlc.errors import MlcError, ShapeError


@runtime_checkable
class Dataset(Protocol):
    """`len(dataset)` samples; sample i is `dataset[i]`: an array or number, or a tuple, list or dict of them.

    One that also has `take(indices: i64[N])`, which returns the whole batch, is asked for batches instead of samples.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class ArrayDataset:
    """Samples along the first axis of one or several arrays: sample i is `(arrays[0][i], arrays[1][i], ...)`, or `array[i]` of a lone one."""

    def __init__(self, *arrays: Any):
        if not arrays:
            raise MlcError("a dataset of no arrays has no samples")
        self.arrays = tuple(np.asarray(array) for array in arrays)
        lengths = [array.shape[:1] for array in self.arrays]
        if () in lengths or len(set(lengths)) > 1:
            shapes = ", ".join(str(list(array.shape)) for array in self.arrays)
            raise ShapeError(
                f"arrays of shapes {shapes} do not hold the same number of samples",
                remedy="Their first axes must be equal.",
            )

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int, /) -> Any:
        return self._alone(tuple(array[index] for array in self.arrays))

    def take(self, indices: np.ndarray) -> Any:
        """The batch of these samples: copies, in their order."""
        return self._alone(tuple(array[indices] for array in self.arrays))

    @staticmethod
    def _alone(parts: tuple[Any, ...]) -> Any:
        return parts[0] if len(parts) == 1 else parts


@dataclass(frozen=True)
class Subset:
    """Some samples of a dataset: `indices` i64[N] into it."""

    dataset: Any
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int, /) -> Any:
        return self.dataset[int(self.indices[index])]

    def take(self, indices: np.ndarray) -> Any:
        """The batch of these samples."""
        return batch(self.dataset, self.indices[indices])


def random_split(dataset: Any, shares: Sequence[float], seed: int = 0) -> list[Subset]:
    """The dataset cut at random into parts of these shares, which sum to 1: for instance training and test data by [0.8, 0.2]."""
    if any(share < 0 for share in shares) or abs(sum(shares) - 1) > 1e-9:
        raise MlcError(f"shares {list(shares)} do not sum to 1", remedy="Give parts of the whole, such as [0.8, 0.2].")
    order = permutation(seed, 0, len(dataset))
    ends = np.rint(np.cumsum(shares) * len(dataset)).astype(int)
    return [Subset(dataset, part) for part in np.split(order, ends[:-1])]


def batch(dataset: Any, indices: np.ndarray) -> Any:
    """The samples of these numbers with a new first axis."""
    if hasattr(dataset, "take"):
        return dataset.take(indices)
    return collate([dataset[int(index)] for index in indices])


def collate(samples: Sequence[Any]) -> Any:
    """One structure of arrays [N, ...] from N structures of arrays [...]; a Python float gives f64. Raises ShapeError where shapes differ."""
    first = samples[0]
    if isinstance(first, Mapping):
        return {key: collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, tuple | list):
        parts = [collate(list(part)) for part in zip(*samples, strict=True)]
        return parts if isinstance(first, list) else type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    arrays = [np.asarray(sample) for sample in samples]
    if different := next((array.shape for array in arrays if array.shape != arrays[0].shape), None):
        raise ShapeError(
            f"samples of shapes {list(arrays[0].shape)} and {list(different)} do not make a batch",
            remedy="Crop or pad them to one shape in the dataset.",
        )
    return np.stack(arrays)
