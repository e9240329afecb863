"""Sums of products of bytes: acc[m, n] : i32 += ext(x[m, k]) * ext(y[k, n]), x and y of 8 bits with or without a sign.

Where a loop of four runs through neighbouring bytes of both operands, one of them unsigned and the other signed, four products are one
instruction in each lane (vector_ops.DotBytes):

    linalg.generic {m = 14, n = 32, k = 192, r = 4} ins(%x: memref<14x192x4xi8>, %y: memref<192x32x4xi8>) outs(%acc: memref<14x32xi32>)
->  per step of k: 14 words of %x in all lanes, 2 vectors of %y, 28 vector.dot_bytes
"""

from __future__ import annotations

from xdsl.dialects import arith
from xdsl.dialects.builtin import i8, i32
from xdsl.dialects.linalg.attrs import IteratorType
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import BlockArgument, SSAValue

from mlc.ir.kernel.access import read_map
from mlc.ir.kernel.kernel import loops_of, strides_of

QUAD = 4


def byte_factors(op: GenericOp) -> tuple[tuple[int, bool], tuple[int, bool]] | None:
    """Of an op that adds products of bytes into an i32: the number of each operand and whether it has a sign. None for any other op."""
    last = op.body.block.last_op
    assert last is not None
    total, out = last.operands[0].owner, op.body.block.args[-1]
    if not isinstance(total, arith.AddiOp) or out.type != i32 or out not in total.operands:
        return None
    product = next((v for v in total.operands if v is not out), out).owner
    if not isinstance(product, arith.MuliOp):
        return None
    lhs, rhs = (_widened(v) for v in product.operands)
    return None if lhs is None or rhs is None or lhs[0] == rhs[0] else (lhs, rhs)


def _widened(value: SSAValue) -> tuple[int, bool] | None:
    op = value.owner
    if not isinstance(op, arith.ExtSIOp | arith.ExtUIOp) or not isinstance(op.input, BlockArgument):
        return None
    return (op.input.index, isinstance(op, arith.ExtSIOp)) if op.input.type == i8 else None


def quad_of(op: GenericOp) -> str | None:
    """The loop whose four products are one instruction."""
    factors = byte_factors(op)
    if factors is None or factors[0][1] == factors[1][1]:
        return None
    loops = loops_of(op)
    kinds = dict(zip(loops, (kind.data for kind in op.iterator_types.data), strict=True))
    found = []
    for number, _ in factors:
        access = read_map(op.indexing_maps.data[number], list(loops))
        loop = access[-1].loop() if access and access[-1].constant == 0 else None
        if loop is None or strides_of(op.operands[number])[-1] != 1 or any(loop in form.terms for form in access[:-1]):
            return None
        found.append(loop)
    same = found[0] == found[1] and loops[found[0]] == QUAD and kinds[found[0]] is IteratorType.REDUCTION
    return found[0] if same else None
