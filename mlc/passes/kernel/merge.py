"""Merge loops that run through memory as one: a convolution becomes an implicit GEMM without im2col.

    loops {oh, ow, oc, kh, kw, ic}   X[oh*2 + kh, ow*2 + kw, ic]      W[kh, kw, ic, oc]
->  loops {oh, ow, oc, kh, kw.ic}    X[oh*2 + kh, ow*2*IC + kw.ic]    W[kh, kw.ic, oc]
and of a 1x1 convolution with stride 1, whose unit loops are dropped first,
->  loops {oh.ow, oc, ic}            X[oh.ow, ic]                     W[ic, oc]

Arguments keep their types; the kernel sees them through memref.collapse_shape, which costs nothing.
"""

from __future__ import annotations

from xdsl.dialects import memref
from xdsl.dialects.builtin import ArrayAttr, IntegerAttr, i64
from xdsl.dialects.linalg.attrs import IteratorTypeAttr
from xdsl.dialects.linalg.ops import GenericOp, IndexOp
from xdsl.ir import SSAValue
from xdsl.rewriter import InsertPoint, Rewriter

from mlc.ir.dims import Extent
from mlc.ir.kernel.access import write_map
from mlc.ir.kernel.kernel import (
    Kernel,
    allocation,
    buffer_type,
    loops_attr,
    loops_of,
    space_of,
    strides_of,
    type_of,
)
from mlc.ir.kernel.located import Builder
from mlc.passes.kernel.mergeable import LoopedOp, MergeableLoops
from mlc.passes.loops.tile_view import accesses

_PARALLEL, _REDUCTION = IteratorTypeAttr.parallel(), IteratorTypeAttr.reduction()


def merge_loops(kernel: Kernel) -> None:
    """Drop unit loops and merge every pair of loops that all operands allow. Kernels with other code than structured ops stay."""
    ops = [op for op in kernel.block.ops if isinstance(op, GenericOp)]
    if ops:
        KernelLoops(kernel, ops).merge()


class KernelLoops:
    """The loops of a kernel's structured ops, which `merge` merges and writes back."""

    def __init__(self, kernel: Kernel, ops: list[GenericOp]):
        self.kernel, self.ops = kernel, ops
        self.indices = [[i for i in op.walk() if isinstance(i, IndexOp)] for op in ops]
        self.asked = [
            [list(loops_of(op))[i.dim.value.data] for i in found] for op, found in zip(ops, self.indices, strict=True)
        ]

    def merge(self) -> None:
        shapes = {value: list(self.kernel.shape_of(value)) for op in self.ops for value in op.operands}
        fixed = {value for value in shapes if not self.collapsible(value)}
        looped = [
            LoopedOp(
                loops_of(op),
                {n for n, kind in zip(loops_of(op), op.iterator_types.data, strict=True) if kind != _PARALLEL},
                asked,
                [(value, list(access)) for value, access in zip(op.operands, accesses(op), strict=True)],
            )
            for op, asked in zip(self.ops, self.asked, strict=True)
        ]
        loops = MergeableLoops(looped, shapes, fixed, whole=False)
        loops.merge()
        self.write(loops)

    def collapsible(self, value: SSAValue) -> bool:
        """Row-major buffers are the same bytes under any collapsed shape."""
        if isinstance(value.owner, memref.AllocOp):
            inside = all(use.operation in self.ops for use in value.uses)
            return inside and "constant" not in value.owner.attributes
        shape = self.kernel.shape_of(value)
        expected = list(buffer_type(shape, type_of(value).element_type).get_strides() or ())
        if isinstance(value.owner, memref.SubviewOp) and None in expected:
            return False  # its run-time strides are those of the whole
        return space_of(value) is None and strides_of(value) == expected

    def write(self, found: MergeableLoops[SSAValue]) -> None:
        for value, grouping in found.groups.items():
            if len(grouping) < len(self.kernel.shape_of(value)):
                self.collapse(value, grouping, found.shapes[value])
        for op, looped, indices, asked in zip(self.ops, found.ops, self.indices, self.asked, strict=True):
            names = list(looped.loops)
            for index, loop in zip(indices, asked, strict=True):
                if loop in names:
                    index.properties["dim"] = IntegerAttr(names.index(loop), i64)
                else:
                    index.result.replace_all_uses_with(self.kernel.const(0))
                    Rewriter.erase_op(index)
            op.properties["indexing_maps"] = ArrayAttr([write_map(access, names) for _, access in looped.visits])
            op.properties["iterator_types"] = ArrayAttr(
                [_REDUCTION if n in looped.folded else _PARALLEL for n in names]
            )
            op.attributes["loops"] = loops_attr(looped.loops)

    def collapse(self, value: SSAValue, grouping: list[list[int]], shape: list[Extent]) -> None:
        element = type_of(value).element_type
        if isinstance(value.owner, memref.AllocOp):
            sizes = [e if isinstance(e, int) else self.kernel.extent(e) for e in shape]
            new = allocation(sizes, element)
            Rewriter.insert_op(new, InsertPoint.before(value.owner))
            new.memref.name_hint = value.name_hint
            value.replace_all_uses_with(new.memref)
            Rewriter.erase_op(value.owner)
            return
        axes = ArrayAttr([ArrayAttr([IntegerAttr(axis, i64) for axis in group]) for group in grouping])

        def collapsed() -> memref.CollapseShapeOp:
            result = buffer_type(shape, element)
            return memref.CollapseShapeOp.create(
                operands=[value], properties={"reassociation": axes}, result_types=[result]
            )

        if isinstance(value.owner, memref.SubviewOp):
            view: SSAValue = Builder(InsertPoint.after(value.owner)).insert(collapsed()).results[0]
        else:
            view = self.kernel.shared(("collapse", value), collapsed)
        view.name_hint = value.name_hint
        for op in self.ops:
            for number, operand in enumerate(op.operands):
                if operand is value:
                    op.operands[number] = view
