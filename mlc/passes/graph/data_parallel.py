"""Data parallel: each rank has its own rows of a batch, and all have the same parameters.

    %h = matmul %x, %w                 %w.v = graph.replicate %w
    %l = mean(%h)              ->      %h = matmul %x, %w.v
                                       %l = graph.all_reduce(mean(%h)) / ranks

A value is varying where it depends on varying inputs, and replicated where it depends on others alone; of constants alone it is neither. Where
a replicated value meets a varying one it goes through graph.replicate, whose transpose is graph.all_reduce: derivatives that are taken
afterwards are those of the loss of the whole batch, by parameters and through statistics of the whole batch alike. A draw of random numbers
that has an axis of the batch is the rank's part of the draw for the whole batch, so that it does not depend on how many ranks there are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from xdsl.builder import Builder
from xdsl.ir import Block, Operation, SSAValue
from xdsl.rewriter import InsertPoint

from mlc.errors import MlcError
from mlc.ir.dims import Extent
from mlc.ir.graph.base import building, emit, location, location_file, location_name
from mlc.ir.graph.collective import (
    AllReduceOp,
    AllReduceStartOp,
    AllReduceWaitOp,
    RankOp,
    ReplicateOp,
    mean_over_ranks,
    rank,
    replicate,
)
from mlc.ir.graph.random import RandomBitsOp, bits_of_part
from mlc.ir.graph.shape import BroadcastOp, ReshapeOp, TransposeOp
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, is_float, rank_of, shape_of, tensor_type, type_text
from mlc.passes.base import Pass
from mlc.passes.graph.weights_to_arguments import chosen

Kind = Literal["varying", "replicated"]
Kinds = Mapping[SSAValue, Kind]  # without those that depend on constants alone


@dataclass(frozen=True)
class DataParallel(Pass):
    """Let each of `ranks` processes have its own rows of the inputs `varying`, as in `x;label*`, and all of them the same of the others: outputs of one
    float become means over the ranks."""

    name: ClassVar[str] = "data-parallel"
    takes = ("graph",)
    varying: str = ""
    ranks: int = 1

    def run(self, module: Module) -> None:
        if self.ranks < 1:
            raise MlcError(f"pass '{self.name}': ranks is {self.ranks}", remedy="There is at least one.")
        block = module.main.body.block
        names = chosen(self.varying, module.input_names, "input") if self.varying else []
        varying = [arg for arg, name in zip(block.args, module.input_names, strict=True) if name in names]
        kinds = partition(block, varying, self.ranks)
        last = block.last_op
        assert last is not None
        with building(Builder(InsertPoint.before(last)), module.checks):
            last.operands = [
                mean_over_ranks(y, self.ranks) if kinds.get(y) == "varying" and is_number(y) else y
                for y in last.operands
            ]


def is_number(value: SSAValue) -> bool:
    """One float, as a loss or a measure is."""
    return rank_of(value) == 0 and is_float(dtype_of(value))


def partition(block: Block, varying: Collection[SSAValue], ranks: int) -> Kinds:
    """Rewrite a block whose arguments `varying` differ from rank to rank; the kinds of its values. Raises MlcError where what is the same on all
    ranks is summed up over them, and for sums in loops and branches."""
    rows = next((shape_of(x)[0] for x in varying if rank_of(x)), None)
    if rows is not None:
        for op in list(block.walk()):
            if isinstance(op, RandomBitsOp):
                _draw_part(op, rows, ranks)
    kinds: dict[SSAValue, Kind] = {x: "varying" if x in varying else "replicated" for x in block.args}
    copies: dict[SSAValue, SSAValue] = {}
    for op in [op for op in block.ops if op.results]:
        kind = kind_of(op, kinds)
        if kind == "varying" and not isinstance(op, AllReduceOp | ReplicateOp):
            for number, x in enumerate(op.operands):
                if kinds.get(x) == "replicated":
                    with building(Builder(InsertPoint.before(op))), location(op.location):
                        op.operands[number] = _replicated(x, copies, kinds)
        if isinstance(op, AllReduceOp):
            kind = "replicated"
        if kind is not None:
            kinds.update((y, kind) for y in op.results)
    return kinds


def _replicated(x: SSAValue, copies: dict[SSAValue, SSAValue], kinds: dict[SSAValue, Kind]) -> SSAValue:
    """The varying copy of a value. What only repeats or reorders elements stands behind it, so that as few as there are get summed up."""
    views: list[Operation] = []
    while x not in copies and isinstance(x.owner, BroadcastOp | ReshapeOp | TransposeOp):
        views.append(x.owner)
        x = x.owner.x
    if x not in copies:
        copies[x] = replicate(x)
    found = copies[x]
    for view in reversed(views):
        copy = view.clone(value_mapper={view.operands[0]: found})
        copy.location = view.location
        (found,) = emit(copy)
        copies[view.results[0]] = found
    kinds.update((y, "varying") for y in (copies[x], *(copies[view.results[0]] for view in views)))
    return found


def kind_of(op: Operation, kinds: Kinds) -> Kind | None:
    """What an op works on. Raises MlcError."""
    inside = [inner for region in op.regions for block in region.blocks for inner in block.walk()]
    if any(isinstance(inner, AllReduceOp | AllReduceStartOp | AllReduceWaitOp) for inner in inside):
        raise _misused(op, f"a sum over the ranks inside of {op.name}", "Take it out of the loop or branch.")
    if isinstance(op, ReplicateOp | RankOp) or any(isinstance(inner, RankOp) for inner in inside):
        return "varying"
    found = {kinds[x] for x in op.operands if x in kinds}
    if isinstance(op, AllReduceOp) and found == {"replicated"}:
        what = ", ".join(type_text(tensor_type(x)) for x in op.xs)
        raise _misused(
            op,
            f"all_reduce sums up {what}, which is the same on every rank: it would count as often as there are ranks",
            "Sum up what depends on the batch.",
        )
    return "varying" if "varying" in found else next(iter(found), None)


def _misused(op: Operation, message: str, remedy: str) -> MlcError:
    return MlcError(message, node=location_name(op), file=location_file(op), remedy=remedy)


def _draw_part(op: RandomBitsOp, rows: Extent, ranks: int) -> None:
    """A draw with an axis of the batch -> the rank's part of the draw for the whole batch."""
    axis = _batch_axis(op, rows)
    if axis is not None and ranks > 1:
        with building(Builder(InsertPoint.before(op))), location(op.location):
            found = bits_of_part(op, axis, ranks, rank())
        op.result.replace_all_uses_with(found)  # it stays for a trace that still knows it


def _batch_axis(op: RandomBitsOp, rows: Extent) -> int | None:
    """The axis that is as long as the batch has rows; else the first that is a multiple of it, as where rows and positions are one axis."""
    shape = shape_of(op.result)
    if rows in shape:
        return shape.index(rows)
    whole = [n for n, e in enumerate(shape) if isinstance(rows, int) and isinstance(e, int) and rows and e % rows == 0]
    return whole[0] if whole else None
