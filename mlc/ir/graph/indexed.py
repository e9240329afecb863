"""Which values of a module's inputs are positions in a tensor, and what they must be: from the indices of gathers and scatters back to inputs.

    %i = graph.reshape %input_ids            ->  every value of input_ids is one of -V..V - 1
    %y = graph.gather %words, %i

The way back goes through what keeps values: reshape, transpose, broadcast, slice, concatenation, casts between integers, and whole constants
added or subtracted. What stands in loops and branches is left out, for it may not run; so is what data counts, which no caller knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from xdsl.ir import BlockArgument, SSAValue

from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.dtypes import TABLE
from mlc.ir.graph.base import location_name
from mlc.ir.graph.constants import ConstantOp, WeightOp
from mlc.ir.graph.elementwise import OPS, CastOp
from mlc.ir.graph.index import GatherOp, ScatterOp
from mlc.ir.graph.parts import ConcatenateOp, SliceOp
from mlc.ir.graph.shape import BroadcastOp, ReshapeOp, TransposeOp
from mlc.ir.indexing import IndexRange, View
from mlc.ir.types import dtype_of, is_integer, shape_of

if TYPE_CHECKING:
    from mlc.ir.module import Module

_WIDE = ("i32", "i64")  # sums of indices do not wrap in these
_LONGEST = 32  # views between an input and its use; what is longer is left to the clamp


def index_ranges(module: Module) -> tuple[IndexRange, ...]:
    """The ranges of a graph's inputs, each once, in the order of their uses."""
    found: dict[IndexRange, None] = {}
    names, counted = module.input_names, module.counted.keys()
    for op in module.main.body.block.ops:
        if not isinstance(op, GatherOp | ScatterOp):
            continue
        x, indices = op.operands[0], op.operands[1]
        axes = [axis for axis, loop in enumerate(op.axes.get_values()) if loop == -1]
        asking = f", node '{node}'" if (node := location_name(op)) else ""
        for column, axis in enumerate(axes):
            extent = shape_of(x)[axis]
            what = f"{'rows' if axis == 0 else f'axis {axis}'} of {_called(x, names)}{asking}"
            wanted = IndexRange("", -1 * extent, extent - 1, what)
            if len(axes) > 1:
                shape = (*shape_of(indices)[:-1], 1)
                starts: tuple[Extent, ...] = (*[0] * (len(shape) - 1), column)
                wanted = replace(wanted, views=(View("slice", shape, (1,) * len(shape), starts),))
            for each in _sources(indices, wanted, module, names):
                if counted.isdisjoint(each.symbols):
                    found.setdefault(each)
    return tuple(found)


def _called(x: SSAValue, names: Sequence[str]) -> str:
    """What a user calls the tensor that is indexed."""
    while isinstance(x.owner, ReshapeOp | CastOp):
        x = x.owner.x
    if isinstance(x.owner, WeightOp):
        return f"'{x.owner.weight_key}'"
    return f"'{names[x.index]}'" if isinstance(x, BlockArgument) else "the data"


def _sources(value: SSAValue, wanted: IndexRange, module: Module, names: Sequence[str]) -> Iterator[IndexRange]:
    """What is wanted of `value`, as wanted of the inputs whose values it has."""
    pending = [(value, wanted)]
    while pending:
        value, wanted = pending.pop()
        if not is_integer(dtype_of(value)) or len(wanted.views) > _LONGEST:
            continue
        if isinstance(value, BlockArgument):
            yield replace(wanted, input=names[value.index], views=_needed(wanted.views))
        else:
            pending += reversed(_behind(value, wanted, module))


def _behind(value: SSAValue, wanted: IndexRange, module: Module) -> list[tuple[SSAValue, IndexRange]]:
    """The operands that the values come from, with what is wanted of each."""
    shape = shape_of(value)
    match op := value.owner:
        case ReshapeOp():
            return [(op.x, _before(wanted, View("reshape", shape)))]
        case TransposeOp():
            return [(op.x, _before(wanted, View("transpose", shape, tuple(op.permutation.get_values()))))]
        case BroadcastOp():
            return [(op.x, _before(wanted, View("broadcast", shape, tuple(op.axes.get_values()))))]
        case SliceOp():
            view = View("slice", shape, tuple(op.steps.get_values()), tuple(op.starts.extents()))
            return [(op.x, _before(wanted, view))]
        case CastOp():
            return [(op.x, _uncast(wanted, dtype_of(op.x), dtype_of(value)))] if _keeps(op) else []
        case ConcatenateOp():
            return _parts(op, wanted)
    for kind, sign in (("add", 1), ("sub", -1)):
        if isinstance(op, OPS[kind]) and dtype_of(value) in _WIDE:
            x, y = op.operands
            amount = _whole(y, module)
            if amount is None and kind == "add":
                x, amount = y, _whole(x, module)
            if amount is not None:
                return [(x, replace(wanted, low=wanted.low - sign * amount, high=wanted.high - sign * amount))]
    return []


def _before(wanted: IndexRange, view: View) -> IndexRange:
    return replace(wanted, views=(view, *wanted.views))


def _needed(views: tuple[View, ...]) -> tuple[View, ...]:
    """Views up to the last that drops elements: what only reorders or repeats the rest makes no difference to their range."""
    last = 0
    for number, view in enumerate(views):
        repeats = view.kind == "broadcast" and any(
            not isinstance(e, int) or e == 0 for a, e in enumerate(view.shape) if a not in view.numbers
        )
        if view.kind == "slice" or repeats:  # a symbolic number of repeats may be 0
            last = number + 1
    return views[:last]


def _keeps(op: CastOp) -> bool:
    """Whether a cast keeps every value that could be a position: it widens, or nobody counts on what it cuts off."""
    before, after = TABLE[dtype_of(op.x)], TABLE[dtype_of(op.result)]
    return is_integer(before.name) and is_integer(after.name) and (after.bits >= before.bits or after.bits >= 32)


def _uncast(wanted: IndexRange, before: str, after: str) -> IndexRange:
    """Negative numbers do not become positions where signs are dropped."""
    dropped = after.startswith("u") and not before.startswith("u")
    return replace(wanted, low=dims.dmax(0, wanted.low)) if dropped else wanted


def _parts(op: ConcatenateOp, wanted: IndexRange) -> list[tuple[SSAValue, IndexRange]]:
    """The operands of a concatenation, or, where a slice follows, those that it reads from."""
    axis, head = op.axis.value.data, wanted.views[0] if wanted.views else None
    if not _needed(wanted.views):
        return [(x, replace(wanted, views=())) for x in op.xs]
    if head is None or head.kind != "slice" or head.numbers[axis] != 1:
        return []
    found, offset, alone = [], 0, not _needed(wanted.views[1:])
    first, size = head.starts[axis], head.shape[axis]
    for x in op.xs:
        extent = shape_of(x)[axis]
        if not (isinstance(extent, int) and isinstance(first, int) and isinstance(size, int)):
            return []
        begin, end = max(first, offset), min(first + size, offset + extent)
        if begin < end:
            if end - begin < size and not alone:
                return []
            cut = replace(
                head,
                shape=tuple(end - begin if a == axis else e for a, e in enumerate(head.shape)),
                starts=tuple(begin - offset if a == axis else e for a, e in enumerate(head.starts)),
            )
            found.append((x, replace(wanted, views=(cut,) if alone else (cut, *wanted.views[1:]))))
        offset += extent
    return found


def _whole(value: SSAValue, module: Module) -> int | None:
    """The number that a constant holds in every element."""
    while isinstance(value.owner, BroadcastOp | ReshapeOp | CastOp):
        value = value.owner.x
    if not isinstance(value.owner, ConstantOp | WeightOp) or not is_integer(dtype_of(value)):
        return None
    if dims.prod(shape_of(value)) != 1:
        return None
    if isinstance(value.owner, ConstantOp):
        return int(value.owner.value.reshape(()))
    module.weights.look_at([value.owner.weight_key])
    return int(module.weights.get(value.owner.weight_key).reshape(()))
