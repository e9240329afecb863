"""Functions that MLIR's arith and math dialects have and xDSL 0.74 lacks, two that they lack, and the dialects with them.

%r = arith.remf %x, %y : f32      // C's fmod: exact, the sign of %x
%q = math.erfc %x : f64           // 1 - erf(x), precise where that is tiny
%g = math.gelu %x : f32           // x Phi(x): out of an erfc its digits are lost where x is far below 0, for x / sqrt(2) has been rounded
%s = math.softplus %x : f32       // log(1 + exp(x)): the argument of the logarithm is known to be in [1, 2]
"""

from __future__ import annotations

from collections.abc import Callable
from math import erfc, sqrt

import numpy as np
from xdsl.dialects import arith, math
from xdsl.ir import Dialect
from xdsl.irdl import irdl_op_definition, traits_def
from xdsl.traits import Pure, SameOperandsAndResultType

from mlc.ir.dtypes import TABLE
from mlc.ir.types import dtype_name


@irdl_op_definition
class RemainderOp(arith.FloatingPointLikeBinaryOperation):
    """x - n * y, n = x / y truncated, without rounding: C's fmod."""

    name = "arith.remf"
    traits = traits_def(Pure())


@irdl_op_definition
class ErfcOp(math.FloatingPointLikeUnaryMathOperation):
    """The complementary error function, 1 - erf(x)."""

    name = "math.erfc"
    traits = traits_def(Pure(), SameOperandsAndResultType())


@irdl_op_definition
class GeluOp(math.FloatingPointLikeUnaryMathOperation):
    """x Phi(x), Phi the distribution function of the normal distribution; NaN at -inf."""

    name = "math.gelu"
    traits = traits_def(Pure(), SameOperandsAndResultType())


@irdl_op_definition
class SoftplusOp(math.FloatingPointLikeUnaryMathOperation):
    """log(1 + exp(x)), which overflows for no x."""

    name = "math.softplus"
    traits = traits_def(Pure(), SameOperandsAndResultType())


ARITH = Dialect("arith", [*arith.Arith.operations, RemainderOp], list(arith.Arith.attributes))
MATH = Dialect("math", [*math.Math.operations, ErfcOp, GeluOp, SoftplusOp], list(math.Math.attributes))


def lanewise(function: Callable[[float], float]) -> Callable[[np.ndarray], np.ndarray]:
    """A function of Python's math module on arrays and NumPy scalars, in f64, rounded to the operand's dtype."""

    def apply(x: np.ndarray) -> np.ndarray:
        values = np.asarray(x, np.float64)
        found = np.array([function(v) for v in values.ravel().tolist()], np.float64)
        return found.reshape(values.shape).astype(x.dtype)[()]

    return apply


def gelu(x: np.ndarray) -> np.ndarray:
    """x Phi(x) in f64, rounded to the operand's dtype: NaN at -inf."""
    return lanewise(lambda v: v / 2 * erfc(-v / sqrt(2)))(x)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(x, np.zeros_like(x))


def rounded(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """x in another dtype, rounded once. From f64 to a float of its own, ml_dtypes goes by way of f32, where a tie may arise that x was not: f32 rounded to
    odd keeps on which side of it x is."""
    if x.dtype != np.float64 or not TABLE[dtype_name(dtype)].rounds_twice:
        return x.astype(dtype)
    near = np.asarray(x.astype(np.float32))
    bits = near.view(np.uint32)
    wide = near.astype(np.float64)
    inexact = (wide != x) & ~np.isnan(x)
    away = np.abs(wide) > np.abs(x)
    return np.where(inexact, (bits - away) | np.uint32(1), bits).astype(np.uint32).view(np.float32).astype(dtype)
