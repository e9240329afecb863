"""Conversions that NumPy's astype does otherwise."""

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike


def to_integer(x: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """Floats truncated; what lies beyond the integers becomes the nearest, NaN 0."""
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    whole = np.trunc(np.nan_to_num(x.astype(np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf))
    inside = (whole > float(low) - 1) & (whole < float(high))
    return np.where(inside, np.where(inside, whole, 0).astype(dtype), np.where(whole > 0, high, low).astype(dtype))


def to_odd(x: np.ndarray) -> np.ndarray:
    """Doubles in single precision, with the last bit set where something was lost: rounding that again is as rounding x once."""
    near = np.asarray(x.astype(np.float32))
    bits, wide = near.view(np.uint32), near.astype(np.float64)
    lost = (wide != x) & ~np.isnan(x)
    below = np.where(np.abs(wide) > np.abs(x), bits - np.uint32(1), bits)
    return np.where(lost, below | np.uint32(1), bits).astype(np.uint32).view(np.float32)


def to_half(x: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """Doubles, rounded once."""
    return to_odd(x).astype(dtype)


def to_small_float(x: np.ndarray, dtype: DTypeLike, saturate: bool) -> np.ndarray:
    """Rounded once to a float of 8, 6 or 4 bits; with saturate what lies beyond its range becomes the largest number."""
    if x.dtype.kind in "iu" and x.dtype.itemsize >= 4:
        x = x.astype(np.float64)
    x = to_odd(x) if x.dtype == np.float64 else x.astype(np.float32)
    if saturate:
        largest = np.float32(ml_dtypes.finfo(dtype).max)
        x = np.clip(x, -largest, largest)
    return x.astype(dtype)


def to_power_of_two(x: np.ndarray, rounding: str, saturate: bool) -> np.ndarray:
    """The exponent of |x| as float8_e8m0fnu, rounded up, down or to the nearest."""
    if x.dtype.kind in "iu" and x.dtype.itemsize >= 4:
        x = x.astype(np.float64)
    x = to_odd(x) if x.dtype == np.float64 else x.astype(np.float32)
    bits = np.ascontiguousarray(x).view(np.uint32) & 0x7FFFFFFF
    exponent, rest = (bits >> 23).astype(np.int64), bits & 0x7FFFFF
    if rounding == "up":
        exponent = np.where(exponent == 0, bits > 0x00400000, exponent + (rest > 0))
    elif rounding == "nearest":
        exponent = np.where(exponent == 0, bits >= 0x00600000, exponent + (rest >= 0x00400000))
    if saturate:
        exponent = np.minimum(exponent, 254)
    else:
        exponent = np.where((exponent > 254) | (bits < 0x00400000), 255, exponent)
    exponent = np.where(bits > 0x7F800000, 255, exponent)
    return exponent.astype(np.uint8).reshape(x.shape).view(ml_dtypes.float8_e8m0fnu)


def to_small_integer(x: np.ndarray, dtype: DTypeLike, bits: int) -> np.ndarray:
    """The low bits of integers, as an integer of less than a byte."""
    return (x.astype(np.uint8) & np.uint8((1 << bits) - 1)).view(dtype)


def unpack(x: np.ndarray, shape: tuple[int, ...], dtype: DTypeLike, bits: int) -> np.ndarray:
    """Elements of less than a byte from bytes that hold them, the first in the low bits."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = (x[:, None] >> shifts & np.uint8((1 << bits) - 1)).reshape(-1)
    return codes[: int(np.prod(shape))].reshape(shape).view(dtype)
