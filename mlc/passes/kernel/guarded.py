"""Structured ops whose bodies compute addresses: grouped, padded and transposed convolutions, and the position of an extreme.

y[n, c, p] += inside ? x[n, c, p * stride + t - low] * w : 0        the position is tested, and clamped where it is outside
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from xdsl.dialects import arith, memref
from xdsl.dialects.builtin import i64
from xdsl.ir import SSAValue

from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph import scalar
from mlc.ir.graph.linear import ConvolutionOp
from mlc.ir.graph.reduce import ArgReduceOp
from mlc.ir.kernel.access import Affine
from mlc.ir.kernel.kernel import Body
from mlc.ir.types import is_float, shape_of
from mlc.passes.kernel.draft import Context, Memory, Plan, Step
from mlc.passes.kernel.scalar_expression import index, place, widen

Materialised = Mapping[SSAValue, Memory]


def guarded_reads(
    op: ConvolutionOp,
    memory: Materialised,
    axes: Sequence[str],
    folded: Mapping[str, Extent],
    acc: Memory,
    plan: Plan,
) -> Step:
    """Fold windows that may lie outside x, between its dilated elements or in one group's channels: what is not there counts as 0."""
    x = memory[op.x]
    x.pinned = True
    loops = {**dict(zip(axes, shape_of(op.result), strict=True)), **folded}
    at = tuple(Affine({n: 1}) for n in axes)
    asked = (*x.shape, *(lo for lo, _ in op.padding), *_channels_per_group(op))
    plan.extents += [e for e in asked if not isinstance(e, int)]
    taps = dict(zip([c for c in op.layout[1] if c != "o"], folded, strict=True)) | {"o": axes[op.layout[2].index("c")]}
    weight = (memory[op.weight], tuple(Affine({taps[c]: 1}) for c in op.layout[1]))
    reads = conv_reads(op, axes, list(folded))

    def body(context: Context, b: Body, inputs: Sequence[SSAValue], out: SSAValue) -> SSAValue:
        position, inside = reads(context, b)
        value: SSAValue = b.insert(memref.LoadOp.get(context.values[x], position)).results[0]
        value = widen(b, scalar.select(b, inside, value, scalar.constant(b, x.dtype, 0)), acc.dtype)
        times, plus = (arith.MulfOp, arith.AddfOp) if is_float(acc.dtype) else (arith.MuliOp, arith.AddiOp)
        product = b.insert(times(value, widen(b, inputs[0], acc.dtype))).results[0]
        return b.insert(plus(out, product)).results[0]

    return Step(loops, [weight], (acc, at), body, set(folded), set(loops))


Reads = Callable[[Context, Body], tuple[list[SSAValue], SSAValue]]


def _channels_per_group(op: ConvolutionOp) -> tuple[Extent, Extent]:
    """Of the result, and of x."""
    weight = dict(zip(op.layout[1], shape_of(op.weight), strict=True))
    return dims.floordiv(weight["o"], op.groups.value.data), weight["i"]


def conv_reads(op: ConvolutionOp, axes: Sequence[str], folded: Sequence[str]) -> Reads:
    """Where one tap of a convolution reads x, and whether that is inside."""
    x_layout, w_layout, out_layout = op.layout
    out = dict(zip(out_layout, axes, strict=True))
    taps = dict(zip([c for c in w_layout if c != "o"], folded, strict=True))
    extents = dict(zip(x_layout, shape_of(op.x), strict=True))

    def reads(context: Context, b: Body) -> tuple[list[SSAValue], SSAValue]:
        where: dict[str, SSAValue] = {"n": place(context, b, Affine({out["n"]: 1}))}
        inner = place(context, b, Affine({taps["i"]: 1}))
        if op.groups.value.data > 1:
            per_group, inputs = map(context.extent, _channels_per_group(op))
            group = b.insert(arith.DivUIOp(place(context, b, Affine({out["c"]: 1})), per_group)).result
            inner = b.insert(arith.AddiOp(b.insert(arith.MuliOp(group, inputs)).result, inner)).result
        where["c"] = inner
        inside: SSAValue | None = None
        for d, c in enumerate(sorted(c for c in x_layout if c.isdigit())):
            far = Affine({out[c]: op.strides.get_values()[d]}) + Affine({taps[c]: op.dilations.get_values()[d]})
            spot = _minus(context, b, place(context, b, far), op.padding[d][0])
            where[c], fine = _tested(context, b, spot, extents[c], op.x_dilation.get_values()[d])
            inside = fine if inside is None else b.insert(arith.AndIOp(inside, fine)).result
        return [where[c] for c in x_layout], _always(b) if inside is None else inside

    return reads


def _always(b: Body) -> SSAValue:
    return scalar.constant(b, "bool", True)


def _minus(context: Context, b: Body, spot: SSAValue, low: Extent) -> SSAValue:
    return spot if low == 0 else b.insert(arith.SubiOp(spot, context.extent(low))).result


def _tested(context: Context, b: Body, spot: SSAValue, size: Extent, dilation: int) -> tuple[SSAValue, SSAValue]:
    """(a position that exists, is it the one asked for): outside, and between dilated elements, stands 0."""
    zero = context.kernel.const(0)
    fine: SSAValue = b.insert(arith.CmpiOp(spot, zero, "sge")).result
    if dilation > 1:
        by = context.kernel.const(dilation)
        hit = b.insert(arith.CmpiOp(b.insert(arith.RemSIOp(spot, by)).result, zero, "eq")).result
        fine = b.insert(arith.AndIOp(fine, hit)).result
        spot = b.insert(arith.DivSIOp(spot, by)).result
    below = b.insert(arith.CmpiOp(spot, context.extent(size), "slt")).result
    fine = b.insert(arith.AndIOp(fine, below)).result
    return b.insert(arith.SelectOp(fine, spot, zero)).result, fine


def _better(b: Body, dtype: str, kind: str, candidate: SSAValue, best: SSAValue, ties: bool) -> SSAValue:
    """Does the candidate replace the best so far? A NaN beats every number, and the first NaN stays."""
    greater = ("oge", "sge", "uge") if ties else ("ogt", "sgt", "ugt")
    less = ("ole", "sle", "ule") if ties else ("olt", "slt", "ult")
    found = scalar.compare(*(greater if kind == "max" else less))(b, dtype, candidate, best)
    if not is_float(dtype):
        return found
    nan, had = scalar.is_nan(b, dtype, candidate), scalar.is_nan(b, dtype, best)
    fresh = nan if ties else b.insert(arith.AndIOp(nan, scalar.invert(b, "bool", had))).result
    return b.insert(arith.OrIOp(found, fresh)).result


def arg_reduce(
    op: ArgReduceOp, memory: Materialised, axes: Sequence[str], folded: Mapping[str, Extent], acc: Memory
) -> Step:
    """acc[d] = the position of the best element so far."""
    x, axis = memory[op.x], op.axis.value.data
    x.pinned = True
    loops = {**dict(zip(axes, shape_of(op.result), strict=True)), **folded}
    (run,) = folded

    def body(context: Context, b: Body, inputs: Sequence[SSAValue], out: SSAValue) -> SSAValue:
        kept = [place(context, b, Affine({n: 1})) for n in axes]
        before = b.insert(arith.IndexCastOp(out, index)).result
        load = lambda at: b.insert(memref.LoadOp.get(context.values[x], [*kept[:axis], at, *kept[axis:]])).results[0]
        better = _better(b, x.dtype, op.kind.data, inputs[0], load(before), bool(op.last.value.data))
        now = b.insert(arith.IndexCastOp(place(context, b, Affine({run: 1})), i64)).result
        return scalar.select(b, better, now, out)

    at = tuple(Affine({n: 1}) for n in axes)
    along = (*at[:axis], Affine({run: 1}), *at[axis:])
    return Step(loops, [(x, along)], (acc, at), body, set(folded), set(loops))
