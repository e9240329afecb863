"""TfIdfVectorizer of numbers: how often each of a pool of n-grams occurs in a row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.table import Value, handles
from mlc.ir import builder as g
from mlc.ir.dims import Extent, dmax
from mlc.ir.types import rank_of, shape_of

LARGEST_RESULT = 1 << 24  # columns


@dataclass(frozen=True)
class Grams:
    """The n-grams of one length: their elements [grams, length], and the column and weight of each."""

    elements: np.ndarray
    columns: np.ndarray
    weights: np.ndarray

    @property
    def length(self) -> int:
        return int(self.elements.shape[1])


@handles("TfIdfVectorizer", since=(9,))
def tf_idf_vectorizer(node: Node, x: Value) -> Value:
    """x [c] or [n, c] -> [columns] or [n, columns] of f32: counts (TF), weights of what occurs (IDF), or their product (TFIDF).

    Elements of an n-gram lie evenly apart, with up to max_skip_count others between them.
    """
    mode, skips = node.string("mode"), node.int("max_skip_count")
    if mode not in ("TF", "IDF", "TFIDF"):
        raise node.invalid(f"mode '{mode}' is none of TF, IDF, TFIDF")
    if node.has("pool_strings"):
        raise node.unsupported("n-grams of strings")
    if rank_of(x) not in (1, 2):
        raise node.error(f"X has {rank_of(x)} axes, expected 1 or 2")
    if skips < 0:
        raise node.invalid(f"max_skip_count is {skips}")
    columns = node.ints("ngram_indexes")
    if not columns or min(columns) < 0 or max(columns) >= LARGEST_RESULT:
        raise node.invalid(f"ngram_indexes must be in 0..{LARGEST_RESULT - 1}, found {columns[:4]}...")
    table = g.cast(x if rank_of(x) == 2 else g.unsqueeze(x, [0]), "i64")
    width = max(columns) + 1
    y = g.full([shape_of(table)[0], width], 0, "f32")
    for grams in pool(node, columns):
        found = weighted(mode, occurrences(table, grams, skips), grams)
        places = g.broadcast(g.constant(grams.columns, "columns"), shape_of(found), [1])
        y = g.scatter_elements(y, places, found, 1, "add")
    return y if rank_of(x) == 2 else g.squeeze(y, [0])


def pool(node: Node, columns: list[int]) -> Iterator[Grams]:
    """The n-grams of the lengths that count. ngram_counts says where those of each length begin in the pool."""
    elements, starts = np.array(node.ints("pool_int64s"), np.int64), node.ints("ngram_counts")
    least, most = node.int("min_gram_length"), node.int("max_gram_length")
    weights = np.array(node.floats("weights", None) or [1.0] * len(columns), np.float32)
    if len(weights) != len(columns):
        raise node.invalid(f"{len(weights)} weights for {len(columns)} n-grams")
    if not 1 <= least <= most:
        raise node.invalid(f"n-grams of {least} to {most} elements")
    number = 0
    for length, (start, end) in enumerate(zip(starts, [*starts[1:], len(elements)], strict=True), 1):
        if not 0 <= start <= end <= len(elements) or (end - start) % length:
            raise node.invalid(f"the pool has elements {start}..{end} for n-grams of {length}")
        count = (end - start) // length
        if number + count > len(columns):
            raise node.invalid(f"the pool has more n-grams than ngram_indexes, which has {len(columns)}")
        if count and least <= length <= most:
            own = slice(number, number + count)
            yield Grams(elements[start:end].reshape(count, length), np.array(columns[own], np.int64), weights[own])
        number += count


def occurrences(table: Value, grams: Grams, skips: int) -> Value:
    """How often each n-gram begins in a row, at any distance between its elements: [n, grams] of f32."""
    rows, width = shape_of(table)
    count, length = grams.elements.shape
    total = g.full([rows, count], 0, "f32")
    for distance in range(1, 2 + (skips if length > 1 else 0)):
        windows: Extent = dmax(width - distance * (length - 1), 0)
        if windows == 0:
            break
        shape = (rows, count, windows)
        hit: Value | None = None
        for k in range(length):
            begin = g.iota([windows], 0, "i64")
            seen = g.gather(table, g.add(begin, g.scalar_like(begin, k * distance)), 1)
            wanted = g.constant(np.ascontiguousarray(grams.elements[:, k]), "n-grams")
            same = g.eq(g.broadcast(seen, shape, [0, 2]), g.broadcast(wanted, shape, [1]))
            hit = same if hit is None else g.logical_and(hit, same)
        assert hit is not None
        total = g.add(total, g.reduce(g.cast(hit, "f32"), [2], "sum"))
    return total


def weighted(mode: str, counts: Value, grams: Grams) -> Value:
    """What the counts of n-grams add to their columns."""
    if mode == "TF":
        return counts
    factor = g.broadcast(g.constant(grams.weights, "weights"), shape_of(counts), [1])
    zero = g.scalar_like(counts, 0)
    return g.mul(counts, factor) if mode == "TFIDF" else g.select(g.gt(counts, zero), factor, zero)
