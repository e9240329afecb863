"""Structured control flow, built from the function that fills it: scf.for, scf.if and its blocks, scf.index_switch over 1 to n."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xdsl.dialects import scf
from xdsl.dialects.builtin import DenseArrayBase, i64
from xdsl.ir import Attribute, Block, Region, SSAValue
from xdsl.rewriter import InsertPoint

from mlc.ir.kernel.kernel import index
from mlc.ir.kernel.located import Builder


def for_loop(
    start: SSAValue, stop: SSAValue, step: SSAValue, name: str, fill: Callable, carried: Sequence[SSAValue] = ()
) -> scf.ForOp:
    """scf.for whose body `fill(b, iv, *carried)` builds; it returns the values to carry, if any."""
    block = Block(arg_types=[index, *(value.type for value in carried)])
    block.args[0].name_hint = name.replace(".", "_")
    b = Builder(InsertPoint.at_end(block))
    b.insert(scf.YieldOp(*(fill(b, *block.args) or ())))
    return scf.ForOp(start, stop, step, carried, block)


def branch(fill: Callable[[Builder], None]) -> Block:
    """A block that `fill` builds and that yields nothing."""
    block = Block()
    b = Builder(InsertPoint.at_end(block))
    fill(b)
    b.insert(scf.YieldOp())
    return block


def choice(
    condition: SSAValue,
    types: Sequence[Attribute],
    then: Callable[[Builder], Sequence[SSAValue]],
    other: Callable[[Builder], Sequence[SSAValue]],
) -> scf.IfOp:
    """scf.if that gives the values which one of two functions builds."""
    blocks = []
    for fill in (then, other):
        block = Block()
        b = Builder(InsertPoint.at_end(block))
        b.insert(scf.YieldOp(*fill(b)))
        blocks.append(block)
    return scf.IfOp(condition, types, [blocks[0]], [blocks[1]])


def switch(b: Builder, value: SSAValue, largest: int, fill: Callable[[Builder, int], None]) -> None:
    """One branch for each of 1 to `largest`."""
    regions = [Region(branch(lambda b, case=case: fill(b, case))) for case in range(1, largest + 1)]  # type: ignore[misc]
    cases = DenseArrayBase.from_list(i64, list(range(1, largest + 1)))
    b.insert(scf.IndexSwitchOp(value, cases, Region(branch(lambda b: None)), regions, []))
