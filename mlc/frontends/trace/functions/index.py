"""Basic and advanced index, and writing at an index.

An index is normalised to one entry per axis before it gets here: the parts that are known are parameters, arrays of positions are operands.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.ir import SSAValue

from mlc.errors import DTypeError, ShapeError
from mlc.frontends.trace.functions.promotion import Operand, as_dtype, value
from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.types import dtype_of, is_integer, rank_of, shape_of, shape_text


@dataclass(frozen=True)
class At:
    """One position of an axis, which vanishes."""

    position: Extent


@dataclass(frozen=True)
class Span:
    """A slice of an axis."""

    start: Extent | None
    stop: Extent | None
    step: int


@dataclass(frozen=True)
class New:
    """An axis of extent 1 that is not there yet."""


@dataclass(frozen=True)
class Array:
    """Positions in an array: the operand of this number."""

    number: int


@dataclass(frozen=True)
class Rest:
    """All axes that no other entry names."""


Entry = At | Span | New | Array | Rest
WHOLE = Span(None, None, 1)


def expanded(index: tuple[Entry, ...], rank: int, shape: tuple[Extent, ...]) -> list[Entry]:
    """The index with Rest written out. Raises ShapeError for more entries than axes."""
    named = sum(isinstance(e, At | Span | Array) for e in index)
    if named > rank:
        raise ShapeError(f"{named} indices for a tensor of {rank} axes, {shape_text(shape)}")
    if Rest() not in index:
        index = (*index, Rest())
    place = index.index(Rest())
    return [*index[:place], *[WHOLE] * (rank - named), *index[place + 1 :]]


def _span(entry: Span, size: Extent) -> tuple[Extent, Extent]:
    """(first position, number of positions) of a slice, which is cut at the ends of the axis."""
    step = entry.step
    if isinstance(size, int) and not isinstance(entry.start, Dim) and not isinstance(entry.stop, Dim):
        places = range(size)[entry.start : entry.stop : step]
        return places.start, len(places)

    def clamped(e: Extent | None, default: Extent, low: Extent, high: Extent) -> Extent:
        if e is None:
            return default
        if isinstance(e, int) and e < 0:
            e = size + e
        return dims.dmax(low, dims.dmin(high, e))

    if step > 0:
        start, stop = clamped(entry.start, 0, 0, size), clamped(entry.stop, size, 0, size)
        return start, dims.simplify(dims.dmax(0, dims.ceildiv(stop - start, step)), {})
    start, stop = clamped(entry.start, size - 1, -1, size - 1), clamped(entry.stop, -1, -1, size - 1)
    return start, dims.simplify(dims.dmax(0, dims.ceildiv(start - stop, -step)), {})


def _position(entry: At, axis: int, shape: tuple[Extent, ...]) -> Extent:
    position, size = entry.position, shape[axis]
    if isinstance(position, int) and isinstance(size, int) and not -size <= position < size:
        raise ShapeError(f"index {position} is outside of axis {axis} of {shape_text(shape)}, which has {size}")
    return size + position if isinstance(position, int) and position < 0 else position


def basic(x: SSAValue, entries: list[Entry]) -> tuple[SSAValue, list[Extent]]:
    """The elements that slices and single positions leave, with every axis of x kept, and the shape that NumPy gives them."""
    shape = shape_of(x)
    starts: list[Extent] = []
    sizes: list[Extent] = []
    steps: list[int] = []
    kept: list[Extent] = []
    axis = 0
    for entry in entries:
        if isinstance(entry, New):
            kept.append(1)
            continue
        if isinstance(entry, At):
            start, size, step = _position(entry, axis, shape), 1, 1
        else:
            assert isinstance(entry, Span)
            start, size = _span(entry, shape[axis])  # type: ignore[assignment]
            step = entry.step
            kept.append(size)
        starts.append(start if not (isinstance(size, int) and size == 0) else 0)
        sizes.append(size)
        steps.append(step)
        axis += 1
    spans = all(isinstance(e, New | Span) for e in entries)
    return g.slice(x, starts, sizes, steps, inside=spans), kept


def getitem(x: Operand, *arrays: Operand, index: tuple[Entry, ...]) -> SSAValue:
    """x[index], as NumPy reads it."""
    found = value(x)
    entries = expanded(index, rank_of(found), shape_of(found))
    if not any(isinstance(e, Array) for e in entries):
        part, shape = basic(found, entries)
        return g.reshape(part, shape)
    front, advanced, order, rest = _advanced(found, entries, arrays)
    taken = g.gather_nd(front, advanced) if advanced is not None else front
    return g.transpose(taken, order) if rest else taken


def _advanced(
    x: SSAValue, entries: list[Entry], arrays: tuple[Operand, ...]
) -> tuple[SSAValue, SSAValue, list[int], bool]:
    """(x with the axes that arrays index in front and the rest sliced, one row of positions per element, the order of the axes of what is
    taken, whether there are others). Single positions beside arrays count as arrays, as in NumPy."""
    shape = shape_of(x)
    plain: list[Entry] = []
    axis = 0
    looked: list[tuple[int, SSAValue]] = []  # axis of the sliced x, positions
    places: list[int] = []  # where in the index arrays stand
    for place, entry in enumerate(entries):
        if isinstance(entry, New):
            plain.append(entry)
            continue
        if isinstance(entry, Array | At):
            places.append(place)
            if isinstance(entry, At):
                positions = g.dimension(_position(entry, axis, shape))
            else:
                positions = _positions(value(arrays[entry.number]))
                size = shape[axis]
                zero = g.full_like(positions, 0)
                whole = g.broadcast_to(g.dimension(size), shape_of(positions))
                positions = g.select(g.lt(positions, zero), g.add(positions, whole), positions)
            looked.append((len([e for e in plain]), positions))
            plain.append(WHOLE)
        else:
            plain.append(entry)
        axis += 1
    part, kept = basic(x, plain)
    part = g.reshape(part, kept)
    common = g.common_shape([shape_of(p) for _, p in looked], "index arrays")
    columns = [g.unsqueeze(g.broadcast_to(p, common), [len(common)]) for _, p in looked]
    axes = [a for a, _ in looked]
    others = [a for a in range(len(kept)) if a not in axes]
    front = g.transpose(part, [*axes, *others])
    together = places == list(range(places[0], places[0] + len(places)))
    lead = sum(a < axes[0] for a in others) if together else 0
    count = len(common)
    order = [*range(count, count + lead), *range(count), *range(count + lead, count + len(others))]
    return front, g.concatenate(columns, len(common)), order, bool(others)


def _positions(x: SSAValue) -> SSAValue:
    if not is_integer(dtype_of(x)):
        raise DTypeError(f"an index is {dtype_of(x)}, not integers or bools")
    return g.cast(x, "i64")


def update(x: Operand, y: Operand, *arrays: Operand, index: tuple[Entry, ...], kind: str) -> SSAValue:
    """x, with y written (set) or folded in (add, mul, min, max) at x[index]; y broadcasts to what is there."""
    found = value(x)
    new = as_dtype(y, dtype_of(found))
    entries = expanded(index, rank_of(found), shape_of(found))
    shape = shape_of(found)
    positions, updated = _places(found, entries, arrays)
    rows = g.broadcast_to(new, updated)
    flat = g.reshape(found, [dims.prod(shape)])
    written = g.scatter_nd(
        flat, g.reshape(positions, [dims.prod(updated), 1]), g.reshape(rows, [dims.prod(updated)]), kind
    )
    return g.reshape(written, shape)


def _places(x: SSAValue, entries: list[Entry], arrays: tuple[Operand, ...]) -> tuple[SSAValue, tuple[Extent, ...]]:
    """The position in the flat x of every element of x[index], and the shape of that."""
    shape = shape_of(x)
    line = g.reshape(g.iota((dims.prod(shape),), 0, "i64"), shape)
    if any(isinstance(e, Array) for e in entries):
        front, advanced, order, rest = _advanced(line, entries, arrays)
        found = g.gather_nd(front, advanced)
        found = g.transpose(found, order) if rest else found
    else:
        part, kept = basic(line, entries)
        found = g.reshape(part, kept)
    return found, shape_of(found)


def take(x: Operand, indices: Operand, axis: int | None = None) -> SSAValue:
    found = value(x)
    if axis is None:
        found, axis = g.reshape(found, [dims.prod(shape_of(found))]), 0
    return g.gather(found, _positions(value(indices)), axis)


def take_along_axis(x: Operand, indices: Operand, axis: int) -> SSAValue:
    """Along the axis, the positions that `indices` names; the other axes broadcast."""
    found, where = value(x), _positions(value(indices))
    if rank_of(found) != rank_of(where):
        raise ShapeError(
            f"take_along_axis: {shape_text(shape_of(found))} and {shape_text(shape_of(where))} differ in rank"
        )
    axis = axis % rank_of(found)
    others = g.common_shape(
        [tuple(1 if a == axis else e for a, e in enumerate(shape_of(v))) for v in (found, where)], "take_along_axis"
    )
    data, positions = (
        g.broadcast_to(v, [shape_of(v)[a] if a == axis else e for a, e in enumerate(others)]) for v in (found, where)
    )
    return g.gather_elements(data, positions, axis)


def one_hot(x: Operand, classes: int, dtype: str) -> SSAValue:
    """A last axis with 1 at the position that x names."""
    found = _positions(value(x))
    wide = g.broadcast_to(g.unsqueeze(found, [rank_of(found)]), [*shape_of(found), classes])
    return g.cast(g.eq(wide, g.iota(shape_of(wide), rank_of(found), "i64")), dtype)
