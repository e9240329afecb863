"""What each op does with operands whose axes are stored in another order.

`Stored(value, order)` stands for the tensor x with value == transpose(x, order): axis j of what is stored is axis order[j] of x.
A rule builds the op on what is stored and says in which order its results are stored; None where the op needs the axes as they were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from xdsl.ir import Operation, SSAValue

from mlc.ir import builder as g
from mlc.ir.dims import Extent
from mlc.ir.graph.base import emit
from mlc.ir.graph.composites import LogSoftmaxOp, SoftmaxOp
from mlc.ir.graph.constants import ConstantOp, IotaOp, WeightOp
from mlc.ir.graph.convolution import ConvolutionOp
from mlc.ir.graph.elementwise import PointwiseOp
from mlc.ir.graph.index import GatherOp
from mlc.ir.graph.linear import ContractOp, labels
from mlc.ir.graph.parts import ConcatenateOp, PadOp, SliceOp
from mlc.ir.graph.pick import WindowPlaceOp, WindowPutOp
from mlc.ir.graph.reduce import ArgReduceOp, CumulativeOp, ReduceOp, TopKOp
from mlc.ir.graph.shape import BroadcastOp, ReshapeOp, TransposeOp
from mlc.ir.graph.window import ReduceWindowOp, WindowsOp
from mlc.ir.types import dtype_of, rank_of, shape_of
from mlc.passes.graph.facts import axis_groups
from mlc.passes.graph.simplify.transpose import permuted_broadcast

Order = tuple[int, ...]

_FEW = 64  # ops that are written in another order together, as many as a kernel has


class Stored(NamedTuple):
    """value == transpose(x, order)"""

    value: SSAValue
    order: Order


def identity(value: SSAValue) -> Order:
    return tuple(range(rank_of(value)))


def inverse(order: Sequence[int]) -> Order:
    return tuple(order.index(a) for a in range(len(order)))


def in_order(x: Stored, order: Order) -> SSAValue:
    """x stored in this order: for nothing where whatever makes it can write any order, else by a transpose."""
    if x.order == order:
        return x.value
    permutation = tuple(x.order.index(a) for a in order)
    return reordered(x.value, permutation) if takes_any_order(x.value) else g.transpose(x.value, permutation)


def takes_any_order(value: SSAValue) -> bool:
    """Any order of axes costs nothing at run time: known at compile time, a broadcast, a contraction that nobody else reads, or made of
    such by few element-wise ops."""
    waiting = [value]
    for _ in range(_FEW):
        if not waiting:
            return True
        value = waiting.pop()
        op = value.owner
        if isinstance(op, ContractOp | PointwiseOp):
            if not value.has_one_use() or (isinstance(op, ContractOp) and op.of_bytes):
                return False
            waiting += op.operands if isinstance(op, PointwiseOp) else ()
        elif not isinstance(op, BroadcastOp | WeightOp | ConstantOp | IotaOp):
            return False
    return not waiting


def reordered(value: SSAValue, permutation: Order) -> SSAValue:
    """transpose(value, permutation), made in that order; the value takes any order."""
    op = value.owner
    if isinstance(op, BroadcastOp):
        return permuted_broadcast(op, list(permutation))
    if isinstance(op, IotaOp):
        shape = permuted(shape_of(value), permutation)
        return g.iota(shape, permutation.index(op.axis.value.data), dtype_of(value))
    if isinstance(op, ContractOp):
        lhs, rhs, out = labels(op.spec.data)
        return op.on(op.lhs, op.rhs, f"{lhs},{rhs}->{''.join(permuted(out, permutation))}")
    if isinstance(op, PointwiseOp):
        return op.on(*(reordered(operand, permutation) for operand in op.operands))
    return g.transpose(value, permutation)


def best_order(operands: Sequence[Stored]) -> Order:
    """The order that leaves the fewest operands to transpose; among equals the axes as they are."""
    fixed = [x for x in operands if not takes_any_order(x.value)]
    computed = [x for x in operands if not isinstance(x.value.owner, BroadcastOp | WeightOp | ConstantOp | IotaOp)]
    votes = Counter(x.order for x in fixed or computed or operands)
    plain = tuple(range(len(operands[0].order)))
    return max(votes, key=lambda order: (votes[order], order == plain))


def permuted(values: Sequence[Any], order: Order) -> list[Any]:
    return [values[a] for a in order]


Results = Sequence[Stored] | None


def _transpose(op: TransposeOp, operands: Sequence[Stored]) -> Results:
    (x,) = operands
    back = inverse(tuple(op.permutation.get_values()))
    return [Stored(x.value, tuple(back[a] for a in x.order))]


def _pointwise(op: PointwiseOp, operands: Sequence[Stored]) -> Results:
    order = best_order(operands)
    if order == identity(op.results[0]):
        return None
    return [Stored(op.on(*(in_order(x, order) for x in operands)), order)]


def _contract(op: ContractOp, operands: Sequence[Stored]) -> Results:
    lhs, rhs, out = labels(op.spec.data)
    if op.of_bytes and any(x.order[-1] != len(x.order) - 1 for x in operands if x.order):
        return None  # neighbouring bytes are multiplied together
    names = ["".join(permuted(text, x.order)) for text, x in zip((lhs, rhs), operands, strict=True)]
    result = op.on(operands[0].value, operands[1].value, f"{names[0]},{names[1]}->{out}")
    return [Stored(result, identity(result))]


def channels_innermost(names: Sequence[str]) -> bool:
    """Of x, weight and result of a convolution: neighbours in weight and result are channels of the result, those in x are no pixels."""
    x, weight, result = names
    return weight[-1] == result[-1] and not weight[-1].isdigit() and not x[-1].isdigit()


def _convolution(op: ConvolutionOp, operands: Sequence[Stored]) -> Results:
    names = ["".join(permuted(text, x.order)) for text, x in zip(op.labels, operands, strict=False)]
    if not channels_innermost([*names, op.labels[2]]):
        return None
    result = op.on(operands[0].value, operands[1].value, f"{names[0]},{names[1]}->{op.labels[2]}")
    return [Stored(result, identity(result))]


def _reshape(op: ReshapeOp, operands: Sequence[Stored]) -> Results:
    """Groups of axes that lie together in storage, in order, are reshaped there."""
    (x,) = operands
    source, target = shape_of(op.x), shape_of(op.result)
    groups = axis_groups(source, target)
    if groups is None:
        return None
    place = inverse(x.order)
    slots: list[tuple[float, tuple[int, ...]]] = []
    last = -1.0
    for group in groups:
        if not group.source:  # a new unit axis goes behind the group before it
            last += 1 / (len(groups) + 1)
            slots.append((last, group.target))
            continue
        at = [place[a] for a in group.source if source[a] != 1] or [place[group.source[0]]]
        if any(b <= a for a, b in pairwise(at)):
            return None
        between = [a for a in range(at[0], at[-1] + 1) if a not in at and source[x.order[a]] != 1]
        if between:
            return None
        last = float(at[0])
        slots.append((last, group.target))
    order = tuple(a for _, axes in sorted(slots, key=lambda s: s[0]) for a in axes)
    return [Stored(g.reshape(x.value, permuted(target, order)), order)]


def _reduce(op: ReduceOp, operands: Sequence[Stored]) -> Results:
    (x,) = operands
    axes = op.axes.get_values()
    return [Stored(g.reduce(x.value, [x.order.index(a) for a in axes], op.kind.data), _without(x.order, axes))]


def _without(order: Order, axes: Sequence[int]) -> Order:
    """The order of the axes that are left, numbered anew."""
    left = [a for a in range(len(order)) if a not in axes]
    return tuple(left.index(a) for a in order if a not in axes)


def _arg_reduce(op: ArgReduceOp, operands: Sequence[Stored]) -> Results:
    (x,) = operands
    axis = op.axis.value.data
    result = g.arg_max(x.value, x.order.index(axis), False, bool(op.last.value.data), op.kind.data)
    return [Stored(result, _without(x.order, [axis]))]


def _cumulative(op: CumulativeOp, operands: Sequence[Stored]) -> Results:
    (x,) = operands
    axis = x.order.index(op.axis.value.data)
    result = g.cumulative(x.value, axis, op.kind.data, bool(op.exclusive.value.data), bool(op.reverse.value.data))
    return [Stored(result, x.order)]


def _top_k(op: TopKOp, operands: Sequence[Stored]) -> Results:
    (x,) = operands
    axis = x.order.index(op.axis.value.data)
    values, indices = g.top_k(x.value, op.k.extents()[0], axis, bool(op.largest.value.data))
    return [Stored(values, x.order), Stored(indices, x.order)]


def _softmax(op: SoftmaxOp | LogSoftmaxOp, operands: Sequence[Stored]) -> Results:
    (x,) = operands
    return [Stored(emit(type(op)(x.value, x.order.index(op.axis.value.data)))[0], x.order)]


def _slice(op: SliceOp, operands: Sequence[Stored]) -> Results:
    (x,) = operands
    starts, sizes, steps = op.starts.extents(), shape_of(op.result), op.steps.get_values()
    cut = g.slice(x.value, permuted(starts, x.order), permuted(sizes, x.order), permuted(steps, x.order))
    return [Stored(cut, x.order)]


def _pad(op: PadOp, operands: Sequence[Stored]) -> Results:
    x, value = operands
    low, high = op.low.extents(), op.high.extents()
    interior = permuted(op.between, x.order)
    return [Stored(g.pad(x.value, permuted(low, x.order), permuted(high, x.order), value.value, interior), x.order)]


def _concatenate(op: ConcatenateOp, operands: Sequence[Stored]) -> Results:
    order = best_order(operands)
    if order == identity(op.result):
        return None
    return [Stored(g.concatenate([in_order(x, order) for x in operands], order.index(op.axis.value.data)), order)]


def _reduce_window(op: ReduceWindowOp, operands: Sequence[Stored]) -> Results:
    (x,) = operands
    apart = permuted(op.apart, x.order)
    return [Stored(g.reduce_window(x.value, op.kind.data, *_windows(op, x.order), apart), x.order)]


def _window_place(op: WindowPlaceOp, operands: Sequence[Stored]) -> Results:
    x, y = operands
    if not _counts_alike(op, x.order):
        return None
    made = g.window_place(x.value, in_order(y, x.order), *_windows(op, x.order))
    return [Stored(made, x.order)]


def _window_put(op: WindowPutOp, operands: Sequence[Stored]) -> Results:
    """The order is that of places, as of what the maxima were taken of: the result meets that again, and has more elements than the values."""
    values, places = operands
    if not _counts_alike(op, places.order):
        return None
    shape = permuted(shape_of(op.result), places.order)
    made = g.window_put(in_order(values, places.order), places.value, shape, *_windows(op, places.order))
    return [Stored(made, places.order)]


def _counts_alike(op: WindowsOp, order: Order) -> bool:
    """The elements of a window have the same numbers in this order of axes."""
    wide = [a for a in order if op.window.get_values()[a] > 1]
    return wide == sorted(wide)


def _windows(op: WindowsOp, order: Order) -> tuple[list[int], list[int], list[tuple[Extent, Extent]], list[int]]:
    window, strides, dilations = (permuted(p.get_values(), order) for p in (op.window, op.strides, op.dilations))
    return window, strides, permuted(op.padding, order), dilations


def _gather(op: GatherOp, operands: Sequence[Stored]) -> Results:
    """x's axes are read in any order, and the loops follow them; positions have to be as they were."""
    x, indices = operands
    if indices.order != identity(indices.value):
        indices = Stored(in_order(indices, identity(indices.value)), identity(indices.value))
    axes, loops = list(op.axes.get_values()), list(op.loops.get_values())
    looked_up = [a for a in x.order if axes[a] == -1]
    if looked_up != sorted(looked_up):
        return None
    order: list[int] = []
    for a in x.order:
        order += [d for d in ([axes[a]] if axes[a] != -1 else loops) if d not in order]
    order += [d for d in loops if d not in order]
    new_axes = [-1 if axes[a] == -1 else order.index(axes[a]) for a in x.order]
    result = emit(GatherOp(x.value, indices.value, [order.index(d) for d in loops], new_axes))[0]
    return [Stored(result, tuple(order))]


RULES: dict[type[Operation], Callable[[Any, Sequence[Stored]], Results]] = {
    TransposeOp: _transpose,
    PointwiseOp: _pointwise,
    ContractOp: _contract,
    ConvolutionOp: _convolution,
    ReshapeOp: _reshape,
    ReduceOp: _reduce,
    ArgReduceOp: _arg_reduce,
    CumulativeOp: _cumulative,
    TopKOp: _top_k,
    SoftmaxOp: _softmax,
    LogSoftmaxOp: _softmax,
    SliceOp: _slice,
    PadOp: _pad,
    ConcatenateOp: _concatenate,
    ReduceWindowOp: _reduce_window,
    WindowPlaceOp: _window_place,
    WindowPutOp: _window_put,
    GatherOp: _gather,
}
