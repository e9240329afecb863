"""Long sums by pieces: so many values are added up from zero, then the piece is added to the total, with the error of that addition kept.

    %t = scf.for %p = 0 to %n step 64 iter_args(%total, %lost) {
      %piece = scf.for %k = %p to min(%p + 64, %n) iter_args(%sum = 0) { addf %sum, %x[%k] }
      %total + %piece, and in %lost what the rounding took (Knuth's two-sum) }
    %sum = %total + %lost

One after the other in f32, the mean of 640 x 640 values near 1 is off by 4e-4; by pieces of 64 its error is that of 64 additions. The order
is fixed by the loop alone. Products (contractions, convolutions) keep their one accumulator per element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xdsl.dialects import arith
from xdsl.dialects.linalg.attrs import IteratorType
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import BlockArgument, SSAValue

from mlc.ir.dims import Dim, Extent
from mlc.ir.kernel.located import Builder
from mlc.passes.loops.floats import Arithmetic, Constants
from mlc.passes.loops.scf_blocks import for_loop

PIECE = 64


def is_sum(op: GenericOp) -> bool:
    """Does the op add up values that are no products of two operands?"""
    if all(kind.data is not IteratorType.REDUCTION for kind in op.iterator_types.data):
        return False
    last = op.body.block.last_op
    assert last is not None
    added, out = last.operands[0].owner, op.body.block.args[-1]
    if not isinstance(added, arith.AddfOp) or out not in added.operands:
        return False
    (term,) = [v for v in added.operands if v is not out] or [out]
    factors = term.owner.operands if isinstance(term.owner, arith.MulfOp) else ()
    return not (len(set(factors)) == 2 and all(isinstance(v, BlockArgument) for v in factors))


def long_loop(extent: Extent, piece: int) -> bool:
    """Is a loop worth cutting, or may it be?"""
    return isinstance(extent, Dim) or extent > 2 * piece


def loop_of_pieces(
    b: Builder,
    bounds: tuple[SSAValue, SSAValue],
    length: SSAValue,
    name: str,
    fill: Callable[[Builder, SSAValue, SSAValue, Sequence[SSAValue]], Sequence[SSAValue]],
    carried: Sequence[SSAValue],
) -> list[SSAValue]:
    """The outer loop: `fill(b, start, stop, carried)` for pieces of `length` between the bounds."""
    start, stop = bounds

    def piece(b: Builder, iv: SSAValue, *acc: SSAValue) -> Sequence[SSAValue]:
        end = b.insert(arith.MinSIOp(b.insert(arith.AddiOp(iv, length)).result, stop)).result
        return fill(b, iv, end, acc)

    return list(b.insert(for_loop(start, stop, length, f"{name}_piece", piece, carried)).results)


def add_piece(
    b: Builder, constants: Constants, total: SSAValue, lost: SSAValue, piece: SSAValue
) -> tuple[SSAValue, SSAValue]:
    """total + piece as rounded, and what has been lost so far."""
    a = Arithmetic(b, constants, total.type)
    longer = a.add(total, piece)
    back = a.sub(longer, total)
    error = a.add(a.sub(total, a.sub(longer, back)), a.sub(piece, back))
    return longer, a.add(lost, error)


def settled(b: Builder, constants: Constants, total: SSAValue, lost: SSAValue) -> SSAValue:
    """The sum with what was lost; an infinite total loses inf - inf and stays."""
    a = Arithmetic(b, constants, total.type)
    return a.select(a.compare("ord", lost, lost), a.add(total, lost), total)
