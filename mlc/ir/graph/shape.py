"""Ops that show the elements of a value under another shape, and NumPy's broadcasting.

Extents in attributes are dimension expressions; a result shape that operands do not decide stands in the result type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from xdsl.dialects.builtin import DenseArrayBase, TensorType
from xdsl.ir import SSAValue
from xdsl.irdl import ParsePropInAttrDict, irdl_op_definition, operand_def, prop_def, result_def, traits_def
from xdsl.traits import Pure

from mlc.errors import ShapeError
from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.graph.base import Evaluate, GraphOp, emit, ints, require_equal, shaped
from mlc.ir.graph.constants import scalar
from mlc.ir.graph.derivative import Algebra, Tangent
from mlc.ir.types import Shape, dtype_of, numpy_dtype, shape_of, shape_text, tensor


@irdl_op_definition
class BroadcastOp(GraphOp):
    """x's axis i is the result's axis axes[i] (ascending), with the same extent; the result's other axes repeat x."""

    name = "graph.broadcast"
    x = operand_def(TensorType)
    axes = prop_def(DenseArrayBase)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, x: SSAValue, shape: Sequence[Extent], axes: Sequence[int]):
        super().__init__(operands=[x], properties={"axes": ints(axes)}, result_types=[self.infer(x, shape, axes)])

    @staticmethod
    def infer(x: SSAValue, shape: Sequence[Extent], axes: Sequence[int]) -> TensorType:
        source = shape_of(x)
        ascending = all(a < b for a, b in pairwise(axes))
        if len(axes) != len(source) or not ascending or not all(0 <= a < len(shape) for a in axes):
            raise ShapeError(
                f"broadcast: {list(axes)} does not place the {len(source)} axes of x in {shape_text(shape)}"
            )
        if any(source[i] != shape[a] for i, a in enumerate(axes)):
            raise ShapeError(
                f"broadcast: {shape_text(source)} does not fit the axes {list(axes)} of {shape_text(shape)}"
            )
        return tensor(shape, dtype_of(x))

    def infer_types(self) -> Sequence[TensorType]:
        return [self.infer(self.x, shape_of(self.result), self.axes.get_values())]

    def evaluator(self, at: Evaluate) -> Callable[..., np.ndarray]:
        shape, axes = tuple(at(e) for e in shape_of(self.result)), self.axes.get_values()
        apart = tuple(shape[a] if a in axes else 1 for a in range(len(shape)))
        dtype = numpy_dtype(dtype_of(self.result))
        if not dtype.isbuiltin:
            return lambda x: np.broadcast_to(x.reshape(apart), shape)
        whole = np.broadcast_to(np.empty(apart, dtype), shape).strides

        def evaluate(x: np.ndarray) -> np.ndarray:
            if x.flags.c_contiguous and x.size:  # five times as fast
                found: np.ndarray = np.ndarray(shape, dtype, x, 0, whole)
                found.flags.writeable = False
                return found
            return np.broadcast_to(x.reshape(apart), shape)

        return evaluate

    @property
    def linear(self) -> tuple[int, ...]:
        return (0,)

    def transpose_rule(self, g: Algebra, cotangent: SSAValue, position: int) -> Tangent:
        axes = self.axes.get_values()
        return g.reduce(cotangent, [a for a in range(len(shape_of(cotangent))) if a not in axes])


@irdl_op_definition
class ReshapeOp(GraphOp):
    """The same elements in row-major order under another shape, which stands in the result type."""

    name = "graph.reshape"
    x = operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue, shape: Sequence[Extent]):
        before, after = dims.prod(shape_of(x)), dims.prod(shape)
        if isinstance(before, int) and isinstance(after, int) and before != after:
            raise ShapeError(
                f"reshape: {shape_text(shape_of(x))} has {before} elements, {shape_text(shape)} has {after}"
            )
        require_equal(before, after, f"reshape of {shape_text(shape_of(x))} to {shape_text(shape)}: number of elements")
        super().__init__(operands=[x], result_types=[tensor(shape, dtype_of(x))])

    def infer_types(self) -> Sequence[TensorType]:
        before, after = dims.prod(shape_of(self.x)), dims.prod(shape_of(self.result))
        shaped(
            "reshape",
            not (isinstance(before, int) and isinstance(after, int) and before != after),
            f"{before} elements become {after}",
        )
        return [tensor(shape_of(self.result), dtype_of(self.x))]

    def misfit(self, at: Evaluate) -> str | None:
        before, after = (dims.prod([at(e) for e in shape_of(value)]) for value in (self.x, self.result))
        return None if before == after else f"{before} elements become {after}"

    def evaluator(self, at: Evaluate) -> Callable[..., np.ndarray]:
        shape = tuple(at(e) for e in shape_of(self.result))
        return lambda x: x.reshape(shape)

    @property
    def linear(self) -> tuple[int, ...]:
        return (0,)

    def transpose_rule(self, g: Algebra, cotangent: SSAValue, position: int) -> Tangent:
        return g.reshape(cotangent, shape_of(self.x))


@irdl_op_definition
class TransposeOp(GraphOp):
    """Permute axes: result.shape[i] == x.shape[permutation[i]]. Semantics: numpy.transpose."""

    name = "graph.transpose"
    x = operand_def(TensorType)
    permutation = prop_def(DenseArrayBase)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, x: SSAValue, permutation: Sequence[int]):
        super().__init__(
            operands=[x], properties={"permutation": ints(permutation)}, result_types=[self.infer(x, permutation)]
        )

    @staticmethod
    def infer(x: SSAValue, permutation: Sequence[int]) -> TensorType:
        shape = shape_of(x)
        if sorted(permutation) != list(range(len(shape))):
            raise ShapeError(f"transpose: {list(permutation)} does not permute the {len(shape)} axes of x")
        return tensor([shape[axis] for axis in permutation], dtype_of(x))

    def infer_types(self) -> Sequence[TensorType]:
        return [self.infer(self.x, self.permutation.get_values())]

    def evaluator(self, at: Evaluate) -> Callable[..., np.ndarray]:
        permutation = tuple(self.permutation.get_values())
        return lambda x: x.transpose(permutation)

    @property
    def linear(self) -> tuple[int, ...]:
        return (0,)

    def transpose_rule(self, g: Algebra, cotangent: SSAValue, position: int) -> Tangent:
        permutation = list(self.permutation.get_values())
        return g.transpose(cotangent, [permutation.index(a) for a in range(len(permutation))])


# Builder functions -------------------------------------------------------------------------------------------------------


def full(shape: Sequence[Extent], value: float | bool, dtype: str) -> SSAValue:
    one = scalar(value, dtype)
    return broadcast(one, shape, []) if len(shape) else one


def full_like(x: SSAValue, value: float | bool) -> SSAValue:
    return full(shape_of(x), value, dtype_of(x))


def broadcast(x: SSAValue, shape: Sequence[Extent], axes: Sequence[int]) -> SSAValue:
    """x's axis i becomes the result's axis axes[i], whose extent it has."""
    if all(a < len(shape) for a in axes):
        x = fitted(x, [shape[a] for a in axes], "broadcast")
    if tuple(shape) == shape_of(x):
        return x
    return emit(BroadcastOp(x, shape, axes))[0]


def reshape(x: SSAValue, shape: Sequence[Extent]) -> SSAValue:
    return x if tuple(shape) == shape_of(x) else emit(ReshapeOp(x, tuple(shape)))[0]


def fitted(x: SSAValue, shape: Sequence[Extent], what: str) -> SSAValue:
    """x under the shape that an op wants of it. What sizes decide is proved, refused or left as a check: an extent may have another name in
    either shape, or be a number in one of them. Numbers that differ, and ranks, are left to the op, whose type rule says what it wants."""
    source = shape_of(x)
    if source == tuple(shape) or len(source) != len(shape):
        return x
    if any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in zip(source, shape, strict=True)):
        return x
    for axis, (found, wanted) in enumerate(zip(source, shape, strict=True)):
        require_equal(found, wanted, f"{what}: axis {axis} of {shape_text(source)} and of {shape_text(shape)}")
    return reshape(x, shape)


def squeeze(x: SSAValue, axes: Sequence[int]) -> SSAValue:
    """Drop axes of extent 1 (a symbolic one is checked)."""
    shape = shape_of(x)
    axes = [normal_axis(a, len(shape), "squeeze") for a in axes]
    for a in axes:
        require_equal(shape[a], 1, f"squeeze: axis {a} of {shape_text(shape)}")
    return reshape(x, [e for a, e in enumerate(shape) if a not in axes])


def unsqueeze(x: SSAValue, axes: Sequence[int]) -> SSAValue:
    """New axes of extent 1 at these positions of the result."""
    rank = len(shape_of(x)) + len(axes)
    places = sorted(normal_axis(a, rank, "unsqueeze") for a in axes)
    shaped("unsqueeze", len(set(places)) == len(places), f"axes {list(axes)} name one axis twice")
    rest = iter(shape_of(x))
    return reshape(x, [1 if a in places else next(rest) for a in range(rank)])


def transpose(x: SSAValue, permutation: Sequence[int]) -> SSAValue:
    return x if list(permutation) == list(range(len(shape_of(x)))) else emit(TransposeOp(x, permutation))[0]


def broadcast_to(x: SSAValue, shape: Sequence[Extent]) -> SSAValue:
    """numpy.broadcast_to: trailing axes align, an axis of extent 1 repeats. A symbolic extent repeats only where it is at most 1, as min(1, N)."""
    source, shape = shape_of(x), tuple(shape)
    if source == shape:
        return x
    lead = len(shape) - len(source)
    single = [
        a for a, e in enumerate(source) if isinstance(e, Dim) and lead >= 0 and e != shape[lead + a] and _at_most_one(e)
    ]
    if single:
        for a in single:
            require_equal(source[a], 1, f"broadcast of {shape_text(source)} to {shape_text(shape)}: axis {a}")
        x = reshape(x, [1 if a in single else e for a, e in enumerate(source)])
        source = shape_of(x)
    if lead < 0 or any(e != 1 and e != shape[lead + a] for a, e in enumerate(source)):
        fixed = []
        for a, e in enumerate(source) if lead >= 0 else ():
            fixed.append(
                e
                if e == 1
                else require_equal(e, shape[lead + a], f"broadcast of {shape_text(source)} to {shape_text(shape)}")
            )
        if lead < 0:
            raise ShapeError(f"broadcast: {shape_text(source)} does not broadcast to {shape_text(shape)}")
        x = reshape(x, [1 if e == 1 else shape[lead + a] for a, e in enumerate(source)])
        source = shape_of(x)
    kept = [a for a, e in enumerate(source) if not (e == 1 and shape[lead + a] != 1)]
    return broadcast(reshape(x, [source[a] for a in kept]), shape, [lead + a for a in kept])


def common_shape(shapes: Sequence[Shape], what: str = "broadcast") -> Shape:
    """numpy.broadcast_shapes; unequal symbolic extents become a check. One that is at most 1, as min(1, N), is 1 beside another."""
    rank = max((len(s) for s in shapes), default=0)
    result: list[Extent] = []
    for axis in range(rank):
        places = [axis - (rank - len(shape)) for shape in shapes]
        found = [shape[place] for place, shape in zip(places, shapes, strict=True) if place >= 0 and shape[place] != 1]
        larger = [e for e in found if not (isinstance(e, Dim) and _at_most_one(e))]
        extent_: Extent = 1
        for e in larger or found:
            extent_ = e if extent_ == 1 else require_equal(extent_, e, f"{what}: axis {axis}")
        result.append(extent_)
    return tuple(result)


def _at_most_one(e: Dim) -> bool:
    most = dims.bounds_of(e, {})[1]
    return most is not None and most <= 1


def lift(*xs: SSAValue) -> tuple[SSAValue, ...]:
    """The operands broadcast to their common shape, as NumPy does."""
    shape = common_shape([shape_of(x) for x in xs], "broadcast of " + " and ".join(shape_text(shape_of(x)) for x in xs))
    return tuple(broadcast_to(x, shape) for x in xs)


def tile(x: SSAValue, repeats: Sequence[Extent]) -> SSAValue:
    """numpy.tile with one count per axis."""
    shape = shape_of(x)
    shaped("tile", len(repeats) == len(shape), f"{len(repeats)} counts for {shape_text(shape)}")
    if all(isinstance(r, int) and r == 1 for r in repeats):
        return x
    pairs = [e for pair in zip(repeats, shape, strict=True) for e in pair]
    wide = broadcast(x, pairs, [2 * a + 1 for a in range(len(shape))])
    return reshape(wide, [r * e for r, e in zip(repeats, shape, strict=True)])


def normal_axis(axis: int, rank: int, what: str) -> int:
    """A negative axis counts from the end. Raises ShapeError outside -rank..rank-1."""
    if not -rank <= axis < rank:
        raise ShapeError(f"{what}: axis {axis} is not one of the {rank} axes")
    return axis % rank if rank else 0
