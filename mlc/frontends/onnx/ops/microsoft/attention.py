"""Attention as onnxruntime's transformer optimiser, quantiser and model builder write it: Attention, QAttention, MultiHeadAttention,
GroupQueryAttention, RotaryEmbedding.

Queries, keys and values become [batch, heads, sequence, size]; masks become a bias that is added to the scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import like, plus, times
from mlc.frontends.onnx.ops.attention import join_heads, per_group, rotated, split_heads, static_head_size
from mlc.frontends.onnx.ops.linear import centred
from mlc.frontends.onnx.ops.microsoft import contributed
from mlc.frontends.onnx.ops.microsoft.quantized import scaled_columns
from mlc.frontends.onnx.table import Value
from mlc.ir import builder as g
from mlc.ir.dims import Extent, dmax
from mlc.ir.types import dtype_of, rank_of, shape_of, shape_text


@contributed("Attention")
def attention(
    node: Node,
    x: Value,
    weights: Value,
    bias: Value | None,
    mask: Value | None,
    past: Value | None,
    attention_bias: Value | None,
    past_sequence_length: Value | None,
) -> Sequence[Value | None]:
    """x [batch, sequence, width] times weights [width, q + k + v], cut into heads; past and present are [2, batch, heads, length, size]."""
    if past_sequence_length is not None:
        raise node.unsupported("a cache that past and present share (past_sequence_length)")
    packed = g.matmul(x, weights)
    if bias is not None:
        packed = g.add(packed, g.broadcast_to(bias, shape_of(packed)))
    return self_attention(node, packed, mask, past, attention_bias)


@contributed("QAttention")
def quantized_attention(
    node: Node,
    x: Value,
    weights: Value,
    bias: Value,
    x_scale: Value,
    w_scale: Value,
    mask: Value | None,
    x_zero_point: Value | None,
    w_zero_point: Value | None,
    past: Value | None,
) -> Sequence[Value | None]:
    """Attention whose projection is a product of integers; w_scale is one value or one per column of the weights."""
    lhs, rhs = centred(node, x, x_zero_point, 6, None), centred(node, weights, w_zero_point, 7, -1)
    return self_attention(node, scaled_columns(lhs, x_scale, rhs, w_scale, bias), mask, past, None)


def self_attention(
    node: Node, packed: Value, mask: Value | None, past: Value | None, attention_bias: Value | None
) -> list[Value | None]:
    """Of queries, keys and values side by side, [batch, sequence, q + k + v]: the result, and the present keys and values."""
    if node.int("do_rotary", 0):
        raise node.unsupported("rotation within the operator (do_rotary)")
    if node.int("past_present_share_buffer", 0):
        raise node.unsupported("a cache that past and present share (past_present_share_buffer)")
    heads, total = node.int("num_heads"), shape_of(packed)[2]
    if not isinstance(total, int):
        raise node.unsupported(f"the columns of the weights, {total}, must be a number")
    sizes = node.ints("qkv_hidden_sizes", None) or [total // 3] * 3
    if len(sizes) != 3 or sum(sizes) != total:
        raise node.error(f"queries, keys and values of {sizes} columns, the weights have {total}")
    q, k, v = (split_heads(node, part, heads) for part in g.split(packed, sizes, 2))
    before: Extent = 0
    if past is not None:
        pieces = [g.squeeze(g.slice_axis(past, 0, i, 1), [0]) for i in range(2)]
        before = shape_of(past)[3]
        k, v = g.concatenate([pieces[0], k], 2), g.concatenate([pieces[1], v], 2)
    present = g.concatenate([g.unsqueeze(k, [0]), g.unsqueeze(v, [0])], 0) if node.wants(1) else None
    return [joined(node, q, k, v, mask, attention_bias, before), present]


@contributed("MultiHeadAttention")
def multi_head_attention(
    node: Node,
    query: Value,
    key: Value | None,
    value: Value | None,
    bias: Value | None,
    mask: Value | None,
    attention_bias: Value | None,
    past_key: Value | None,
    past_value: Value | None,
    past_sequence_length: Value | None,
    cache_indirection: Value | None,
) -> Sequence[Value | None]:
    """query [batch, sequence, width]; key and value alike, or as heads [batch, heads, length, size]; or packed: query [b, s, heads, 3,
    size], key [b, l, heads, 2, size]. The bias holds those of queries, keys and values in a row."""
    if past_sequence_length is not None or cache_indirection is not None:
        raise node.unsupported("a cache that past and present share (past_sequence_length, cache_indirection)")
    heads = node.int("num_heads")
    q, k, v = unpacked(node, query, key, value)
    if bias is not None:
        widths = [heads * static_head_size(node, x) if rank_of(x) == 4 else shape_of(x)[2] for x in (q, k, v)]
        pieces = g.split(bias, widths, 0)
        q, k, v = (biased(x, piece) for x, piece in zip((q, k, v), pieces, strict=True))
    q, k, v = (x if rank_of(x) == 4 else split_heads(node, x, heads) for x in (q, k, v))
    before: Extent = 0
    if past_key is not None and past_value is not None:
        before = shape_of(past_key)[2]
        k, v = g.concatenate([past_key, k], 2), g.concatenate([past_value, v], 2)
    return [joined(node, q, k, v, mask, attention_bias, before), k, v]


def unpacked(node: Node, query: Value, key: Value | None, value: Value | None) -> tuple[Value, Value, Value]:
    """Queries, keys and values, each flat or as heads."""

    def parts(x: Value, count: int) -> list[Value]:
        if rank_of(x) != 5 or shape_of(x)[3] != count:
            raise node.error(
                f"a packed operand has shape {shape_text(shape_of(x))}, expected 5 axes, axis 3 of {count}"
            )
        return [g.transpose(g.squeeze(g.slice_axis(x, 3, i, 1), [3]), [0, 2, 1, 3]) for i in range(count)]

    if key is None:
        q, k, v = parts(query, 3)
        return q, k, v
    if value is None:
        k, v = parts(key, 2)
        return query, k, v
    return query, key, value


def biased(x: Value, bias: Value) -> Value:
    """x plus a bias of its width, where it is flat or heads."""
    if rank_of(x) == 4:
        _, heads, _, size = shape_of(x)
        return g.add(x, g.broadcast(g.reshape(bias, [heads, size]), shape_of(x), [1, 3]))
    return g.add(x, g.broadcast_to(bias, shape_of(x)))


def joined(
    node: Node, q: Value, k: Value, v: Value, mask: Value | None, attention_bias: Value | None, before: Extent
) -> Value:
    """softmax(q k' * scale + masks + bias) v, heads side by side again."""
    scale = node.float("scale", 0.0) or 1 / math.sqrt(static_head_size(node, q))
    shape = (*shape_of(q)[:3], shape_of(k)[2])
    bias = None if mask is None else mask_bias(node, mask, shape, dtype_of(q), before)
    if node.int("unidirectional", 0):
        position = plus_extent(g.iota(shape, 2, "i64"), before)
        seen = g.le(g.iota(shape, 3, "i64"), position)
        visible = g.full(shape, 0, dtype_of(q)) if bias is None else bias
        bias = g.select(seen, visible, like(visible, float("-inf")))
    if attention_bias is not None:
        wide = g.broadcast_to(attention_bias, shape)
        bias = wide if bias is None else g.add(bias, wide)
    if bias is None:
        return join_heads(g.attention(q, k, v, None, scale))
    scores = g.add(per_group(times(q, scale), k, "bhsd,bhtd->bhst"), bias)
    return join_heads(per_group(g.softmax(scores, 3), v, "bhst,bhtd->bhsd"))


def plus_extent(x: Value, extent: Extent) -> Value:
    return x if extent == 0 else g.add(x, g.broadcast(g.dimension(extent), shape_of(x), []))


def mask_bias(node: Node, mask: Value, shape: Sequence[Extent], dtype: str, before: Extent) -> Value:
    """0 where keys may be seen and mask_filter_value elsewhere, of the scores' shape [batch, heads, queries, keys].

    The mask is the number of keys per row [batch]; ends and starts [2 * batch]; or 1 and 0 [batch, keys], [batch, queries, keys],
    [batch, 1, longest, longest].
    """
    batch, _, queries, keys = shape
    rank = rank_of(mask)
    if rank == 1:
        key = g.iota(shape, 3, "i64")
        if shape_of(mask)[0] == batch:
            seen = g.lt(key, g.broadcast(g.cast(mask, "i64"), shape, [0]))
        elif shape_of(mask)[0] == 2 * batch:
            ends, starts = (g.cast(x, "i64") for x in g.split(mask, [batch, batch], 0))
            seen = g.logical_and(g.lt(key, g.broadcast(ends, shape, [0])), g.ge(key, g.broadcast(starts, shape, [0])))
        else:
            raise node.unsupported(f"a mask of shape {shape_text(shape_of(mask))} for a batch of {batch}")
    else:
        if rank == 4:
            mask = g.slice(mask, [0, 0, before, 0], [*shape_of(mask)[:2], queries, keys], [1] * 4)
        elif rank not in (2, 3):
            raise node.error(f"the mask has {rank} axes, expected 1 to 4")
        else:
            mask = g.unsqueeze(mask, [1] if rank == 3 else [1, 2])
        seen = g.broadcast_to(g.gt(mask, like(mask, 0)), shape)
    return g.select(seen, g.full(shape, 0, dtype), g.full(shape, node.float("mask_filter_value", -10000.0), dtype))


@contributed("GroupQueryAttention")
def group_query_attention(
    node: Node,
    query: Value,
    key: Value | None,
    value: Value | None,
    past_key: Value | None,
    past_value: Value | None,
    lengths: Value,
    total_sequence_length: Value,
    cos_cache: Value | None,
    sin_cache: Value | None,
    position_ids: Value | None,
    attention_bias: Value | None,
    head_sink: Value | None,
) -> Sequence[Value | None]:
    """Causal attention with a cache, `num_heads` query heads over `kv_num_heads` key heads.

    lengths [batch] are the keys of each row, new ones counted, less 1. Row b writes its new keys behind its own past, at
    lengths[b] + 1 - sequence, or at 0 where there is no past at all (total_sequence_length is the sequence).
    """
    heads, kv_heads = node.int("num_heads"), node.int("kv_num_heads")
    q, k, v = grouped_heads(node, query, key, value, heads, kv_heads)
    batch, _, sequence, _ = shape_of(q)
    total = node.extent(6, "total_sequence_length")
    start = past_lengths(lengths, batch, sequence, total)
    positions = g.add(g.broadcast(start, [batch, sequence], [0]), g.iota([batch, sequence], 1, "i64"))
    if node.int("do_rotary", 0):
        if cos_cache is None or sin_cache is None:
            raise node.invalid("do_rotary needs cos_cache and sin_cache")
        at = positions if position_ids is None else position_ids
        cos, sin = (g.gather(cache, at, 0) for cache in (cos_cache, sin_cache))
        interleaved = bool(node.int("rotary_interleaved", 0))
        q, k = (rotated(x, cos, sin, interleaved) for x in (q, k))
    present_key, present_value = (
        cached(node, past, new, positions, total) for past, new in ((past_key, k), (past_value, v))
    )
    shape = (batch, heads, sequence, total)
    keys, values = (g.slice_axis(x, 2, 0, total) for x in (present_key, present_value))
    key_at, query_at = g.iota(shape, 3, "i64"), g.broadcast(positions, shape, [0, 2])
    seen = g.le(key_at, query_at)
    window = node.int("local_window_size", -1)
    if window > 0:
        seen = g.logical_and(seen, g.gt(key_at, plus(query_at, -window)))
    scale = node.float("scale", 0.0) or 1 / math.sqrt(static_head_size(node, q))
    scores = per_group(times(q, scale), keys, "bhsd,bhtd->bhst")
    softcap = node.float("softcap", 0.0)
    if softcap:
        scores = times(g.tanh(times(scores, 1 / softcap)), softcap)
    if attention_bias is not None:
        wide = g.broadcast_to(g.slice_axis(attention_bias, 3, 0, total), shape)
        scores = g.add(scores, wide)
    scores = g.select(seen, scores, like(scores, float("-inf")))
    if head_sink is not None:
        weights = with_sink(scores, g.broadcast(head_sink, (*shape[:3], 1), [1]))
    elif node.int("smooth_softmax", 0) == 1:
        weights = with_sink(scores, g.full((*shape[:3], 1), 0, dtype_of(scores)))
    else:
        weights = g.softmax(scores, 3)
    return [join_heads(per_group(weights, values, "bhst,bhtd->bhsd")), present_key, present_value]


def grouped_heads(
    node: Node, query: Value, key: Value | None, value: Value | None, heads: int, kv_heads: int
) -> tuple[Value, Value, Value]:
    """Flat operands as heads; without a key the query holds all three, [batch, sequence, (heads + 2 * kv_heads) * size]."""
    if kv_heads < 1 or heads % kv_heads:
        raise node.error(f"{heads} query heads are not a multiple of {kv_heads} key and value heads")
    if key is None or value is None:
        both = heads + 2 * kv_heads
        every = split_heads(node, query, both)
        q, k, v = g.split(every, [heads, kv_heads, kv_heads], 1)
        return q, k, v
    return split_heads(node, query, heads), split_heads(node, key, kv_heads), split_heads(node, value, kv_heads)


def past_lengths(lengths: Value, batch: Extent, sequence: Extent, total: Extent) -> Value:
    """How many keys each row had before, i64 [batch]."""
    last = g.cast(g.reshape(lengths, [batch]), "i64")
    start = g.sub(plus(last, 1), g.broadcast(g.dimension(sequence), [batch], []))
    if total == sequence:
        return like(start, 0)
    first = g.eq(g.dimension(total), g.dimension(sequence))
    return g.select(g.broadcast(first, [batch], []), like(start, 0), start)


def cached(node: Node, past: Value | None, new: Value, positions: Value, total: Extent) -> Value:
    """The keys or values of a past [batch, heads, length, size] with the new ones at their positions; it grows to `total`."""
    batch, heads, _, size = shape_of(new)
    if past is None:
        past = g.full([batch, heads, total, size], 0, dtype_of(new))
    else:
        length = shape_of(past)[2]
        longest = node.simplify(dmax(length, total))
        past = g.pad(past, [0] * 4, [0, 0, longest - length, 0]) if longest != length else past
    return g.scatter_elements(past, g.broadcast(positions, shape_of(new), [0, 2]), new, 2, "set")


def with_sink(scores: Value, sink: Value) -> Value:
    """softmax over the last axis with one more score, which takes its share and is dropped."""
    axis = rank_of(scores) - 1
    weights = g.softmax(g.concatenate([scores, sink], axis), axis)
    return g.slice_axis(weights, axis, 0, shape_of(scores)[axis])


@contributed("RotaryEmbedding")
def rotary_embedding(node: Node, x: Value, position_ids: Value, cos_cache: Value, sin_cache: Value) -> Value:
    """x [batch, sequence, heads * size] or [batch, heads, sequence, size]; position_ids [batch, sequence], or [1]: the first position."""
    if node.int("is_packed_batching", 0):
        raise node.unsupported("batches packed into one row (is_packed_batching)")
    pairs = shape_of(cos_cache)[-1]
    if not isinstance(pairs, int):
        raise node.unsupported(f"the columns of cos_cache, {pairs}, must be a number")
    turned = node.int("rotary_embedding_dim", 0)
    if turned and turned != 2 * pairs:
        raise node.error(f"cos_cache has {pairs} columns, rotary_embedding_dim is {turned}")
    flat = rank_of(x) == 3
    if flat:
        heads, width = node.int("num_heads", 0), shape_of(x)[2]
        x = split_heads(node, x, heads or width // (2 * pairs))  # type: ignore[arg-type]
    batch, _, sequence, _ = shape_of(x)
    if rank_of(position_ids) == 1:
        start = g.broadcast(g.reshape(position_ids, []), [batch, sequence], [])
        position_ids = g.add(start, g.iota([batch, sequence], 1, "i64"))
    y = rotated(
        x, g.gather(cos_cache, position_ids, 0), g.gather(sin_cache, position_ids, 0), bool(node.int("interleaved", 0))
    )
    return join_heads(y) if flat else y
