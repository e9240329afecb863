"""First values of parameters, drawn with a key: `init.kaiming_normal(key, (128, 64))`.

A weight is [out, in, *kernel]: its fan-in is in * kernel elements, its fan-out out * kernel. A bias is drawn as its layer's weight.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from mlc import random
from mlc.errors import ShapeError
from mlc.frontends.trace.parameters import dtype_text
from mlc.frontends.trace.tensor import Tensor, wrap
from mlc.frontends.trace.tracing import user_line
from mlc.ir.types import numpy_dtype

Fan = Literal["in", "out"]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan-in, fan-out) of a weight [out, in, *kernel]. Raises ShapeError for fewer than two axes."""
    if len(shape) < 2:
        raise ShapeError(f"a tensor of shape {list(shape)} has no fan-in and fan-out", file=user_line())
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def uniform(key: Any, shape: tuple[int, ...], bound: float, dtype: Any = "f32") -> Tensor:
    """Uniform in [-bound, bound)."""
    return random.uniform(key, shape, -bound, bound, dtype)


def normal(key: Any, shape: tuple[int, ...], deviation: float = 1.0, dtype: Any = "f32") -> Tensor:
    return random.normal(key, shape, dtype) * deviation


def xavier_uniform(key: Any, shape: tuple[int, ...], gain: float = 1.0, dtype: Any = "f32") -> Tensor:
    """Variance gain**2 * 2 / (fan-in + fan-out), uniform. Glorot, Bengio 2010."""
    return uniform(key, shape, math.sqrt(3) * _xavier(shape, gain), dtype)


def xavier_normal(key: Any, shape: tuple[int, ...], gain: float = 1.0, dtype: Any = "f32") -> Tensor:
    """Variance gain**2 * 2 / (fan-in + fan-out), normal."""
    return normal(key, shape, _xavier(shape, gain), dtype)


def _xavier(shape: tuple[int, ...], gain: float) -> float:
    return gain * math.sqrt(2 / max(1, sum(fans(shape))))


def kaiming_uniform(
    key: Any, shape: tuple[int, ...], fan: Fan = "in", slope: float = 0.0, dtype: Any = "f32"
) -> Tensor:
    """Variance 2 / ((1 + slope**2) * fan), uniform: for layers in front of a ReLU, or of a leaky one of that slope. He et al. 2015."""
    return uniform(key, shape, math.sqrt(3) * _kaiming(shape, fan, slope), dtype)


def kaiming_normal(key: Any, shape: tuple[int, ...], fan: Fan = "in", slope: float = 0.0, dtype: Any = "f32") -> Tensor:
    """Variance 2 / ((1 + slope**2) * fan), normal."""
    return normal(key, shape, _kaiming(shape, fan, slope), dtype)


def _kaiming(shape: tuple[int, ...], fan: Fan, slope: float) -> float:
    return math.sqrt(2 / ((1 + slope**2) * max(1, fans(shape)[fan == "out"])))


def orthogonal(key: Any, shape: tuple[int, ...], gain: float = 1.0, dtype: Any = "f32") -> Tensor:
    """As a matrix [out, the rest], orthogonal rows or columns (the fewer of both) of length `gain`, evenly distributed. Saxe et al. 2014; Mezzadri 2007."""
    rows, columns = shape[0], math.prod(shape[1:])
    drawn = random.normal(key, (max(rows, columns), min(rows, columns)), "f64").numpy()
    q, r = np.linalg.qr(drawn)
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    found = q if rows >= columns else q.T
    return wrap((gain * found).reshape(shape).astype(numpy_dtype(dtype_text(dtype))))


def per_fan_in(key: Any, shape: tuple[int, ...], fan_in: int, dtype: Any = "f32") -> Tensor:
    """Uniform with the bound 1 / sqrt(fan-in): what PyTorch's linear and convolution layers begin with, weight and bias alike."""
    return uniform(key, shape, 1 / math.sqrt(max(1, fan_in)), dtype)
