"""Layer normalisation with what stands before it: a residual sum, or the three embeddings of BERT."""

from __future__ import annotations

from collections.abc import Sequence

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import plus
from mlc.frontends.onnx.ops.microsoft import contributed
from mlc.frontends.onnx.ops.normalization import layer_normalization, layer_normalized, widened
from mlc.frontends.onnx.table import Value, handles
from mlc.ir import builder as g
from mlc.ir.types import rank_of, shape_of


@handles("LayerNormalization", since=(1,))
def early_layer_normalization(node: Node, x: Value, scale: Value, bias: Value | None) -> Sequence[Value | None]:
    """onnxruntime writes the operator of opset 17 into models of older opsets."""
    return layer_normalization(node.standing_for("LayerNormalization", 17), x, scale, bias)


@handles("SimplifiedLayerNormalization", since=(1,))
def simplified_layer_normalization(node: Node, x: Value, scale: Value) -> Sequence[Value | None]:
    """RMSNormalization under onnxruntime's name, in the standard's domain. The second output is 1 / sqrt(mean square + epsilon)."""
    axis = node.axis(node.int("axis", -1), rank_of(x))
    return rms(node, x, scale, axis, node.float("epsilon", 1e-5), 1)


def rms(node: Node, x: Value, scale: Value, axis: int, epsilon: float, inverse_at: int) -> list[Value | None]:
    """[y, inverse root mean square where output `inverse_at` is wanted]."""
    shape = shape_of(x)
    axes = list(range(axis, len(shape)))
    y = g.rms_norm(x, g.broadcast_to(scale, shape[axis:]), axes, epsilon)
    if not node.wants(inverse_at):
        return [y, None]
    wide = widened(x)
    return [y, g.reciprocal(g.sqrt(plus(g.mean(g.mul(wide, wide), axes, keepdims=True), epsilon)))]


def with_residual(x: Value, skip: Value, bias: Value | None) -> Value:
    """x + skip + bias; skip may lack the batch or have it once."""
    total = g.add(x, g.broadcast_to(skip, shape_of(x)))
    return total if bias is None else g.add(total, g.broadcast_to(bias, shape_of(x)))


@contributed("SkipLayerNormalization")
def skip_layer_normalization(
    node: Node, x: Value, skip: Value, scale: Value, beta: Value | None, bias: Value | None
) -> Sequence[Value | None]:
    """LayerNormalization of x + skip + bias over the last axis; the fourth output is that sum."""
    total = with_residual(x, skip, bias)
    y = layer_normalized(node, total, scale, beta, rank_of(x) - 1, node.float("epsilon", 1e-12))
    return [*y, *[None] * (3 - len(y)), total]


@contributed("SkipSimplifiedLayerNormalization")
def skip_simplified_layer_normalization(
    node: Node, x: Value, skip: Value, scale: Value, bias: Value | None
) -> Sequence[Value | None]:
    """RMSNormalization of x + skip + bias over the last axis; the fourth output is that sum."""
    total = with_residual(x, skip, bias)
    y, inverse = rms(node, total, scale, rank_of(x) - 1, node.float("epsilon", 1e-12), 2)
    return [y, None, inverse, total]


@contributed("EmbedLayerNormalization")
def embed_layer_normalization(
    node: Node,
    input_ids: Value,
    segment_ids: Value | None,
    word_embedding: Value,
    position_embedding: Value,
    segment_embedding: Value | None,
    scale: Value,
    beta: Value,
    mask: Value | None,
    position_ids: Value | None,
) -> Sequence[Value | None]:
    """LayerNormalization of the sum of word, position and segment embeddings; input_ids [batch, sequence].

    The second output counts the mask per row (zeros without one), the third is the sum.
    """
    if rank_of(input_ids) != 2:
        raise node.error(f"input_ids has {rank_of(input_ids)} axes, expected 2")
    batch, length = shape_of(input_ids)
    total = g.gather(word_embedding, input_ids, 0)
    if position_ids is None:
        position_ids = g.iota([length], 0, "i64")
    total = g.add(total, g.broadcast_to(g.gather(position_embedding, position_ids, 0), shape_of(total)))
    if segment_ids is not None and segment_embedding is not None:
        total = g.add(total, g.gather(segment_embedding, segment_ids, 0))
    y = layer_normalized(node, total, scale, beta, 2, node.float("epsilon", 1e-12))[0]
    counts = g.full([batch], 0, "i32") if mask is None else g.reduce(g.cast(mask, "i32"), [1], "sum")
    return [y, counts, total]
