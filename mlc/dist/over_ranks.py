"""Sums over ranks inside of a traced function."""

from __future__ import annotations

from typing import Any

from mlc.frontends.trace.functions import collective
from mlc.frontends.trace.tensor import Tensor, bind


def all_reduce(x: Any) -> Tensor:
    """The sum over all ranks of a tensor that depends on the batch: statistics of the whole batch, as in
    `mlc.dist.all_reduce(x.sum(0)) / (mlc.dist.size() * len(x))`. Its derivative is right by parameters of all ranks.

    f32, f64, i32 and i64; f16 and bf16 are added in f32. It belongs into a function that a step with `parallel=` is made of; elsewhere there is
    one rank, whose sum it is. Raises DTypeError for other dtypes.
    """
    return bind(collective.all_reduce, (x,))
