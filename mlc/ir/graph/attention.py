"""Attention of queries to keys and values, as a whole or by blocks of queries, where its scores would not stay in a cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects.builtin import BoolAttr, FloatAttr, IntegerAttr, TensorType, f64
from xdsl.ir import SSAValue
from xdsl.irdl import ParsePropInAttrDict, irdl_op_definition, prop_def, result_def, traits_def, var_operand_def
from xdsl.traits import Pure

from mlc.errors import ShapeError
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph import constants, control, linear, parts
from mlc.ir.graph import shape as shapes
from mlc.ir.graph.base import emit, require_equal
from mlc.ir.graph.composites import CompositeOp, require_float, softmax
from mlc.ir.graph.derivative import Algebra, Tangent, Tangents
from mlc.ir.graph.elementwise import apply as _apply
from mlc.ir.graph.shape import BroadcastOp
from mlc.ir.types import Shape, dtype_of, itemsize, shape_of, shape_text, tensor, tensor_type, type_text

WHOLE = 8 << 20  # bytes of scores up to which they are computed as a whole
BLOCK = 8 << 20  # bytes of a block of them
ROWS = 8  # queries in a block are a multiple of it
SIZES, QUERIES = 256, 16  # of a kernel for attention: the largest head, and queries below which few threads have work
BANDS = 4  # of causal attention, with code of their own: 5/8 of all scores are computed


@irdl_op_definition
class AttentionOp(CompositeOp):
    """softmax(q k' * scale + mask) v. q [batch, heads, length, size], k and v [batch, groups, keys, size]; the result has v's size. Vaswani et al. 2017.

    Query heads are a multiple of those of keys, which as many share. The mask, where there is one, has the shape of the scores [batch, heads,
    length, keys]: bool (True keeps), or added. With `causal` a query sees no keys behind its own place. Large scores of known sizes are computed by
    blocks of queries, and again for derivatives.
    """

    name = "graph.attention"
    inputs = var_operand_def(TensorType)
    scale = prop_def(FloatAttr)
    causal = prop_def(BoolAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$inputs attr-dict `:` type($inputs) `->` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, q: SSAValue, k: SSAValue, v: SSAValue, mask: Sequence[SSAValue], scale: float, causal: bool):
        super().__init__(
            operands=[[q, k, v, *mask]],
            properties={"scale": FloatAttr(scale, f64), "causal": IntegerAttr.from_bool(causal)},
            result_types=[self.infer(q, k, v, mask)],
        )

    @staticmethod
    def infer(q: SSAValue, k: SSAValue, v: SSAValue, mask: Sequence[SSAValue]) -> TensorType:
        require_float("attention", q)
        dtype, (b, heads, s, d), (groups, t), out = dtype_of(q), shape_of(q), shape_of(k)[1:3], shape_of(v)[3]
        for name, value, shape in (("k", k, (b, groups, t, d)), ("v", v, (b, groups, t, out))):
            if tensor_type(value) != tensor(shape, dtype):
                wanted = f"{dtype}{shape_text(shape)}"
                raise ShapeError(f"attention: {name} is {type_text(tensor_type(value))}, the others ask for {wanted}")
        for value in mask:
            if shape_of(value) != (b, heads, s, t) or dtype_of(value) not in ("bool", dtype):
                raise ShapeError(
                    f"attention: the mask is {type_text(tensor_type(value))}, the scores are {dtype}{shape_text((b, heads, s, t))}"
                )
        if heads != groups and (not isinstance(heads, int) or not isinstance(groups, int) or heads % groups):
            raise ShapeError(f"attention: {heads} query heads do not divide into {groups} key heads")
        return tensor((b, heads, s, out), dtype)

    def infer_types(self) -> Sequence[TensorType]:
        q, k, v, *mask = self.inputs
        return [self.infer(q, k, v, mask)]

    @property
    def rows(self) -> int | None:
        """Queries of a block whose scores stay in a cache, where those of all would not; None where they would, or sizes are open."""
        q, k, _, *_ = self.inputs
        (batch, heads, length, _), keys = shape_of(q), shape_of(k)[2]
        sizes = [e for e in (batch, heads, length, keys) if isinstance(e, int)]
        if len(sizes) < 4 or math.prod(sizes) * itemsize(dtype_of(q)) <= WHOLE:
            return None
        rows = BLOCK // (math.prod(sizes) // sizes[2] * itemsize(dtype_of(q))) // ROWS * ROWS
        return rows if (rows := max(rows, ROWS)) < sizes[2] else None

    @property
    def fits_a_kernel(self) -> bool:
        """Whether a kernel that keeps scores in registers pays: rows of known size that fit there, and more than a few queries, as far as is known."""
        (_, _, length, size), out = shape_of(self.inputs[0]), shape_of(self.result)[3]
        return pays_online(length, [size, out]) and dtype_of(self.result) != "f64"

    @property
    def by_parts(self) -> bool:
        return self.rows is not None

    def decompose(self, *operands: SSAValue) -> SSAValue:
        q, k, v, *masks = operands
        if (rows := self.rows) is not None:
            return self._by_bands(rows, q, k, v, masks)
        return self._mixed(self._grouped_weights(q, k, masks), v)

    def without_loop(self, *operands: SSAValue) -> SSAValue:
        """The decomposition for machines on which a kernel computes a block of scores after the other anyway: all of them at once or, where large ones
        are causal, by bands."""
        q, k, v, *masks = operands
        if self.causal.value.data and self.rows is not None:
            return self._by_bands(ROWS, q, k, v, masks, loop=False)
        return self._mixed(self._grouped_weights(q, k, masks), v)

    def _by_bands(
        self, rows: int, q: SSAValue, k: SSAValue, v: SSAValue, masks: Sequence[SSAValue], loop: bool = True
    ) -> SSAValue:
        """Blocks of queries, each of which attends to all keys that it may see: a loop over them or, where it is causal, a loop for each of some bands,
        which leave out the keys behind their last query. A derivative computes the scores of a block again (as Dao 2023 does): no more than
        a block of them is ever kept. Without the `loop` a band is one block."""
        length, keys, causal = shape_of(q)[2], shape_of(k)[2], self.causal.value.data
        assert isinstance(length, int) and isinstance(keys, int)
        found, kept = [], [_Repeated.of(mask) for mask in masks]
        height = -(-length // BANDS // rows) * rows if causal else length
        for first in range(0, length, height):
            count = min(height, length - first)
            seen = min(first + count, keys) if causal else keys
            band = [x.cut(2, first, count).cut(3, 0, seen) for x in kept]
            queries, (before, values) = (
                parts.slice_axis(q, 2, first, count),
                [parts.slice_axis(x, 2, 0, seen) for x in (k, v)],
            )
            found.append(self._band(rows if loop else count, queries, before, values, band, first, loop))
        return _joined(found)

    def _band(
        self, rows: int, q: SSAValue, k: SSAValue, v: SSAValue, masks: Sequence[_Repeated], first: int, loop: bool
    ) -> SSAValue:
        """A loop over blocks of these queries, of which `first` is the place of the first."""
        (batch, heads, length, _), keys, causal = shape_of(q), shape_of(k)[2], self.causal.value.data
        assert isinstance(length, int)
        cut = [(q, 2), *((x.value, x.axes.index(2)) for x in masks if 2 in x.axes)]
        shared = [k, v, *(x.value for x in masks if 2 not in x.axes)]
        if causal:
            places = constants.iota((length,), 0, "i32")
            cut.append((_apply("add", places, shapes.full_like(places, first)), 0))

        def block(*inputs: SSAValue) -> list[SSAValue]:
            pieces, (k, v, *wholes) = iter(inputs[: len(cut)]), inputs[len(cut) :]
            q, rest = next(pieces), iter(wholes)
            shape = (batch, heads, shape_of(q)[2], keys)
            seen = [x.repeated(next(pieces if 2 in x.axes else rest), shape) for x in masks]
            if causal:
                both = (next(pieces), constants.iota((keys,), 0, "i32"))
                wide = [shapes.broadcast(x, shape[2:], [axis]) for axis, x in enumerate(both)]
                seen.append(shapes.broadcast(_apply("ge", *wide), shape, [2, 3]))
            return list(emit(AttentionOp(q, k, v, seen, self.scale.value.data, False)))

        def call(inputs: Sequence[SSAValue]) -> SSAValue:
            return control.call(block, [*inputs, *shared], self.title, checkpoint=True)[0]

        def step(
            _: tuple[SSAValue, ...], pieces: tuple[SSAValue, ...], wholes: tuple[SSAValue, ...]
        ) -> tuple[list[SSAValue], Sequence[SSAValue]]:
            return [], control.call(block, [*pieces, *wholes], self.title, checkpoint=True)

        def pieces(first: int, count: int) -> list[SSAValue]:
            return [parts.slice_axis(x, axis, first, count) for x, axis in cut]

        if not loop:
            return block(*(x for x, _ in cut), *shared)[0]
        (count, left), found = divmod(length, rows), []
        if count == 1:
            found.append(call(pieces(0, rows)))
        elif count:
            xs = [_stacked(x, axis, count) for x, (_, axis) in zip(pieces(0, count * rows), cut, strict=True)]
            found.append(_unstacked(control.scan(step, [], xs, count, shared)[1][0], 2))
        if left:
            found.append(call(pieces(count * rows, left)))
        return _joined(found)

    def jvp(self, g: Algebra, tangents: Tangents) -> list[Tangent]:
        """dp v + p tv, where p are the weights, dp = p * (ds - sum(p * ds)), and ds what the scores change by. The weights are computed again as
        `decompose` does, whose values CSE finds."""
        (q, k, v, *masks), (tq, tk, tv, *changes) = self.inputs, tangents
        weights = self._weights(q, k, masks)
        scores: Tangent = None
        if tq is not None:
            scores = self._scores(tq, k)
        if tk is not None:
            scores = g.accumulate(scores, self._scores(q, tk))
        for t in changes:
            scores = g.accumulate(scores, t)
        total: Tangent = None if tv is None else self._mixed(weights, tv)
        if scores is not None:
            weighted = g.mul(weights, scores)
            mean = g.spread(g.reduce(weighted, [3]), shape_of(weights), [3])
            total = g.accumulate(total, self._mixed(g.sub(weighted, g.mul(weights, mean)), v))
        return [total]

    def _weights(self, q: SSAValue, k: SSAValue, masks: Sequence[SSAValue]) -> SSAValue:
        """softmax(q k' * scale + mask)"""
        shape = (*shape_of(q)[:3], shape_of(k)[2])
        return shapes.reshape(self._grouped_weights(q, k, masks), shape)

    def _grouped_weights(self, q: SSAValue, k: SSAValue, masks: Sequence[SSAValue]) -> SSAValue:
        """The same, as [b, groups, heads of one, s, t] where heads share keys."""
        scores = self._grouped_scores(q, k)
        minus = float("-inf")
        for mask in masks:
            mask = self._split(mask, k)
            if dtype_of(mask) == "bool":
                scores = _apply("select", mask, scores, shapes.full_like(scores, minus))
            else:
                scores = _apply("add", scores, mask)
        shape = shape_of(scores)
        if self.causal.value.data:
            rows, columns = (constants.iota(shape[-2:], axis, "i64") for axis in (0, 1))
            keep = shapes.broadcast(_apply("ge", rows, columns), shape, [len(shape) - 2, len(shape) - 1])
            scores = _apply("select", keep, scores, shapes.full_like(scores, minus))
        return softmax(scores, len(shape) - 1)

    def _scores(self, q: SSAValue, k: SSAValue) -> SSAValue:
        """q k' * scale"""
        return shapes.reshape(self._grouped_scores(q, k), (*shape_of(q)[:3], shape_of(k)[2]))

    def _grouped_scores(self, q: SSAValue, k: SSAValue) -> SSAValue:
        q = self._split(_apply("mul", q, shapes.full_like(q, self.scale.value.data)), k)
        return linear.contract(q, k, "bhsd,bhtd->bhst" if len(shape_of(q)) == 4 else "bghsd,bgtd->bghst")

    def _split(self, x: SSAValue, k: SSAValue) -> SSAValue:
        """[b, heads, ...] as [b, groups, heads of one, ...] where heads share keys."""
        (b, heads, *rest), groups = shape_of(x), shape_of(k)[1]
        return x if heads == groups else shapes.reshape(x, (b, groups, dims.floordiv(heads, groups), *rest))

    def _mixed(self, weights: SSAValue, v: SSAValue) -> SSAValue:
        """weights v; the weights of heads that share keys may stand apart."""
        apart = weights if len(shape_of(weights)) == 5 else self._split(weights, v)
        if len(shape_of(apart)) == 4:
            return linear.contract(apart, v, "bhst,bhtd->bhsd")
        b, groups, heads, s, _ = shape_of(apart)
        return shapes.reshape(linear.contract(apart, v, "bghst,bgtd->bghsd"), (b, groups * heads, s, shape_of(v)[3]))


def pays_online(queries: Extent, sizes: Sequence[Extent]) -> bool:
    """Of attention with heads of these sizes, as AttentionOp.fits_a_kernel asks."""
    few = isinstance(queries, int) and queries < QUERIES
    return not few and all(isinstance(e, int) and 1 < e <= SIZES for e in sizes)


@dataclass(frozen=True)
class _Repeated:
    """A mask before it is repeated to the shape of the scores: the axes of `value` are these of the scores."""

    value: SSAValue
    axes: Sequence[int]

    @staticmethod
    def of(mask: SSAValue) -> _Repeated:
        repeat = mask.owner
        if isinstance(repeat, BroadcastOp):
            return _Repeated(repeat.x, list(repeat.axes.get_values()))
        return _Repeated(mask, [0, 1, 2, 3])

    def cut(self, axis: int, first: int, count: int) -> _Repeated:
        """What belongs to a part of the scores along an axis."""
        if axis not in self.axes:
            return self
        return _Repeated(parts.slice_axis(self.value, self.axes.index(axis), first, count), self.axes)

    def repeated(self, value: SSAValue, shape: Shape) -> SSAValue:
        """A part of it in the shape of a part of the scores."""
        return value if len(self.axes) == len(shape) else shapes.broadcast(value, shape, self.axes)


def _stacked(x: SSAValue, axis: int, count: int) -> SSAValue:
    """x cut into `count` pieces along an axis, stacked along axis 0."""
    shape = list(shape_of(x))
    split = shapes.reshape(x, [*shape[:axis], count, dims.floordiv(shape[axis], count), *shape[axis + 1 :]])
    return shapes.transpose(split, [axis, *(a for a in range(len(shape) + 1) if a != axis)])


def _joined(found: Sequence[SSAValue]) -> SSAValue:
    """What blocks of queries give, one behind the other."""
    return parts.concatenate(found, 2) if len(found) > 1 else found[0]


def _unstacked(x: SSAValue, axis: int) -> SSAValue:
    """Pieces stacked along axis 0, joined along an axis of theirs."""
    order = list(range(1, len(shape_of(x))))
    turned = shapes.transpose(x, [*order[:axis], 0, *order[axis:]])
    shape = list(shape_of(turned))
    return shapes.reshape(turned, [*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :]])


# Builder functions -------------------------------------------------------------------------------------------------------


def attention(
    q: SSAValue,
    k: SSAValue,
    v: SSAValue,
    mask: SSAValue | None = None,
    scale: float | None = None,
    causal: bool = False,
) -> SSAValue:
    """See AttentionOp. `mask` broadcasts to the scores; `scale` is 1 / sqrt(size) where none is given. Extents that cannot be proved equal become
    checks."""
    for name, value in (("q", q), ("k", k), ("v", v)):
        if len(shape_of(value)) != 4:
            raise ShapeError(f"attention: {name} is {type_text(tensor_type(value))}, not [batch, heads, length, size]")
    (b, heads, s, d), (b_k, groups, t, d_k), (b_v, groups_v, t_v, out) = map(shape_of, (q, k, v))
    scale = 1 / math.sqrt(d) if scale is None and isinstance(d, int) else 1.0 if scale is None else scale
    batch = require_equal(require_equal(b, b_k, "attention: batch of q and k"), b_v, "attention: batch of v")
    d = require_equal(d, d_k, "attention: size of q and k")
    t = require_equal(t, t_v, "attention: length of k and v")
    groups = require_equal(groups, groups_v, "attention: heads of k and v")
    if isinstance(heads, dims.Dim) or isinstance(groups, dims.Dim):
        heads = groups = require_equal(heads, groups, "attention: heads of q and k")
    q, k = shapes.reshape(q, (batch, heads, s, d)), shapes.reshape(k, (batch, groups, t, d))
    v = shapes.reshape(v, (batch, groups, t, out))
    given = []
    if mask is not None:
        try:
            given.append(shapes.broadcast_to(mask, (batch, heads, s, t)))
        except ShapeError as error:
            raise ShapeError(
                f"attention: the mask is {type_text(tensor_type(mask))}, and has to broadcast to the scores, {shape_text((batch, heads, s, t))}",
                remedy="They are [batch, heads, queries, keys]: a mask of keys for each of the batch is mask[:, None, None, :].",
            ) from error
    return emit(AttentionOp(q, k, v, given, scale, causal))[0]
