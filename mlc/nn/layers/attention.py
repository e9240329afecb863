"""Attention of several heads, with a cache of keys and values for one step after another."""

from __future__ import annotations

from typing import Any, NamedTuple

import mlc.numpy as mnp
from mlc import random
from mlc.errors import MlcError, OutOfRange, ShapeError
from mlc.frontends.trace.tensor import Tensor, type_text
from mlc.frontends.trace.tracing import user_line
from mlc.nn import functional
from mlc.nn import initialization as init
from mlc.nn.layers.dropout import Dropout
from mlc.nn.layers.linear import Linear
from mlc.nn.layers.position import RotaryEncoding
from mlc.nn.module import Module
from mlc.nn.parameter import Parameter
from mlc.nn.rng import default_rng


class Cache(NamedTuple):
    """Keys and values of the steps so far, [batch, heads, capacity, size], of which the first `length` (an i64 scalar) are there: a pytree."""

    keys: Tensor
    values: Tensor
    length: Tensor


class MultiHeadAttention(Module):
    """softmax(q k' / sqrt(size / heads) + mask) v of several heads, projected; Vaswani et al. 2017.

    query [batch, length, size]; keys and values are made of [batch, keys, size] too, the query itself where none are given. With `kv_heads` fewer, as many query heads share a
    key and a value (Ainslie et al. 2023). `rotary` turns queries and keys by their positions. in_proj_weight holds the three projections one behind
    another; it begins as `init.xavier_uniform`, biases as zeros.
    """

    def __init__(
        self,
        size: int,
        heads: int,
        kv_heads: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        rotary: RotaryEncoding | None = None,
        dtype: Any = "f32",
        key: Any = None,
    ):
        groups = heads if kv_heads is None else kv_heads
        if min(size, heads, groups) < 1 or size % heads or heads % groups:
            raise MlcError(
                f"a size of {size} does not divide into {heads} heads that share {groups} keys", file=user_line()
            )
        self.size, self.heads, self.kv_heads, self.head_size = size, heads, groups, size // heads
        keys = random.split(default_rng.key() if key is None else key)
        rows = size + 2 * groups * self.head_size
        self.in_proj_weight = Parameter(init.xavier_uniform(keys[0], (rows, size), dtype=dtype))
        self.in_proj_bias = Parameter(mnp.zeros(rows, dtype)) if bias else None
        self.out_proj = Linear(size, size, bias, dtype, keys[1])
        if bias:
            self.out_proj.bias = Parameter(mnp.zeros(size, dtype))
        self.rotary, self.dropout = rotary, Dropout(dropout) if dropout else None

    def forward(
        self,
        query: Any,
        keys: Any = None,
        values: Any = None,
        mask: Any = None,
        causal: bool = False,
        cache: Cache | None = None,
    ) -> Any:
        """y [batch, length, size]; with a cache (y, the cache with these steps added).

        The mask broadcasts to [batch, heads, length, keys]: bools, True where a key is seen, or numbers to add. `causal` lets a query see its own
        and earlier places alone. With a cache queries are the steps behind those in it, see all of those, and of their own the earlier ones.
        """
        query, keys, values = (None if x is None else mnp.asarray(x) for x in (query, keys, values))
        q, k, v = self._projected(query, keys, values)
        start = 0 if cache is None else cache.length
        if self.rotary is not None:
            q, k = self.rotary(q, start), self.rotary(k, start)
        if cache is not None:
            if mask is not None:
                raise MlcError("a mask beside a cache", file=user_line(), remedy="The cache says which keys are seen.")
            cache = appended(cache, k, v)
            (k, v, _), causal = cache, False
            own = start + mnp.arange(query.shape[1])
            mask = own[:, None] >= mnp.arange(k.shape[2])
        drop = self.dropout if self.dropout is not None and self.training else None
        y = functional.attention(q, k, v, mask, causal=causal, drop=drop)
        y = self.out_proj(y.swapaxes(1, 2).reshape(*query.shape[:2], self.size))
        return y if cache is None else (y, cache)

    def empty_cache(self, batch: int, capacity: int, dtype: Any = "f32") -> Cache:
        """A cache for so many steps, without any."""
        shape = (batch, self.kv_heads, capacity, self.head_size)
        return Cache(mnp.zeros(shape, dtype), mnp.zeros(shape, dtype), mnp.zeros((), "i64"))

    def _projected(self, query: Tensor, keys: Any, values: Any) -> list[Tensor]:
        """Queries, keys and values, [batch, heads, length, size of a head]."""
        for name, x in (("query", query), ("input of keys", keys), ("input of values", values)):
            if x is not None and (x.ndim != 3 or (isinstance(x.shape[2], int) and x.shape[2] != self.size)):
                raise ShapeError(
                    f"the {name} is {type_text(x)}, and must be [batch, length, {self.size}]", file=user_line()
                )
        widths = [self.size, self.kv_heads * self.head_size, self.kv_heads * self.head_size]
        ends = [widths[0], widths[0] + widths[1]]
        if keys is None and values is None:
            found = mnp.split(functional.linear(query, self.in_proj_weight, self.in_proj_bias), ends, -1)
        else:
            keys = query if keys is None else keys
            weights = mnp.split(self.in_proj_weight, ends)
            biases = [None] * 3 if self.in_proj_bias is None else mnp.split(self.in_proj_bias, ends)
            xs = (query, keys, keys if values is None else values)
            found = [functional.linear(x, w, b) for x, w, b in zip(xs, weights, biases, strict=True)]
        return [
            x.reshape(x.shape[0], x.shape[1], width // self.head_size, self.head_size).swapaxes(1, 2)
            for x, width in zip(found, widths, strict=True)
        ]

    def extra_repr(self) -> str:
        return f"{self.size}, heads={self.heads}" + (
            f", kv_heads={self.kv_heads}" if self.kv_heads < self.heads else ""
        )


def appended(cache: Cache, keys: Tensor, values: Tensor) -> Cache:
    """The cache with more steps behind those it has. Raises OutOfRange where it is full, unless that is known only when the code runs: steps beyond
    its end take the last place then."""
    count, capacity = keys.shape[2], cache.keys.shape[2]
    end = None if cache.length.trace is not None else int(cache.length) + count
    if isinstance(end, int) and isinstance(capacity, int) and end > capacity:
        raise OutOfRange(f"{int(cache.length)} + {count} steps in a cache of {capacity}", file=user_line())
    places = cache.length + mnp.arange(count)
    return Cache(cache.keys.at[:, :, places].set(keys), cache.values.at[:, :, places].set(values), cache.length + count)
