"""Cut a run-time extent into pieces whose sizes differ by at most one, with a switch over one static tile per size.

    linalg.generic {loops = {m = "M", n = 768}} ...
->  Level(m = 6)
    scf.for %t = 0 to ceil(M / 6) {
      %m, %m_size = ...                                     // 20 rows: pieces of 5; 19: 5, 5, 5, 4
      scf.index_switch %m_size  case 1 { the ops over 1 row } ... case 6 { the ops over 6 rows }
    }
Pieces of a loop across the lanes are counted in vectors; their views have a run-time size, so that the leaf masks the last vector.

->  Level(col <= 128), a level that only applies to a loop that fits:
    scf.if C <= 128 { scf.index_switch ceil(C / 16) { one tile of so many vectors } } else { the loop as it is }
"""

from __future__ import annotations

from collections.abc import Callable

from xdsl.dialects import arith, scf
from xdsl.ir import Operation, SSAValue

from mlc.ir.dims import Extent
from mlc.ir.kernel.kernel import Kernel
from mlc.ir.kernel.located import Builder
from mlc.passes.loops.scf_blocks import branch, for_loop, switch
from mlc.passes.loops.tile_view import Size

Inner = Callable[..., None]  # (b, offset, static extent, how much of it is there)


class Pieces:
    """The pieces of a loop of run-time extent: `size` elements at most, counted in units of 1 or of a vector."""

    def __init__(self, kernel: Kernel, name: str, extent: Extent, size: int, unit: int):
        self.kernel, self.name, self.extent, self.unit = kernel, name, extent, unit
        self.total = kernel.extent(extent)
        self.largest = size // unit

    def _once(
        self, what: str, op: Callable[[SSAValue, SSAValue], Operation], lhs: SSAValue, rhs: SSAValue | int
    ) -> SSAValue:
        right = rhs if isinstance(rhs, SSAValue) else self.kernel.const(rhs)
        value = self.kernel.shared((self.extent, self.unit, self.largest, what), lambda: op(lhs, right))
        value.name_hint = f"{self.name.replace('.', '_')}_{what}"
        return value

    def _divided(self, value: SSAValue, what: str, by: int) -> SSAValue:
        """Rounded upwards."""
        if by == 1:
            return value
        return self._once(what, arith.DivUIOp, self._once(f"{what}_up", arith.AddiOp, value, by - 1), by)

    def count(self) -> SSAValue:
        return self._divided(self._divided(self.total, "units", self.unit), "count", self.largest)

    def all(self, b: Builder, inner: Inner) -> None:
        """A loop over every piece."""
        const = self.kernel.const
        b.insert(for_loop(const(0), self.count(), const(1), self.name, lambda b, t: self.piece(b, t, inner)))

    def piece(self, b: Builder, t: SSAValue, inner: Inner) -> None:
        """`count` pieces of `base` or base + 1 units. Piece t begins at t * base + min(t, larger)."""
        if self.largest * self.unit == 1:
            inner(b, t, 1)
            return
        const = self.kernel.const
        units = self._divided(self.total, "units", self.unit)
        count = self._divided(units, "count", self.largest)
        # an empty extent has no pieces, and must not divide by zero
        base = self._once("base", arith.DivUIOp, units, self._once("divisor", arith.MaxSIOp, count, 1))
        larger = self._once("larger", arith.SubiOp, units, self._once("covered", arith.MuliOp, base, count))

        def start(t: SSAValue) -> SSAValue:
            extra = b.insert(arith.MinSIOp(t, larger)).result
            return b.insert(arith.AddiOp(b.insert(arith.MuliOp(t, base)).result, extra)).result

        first = start(t)
        here = b.insert(arith.SubiOp(start(b.insert(arith.AddiOp(t, const(1))).result), first)).result
        offset = first if self.unit == 1 else b.insert(arith.MuliOp(first, const(self.unit))).result
        here.name_hint, offset.name_hint = f"{self.name.replace('.', '_')}_size", self.name.replace(".", "_")
        switch(b, here, self.largest, lambda b, units: self._tile(b, offset, units * self.unit, inner))

    def _tile(self, b: Builder, offset: SSAValue, size: int, inner: Inner) -> None:
        valid: Size = size
        if self.unit > 1:
            left = b.insert(arith.SubiOp(self.total, offset)).result
            valid = b.insert(arith.MinSIOp(left, self.kernel.const(size))).result
            valid.name_hint = f"{self.name.replace('.', '_')}_valid"
        inner(b, offset, size, valid)


def short_or_long(
    kernel: Kernel, b: Builder, extent: Extent, size: int, unit: int, inner: Inner, other: Callable[[Builder], None]
) -> None:
    """One tile of as many vectors as the loop has where it fits in `size`; otherwise `other`."""
    const, total = kernel.const, kernel.extent(extent)

    def short(b: Builder) -> None:
        units = b.insert(arith.DivUIOp(b.insert(arith.AddiOp(total, const(unit - 1))).result, const(unit))).result
        units = b.insert(arith.MaxSIOp(units, const(1))).result  # over nothing a reduction still gives its start
        switch(b, units, size // unit, lambda b, units: inner(b, 0, units * unit, total))

    fits = b.insert(arith.CmpiOp(total, const(size + 1), "slt")).result
    b.insert(scf.IfOp(fits, [], [branch(short)], [branch(other)]))
