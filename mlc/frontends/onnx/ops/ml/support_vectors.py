"""SVMClassifier and SVMRegressor: sums of kernels of a row and each support vector.

A classifier of several classes decides between each two of them. What those decisions say together is a vote, or, where the model has the
coefficients of Platt's sigmoids, probabilities: Wu, Lin, Weng, Probability Estimates for Multi-class Classification by Pairwise
Coupling, 2004, as LIBSVM computes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import like, plus, times
from mlc.frontends.onnx.ops.ml import learned
from mlc.frontends.onnx.ops.ml.linear import rows
from mlc.frontends.onnx.ops.ml.scores import label_at, labels_of, transformed, two_columns
from mlc.frontends.onnx.table import Value
from mlc.ir import builder as g
from mlc.ir.types import shape_of

COUPLING_STEPS = 100
SMALLEST_PROBABILITY = 1e-7


@dataclass(frozen=True)
class Pairs:
    """The decisions between each two of `count` classes, in order (0, 1), (0, 2), ..., (1, 2), ..."""

    count: int

    @property
    def first(self) -> np.ndarray:
        return np.triu_indices(self.count, 1)[0]

    @property
    def second(self) -> np.ndarray:
        return np.triu_indices(self.count, 1)[1]

    def __len__(self) -> int:
        return self.count * (self.count - 1) // 2


@learned("SVMClassifier", since=(1,))
def svm_classifier(node: Node, x: Value) -> Sequence[Value | None]:
    """(label, scores). The label is the class with most votes. Scores are those of the decisions between each two classes, or probabilities
    of the classes; without support vectors a linear model's."""
    x, features = rows(node, x)
    coefficients = np.array(node.floats("coefficients"), np.float32)
    if not coefficients.size:
        raise node.invalid("there are no coefficients")
    sizes = node.ints("vectors_per_class", None) or []
    classes = class_count(node)
    if not sum(sizes):
        return linear_decision(node, x, coefficients, classes, features)
    if len(sizes) != classes or min(sizes) < 0 or classes < 2:
        raise node.error(f"{len(sizes)} vectors_per_class for {classes} classes")
    pairs = Pairs(classes)
    raw = decisions(node, x, features, coefficients, sizes, pairs)
    votes = g.cast(g.gt(raw, like(raw, 0)), "f32")
    ballot = np.zeros((len(pairs), classes), np.float32)
    ballot[np.arange(len(pairs)), pairs.first] = 1
    ballot[np.arange(len(pairs)), pairs.second] = -1
    others = g.constant(np.bincount(pairs.second, minlength=classes).astype(np.float32), "votes")
    counted = g.matmul(votes, g.constant(ballot, "ballot"))
    place = g.arg_max(g.add(counted, g.broadcast(others, shape_of(counted), [1])), 1)
    if node.floats("prob_a", None):
        return [label_at(node, place), transformed(node, probabilities(node, raw, pairs))]
    if classes > 2:
        return [label_at(node, place), transformed(node, raw)]
    return [label_at(node, place), two_scores(node, raw)]


def class_count(node: Node) -> int:
    for name in ("classlabels_ints", "classlabels_strings"):
        if node.has(name):
            return len(node.ints(name) if name.endswith("ints") else node.strings(name))
    return 1


def decisions(
    node: Node, x: Value, features: int, coefficients: np.ndarray, sizes: Sequence[int], pairs: Pairs
) -> Value:
    """[n, pairs]: above 0 for the first of two classes. The vectors of a class have a coefficient against each other class."""
    count = sum(sizes)
    vectors = np.array(node.floats("support_vectors"), np.float32)
    if vectors.size != count * features or coefficients.size != count * (pairs.count - 1):
        raise node.error(
            f"{vectors.size} elements of support vectors and {coefficients.size} coefficients for {count} vectors of {features} "
            f"features in {pairs.count} classes"
        )
    rho = np.array(node.floats("rho"), np.float32)
    if rho.size != len(pairs):
        raise node.error(f"{rho.size} values of rho for {len(pairs)} pairs of classes")
    against = coefficients.reshape(pairs.count - 1, count)
    ends = np.cumsum(sizes)
    weights = np.zeros((count, len(pairs)), np.float32)
    for number, (i, j) in enumerate(zip(pairs.first, pairs.second, strict=True)):
        for own, row in ((i, j - 1), (j, i)):
            part = slice(ends[own] - sizes[own], ends[own])
            weights[part, number] = against[row, part]
    scores = g.matmul(kernel(node, x, vectors.reshape(count, features)), g.constant(weights, "coefficients"))
    return g.add(scores, g.broadcast(g.constant(rho, "rho"), shape_of(scores), [1]))


def two_scores(node: Node, raw: Value) -> Value:
    """Of one decision [n, 1]: its opposite and itself, transformed."""
    score = g.squeeze(raw, [1])
    return transformed(node, two_columns(g.neg(score), score))


def linear_decision(
    node: Node, x: Value, coefficients: np.ndarray, classes: int, features: int
) -> Sequence[Value | None]:
    """A row of coefficients for each class, with one rho for all. The one score of a single class is not transformed."""
    if coefficients.size != classes * features:
        raise node.error(f"{coefficients.size} coefficients for {classes} classes and {features} features")
    weights = np.ascontiguousarray(coefficients.reshape(classes, features).T)
    scores = plus(g.matmul(x, g.constant(weights, "coefficients")), node.floats("rho")[0])
    if classes == 1:
        score = g.squeeze(scores, [1])
        label = g.cast(g.gt(score, like(score, 0)), "i64")
        labels = labels_of(node) if node.wants(0) else None
        return [label if labels is None else like(label, int(labels[0])), scores]
    return [label_at(node, g.arg_max(scores, 1)), transformed(node, scores)]


def probabilities(node: Node, raw: Value, pairs: Pairs) -> Value:
    """[n, classes], such that P(i) / (P(i) + P(j)) is close to what the sigmoid of each decision says."""
    slopes, offsets = (np.array(node.floats(name), np.float32) for name in ("prob_a", "prob_b"))
    if slopes.size != len(pairs) or offsets.size != len(pairs):
        raise node.error(f"{slopes.size} values of prob_a, {offsets.size} of prob_b, for {len(pairs)} pairs of classes")
    a, b = (g.broadcast(g.constant(v, "sigmoids"), shape_of(raw), [1]) for v in (slopes, offsets))
    share = g.sigmoid(g.neg(g.add(g.mul(raw, a), b)))
    low, high = like(share, SMALLEST_PROBABILITY), like(share, 1 - SMALLEST_PROBABILITY)
    share = g.minimum(g.maximum(share, low), high)
    count = pairs.count
    n = shape_of(raw)[0]
    # r[i, j] is the share of i against j; where j < i it is 1 less the share of j
    place = np.zeros((count, count), np.int64)
    place[pairs.first, pairs.second] = place[pairs.second, pairs.first] = np.arange(len(pairs))
    taken = g.gather(share, g.constant(place, "pairs"), 1)
    upper = g.constant(np.triu(np.ones((count, count), bool), 1), "upper")
    lower = g.constant(np.tril(np.ones((count, count), bool), -1), "lower")
    shape = (n, count, count)
    r = g.select(g.broadcast(upper, shape, [1, 2]), taken, plus(g.neg(taken), 1))
    r = g.select(g.broadcast(g.logical_or(upper, lower), shape, [1, 2]), r, like(r, 0))
    turned = g.transpose(r, [0, 2, 1])
    diagonal = g.reduce(g.mul(turned, turned), [2], "sum")
    same = g.broadcast(g.constant(np.eye(count, dtype=bool), "diagonal"), shape, [1, 2])
    q = g.select(same, g.broadcast(diagonal, shape, [0, 1]), g.neg(g.mul(r, turned)))
    return coupled(q, diagonal)


def coupled(q: Value, diagonal: Value) -> Value:
    """The p [n, k] that minimises p q p, of sum 1: sweeps over the classes until no row is off by more than 0.005 / k."""
    n, k, _ = shape_of(q)
    assert isinstance(k, int)
    units = g.constant(np.eye(k, dtype=np.float32), "units")

    def error(p: Value, q: Value) -> tuple[Value, Value, Value]:
        """(q p, p q p, whether a row is not there yet)."""
        qp = g.reduce(g.mul(q, g.broadcast(p, shape_of(q), [0, 2])), [2], "sum")
        total = g.reduce(g.mul(p, qp), [1], "sum")
        off = g.reduce(g.abs(g.sub(qp, g.broadcast(total, shape_of(qp), [0]))), [1], "max")
        return qp, total, g.ge(off, like(off, 0.005 / k))

    def sweep(
        states: tuple[Value, ...], constants: tuple[Value, ...]
    ) -> tuple[Value, Sequence[Value], Sequence[Value]]:
        (p,), (q, diagonal, units) = states, constants
        qp, total, open_rows = error(p, q)

        def update(
            now: tuple[Value, ...], of_class: tuple[Value, ...], _: tuple[Value, ...]
        ) -> tuple[Sequence[Value], Sequence[Value]]:
            (p, qp, total), (row, own, unit) = now, of_class
            unit = g.broadcast(unit, shape_of(p), [1])
            here = g.reduce(g.mul(qp, unit), [1], "sum")
            change = g.div(g.sub(total, here), own)
            whole = plus(change, 1)
            added = g.add(total, g.mul(change, g.add(g.mul(change, own), times(here, 2))))
            wide = g.broadcast(change, shape_of(p), [0])
            over = g.broadcast(whole, shape_of(p), [0])
            p = g.div(g.add(p, g.mul(wide, unit)), over)
            qp = g.div(g.add(qp, g.mul(wide, row)), over)
            return [p, qp, g.div(added, g.mul(whole, whole))], []

        each = [g.transpose(q, [1, 0, 2]), g.transpose(diagonal, [1, 0]), units]
        (after, _, _), _ = g.scan(update, [p, qp, total], each, k)
        after = g.select(g.broadcast(open_rows, shape_of(p), [0]), after, p)
        return g.reduce(error(after, q)[2], [0], "or"), [after], []

    start = g.full([n, k], 1 / k, "f32")
    goes_on = g.reduce(error(start, q)[2], [0], "or")
    states, _ = g.while_loop(sweep, goes_on, [start], max(COUPLING_STEPS, k), [q, diagonal, units])
    return states[0]


@learned("SVMRegressor", since=(1,))
def svm_regressor(node: Node, x: Value) -> Value:
    """Sum of coefficients times the kernel of x and each support vector, plus rho; without supports a linear model."""
    x, features = rows(node, x)
    coefficients = np.array(node.floats("coefficients"), np.float32)
    count = node.int("n_supports")
    if count:
        vectors = np.array(node.floats("support_vectors"), np.float32)
        if vectors.size != count * features or coefficients.size != count:
            raise node.error(f"{vectors.size} elements and {coefficients.size} coefficients for {count} vectors")
        scores = kernel(node, x, vectors.reshape(count, features))
        y = g.matmul(scores, g.constant(coefficients.reshape(count, 1), "coefficients"))
    else:
        y = g.matmul(x, g.constant(coefficients.reshape(features, 1), "coefficients"))
    y = plus(y, node.floats("rho")[0])
    if node.int("one_class"):
        return g.select(g.gt(y, like(y, 0)), like(y, 1), like(y, -1))
    return transformed(node, y)


def kernel(node: Node, x: Value, vectors: np.ndarray) -> Value:
    """The kernel of x [n, features] with vectors [m, features]: [n, m]. kernel_params are gamma, coef0 and degree."""
    gamma, offset, degree = [*(node.floats("kernel_params", None) or []), 0.0, 0.0, 3.0][:3]
    dot = g.matmul(x, g.constant(np.ascontiguousarray(vectors.T), "support_vectors"))
    match node.string("kernel_type"):
        case "LINEAR":
            return dot
        case "POLY":
            shifted = plus(times(dot, gamma), offset)
            return g.pow(shifted, like(shifted, degree))
        case "SIGMOID":
            return g.tanh(plus(times(dot, gamma), offset))
        case "RBF":
            shape = (shape_of(x)[0], *vectors.shape)
            known = g.constant(vectors, "support_vectors")
            difference = g.sub(g.broadcast(x, shape, [0, 2]), g.broadcast(known, shape, [1, 2]))
            return g.exp(times(g.reduce(g.mul(difference, difference), [2], "sum"), -gamma))
    raise node.invalid(f"kernel_type '{node.string('kernel_type')}' is none of LINEAR, POLY, RBF, SIGMOID")
