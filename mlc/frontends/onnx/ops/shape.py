"""Operators that move elements: Reshape, Transpose, Slice, Concat, Split, Expand, Tile, Pad, and their kin."""

from __future__ import annotations

from collections.abc import Sequence

from mlc.frontends.onnx.node import Node, Question
from mlc.frontends.onnx.shapes import is_equal
from mlc.frontends.onnx.table import Value, handles
from mlc.frontends.onnx.windows import crop_or_pad, taken_away
from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.types import dtype_of, rank_of, shape_of, shape_text

_TO_THE_END = 1 << 31  # exporters write the largest int32 or int64 for "to the end"


@handles("Reshape", since=(1,))
def reshape_to_attribute(node: Node, x: Value) -> Value:
    return _reshape(node, x, node.ints("shape"), keep_zero=False)


@handles("Reshape", since=(5, 13, 14, 19, 21, 23, 24, 25))
def reshape(node: Node, x: Value, shape: Value) -> Value:
    return _reshape(node, x, node.extents(1), keep_zero=bool(node.int("allowzero", 0)))


def _reshape(node: Node, x: Value, wanted: Sequence[Extent], keep_zero: bool) -> Value:
    """0 keeps the extent of x there (unless allowzero), one -1 takes what is left."""
    source = shape_of(x)
    shape: list[Extent] = []
    for axis, extent in enumerate(wanted):
        if isinstance(extent, int) and extent == 0 and not keep_zero:
            if axis >= len(source):
                raise node.error(f"0 at position {axis} copies an axis that {shape_text(source)} does not have")
            extent = source[axis]
        shape.append(extent)
    open_ = [axis for axis, extent in enumerate(shape) if isinstance(extent, int) and extent == -1]
    if len(open_) > 1 or any(isinstance(e, int) and e < -1 for e in shape):
        raise node.error(f"cannot reshape to {shape_text(wanted)}")
    if open_:
        shape[open_[0]] = _left_over(node, source, shape, open_[0])
    return g.reshape(x, shape)


def _left_over(node: Node, source: Sequence[Extent], shape: Sequence[Extent], axis: int) -> Extent:
    total, others = dims.prod(source), dims.prod(e for a, e in enumerate(shape) if a != axis)
    if isinstance(others, int) and others == 0:
        # Reshaping nothing: any extent fits, and 0 copied from the same place means that place's neighbour is kept
        return source[axis] if axis < len(source) else 0
    whole = dims.exact_quotient(total, others)
    if whole is not None:
        return whole
    if isinstance(total, int) and isinstance(others, int):
        raise node.error(f"{shape_text(source)} has {total} elements, not a multiple of {others}")
    return dims.floordiv(total, others)


@handles("Flatten", since=(1, 9, 11, 13, 21, 23, 24, 25))
def flatten(node: Node, x: Value) -> Value:
    shape, axis = shape_of(x), node.int("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise node.error(f"axis {axis} is not one of the {len(shape)} axes")
    axis += len(shape) if axis < 0 else 0
    return g.reshape(x, [dims.prod(shape[:axis]), dims.prod(shape[axis:])])


@handles("Transpose", since=(1, 13, 21, 23, 24, 25))
def transpose(node: Node, x: Value) -> Value:
    return g.transpose(x, node.ints("perm", list(range(rank_of(x)))[::-1]))


def _axes(node: Node, i: int) -> list[int] | None:
    """Axes from input i, or from the attribute of older versions; None where neither is given."""
    if node.has("axes"):
        return node.ints("axes")
    return [int(a) for a in node.constants(i, "axes").ravel()] if node.given(i) else None


@handles("Squeeze", since=(1, 11, 13, 21, 23, 24, 25))
def squeeze(node: Node, x: Value, axes: Value | None = None) -> Value:
    """Without axes every axis of extent 1 goes. What the model declares of the result says whether symbolic extents do; else that is asked
    of the caller, and where nobody can be asked they must not be 1."""
    places = _axes(node, 1)
    if places is None:
        places = _single_axes(node, x)
    return g.squeeze(x, [node.axis(a, rank_of(x)) for a in places])


def _single_axes(node: Node, x: Value) -> list[int]:
    shape = shape_of(x)
    places = [a for a, e in enumerate(shape) if isinstance(e, int) and e == 1]
    open_ = {a: e for a, e in enumerate(shape) if isinstance(e, Dim) and node.simplify(dims.dmin(e, 2)) != 2}
    if open_ and node.scope.declared_rank(node.outputs[0]) == rank_of(x) - len(places) - len(open_):
        for axis, e in open_.items():
            g.require_equal(e, 1, f"{node.title}: axis {axis}, which the declared result does not have")
        return [*places, *open_]
    questions = {axis: Question(is_equal(e, 1), f"{e} == 1") for axis, e in open_.items()}
    open_questions = [q for q in questions.values() if node.scope.answer(q) is None]
    if open_questions and node.scope.asks:
        listed = ", ".join(str(e) for e in open_.values())
        raise node.needs_sizes(f"whether {listed} is 1 decides the rank of the result", open_questions)
    for axis, e in open_.items():
        if node.scope.answer(questions[axis]):
            g.require_equal(e, 1, f"{node.title}: axis {axis}, which goes")
            places.append(axis)
            continue
        # 0, or 2 and more: what is left of the smaller of e and 2 after division by 2
        few = dims.dmin(e, 2)
        g.require_equal(
            few,
            few // 2 * 2,
            f"{node.title}: axis {axis} must not be 1, for it would go; fix its size, or name the axes",
        )
    return sorted(places)


@handles("Unsqueeze", since=(1, 11, 13, 21, 23, 24, 25))
def unsqueeze(node: Node, x: Value, axes: Value | None = None) -> Value:
    places = _axes(node, 1)
    if places is None:
        raise node.invalid("axes are missing")
    return g.unsqueeze(x, places)


@handles("Concat", since=(4, 11, 13))
def concat(node: Node, *xs: Value) -> Value:
    rank = rank_of(xs[0])
    axis = node.axis(node.int("axis"), rank)
    for x in xs[1:]:
        if rank_of(x) != rank:
            raise node.error(f"operands have {rank} and {rank_of(x)} axes")
    return g.concatenate(xs, axis)


@handles("Split", since=(1, 2, 11, 13, 18))
def split(node: Node, x: Value, sizes: Value | None = None) -> list[Value]:
    """Sizes from the attribute (to opset 12) or the input, else equal pieces; from opset 18 the last may be smaller."""
    if not rank_of(x):
        raise node.error("a scalar cannot be split")
    axis = node.axis(node.int("axis", 0), rank_of(x))
    if node.has("split"):
        pieces: list[Extent] = list(node.ints("split"))
    elif node.given(1):
        pieces = node.extents(1, "split")
    else:
        count = node.int("num_outputs", len(node.outputs))
        if count != len(node.outputs):
            raise node.invalid(f"num_outputs is {count}, there are {len(node.outputs)} outputs")
        pieces = _equal_pieces(node, shape_of(x)[axis], count)
    if len(pieces) != len(node.outputs):
        raise node.invalid(f"{len(pieces)} sizes for {len(node.outputs)} outputs")
    return g.split(x, pieces, axis)


def _equal_pieces(node: Node, whole: Extent, count: int) -> list[Extent]:
    each = dims.ceildiv(whole, count)
    if node.version < 18:
        if isinstance(whole, int) and whole % count:
            raise node.error(f"{whole} elements do not split into {count} equal pieces")
        return [dims.floordiv(whole, count)] * count  # g.split checks that nothing is left over
    if isinstance(each, int) and isinstance(whole, int):
        return [max(0, min(each, whole - i * each)) for i in range(count)]
    g.require_at_least(
        whole - each * (count - 1), 0, f"{count} pieces of {each} elements, the last of which may be smaller"
    )
    return [each] * (count - 1) + [whole - each * (count - 1)]


@handles("Slice", since=(1,))
def slice_by_attributes(node: Node, x: Value) -> Value:
    starts, ends = node.ints("starts"), node.ints("ends")
    return _slice(node, x, starts, ends, node.ints("axes", None), None)


@handles("Slice", since=(10, 11, 13))
def slice_(node: Node, x: Value, starts: Value, ends: Value, axes: Value | None, steps: Value | None) -> Value:
    return _slice(
        node,
        x,
        node.extents(1, "starts"),
        node.extents(2, "ends"),
        [int(a) for a in node.constants(3, "axes").ravel()] if node.given(3) else None,
        [int(s) for s in node.constants(4, "steps").ravel()] if node.given(4) else None,
    )


def _slice(
    node: Node,
    x: Value,
    starts: Sequence[Extent],
    ends: Sequence[Extent],
    axes: Sequence[int] | None,
    steps: Sequence[int] | None,
) -> Value:
    """Positions count from the end where negative, and are clamped to the axis, as in Python."""
    shape = shape_of(x)
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise node.invalid(f"{len(starts)} starts, {len(ends)} ends, {len(axes)} axes, {len(steps)} steps")
    first: list[Extent] = [0] * len(shape)
    sizes, strides = list(shape), [1] * len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = node.axis(axis, len(shape))
        if step == 0:
            raise node.error(f"the step along axis {axis} is 0")
        whole = shape[axis]
        low, high = (0, whole) if step > 0 else (-1, whole - 1)
        begin = _clamped(node, start, whole, low if step > 0 else 0, high)
        stop = _clamped(node, end, whole, low, high)
        count = dims.ceildiv(stop - begin, step)
        sizes[axis] = node.simplify(dims.dmax(count, 0))
        first[axis], strides[axis] = begin, step
    if any(isinstance(e, int) and e == 0 for e in sizes):
        first = [0 if isinstance(s, int) and s == 0 else f for f, s in zip(first, sizes, strict=True)]
    return g.slice(x, first, sizes, strides, inside=True)


def _clamped(node: Node, position: Extent, whole: Extent, low: Extent, high: Extent) -> Extent:
    if isinstance(position, int):
        if position >= _TO_THE_END:
            return high
        if position <= -_TO_THE_END:
            return low
        if position < 0:
            position = whole + position
    elif not node.at_least(position, 0):
        if not node.at_least(-position, 0):
            raise node.unsupported(f"whether the position {position} counts from the end is not known")
        position = whole + position
    return node.simplify(dims.dmin(dims.dmax(position, low), high))


@handles("Expand", since=(8, 13))
def expand(node: Node, x: Value, shape: Value) -> Value:
    """Both ways: an axis of extent 1 in either takes the other's extent."""
    wanted = node.extents(1)
    for extent in wanted:
        if isinstance(extent, int) and extent < 0:
            raise node.error(f"cannot expand to {shape_text(wanted)}")
    return g.broadcast_to(x, g.common_shape([shape_of(x), tuple(wanted)], f"expand {shape_text(shape_of(x))}"))


@handles("Tile", since=(6, 13))
def tile(node: Node, x: Value, repeats: Value) -> Value:
    return g.tile(x, node.extents(1, "repeats"))


@handles("Pad", since=(1, 2))
def pad_by_attributes(node: Node, x: Value) -> Value:
    pads = node.ints("pads", None) or node.ints("paddings")
    return _pad(node, x, pads, list(range(rank_of(x))), g.scalar(node.float("value", 0.0), dtype_of(x)))


@handles("Pad", since=(11, 13, 18, 19, 21, 23, 24, 25))
def pad(node: Node, x: Value, pads: Value, value: Value | None, axes: Value | None = None) -> Value:
    filler = g.scalar(0, dtype_of(x)) if value is None else g.reshape(value, ())
    places = [node.axis(a, rank_of(x)) for a in _axes(node, 3) or range(rank_of(x))]
    return _pad(node, x, node.extents(1, "pads"), places, filler)


def _pad(node: Node, x: Value, pads: Sequence[Extent], axes: Sequence[int], filler: Value) -> Value:
    """Negative amounts crop."""
    rank, mode = rank_of(x), node.string("mode", "constant")
    if len(pads) != 2 * len(axes):
        raise node.invalid(f"{len(pads)} amounts for {len(axes)} axes")
    low: list[Extent] = [0] * rank
    high: list[Extent] = [0] * rank
    for i, axis in enumerate(axes):
        low[axis], high[axis] = pads[i], pads[len(axes) + i]
    low, high = ([node.simplify(e) for e in ends] for ends in (low, high))
    if mode == "constant":
        return crop_or_pad(x, list(zip(low, high, strict=True)), filler)
    if mode not in ("edge", "reflect", "wrap"):
        raise node.invalid(f"mode is '{mode}', expected constant, edge, reflect or wrap")
    starts, ends = ([node.simplify(taken_away(e)) for e in amounts] for amounts in (low, high))
    x = g.slice(x, starts, [n - a - b for n, a, b in zip(shape_of(x), starts, ends, strict=True)])
    low, high = (
        [e + cut for e, cut in zip(amounts, cuts, strict=True)] for amounts, cuts in ((low, starts), (high, ends))
    )
    return g.pad_mode(x, low, high, mode)


@handles("DepthToSpace", since=(1, 11, 13, 28))
def depth_to_space(node: Node, x: Value) -> Value:
    n, c, *space = _image(node, x)
    b, blocks = node.int("blocksize"), len(space)
    depth = dims.floordiv(c, b**blocks)
    inner = list(range(blocks))
    if _by_depth(node):
        x = g.reshape(x, [n, *[b] * blocks, depth, *space])
        order = [0, 1 + blocks]
        order += [axis for i in inner for axis in (2 + blocks + i, 1 + i)]
    else:
        x = g.reshape(x, [n, depth, *[b] * blocks, *space])
        order = [0, 1]
        order += [axis for i in inner for axis in (2 + blocks + i, 2 + i)]
    return g.reshape(g.transpose(x, order), [n, depth, *[e * b for e in space]])


@handles("SpaceToDepth", since=(1, 13, 28))
def space_to_depth(node: Node, x: Value) -> Value:
    n, c, *space = _image(node, x)
    b, blocks = node.int("blocksize"), len(space)
    coarse = [dims.floordiv(e, b) for e in space]
    x = g.reshape(x, [n, c, *[e for size in coarse for e in (size, b)]])
    fine = [3 + 2 * i for i in range(blocks)]
    order = [0, *fine, 1] if _by_depth(node) else [0, 1, *fine]
    x = g.transpose(x, [*order, *[2 + 2 * i for i in range(blocks)]])
    return g.reshape(x, [n, c * b**blocks, *coarse])


def _image(node: Node, x: Value) -> tuple[Extent, ...]:
    if rank_of(x) < 3:
        raise node.error(f"the input has {rank_of(x)} axes, expected batch, channels and space")
    if node.int("blocksize") < 1:
        raise node.error(f"blocksize is {node.int('blocksize')}")
    return shape_of(x)


def _by_depth(node: Node) -> bool:
    mode = node.string("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise node.invalid(f"mode is '{mode}', expected DCR or CRD")
    return mode == "DCR"


@handles("CenterCropPad", since=(18,))
def center_crop_pad(node: Node, x: Value, shape: Value) -> Value:
    """Each axis is cropped or padded with zeros on both sides; of an odd amount the end gets the larger half."""
    targets = node.extents(1)
    axes = node.ints("axes", None) or range(rank_of(x))
    if len(axes) != len(targets):
        raise node.error(f"shape has {len(targets)} entries for {len(axes)} axes")
    for axis, target in zip(axes, targets, strict=True):
        axis = node.axis(axis, rank_of(x))
        missing = target - shape_of(x)[axis]
        crop = node.simplify(taken_away(missing))
        low = dims.floordiv(missing + crop, 2) - dims.floordiv(crop, 2)
        x = crop_or_pad(x, [(low, missing - low) if a == axis else (0, 0) for a in range(rank_of(x))], 0)
    return x
