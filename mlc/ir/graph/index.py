"""Gather and scatter by index maps: one primitive each, for take, take_along_axis, GatherND and their mirrors.

The result of a gather has loops d0, d1, ...; each axis of x is read either at a loop or at a looked-up position:

    take(x, i, axis=1)      x[d0, i[d1, d2], d3]      loops = [1, 2], axes = [0, -1, 3]
    take_along_axis(x, i)   x[d0, i[d0, d1]]          loops = [0, 1], axes = [0, -1]

`indices` has one trailing axis with a column for each -1, in order. A negative index counts from the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from xdsl.dialects.builtin import DenseArrayBase, StringAttr, TensorType
from xdsl.ir import SSAValue
from xdsl.irdl import ParsePropInAttrDict, irdl_op_definition, operand_def, prop_def, result_def, traits_def
from xdsl.traits import Pure

from mlc.errors import DTypeError, ShapeError
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph import constants, parts
from mlc.ir.graph import shape as shapes
from mlc.ir.graph.base import Evaluate, GraphOp, emit, ints, require_at_least, require_equal, steps_around, widened
from mlc.ir.graph.derivative import Algebra, Tangent, Tangents
from mlc.ir.types import dtype_of, is_integer, shape_of, shape_text, tensor

_COMBINE: dict[str, Callable[..., Any]] = {
    "add": np.add.at,
    "mul": np.multiply.at,
    "max": np.maximum.at,
    "min": np.minimum.at,
}
KINDS = ("set", *_COMBINE)


def extents_of_loops(
    what: str, x: Sequence[Extent], indices: Sequence[Extent], loops: Sequence[int], axes: Sequence[int]
) -> list[Extent]:
    """The extent of every loop; loops that run over `indices` take theirs from it. Raises ShapeError on maps that do not fit."""
    rank = 1 + max([*loops, *axes, -1])
    columns = sum(a == -1 for a in axes)
    if len(axes) != len(x) or len(loops) != len(indices) - 1 or indices[-1] != columns or len(set(loops)) != len(loops):
        raise ShapeError(
            f"{what}: loops {list(loops)}, axes {list(axes)} for x {shape_text(x)}, indices {shape_text(indices)}"
        )
    extents: dict[int, Extent] = {a: e for a, e in zip(axes, x, strict=True) if a != -1}
    extents.update(zip(loops, indices, strict=False))
    if len(extents) != rank or min(extents, default=0) < 0:
        raise ShapeError(f"{what}: loops {list(loops)} and axes {list(axes)} do not name the loops from 0 on")
    return [extents[d] for d in range(rank)]


def _too_long(at: Evaluate, x: SSAValue, indices: SSAValue, loops: Sequence[int], axes: Sequence[int]) -> str | None:
    """The first axis of x that a loop over the indices goes beyond."""
    looped = dict(zip(loops, shape_of(indices), strict=False))
    for axis, (loop, extent) in enumerate(zip(axes, shape_of(x), strict=True)):
        if loop in looped and at(looped[loop]) > at(extent):
            return f"it goes through {at(looped[loop])} elements of axis {axis}, which has {at(extent)}"
    return None


def positions(
    shape: Sequence[int], x: Sequence[int], indices: np.ndarray, loops: Sequence[int], axes: Sequence[int]
) -> list[np.ndarray]:
    """For each axis of x, the position at every point of the loops (broadcastable arrays)."""
    grid = np.ogrid[tuple(slice(0, e) for e in shape)] if len(shape) else []
    found, column = [], 0
    for axis, a in enumerate(axes):
        if a != -1:
            found.append(grid[a])
            continue
        order = np.argsort(loops)
        looked_up = indices[..., column].astype(np.int64).transpose(order)
        found.append(looked_up.reshape([shape[d] if d in loops else 1 for d in range(len(shape))]))
        found[-1] = np.where(found[-1] < 0, found[-1] + x[axis], found[-1])
        column += 1
    return found


@irdl_op_definition
class GatherOp(GraphOp):
    """result[d] = x[..., d_axes or indices[d_loops, column], ...]. Positions out of range are clamped.

    Raises ShapeError where x is empty and the result is not.
    """

    name = "graph.gather"
    x = operand_def(TensorType)
    indices = operand_def(TensorType)
    loops = prop_def(DenseArrayBase)
    axes = prop_def(DenseArrayBase)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x `,` $indices attr-dict `:` type($x) `,` type($indices) `->` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, x: SSAValue, indices: SSAValue, loops: Sequence[int], axes: Sequence[int]):
        super().__init__(
            operands=[x, indices],
            properties={"loops": ints(loops), "axes": ints(axes)},
            result_types=[self.infer(x, indices, loops, axes)],
        )

    @staticmethod
    def infer(x: SSAValue, indices: SSAValue, loops: Sequence[int], axes: Sequence[int]) -> TensorType:
        if not is_integer(dtype_of(indices)):
            raise DTypeError(f"gather: indices are {dtype_of(indices)}, not integers")
        return tensor(extents_of_loops("gather", shape_of(x), shape_of(indices), loops, axes), dtype_of(x))

    def infer_types(self) -> Sequence[TensorType]:
        return [self.infer(self.x, self.indices, self.loops.get_values(), self.axes.get_values())]

    def misfit(self, at: Evaluate) -> str | None:
        if any(at(e) <= 0 for e in shape_of(self.result)):
            return None
        for axis, (loop, extent) in enumerate(zip(self.axes.get_values(), shape_of(self.x), strict=True)):
            if loop == -1 and at(extent) <= 0:
                return f"it looks up elements of axis {axis}, which has none"
        return _too_long(at, self.x, self.indices, self.loops.get_values(), self.axes.get_values())

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        x, indices = operands
        shape = [at(e) for e in shape_of(self.result)]
        if 0 in shape:
            return np.zeros(shape, x.dtype)
        where = positions(shape, x.shape, indices, self.loops.get_values(), self.axes.get_values())
        if 0 in x.shape:
            raise ShapeError(f"gather: {list(shape)} elements of x, which has none: its shape is {list(x.shape)}")
        clamped = [np.clip(p, 0, n - 1) for p, n in zip(where, x.shape, strict=True)]
        return np.broadcast_to(x[tuple(clamped)], shape) if clamped else np.broadcast_to(x, shape)

    @property
    def linear(self) -> tuple[int, ...]:
        return (0,)

    def transpose_rule(self, g: Algebra, cotangent: SSAValue, position: int) -> Tangent:
        """Each cotangent is added where its element came from; what was clamped came from the edge."""
        axes = self.axes.get_values()
        wrapped, last = _wrapped(g, self.x, self.indices, axes)
        inside = g.apply("minimum", g.apply("maximum", wrapped, shapes.full_like(wrapped, 0)), last)
        return emit(ScatterOp(g.like(self.x, 0), inside, cotangent, self.loops.get_values(), axes, "add"))[0]


@irdl_op_definition
class ScatterOp(GraphOp):
    """x, with updates[d] written (kind set; the last of equal positions wins) or folded in (add, mul, max, min) at each position.

    Positions as in GatherOp, over the loops of `updates`; those out of range are left out.
    """

    name = "graph.scatter"
    x = operand_def(TensorType)
    indices = operand_def(TensorType)
    updates = operand_def(TensorType)
    loops = prop_def(DenseArrayBase)
    axes = prop_def(DenseArrayBase)
    kind = prop_def(StringAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x `,` $indices `,` $updates $kind attr-dict `:` type($x) `,` type($indices) `,` type($updates) `->` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(
        self, x: SSAValue, indices: SSAValue, updates: SSAValue, loops: Sequence[int], axes: Sequence[int], kind: str
    ):
        super().__init__(
            operands=[x, indices, updates],
            properties={"loops": ints(loops), "axes": ints(axes), "kind": StringAttr(kind)},
            result_types=[self.infer(x, indices, updates, loops, axes, kind)],
        )

    @staticmethod
    def infer(
        x: SSAValue, indices: SSAValue, updates: SSAValue, loops: Sequence[int], axes: Sequence[int], kind: str
    ) -> TensorType:
        if not is_integer(dtype_of(indices)) or dtype_of(updates) != dtype_of(x) or kind not in KINDS:
            raise DTypeError(
                f"scatter {kind}: x {dtype_of(x)}, updates {dtype_of(updates)}, indices {dtype_of(indices)}"
            )
        looped = extents_of_loops("scatter", shape_of(x), shape_of(indices), loops, axes)
        if tuple(looped) != shape_of(updates):
            raise ShapeError(f"scatter: updates {shape_text(shape_of(updates))}, indices ask for {shape_text(looped)}")
        return tensor(shape_of(x), dtype_of(x))

    def infer_types(self) -> Sequence[TensorType]:
        loops, axes = self.loops.get_values(), self.axes.get_values()
        return [self.infer(self.x, self.indices, self.updates, loops, axes, self.kind.data)]

    def misfit(self, at: Evaluate) -> str | None:
        if any(at(e) <= 0 for e in shape_of(self.updates)):
            return None
        return _too_long(at, self.x, self.indices, self.loops.get_values(), self.axes.get_values())

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        x, indices, updates = operands
        result = x.copy()
        if updates.size == 0:
            return result
        where = positions(updates.shape, x.shape, indices, self.loops.get_values(), self.axes.get_values())
        where = [np.broadcast_to(p, updates.shape) for p in where]
        inside = np.ones(updates.shape, bool)
        for p, n in zip(where, x.shape, strict=True):
            inside &= (p >= 0) & (p < n)
        flat = tuple(p[inside] for p in where)
        if self.kind.data == "set":
            result[flat] = updates[inside]
            return result
        wide = widened(result)
        _COMBINE[self.kind.data](wide, flat, widened(updates[inside]))
        return wide.astype(x.dtype, copy=False)

    @property
    def linear(self) -> tuple[int, ...]:
        return {"set": (0, 2), "add": (0, 2), "mul": (0,)}.get(self.kind.data, ())

    def jvp(self, g: Algebra, tangents: Tangents) -> Sequence[Tangent]:
        """Equal numbers share the derivative of a max or min evenly. Of a product, second derivatives are right where at most one factor is 0."""
        x, u, kind = self.x, self.updates, self.kind.data
        tx, tu = g.zeros((x, u), (tangents[0], tangents[2]))
        if kind in ("set", "add"):
            return [self._like(tx, tu, kind)]
        if kind == "mul":
            return [g.add(self._like(tx, u, "mul"), self._products_of_others(g, tu))]
        mine = g.cast(g.apply("eq", x, self.result), dtype_of(x))
        theirs = g.cast(g.apply("eq", u, self._at(self.result)), dtype_of(x))
        return [g.div(self._like(g.mul(tx, mine), g.mul(tu, theirs), "add"), self._like(mine, theirs, "add"))]

    def transpose_rule(self, g: Algebra, cotangent: SSAValue, position: int) -> Tangent:
        kind, u = self.kind.data, self.updates
        if position == 0:
            return (
                {"set": self._like(cotangent, g.like(u, 0), "set"), "add": cotangent}[kind]
                if kind != "mul"
                else self._like(cotangent, u, "mul")
            )
        back = self._at(cotangent)
        return g.select(self._last_ones(g) if kind == "set" else self._inside(g), back, g.like(back, 0))

    def _like(self, x: SSAValue, updates: SSAValue, kind: str) -> SSAValue:
        """Other updates of another x at the same positions."""
        return emit(ScatterOp(x, self.indices, updates, self.loops.get_values(), self.axes.get_values(), kind))[0]

    def _at(self, x: SSAValue) -> SSAValue:
        """The elements of an x of the same shape at the positions; of those out of range any."""
        return emit(GatherOp(x, self.indices, self.loops.get_values(), self.axes.get_values()))[0]

    def _last_ones(self, g: Algebra) -> SSAValue:
        """Which of the updates are in the result: the last of those with one position, and none that is out of range."""
        shape = shape_of(self.updates)
        numbers = g.reshape(constants.iota([dims.prod(shape)], 0, "i64"), shape)
        winners = self._like(shapes.full(shape_of(self.x), -1, "i64"), numbers, "set")
        return g.apply("eq", self._at(winners), numbers)

    def _inside(self, g: Algebra) -> SSAValue:
        """Which of the updates have a position in x."""
        loops = list(self.loops.get_values())
        wrapped, last = _wrapped(g, self.x, self.indices, self.axes.get_values())
        fits = g.apply(
            "logical_and", g.apply("ge", wrapped, shapes.full_like(wrapped, 0)), g.apply("le", wrapped, last)
        )
        every = g.reduce(fits, [len(loops)], "and")
        return g.broadcast(g.transpose(every, np.argsort(loops).tolist()), shape_of(self.updates), sorted(loops))

    def _products_of_others(self, g: Algebra, tu: SSAValue) -> SSAValue:
        """What a product changes by where its factors among the updates do: with no zero among them the product times the sum of tu / u, with one
        the product of the others times its tu."""
        x, u = self.x, self.updates
        zero = g.apply("eq", u, g.like(u, 0))
        count = self._like(g.like(x, 0), g.cast(zero, dtype_of(u)), "add")
        safe = g.select(zero, g.like(u, 1), u)
        rest = self._like(x, safe, "mul")
        none = self._like(g.like(x, 0), g.select(zero, g.like(tu, 0), g.div(tu, safe)), "add")
        one = self._like(g.like(x, 0), g.select(zero, tu, g.like(tu, 0)), "add")
        single = g.select(g.apply("eq", count, g.like(count, 1)), g.mul(rest, one), g.like(rest, 0))
        return g.select(g.apply("eq", count, g.like(count, 0)), g.mul(rest, none), single)


# Builder functions -------------------------------------------------------------------------------------------------------


def _wrapped(g: Algebra, x: SSAValue, indices: SSAValue, axes: Sequence[int]) -> tuple[SSAValue, SSAValue]:
    """(positions counted from the start, the last position that there is), both of the shape of the indices. i64."""
    wide = g.cast(indices, "i64")
    looked_up = [e for e, a in zip(shape_of(x), axes, strict=True) if a == -1]
    column = len(shape_of(indices)) - 1
    extents = shapes.broadcast(parts.extents(looked_up), shape_of(indices), [column])
    negative = g.apply("lt", wide, shapes.full_like(wide, 0))
    wrapped = g.select(negative, g.apply("add", wide, extents), wide)
    return wrapped, g.apply("sub", extents, shapes.full_like(extents, 1))


def _at_positions(x: SSAValue, indices: SSAValue, loops: Sequence[int], axes: Sequence[int]) -> SSAValue:
    """A gather that stays inside of x at every size: where there are positions, the axis has elements, and no loop goes beyond an axis of x."""
    gather = GatherOp(x, indices, loops, axes)
    asked = [*shape_of(indices)[:-1], *steps_around()]
    once = dims.dmin(1, *asked)  # 0 where no position is looked up
    for axis, (loop, extent) in enumerate(zip(axes, shape_of(x), strict=True)):
        if loop == -1 and extent not in asked:
            require_at_least(extent, once, f"axis {axis} of what is gathered from has elements")
    _stay_within(x, indices, loops, axes)
    return emit(gather)[0]


def _stay_within(x: SSAValue, indices: SSAValue, loops: Sequence[int], axes: Sequence[int]) -> None:
    """Leave the check that the loops over the indices find x at least as long, on axes that both have."""
    looped = dict(zip(loops, shape_of(indices), strict=False))
    for axis, (loop, extent) in enumerate(zip(axes, shape_of(x), strict=True)):
        if loop in looped:
            require_at_least(extent, looped[loop], f"axis {axis} of the data is as long as that of the indices")


def gather(x: SSAValue, indices: SSAValue, axis: int) -> SSAValue:
    """numpy.take along an axis: the axis is replaced by the axes of `indices`."""
    rank, more = len(shape_of(x)), len(shape_of(indices))
    axis = shapes.normal_axis(axis, rank, "gather")
    axes = [*range(axis), -1, *range(axis + more, rank - 1 + more)]
    return _at_positions(x, shapes.unsqueeze(indices, [more]), list(range(axis, axis + more)), axes)


def gather_elements(x: SSAValue, indices: SSAValue, axis: int) -> SSAValue:
    """numpy.take_along_axis; the other extents of `indices` may be smaller than those of x, and not larger."""
    rank = len(shape_of(x))
    axis = shapes.normal_axis(axis, rank, "gather_elements")
    if len(shape_of(indices)) != rank:
        raise ShapeError(
            f"gather_elements: x {shape_text(shape_of(x))} and indices {shape_text(shape_of(indices))} differ in rank"
        )
    axes = [-1 if a == axis else a for a in range(rank)]
    return _at_positions(x, shapes.unsqueeze(indices, [rank]), list(range(rank)), axes)


def gather_nd(x: SSAValue, indices: SSAValue, batch_dims: int = 0) -> SSAValue:
    """ONNX GatherND: the last axis of `indices` holds a position in the axes of x behind the batch axes."""
    loops, axes, indices = _nd_maps(x, indices, batch_dims, "gather_nd")
    return _at_positions(x, indices, loops, axes)


def _nd_maps(x: SSAValue, indices: SSAValue, batch_dims: int, what: str) -> tuple[list[int], list[int], SSAValue]:
    shape, lead = shape_of(x), shape_of(indices)[:-1]
    depth = shape_of(indices)[-1] if shape_of(indices) else None
    if not isinstance(depth, int) or batch_dims + depth > len(shape) or batch_dims > len(lead):
        raise ShapeError(f"{what}: indices {shape_text(shape_of(indices))} do not index x {shape_text(shape)}")
    fixed = [require_equal(e, shape[a], f"{what}: batch axis {a}") if a < batch_dims else e for a, e in enumerate(lead)]
    rest = len(shape) - batch_dims - depth
    axes = [*range(batch_dims), *[-1] * depth, *range(len(lead), len(lead) + rest)]
    return list(range(len(lead))), axes, shapes.reshape(indices, [*fixed, depth])


def scatter_elements(x: SSAValue, indices: SSAValue, updates: SSAValue, axis: int, kind: str = "set") -> SSAValue:
    """ONNX ScatterElements: updates[d] goes to x[d with indices[d] along the axis]; other extents as in gather_elements."""
    rank = len(shape_of(x))
    axis = shapes.normal_axis(axis, rank, "scatter_elements")
    axes = [-1 if a == axis else a for a in range(rank)]
    if len(shape_of(indices)) != rank:
        raise ShapeError(
            f"scatter_elements: x {shape_text(shape_of(x))}, indices {shape_text(shape_of(indices))} differ in rank"
        )
    updates = shapes.fitted(updates, shape_of(indices), "scatter_elements: updates")
    columns, loops = shapes.unsqueeze(indices, [rank]), list(range(rank))
    _stay_within(x, columns, loops, axes)
    return emit(ScatterOp(x, columns, updates, loops, axes, kind))[0]


def scatter_nd(x: SSAValue, indices: SSAValue, updates: SSAValue, kind: str = "set") -> SSAValue:
    """ONNX ScatterND: the last axis of `indices` holds a position in the leading axes of x."""
    loops, axes, indices = _nd_maps(x, indices, 0, "scatter_nd")
    looped = extents_of_loops("scatter_nd", shape_of(x), shape_of(indices), loops, axes)
    updates = shapes.fitted(updates, looped, "scatter_nd: updates")
    return emit(ScatterOp(x, indices, updates, loops, axes, kind))[0]
