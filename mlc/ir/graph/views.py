"""Views: ops whose elements are elements of their operand at affine places. A kernel reads through them; they cost nothing."""

from __future__ import annotations

from typing import TypeGuard

from xdsl.ir import Block, Operation, SSAValue

from mlc.errors import InternalError
from mlc.ir.graph.constants import ConstantOp, DimensionOp, IotaOp
from mlc.ir.graph.parts import PadOp, SliceOp
from mlc.ir.graph.shape import BroadcastOp, ReshapeOp, TransposeOp
from mlc.ir.kernel.access import Affine
from mlc.ir.types import rank_of, shape_of

Place = tuple[Affine, ...]  # one expression over loops per axis
ZERO = Affine({}, 0)

_VIEWS = frozenset((BroadcastOp, TransposeOp, ConstantOp, DimensionOp, IotaOp, SliceOp, ReshapeOp))


def is_view(op: Operation | Block | None) -> bool:
    """Its elements are elements of its operand (or computed from their position) at affine places: readers look through it."""
    if type(op) not in _VIEWS:  # asked most often, of ops that are none
        return False
    match op:
        case BroadcastOp() | TransposeOp() | ConstantOp() | DimensionOp() | IotaOp():
            return not isinstance(op, ConstantOp) or rank_of(op.result) == 0
        case SliceOp():
            return has_fixed_offsets(op)
        case ReshapeOp():
            return only_unit_axes(op)
    return False


def reads_through(op: Operation | Block | None) -> TypeGuard[Operation]:
    """Is it a view of another value, not a value computed from positions?"""
    return is_view(op) and isinstance(op, Operation) and bool(op.operands)


def only_unit_axes(op: ReshapeOp) -> bool:
    """The reshape adds or drops axes of extent 1 and does nothing else."""
    before, after = ([e for e in shape_of(v) if e != 1] for v in (op.x, op.result))
    return before == after


def has_fixed_offsets(op: SliceOp | PadOp) -> bool:
    """Does it begin at numbers, whatever the symbols are?"""
    offsets = op.starts if isinstance(op, SliceOp) else op.low
    return all(isinstance(e, int) for e in offsets.extents())


def looked_through(op: Operation | Block | None, at: Place) -> tuple[SSAValue, Place]:
    """What a view of a value shows at a place: its operand, and the place there."""
    match op:
        case BroadcastOp():
            return op.x, tuple(at[a] for a in op.axes.get_values())
        case TransposeOp():
            back = {axis: at[position] for position, axis in enumerate(op.permutation.get_values())}
            return op.x, tuple(back[a] for a in range(len(at)))
        case SliceOp():
            starts = [int(e) for e in op.starts.extents()]  # type: ignore[arg-type]
            # a slice of nothing may begin behind the last element, and reads none
            none = [
                e == 0 and isinstance(n, int) and n > 0
                for e, n in zip(shape_of(op.result), shape_of(op.x), strict=True)
            ]
            rows = zip(at, starts, op.steps.get_values(), none, strict=True)
            return op.x, tuple(ZERO if empty else a * step + start for a, start, step, empty in rows)
        case ReshapeOp():
            rest = iter([a for a, e in zip(at, shape_of(op.result), strict=True) if e != 1])
            return op.x, tuple(ZERO if e == 1 else next(rest) for e in shape_of(op.x))
    raise InternalError(f"{getattr(op, 'name', op)} is no view")
