"""The rule of fusion: where the kernel of a group may read what the group computes.

A kernel cuts its loops into tiles, and a tile has of the group's values just what it has computed itself, at its own place. So a group
may read one of its values only where it writes it, for every loop that may be tiled; a view of a value (its transpose, its first row, its
repetition along another axis) is a read elsewhere, also where equal extents make the shapes agree:

    a = x @ w;   a + bias, a * sigmoid(a)                one kernel
    a = x @ w;   a + transpose(a), a - broadcast(a[:1])  two kernels: what the second reads is in memory by then
    s = sum(x, axis 1);   x / broadcast(s, axes = [0])   one kernel
    s = sum(x, axis 1);   x / broadcast(s, axes = [1])   two: row i reads the sums of all rows
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from xdsl.ir import Block, Operation, SSAValue

from mlc.ir.dims import Extent
from mlc.ir.graph.convolution import ConvolutionOp
from mlc.ir.graph.elementwise import PointwiseOp
from mlc.ir.graph.linear import ContractOp
from mlc.ir.graph.parts import ConcatenateOp, PadOp
from mlc.ir.graph.reduce import ReduceOp
from mlc.ir.graph.views import Place, is_view, looked_through, reads_through
from mlc.ir.graph.window import ReduceWindowOp
from mlc.ir.graph.winograd import WinogradOp
from mlc.ir.kernel.access import L
from mlc.ir.types import shape_of


@dataclass(frozen=True)
class Frame:
    """The loops of a group: one per axis of `full`, of which reductions leave the axes `kept`."""

    full: tuple[Extent, ...]
    kept: tuple[int, ...]

    @staticmethod
    def of(op: Operation) -> Frame:
        """The frame of a group around a reduction, or behind the result of another op."""
        if isinstance(op, ReduceOp):
            full, axes = shape_of(op.x), op.axes.get_values()
            return Frame(full, tuple(a for a in range(len(full)) if a not in axes))
        full = shape_of(op.results[0])
        return Frame(full, tuple(range(len(full))))

    def place(self, value: SSAValue) -> Place | None:
        """Where the group writes a value; None where its shape is not of this frame."""
        shape = shape_of(value)
        if shape == self.full:
            return tuple(L(f"d{axis}") for axis in range(len(shape)))
        if shape == tuple(self.full[a] for a in self.kept):
            return tuple(L(f"d{axis}") for axis in self.kept)
        return None

    def reads(self, op: Operation) -> Iterator[tuple[SSAValue, Place | None]]:
        """The operands that an op of the group reads element by element, and where; None for what has no place in this frame."""
        match op:
            case ContractOp() | ConvolutionOp() | WinogradOp() | ReduceWindowOp():
                return  # their operands are memory, computed by other kernels
            case ReduceOp(x=x) | PadOp(x=x):
                yield x, self.place(x)
            case ConcatenateOp():
                for x in op.xs:
                    yield x, self.place(x)
            case _:
                for operand in op.operands:
                    yield operand, self.place(op.results[0])


def misplaced(ops: Iterable[Operation], members: Collection[Operation], frame: Frame) -> SSAValue | None:
    """The first value of the group `members` that one of `ops` reads at another place than where it is written, or reduces otherwise than
    the group does."""
    for op in ops:
        if isinstance(op, ReduceOp) and Frame.of(op) != frame:
            return op.result
        for operand, at in frame.reads(op):
            value, here = operand, at
            while here is not None and value.owner not in members and reads_through(value.owner):
                value, here = looked_through(value.owner, here)
            if value.owner in members and not same(here, frame.place(value), shape_of(value)):
                return value
    return None


def same(here: Place | None, there: Place | None, shape: Sequence[Extent]) -> bool:
    """Are two places one element? An axis of extent 1 has only one."""
    if here is None or there is None:
        return False
    return all(extent == 1 or a == b for a, b, extent in zip(here, there, shape, strict=True))


def shares(block: Block) -> bool:
    """Does an element-wise group compute its results side by side, what they have in common once?"""
    assert block.last_op is not None
    return len(set(block.last_op.operands)) > 1 or any(isinstance(op, ConcatenateOp) for op in block.ops)


def misplaced_in(kind: str, block: Block) -> SSAValue | None:
    """The first value of a group's body that breaks the rule. Element-wise groups of one result compute a value anew wherever they read it. Those
    of several, and of a concatenation of equal pieces, share what they compute, and read it where it is written."""
    ops = [op for op in block.ops if op is not block.last_op]
    members = {op: None for op in ops if not is_view(op)}.keys()
    if kind == "elementwise":
        if not shares(block):
            return None
        first = next((op for op in members if isinstance(op, PointwiseOp)), None)
        for op in members:
            if first is None or not isinstance(op, PointwiseOp | ConcatenateOp):
                return op.results[0]
        return None if first is None else misplaced(members, members, Frame.of(first))
    heads = [op for op in ops if isinstance(op, (ContractOp, ConvolutionOp, WinogradOp, ReduceWindowOp, ReduceOp))]
    if kind not in ("contraction", "convolution", "winograd", "window", "rows") or not heads:
        return None
    return misplaced(members, members, Frame.of(heads[0]))
