"""Tiles that are copied while others are computed with: a loop over staged tiles that have several buffers becomes a pipeline.

    for %k = 0 to K step 16 { A, B -> buffer %k/16 % 3;  barrier;  compute;  barrier }                    Level(k = 16; A, B -> workgroup async 3)
->  for the first two tiles: copy_async A, B -> their buffers; commit
    for %k = 0 to K step 16 {
      await_copies 1;  barrier                  tile %k is there for all threads, and all are done with the one before
      copy_async tile %k + 32 -> the buffer of the one before; commit
      compute
    }

What a copy needs of the loop, its views and sizes, is computed again for the later tile. A loop whose copies cannot all be asynchronous (what is
transposed on the way moves element by element, and these have at least four bytes) stays as it is.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence

from xdsl.dialects import arith, gpu, memref, scf
from xdsl.dialects.builtin import IntegerAttr, UnitAttr
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import Block, Operation, SSAValue
from xdsl.rewriter import InsertPoint

from mlc.ir.kernel.async_copies import AwaitCopiesOp, CommitCopiesOp
from mlc.ir.kernel.kernel import Kernel, erase, space_of
from mlc.ir.kernel.located import Builder
from mlc.passes.loops.copies import Copy
from mlc.passes.loops.scf_blocks import branch
from mlc.passes.loops.tile import in_loop


def overlap(kernel: Kernel) -> None:
    """Every loop over tiles with several buffers."""
    for loop in [op for op in kernel.op.walk() if isinstance(op, scf.ForOp)]:
        copies = [op for op in loop.body.block.ops if isinstance(op, GenericOp) and is_shared_copy(op)]
        if copies and all("buffers" in op.attributes and may_overlap(kernel, op) for op in copies):
            _Pipeline(kernel, loop, copies).rewrite()


def is_shared_copy(op: GenericOp) -> bool:
    return "copy" in op.attributes and space_of(op.outputs[0]) == "workgroup"


def may_overlap(kernel: Kernel, op: GenericOp) -> bool:
    return Copy(kernel, op.inputs[0], op.outputs[0]).width_ahead > 0


class _Pipeline:
    def __init__(self, kernel: Kernel, loop: scf.ForOp, copies: Sequence[GenericOp]):
        self.kernel, self.loop, self.copies = kernel, loop, copies
        buffers = copies[0].attributes["buffers"]
        assert isinstance(buffers, IntegerAttr)
        self.buffers = buffers.value.data
        self.needed = self._needed(loop.body.block)

    def _needed(self, block: Block) -> list[Operation]:
        """The copies and what they are made of in the loop, in order."""
        found, waiting = set[Operation](self.copies), list[Operation](self.copies)
        while waiting:
            for value in waiting.pop().operands:
                owner = value.owner
                if isinstance(owner, Operation) and owner.parent is block and owner not in found:
                    found.add(owner)
                    waiting.append(owner)
        return [op for op in block.ops if op in found]

    def rewrite(self) -> None:
        loop, const = self.loop, self.kernel.const
        block = loop.body.block
        (step,) = [value.value.data for value in (loop.step.owner.value,)]  # type: ignore[union-attr]
        before = Builder(InsertPoint.before(loop))
        for number in range(self.buffers - 1):
            start = known(loop.lb)
            at: SSAValue = (
                before.insert(arith.AddiOp(loop.lb, const(number * step))).result
                if start is None
                else const(start + number * step)
            )
            self.copy(before, at)
        first, *others = [op for op in block.ops if isinstance(op, gpu.BarrierOp)]
        later = Builder(InsertPoint.at_start(block))
        later.insert(AwaitCopiesOp(self.buffers - 2))
        later.insert(gpu.BarrierOp())
        ahead = later.insert(arith.AddiOp(block.args[0], const((self.buffers - 1) * step))).result
        self.copy(later, ahead)
        erase([*self.copies, first, *others])
        erase([op for op in self.needed if isinstance(op, memref.SubviewOp) and op.result.first_use is None])
        if in_loop(loop.parent_op()):  # what comes next overwrites what others may still read
            Builder(InsertPoint.after(loop)).insert(gpu.BarrierOp())

    def copy(self, b: Builder, at: SSAValue) -> None:
        """Start copying the tile at a position, if there is one."""

        def fill(b: Builder) -> None:
            values: dict[SSAValue, SSAValue] = {self.loop.body.block.args[0]: at}
            for op in self.needed:
                if (number := computed(op, values)) is not None:
                    values[op.results[0]] = self.kernel.const(number)
                    continue
                clone = op.clone(values)
                b.insert(clone)
                values.update(zip(op.results, clone.results, strict=True))
                if op in self.copies:
                    clone.attributes["ahead"] = UnitAttr()

        first, end = known(at), known(self.loop.ub)
        if first is not None and end is not None:
            if first < end:
                fill(b)
        else:
            inside = b.insert(arith.CmpiOp(at, self.loop.ub, "slt")).result
            b.insert(scf.IfOp(inside, [], [branch(fill)]))
        b.insert(CommitCopiesOp())


def known(value: SSAValue) -> int | None:
    """The number that a position is."""
    match value.owner:
        case arith.ConstantOp(value=IntegerAttr() as attr):
            return attr.value.data
    return None


def computed(op: Operation, values: Mapping[SSAValue, SSAValue]) -> int | None:
    """What arithmetic on known positions gives."""
    how = {
        "arith.addi": operator.add,
        "arith.muli": operator.mul,
        "arith.divui": operator.floordiv,
        "arith.remui": operator.mod,
    }
    numbers = [known(values.get(value, value)) for value in op.operands]
    if op.name not in how or None in numbers:
        return None
    return how[op.name](*numbers)
