"""Functions of the math dialect: instructions that LLVM has for them, and the C library's names for f64.

f32 functions never come here: mlc.passes.loops.math has expanded them, so that no artifact needs a library to be linked for them.
"""

from __future__ import annotations

# math op -> LLVM intrinsic, for every float type and vectors of it
INTRINSICS = {
    "math.sqrt": "sqrt",
    "math.floor": "floor",
    "math.ceil": "ceil",
    "math.roundeven": "roundeven",
    "math.round": "round",
    "math.trunc": "trunc",
    "math.absf": "fabs",
    "math.copysign": "copysign",
}

# op -> function of libm on doubles
LIBM = {
    "math.exp": "exp",
    "math.exp2": "exp2",
    "math.expm1": "expm1",
    "math.log": "log",
    "math.log2": "log2",
    "math.log10": "log10",
    "math.log1p": "log1p",
    "math.sin": "sin",
    "math.cos": "cos",
    "math.tan": "tan",
    "math.asin": "asin",
    "math.acos": "acos",
    "math.atan": "atan",
    "math.atan2": "atan2",
    "math.sinh": "sinh",
    "math.cosh": "cosh",
    "math.tanh": "tanh",
    "math.asinh": "asinh",
    "math.acosh": "acosh",
    "math.atanh": "atanh",
    "math.erf": "erf",
    "math.erfc": "erfc",
    "arith.remf": "fmod",
    "math.powf": "pow",
    "math.cbrt": "cbrt",
}
