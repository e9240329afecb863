"""Lay out in panels, once in front of a loop, what every step of it multiplies by.

    scan { g = contract(h, w: [1024, 256], "bh,gh->bg") + x }
->  p = transpose(reshape(w, [32, 32, 256]), [0, 2, 1]);  scan { g = reshape(contract(h, p, "bh,phg->bpg") + reshape(x)) }

A panel has the columns of a register tile side by side, row after row, so that a step streams through the matrix as it lies. Stored weights are
packed at compile time; this is for those that come with the call, as the parameters of a step of training do. Columns that do not part into
panels are at least made to lie along memory.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from xdsl.ir import BlockArgument, Operation, SSAValue

from mlc.ir import builder as g
from mlc.ir import work
from mlc.ir.graph.base import emit
from mlc.ir.graph.constants import ConstantOp, WeightOp
from mlc.ir.graph.control import ScanOp, WhileOp, source_of
from mlc.ir.graph.linear import ContractOp, labels
from mlc.ir.graph.shape import BroadcastOp
from mlc.ir.graph.views import reads_through
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, shape_of
from mlc.passes.base import Pass
from mlc.passes.graph.rewrite import before
from mlc.passes.graph.simplify.reshape import sink_reshape

STEPS = 4  # of a loop, below which a copy of the matrix costs more than it saves
WIDTH = 32  # columns of a panel: a register tile of 8 rows has 16 vectors of 16 lanes

Loop = ScanOp | WhileOp


@dataclass(frozen=True)
class PackLoopOperands(Pass):
    """Lay out in panels, once in front of a loop, the matrices that every step of it multiplies by."""

    name: ClassVar[str] = "pack-loop-operands"

    def run(self, module: Module) -> None:
        for loop in list(module.op.walk()):
            if isinstance(loop, Loop) and not (isinstance(loop.extent, int) and loop.extent < STEPS):
                packed: dict[tuple[SSAValue, bool], SSAValue] = {}
                for op in list(loop.body.block.ops):
                    if isinstance(op, ContractOp):
                        work.on(op)
                        _pack(op, loop, packed, module)
                if packed:
                    loop.drop_unused_constants()


def _pack(op: ContractOp, loop: Loop, packed: dict[tuple[SSAValue, bool], SSAValue], module: Module) -> None:
    *names, out = labels(op.spec.data)
    for side, (matrix, mine, other) in enumerate(zip(op.operands, names, names[::-1], strict=True)):
        column = out[-1:]
        across = mine.index(column) if column and len(mine) == 2 and column in mine and column not in other else None
        if across is None or (depth := mine[1 - across]) not in other or depth in out:
            continue
        columns, rows = (shape_of(matrix)[a] for a in (across, 1 - across))
        if not isinstance(columns, int) or not isinstance(rows, int) or dtype_of(matrix) not in ("f32", "f64"):
            continue
        parted = columns > WIDTH and columns % WIDTH == 0
        if not rows or not columns or not (parted or across == 0) or (views := _views(matrix, loop)) is None:
            continue
        if (matrix, across == 0) not in packed:
            with before(loop, module):
                value = _in_front(matrix, views, loop)
                if parted:
                    cut = [columns // WIDTH, WIDTH]
                    value = g.reshape(value, [*cut, rows] if across == 0 else [rows, *cut])
                order = ([0, 2, 1] if across == 0 else [1, 0, 2]) if parted else [1, 0]
                loop.add_constant(g.transpose(value, order))
            packed[matrix, across == 0] = loop.body.block.args[-1]
        operands = list(op.operands)
        operands[side] = packed[matrix, across == 0]
        panel = next(c for c in string.ascii_letters if c not in op.spec.data) if parted else ""
        names[side], out = f"{panel}{depth}{column}", f"{out[:-1]}{panel}{column}"
        with before(op, module):
            made = g.contract(operands[0], operands[1], f"{names[0]},{names[1]}->{out}")
        sink_reshape(op, made, module)
        return


def _views(matrix: SSAValue, loop: Loop) -> list[Operation] | None:
    """The views through which a body sees what is the same in every step and comes with the call; None for any other value."""
    views: list[Operation] = []
    while reads_through(matrix.owner) and not isinstance(matrix.owner, BroadcastOp):
        views.append(matrix.owner)
        matrix = matrix.owner.operands[0]
    if not isinstance(matrix, BlockArgument) or matrix not in loop.inside(loop.body.block):
        return None
    return None if isinstance(source_of(matrix).owner, WeightOp | ConstantOp) else views[::-1]


def _in_front(matrix: SSAValue, views: Sequence[Operation], loop: Loop) -> SSAValue:
    """What the matrix is in front of the loop."""
    root = views[0].operands[0] if views else matrix
    value = loop.constants[loop.inside(loop.body.block).index(root)]
    for view in views:
        value = emit(view.clone(value_mapper={view.operands[0]: value}))[0]
    return value
