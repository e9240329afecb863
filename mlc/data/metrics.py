"""Running figures of an epoch: the mean of a loss, the share of right answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlc.errors import MlcError, ShapeError


class Mean:
    """The mean of numbers, each counted `count` times: of the batches' mean losses, with their sizes, that of the samples. NaN of nothing."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.total, self.count = 0.0, 0

    def update(self, value: Any, count: int = 1) -> None:
        """Raises MlcError for a value that is no number."""
        array = np.asarray(value)
        if array.size != 1:
            raise MlcError(f"a mean takes one number, not an array of shape {list(array.shape)}")
        self.total += float(array.reshape(())) * count
        self.count += count

    @property
    def value(self) -> float:
        return self.total / self.count if self.count else float("nan")

    def __str__(self) -> str:
        return f"{self.value:.4g}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self} of {self.count}>"


class Accuracy(Mean):
    """The share of samples whose label is among the `top` highest logits; of equal logits the first counts as higher."""

    def __init__(self, top: int = 1):
        super().__init__()
        self.top = top

    def update(self, logits: Any, labels: Any) -> None:  # type: ignore[override]
        """logits float[N, classes], labels integer[N]. Raises ShapeError."""
        scores, wanted = np.asarray(logits), np.asarray(labels)
        if scores.ndim != 2 or wanted.shape != scores.shape[:1]:
            raise ShapeError(
                f"accuracy: logits {list(scores.shape)} and labels {list(wanted.shape)} are not [N, classes] and [N]"
            )
        best = np.argsort(-scores, axis=1, kind="stable")[:, : self.top]
        self.total += float((best == wanted[:, None]).any(axis=1).sum())
        self.count += len(wanted)
