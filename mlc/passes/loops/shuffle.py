"""A square of vectors transposed in registers: rows along one loop become lanes along another.

    rows a0 a1 a2 a3 | b0 b1 b2 b3 | ...      ->      a0 b0 c0 d0 | a1 b1 c1 d1 | ...

log2(n) rounds of n shuffles; in round d, the lanes with bit d of one row change places with the others of the row d further on.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import vector
from xdsl.dialects.builtin import DenseArrayBase, i64
from xdsl.ir import SSAValue

from mlc.ir.kernel.located import Builder


def transposed(b: Builder, rows: Sequence[SSAValue]) -> list[SSAValue]:
    """As many rows as a vector has lanes, a power of two."""
    width, rows = len(rows), list(rows)
    distance = 1
    while distance < width:
        low = [lane if not lane & distance else width + (lane ^ distance) for lane in range(width)]
        high = [lane | distance if not lane & distance else width + lane for lane in range(width)]
        for row in range(width):
            if not row & distance:
                pair = rows[row], rows[row | distance]
                rows[row], rows[row | distance] = _shuffle(b, pair, low), _shuffle(b, pair, high)
        distance *= 2
    return rows


def _shuffle(b: Builder, pair: tuple[SSAValue, SSAValue], order: list[int]) -> SSAValue:
    mask = DenseArrayBase.from_list(i64, order)
    return b.insert(vector.ShuffleOp(*pair, mask, result_type=pair[0].type)).result  # type: ignore[arg-type]
