"""From raw scores to those that a classifier or regressor gives: post_transform, and the second column of two classes."""

from __future__ import annotations

import math

import numpy as np

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import like, plus, times
from mlc.frontends.onnx.table import Value
from mlc.ir import builder as g
from mlc.ir.types import shape_of


def transformed(node: Node, scores: Value, kind: str | None = None) -> Value:
    """Scores [n, classes] after post_transform, or after the one that `kind` names."""
    kind = kind or node.string("post_transform")
    match kind:
        case "NONE":
            return scores
        case "LOGISTIC":
            return g.sigmoid(scores)
        case "SOFTMAX":
            return g.softmax(scores, 1)
        case "SOFTMAX_ZERO":
            # Scores near 0 are made smaller and not raised to a power; a row of zeros is shared out in halves.
            small = g.le(g.abs(scores), like(scores, 1e-7))
            top = g.broadcast_to(g.reduce(scores, [1], "max", keepdims=True), shape_of(scores))
            e = g.select(small, g.mul(scores, g.exp(g.neg(top))), g.exp(g.sub(scores, top)))
            total = g.broadcast_to(g.reduce(e, [1], "sum", keepdims=True), shape_of(scores))
            return g.select(g.eq(total, like(total, 0)), like(e, 0.5), g.div(e, total))
        case "PROBIT":
            return probit(scores)
    raise node.unsupported(f"post_transform {kind}")


def probit(p: Value) -> Value:
    """The quantile of the normal distribution by Winitzki's approximation of the inverse error function (2008), as onnxruntime has it."""
    v = plus(times(p, 2), -1)
    log = g.log(g.mul(plus(g.neg(v), 1), plus(v, 1)))
    middle = plus(times(log, 0.5), 2 / (math.pi * 0.147))
    root = g.sqrt(g.add(g.neg(middle), g.sqrt(g.sub(g.mul(middle, middle), times(log, 1 / 0.147)))))
    return times(g.select(g.lt(v, like(v, 0)), g.neg(root), root), 1.41421356)


def labels_of(node: Node) -> np.ndarray | None:
    """The classes as integers; None where they are strings, which only a label output would need."""
    for strings in ("classlabels_strings", "classlabels_string"):
        if node.has(strings) and node.strings(strings, []):
            if node.wants(0):
                raise node.unsupported(
                    f"labels that are strings (output '{node.outputs[0]}')",
                    remedy=f"The scores compile: --until '{node.outputs[1]}'." if node.wants(1) else None,
                )
            return None
    for integers in ("classlabels_ints", "classlabels_int64s"):
        if node.has(integers):
            return np.array(node.ints(integers), np.int64)
    return None


def label_at(node: Node, place: Value) -> Value | None:
    """The label of each row by the place of its class."""
    if not node.wants(0):
        return None
    labels = labels_of(node)
    return place if labels is None else g.gather(g.constant(labels, "labels"), place, 0)


def two_columns(first: Value, second: Value) -> Value:
    """[n], [n] -> [n, 2]."""
    return g.concatenate([g.unsqueeze(first, [1]), g.unsqueeze(second, [1])], 1)
