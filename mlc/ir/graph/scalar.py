"""Scalar arithmetic on one element: how an element-wise op is spelled in MLIR's arith and math dialects.

Kernels hold signless integers, so signedness and the guards against undefined results (division by zero, shifts by the full width)
are chosen here, by dtype. f16 and bf16 are computed in f32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from xdsl.builder import Builder
from xdsl.dialects import arith, math
from xdsl.dialects.builtin import FloatAttr, IntegerAttr, IntegerType, f32, i8
from xdsl.ir import Operation, SSAValue

from mlc.ir.dtypes import TABLE
from mlc.ir.graph import storage
from mlc.ir.kernel.scalar_ops import ErfcOp, GeluOp, RemainderOp, SoftplusOp
from mlc.ir.types import element, highest, is_float, is_half, is_integer, is_storage, lowest, signless

ScalarFunction = Callable[..., SSAValue]
Make = Callable[..., Operation]  # (builder, dtype of the operands, *operands) -> result


def constant(b: Builder, dtype: str, value: float | bool) -> SSAValue:
    kind = signless(dtype)
    if is_storage(dtype):
        value = int(np.array(value).astype(TABLE[dtype].numpy).view(np.uint8))
    if is_float(dtype):
        return b.insert(arith.ConstantOp(FloatAttr(float(value), kind))).result  # type: ignore[call-overload]
    assert isinstance(kind, IntegerType)
    width = kind.width.data
    wrapped = int(value) & ((1 << width) - 1)
    if width > 1 and wrapped >> (width - 1):
        wrapped -= 1 << width
    return b.insert(arith.ConstantOp(IntegerAttr(wrapped, kind))).result


def unary(op: Make) -> ScalarFunction:
    """math or arith op of one float operand."""
    return lambda b, dtype, x: b.insert(op(x)).results[0]


def binary(floats: Make | None, signed: Make | None = None, unsigned: Make | None = None) -> ScalarFunction:
    """One op per kind of dtype; bool goes with the unsigned."""

    def body(b: Builder, dtype: str, x: SSAValue, y: SSAValue) -> SSAValue:
        op = floats if is_float(dtype) else signed if dtype.startswith("i") else (unsigned or signed)
        assert op is not None, dtype
        return b.insert(op(x, y)).results[0]

    return body


def widened(body: ScalarFunction) -> ScalarFunction:
    """f16 and bf16 operands become f32 and the float result is rounded back."""

    def wide(b: Builder, dtype: str, *values: SSAValue) -> SSAValue:
        if not is_half(dtype):
            return body(b, dtype, *values)
        narrow = element(dtype)
        values = tuple(b.insert(arith.ExtFOp(v, f32)).result if v.type == narrow else v for v in values)
        result = body(b, "f32", *values)
        return b.insert(arith.TruncFOp(result, narrow)).result if result.type == f32 else result

    return wide


def compare(floats: str, signed: str, unsigned: str) -> ScalarFunction:
    def body(b: Builder, dtype: str, x: SSAValue, y: SSAValue) -> SSAValue:
        if is_float(dtype):
            return b.insert(arith.CmpfOp(x, y, floats)).result
        return b.insert(arith.CmpiOp(x, y, signed if dtype.startswith("i") else unsigned)).result

    return body


def select(b: Builder, condition: SSAValue, x: SSAValue, y: SSAValue) -> SSAValue:
    return b.insert(arith.SelectOp(condition, x, y)).result


def negate(b: Builder, dtype: str, x: SSAValue) -> SSAValue:
    return (
        b.insert(arith.NegfOp(x)).result if is_float(dtype) else b.insert(arith.SubiOp(constant(b, dtype, 0), x)).result
    )


def absolute(b: Builder, dtype: str, x: SSAValue) -> SSAValue:
    if is_float(dtype):
        return b.insert(math.AbsFOp(x)).result
    if not dtype.startswith("i"):
        return x
    return select(b, b.insert(arith.CmpiOp(x, constant(b, dtype, 0), "slt")).result, negate(b, dtype, x), x)


def sign(b: Builder, dtype: str, x: SSAValue) -> SSAValue:
    """-1, 0 or 1; a float that is NaN or a zero stays as it is."""
    zero, one = constant(b, dtype, 0), constant(b, dtype, 1)
    greater = compare("ogt", "sgt", "ugt")(b, dtype, x, zero)
    if dtype.startswith("u"):
        return select(b, greater, one, zero)
    less = compare("olt", "slt", "ult")(b, dtype, x, zero)
    return select(b, greater, one, select(b, less, constant(b, dtype, -1), x))


def divide(b: Builder, dtype: str, x: SSAValue, y: SSAValue) -> SSAValue:
    """Integers truncate; x / 0 is 0 and the lowest / -1 wraps, where machines trap."""
    if is_float(dtype):
        return b.insert(arith.DivfOp(x, y)).result
    zero, one = constant(b, dtype, 0), constant(b, dtype, 1)
    none = b.insert(arith.CmpiOp(y, zero, "eq")).result
    if not dtype.startswith("i"):
        return select(b, none, zero, b.insert(arith.DivUIOp(x, select(b, none, one, y))).result)
    minus = b.insert(arith.CmpiOp(y, constant(b, dtype, -1), "eq")).result
    safe = select(b, b.insert(arith.OrIOp(none, minus)).result, one, y)
    return select(b, none, zero, select(b, minus, negate(b, dtype, x), b.insert(arith.DivSIOp(x, safe)).result))


def remainder(b: Builder, dtype: str, x: SSAValue, y: SSAValue) -> SSAValue:
    """C's: the sign of the dividend; an integer remainder by 0 is 0."""
    if is_float(dtype):
        return b.insert(RemainderOp(x, y)).result
    zero, one = constant(b, dtype, 0), constant(b, dtype, 1)
    none = b.insert(arith.CmpiOp(y, zero, "eq")).result
    if not dtype.startswith("i"):
        return select(b, none, zero, b.insert(arith.RemUIOp(x, select(b, none, one, y))).result)
    minus = b.insert(arith.CmpiOp(y, constant(b, dtype, -1), "eq")).result
    unsafe = b.insert(arith.OrIOp(none, minus)).result
    return select(b, unsafe, zero, b.insert(arith.RemSIOp(x, select(b, unsafe, one, y))).result)


def modulo(b: Builder, dtype: str, x: SSAValue, y: SSAValue) -> SSAValue:
    """Python's: the sign of the divisor, of zeros too."""
    rest = remainder(b, dtype, x, y)
    if dtype.startswith("u"):
        return rest
    zero = constant(b, dtype, 0)
    is_rest = compare("one", "ne", "ne")(b, dtype, rest, zero)
    less = compare("olt", "slt", "ult")
    differ = b.insert(arith.XOrIOp(less(b, dtype, rest, zero), less(b, dtype, y, zero))).result
    fix = b.insert(arith.AndIOp(is_rest, differ)).result
    if not is_float(dtype):
        return select(b, fix, b.insert(arith.AddiOp(rest, y)).result, rest)
    zeros = b.insert(arith.CmpfOp(rest, zero, "oeq")).result
    rest = select(b, zeros, b.insert(math.CopySignOp(rest, y)).result, rest)
    return select(b, fix, b.insert(arith.AddfOp(rest, y)).result, rest)


def shift(left: bool) -> ScalarFunction:
    def body(b: Builder, dtype: str, x: SSAValue, y: SSAValue) -> SSAValue:
        """A shift by the width or more gives 0."""
        zero = constant(b, dtype, 0)
        width = int(dtype[1:])
        fits = b.insert(arith.CmpiOp(y, constant(b, dtype, width), "ult")).result
        amount = select(b, fits, y, zero)
        op = arith.ShLIOp if left else arith.ShRSIOp if dtype.startswith("i") else arith.ShRUIOp
        return select(b, fits, b.insert(op(x, amount)).result, zero)

    return body


def invert(b: Builder, dtype: str, x: SSAValue) -> SSAValue:
    return b.insert(arith.XOrIOp(x, constant(b, dtype, 1 if dtype == "bool" else -1))).result


def power(b: Builder, dtype: str, x: SSAValue, y: SSAValue) -> SSAValue:
    return b.insert((math.PowFOp if is_float(dtype) else math.IPowIOp)(x, y)).results[0]


def gelu(b: Builder, dtype: str, x: SSAValue) -> SSAValue:
    """In f64 by the C library's erfc."""
    if dtype != "f64":
        return b.insert(GeluOp(x)).results[0]
    half, by = constant(b, dtype, 0.5), constant(b, dtype, -(0.5**0.5))
    tail = b.insert(ErfcOp(b.insert(arith.MulfOp(x, by)).result)).results[0]
    return b.insert(arith.MulfOp(b.insert(arith.MulfOp(x, half)).result, tail)).result


def softplus(b: Builder, dtype: str, x: SSAValue) -> SSAValue:
    """In f64 max(x, 0) + log1p(exp(-|x|)) by the C library."""
    if dtype != "f64":
        return b.insert(SoftplusOp(x)).results[0]
    down = b.insert(arith.NegfOp(b.insert(math.AbsFOp(x)).result)).result
    rest = b.insert(math.Log1pOp(b.insert(math.ExpOp(down)).result)).result
    return b.insert(arith.AddfOp(b.insert(arith.MaximumfOp(x, constant(b, dtype, 0))).result, rest)).result


def sigmoid(b: Builder, dtype: str, x: SSAValue) -> SSAValue:
    one = constant(b, dtype, 1)
    e = b.insert(math.ExpOp(b.insert(arith.NegfOp(x)).result)).result
    return b.insert(arith.DivfOp(one, b.insert(arith.AddfOp(one, e)).result)).result


def relu(b: Builder, dtype: str, x: SSAValue) -> SSAValue:
    # the data stands on the left: maximumf keeps a NaN there in one instruction
    return binary(arith.MaximumfOp, arith.MaxSIOp, arith.MaxUIOp)(b, dtype, x, constant(b, dtype, 0))


def reciprocal(b: Builder, dtype: str, x: SSAValue) -> SSAValue:
    return b.insert(arith.DivfOp(constant(b, dtype, 1), x)).result


def is_nan(b: Builder, dtype: str, x: SSAValue) -> SSAValue:
    return b.insert(arith.CmpfOp(x, x, "uno")).result


def is_inf(b: Builder, dtype: str, x: SSAValue) -> SSAValue:
    return b.insert(arith.CmpfOp(b.insert(math.AbsFOp(x)).result, constant(b, dtype, float("inf")), "oeq")).result


def cast(
    b: Builder, source: str, target: str, x: SSAValue, saturate: bool = True, rounding: storage.Rounding = "up"
) -> SSAValue:
    """A float becomes an integer by truncation, saturating, NaN as 0; anything becomes bool by comparing with 0. `saturate` and `rounding`
    concern small floats: see storage.py. Integers below a byte take the low bits of an i32, of floats too."""
    if source == target:
        return x
    if is_storage(source):
        if target == "bool" and (format := TABLE[source].format) is not None and not format.signed:
            return constant(b, "bool", True)  # the least power of two would be flushed to zero
        decoded = storage.decode(b, TABLE[source], x)
        return cast(b, storage.carrier(TABLE[source]), target, decoded, saturate, rounding)
    if is_storage(target):
        return storage.encode(b, TABLE[target], carried(b, source, target, x), saturate, rounding)
    if target == "bool":
        return compare("une", "ne", "ne")(b, source, x, constant(b, source, 0))
    to = signless(target)
    if is_float(source):
        if is_half(source):
            x = b.insert(arith.ExtFOp(x, f32)).result
            source = "f32"
        if source == target:
            return x
        if is_float(target):
            widens = (source, target) == ("f32", "f64")
            return b.insert((arith.ExtFOp if widens else arith.TruncFOp)(x, to)).results[0]
        return b.insert((arith.FPToSIOp if target.startswith("i") else arith.FPToUIOp)(x, to)).results[0]  # type: ignore[arg-type]
    if is_float(target):
        op = arith.SIToFPOp if source.startswith("i") else arith.UIToFPOp
        return b.insert(op(x, to)).results[0]  # type: ignore[arg-type]
    widths = [1 if d == "bool" else int(d[1:]) for d in (source, target)]
    if widths[0] == widths[1]:
        return x
    if widths[0] > widths[1]:
        return b.insert(arith.TruncIOp(x, to)).results[0]  # type: ignore[arg-type]
    return b.insert((arith.ExtSIOp if source.startswith("i") else arith.ExtUIOp)(x, to)).results[0]  # type: ignore[arg-type]


def bitcast(b: Builder, source: str, target: str, x: SSAValue) -> SSAValue:
    """The bits of x as another dtype of the same width; bool is a byte of 0 or 1."""
    if target == "bool":
        byte = x if signless(source) == i8 else b.insert(arith.BitcastOp(x, i8)).result
        return b.insert(arith.CmpiOp(byte, constant(b, "u8", 0), "ne")).result
    if source == "bool":
        return b.insert(arith.ExtUIOp(x, i8)).result
    to = signless(target)
    return x if x.type == to else b.insert(arith.BitcastOp(x, to)).result


def carried(b: Builder, source: str, target: str, x: SSAValue) -> SSAValue:
    """x in the dtype that a storage type is encoded from: the low bits of whole numbers; f64 and wide integers lose nothing that rounding
    to a small float looks at."""
    carrier = storage.carrier(TABLE[target])
    if carrier != "f32":
        return cast(b, "i32", carrier, cast(b, source, "i32", x)) if is_float(source) else cast(b, source, carrier, x)
    if is_integer(source) and TABLE[source].bits >= 32:
        x, source = cast(b, source, "f64", x), "f64"
    return storage.narrowed(b, x) if source == "f64" else cast(b, source, "f32", x)


def reduction(kind: str) -> tuple[ScalarFunction, Callable[[str], float | int | bool]]:
    """How a reduction folds one element in (accumulator on the left), and its identity."""

    bodies: dict[str, tuple[ScalarFunction, Callable[[str], float | int | bool]]] = {
        "sum": (binary(arith.AddfOp, arith.AddiOp), lambda dtype: 0),
        "prod": (binary(arith.MulfOp, arith.MuliOp), lambda dtype: 1),
        "max": (binary(arith.MaximumfOp, arith.MaxSIOp, arith.MaxUIOp), lowest),
        "min": (binary(arith.MinimumfOp, arith.MinSIOp, arith.MinUIOp), highest),
        "and": (binary(None, arith.AndIOp), lambda dtype: True),
        "or": (binary(None, arith.OrIOp), lambda dtype: False),
    }
    return bodies[kind]
