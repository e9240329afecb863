"""Arithmetic on floats and their bits, the same for a scalar and for every lane of a vector: what math.py is written in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from xdsl.dialects import arith, math, vector
from xdsl.dialects.builtin import FloatAttr, IntegerAttr, UnitAttr, VectorType, f32, f64, i1, i32, i64
from xdsl.ir import Attribute, Operation, SSAValue

from mlc.ir.kernel import vector_ops as lanewise
from mlc.ir.kernel.kernel import float_attr
from mlc.ir.kernel.located import Builder
from mlc.passes.loops.scf_blocks import choice


class Constants(Protocol):
    """Where constants live: made once at the entry of a leaf, or on the spot."""

    def constant(self, b: Builder, attr: FloatAttr | IntegerAttr, type: Attribute) -> SSAValue: ...


class OnTheSpot:
    """Constants where they are used: LLVM's passes move them."""

    def constant(self, b: Builder, attr: FloatAttr | IntegerAttr, type: Attribute) -> SSAValue:
        return b.insert(arith.ConstantOp(attr)).result


class Arithmetic:
    """Builds ops on values of one type: f32 or f64, or a vector of them."""

    def __init__(self, b: Builder, constants: Constants, type: Attribute):
        self.b, self.constants, self.type = b, constants, type
        self.element = type.element_type if isinstance(type, VectorType) else type
        self.integers = i64 if self.element == f64 else i32

    def like(self, element: Attribute) -> Attribute:
        return VectorType(element, self.type.get_shape()) if isinstance(self.type, VectorType) else element

    def _one(self, op: Operation) -> SSAValue:
        return self.b.insert(op).results[0]

    def real(self, value: float) -> SSAValue:
        return self.constants.constant(self.b, float_attr(value, self.element), self.type)

    def integer(self, value: int) -> SSAValue:
        return self.constants.constant(self.b, IntegerAttr(value, self.integers), self.like(self.integers))

    # Floats ----------------------------------------------------------------------------------------------------------
    def add(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self._one(arith.AddfOp(x, y))

    def sub(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self._one(arith.SubfOp(x, y))

    def mul(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self._one(arith.MulfOp(x, y))

    def div(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self._one(arith.DivfOp(x, y))

    def fma(self, x: SSAValue, y: SSAValue, z: SSAValue) -> SSAValue:
        kind: type[Operation] = vector.FMAOp if isinstance(self.type, VectorType) else math.FmaOp
        return self._one(kind.create(operands=[x, y, z], result_types=[self.type]))

    def exact_fma(self, x: SSAValue, y: SSAValue, z: SSAValue) -> SSAValue:
        """An fma that rounds once on machines without the instruction too, where it takes several."""
        found = self.fma(x, y, z)
        found.owner.attributes["exact"] = UnitAttr()  # type: ignore[union-attr]
        return found

    def horner(self, x: SSAValue, coefficients: Sequence[float]) -> SSAValue:
        """The polynomial with these coefficients, highest power first."""
        first, *rest = coefficients
        total = self.real(first)
        if first == 1.0 and rest:
            total, rest = self.add(x, self.real(rest[0])), rest[1:]
        for coefficient in rest:
            total = self.fma(total, x, self.real(coefficient))
        return total

    def most(self, x: SSAValue, bound: float) -> SSAValue:
        """min(x, bound); NaN stays."""
        return self._one(arith.MinimumfOp(x, self.real(bound)))

    def least(self, x: SSAValue, bound: float) -> SSAValue:
        """max(x, bound); NaN stays."""
        return self._one(arith.MaximumfOp(x, self.real(bound)))

    def negate(self, x: SSAValue) -> SSAValue:
        return self._one(arith.NegfOp(x))

    def absolute(self, x: SSAValue) -> SSAValue:
        return self._one(math.AbsFOp(x))

    def copysign(self, x: SSAValue, sign: SSAValue) -> SSAValue:
        return self._one(math.CopySignOp(x, sign))

    def root(self, x: SSAValue) -> SSAValue:
        return self._one(math.SqrtOp(x))

    def floor(self, x: SSAValue) -> SSAValue:
        return self._one(math.FloorOp(x))

    def round(self, x: SSAValue) -> SSAValue:
        """To the nearest integer, ties to even."""
        return self._one(math.RoundEvenOp(x))

    # Truth -----------------------------------------------------------------------------------------------------------
    def compare(self, predicate: str, x: SSAValue, y: SSAValue) -> SSAValue:
        return self._one(lanewise.CompareFloats(x, y, predicate))

    def select(self, condition: SSAValue, x: SSAValue, y: SSAValue) -> SSAValue:
        return self._one(lanewise.Select(condition, x, y))

    def both(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self._one(arith.AndIOp(x, y))

    def rarely(
        self, condition: SSAValue, compute: Callable[[Arithmetic], Sequence[SSAValue]], usual: Sequence[SSAValue]
    ) -> Sequence[SSAValue]:
        """`compute(arithmetic)` where the condition holds, `usual` elsewhere. Computed only where a lane needs it: its cost may be high."""

        def fill(b: Builder) -> list[SSAValue]:
            inner = Arithmetic(b, self.constants, self.type)
            return [inner.select(condition, x, y) for x, y in zip(compute(inner), usual, strict=True)]

        types = [value.type for value in usual]
        return self.b.insert(choice(self.any(condition), types, fill, lambda b: usual)).results

    def any(self, condition: SSAValue) -> SSAValue:
        """Does it hold in a lane?"""
        if not isinstance(condition.type, VectorType):
            return condition
        kind = vector.CombiningKindAttr(vector.CombiningKindFlag.OR)
        return self._one(
            vector.ReductionOp.build(operands=[condition, None], result_types=[i1], properties={"kind": kind})
        )

    # Bits ------------------------------------------------------------------------------------------------------------
    def _cast(self, x: SSAValue, element: Attribute) -> SSAValue:
        if isinstance(self.type, VectorType):
            return self._one(vector.BitcastOp(x, self.like(element)))
        return self._one(arith.BitcastOp(x, element))

    def bits(self, x: SSAValue) -> SSAValue:
        return self._cast(x, self.integers)

    def floats(self, x: SSAValue) -> SSAValue:
        return self._cast(x, self.element)

    def iadd(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self._one(arith.AddiOp(x, y))

    def isub(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self._one(arith.SubiOp(x, y))

    def imax(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self._one(arith.MaxSIOp(x, y))

    def shift_left(self, x: SSAValue, by: int) -> SSAValue:
        return self._one(arith.ShLIOp(x, self.integer(by)))

    def shift_right(self, x: SSAValue, by: int) -> SSAValue:
        """The sign stays."""
        return self._one(arith.ShRSIOp(x, self.integer(by)))

    def signed(self, x: SSAValue, sign: SSAValue) -> SSAValue:
        """x, which has the sign of `sign` unless it is 0, with it also then."""
        bit = self._one(arith.AndIOp(self.bits(sign), self.integer(-1 << 31)))
        return self.floats(self._one(arith.OrIOp(self.bits(x), bit)))

    def flipped(self, x: SSAValue, by: SSAValue) -> SSAValue:
        """x with the other sign where the highest bit of `by` is set."""
        sign = self._one(arith.AndIOp(by, self.integer(-1 << 31)))
        return self.floats(self._one(arith.XOrIOp(self.bits(x), sign)))

    def odd(self, x: SSAValue) -> SSAValue:
        lowest = self._one(arith.AndIOp(x, self.integer(1)))
        return self._one(lanewise.CompareIntegers(lowest, self.integer(0), "ne"))

    def to_real(self, x: SSAValue) -> SSAValue:
        """A small integer as a float: added to the bits of 1.5 * 2^23 (2^52), the float itself subtracted."""
        magic = 6755399441055744.0 if self.element == f64 else 12582912.0
        bits = 0x4338000000000000 if self.element == f64 else 0x4B400000
        return self.sub(self.floats(self.iadd(x, self.integer(bits))), self.real(magic))

    # Precision -------------------------------------------------------------------------------------------------------
    def double(self) -> Arithmetic:
        return Arithmetic(self.b, self.constants, self.like(f64))

    def extended(self, x: SSAValue) -> SSAValue:
        return self._one(arith.ExtFOp.create(operands=[x], result_types=[self.type]))

    def truncated(self, x: SSAValue) -> SSAValue:
        return self._one(arith.TruncFOp.create(operands=[x], result_types=[self.type]))

    def in_double(self, compute: Callable[..., SSAValue], *operands: SSAValue) -> SSAValue:
        """f32 operands widened, the result of `compute(arithmetic of f64, ...)` rounded to f32."""
        assert self.element == f32
        wide = self.double()
        return self.truncated(compute(wide, *(wide.extended(x) for x in operands)))
