"""Partial derivatives of the element-wise ops: what the result y changes by where one operand changes by t.

Each is a factor at every element, hence its own transpose: reverse mode applies it to cotangents. At kinks they follow PyTorch; where a
result is at hand, it is used again.
"""

from __future__ import annotations

import math

from xdsl.ir import SSAValue

from mlc.ir.graph.derivative import Algebra, Partial

Value = SSAValue
FLAT: tuple[Partial | None, ...] = (None,)  # piecewise constant: the derivative is 0


def neg(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    return g.neg(t)


def absolute(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    """0 at 0."""
    return g.mul(t, g.apply("sign", x))


def exp(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    return g.mul(t, y)


def log(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    return g.div(t, x)


def sqrt(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    """Infinite at 0."""
    return g.div(t, g.add(y, y))


def rsqrt(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    return g.mul(t, g.mul(g.scale(y, -0.5), g.mul(y, y)))


def reciprocal(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    return g.neg(g.mul(t, g.mul(y, y)))


def sin(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    return g.mul(t, g.apply("cos", x))


def cos(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    return g.neg(g.mul(t, g.apply("sin", x)))


def tan(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    return g.add(t, g.mul(t, g.mul(y, y)))


def asin(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    return g.mul(t, g.apply("rsqrt", g.sub(g.like(x, 1), g.mul(x, x))))


def acos(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    return g.neg(asin(g, t, y, x))


def atan(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    return g.div(t, g.add(g.mul(x, x), g.like(x, 1)))


def sinh(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    return g.mul(t, g.apply("cosh", x))


def cosh(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    return g.mul(t, g.apply("sinh", x))


def asinh(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    return g.mul(t, g.apply("rsqrt", g.add(g.mul(x, x), g.like(x, 1))))


def acosh(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    return g.mul(t, g.apply("rsqrt", g.sub(g.mul(x, x), g.like(x, 1))))


def atanh(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    return g.div(t, g.sub(g.like(x, 1), g.mul(x, x)))


def tanh(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    return g.mul(t, g.sub(g.like(y, 1), g.mul(y, y)))


def erf(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    return g.mul(t, g.scale(g.apply("exp", g.neg(g.mul(x, x))), 2 / math.sqrt(math.pi)))


def gelu(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    """Phi(x) + x * phi(x)"""
    phi = g.scale(g.apply("exp", g.scale(g.mul(x, x), -0.5)), 1 / math.sqrt(2 * math.pi))
    below = g.scale(g.add(g.apply("erf", g.scale(x, math.sqrt(0.5))), g.like(x, 1)), 0.5)
    return g.mul(t, g.add(below, g.mul(x, phi)))


def expm1(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    return g.mul(t, g.add(y, g.like(y, 1)))


def log1p(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    return g.div(t, g.add(x, g.like(x, 1)))


def softplus(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    return g.mul(t, g.apply("sigmoid", x))


def sigmoid(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    return g.mul(t, g.mul(y, g.sub(g.like(y, 1), y)))


def relu(g: Algebra, t: Value, y: Value, x: Value) -> Value:
    """0 at 0, and 1 at NaN. Where x is above 0 the result is, which is at hand in whatever layer comes next."""
    return g.select(g.apply("le", y, g.like(y, 0)), g.like(t, 0), t)


def same(g: Algebra, t: Value, y: Value, *operands: Value) -> Value:
    return t


def negated(g: Algebra, t: Value, y: Value, *operands: Value) -> Value:
    return g.neg(t)


def mul_lhs(g: Algebra, t: Value, z: Value, x: Value, y: Value) -> Value:
    return g.mul(t, y)


def mul_rhs(g: Algebra, t: Value, z: Value, x: Value, y: Value) -> Value:
    return g.mul(t, x)


def div_lhs(g: Algebra, t: Value, z: Value, x: Value, y: Value) -> Value:
    return g.div(t, y)


def div_rhs(g: Algebra, t: Value, z: Value, x: Value, y: Value) -> Value:
    return g.neg(g.mul(t, g.div(z, y)))


def pow_base(g: Algebra, t: Value, z: Value, x: Value, y: Value) -> Value:
    """y * x ** (y - 1); 0 where the exponent is 0, also at x = 0."""
    exponent = g.number(y)
    if exponent is not None:
        if exponent == 0:
            return g.like(t, 0)
        lower = g.apply("pow", x, g.like(y, exponent - 1)) if exponent not in (1, 2) else x
        return g.scale(t, exponent) if exponent == 1 else g.mul(t, g.scale(lower, exponent))
    slope = g.mul(y, g.apply("pow", x, g.sub(y, g.like(y, 1))))
    return g.select(g.apply("eq", y, g.like(y, 0)), g.like(t, 0), g.mul(t, slope))


def pow_exponent(g: Algebra, t: Value, z: Value, x: Value, y: Value) -> Value:
    """z * log(x); 0 where x is 0 and the exponent is not negative."""
    zero = g.apply("logical_and", g.apply("eq", x, g.like(x, 0)), g.apply("ge", y, g.like(y, 0)))
    return g.select(zero, g.like(t, 0), g.mul(t, g.mul(z, g.apply("log", x))))


def mod_rhs(g: Algebra, t: Value, z: Value, x: Value, y: Value) -> Value:
    """Of x - q * y, where the quotient q is a whole number."""
    return g.mul(t, g.apply("round", g.div(g.sub(z, x), y)))


def _share(larger: str, mine: int) -> Partial:
    """All of t where this operand is the result, half of it where both are; where one is NaN both have all of it."""

    def partial(g: Algebra, t: Value, z: Value, x: Value, y: Value) -> Value:
        own, other = (x, y) if mine == 0 else (y, x)
        tied = g.select(g.apply("eq", x, y), g.scale(t, 0.5), t)
        return g.select(g.apply(larger, other, own), g.like(t, 0), tied)

    return partial


maximum = (_share("gt", 0), _share("gt", 1))
minimum = (_share("lt", 0), _share("lt", 1))


def select_x(g: Algebra, t: Value, z: Value, condition: Value, x: Value, y: Value) -> Value:
    return g.select(condition, t, g.like(t, 0))


def select_y(g: Algebra, t: Value, z: Value, condition: Value, x: Value, y: Value) -> Value:
    return g.select(condition, g.like(t, 0), t)
