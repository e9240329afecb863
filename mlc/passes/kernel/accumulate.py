"""Reductions accumulate in a temporary, which a tile keeps in registers, and not in the buffer of the result.

fill %Y;  reduce ... outs(%Y)     ->     %Y_sum = alloc;  fill %Y_sum;  reduce ... outs(%Y_sum);  copy %Y_sum to %Y
"""

from __future__ import annotations

from xdsl.builder import Builder
from xdsl.dialects.linalg.attrs import IteratorType
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import SSAValue
from xdsl.rewriter import InsertPoint

from mlc.ir.kernel.access import Affine
from mlc.ir.kernel.kernel import Kernel, loops_of, structured, type_of
from mlc.passes.loops.tile_view import accesses


def accumulate_in_temporaries(kernel: Kernel) -> None:
    """For every argument that ops fill and reduce into, one element per position of its loops."""
    ops = [op for op in kernel.block.ops if isinstance(op, GenericOp)]
    for value in kernel.buffers.values():
        users = [op for op in ops if value in op.operands]
        if len(users) > 1 and any(reduces_into(op, value) for op in users) and filled(users[0], value):
            forms = {a for op in users for v, a in zip(op.operands, accesses(op), strict=True) if v is value}
            if len(forms) == 1 and all(use.operation in ops for use in value.uses):
                _redirect(kernel, value, users, forms.pop())


def reduces_into(op: GenericOp, value: SSAValue) -> bool:
    return op.outputs[0] is value and any(kind.data is IteratorType.REDUCTION for kind in op.iterator_types.data)


def filled(op: GenericOp, value: SSAValue) -> bool:
    """Does the op write every element without reading it?"""
    return op.outputs[0] is value and not op.body.block.args[-1].uses.get_length() and value not in op.inputs


def _redirect(kernel: Kernel, value: SSAValue, users: list[GenericOp], access: tuple[Affine, ...]) -> None:
    loops = [form.loop() for form in access]
    extents = loops_of(users[0])
    names = [name for name in loops if name is not None]
    if len(names) < len(loops) or len(set(names)) < len(names) or set(extents) != set(names):
        return
    b = Builder(InsertPoint.before(users[0]))
    shape = [extents[name] for name in names]
    total = kernel.allocate(b, shape, type_of(value).element_type, f"{value.name_hint}_sum")
    for op in users:
        for number, operand in enumerate(op.operands):
            if operand is value:
                op.operands[number] = total
    copy = Builder(InsertPoint.after(users[-1]))
    structured(copy, extents, [(total, names)], (value, names), lambda b, x, out: x)
