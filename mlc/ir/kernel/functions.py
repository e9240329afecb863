"""Functions that MLIR's arith and math dialects have and xDSL 0.74 lacks, and the dialects with them.

%r = arith.remf %x, %y : f32      // C's fmod: exact, the sign of %x
%q = math.erfc %x : f32           // 1 - erf(x), precise where that is tiny
"""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
from xdsl.dialects import arith, math
from xdsl.ir import Dialect
from xdsl.irdl import irdl_op_definition, traits_def
from xdsl.traits import Pure, SameOperandsAndResultType


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


ARITH = Dialect("arith", [*arith.Arith.operations, RemainderOp], list(arith.Arith.attributes))
MATH = Dialect("math", [*math.Math.operations, ErfcOp], list(math.Math.attributes))


def lanewise(function: Callable[[float], float]) -> Callable[[np.ndarray], np.ndarray]:
    """A function of Python's math module on arrays and NumPy scalars, in f64, rounded to the operand's dtype."""

    def apply(x: np.ndarray) -> np.ndarray:
        values = np.asarray(x, np.float64)
        found = np.array([function(v) for v in values.ravel().tolist()], np.float64)
        return found.reshape(values.shape).astype(x.dtype)[()]

    return apply


def rounded(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """x in another dtype, rounded once. From f64 to bf16 ml_dtypes goes by way of f32, where a tie may arise that x was not: f32 rounded to
    odd keeps on which side of it x is."""
    if x.dtype != np.float64 or dtype != ml_dtypes.bfloat16:
        return x.astype(dtype)
    near = np.asarray(x.astype(np.float32))
    bits = near.view(np.uint32)
    wide = near.astype(np.float64)
    inexact = (wide != x) & ~np.isnan(x)
    away = np.abs(wide) > np.abs(x)
    return np.where(inexact, (bits - away) | np.uint32(1), bits).astype(np.uint32).view(np.float32).astype(dtype)
