"""TreeEnsembleRegressor, TreeEnsembleClassifier and TreeEnsemble: how each writes its trees down, and what the sums become."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import like, plus
from mlc.frontends.onnx.ops.ml import learned
from mlc.frontends.onnx.ops.ml.forest import Forest, arranged, table_of
from mlc.frontends.onnx.ops.ml.scores import label_at, labels_of, transformed, two_columns
from mlc.frontends.onnx.table import Value
from mlc.ir import builder as g
from mlc.ir.types import dtype_of, numpy_dtype, shape_of


def numbers(node: Node, name: str) -> np.ndarray:
    """Floats of an attribute, or doubles of the tensor beside it."""
    if node.has(f"{name}_as_tensor"):
        return np.asarray(node.tensor(f"{name}_as_tensor")).ravel()
    return np.array(node.floats(name, None) or [], np.float32)


def forest(node: Node, prefix: str, targets: int) -> Forest:
    """Trees of versions 1 and 3, whose nodes and weights have a tree and a number within it; `prefix` is target or class."""
    trees, ids = (np.array(node.ints(f"nodes_{name}"), np.int64) for name in ("treeids", "nodeids"))
    at = {pair: place for place, pair in enumerate(zip(trees.tolist(), ids.tolist(), strict=True))}
    if len(at) < len(trees):
        raise node.invalid("a node of a tree is given twice")
    modes = node.strings("nodes_modes")

    def named(name: str) -> np.ndarray:
        within = node.ints(f"nodes_{name}nodeids")
        pairs = zip(trees.tolist(), within, modes, strict=True)
        return np.array([0 if mode == "LEAF" else at.get((tree, i), -1) for tree, i, mode in pairs], np.int64)

    children = np.stack([named("false"), named("true")], 1)
    weights = np.zeros((len(trees), targets), np.float64)
    given = np.zeros((len(trees), targets), bool)
    columns, values = node.ints(f"{prefix}_ids"), numbers(node, f"{prefix}_weights")
    places = zip(node.ints(f"{prefix}_treeids"), node.ints(f"{prefix}_nodeids"), columns, values, strict=True)
    for tree, i, column, value in places:
        if (tree, i) not in at or not 0 <= column < targets:
            raise node.invalid(f"a weight belongs to node {i} of tree {tree}, column {column}, which is not there")
        weights[at[tree, i], column] += value
        given[at[tree, i], column] = True
    reached = set(children[[mode != "LEAF" for mode in modes]].ravel().tolist())
    roots = [place for place in range(len(trees)) if place not in reached]
    missing = np.array(node.ints("nodes_missing_value_tracks_true", None) or [0] * len(trees))
    feature = np.array(node.ints("nodes_featureids"), np.int64)
    return arranged(node, roots, feature, numbers(node, "nodes_values"), modes, missing, children, weights, given)


def with_base(node: Node, scores: Value) -> Value:
    base = numbers(node, "base_values")
    if not base.size:
        return scores
    shape = shape_of(scores)
    if base.size not in (1, shape[1]):
        raise node.error(f"{base.size} base values for {shape[1]} columns")
    return g.add(scores, g.broadcast_to(g.constant(base.astype(numpy_dtype(dtype_of(scores)))), shape))


@learned("TreeEnsembleRegressor", since=(1, 3))
def tree_ensemble_regressor(node: Node, x: Value) -> Value:
    """f32 [n, n_targets]."""
    x = table_of(node, x)
    scores = forest(node, "target", node.int("n_targets")).scores(x, node.string("aggregate_function"))
    return transformed(node, g.cast(with_base(node, scores), "f32"))


@learned("TreeEnsembleClassifier", since=(1, 3))
def tree_ensemble_classifier(node: Node, x: Value) -> Sequence[Value | None]:
    """(label, f32 scores [n, classes]).

    Two classes of which the trees weigh one: the other's score is 1 - s where all weights are positive, decided at 0.5, and
    -s otherwise, decided at 0.
    """
    x = table_of(node, x)
    found = labels_of(node)
    count = len(found) if found is not None else len(node.strings("classlabels_strings", None) or [])
    columns = set(node.ints("class_ids"))
    if not count:
        count = max(columns, default=0) + 1
    trees = forest(node, "class", count)
    scores = trees.scores(x, "SUM")
    if count == 2 and len(columns) == 1:
        return two_classes(node, g.slice_axis(scores, 1, min(columns), 1), bool((trees.weights >= 0).all()))
    scores = with_base(node, scores)
    return [label_at(node, g.arg_max(scores, 1)), transformed(node, g.cast(scores, "f32"))]


def two_classes(node: Node, scores: Value, positive: bool) -> Sequence[Value | None]:
    base = numbers(node, "base_values")
    if base.size:
        scores = plus(scores, float(base[-1]))
    raw = g.squeeze(g.cast(scores, "f32"), [1])
    second = g.cast(g.gt(raw, like(raw, 0.5 if positive else 0.0)), "i64")
    logistic = node.string("post_transform") == "LOGISTIC"  # a single score has no softmax
    if positive:
        score = g.sigmoid(raw) if logistic else raw
        both = two_columns(plus(g.neg(score), 1), score)
    elif logistic:
        both = two_columns(g.sigmoid(g.neg(raw)), g.sigmoid(raw))
    else:
        both = two_columns(g.neg(raw), raw)
    return [label_at(node, second), both]


MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")


@learned("TreeEnsemble", since=(5,))
def tree_ensemble(node: Node, x: Value) -> Value:
    """Version 5: inner nodes and leaves in arrays of their own; membership in a set becomes a chain of comparisons."""
    x = table_of(node, x)
    targets = node.int("n_targets")
    splits = np.asarray(node.tensor("nodes_splits")).ravel()
    features, modes = node.ints("nodes_featureids"), np.asarray(node.tensor("nodes_modes")).ravel()
    true, false = node.ints("nodes_truenodeids"), node.ints("nodes_falsenodeids")
    true_leaf, false_leaf = node.ints("nodes_trueleafs"), node.ints("nodes_falseleafs")
    missing = node.ints("nodes_missing_value_tracks_true", None) or [0] * len(features)
    leaf_weights = np.asarray(node.tensor("leaf_weights")).ravel()
    leaf_targets = node.ints("leaf_targetids")
    inner, leaves = len(features), len(leaf_weights)
    sets = membership(node)

    rows: list[tuple[int, float, str, int, int, int]] = []  # feature, split, mode, missing, false child, true child
    extra: list[tuple[int, float, str, int, int, int]] = []
    for i in range(inner):
        ends = [inner + k if leaf else k for k, leaf in ((false[i], false_leaf[i]), (true[i], true_leaf[i]))]
        if modes[i] >= len(MODES):
            raise node.invalid(f"mode {modes[i]} of a node is none of 0 to {len(MODES) - 1}")
        if MODES[modes[i]] != "BRANCH_MEMBER":
            rows.append((features[i], float(splits[i]), MODES[modes[i]], missing[i], *ends))
            continue
        values = next(sets, None)
        if not values:
            raise node.invalid("membership_values has no set for a node of mode BRANCH_MEMBER")
        chain = [inner + leaves + len(extra) + k for k in range(len(values) - 1)]
        links = [
            (features[i], value, "BRANCH_EQ", missing[i], after, ends[1])
            for value, after in zip(values, [*chain, ends[0]], strict=True)
        ]
        rows.append(links[0])
        extra += links[1:]
    nothing = (0, 0.0, "LEAF", 0, 0, 0)
    table = [*rows, *[nothing] * leaves, *extra]
    weights, given = np.zeros((len(table), targets)), np.zeros((len(table), targets), bool)
    for leaf, (target, weight) in enumerate(zip(leaf_targets, leaf_weights, strict=True)):
        if not 0 <= target < targets:
            raise node.invalid(f"a leaf belongs to target {target} of {targets}")
        weights[inner + leaf, target], given[inner + leaf, target] = weight, True
    trees = arranged(
        node,
        node.ints("tree_roots"),
        np.array([row[0] for row in table]),
        np.array([row[1] for row in table], splits.dtype),
        [row[2] for row in table],
        np.array([row[3] for row in table]),
        np.array([row[4:] for row in table], np.int64).reshape(len(table), 2),
        weights,
        given,
    )
    y = trees.scores(x, AGGREGATES[node.int("aggregate_function")])
    return transformed(node, y, TRANSFORMS[node.int("post_transform")])


def membership(node: Node) -> Iterator[list[float]]:
    """The sets of membership_values, which NaN separates, one after the other."""
    if not node.has("membership_values"):
        return
    current: list[float] = []
    for value in np.asarray(node.tensor("membership_values")).ravel().tolist():
        if np.isnan(value):
            yield current
            current = []
        else:
            current.append(value)
    if current:
        yield current
