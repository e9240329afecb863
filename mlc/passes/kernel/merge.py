"""Merge loops that run through memory as one: a convolution becomes an implicit GEMM without im2col.

    loops {oh, ow, oc, kh, kw, ic}   X[oh*2 + kh, ow*2 + kw, ic]      W[kh, kw, ic, oc]
->  loops {oh, ow, oc, kh, kw.ic}    X[oh*2 + kh, ow*2*IC + kw.ic]    W[kh, kw.ic, oc]
and of a 1x1 convolution with stride 1, whose unit loops are dropped first,
->  loops {oh.ow, oc, ic}            X[oh.ow, ic]                     W[ic, oc]

Arguments keep their types; the kernel sees them through memref.collapse_shape, which costs nothing.
"""

from __future__ import annotations

from itertools import permutations

from xdsl.builder import Builder
from xdsl.dialects import memref
from xdsl.dialects.builtin import ArrayAttr, IntegerAttr, i64
from xdsl.dialects.linalg.ops import GenericOp, IndexOp
from xdsl.ir import Attribute, SSAValue
from xdsl.rewriter import InsertPoint, Rewriter

from mlc.ir.dims import Extent
from mlc.ir.kernel.access import Affine, write_map
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
from mlc.passes.loops.tile_view import accesses


def merge_loops(kernel: Kernel) -> None:
    """Drop unit loops and merge every pair of loops that all operands allow. Kernels with other code than structured ops stay."""
    ops = [op for op in kernel.block.ops if isinstance(op, GenericOp)]
    if not ops:
        return
    loops = MergeableLoops(kernel, ops)
    loops.drop_unit_loops()
    loops.drop_unit_axes()
    while pair := loops.mergeable():
        loops.merge(*pair)
    loops.write()


class MergeableLoops:
    """The kernel's loops and accesses in a form that is easy to change; `write` puts them back."""

    def __init__(self, kernel: Kernel, ops: list[GenericOp]):
        self.kernel, self.ops = kernel, ops
        self.names = [list(loops_of(op)) for op in ops]
        self.extents = {name: extent for op in ops for name, extent in loops_of(op).items()}
        self.kinds: dict[str, set[Attribute]] = {}
        self.kind = [dict(zip(loops_of(op), op.iterator_types.data, strict=True)) for op in ops]
        for kinds in self.kind:
            for name, kind in kinds.items():
                self.kinds.setdefault(name, set()).add(kind)
        self.shapes: dict[SSAValue, list[Extent]] = {v: list(kernel.shape_of(v)) for op in ops for v in op.operands}
        self.groups: dict[SSAValue, list[list[int]]] = {v: [[a] for a in range(len(s))] for v, s in self.shapes.items()}
        self.fixed = {v for v in self.shapes if not self.collapsible(v)}
        self.accesses = [[list(form) for form in accesses(op)] for op in ops]
        self.indices = [[i for i in op.walk() if isinstance(i, IndexOp)] for op in ops]
        self.index_loops = [
            [names[i.dim.value.data] for i in found] for names, found in zip(self.names, self.indices, strict=True)
        ]

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

    def drop_unit_loops(self) -> None:
        for name in [n for n, extent in self.extents.items() if extent == 1]:
            del self.extents[name]
            for access in (access for found in self.accesses for access in found):
                for axis, form in enumerate(access):
                    terms = {n: c for n, c in form.terms.items() if n != name}
                    access[axis] = Affine(terms, form.constant)
        self.names = [[n for n in names if n in self.extents] for names in self.names]

    def drop_unit_axes(self) -> None:
        """An axis of one element joins its neighbour, so that it does not stand between loops that could merge."""
        for value, shape in self.shapes.items():
            for axis in reversed(range(len(shape))):
                if value in self.fixed or shape[axis] != 1 or len(shape) == 1:
                    continue
                uses = [
                    access
                    for op, found in zip(self.ops, self.accesses, strict=True)
                    for operand, access in zip(op.operands, found, strict=True)
                    if operand is value
                ]
                if any(access[axis] != Affine() for access in uses):
                    continue
                for access in uses:
                    del access[axis]
                del shape[axis]
                group = self.groups[value]
                other = axis - 1 if axis else axis + 1
                group[other] = sorted(group[other] + group[axis])
                del group[axis]

    def mergeable(self) -> tuple[str, str] | None:
        indexed = {name for names in self.index_loops for name in names}
        candidates = [name for name in self.extents if name not in indexed]
        return next((pair for pair in permutations(candidates, 2) if self.may_merge(*pair)), None)

    def may_merge(self, outer: str, inner: str) -> bool:
        if self.kinds[outer] != self.kinds[inner] or len(self.kinds[outer]) != 1:
            return False
        if any((outer in names) != (inner in names) for names in self.names):
            return False
        if not isinstance(self.extents[inner], int) and not self.single(outer):
            return False
        touched: dict[
            SSAValue, int | None
        ] = {}  # the axes of a buffer that one operand runs through, all of its operands must
        for op, access in zip(self.ops, self.accesses, strict=True):
            for value, form in zip(op.operands, access, strict=True):
                if not self.runs_on(value, form, outer, inner):
                    return False
                axis = next((a for a, index in enumerate(form) if outer in index.terms), None)
                if touched.setdefault(value, axis) != axis:
                    return False
        return True

    def runs_on(self, value: SSAValue, access: list[Affine], outer: str, inner: str) -> bool:
        """Do both loops index neighbouring axes of this operand, as one loop through both would?"""
        at = [axis for axis, form in enumerate(access) if outer in form.terms or inner in form.terms]
        if not at:
            return True
        return (
            value not in self.fixed
            and len(at) == 2
            and at[1] == at[0] + 1
            and access[at[0]].terms.get(outer) == 1
            and inner not in access[at[0]].terms
            and access[at[1]] == Affine({inner: 1})
            and self.shapes[value][at[1]] == self.extents[inner]
        )

    def merge(self, outer: str, inner: str) -> None:
        name, run = f"{outer}.{inner}", self.extents[inner]
        self.extents[name] = self.extents.pop(outer) * self.extents.pop(inner)
        self.kinds[name] = self.kinds[outer]
        collapsed: set[SSAValue] = set()
        for number, (op, names) in enumerate(zip(self.ops, self.names, strict=True)):
            if outer not in names:
                continue
            self.kind[number][name] = self.kind[number][outer]
            names[names.index(inner)] = name
            names.remove(outer)
            for value, access in zip(op.operands, self.accesses[number], strict=True):
                axis = next((a for a, form in enumerate(access) if outer in form.terms), None)
                if axis is None:
                    continue
                form = access[axis]
                by = run if isinstance(run, int) else 1
                rest = {n: c * by for n, c in form.terms.items() if n != outer}
                access[axis : axis + 2] = [Affine({name: 1} | rest, form.constant * by)]
                if value not in collapsed:
                    collapsed.add(value)
                    shape, group = self.shapes[value], self.groups[value]
                    shape[axis : axis + 2] = [shape[axis] * shape[axis + 1]]
                    group[axis : axis + 2] = [group[axis] + group[axis + 1]]

    def single(self, outer: str) -> bool:
        """Is `outer` alone wherever it indexes, so that a run-time row length need not scale other terms?"""
        forms = [form for access in self.accesses for operand in access for form in operand if outer in form.terms]
        return all(form.terms == {outer: 1} and not form.constant for form in forms)

    def write(self) -> None:
        for value, grouping in self.groups.items():
            if len(grouping) < len(self.kernel.shape_of(value)):
                self.collapse(value, grouping)
        for number, (op, names) in enumerate(zip(self.ops, self.names, strict=True)):
            for index, loop in zip(self.indices[number], self.index_loops[number], strict=True):
                if loop in names:
                    index.properties["dim"] = IntegerAttr(names.index(loop), i64)
                else:
                    index.result.replace_all_uses_with(self.kernel.const(0))
                    Rewriter.erase_op(index)
            op.properties["indexing_maps"] = ArrayAttr([write_map(access, names) for access in self.accesses[number]])
            op.properties["iterator_types"] = ArrayAttr([self.kind[number][n] for n in names])
            op.attributes["loops"] = loops_attr({n: self.extents[n] for n in names})

    def collapse(self, value: SSAValue, grouping: list[list[int]]) -> None:
        element, shape = type_of(value).element_type, self.shapes[value]
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
