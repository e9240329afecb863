"""Attention with caches, grouped heads, masks and soft caps, and RotaryEmbedding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import like, times
from mlc.frontends.onnx.table import Value, handles
from mlc.ir import builder as g
from mlc.ir.dims import Extent
from mlc.ir.types import dtype_of, is_half, rank_of, shape_of


@dataclass(frozen=True)
class Frontier:
    """Where the query block stands among the keys: query i is at position i + offset.

    extent   the offset is the length of the past, the same for every batch
    lengths  [batch] valid keys in an external cache; the offset of batch b is lengths[b] - queries
    """

    extent: Extent = 0
    lengths: Value | None = None


@handles("Attention", since=(23,))
def attention(
    node: Node,
    q: Value,
    k: Value,
    v: Value,
    mask: Value | None = None,
    past_key: Value | None = None,
    past_value: Value | None = None,
) -> Sequence[Value | None]:
    return attend(node, q, k, v, mask, past_key, past_value, None)


@handles("Attention", since=(24, 25))
def attention_with_lengths(
    node: Node,
    q: Value,
    k: Value,
    v: Value,
    mask: Value | None = None,
    past_key: Value | None = None,
    past_value: Value | None = None,
    nonpad_kv_seqlen: Value | None = None,
) -> Sequence[Value | None]:
    return attend(node, q, k, v, mask, past_key, past_value, nonpad_kv_seqlen)


def attend(
    node: Node,
    q: Value,
    k: Value,
    v: Value,
    mask: Value | None,
    past_key: Value | None,
    past_value: Value | None,
    lengths: Value | None,
) -> Sequence[Value | None]:
    """softmax(q k' * scale + bias) v per head. A query that may attend no key gets zeros."""
    if (past_key is None) != (past_value is None):
        raise node.invalid("past_key and past_value come together")
    if lengths is not None and past_key is not None:
        raise node.invalid("nonpad_kv_seqlen cannot be combined with past_key and past_value")
    ranks = {rank_of(x) for x in (q, k, v)}
    if ranks not in ({3}, {4}):
        raise node.error(f"Q, K and V have {rank_of(q)}, {rank_of(k)} and {rank_of(v)} axes, expected 3 or 4 for all")
    flat = ranks == {3}
    if flat:
        q = split_heads(node, q, node.int("q_num_heads"))
        k, v = (split_heads(node, x, node.int("kv_num_heads")) for x in (k, v))
    frontier = Frontier(lengths=lengths)
    if past_key is not None and past_value is not None:
        if rank_of(past_key) != 4 or rank_of(past_value) != 4:
            raise node.error(
                f"past_key and past_value have {rank_of(past_key)} and {rank_of(past_value)} axes, expected 4"
            )
        frontier = Frontier(extent=shape_of(past_key)[2])
        k, v = g.concatenate([past_key, k], 2), g.concatenate([past_value, v], 2)
    present_key, present_value = k, v

    heads, kv_heads = shape_of(q)[1], shape_of(k)[1]
    of_values = [g.require_equal(shape_of(k)[i], shape_of(v)[i], f"axis {i} of keys and values") for i in range(3)]
    v = g.reshape(v, [*of_values, shape_of(v)[3]])
    divides = isinstance(heads, int) and isinstance(kv_heads, int) and kv_heads > 0 and heads % kv_heads == 0
    if heads != kv_heads and not divides:
        raise node.error(f"{heads} query heads are not a multiple of {kv_heads} key and value heads")
    scale = node.float("scale", 0.0) or 1 / math.sqrt(static_head_size(node, q))
    y, scores = product(node, q, k, v, mask, frontier, scale)
    return [join_heads(y) if flat else y, present_key, present_value, scores]


def split_heads(node: Node, x: Value, heads: int) -> Value:
    """[batch, sequence, heads * size] -> [batch, heads, sequence, size]."""
    batch, sequence, width = shape_of(x)
    if isinstance(width, int) and (heads < 1 or width % heads):
        raise node.error(f"the last axis, {width}, is not a multiple of {heads} heads")
    return g.transpose(g.reshape(x, [batch, sequence, heads, width // heads]), [0, 2, 1, 3])


def join_heads(x: Value) -> Value:
    batch, heads, sequence, size = shape_of(x)
    return g.reshape(g.transpose(x, [0, 2, 1, 3]), [batch, sequence, heads * size])


def static_head_size(node: Node, q: Value) -> int:
    size = shape_of(q)[3]
    if not isinstance(size, int):
        raise node.unsupported(f"the head size {size} must be a number")
    if size < 1:
        raise node.error("heads have no elements")
    return size


def product(
    node: Node, q: Value, k: Value, v: Value, mask: Value | None, frontier: Frontier, scale: float
) -> tuple[Value, Value | None]:
    """The result [b, h, s, d] and, where wanted, the scores at the stage that qk_matmul_output_mode names."""
    dtype, softcap = dtype_of(q), node.float("softcap")
    shape = (*shape_of(q)[:3], shape_of(k)[2])
    allowed, bias = masking(node, mask, frontier, shape, dtype)
    wants_scores = node.wants(3)
    precision = node.int("softmax_precision", 0)
    wide = node.dtype_name(precision) if precision else dtype
    if not (softcap or wants_scores or allowed is not None or wide != dtype or bias is not None):
        return g.attention(q, k, v, None, scale), None

    if dtype == "f16":
        # Both factors are scaled where their product could overflow.
        root = math.sqrt(scale)
        scores = per_group(times(q, root), times(k, root), "bhsd,bhtd->bhst")
    else:
        scores = per_group(times(q, scale), k, "bhsd,bhtd->bhst")
    mode, shown = node.int("qk_matmul_output_mode"), None
    if mode not in (0, 1, 2, 3):
        raise node.invalid(f"qk_matmul_output_mode is {mode}, expected 0 to 3")
    if mode == 0:
        shown = scores
    if softcap:
        scores = times(g.tanh(g.div(scores, like(scores, softcap))), softcap)
    if mode == 1:
        shown = scores
    if bias is not None:
        scores = g.add(scores, bias)
    if allowed is not None:
        scores = g.select(allowed, scores, like(scores, float("-inf")))
    if mode == 2:
        shown = scores
    # Without mask and lengths every query may attend at least its own position.
    attends = mask is None and frontier.lengths is None and node.int("left_window_size", -1) < 0
    weights = g.cast(probabilities(g.cast(scores, wide), guarded=not attends), dtype)
    if mode == 3:
        shown = weights
    return per_group(weights, v, "bhst,bhtd->bhsd"), shown if wants_scores else None


def probabilities(scores: Value, guarded: bool) -> Value:
    """softmax over the last axis; where `guarded`, a row of -inf alone gives zeros instead of NaN.

    16-bit scores keep their type at every step, as the standard asks unless softmax_precision says otherwise.
    """
    axis, shape = rank_of(scores) - 1, shape_of(scores)
    narrow = is_half(dtype_of(scores))
    if not (guarded or narrow):
        return g.softmax(scores, axis)
    top = g.reduce(scores, [axis], "max", keepdims=True)
    if narrow:
        e = g.exp(g.sub(scores, g.broadcast_to(top, shape)))
        weights = g.div(e, g.broadcast_to(g.reduce(e, [axis], "sum", keepdims=True), shape))
    else:
        weights = g.softmax(scores, axis)
    if not guarded:
        return weights
    empty = g.broadcast_to(g.eq(top, like(top, float("-inf"))), shape)
    return g.select(empty, like(scores, 0), weights)


def per_group(x: Value, y: Value, spec: str) -> Value:
    """contract over heads b h, where y has h / groups heads and each serves `groups` heads of x in a row."""
    batch, heads, *rest = shape_of(x)
    kv_heads = shape_of(y)[1]
    if heads == kv_heads:
        return g.contract(x, y, spec)
    left, right, result = spec.replace("->", ",").split(",")
    grouped = g.reshape(x, [batch, kv_heads, heads // kv_heads, *rest])
    z = g.contract(grouped, y, f"{left.replace('h', 'hg')},{right}->{result.replace('h', 'hg')}")
    return g.reshape(z, [batch, heads, *shape_of(z)[3:]])


def masking(
    node: Node, mask: Value | None, frontier: Frontier, shape: Sequence[Extent], dtype: str
) -> tuple[Value | None, Value | None]:
    """(positions that may be attended, bias to add), each of the scores' shape or None."""
    keys = shape[3]
    conditions = []
    bias = None
    if mask is not None:
        mask = to_all_keys(node, mask, keys)
        if dtype_of(mask) == "bool":
            conditions.append(g.broadcast_to(mask, shape))
        else:
            bias = g.broadcast_to(g.cast(mask, dtype), shape)
    left, right = node.int("left_window_size", -1), node.int("right_window_size", -1)
    if node.int("is_causal"):
        right = 0 if right < 0 else min(right, 0)
    key = g.iota(shape, 3, "i64")
    if left >= 0 or right >= 0:
        position = query_positions(frontier, shape)
        if right >= 0:
            conditions.append(g.le(key, g.add(position, like(position, right)) if right else position))
        if left >= 0:
            conditions.append(g.ge(key, g.sub(position, like(position, left))))
    if frontier.lengths is not None:
        conditions.append(g.lt(key, g.broadcast(frontier.lengths, shape, [0])))
    allowed = None
    for condition in conditions:
        allowed = condition if allowed is None else g.logical_and(allowed, condition)
    return allowed, bias


def query_positions(frontier: Frontier, shape: Sequence[Extent]) -> Value:
    position = g.iota(shape, 2, "i64")
    if frontier.lengths is not None:
        offset = g.broadcast(frontier.lengths, shape, [0])
        return g.sub(g.add(position, offset), g.broadcast(g.dimension(shape[2]), shape, []))
    if frontier.extent == 0:
        return position
    return g.add(position, g.broadcast(g.dimension(frontier.extent), shape, []))


def to_all_keys(node: Node, mask: Value, keys: Extent) -> Value:
    """A mask that covers fewer keys than there are forbids the rest."""
    if not rank_of(mask):
        return mask
    covered = shape_of(mask)[-1]
    if node.version < 24 or not (isinstance(covered, int) and isinstance(keys, int)) or covered in (1, keys):
        return mask
    rank = rank_of(mask)
    value = False if dtype_of(mask) == "bool" else float("-inf")
    return g.pad(mask, [0] * rank, [0] * (rank - 1) + [keys - covered], value)


@handles("RotaryEmbedding", since=(23,))
def rotary_embedding(
    node: Node, x: Value, cos_cache: Value, sin_cache: Value, position_ids: Value | None = None
) -> Value:
    """Turn pairs of features by an angle per position: (a cos - b sin, a sin + b cos).

    x [batch, heads, sequence, size] or [batch, sequence, heads * size]. The pairs are halves of the first
    rotary_embedding_dim features, or neighbours when interleaved. Caches are [positions, pairs] with
    position_ids [batch, sequence], else [batch, sequence, pairs].
    """
    if rank_of(x) not in (3, 4):
        raise node.error(f"X has {rank_of(x)} axes, expected 3 or 4")
    flat = rank_of(x) == 3
    if flat:
        heads = node.int("num_heads", 0)
        if not heads:
            raise node.invalid("num_heads is missing for an input with 3 axes")
        x = split_heads(node, x, heads)
    size = static_head_size(node, x)
    turned = node.int("rotary_embedding_dim") or size
    if turned % 2 or turned > size:
        raise node.invalid(f"rotary_embedding_dim {turned} must be even and at most the head size {size}")
    for name, cache in (("cos_cache", cos_cache), ("sin_cache", sin_cache)):
        wanted = 3 if position_ids is None else 2
        if rank_of(cache) != wanted:
            raise node.error(f"{name} has {rank_of(cache)} axes, expected {wanted}")
    if position_ids is not None:
        cos_cache, sin_cache = (g.gather(cache, position_ids, 0) for cache in (cos_cache, sin_cache))
    cos_cache, sin_cache = (
        g.fitted(cache, [*shape_of(cache)[:-1], turned // 2], f"{node.title}: columns of the caches")
        for cache in (cos_cache, sin_cache)
    )
    if shape_of(cos_cache)[-1] != turned // 2:
        raise node.error(f"cos_cache has {shape_of(cos_cache)[-1]} columns, {turned // 2} pairs are turned")
    y = rotated(x, cos_cache, sin_cache, bool(node.int("interleaved")))
    return join_heads(y) if flat else y


def rotated(x: Value, cos: Value, sin: Value, interleaved: bool) -> Value:
    """x [batch, heads, sequence, size] with its first pairs of features turned; cos and sin are [batch, sequence, pairs]."""
    shape = shape_of(x)
    pairs, size = shape_of(cos)[2], shape[3]
    pair_shape = [*shape[:3], pairs]
    cos, sin = (g.broadcast_to(g.unsqueeze(cache, [1]), pair_shape) for cache in (cos, sin))
    starts, step = ((0, 1), 2) if interleaved else ((0, pairs), 1)
    a, b = (g.slice(x, [0, 0, 0, start], pair_shape, [1, 1, 1, step]) for start in starts)
    real = g.sub(g.mul(cos, a), g.mul(sin, b))
    imaginary = g.add(g.mul(sin, a), g.mul(cos, b))
    if interleaved:
        both = g.concatenate([g.unsqueeze(real, [4]), g.unsqueeze(imaginary, [4])], 4)
        parts = [g.reshape(both, [*shape[:3], 2 * pairs])]
    else:
        parts = [real, imaginary]
    if size != 2 * pairs:
        parts.append(g.slice(x, [0, 0, 0, 2 * pairs], [*shape[:3], size - 2 * pairs], [1, 1, 1, 1]))
    return g.concatenate(parts, 3)
