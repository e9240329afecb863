"""Floating-point operations of single ops, as expressions of their symbols.

A contraction or convolution costs a multiplication and an addition per term; an element-wise op one operation per element, a
reduction one per element of its operand. Moving data costs nothing. Composites cost what they are made of, a branch what the dearer of its
bodies does, and a loop that its condition ends the most steps that it may take, or one where nothing bounds them.
"""

from __future__ import annotations

from xdsl.ir import Block, Operation

from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph.composites import CompositeOp
from mlc.ir.graph.control import CallOp, GroupOp, IfOp, ScanOp, WhileOp
from mlc.ir.graph.convolution import ConvolutionOp
from mlc.ir.graph.elementwise import ElementwiseOp
from mlc.ir.graph.linear import ContractOp, labels
from mlc.ir.graph.pick import WindowPlaceOp, WindowPutOp
from mlc.ir.graph.reduce import ArgReduceOp, CumulativeOp, ReduceOp
from mlc.ir.graph.window import ReduceWindowOp
from mlc.ir.types import shape_of


def flops_of(op: Operation) -> Extent:
    """Of one op, bodies included."""
    match op:
        case ContractOp():
            left, right, _ = labels(op.spec.data)
            extents = dict(zip(left + right, shape_of(op.lhs) + shape_of(op.rhs), strict=True))
            return 2 * dims.prod(list(extents.values()))
        case ConvolutionOp():
            extents = dict(zip(op.labels[1], shape_of(op.weight), strict=True))
            return 2 * dims.prod([*shape_of(op.result), *(extents[c] for c in op.folded)])
        case CompositeOp():
            return work_of(op.body())
        case ScanOp():
            return op.extent * work_of(op.body.block)
        case WhileOp():
            return (1 if op.extent is None else op.extent) * work_of(op.body.block)
        case IfOp():
            return dims.dmax(*(work_of(block) for block in op.blocks))
        case CallOp() | GroupOp():
            return work_of(op.body.block)
        case ElementwiseOp():
            return dims.prod(shape_of(op.results[0]))
        case ReduceOp() | ArgReduceOp() | CumulativeOp():
            return dims.prod(shape_of(op.operands[0]))
        case WindowPutOp():
            return dims.prod(shape_of(op.values))
        case ReduceWindowOp() | WindowPlaceOp():
            return dims.prod([*shape_of(op.results[0]), *(int(size) for size in op.window.get_values())])
    return 0


def work_of(block: Block) -> Extent:
    """Of all ops of a block."""
    total: Extent = 0
    for op in block.ops:
        total = total + flops_of(op)
    return total
