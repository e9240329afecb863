"""Temporaries that are still memory when a kernel is lowered: small ones on the stack, the others in the scratch that a call is given.

    %e = memref.alloc() : memref<8xf32>           ->  memref.alloca, at the entry
    %x_panel = memref.alloc() : memref<4096x32xf32, "panel">, %row = memref.alloc(%C)
->  %scratch: memref<?xi8> as an argument, kernel.scratch = "524288 + C*4" bytes; each is a part of it
"""

from __future__ import annotations

from xdsl.dialects import arith, memref
from xdsl.dialects.builtin import DYNAMIC_INDEX, IntegerAttr, MemRefType, i64
from xdsl.ir import SSAValue
from xdsl.rewriter import InsertPoint, Rewriter

from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.kernel.kernel import Kernel, element_bytes, space_of, static_bytes, strides_of, type_of
from mlc.ir.kernel.located import Builder
from mlc.passes.loops.refused import Refused

ALIGN = 64
GUARD = 64  # bytes behind a row that a whole vector may read


def place_scratch(kernel: Kernel, stack: int) -> None:
    """Every memref.alloc becomes a memref.alloca, `stack` bytes of them at most, or a part of %scratch."""
    every = [op for op in kernel.op.walk() if isinstance(op, memref.AllocOp) and space_of(op.memref) != "workgroup"]
    allocs = [op for op in every if op.memref.first_use is not None]
    for op in every:
        if op.memref.first_use is None:  # it gave a loop its extent, and nobody reads it
            Rewriter.erase_op(op)
    small: list[memref.AllocOp] = []
    used = 0
    for op in sorted((op for op in allocs if static_bytes(op) is not None), key=lambda op: static_bytes(op) or 0):
        bytes = static_bytes(op) or 0
        used += bytes if kernel.launch else _rounded(bytes)  # registers have no places
        if used <= stack:
            small.append(op)
    for op in small:
        _on_the_stack(kernel, op)
    large = [op for op in allocs if op not in small]
    if large and kernel.launch:
        raise Refused(f"'{large[0].memref.name_hint}' does not fit in the registers of a thread")
    if large:
        place_in_scratch(kernel, large)


def _rounded(bytes: int) -> int:
    return -(-bytes // ALIGN) * ALIGN


def _on_the_stack(kernel: Kernel, op: memref.AllocOp) -> None:
    alignment = {"alignment": IntegerAttr(ALIGN, i64)}
    new = memref.AllocaOp.build(operands=[[], []], result_types=[op.memref.type], properties=alignment)
    Builder(InsertPoint.at_start(kernel.block)).insert(new)
    new.memref.name_hint = op.memref.name_hint
    op.memref.replace_all_uses_with(new.memref)
    Rewriter.erase_op(op)


def place_in_scratch(kernel: Kernel, allocs: list[memref.AllocOp]) -> None:
    """Each allocation becomes a part of %scratch. Offsets are sums of sizes; a size is a number, or a product of extents rounded up."""
    kernel.shared_first()  # offsets are among them, and an allocation may stand at the very start
    number = 0
    names: list[Extent] = []
    offsets: list[tuple[int, list[Extent]]] = []
    for op in allocs:
        offsets.append((number, list(names)))
        bytes = static_bytes(op)
        if bytes is not None:
            number += _rounded(bytes)
            continue
        if space_of(op.memref) is not None:
            raise Refused(f"a panel of run-time size for '{op.memref.name_hint}'")
        size = dims.prod([*kernel.shape_of(op.memref), element_bytes(type_of(op.memref).element_type)])
        number += ALIGN + GUARD
        names.append(size)
    scratch = kernel.add_scratch(sum((dims.floordiv(size, ALIGN) * ALIGN for size in names), start=number))
    for op, (fixed, sizes) in zip(allocs, offsets, strict=True):
        b = Builder(InsertPoint.before(op))
        offset: SSAValue = kernel.const(fixed)
        for size in sizes:
            rounded = b.insert(arith.AndIOp(kernel.extent(size), kernel.const(-ALIGN))).result
            offset = b.insert(arith.AddiOp(offset, rounded)).result
        new = _part(kernel, b, scratch, offset, op)
        new.name_hint = op.memref.name_hint
        op.memref.replace_all_uses_with(new)
        Rewriter.erase_op(op)


def _part(kernel: Kernel, b: Builder, scratch: SSAValue, offset: SSAValue, op: memref.AllocOp) -> SSAValue:
    """A row of elements, seen in the shape and with the strides of the allocation."""
    type = op.memref.type
    bytes = static_bytes(op)
    if bytes is None:
        shape = kernel.shape_of(op.memref)
        flat = MemRefType(type.element_type, [DYNAMIC_INDEX])
        row = memref.ViewOp(scratch, offset, [kernel.extent(dims.prod(shape))], flat)
    else:
        shape = tuple(type.get_shape())
        flat = MemRefType(type.element_type, [bytes // element_bytes(type.element_type)])
        row = memref.ViewOp(scratch, offset, [], flat)
    b.insert(row)
    strides: list[SSAValue | int] = []
    for axis, stride in enumerate(strides_of(op.memref)):
        strides.append(kernel.extent(dims.prod(shape[axis + 1 :])) if stride is None else stride)
    sizes = [e if isinstance(e, int) else kernel.extent(e) for e in shape]
    return b.insert(memref.ReinterpretCastOp.from_dynamic(row.result, [0], sizes, strides, type)).result
