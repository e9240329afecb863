"""Losses over classes: NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss."""

from __future__ import annotations

from collections.abc import Sequence

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.table import Value, handles
from mlc.ir import builder as g
from mlc.ir.types import dtype_of, is_half, rank_of, shape_of


@handles("NegativeLogLikelihoodLoss", since=(12, 13, 22))
def negative_log_likelihood(node: Node, x: Value, target: Value, weight: Value | None = None) -> Value:
    return picked_loss(node, x, target, weight)


@handles("SoftmaxCrossEntropyLoss", since=(12, 13))
def softmax_cross_entropy(
    node: Node, scores: Value, labels: Value, weight: Value | None = None
) -> Sequence[Value | None]:
    log_probabilities = g.log_softmax(scores, 1)
    return [picked_loss(node, log_probabilities, labels, weight), log_probabilities]


def picked_loss(node: Node, x: Value, target: Value, weight: Value | None) -> Value:
    """-weight[t] * x[n, t, ...], reduced; a target equal to ignore_index has weight 0.

    x [n, c, d...] log-probabilities, target [n, d...]. The mean is over the weights, as in PyTorch.
    """
    reduction = node.string("reduction")
    if reduction not in ("none", "sum", "mean"):
        raise node.invalid(f"reduction '{reduction}' is none of none, sum, mean")
    if rank_of(x) < 2:
        raise node.error(f"scores have {rank_of(x)} axes, batch and classes are needed")
    if is_half(narrow := dtype_of(x)):  # sums of many terms need not fit in 16 bits
        weight = weight if weight is None else g.cast(weight, "f32")
        return g.cast(picked_loss(node, g.cast(x, "f32"), target, weight), narrow)
    classes, dtype = shape_of(x)[1], dtype_of(x)
    wanted = (shape_of(x)[0], *shape_of(x)[2:])
    if rank_of(target) != len(wanted):
        raise node.error(f"the target has {rank_of(target)} axes, scores of {rank_of(x)} axes need {len(wanted)}")
    target = g.broadcast_to(target, wanted)
    kept = None
    if node.has("ignore_index"):
        kept = g.ne(target, g.scalar_like(target, node.int("ignore_index")))
        target = g.select(kept, target, g.scalar_like(target, 0))
    picked = g.squeeze(g.gather_elements(x, g.unsqueeze(target, [1]), 1), [1])
    factors = None
    if weight is not None:
        if shape_of(weight) != (classes,):
            raise node.error(f"weight has shape {list(map(str, shape_of(weight)))}, scores have {classes} classes")
        factors = g.gather(weight, target, 0)
    if kept is not None:
        ones = g.full(shape_of(target), 1, dtype)
        factors = g.select(kept, ones if factors is None else factors, g.scalar_like(ones, 0))
    loss = g.neg(picked) if factors is None else g.neg(g.mul(picked, factors))
    if reduction == "none":
        return loss
    axes = list(range(rank_of(loss)))
    if reduction == "sum":
        return g.reduce(loss, axes, "sum")
    if factors is None:
        return g.mean(loss, axes, keepdims=False)
    return g.div(g.reduce(loss, axes, "sum"), g.reduce(factors, axes, "sum"))
