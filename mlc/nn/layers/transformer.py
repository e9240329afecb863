"""Blocks of Transformers: attention and a network of two layers, each with normalisation and a residual connection. Vaswani et al. 2017.

Where the normalisation comes first (`norm_first`), x + f(norm(x)), deep stacks train without warm-up (Xiong et al. 2020); else norm(x + f(x)).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlc import random
from mlc.errors import MlcError
from mlc.frontends.trace.tensor import Tensor
from mlc.frontends.trace.tracing import user_line
from mlc.nn import functional
from mlc.nn.layers.attention import Cache, MultiHeadAttention
from mlc.nn.layers.dropout import Dropout
from mlc.nn.layers.linear import Linear
from mlc.nn.layers.norm import LayerNorm
from mlc.nn.layers.position import RotaryEncoding
from mlc.nn.module import Module
from mlc.nn.rng import default_rng


class _Block(Module):
    _norms = 2

    def __init__(
        self,
        size: int,
        heads: int,
        hidden: int,
        dropout: float = 0.0,
        norm_first: bool = False,
        activation: Callable[[Any], Tensor] = functional.relu,
        eps: float = 1e-5,
        kv_heads: int | None = None,
        rotary: RotaryEncoding | None = None,
        dtype: Any = "f32",
        key: Any = None,
    ):
        if not callable(activation):
            raise MlcError(
                f"an activation is a function, and this is {activation!r}",
                file=user_line(),
                remedy="Write activation=nn.functional.gelu.",
            )
        keys = iter(random.split(default_rng.key() if key is None else key, 4))
        self.norm_first, self.activation = norm_first, activation
        self.self_attn = MultiHeadAttention(size, heads, kv_heads, True, dropout, rotary, dtype, next(keys))
        self._cross(size, heads, kv_heads, dropout, dtype, next(keys))
        self.linear1, self.linear2 = (
            Linear(size, hidden, True, dtype, next(keys)),
            Linear(hidden, size, True, dtype, next(keys)),
        )
        for number in range(1, self._norms + 1):
            setattr(self, f"norm{number}", LayerNorm(size, eps, dtype=dtype))
        self.dropout = Dropout(dropout) if dropout else None

    def _cross(self, size: int, heads: int, kv_heads: int | None, dropout: float, dtype: Any, key: Any) -> None:
        """Set what attends to another sequence."""

    def _into(self, norm: Module, x: Any) -> Any:
        """What a part of the block is given of x."""
        return norm(x) if self.norm_first else x

    def _out_of(self, norm: Module, x: Any, y: Any) -> Any:
        """x with what a part gave."""
        x = x + self._dropped(y)
        return x if self.norm_first else norm(x)

    def _attended(self, x: Any, mask: Any, causal: bool, cache: Cache | None) -> tuple[Any, Cache | None]:
        """(x with self-attention, the cache)"""
        found = self.self_attn(self._into(self.norm1, x), mask=mask, causal=causal, cache=cache)
        y, cache = (found, None) if cache is None else found
        return self._out_of(self.norm1, x, y), cache

    def _dropped(self, x: Any) -> Any:
        return x if self.dropout is None else self.dropout(x)

    def _two_layers(self, norm: Module, x: Any) -> Any:
        """x with the network of two layers."""
        inner = self._dropped(self.activation(self.linear1(self._into(norm, x))))
        return self._out_of(norm, x, self.linear2(inner))


class TransformerEncoderBlock(_Block):
    """Self-attention, then two layers: x [batch, length, size] to the same shape. Names of parameters are PyTorch's.

    With `causal` it is a block of a decoder that attends to nothing else; a cache is as in `MultiHeadAttention`, and then comes back beside the result.
    """

    def forward(self, x: Any, mask: Any = None, causal: bool = False, cache: Cache | None = None) -> Any:
        x, cache = self._attended(x, mask, causal, cache)
        x = self._two_layers(self.norm2, x)
        return x if cache is None else (x, cache)


class TransformerDecoderBlock(_Block):
    """Self-attention to earlier places, attention to `memory` [batch, keys, size], then two layers: x [batch, length, size] to the same shape.

    `memory_mask` is that of the attention to the memory. Names of parameters are PyTorch's; a cache is as in `MultiHeadAttention`.
    """

    _norms = 3

    def _cross(self, size: int, heads: int, kv_heads: int | None, dropout: float, dtype: Any, key: Any) -> None:
        self.multihead_attn = MultiHeadAttention(size, heads, kv_heads, True, dropout, None, dtype, key)

    def forward(
        self,
        x: Any,
        memory: Any,
        mask: Any = None,
        memory_mask: Any = None,
        causal: bool = True,
        cache: Cache | None = None,
    ) -> Any:
        x, cache = self._attended(x, mask, causal, cache)
        y = self.multihead_attn(self._into(self.norm2, x), memory, mask=memory_mask)
        x = self._two_layers(self.norm3, self._out_of(self.norm2, x, y))
        return x if cache is None else (x, cache)
