"""A tensor of an ONNX file."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlc.ir.weight_origin import Place


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file: its name, shape and dtype, its data on demand, and where that lies as it is."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], np.ndarray]
    place: Place | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape)
