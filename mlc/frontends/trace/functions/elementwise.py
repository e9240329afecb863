"""Functions of each element, with NumPy's dtypes: arithmetic, comparison, logic, and those of real numbers."""

from __future__ import annotations

from collections.abc import Callable

from xdsl.ir import SSAValue

from mlc.errors import DTypeError
from mlc.frontends.trace.functions.promotion import (
    Operand,
    Weak,
    as_dtype,
    common_dtype,
    floating,
    lifted,
    promoted,
    value,
)
from mlc.ir import builder as g
from mlc.ir.types import dtype_of, is_float, is_integer, shape_of

Unary = Callable[[Operand], SSAValue]
Binary = Callable[[Operand, Operand], SSAValue]


def _named(function: Callable[..., SSAValue], name: str) -> Callable[..., SSAValue]:
    function.__name__ = function.__qualname__ = name
    return function


def _of_floats(name: str) -> Unary:
    return _named(lambda x: g.elementwise.apply(name, floating(x)), name)


def _of_numbers(name: str) -> Binary:
    """Arithmetic of numbers, which bools are not."""

    def function(x: Operand, y: Operand) -> SSAValue:
        lhs, rhs = lifted(x, y)
        if dtype_of(lhs) == "bool":
            raise DTypeError(f"{name} of bool and bool", remedy="Cast one: x.astype(int); or use logical operators.")
        return g.elementwise.apply(name, lhs, rhs)

    return _named(function, name)


def _of_any(name: str) -> Binary:
    return _named(lambda x, y: g.elementwise.apply(name, *lifted(x, y)), name)


exp, log, sqrt, rsqrt, expm1, log1p = map(_of_floats, ("exp", "log", "sqrt", "rsqrt", "expm1", "log1p"))
sin, cos, tan, arcsin, arccos, arctan = map(_of_floats, ("sin", "cos", "tan", "asin", "acos", "atan"))
sinh, cosh, tanh, arcsinh, arccosh, arctanh = map(_of_floats, ("sinh", "cosh", "tanh", "asinh", "acosh", "atanh"))
erf, sigmoid, softplus, relu = map(_of_floats, ("erf", "sigmoid", "softplus", "relu"))
isnan, isinf = map(_of_floats, ("is_nan", "is_inf"))
subtract, remainder, fmod = map(_of_numbers, ("sub", "mod", "fmod"))
maximum, minimum = map(_of_any, ("maximum", "minimum"))
equal, not_equal, less, less_equal, greater, greater_equal = map(_of_any, ("eq", "ne", "lt", "le", "gt", "ge"))


def add(x: Operand, y: Operand) -> SSAValue:
    """x + y; of bools, or."""
    lhs, rhs = lifted(x, y)
    return g.logical_or(lhs, rhs) if dtype_of(lhs) == "bool" else g.add(lhs, rhs)


def multiply(x: Operand, y: Operand) -> SSAValue:
    """x * y; of bools, and."""
    lhs, rhs = lifted(x, y)
    return g.logical_and(lhs, rhs) if dtype_of(lhs) == "bool" else g.mul(lhs, rhs)


def divide(x: Operand, y: Operand) -> SSAValue:
    """x / y; integers are divided in f64."""
    dtype = common_dtype(x, y)
    dtype = dtype if is_float(dtype) else "f64"
    return g.div(*g.lift(as_dtype(x, dtype), as_dtype(y, dtype)))


def floor_divide(x: Operand, y: Operand) -> SSAValue:
    """The largest whole number below x / y; of integers by 0, 0."""
    lhs, rhs = lifted(x, y)
    rest = g.sub(lhs, g.mod(lhs, rhs))
    quotient = g.div(rest, rhs)
    if not is_float(dtype_of(lhs)):
        return quotient
    return g.select(g.eq(rhs, g.full_like(rhs, 0)), g.div(lhs, rhs), g.round(quotient))


def negative(x: Operand) -> SSAValue:
    return g.neg(value(x))


def absolute(x: Operand) -> SSAValue:
    found = value(x)
    return found if dtype_of(found) == "bool" else g.abs(found)


def sign(x: Operand) -> SSAValue:
    return g.sign(value(x))


def square(x: Operand) -> SSAValue:
    return multiply(x, x)


def reciprocal(x: Operand) -> SSAValue:
    return g.reciprocal(floating(x))


def power(x: Operand, y: Operand) -> SSAValue:
    return g.pow(*lifted(x, y))


def power_of(x: Operand, exponent: float, whole: bool) -> SSAValue:
    """x ** exponent, for an exponent that is known, a float unless it is `whole`: squares, cubes, roots and inverses are computed as such."""
    base = value(x)
    if not whole and not is_float(dtype_of(base)):
        base = g.cast(base, "f64")
    if exponent in (1, 2, 3):
        found = base
        for _ in range(int(exponent) - 1):
            found = g.mul(found, base)
        return found
    if is_float(dtype_of(base)):
        if exponent == 0.5:
            return g.sqrt(base)
        if exponent == -1:
            return g.reciprocal(base)
        if exponent == -0.5:
            return g.rsqrt(base)
    elif exponent < 0:
        raise DTypeError("integers to negative integer powers are no integers", remedy="Cast: x.astype('f32') ** -1.")
    return g.pow(base, g.full_like(base, exponent))


power_of.__name__ = "power"  # as errors say it


def _rounding(name: str) -> Unary:
    def function(x: Operand) -> SSAValue:
        found = value(x)
        return g.elementwise.apply(name, found) if is_float(dtype_of(found)) else found

    return _named(function, name)


floor, ceil, rint = map(_rounding, ("floor", "ceil", "round"))


def trunc(x: Operand) -> SSAValue:
    found = value(x)
    if not is_float(dtype_of(found)):
        return found
    return g.select(g.lt(found, g.full_like(found, 0)), g.ceil(found), g.floor(found))


def isfinite(x: Operand) -> SSAValue:
    found = floating(x)
    return g.logical_not(g.logical_or(g.is_nan(found), g.is_inf(found)))


def exp2(x: Operand) -> SSAValue:
    found = floating(x)
    return g.pow(g.full_like(found, 2), found)


def _scaled_log(name: str, factor: float) -> Unary:
    def function(x: Operand) -> SSAValue:
        found = g.log(floating(x))
        return g.mul(found, g.full_like(found, factor))

    return _named(function, name)


log2, log10 = _scaled_log("log2", 1.4426950408889634), _scaled_log("log10", 0.4342944819032518)


def logaddexp(x: Operand, y: Operand) -> SSAValue:
    """log(exp(x) + exp(y)) without overflow."""
    lhs, rhs = g.lift(*(floating(v) for v in lifted(x, y)))
    top, gap = g.maximum(lhs, rhs), g.abs(g.sub(lhs, rhs))
    found = g.add(top, g.log1p(g.exp(g.neg(gap))))
    half = lambda v: g.mul(v, g.full_like(v, 0.5))  # equal ones share the derivative
    return g.select(g.eq(lhs, rhs), g.add(g.add(half(lhs), half(rhs)), g.full_like(lhs, 0.6931471805599453)), found)


def hypot(x: Operand, y: Operand) -> SSAValue:
    """sqrt(x * x + y * y), scaled so that squares do not overflow."""
    lhs, rhs = (g.abs(floating(v)) for v in lifted(x, y))
    top, low = g.maximum(lhs, rhs), g.minimum(lhs, rhs)
    ratio = g.div(low, g.select(g.eq(top, g.full_like(top, 0)), g.full_like(top, 1), top))
    found = g.mul(top, g.sqrt(g.add(g.mul(ratio, ratio), g.full_like(top, 1))))
    return g.select(g.is_inf(top), top, found)


def arctan2(y: Operand, x: Operand) -> SSAValue:
    """The angle of the point (x, y), between -pi and pi. At the origin its derivatives are 0."""
    up, right = (floating(v) for v in lifted(y, x))
    number = lambda n: g.full_like(up, n)
    pi = 3.141592653589793
    tall = g.lt(g.abs(right), g.abs(up))
    origin = g.logical_and(g.eq(up, number(0)), g.eq(right, number(0)))
    angle = g.atan(g.div(g.select(tall, right, up), g.select(origin, number(1), g.select(tall, up, right))))
    quarter = g.select(g.lt(up, number(0)), number(-pi / 2), number(pi / 2))
    negative_zero = g.lt(g.reciprocal(right), number(0))
    left = g.logical_or(g.lt(right, number(0)), g.logical_and(g.eq(right, number(0)), negative_zero))
    below = g.logical_or(g.lt(up, number(0)), g.logical_and(g.eq(up, number(0)), g.lt(g.reciprocal(up), number(0))))
    half = g.select(below, number(-pi), number(pi))
    flat = g.add(g.select(origin, g.stop_gradient(up), angle), g.select(left, half, number(0)))
    return g.select(tall, g.sub(quarter, angle), flat)


def _bitwise(name: str) -> Binary:
    def function(x: Operand, y: Operand) -> SSAValue:
        lhs, rhs = lifted(x, y)
        kind = dtype_of(lhs)
        if is_float(kind):
            raise DTypeError(f"bitwise_{name} of {kind}", remedy="It takes integers and bools.")
        return g.elementwise.apply(f"{'logical' if kind == 'bool' else 'bit'}_{name}", lhs, rhs)

    return _named(function, f"bitwise_{name}")


bitwise_and, bitwise_or, bitwise_xor = map(_bitwise, ("and", "or", "xor"))


def invert(x: Operand) -> SSAValue:
    found = value(x)
    if is_float(dtype_of(found)):
        raise DTypeError(f"invert of {dtype_of(found)}", remedy="It takes integers and bools.")
    return g.logical_not(found) if dtype_of(found) == "bool" else g.bit_not(found)


def _shift(name: str) -> Binary:
    def function(x: Operand, y: Operand) -> SSAValue:
        lhs, rhs = lifted(x, y)
        if not is_integer(dtype_of(lhs)):
            raise DTypeError(f"{name} of {dtype_of(lhs)}", remedy="It takes integers.")
        return g.elementwise.apply(name, lhs, rhs)

    return _named(function, name)


left_shift, right_shift = _shift("shift_left"), _shift("shift_right")


def truth(x: Operand) -> SSAValue:
    """Whether each element is not 0."""
    return as_dtype(x, "bool")


def _logical(name: str) -> Binary:
    return _named(lambda x, y: g.elementwise.apply(name, *g.lift(truth(x), truth(y))), name)


logical_and, logical_or, logical_xor = map(_logical, ("logical_and", "logical_or", "logical_xor"))


def logical_not(x: Operand) -> SSAValue:
    return g.logical_not(truth(x))


def where(condition: Operand, x: Operand, y: Operand) -> SSAValue:
    """x where the condition holds, else y."""
    dtype = common_dtype(x, y)
    return g.select(*g.lift(truth(condition), as_dtype(x, dtype), as_dtype(y, dtype)))


def clip(x: Operand, *bounds: Operand, low: bool, high: bool) -> SSAValue:
    """minimum(maximum(x, lower bound), upper bound), of the bounds that there are."""
    found, *limits = promoted(x, *bounds)
    lower, upper = (limits[0] if low else None), (limits[-1] if high else None)
    shape = g.common_shape([shape_of(v) for v in (found, *limits)])
    return g.clip(g.broadcast_to(found, shape), lower, upper)


def astype(x: Operand, dtype: str) -> SSAValue:
    """x in another dtype; a float becomes an integer by truncation, beyond its range by saturation."""
    return as_dtype(x, dtype) if isinstance(x, Weak) or dtype_of(x) != dtype else x


def gelu(x: Operand, approximate: str = "none") -> SSAValue:
    return g.gelu(floating(x), approximate)


def silu(x: Operand) -> SSAValue:
    return g.silu(floating(x))


def stop_gradient(x: Operand) -> SSAValue:
    return g.stop_gradient(value(x))
