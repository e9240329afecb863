"""What compilation makes: all that an executable runs, and that packages and libraries are written from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlc.ir.kernel.plan import Plan
from mlc.ir.kernel.target import Target


@dataclass(frozen=True)
class WeightsToMake(Mapping[str, np.ndarray]):
    """Weights that are made each time they are asked for, of these dtypes and shapes: for those who want them once, and one after the other."""

    types: Mapping[str, tuple[np.dtype, tuple[int, ...]]]
    make: Callable[[str], np.ndarray]

    def __getitem__(self, key: str) -> np.ndarray:
        return self.make(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self.types)

    def __len__(self) -> int:
        return len(self.types)


def types_of(weights: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.dtype, tuple[int, ...]]]:
    """Key, dtype and shape of each weight, none of which is made."""
    if isinstance(weights, WeightsToMake):
        return ((key, *row) for key, row in weights.types.items())
    return ((key, array.dtype, array.shape) for key, array in weights.items())


@dataclass(frozen=True)
class Artifact:
    """Code with its plan and weights (by key, as kernels read them), whether it runs here or not.

    objects      what the loader of the target's kind loads
    entry        the symbol of the function that calls every kernel, where there is one
    report       what was decided, and how long it took
    module_text  the module before it was compiled for this target (portable.py), without weights
    threads      as they were asked for when it was compiled; None where that was left open
    names        of the objects as files of a package; 0.o, 1.o, ... where none are given
    """

    plan: Plan
    objects: Sequence[bytes]
    weights: Mapping[str, np.ndarray]
    target: Target
    entry: str = "mlc_entry"
    report: dict[str, Any] = field(default_factory=dict)
    module_text: str = ""
    threads: int | None = None
    names: Sequence[str] = ()
