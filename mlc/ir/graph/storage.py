"""Conversions to and from the storage types (small floats, integers below a byte): for arrays, and spelled for one element of a kernel.

    decode   f8e4m3fn 0x7E -> 448.0 : f32         i4 0x0F -> -1 : i8
    encode   449.0 : f32 -> f8e4m3fn 0x7E         -1 : i8 -> i4 0x0F

Rounding is to nearest, ties to even, once, whatever the source. What lies beyond the range of a float saturates, infinity too, or becomes
infinity or NaN where `saturate` is off. f8e8m0 holds powers of two: `rounding` is "up", "down" or "nearest" (ties up); it has no sign, and
that of x is dropped. Cast of ONNX: https://onnx.ai/onnx/operators/onnx__Cast.html.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from xdsl.builder import Builder
from xdsl.dialects import arith, math
from xdsl.dialects.builtin import FloatAttr, IntegerAttr, IntegerType, f32, f64, i8, i32
from xdsl.ir import SSAValue

from mlc.ir.dtypes import TABLE, DType, FloatFormat

Rounding = Literal["up", "down", "nearest"]
ROUNDINGS = ("up", "down", "nearest")

_INFINITY, _NAN = 0x7F800000, 0x7FC00000  # bits of f32
_LEAST_POWER = 0x00400000  # 2 ** -127, the least that f8e8m0 holds: half of the least normal number of f32
_THREE_QUARTERS = 0x00600000


def carrier(row: DType) -> str:
    """The dtype with arithmetic that holds every value of a storage type."""
    return "f32" if row.format is not None else "i8" if row.kind == "signed" else "u8"


def always_saturates(format: FloatFormat) -> bool:
    """Has it nothing to say of a number out of range but the largest one?"""
    return format.infinity is None and format.negative_zero and format.nan == 1 << (format.exponent + format.mantissa)


# Arrays -----------------------------------------------------------------------------------------------------------------


def decode_array(x: np.ndarray, row: DType) -> np.ndarray:
    return x.astype(TABLE[carrier(row)].numpy)


def encode_array(x: np.ndarray, row: DType, saturate: bool = True, rounding: Rounding = "up") -> np.ndarray:
    """`x` holds numbers of a dtype with arithmetic, for integers of any width; they wrap around, and floats saturate before."""
    if row.format is None:
        return (x.astype(np.uint8) & ((1 << row.bits) - 1)).view(row.numpy)
    if x.dtype.kind in "iu" and x.dtype.itemsize >= 4:
        x = x.astype(np.float64)
    x = _odd_array(x) if x.dtype == np.float64 else x.astype(np.float32)
    if not row.format.signed:
        return _power_array(x, saturate, rounding).view(row.numpy)
    if saturate or always_saturates(row.format):
        top = np.float32(np.array(row.format.largest, np.uint8).view(row.numpy))
        x = np.clip(x, -top, top)
    return x.astype(row.numpy)


def _odd_array(x: np.ndarray) -> np.ndarray:
    """f64 as f32 whose last bit says whether something was lost, so that rounding again is as rounding once (Boldo and Melquiond)."""
    near = x.astype(np.float32)
    back, bits = near.astype(np.float64), near.view(np.int32)
    lost = (back != x) & ~np.isnan(x) & (bits & 1 == 0)
    return (
        np.where(lost, np.where(np.abs(back) > np.abs(x), bits - 1, bits + 1), bits).astype(np.int32).view(np.float32)
    )


def _power_array(x: np.ndarray, saturate: bool, rounding: Rounding) -> np.ndarray:
    bits = np.ascontiguousarray(x).view(np.uint32) & 0x7FFFFFFF
    exponent, rest = (bits >> 23).astype(np.int64), bits & 0x7FFFFF
    if rounding == "up":
        exponent = np.where(exponent == 0, bits > _LEAST_POWER, exponent + (rest > 0))
    elif rounding == "nearest":
        exponent = np.where(exponent == 0, bits >= _THREE_QUARTERS, exponent + (rest >= 1 << 22))
    if saturate:
        exponent = np.minimum(exponent, 254)
    else:
        exponent = np.where((exponent > 254) | (bits < _LEAST_POWER), 255, exponent)
    return np.where(bits > _INFINITY, 255, exponent).astype(np.uint8).reshape(x.shape)


# One element ------------------------------------------------------------------------------------------------------------


class _Spelling:
    """Integer arithmetic in i32, written short."""

    def __init__(self, b: Builder):
        self.b = b

    def insert(self, op: Any) -> SSAValue:
        return self.b.insert(op).results[0]

    def integer(self, value: int, type: IntegerType = i32) -> SSAValue:
        return self.insert(arith.ConstantOp(IntegerAttr(value, type)))

    def real(self, value: float) -> SSAValue:
        return self.insert(arith.ConstantOp(FloatAttr(value, f32)))

    def value(self, x: SSAValue | int) -> SSAValue:
        return x if isinstance(x, SSAValue) else self.integer(x)

    def op(self, kind: Any, x: SSAValue, y: SSAValue | int) -> SSAValue:
        return self.insert(kind(x, self.value(y)))

    def compare(self, x: SSAValue, how: str, y: SSAValue | int) -> SSAValue:
        return self.insert(arith.CmpiOp(x, self.value(y), how))

    def select(self, condition: SSAValue, x: SSAValue | int, y: SSAValue | int) -> SSAValue:
        return self.insert(arith.SelectOp(condition, self.value(x), self.value(y)))

    def bits(self, x: SSAValue) -> SSAValue:
        return self.insert(arith.BitcastOp(x, i32))

    def floats(self, x: SSAValue) -> SSAValue:
        return self.insert(arith.BitcastOp(x, f32))


def decode(b: Builder, row: DType, x: SSAValue) -> SSAValue:
    """The element whose bits are the i8 `x`, in the carrier: f32, or i8."""
    s = _Spelling(b)
    if row.format is None:
        if row.kind == "unsigned":
            return s.insert(arith.AndIOp(x, s.integer((1 << row.bits) - 1, i8)))
        free = s.integer(8 - row.bits, i8)
        return s.insert(arith.ShRSIOp(s.insert(arith.ShLIOp(x, free)), free))
    code = s.insert(arith.ExtUIOp(x, i32))
    return _decode_float(s, row.format, code) if row.format.signed else _decode_power(s, code)


def _decode_power(s: _Spelling, code: SSAValue) -> SSAValue:
    bits = s.select(s.compare(code, "eq", 0), _LEAST_POWER, s.op(arith.ShLIOp, code, 23))
    return s.floats(s.select(s.compare(code, "eq", 255), _NAN, bits))


def _decode_float(s: _Spelling, format: FloatFormat, code: SSAValue) -> SSAValue:
    width, mantissa = format.exponent + format.mantissa, format.mantissa
    size = s.op(arith.AndIOp, code, (1 << width) - 1)
    normal = s.op(arith.AddiOp, s.op(arith.ShLIOp, size, 23 - mantissa), (127 - format.bias) << 23)
    least = s.real(
        2.0 ** (1 - format.bias - mantissa)
    )  # a product of numbers that f32 holds exactly, none of them denormal
    small = s.bits(s.insert(arith.MulfOp(s.insert(arith.SIToFPOp(size, f32)), least)))
    bits = s.select(s.compare(size, "ult", 1 << mantissa), small, normal)
    if format.infinity is not None:
        bits = s.select(s.compare(size, "eq", format.infinity), _INFINITY, bits)
        bits = s.select(s.compare(size, "ugt", format.infinity), _NAN, bits)
    elif format.negative_zero and not always_saturates(format):
        bits = s.select(s.compare(size, "eq", format.nan), _NAN, bits)
    sign = s.op(arith.ShLIOp, s.op(arith.AndIOp, code, 1 << width), 31 - width)
    bits = s.insert(arith.OrIOp(bits, sign))
    if not format.negative_zero:
        bits = s.select(s.compare(s.op(arith.AndIOp, code, (2 << width) - 1), "eq", format.nan), _NAN, bits)
    return s.floats(bits)


def encode(b: Builder, row: DType, x: SSAValue, saturate: bool = True, rounding: Rounding = "up") -> SSAValue:
    """The i8 of an element of the carrier: an f32 rounded, the low bits of an i8."""
    s = _Spelling(b)
    if row.format is None:
        return s.insert(arith.AndIOp(x, s.integer((1 << row.bits) - 1, i8)))
    bits = s.bits(x)
    code = (
        _encode_float(s, row.format, x, bits, saturate)
        if row.format.signed
        else _encode_power(s, bits, saturate, rounding)
    )
    return s.insert(arith.TruncIOp(code, i8))


def _encode_power(s: _Spelling, bits: SSAValue, saturate: bool, rounding: Rounding) -> SSAValue:
    size = s.op(arith.AndIOp, bits, 0x7FFFFFFF)
    code = exponent = s.op(arith.ShRUIOp, size, 23)
    if rounding != "down":
        # up: a rest of 1 carries; nearest: half of the distance does
        carried = s.op(arith.ShRUIOp, s.op(arith.AddiOp, size, (1 << 23) - 1 if rounding == "up" else 1 << 22), 23)
        enough = ("ugt", _LEAST_POWER) if rounding == "up" else ("uge", _THREE_QUARTERS)
        small = s.select(s.compare(size, *enough), 1, 0)
        code = s.select(s.compare(exponent, "eq", 0), small, carried)
    if saturate:
        code = s.op(arith.MinUIOp, code, 254)
    else:
        outside = s.insert(arith.OrIOp(s.compare(code, "ugt", 254), s.compare(size, "ult", _LEAST_POWER)))
        code = s.select(outside, 255, code)
    return s.select(s.compare(size, "ugt", _INFINITY), 255, code)


def _encode_float(s: _Spelling, format: FloatFormat, x: SSAValue, bits: SSAValue, saturate: bool) -> SSAValue:
    width, mantissa = format.exponent + format.mantissa, format.mantissa
    size = s.op(arith.AndIOp, bits, 0x7FFFFFFF)
    dropped = 23 - mantissa
    odd = s.op(arith.AndIOp, s.op(arith.ShRUIOp, size, dropped), 1)
    up = s.insert(arith.AddiOp(s.op(arith.AddiOp, size, (1 << (dropped - 1)) - 1), odd))
    normal = s.op(arith.SubiOp, s.op(arith.ShRUIOp, up, dropped), (127 - format.bias) << mantissa)
    # Adding a number whose last place is the least one of the format rounds there; the sum's low bits are the code.
    magic = s.real(2.0 ** (24 - format.bias - mantissa))
    small = s.insert(arith.SubiOp(s.bits(s.insert(arith.AddfOp(s.insert(math.AbsFOp(x)), magic))), s.bits(magic)))
    code = s.select(s.compare(size, "ult", (128 - format.bias) << 23), small, normal)
    beyond = format.largest
    if not saturate and not always_saturates(format):
        beyond = format.nan if format.infinity is None else format.infinity
    code = s.select(s.compare(code, "sgt", format.largest), beyond, code)
    code = s.select(s.compare(size, "ugt", _INFINITY), format.nan, code)
    sign = s.op(arith.ShLIOp, s.op(arith.ShRUIOp, bits, 31), width)
    whole = s.insert(arith.XOrIOp(code, sign))
    if format.negative_zero:
        return whole
    number = s.compare(s.op(arith.SubiOp, code, 1), "ult", format.largest)
    return s.select(number, whole, code)


def narrowed(b: Builder, x: SSAValue) -> SSAValue:
    """An f64 as the f32 that rounds on as it does: see `_odd_array`."""
    s = _Spelling(b)
    near = s.insert(arith.TruncFOp(x, f32))
    back, bits = s.insert(arith.ExtFOp(near, f64)), s.bits(near)
    lost = s.insert(arith.CmpfOp(back, x, "one"))
    even = s.compare(s.op(arith.AndIOp, bits, 1), "eq", 0)
    above = s.insert(arith.CmpfOp(s.insert(math.AbsFOp(back)), s.insert(math.AbsFOp(x)), "ogt"))
    moved = s.insert(arith.AddiOp(bits, s.select(above, -1, 1)))
    return s.floats(s.select(s.insert(arith.AndIOp(lost, even)), moved, bits))
