"""Functions that move elements: shapes, axes, repetition, joining and splitting."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import SSAValue

from mlc.errors import ShapeError
from mlc.frontends.trace.functions.promotion import Operand, as_dtype, promoted, value
from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.graph.shape import normal_axis
from mlc.ir.types import Shape, dtype_of, rank_of, shape_of, shape_text


def reshape(x: Operand, shape: Shape) -> SSAValue:
    """The same elements in row-major order under another shape; one extent may be -1, which is what is left."""
    found = value(x)
    unknown = [axis for axis, e in enumerate(shape) if isinstance(e, int) and e == -1]
    if len(unknown) > 1:
        raise ShapeError(f"reshape to {shape_text(shape)}: more than one extent is -1")
    if any(isinstance(e, int) and e < -1 for e in shape):
        raise ShapeError(f"reshape to {shape_text(shape)}: an extent is negative")
    if not unknown:
        return g.reshape(found, shape)
    whole, rest = dims.prod(shape_of(found)), dims.prod(e for axis, e in enumerate(shape) if axis not in unknown)
    if isinstance(whole, int) and isinstance(rest, int):
        if rest == 0 or whole % rest:
            raise ShapeError(f"reshape: {shape_text(shape_of(found))} does not divide into {shape_text(shape)}")
        left: Extent = whole // rest
    else:
        exact = dims.exact_quotient(whole, rest)
        left = dims.floordiv(whole, rest) if exact is None else exact
    return g.reshape(found, [left if axis in unknown else e for axis, e in enumerate(shape)])


def transpose(x: Operand, axes: tuple[int, ...] | None = None) -> SSAValue:
    found = value(x)
    rank = rank_of(found)
    if axes is None:
        return g.transpose(found, list(reversed(range(rank))))
    if len(axes) != rank:
        raise ShapeError(f"transpose: {list(axes)} does not permute the {rank} axes of {shape_text(shape_of(found))}")
    return g.transpose(found, [normal_axis(a, rank, "transpose") for a in axes])


def swapaxes(x: Operand, axis1: int, axis2: int) -> SSAValue:
    found = value(x)
    order = list(range(rank_of(found)))
    first, second = (normal_axis(a, len(order), "swapaxes") for a in (axis1, axis2))
    order[first], order[second] = order[second], order[first]
    return g.transpose(found, order)


def moveaxis(x: Operand, source: tuple[int, ...], destination: tuple[int, ...]) -> SSAValue:
    found = value(x)
    rank = rank_of(found)
    here = [normal_axis(a, rank, "moveaxis") for a in source]
    there = [normal_axis(a, rank, "moveaxis") for a in destination]
    if len(set(here)) != len(here) or len(set(there)) != len(there) or len(here) != len(there):
        raise ShapeError(f"moveaxis: {list(source)} to {list(destination)} moves no axes to different places")
    rest = iter(a for a in range(rank) if a not in here)
    return g.transpose(found, [here[there.index(a)] if a in there else next(rest) for a in range(rank)])


def expand_dims(x: Operand, axis: tuple[int, ...]) -> SSAValue:
    return g.unsqueeze(value(x), axis)


def squeeze(x: Operand, axis: tuple[int, ...] | None = None) -> SSAValue:
    found = value(x)
    if axis is None:
        axis = tuple(a for a, e in enumerate(shape_of(found)) if isinstance(e, int) and e == 1)
    return g.squeeze(found, axis)


def broadcast_to(x: Operand, shape: Shape) -> SSAValue:
    return g.broadcast_to(value(x), shape)


def concatenate(*xs: Operand, axis: int | None = 0) -> SSAValue:
    """One after another along an axis; with None the flat operands."""
    found = promoted(*xs)
    if axis is None:
        found, axis = [g.reshape(x, [dims.prod(shape_of(x))]) for x in found], 0
    if not rank_of(found[0]):
        raise ShapeError("concatenate: scalars have no axis to be joined along", remedy="stack joins along a new one.")
    return g.concatenate(found, axis)


def stack(*xs: Operand, axis: int = 0) -> SSAValue:
    found = promoted(*xs)
    for x in found[1:]:
        if rank_of(x) != rank_of(found[0]):
            raise ShapeError(f"stack: shapes {shape_text(shape_of(found[0]))} and {shape_text(shape_of(x))} differ")
    along = normal_axis(axis, rank_of(found[0]) + 1, "stack")
    return g.concatenate([g.unsqueeze(x, [along]) for x in found], along)


def split(x: Operand, sections: int | tuple[int, ...], axis: int = 0) -> list[SSAValue]:
    """Equal parts, or the parts between positions."""
    found = value(x)
    axis = normal_axis(axis, rank_of(found), "split")
    whole = shape_of(found)[axis]
    if isinstance(sections, int):
        if sections < 1 or (isinstance(whole, int) and whole % sections):
            raise ShapeError(f"split: axis {axis} of {shape_text(shape_of(found))} has no {sections} equal parts")
        return g.split(found, [dims.floordiv(whole, sections)] * sections, axis)
    if isinstance(whole, Dim):
        raise ShapeError(f"split at {list(sections)}: axis {axis} is {whole}, which may be shorter")
    bounds = [0, *(slice(p).indices(whole)[1] for p in sections), whole]
    return [
        g.slice_axis(found, axis, low, max(0, high - low)) for low, high in zip(bounds, [*bounds[1:]], strict=False)
    ]


def flip(x: Operand, axis: tuple[int, ...] | None = None) -> SSAValue:
    found = value(x)
    rank = rank_of(found)
    return g.reverse(found, list(range(rank)) if axis is None else [normal_axis(a, rank, "flip") for a in axis])


def roll(x: Operand, shift: int, axis: int | None = None) -> SSAValue:
    """Elements that leave at one end come in at the other."""
    whole = value(x)
    found = g.reshape(whole, [dims.prod(shape_of(whole))]) if axis is None else whole
    along = 0 if axis is None else normal_axis(axis, rank_of(found), "roll")
    size = shape_of(found)[along]
    if isinstance(size, int) and size == 0:
        return whole
    by = dims.floordiv(0, 1) + shift if isinstance(size, Dim) else shift % size
    if isinstance(size, Dim):
        raise ShapeError(f"roll: the length of axis {along}, {size}, is not known while tracing")
    parts = [g.slice_axis(found, along, size - by, by), g.slice_axis(found, along, 0, size - by)]
    return g.reshape(g.concatenate(parts, along), shape_of(whole))


def tile(x: Operand, reps: tuple[int, ...]) -> SSAValue:
    found = value(x)
    rank = max(len(reps), rank_of(found))
    found = g.reshape(found, [*[1] * (rank - rank_of(found)), *shape_of(found)])
    return g.tile(found, [*[1] * (rank - len(reps)), *reps])


def repeat(x: Operand, repeats: int, axis: int | None = None) -> SSAValue:
    """Each element so often."""
    found = value(x)
    if axis is None:
        found, axis = g.reshape(found, [dims.prod(shape_of(found))]), 0
    axis = normal_axis(axis, rank_of(found), "repeat")
    shape = shape_of(found)
    wide = g.broadcast(
        found, [*shape[: axis + 1], repeats, *shape[axis + 1 :]], [*range(axis + 1), *range(axis + 2, len(shape) + 1)]
    )
    return g.reshape(wide, [e * repeats if a == axis else e for a, e in enumerate(shape)])


def pad(x: Operand, widths: tuple[tuple[int, int], ...], mode: str = "constant", value_: float = 0) -> SSAValue:
    """`widths` elements before and after on each axis; mode constant, edge, reflect or wrap."""
    found = value(x)
    if len(widths) == 1:
        widths = widths * rank_of(found)
    if len(widths) != rank_of(found):
        raise ShapeError(f"pad: {len(widths)} widths for the {rank_of(found)} axes of {shape_text(shape_of(found))}")
    low, high = [lo for lo, _ in widths], [hi for _, hi in widths]
    if any(e < 0 for e in (*low, *high)):
        raise ShapeError(f"pad: the widths {list(widths)} are not all 0 or more")
    return g.pad(found, low, high, value_) if mode == "constant" else g.pad_mode(found, low, high, mode)


def triangle(x: Operand, k: int, upper: bool) -> SSAValue:
    """x, zero below (upper) or above the k-th diagonal of its last two axes."""
    found = value(x)
    rank = rank_of(found)
    if rank < 2:
        raise ShapeError(f"{'triu' if upper else 'tril'}: x has {rank} axes, and a matrix has two")
    shape = shape_of(found)
    rows, columns = (g.iota(shape[-2:], axis, "i64") for axis in (0, 1))
    last = g.add(rows, g.full_like(rows, k))
    keep = g.ge(columns, last) if upper else g.le(columns, last)
    return g.select(g.broadcast(keep, shape, [rank - 2, rank - 1]), found, g.full_like(found, 0))


def diagonal(x: Operand, offset: int, axis1: int, axis2: int) -> SSAValue:
    """The elements (i, i + offset) of two axes, as the last axis."""
    found = value(x)
    rank = rank_of(found)
    if rank < 2:
        raise ShapeError(f"diagonal: x has {rank} axes, and a matrix has two")
    pair = [normal_axis(axis, rank, "diagonal") for axis in (axis1, axis2)]
    if pair[0] == pair[1]:
        raise ShapeError(f"diagonal: axis1 and axis2 are both axis {pair[0]} of {shape_text(shape_of(found))}")
    starts = (max(0, -offset), max(0, offset))
    extents = [dims.dmax(0, shape_of(found)[axis] - start) for axis, start in zip(pair, starts, strict=True)]
    line = g.unsqueeze(g.iota((dims.dmin(*extents),), 0, "i64"), [1])
    positions = g.concatenate([g.add(line, g.full_like(line, start)) for start in starts], 1)
    front = g.transpose(found, [*pair, *(axis for axis in range(rank) if axis not in pair)])
    return g.transpose(g.gather_nd(front, positions), [*range(1, rank - 1), 0])


def full(fill: Operand, shape: Shape, dtype: str) -> SSAValue:
    return g.broadcast_to(as_dtype(fill, dtype), shape)


def full_like(x: Operand, fill: Operand, dtype: str | None = None) -> SSAValue:
    found = value(x)
    return g.broadcast_to(as_dtype(fill, dtype or dtype_of(found)), shape_of(found))


def arange(start: Operand, step: Operand, size: Extent, dtype: str) -> SSAValue:
    """start, start + step, ..., of `size` elements."""
    counted = "i64" if dtype in ("bool",) else dtype
    line = g.iota((size,), 0, counted)
    first, by = (g.broadcast_to(as_dtype(v, counted), (size,)) for v in (start, step))
    return g.add(first, g.mul(line, by))


def identity(rows: Extent, columns: Extent, k: int, dtype: str) -> SSAValue:
    """Ones on the k-th diagonal."""
    down, right = (g.iota((rows, columns), axis, "i64") for axis in (0, 1))
    return g.cast(g.eq(right, g.add(down, g.full_like(down, k))), dtype)


def unstack(x: Operand) -> Sequence[SSAValue]:
    """The rows of x, one tensor each."""
    found = value(x)
    size = shape_of(found)[0]
    if isinstance(size, Dim):
        raise ShapeError(
            f"the length of axis 0, {size}, is not known while tracing", remedy="mlc.scan runs over an axis."
        )
    return [g.squeeze(g.slice_axis(found, 0, row, 1), [0]) for row in range(size)]
