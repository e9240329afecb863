"""Reading and writing by index: Gather*, Scatter*, OneHot, Trilu, ReverseSequence, TensorScatter, NonZero, Compress."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import like
from mlc.frontends.onnx.table import Value, handles
from mlc.ir import builder as g
from mlc.ir.dims import Extent, dmin, prod
from mlc.ir.types import rank_of, shape_of

SCATTER_KINDS = {"none": "set", "add": "add", "mul": "mul", "max": "max", "min": "min"}


def known_to_lie_within(node: Node, x: Value, axes: Sequence[int]) -> None:
    """Raises ShapeError where positions that are known at import, the second input, are not in x; leaves a check where sizes decide that.

    With several axes the last axis of the positions has a column for each.
    """
    known = node.constant(1)
    if known is None or not known.size:
        return
    columns = known.reshape(-1, len(axes)) if len(axes) > 1 else known.reshape(-1, 1)
    for axis, least, most in zip(axes, columns.min(axis=0).tolist(), columns.max(axis=0).tolist(), strict=True):
        extent, furthest = shape_of(x)[axis], most if most >= -1 - least else least
        needed = furthest + 1 if furthest >= 0 else -furthest
        if isinstance(extent, int) and needed > extent:
            raise node.error(f"position {furthest} in axis {axis} of the data, which has {extent} elements")
        g.require_at_least(extent, needed, f"axis {axis} of the data has the position {furthest}")


@handles("Gather", since=(1, 11, 13))
def gather(node: Node, x: Value, indices: Value) -> Value:
    axis = node.axis(node.int("axis", 0), rank_of(x))
    known_to_lie_within(node, x, [axis])
    return g.gather(x, indices, axis)


@handles("GatherElements", since=(11, 13))
def gather_elements(node: Node, x: Value, indices: Value) -> Value:
    axis = node.axis(node.int("axis", 0), rank_of(x))
    known_to_lie_within(node, x, [axis])
    return g.gather_elements(x, indices, axis)


@handles("GatherND", since=(11, 12, 13))
def gather_nd(node: Node, x: Value, indices: Value) -> Value:
    batch = node.int("batch_dims", 0)
    if not 0 <= batch < max(rank_of(x), 1):
        raise node.error(f"batch_dims is {batch}, x has {rank_of(x)} axes")
    _known_to_index(node, x, indices, batch)
    return g.gather_nd(x, indices, batch_dims=batch)


def _known_to_index(node: Node, x: Value, indices: Value, batch: int) -> None:
    """As known_to_lie_within, for positions in the axes of x behind the batch axes."""
    depth = shape_of(indices)[-1] if rank_of(indices) else None
    if isinstance(depth, int) and 0 < depth <= rank_of(x) - batch:
        known_to_lie_within(node, x, range(batch, batch + depth))


@handles("Scatter", since=(9,))
@handles("ScatterElements", since=(11, 13, 16, 18))
def scatter_elements(node: Node, x: Value, indices: Value, updates: Value) -> Value:
    axis = node.axis(node.int("axis", 0), rank_of(x))
    known_to_lie_within(node, x, [axis])
    return g.scatter_elements(x, indices, updates, axis, scatter_kind(node))


@handles("ScatterND", since=(11, 13, 16, 18))
def scatter_nd(node: Node, x: Value, indices: Value, updates: Value) -> Value:
    _known_to_index(node, x, indices, 0)
    return g.scatter_nd(x, indices, updates, scatter_kind(node))


def scatter_kind(node: Node) -> str:
    reduction = node.string("reduction", "none")
    if reduction not in SCATTER_KINDS:
        raise node.invalid(f"reduction '{reduction}' is none of {', '.join(SCATTER_KINDS)}")
    return SCATTER_KINDS[reduction]


@handles("OneHot", since=(9, 11, 28))
def one_hot(node: Node, indices: Value, depth: Value, values: Value) -> Value:
    """values[1] where the new axis counts to the index, values[0] elsewhere. Indices in [-depth, depth) count; others give a row of values[0]."""
    size = one_hot_depth(node)
    rank = rank_of(indices) + 1
    axis = node.axis(node.int("axis"), rank)
    shape = [*shape_of(indices)[:axis], size, *shape_of(indices)[axis:]]
    place = g.cast(indices, "i64")
    wrapped = g.add(place, g.broadcast(g.dimension(size), shape_of(place), []))
    place = g.select(g.lt(place, like(place, 0)), wrapped, place)
    hit = g.eq(g.iota(shape, axis, "i64"), g.broadcast(place, shape, [i for i in range(rank) if i != axis]))
    off, on = (g.broadcast_to(g.slice(values, [i], [1], [1]), shape) for i in (0, 1))
    return g.select(hit, on, off)


def one_hot_depth(node: Node) -> Extent:
    """The depth may come in any number type."""
    return node.extent(1, "depth") if node.constant(1) is None else node.whole(node.number(1, "depth"), "depth")


@handles("Trilu", since=(14,))
def trilu(node: Node, x: Value, k: Value | None = None) -> Value:
    """x where column - row >= k (upper) or <= k (lower), 0 elsewhere, over the last two axes."""
    shape, rank = shape_of(x), rank_of(x)
    if rank < 2:
        raise node.error(f"input has {rank} axes, at least 2 are needed")
    matrix = shape[-2:]
    offset = g.sub(g.iota(matrix, 1, "i64"), g.iota(matrix, 0, "i64"))
    if k is None or node.constant(1) is not None:
        limit = like(offset, 0 if k is None else node.number(1, "k"))
    else:
        limit = g.broadcast(g.reshape(k, []), matrix, [])
    kept = g.ge(offset, limit) if node.int("upper") else g.le(offset, limit)
    return g.select(g.broadcast(kept, shape, [rank - 2, rank - 1]), x, like(x, 0))


@handles("ReverseSequence", since=(10, 28))
def reverse_sequence(node: Node, x: Value, lengths: Value) -> Value:
    """The first lengths[b] steps of sequence b in reverse, the rest as it is."""
    time, batch = node.int("time_axis"), node.int("batch_axis")
    if sorted((time, batch)) != [0, 1]:
        raise node.invalid(f"time_axis {time} and batch_axis {batch} must be 0 and 1")
    shape = shape_of(x)
    step = g.iota(shape, time, "i64")
    length = g.broadcast(g.cast(lengths, "i64"), shape, [batch])
    mirrored = g.sub(g.sub(length, like(length, 1)), step)
    return g.gather_elements(x, g.select(g.lt(step, length), mirrored, step), time)


@handles("TensorScatter", since=(24,))
def tensor_scatter(node: Node, cache: Value, update: Value, write_indices: Value | None = None) -> Value:
    """Write `update` into a cache along `axis`, for batch b from write_indices[b] on; circular mode wraps around."""
    axis, mode = node.axis(node.int("axis", -2), rank_of(cache)), node.string("mode")
    if axis == 0:
        raise node.invalid("axis is the batch axis")
    if mode not in ("linear", "circular"):
        raise node.invalid(f"mode '{mode}' is neither linear nor circular")
    shape = shape_of(update)
    place = g.iota(shape, axis, "i64")
    if write_indices is not None:
        place = g.add(place, g.broadcast(write_indices, shape, [0]))
    if mode == "circular":
        place = g.mod(place, g.broadcast(g.dimension(shape_of(cache)[axis]), shape, []))
    return g.scatter_elements(cache, place, update, axis, "set")


@handles("NonZero", since=(9, 13))
def non_zero(node: Node, x: Value) -> Value:
    """Positions of the elements that are not zero, [rank, count]."""
    known = node.constant(0)
    if known is not None:
        return g.constant(np.argwhere(known).T)
    return g.transpose(g.nonzero(x), [1, 0])


@handles("Compress", since=(9, 11, 28))
def compress(node: Node, x: Value, condition: Value) -> Value:
    """The slices where `condition` is true. A shorter condition is false behind its end, of a longer one the end does not count."""
    axis = node.axis(node.int("axis", 0), rank_of(x)) if node.has("axis") else 0
    x = x if node.has("axis") else g.reshape(x, [prod(shape_of(x))])
    known, extent = node.constant(1), shape_of(x)[axis]
    places = None if known is None else np.flatnonzero(known)
    if places is not None and isinstance(extent, int):
        places = places[places < extent]
    if places is not None and (
        isinstance(extent, int) or not places.size or node.at_least(extent, int(places[-1]) + 1)
    ):
        return g.gather(x, g.constant(places), axis)
    covered = node.simplify(dmin(shape_of(condition)[0], shape_of(x)[axis]))
    return g.gather(x, g.squeeze(g.nonzero(g.slice_axis(condition, 0, 0, covered)), [1]), axis)
