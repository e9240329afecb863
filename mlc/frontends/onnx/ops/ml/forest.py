"""Ensembles of decision trees as flat arrays, walked by all rows and trees at once.

    place = roots                                    [n, trees]
    depth times: place = children[place, goes(x[feature[place]], split[place])]
    y = sum over trees of weight[place]              [n, targets]

Leaves are their own children, so that a row which arrived early stays. Leaves come first: the place of a leaf is its row in the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.table import Value
from mlc.ir import builder as g
from mlc.ir.types import dtype_of, is_float, numpy_dtype, shape_of

COMPARISONS: dict[str, Callable[[Value, Value], Value]] = {
    "BRANCH_LEQ": g.le,
    "BRANCH_LT": g.lt,
    "BRANCH_GTE": g.ge,
    "BRANCH_GT": g.gt,
    "BRANCH_EQ": g.eq,
    "BRANCH_NEQ": g.ne,
}


@dataclass(frozen=True)
class Forest:
    """Nodes of all trees. A leaf is its own child twice; leaves are the first rows, as many as `weights` has.

    feature, split   [nodes]    what is compared
    mode             [nodes]    index into `modes`
    missing          [nodes]    whether NaN goes to the true child
    children         [nodes, 2] the false child and the true one
    roots            [trees]
    depth            the longest way from a root to a leaf
    weights          [leaves, targets]
    given            [leaves, targets] which of the weights the file gives; others take no part in a minimum or maximum
    """

    feature: np.ndarray
    split: np.ndarray
    mode: np.ndarray
    modes: tuple[str, ...]
    missing: np.ndarray
    children: np.ndarray
    roots: np.ndarray
    depth: int
    weights: np.ndarray
    given: np.ndarray

    def places(self, x: Value) -> Value:
        """The leaf that each row of x [n, features] meets in each tree: i64 [n, trees]."""
        dtype = dtype_of(x)
        shape = (shape_of(x)[0], len(self.roots))
        start = g.broadcast(g.constant(self.roots, "roots"), shape, [1])
        if not self.depth:
            return start
        tables = [self.feature, self.split.astype(numpy_dtype(dtype)), self.children.reshape(-1)]
        names = ["features", "splits", "children"]
        if len(self.modes) > 1:
            tables, names = [*tables, self.mode], [*names, "modes"]
        if self.missing.any():
            tables, names = [*tables, self.missing], [*names, "missing"]
        constants = [x, *(g.constant(table, name) for table, name in zip(tables, names, strict=True))]

        def step(
            states: tuple[Value, ...], _: tuple[Value, ...], given: tuple[Value, ...]
        ) -> tuple[Sequence[Value], Sequence[Value]]:
            (place,), (x, feature, split, children, *rest) = states, given
            value = g.gather_elements(x, g.gather(feature, place, 0), 1)
            threshold = g.gather(split, place, 0)
            modes = g.gather(rest.pop(0), place, 0) if len(self.modes) > 1 else None
            goes = self.goes(value, threshold, modes)
            if rest:
                goes = g.logical_or(goes, g.logical_and(g.is_nan(value), g.gather(rest[0], place, 0)))
            two = g.scalar_like(place, 2)
            return [g.gather(children, g.add(g.mul(place, two), g.cast(goes, "i64")), 0)], []

        (place,), _ = g.scan(step, [start], [], self.depth, constants)
        return place

    def goes(self, value: Value, threshold: Value, modes: Value | None) -> Value:
        """Whether each row goes to the true child."""
        result = COMPARISONS[self.modes[0]](value, threshold)
        for number, mode in enumerate(self.modes[1:], 1):
            assert modes is not None
            chosen = g.eq(modes, g.scalar_like(modes, number))
            result = g.select(chosen, COMPARISONS[mode](value, threshold), result)
        return result

    def scores(self, x: Value, aggregate: str) -> Value:
        """[n, targets]: sum, average, minimum or maximum over the trees."""
        place, dtype = self.places(x), dtype_of(x)
        weights = self.weights.astype(numpy_dtype(dtype))
        if aggregate in ("MIN", "MAX"):
            weights = np.where(self.given, weights, np.inf if aggregate == "MIN" else -np.inf).astype(weights.dtype)
        columns = [np.ascontiguousarray(weights[:, target]) for target in range(weights.shape[1])]
        kind = {"MIN": "min", "MAX": "max"}.get(aggregate, "sum")
        parts = [g.reduce(g.gather(g.constant(c, "leaves"), place, 0), [1], kind, keepdims=True) for c in columns]
        y = g.concatenate(parts, 1)
        if aggregate in ("MIN", "MAX") and not self.given.all():
            y = g.select(g.is_inf(y), g.scalar_like(y, 0), y)  # no leaf has a weight for the target
        return g.div(y, g.scalar_like(y, len(self.roots))) if aggregate == "AVERAGE" else y


def arranged(
    node: Node,
    roots: Sequence[int],
    feature: np.ndarray,
    split: np.ndarray,
    modes: Sequence[str],
    missing: np.ndarray,
    children: np.ndarray,
    weights: np.ndarray,
    given: np.ndarray,
) -> Forest:
    """A forest of nodes in any order, where modes say which are leaves ("LEAF"); weights have a row per node."""
    leaf = np.array([mode == "LEAF" for mode in modes], bool)
    unknown = set(modes) - {"LEAF", *COMPARISONS}
    if unknown:
        raise node.unsupported(f"nodes of mode {', '.join(sorted(unknown))}")
    count = len(leaf)
    inner = np.flatnonzero(~leaf)
    if inner.size and (children[inner].min() < 0 or children[inner].max() >= count):
        raise node.invalid("a node names a child that is not there")
    children = np.where(leaf[:, None], np.arange(count)[:, None], children)
    depth = longest_way(node, np.asarray(roots, np.int64), children, leaf)
    order = np.concatenate([np.flatnonzero(leaf), inner])
    number = np.empty(count, np.int64)
    number[order] = np.arange(count)
    used = tuple(dict.fromkeys(mode for mode in modes if mode != "LEAF")) or ("BRANCH_LEQ",)
    index = {mode: i for i, mode in enumerate(used)}
    leaves = order[: int(leaf.sum())]
    return Forest(
        feature=np.where(leaf, 0, feature).astype(np.int64)[order],
        split=split[order],
        mode=np.array([index.get(modes[i], 0) for i in order], np.int64),
        modes=used,
        missing=missing[order].astype(bool),
        children=number[children[order]],
        roots=number[np.asarray(roots, np.int64)],
        depth=depth,
        weights=weights[leaves],
        given=given[leaves],
    )


def longest_way(node: Node, roots: np.ndarray, children: np.ndarray, leaf: np.ndarray) -> int:
    """Steps until every walk stands on a leaf. Raises InvalidModel for trees with a cycle."""
    front, depth = np.unique(roots), 0
    while not leaf[front].all():
        depth += 1
        if depth > len(leaf):
            raise node.invalid("the nodes of a tree form a cycle")
        front = np.unique(children[front[~leaf[front]]])
    return depth


def table_of(node: Node, x: Value) -> Value:
    """x [n, features] in the float type that splits are compared in."""
    shape = shape_of(x)
    if len(shape) == 1:
        x, shape = g.unsqueeze(x, [0]), (1, *shape)
    if len(shape) != 2:
        raise node.error(f"X has {len(shape)} axes, expected 2")
    return x if is_float(dtype_of(x)) else g.cast(x, "f32")
