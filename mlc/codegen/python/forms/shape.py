"""Constants, weights and ops that only move elements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlc.codegen.python.names import literal
from mlc.codegen.python.numpy_expression import ATOM, Expr, is_builtin, level_of, missing, number
from mlc.codegen.python.registry import form
from mlc.codegen.python.writer import Writer, extent_level, whole
from mlc.ir.dims import Extent, bounds_of
from mlc.ir.dtypes import TABLE
from mlc.ir.graph.constants import ConstantOp, DimensionOp, IotaOp, WeightOp
from mlc.ir.graph.parts import ConcatenateOp, PadOp, SliceOp
from mlc.ir.graph.shape import BroadcastOp, ReshapeOp, TransposeOp
from mlc.ir.types import dtype_of, extent, shape_of


@form(ConstantOp, nested=True)
def _constant(w: Writer, op: ConstantOp) -> Expr:
    dtype, shape = dtype_of(op.result), shape_of(op.result)
    words = _words(op.elements.data, dtype)
    if not shape:
        return Expr(words[0], level=level_of(words[0]), free=True, number=True)
    text = f"np.array([{', '.join(words)}], {w.dtype(dtype)})"
    return whole(op.result, text if len(shape) == 1 else f"{text}.reshape({w.sizes(shape)})")


def _words(elements: str, dtype: str) -> list[str]:
    """The elements of a constant as Python literals: those of the text, but for infinities, NaN and bools."""
    words = [word.strip() for word in elements.split(",")] if elements else []
    if dtype == "bool":
        return [str(word == "true") for word in words]
    return (
        [number(float(word)) if not word[-1].isdigit() else word for word in words]
        if TABLE[dtype].kind == "float"
        else words
    )


@form(WeightOp, nested=True)
def _weight(w: Writer, op: WeightOp) -> Expr:
    w.needs["weights"] = None
    w.dtype(dtype_of(op.result))
    return Expr(f"weights[{literal(op.weight_key)}]", (True,) * len(shape_of(op.result)), free=True)


@form(DimensionOp, nested=True)
def _dimension(w: Writer, op: DimensionOp) -> Expr:
    value = extent(op.extent.data)
    return Expr(w.size(value), level=extent_level(value), free=True, number=True)


@form(IotaOp, nested=True)
def _iota(w: Writer, op: IotaOp) -> Expr:
    shape, axis, dtype = shape_of(op.result), op.axis.value.data, dtype_of(op.result)
    size, name = w.size(shape[axis]), w.dtype(dtype)
    line = f"np.arange({size}, dtype={name})" if TABLE[dtype].bits >= 32 else f"np.arange({size}).astype({name})"
    behind = len(shape) - 1 - axis
    return Expr(_indexed(line, [":", *["None"] * behind]), tuple(a == axis for a in range(len(shape))))


def _indexed(text: str, index: Sequence[str]) -> str:
    """With axes of extent 1 where the index says None; nothing where it says nothing."""
    return text if "None" not in index else f"{text}[{', '.join(index)}]"


@form(BroadcastOp, nested=True)
def _broadcast(w: Writer, op: BroadcastOp) -> Expr:
    e, axes, shape = w.operand(op.x), op.axes.get_values(), shape_of(op.result)
    there = dict(zip(axes, e.axes, strict=True))
    result = tuple(there.get(a, False) for a in range(len(shape)))
    first = missing(e.axes)
    if e.number or not e.rank:
        return Expr(e.text, result, e.level, e.free, e.number)
    index = [":" if a in there else "None" for a in range(axes[first], len(shape))]
    text = _indexed(e.atom, index)
    return Expr(text, result, e.level if text == e.text else ATOM, e.free)


@form(ReshapeOp, nested=True)
def _reshape(w: Writer, op: ReshapeOp) -> Expr:
    shape, source = shape_of(op.result), shape_of(op.x)
    text = w.array(op.x).atom
    if [e for e in shape if e != 1] == list(source) and source:
        return whole(op.result, _indexed(text, _with_ones(shape)))
    return whole(op.result, f"{text}.reshape({w.sizes(shape) or '()'})")


def _with_ones(shape: Sequence[Extent]) -> list[str]:
    return ["None" if e == 1 else ":" for e in shape]


@form(TransposeOp, nested=True)
def _transpose(w: Writer, op: TransposeOp) -> Expr:
    permutation = op.permutation.get_values()
    text = w.array(op.x).atom
    return whole(
        op.result,
        f"{text}.T" if list(permutation) == [1, 0] else f"{text}.transpose({', '.join(map(str, permutation))})",
    )


@form(SliceOp, nested=True)
def _slice(w: Writer, op: SliceOp) -> Expr:
    source, result, steps = shape_of(op.x), shape_of(op.result), op.steps.get_values()
    text, index = w.array(op.x).atom, []
    for axis, (start, size, step, whole_) in enumerate(zip(op.starts.extents(), result, steps, source, strict=True)):
        part = _part(w, start, size, step, whole_)
        if part is None:  # backwards to an end that only a run knows
            places = f"{w.size(start)} - {-step} * np.arange({w.size(size)})"
            text, part = f"{text}.take({places}, {axis})", ":"
        index.append(part)
    while index and index[-1] == ":":
        index.pop()
    return whole(op.result, f"{text}[{', '.join(index)}]" if index else text)


def _part(w: Writer, start: Extent, size: Extent, step: int, whole_: Extent) -> str | None:
    """start:stop:step of an axis."""
    if size == 0:
        return ":0"
    stop = start + size * step
    if step < 0:
        low, high = bounds_of(stop, {})
        if high is not None and high < 0 and (start == whole_ - 1 or isinstance(size, int)):
            return f"{'' if start == whole_ - 1 else w.size(start)}::{step}"
        return f"{w.size(start)}:{w.size(stop)}:{step}" if low is not None and low >= 0 else None
    first = "" if start == 0 else w.size(start)
    ends = stop == whole_ or (isinstance(stop, int) and isinstance(whole_, int) and stop > whole_)
    last = "" if ends else w.size(stop)
    return f"{first}:{last}" + (f":{step}" if step != 1 else "")


@form(PadOp)
def _pad(w: Writer, op: PadOp) -> Expr:
    low, high, between = op.low.extents(), op.high.extents(), op.between
    value = w.operand(op.value) if is_builtin(dtype_of(op.x)) else w.typed(op.value)
    x = w.array(op.x).text
    if not low:
        return whole(op.result, x)
    if any(between) or may_crop(zip(low, high, strict=True)):
        more = {"between": f"({', '.join(map(str, between))},)" if any(between) else None}
        text = w.call("pad", x, w.shape(low), w.shape(high), value.text, **more)
    else:
        edges = ", ".join(f"({w.size(lo)}, {w.size(hi)})" for lo, hi in zip(low, high, strict=True))
        filled = "" if value.text in ("0", "0.0") else f", constant_values={value.text}"
        text = f"np.pad({x}, [{edges}]{filled})"
    return whole(op.result, text)


def may_crop(padding: Iterable[tuple[Extent, Extent]]) -> bool:
    """Is an edge negative, or a size that may be?"""
    lows = [bounds_of(e, {})[0] for pair in padding for e in pair]
    return any(low is None or low < 0 for low in lows)


@form(ConcatenateOp)
def _concatenate(w: Writer, op: ConcatenateOp) -> Expr:
    parts = ", ".join(w.array(x).text for x in op.xs)
    axis = op.axis.value.data
    return whole(op.result, f"np.concatenate([{parts}]" + (f", axis={axis})" if axis else ")"))
