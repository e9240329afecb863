"""LinearClassifier and LinearRegressor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import like, plus
from mlc.frontends.onnx.ops.ml import learned
from mlc.frontends.onnx.ops.ml.scores import label_at, transformed, two_columns
from mlc.frontends.onnx.table import Value
from mlc.ir import builder as g
from mlc.ir.types import rank_of, shape_of


def rows(node: Node, x: Value) -> tuple[Value, int]:
    """(x as f32 [n, features], features); one row may come without its axis."""
    if rank_of(x) == 1:
        x = g.unsqueeze(x, [0])
    if rank_of(x) != 2:
        raise node.error(f"X has {rank_of(x)} axes, expected 1 or 2")
    features = shape_of(x)[1]
    if not isinstance(features, int):
        raise node.unsupported(f"the number of features, {features}, must be a number")
    return g.cast(x, "f32"), features


def product(node: Node, x: Value, count: int) -> Value:
    """x times the coefficients [count, features], plus the intercepts."""
    x, features = rows(node, x)
    coefficients = np.array(node.floats("coefficients"), np.float32)
    if coefficients.size != count * features:
        raise node.error(f"{coefficients.size} coefficients for {count} rows of {features} features")
    weights = g.constant(np.ascontiguousarray(coefficients.reshape(count, features).T), "coefficients")
    y = g.matmul(x, weights)
    intercepts = node.floats("intercepts", None)
    if not intercepts:
        return y
    if len(intercepts) != count:
        raise node.error(f"{len(intercepts)} intercepts for {count} rows of coefficients")
    return g.add(y, g.broadcast_to(g.constant(np.array(intercepts, np.float32), "intercepts"), shape_of(y)))


@learned("LinearRegressor", since=(1,))
def linear_regressor(node: Node, x: Value) -> Value:
    return transformed(node, product(node, x, node.int("targets")))


@learned("LinearClassifier", since=(1,))
def linear_classifier(node: Node, x: Value) -> Sequence[Value | None]:
    """(label, scores). One row of coefficients for two classes decides at 0; its scores are 1 - s and s, of SOFTMAX that of
    -s and s, as ONNX's reference has it."""
    _, features = rows(node, x)
    count = len(node.floats("coefficients")) // max(features, 1)
    scores = product(node, x, count)
    if count > 1:
        return [label_at(node, g.arg_max(scores, 1)), transformed(node, scores)]
    raw = g.squeeze(scores, [1])
    positive = g.cast(g.gt(raw, like(raw, 0)), "i64")
    if node.string("post_transform") in ("SOFTMAX", "SOFTMAX_ZERO"):
        return [label_at(node, positive), transformed(node, two_columns(g.neg(raw), raw))]
    score = g.squeeze(transformed(node, scores), [1])
    return [label_at(node, positive), two_columns(plus(g.neg(score), 1), score)]
