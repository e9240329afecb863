"""Cotangents on their way back: a running sum for each value, but of what is read in pieces one concatenation.

    y = x[:, :2] * a;  z = x[:, 3:] * b        pad(dy a) + pad(dz b)   ->   concatenate(dy a, zeros, dz b)

Padded pieces have as many elements as the value, each; a value that is read in k pieces, as the gates of a recurrent cell or the steps of an
unrolled loop, would take k times that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from xdsl.ir import SSAValue

from mlc.ir.dims import Extent
from mlc.ir.graph import parts
from mlc.ir.graph import shape as shapes
from mlc.ir.graph.constants import ConstantOp
from mlc.ir.graph.derivative import Tangent
from mlc.ir.graph.parts import PadOp
from mlc.ir.types import dtype_of, shape_of
from mlc.passes.autodiff import algebra
from mlc.passes.graph.facts import made_by, number


class Piece(NamedTuple):
    """A cotangent that is zero but for elements [start, stop) of an axis."""

    pad: PadOp
    axis: int
    start: int
    stop: int


class Cotangents:
    """The cotangents of the values in `active`; what comes for others is not kept."""

    def __init__(self, active: Collection[SSAValue], seeds: Iterable[tuple[SSAValue, SSAValue]]):
        self.active = active
        self.sums: dict[SSAValue, SSAValue] = {}
        self.pieces: dict[SSAValue, list[Piece]] = {}
        self.joined: list[PadOp] = []
        self.given: set[SSAValue] = set()  # from outside, where somebody may hold them
        for value, cotangent in seeds:
            self.given.add(cotangent)
            self.add(value, cotangent)

    def add(self, value: SSAValue, cotangent: SSAValue) -> None:
        """One more of the partial cotangents that sum up to that of a value."""
        if value not in self.active:
            return
        piece = None if cotangent in self.given else _piece(cotangent)
        if piece is None:
            self._sum(value, cotangent)
        else:
            self.pieces.setdefault(value, []).append(piece)

    def of(self, value: SSAValue) -> Tangent:
        """The sum of what has come; None for nothing. Pieces are put together here, at the current position."""
        for row in _rows(self.pieces.pop(value, [])):
            if len(row) == 1:
                self._sum(value, row[0].pad.result)
            else:
                self._sum(value, _side_by_side(row))
                self.joined += [piece.pad for piece in row]
        return self.sums.get(value)

    def drop_joined(self, kept: Collection[Tangent]) -> None:
        """Take out the padded pieces that nothing reads, now that they have become parts of a whole."""
        for pad in dict.fromkeys(self.joined):
            if pad.result.first_use is None and pad.result not in kept:
                filler = pad.value.owner
                pad.detach()
                pad.erase()
                if isinstance(filler, ConstantOp) and filler.result.first_use is None:
                    filler.detach()
                    filler.erase()

    def _sum(self, value: SSAValue, cotangent: SSAValue) -> None:
        known = self.sums.get(value)
        self.sums[value] = cotangent if known is None else algebra.add(known, cotangent)


def _piece(cotangent: SSAValue) -> Piece | None:
    """Which part of one axis is not zero, where numbers say it."""
    pad = made_by(cotangent, PadOp)
    if pad is None or any(pad.between) or number(pad.value) != 0:
        return None
    edges = list(zip(pad.low.extents(), pad.high.extents(), strict=True))
    padded = [axis for axis, pair in enumerate(edges) if not all(isinstance(e, int) and e == 0 for e in pair)]
    if len(padded) != 1:
        return None
    (axis,) = padded
    size, (low, high) = shape_of(pad.x)[axis], edges[axis]
    if not isinstance(size, int) or not isinstance(low, int) or not isinstance(high, int) or min(low, high) < 0:
        return None
    return Piece(pad, axis, low, low + size)


def _rows(pieces: Iterable[Piece]) -> list[list[Piece]]:
    """Pieces that may stand side by side, in order: those that overlap are in different rows."""
    rows: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda p: (p.axis, p.start, p.stop)):
        room = next((row for row in rows if row[-1].axis == piece.axis and row[-1].stop <= piece.start), None)
        if room is None:
            rows.append([piece])
        else:
            room.append(piece)
    return rows


def _side_by_side(row: list[Piece]) -> SSAValue:
    """The pieces of a row and zeros between them."""
    axis, whole = row[0].axis, shape_of(row[0].pad.result)
    values: list[SSAValue] = []

    def zeros(size: Extent) -> None:
        if size != 0:
            shape = [size if a == axis else e for a, e in enumerate(whole)]
            values.append(shapes.full(shape, 0, dtype_of(row[0].pad.x)))

    at = 0
    for piece in row:
        zeros(piece.start - at)
        values.append(piece.pad.x)
        at = piece.stop
    zeros(whole[axis] - at)
    return parts.concatenate(values, axis)
