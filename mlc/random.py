"""Random tensors of a key: `key = mlc.random.key(0)`; `mlc.random.normal(key, (2, 3))`.

A key is u32[2] and is never used up: equal keys, streams and shapes give equal numbers, at once, compiled, on every machine and for every number
of threads (Philox4x32-10; Salmon, Moraes, Dror, Shaw 2011). `split` and `fold_in` make other keys of one; `stream` numbers what one key is used for.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import mlc.numpy as mnp
from mlc.errors import MlcError, ShapeError
from mlc.frontends.trace.functions import random as functions
from mlc.frontends.trace.parameters import dtype_text, shape_from
from mlc.frontends.trace.tensor import Tensor, bind, type_text, wrap
from mlc.frontends.trace.tracing import user_line
from mlc.ir.dims import Extent

_WORD = 1 << 32


def key(seed: int) -> Tensor:
    """The key of a seed, u32[2]. Raises MlcError for a seed outside of 0 .. 2**64 - 1."""
    if not 0 <= seed < _WORD * _WORD:
        raise MlcError(f"the seed {seed} is outside of 0 .. 2**64 - 1", file=user_line())
    return wrap(np.array([seed % _WORD, seed // _WORD], np.uint32))


def split(key: Any, count: Extent = 2) -> Tensor:
    """`count` keys, u32[count, 2]."""
    return bind(functions.split, (_key(key),), (("count", count),))


def fold_in(key: Any, number: Any) -> Tensor:
    """The key of a key and a whole number, as that of a step: `split(key, ...)[number]`."""
    return bind(functions.fold_in, (_key(key), number))


def bits(key: Any, shape: Any, stream: int = 0) -> Tensor:
    """32 random bits in each element, u32."""
    return bind(functions.bits, (_key(key),), (("shape", shape_from(shape)), ("stream", stream)))


def uniform(key: Any, shape: Any, low: float = 0.0, high: float = 1.0, dtype: Any = "f32", stream: int = 0) -> Tensor:
    """Evenly distributed in [low, high), of floats; of (0, 1) 24 random digits in f32 and 53 in f64."""
    found = bind(functions.uniform, (_key(key),), _drawn(shape, dtype, stream))
    return found if (low, high) == (0.0, 1.0) else found * (high - low) + low


def normal(key: Any, shape: Any, dtype: Any = "f32", stream: int = 0) -> Tensor:
    """Normally distributed floats of mean 0 and variance 1."""
    return bind(functions.normal, (_key(key),), _drawn(shape, dtype, stream))


def bernoulli(key: Any, p: float, shape: Any, stream: int = 0) -> Tensor:
    """True with probability p (to 2**-32), else False."""
    if not 0 <= p <= 1:
        raise MlcError(f"the probability {p} is outside of 0 .. 1", file=user_line())
    threshold = round(p * _WORD)
    return mnp.ones(shape, "bool") if threshold == _WORD else bits(key, shape, stream) < np.uint32(threshold)


def _drawn(shape: Any, dtype: Any, stream: int) -> tuple[tuple[str, Any], ...]:
    return ("shape", shape_from(shape)), ("dtype", dtype_text(dtype)), ("stream", stream)


def _key(given: Any) -> Tensor:
    """The key as a tensor. Raises ShapeError for what is none."""
    found = given if isinstance(given, Tensor) else Tensor(given)
    if found.shape != (2,) or found.dtype != np.uint32:
        raise ShapeError(
            f"{type_text(found)} is no key: a key is u32[2]", file=user_line(), remedy="mlc.random.key(seed) makes one."
        )
    return found
