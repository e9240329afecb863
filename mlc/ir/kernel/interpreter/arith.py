"""What the ops of arith and math compute, on NumPy scalars, vectors and whole iteration spaces alike.

Integers are signless and wrap around; an index is a Python int (or an int64 array). Casts from floats to integers truncate and saturate, NaN
gives 0, as the machine code does. Division by zero is an InternalError: machines trap.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from xdsl.dialects.arith import CMPF_COMPARISON_OPERATIONS, CMPI_COMPARISON_OPERATIONS
from xdsl.dialects.builtin import (
    DenseIntOrFPElementsAttr,
    FloatAttr,
    IndexType,
    IntegerAttr,
    IntegerType,
    VectorType,
    i1,
)
from xdsl.ir import Attribute, Operation

from mlc.errors import InternalError
from mlc.ir.kernel.interpreter.memory import dtype_of, label
from mlc.ir.kernel.scalar_ops import gelu, lanewise, rounded, softplus

Value = Any  # int | NumPy scalar | NumPy array
Compute = Callable[..., Value]

_ORDER = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


def element_of(type: Attribute) -> Attribute:
    return type.element_type if isinstance(type, VectorType) else type


def compute(op: Operation) -> Compute | None:
    """The function of an op of arith or math, from operands to its result; None for an op of another kind."""
    if op.name == "arith.constant":
        value = constant(cast(Any, op).value, op.results[0].type)
        return lambda: value
    if op.name in _BY_TYPE:
        return _BY_TYPE[op.name](op)
    if (index := _ON_INDICES.get(op.name)) and isinstance(op.results[0].type, IndexType):
        return index
    return _PLAIN.get(op.name)


def constant(attr: Attribute, type: Attribute) -> Value:
    """A literal: a number of its type, or a vector of them."""
    if isinstance(attr, DenseIntOrFPElementsAttr):
        assert isinstance(type, VectorType)
        values = list(attr.get_values())
        return np.array(values * (math.prod(type.get_shape()) // len(values)), dtype_of(type.element_type))
    assert isinstance(attr, (FloatAttr, IntegerAttr))
    number = attr.value.data
    if isinstance(type, IndexType):
        return number
    dtype = dtype_of(type)
    if isinstance(type, IntegerType) and type.width.data > 1:
        number = wrapped(int(number), type.width.data)
    return dtype.type(number)


def wrapped(number: int, width: int) -> int:
    number &= (1 << width) - 1
    return number - (1 << width) if number >> (width - 1) else number


# Integers ------------------------------------------------------------------------------------------------------------
def unsigned(x: Value) -> Value:
    """The same bits without a sign."""
    if isinstance(x, int):
        return x if x >= 0 else x + (1 << 64)
    return x if x.dtype == np.bool_ else x.view(f"u{x.dtype.itemsize}")


def _like(x: Value, found: Value) -> Value:
    """A result in the type of the operands."""
    if isinstance(x, int):
        return int(found)
    return found.astype(x.dtype) if x.dtype == np.bool_ else found.view(x.dtype)


def _on_unsigned(function: Compute) -> Compute:
    return lambda x, y: _like(x, function(unsigned(x), unsigned(y)))


def _checked(function: Compute) -> Compute:
    def divided(x: Value, y: Value) -> Value:
        if not np.all(y):
            raise InternalError("an integer is divided by zero")
        return function(x, y)

    return divided


def _bits(function: Compute) -> Compute:
    """Sums and products of single bits are taken modulo 2."""

    def wrap(x: Value, y: Value) -> Value:
        if not isinstance(x, int) and x.dtype == np.bool_:
            return (function(x.astype(np.int8), y.astype(np.int8)) & 1).astype(np.bool_)
        return function(x, y)

    return wrap


def _divsi(x: Value, y: Value) -> Value:
    return (x - np.fmod(x, y)) // y


def _ceildiv(x: Value, y: Value) -> Value:
    return -((-x) // y)


def _ipow(x: Value, y: Value) -> Value:
    """Wraps; a negative power is 1/x truncated."""
    inverse = np.where(x == 1, 1, np.where(x == -1, np.where(y % 2 == 0, 1, -1), 0))
    return np.where(y < 0, inverse, np.power(x, np.maximum(y, 0))).astype(x.dtype)[()]


# Floats --------------------------------------------------------------------------------------------------------------
def fma(x: Value, y: Value, z: Value) -> Value:
    """x * y + z with an exact product: f32 sums in f64, then rounds. f64 rounds the product too."""
    if x.dtype == np.float64:
        return x * y + z
    return (x.astype(np.float64) * y + z).astype(x.dtype)


def _round(x: Value) -> Value:
    """To the nearest, ties away from zero."""
    wide = x.astype(np.float64)
    return np.copysign(np.floor(np.abs(wide) + 0.5), wide).astype(x.dtype)


def _to_integer(dtype: np.dtype, low: int, high: int) -> Compute:
    def convert(x: Value) -> Value:
        whole = np.trunc(np.asarray(x).astype(np.float64))
        inside = (whole > low) & (whole < high)
        found = np.where(inside, whole, 0).astype(np.int64 if low else np.uint64)
        found = np.where(whole >= float(high), np.array(high, found.dtype), found)
        found = np.where(whole <= float(low), np.array(low, found.dtype), found)
        return found.astype(dtype)[()]

    return convert


# Ops whose result depends on their types or properties ---------------------------------------------------------------
def _cmpf(op: Any) -> Compute:
    predicate = CMPF_COMPARISON_OPERATIONS[op.predicate.value.data]
    match predicate:
        case "true" | "false":
            return lambda x, y: np.full(np.broadcast_shapes(np.shape(x), np.shape(y)), predicate == "true")[()]
        case "ord":
            return lambda x, y: ~(np.isnan(x) | np.isnan(y))
        case "uno":
            return lambda x, y: np.isnan(x) | np.isnan(y)
        case "one":
            return lambda x, y: (x < y) | (x > y)
        case "ueq":
            return lambda x, y: ~((x < y) | (x > y))
    test = _ORDER[predicate[1:]]
    if predicate[0] == "o" or predicate == "une":
        return test
    return lambda x, y: np.isnan(x) | np.isnan(y) | test(x, y)


def _cmpi(op: Any) -> Compute:
    predicate = CMPI_COMPARISON_OPERATIONS[op.predicate.value.data]
    test = _ORDER[predicate[-2:]]
    if isinstance(op.lhs.type, IndexType):
        return lambda x, y: np.bool_(test(unsigned(x), unsigned(y)) if predicate[0] == "u" else test(x, y))
    if predicate in ("eq", "ne"):
        return test
    if predicate[0] == "u":
        return lambda x, y: test(unsigned(x), unsigned(y))
    if element_of(op.lhs.type) == i1:
        return lambda x, y: test(-x.astype(np.int8), -y.astype(np.int8))
    return test


def _select(condition: Value, x: Value, y: Value) -> Value:
    if np.ndim(condition) == 0 and not isinstance(x, np.ndarray) and not isinstance(y, np.ndarray):
        return x if condition else y
    return np.where(condition, x, y)


def _float_to_integer(signed: bool) -> Callable[[Any], Compute]:
    def make(op: Any) -> Compute:
        type = element_of(op.results[0].type)
        width = type.width.data if isinstance(type, IntegerType) else 64
        low, high = (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)
        if width == 1:
            raise InternalError(f"{label(op)}: a float becomes bool by a comparison")
        return _to_integer(dtype_of(type), low, high)

    return make


def _astype(op: Any) -> Compute:
    dtype = dtype_of(element_of(op.results[0].type))
    return lambda x: rounded(x, dtype)[()]


def _unsigned_to(op: Any) -> Compute:
    dtype = dtype_of(element_of(op.results[0].type))
    if dtype.kind == "i":
        return lambda x: unsigned(x).astype(f"u{dtype.itemsize}").view(dtype)
    return lambda x: unsigned(x).astype(dtype)


def _signed_to(op: Any) -> Compute:
    dtype = dtype_of(element_of(op.results[0].type))
    return lambda x: -x.astype(np.int8).astype(dtype) if x.dtype == np.bool_ else x.astype(dtype)


def _trunci(op: Any) -> Compute:
    dtype = dtype_of(element_of(op.results[0].type))
    return lambda x: (x & 1).astype(dtype) if dtype == np.bool_ else x.astype(dtype)


def _index_cast(op: Any) -> Compute:
    type = element_of(op.results[0].type)
    if isinstance(type, IndexType):
        return lambda x: x.astype(np.int64) if isinstance(x, np.ndarray) else int(x)
    dtype = dtype_of(type)
    return lambda x: np.int64(x).astype(dtype)


def _bitcast(op: Any) -> Compute:
    dtype = dtype_of(element_of(op.results[0].type))
    return lambda x: x.view(dtype)


def _shift(function: Compute, logical: bool = False) -> Callable[[Any], Compute]:
    def make(op: Any) -> Compute:
        type = element_of(op.results[0].type)
        width = type.width.data if isinstance(type, IntegerType) else 64

        def shifted(x: Value, y: Value) -> Value:
            if np.any(unsigned(y) >= width):
                raise InternalError(f"{label(op)}: {width} bits are shifted by {np.max(unsigned(y))}")
            return _like(x, function(unsigned(x), unsigned(y))) if logical else function(x, y)

        return shifted

    return make


_BY_TYPE: dict[str, Callable[[Any], Compute]] = {
    "arith.cmpf": _cmpf,
    "arith.cmpi": _cmpi,
    "arith.fptosi": _float_to_integer(True),
    "arith.fptoui": _float_to_integer(False),
    "arith.sitofp": _signed_to,
    "arith.uitofp": _unsigned_to,
    "arith.extf": _astype,
    "arith.truncf": _astype,
    "arith.extsi": _signed_to,
    "arith.extui": _unsigned_to,
    "arith.trunci": _trunci,
    "arith.index_cast": _index_cast,
    "arith.bitcast": _bitcast,
    "vector.bitcast": _bitcast,
    "arith.shli": _shift(operator.lshift),
    "arith.shrsi": _shift(operator.rshift),
    "arith.shrui": _shift(operator.rshift, logical=True),
}

_ON_INDICES: dict[str, Compute] = {
    "arith.minsi": lambda x, y: min(x, y) if isinstance(x, int) and isinstance(y, int) else np.minimum(x, y),
    "arith.maxsi": lambda x, y: max(x, y) if isinstance(x, int) and isinstance(y, int) else np.maximum(x, y),
    "arith.divui": _checked(operator.floordiv),
    "arith.remui": _checked(operator.mod),
    "arith.divsi": _checked(lambda x, y: _index(x, y, (x - np.fmod(x, y)) // y)),
    "arith.remsi": _checked(lambda x, y: _index(x, y, np.fmod(x, y))),
}


def _index(x: Value, y: Value, found: Value) -> Value:
    return int(found) if isinstance(x, int) and isinstance(y, int) else found


_PLAIN: dict[str, Compute] = {
    "arith.addi": _bits(operator.add),
    "arith.subi": _bits(operator.sub),
    "arith.muli": _bits(operator.mul),
    "arith.divui": _checked(_on_unsigned(operator.floordiv)),
    "arith.remui": _checked(_on_unsigned(operator.mod)),
    "arith.ceildivui": _checked(_on_unsigned(lambda x, y: x // y + (x % y != 0))),
    "arith.divsi": _checked(_divsi),
    "arith.remsi": _checked(np.fmod),
    "arith.floordivsi": _checked(operator.floordiv),
    "arith.ceildivsi": _checked(_ceildiv),
    "arith.minsi": np.minimum,
    "arith.maxsi": np.maximum,
    "arith.minui": _on_unsigned(np.minimum),
    "arith.maxui": _on_unsigned(np.maximum),
    "arith.andi": operator.and_,
    "arith.ori": operator.or_,
    "arith.xori": operator.xor,
    "arith.select": _select,
    "arith.addf": operator.add,
    "arith.subf": operator.sub,
    "arith.mulf": operator.mul,
    "arith.divf": np.true_divide,
    "arith.negf": operator.neg,
    "arith.remf": np.fmod,
    "arith.maximumf": np.maximum,  # NaN wins
    "arith.minimumf": np.minimum,
    "arith.maxnumf": np.fmax,  # the number wins
    "arith.minnumf": np.fmin,
    "vector.fma": fma,
    "math.fma": fma,
    "math.absf": np.abs,
    "math.absi": np.abs,
    "math.acos": np.arccos,
    "math.acosh": np.arccosh,
    "math.asin": np.arcsin,
    "math.asinh": np.arcsinh,
    "math.atan": np.arctan,
    "math.atan2": np.arctan2,
    "math.atanh": np.arctanh,
    "math.cbrt": np.cbrt,
    "math.ceil": np.ceil,
    "math.copysign": np.copysign,
    "math.cos": np.cos,
    "math.cosh": np.cosh,
    "math.erf": lanewise(math.erf),
    "math.erfc": lanewise(math.erfc),
    "math.gelu": gelu,
    "math.softplus": softplus,
    "math.exp": np.exp,
    "math.exp2": np.exp2,
    "math.expm1": np.expm1,
    "math.floor": np.floor,
    "math.fpowi": lambda x, y: np.power(x, y.astype(x.dtype)),
    "math.ipowi": _ipow,
    "math.log": np.log,
    "math.log10": np.log10,
    "math.log1p": np.log1p,
    "math.log2": np.log2,
    "math.powf": np.power,
    "math.round": _round,
    "math.roundeven": np.rint,
    "math.rsqrt": lambda x: x.dtype.type(1) / np.sqrt(x),
    "math.sin": np.sin,
    "math.sinh": np.sinh,
    "math.sqrt": np.sqrt,
    "math.tan": np.tan,
    "math.tanh": np.tanh,
    "math.trunc": np.trunc,
}

# How a reduction folds many values into one: arith op, and kind of vector.reduction
FOLDS: dict[str, np.ufunc] = {
    "arith.addf": np.add,
    "arith.addi": np.add,
    "arith.mulf": np.multiply,
    "arith.muli": np.multiply,
    "arith.maximumf": np.maximum,
    "arith.minimumf": np.minimum,
    "arith.maxnumf": np.fmax,
    "arith.minnumf": np.fmin,
    "arith.maxsi": np.maximum,
    "arith.minsi": np.minimum,
    "arith.andi": np.bitwise_and,
    "arith.ori": np.bitwise_or,
    "arith.xori": np.bitwise_xor,
}
KINDS: dict[str, np.ufunc] = {
    "add": np.add,
    "mul": np.multiply,
    "maximumf": np.maximum,
    "minimumf": np.minimum,
    "maxnumf": np.fmax,
    "minnumf": np.fmin,
    "maxsi": np.maximum,
    "minsi": np.minimum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}


def fold(ufunc: np.ufunc, values: np.ndarray, axes: int | tuple[int, ...]) -> Value:
    """ufunc.reduce in the values' own type (NumPy would widen small integers); long sums of f32 in f64, rounded once."""
    if ufunc is np.add and values.dtype == np.float32:
        return np.asarray(ufunc.reduce(values, axis=axes, dtype=np.float64)).astype(np.float32)[()]
    return ufunc.reduce(values, axis=axes, dtype=values.dtype)
