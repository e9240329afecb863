"""The element types, a row each: all that any part of the compiler wants to know of one stands here.

    f64 f32 f16 bf16  i64 i32 i16 i8  u64 u32 u16 u8  bool       arithmetic is done in these (f16 and bf16 in f32, rounded once)
    f8e4m3fn f8e4m3fnuz f8e5m2 f8e5m2fnuz f8e8m0                 storage: tensors are moved, cast, quantised and dequantised
    f6e2m3 f6e3m2 f4e2m1  i4 u4 i2 u2                            storage too

An element of a storage type is a byte in memory, as in the arrays of ml_dtypes: its bits are the low ones, those above are zero. Weights of
four and two bits are kept packed, several elements in a byte, the first in its low bits (graph.unpack).

Formats of the small floats: OCP 8-bit floating point (OFP8) and Microscaling Formats (MX) v1.0; fnuz: arxiv.org/abs/2206.02915.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import ml_dtypes
import numpy as np


@dataclass(frozen=True)
class FloatFormat:
    """The bits of a small float: sign, exponent, mantissa, from the highest.

    `largest` is the code of the largest finite number, `infinity` that of infinity, where there is one, and `nan` what a positive NaN becomes:
    formats without a NaN have a zero for it, as in ml_dtypes. Without `signed` there is no sign bit and no zero either: code c is
    2 ** (c - bias). With `negative_zero` False the code of -0 is the only NaN.
    """

    exponent: int
    mantissa: int
    bias: int
    largest: int
    nan: int
    infinity: int | None = None
    signed: bool = True
    negative_zero: bool = True


@dataclass(frozen=True)
class DType:
    """`mlir` is the element type in the text of graphs, `onnx` a name of TensorProto.DataType, `c` what a header calls it, `tolerance` the
    relative difference that two computations in it may have."""

    name: str
    kind: Literal["float", "signed", "unsigned", "bool"]
    bits: int
    numpy: np.dtype
    mlir: str
    onnx: str
    c: str
    safetensors: str
    tolerance: float = 0.0
    wide: str = ""  # the dtype that arithmetic is done in, where it is another
    format: FloatFormat | None = None
    storage: bool = False

    @property
    def memory(self) -> str:
        """The integer dtype that an element of a storage type is in memory."""
        return "u8" if self.storage else self.name

    @property
    def half(self) -> bool:
        """Is its arithmetic done in f32 and rounded once?"""
        return bool(self.wide) and not self.storage

    @property
    def rounds_twice(self) -> bool:
        """Does an array of f64 come to it by way of f32, so that a tie may arise that was none? NumPy's own floats are rounded once."""
        return self.kind == "float" and self.numpy.isbuiltin != 1

    @property
    def digits(self) -> int:
        """Significant bits of a float."""
        return int(ml_dtypes.finfo(self.numpy).nmant) + 1

    @property
    def smallest_normal(self) -> float:
        """Of the float that arithmetic is done in."""
        return float(ml_dtypes.finfo(TABLE[self.wide or self.name].numpy).tiny)

    @property
    def packed(self) -> bool:
        """Do several elements of a weight share a byte?"""
        return self.storage and self.bits in (2, 4)


def _float(bits: int, numpy: object, name: str, onnx: str, c: str, tolerance: float, wide: str = "") -> DType:
    return DType(name, "float", bits, np.dtype(numpy), name, onnx, c, name.upper(), tolerance, wide)  # type: ignore[call-overload]


def _integer(bits: int, signed: bool) -> DType:
    name, text = f"{'i' if signed else 'u'}{bits}", f"{'' if signed else 'u'}int{bits}"
    mlir, kind, storage = f"{'' if signed else 'u'}i{bits}", "signed" if signed else "unsigned", bits < 8
    dtype = np.dtype(getattr(ml_dtypes, text) if storage else text)
    c = f"uint8_t ({text})" if storage else f"{text}_t"
    return DType(name, kind, bits, dtype, mlir, text.upper(), c, name.upper(), storage=storage)  # type: ignore[arg-type]


def _small(name: str, numpy: object, mlir: str, onnx: str, safetensors: str, format: FloatFormat) -> DType:
    bits = format.exponent + format.mantissa + format.signed
    c = f"uint8_t ({onnx.lower()})"
    dtype = np.dtype(numpy)  # type: ignore[call-overload]
    return DType(name, "float", bits, dtype, mlir, onnx, c, safetensors, 2.0**-format.mantissa, "f32", format, True)


# fmt: off
_ROWS = (
    _float(64, np.float64, "f64", "DOUBLE", "double", 1e-9),
    _float(32, np.float32, "f32", "FLOAT", "float", 1e-4),
    _float(16, np.float16, "f16", "FLOAT16", "uint16_t (IEEE half)", 1e-2, "f32"),
    _float(16, ml_dtypes.bfloat16, "bf16", "BFLOAT16", "uint16_t (bfloat16)", 5e-2, "f32"),
    *(_integer(bits, signed) for signed in (True, False) for bits in (64, 32, 16, 8)),
    DType("bool", "bool", 1, np.dtype(np.bool_), "i1", "BOOL", "uint8_t (0 or 1)", "BOOL"),
    _small("f8e4m3fn", ml_dtypes.float8_e4m3fn, "f8E4M3FN", "FLOAT8E4M3FN", "F8_E4M3",
           FloatFormat(4, 3, bias=7, largest=0x7E, nan=0x7F)),
    _small("f8e4m3fnuz", ml_dtypes.float8_e4m3fnuz, "f8E4M3FNUZ", "FLOAT8E4M3FNUZ", "F8_E4M3FNUZ",
           FloatFormat(4, 3, bias=8, largest=0x7F, nan=0x80, negative_zero=False)),
    _small("f8e5m2", ml_dtypes.float8_e5m2, "f8E5M2", "FLOAT8E5M2", "F8_E5M2",
           FloatFormat(5, 2, bias=15, largest=0x7B, nan=0x7E, infinity=0x7C)),
    _small("f8e5m2fnuz", ml_dtypes.float8_e5m2fnuz, "f8E5M2FNUZ", "FLOAT8E5M2FNUZ", "F8_E5M2FNUZ",
           FloatFormat(5, 2, bias=16, largest=0x7F, nan=0x80, negative_zero=False)),
    _small("f8e8m0", ml_dtypes.float8_e8m0fnu, "f8E8M0FNU", "FLOAT8E8M0", "F8_E8M0",
           FloatFormat(8, 0, bias=127, largest=0xFE, nan=0xFF, signed=False)),
    _small("f4e2m1", ml_dtypes.float4_e2m1fn, "f4E2M1FN", "FLOAT4E2M1", "F4",
           FloatFormat(2, 1, bias=1, largest=0x07, nan=0x08)),
    _small("f6e2m3", ml_dtypes.float6_e2m3fn, "f6E2M3FN", "FLOAT6E2M3", "F6_E2M3",
           FloatFormat(2, 3, bias=1, largest=0x1F, nan=0x20)),
    _small("f6e3m2", ml_dtypes.float6_e3m2fn, "f6E3M2FN", "FLOAT6E3M2", "F6_E3M2",
           FloatFormat(3, 2, bias=3, largest=0x1F, nan=0x20)),
    *(_integer(bits, signed) for bits in (4, 2) for signed in (True, False)),
)
# fmt: on
TABLE: dict[str, DType] = {row.name: row for row in _ROWS}
BY_NUMPY: dict[np.dtype, str] = {row.numpy: row.name for row in _ROWS}
BY_SAFETENSORS: dict[str, str] = {row.safetensors: row.name for row in _ROWS}


def unpacked(data: np.ndarray, row: DType, count: int) -> np.ndarray:
    """`count` elements of less than a byte, from bytes that hold them bit by bit, the first in the low bits."""
    if 8 % row.bits == 0:
        per = 8 // row.bits
        codes = np.empty((len(data), per), np.uint8)
        for part in range(per):
            codes[:, part] = data >> (part * row.bits)
    else:
        bits = np.unpackbits(data, bitorder="little")
        codes = np.packbits(bits[: len(bits) // row.bits * row.bits].reshape(-1, row.bits), 1, "little")
    return (codes.reshape(-1)[:count] & ((1 << row.bits) - 1)).view(row.numpy)


def packed(array: np.ndarray, row: DType) -> np.ndarray:
    """The bytes of an array of two- or four-bit elements in row-major order; what is left of the last byte is zero."""
    per = 8 // row.bits
    codes = np.zeros(-(-array.size // per) * per, np.uint8)
    codes[: array.size] = np.ascontiguousarray(array).view(np.uint8).reshape(-1) & ((1 << row.bits) - 1)
    shifts = np.arange(per, dtype=np.uint8) * row.bits
    return np.bitwise_or.reduce(codes.reshape(-1, per) << shifts, axis=1)
