"""math.exp and friends as polynomials, on f32 scalars and vectors alike: LLVM would call a library lane by lane.

NaN propagates, zeros keep their signs and infinities are right: exp overflows to inf and underflows to 0, log(0) = -inf, log(x < 0) = NaN.
docs/numerics.md has the largest error of each over all of f32. Functions of rare use are computed in f64 and rounded once (double.py). f64
arguments stay calls of the C library. On machines without fused multiply-add exp loses up to 100 ulp for large arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xdsl.builder import Builder
from xdsl.dialects import math
from xdsl.dialects.builtin import f32, f64
from xdsl.ir import Operation, SSAValue

from mlc.ir.kernel.functions import ErfcOp, RemainderOp
from mlc.passes.loops import angles, double
from mlc.passes.loops.arithmetic import Arithmetic, Constants

LOG2E = 1.44269504088896340736
LOG2E_HIGH = 1.44269502162933349609375  # the float nearest to it; the rest makes it log2(e)
LOG2E_REST = 1.9259629911266175e-8
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4  # n times the first is exact
# 2^f on [-1/2, 1/2], fitted on Chebyshev nodes
EXP2 = (
    0.00015469732170458883,
    0.0013400432653725147,
    0.00961802527308464,
    0.05550327152013779,
    0.24022650718688965,
    0.6931471824645996,
    1.0,
)
# log(1 + f) = f - f^2/2 + f^3 P(f) on [sqrt(1/2) - 1, sqrt(2) - 1]: logf of the Cephes library (Moshier)
LOG = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
# fitted to relative errors below 2e-8: tanh(x) / x in x^2 up to 9.02, erf(x) / x in x^2 up to 3.93
TANH_OVER = (
    -1.2203643184724356e-11,
    3.058526968358569e-08,
    2.8007563434984356e-05,
    0.0038683329495153916,
    0.13679919221672726,
    1.0,
)
TANH_UNDER = (1.2873738581292439e-06, 0.0003938640280177012, 0.027245857851331136, 0.4701325128222797, 1.0)
TANH_ONE = 9.010913  # from here on 1 - tanh is less than half a unit in the last place
ERF_OVER = (
    0.00023058704420560327,
    0.0036019229401694952,
    0.051564308509577945,
    0.19025489196959036,
    1.1283791344163452,
)
ERF_UNDER = (-1.1159139054311456e-07, 2.312019318642967e-05, 0.0010582134898220231, 0.01446951543787323, 0.113016391921874,
             0.5019414076730186, 1.0)  # fmt: skip
ERF_ONE = 3.919206
# exp(t^2) erfc(t) in (t - 3) / (t + 3), t up to 10.2
ERFCX = (5.591664453546714e-05, 2.8881751895324347e-05, -0.0005945693076057183, 0.0007157300901439951, 0.004268875725688997,
         -0.02439423140412223, 0.07166586429426908, -0.15011578182158083, 0.245603797555503, -0.326233563827389,
         0.17900115126483426)  # fmt: skip
EXPM1 = (0.0013882463139507344, 0.008366788039400275, 0.041667208577239045, 0.1666654163097912, 0.4999999810887446)


def expansion(op: Operation) -> Callable[..., SSAValue] | None:
    """How an op is spelled by simpler ones, if it is: functions of the math dialect in f32, in f64 those that no library has."""
    type_of_result = op.results[0].type if op.results else None
    if type_of_result == f32:
        return EXPANSIONS.get(type(op))
    return rsqrt if type_of_result == f64 and isinstance(op, math.RsqrtOp) else None


def expand(b: Builder, constants: Constants, op: Operation, operands: Sequence[SSAValue]) -> SSAValue:
    found = expansion(op)
    assert found is not None
    return found(Arithmetic(b, constants, operands[0].type), *operands)


def exp(a: Arithmetic, x: SSAValue) -> SSAValue:
    """2^n * 2^f, n = round(x log2 e). What would be denormal, or below 1.7e-38, is 0."""
    x = a.least(a.most(x, 89.0), -150.0)
    magic = a.real(12582912.0)  # 1.5 * 2^23: adding it rounds to an integer, kept in the low bits
    shifted = a.fma(x, a.real(LOG2E_HIGH), magic)
    n = a.sub(magic, shifted)
    return _power_of_two(a, shifted, a.fma(x, a.real(LOG2E_REST), a.fma(x, a.real(LOG2E_HIGH), n)))


def exp2(a: Arithmetic, x: SSAValue) -> SSAValue:
    x = a.least(a.most(x, 129.0), -200.0)
    magic = a.real(12582912.0)
    shifted = a.add(x, magic)
    return _power_of_two(a, shifted, a.sub(x, a.sub(shifted, magic)))


def _power_of_two(a: Arithmetic, shifted: SSAValue, f: SSAValue) -> SSAValue:
    """2^n * 2^f, n in the low bits of `shifted`. 2^(n - 1) comes from exponent bits, so that overflow and underflow happen in the last product."""
    twice = a.horner(f, [2 * c for c in EXP2])
    biased = a.iadd(a.shift_left(a.bits(shifted), 23), a.integer(126 << 23))
    return a.mul(twice, a.floats(a.imax(biased, a.integer(0))))


def expm1(a: Arithmetic, x: SSAValue) -> SSAValue:
    """2^n (exp(r) - 1) + (2^n - 1), x = n log 2 + r: no digits are lost near 0."""
    bounded = a.least(a.most(x, 89.0), -60.0)
    magic = a.real(12582912.0)
    shifted = a.fma(bounded, a.real(LOG2E), magic)
    n = a.sub(magic, shifted)  # its negative
    r = a.fma(n, a.real(LN2_LOW), a.fma(n, a.real(LN2_HIGH), bounded))
    less = a.fma(a.mul(r, r), a.horner(r, EXPM1), r)
    half = a.floats(a.iadd(a.shift_left(a.bits(shifted), 23), a.integer(126 << 23)))
    found = a.fma(half, less, a.sub(half, a.real(0.5)))
    return a.copysign(a.add(found, found), x)


def log(a: Arithmetic, x: SSAValue) -> SSAValue:
    smallest = a.real(1.17549435e-38)
    tiny = a.compare("olt", x, smallest)
    scaled = a.select(tiny, a.mul(x, a.real(8388608.0)), x)  # denormals get a normal mantissa
    bits = a.bits(scaled)
    # mantissa in [sqrt(1/2), sqrt(2)): subtract the bits of sqrt(1/2) to find the exponent
    shifted = a.isub(bits, a.integer(0x3F3504F3))
    exponent = a.shift_right(shifted, 23)
    mantissa = a.floats(a.isub(bits, a.shift_left(exponent, 23)))
    e = a.sub(a.to_real(exponent), a.select(tiny, a.real(23.0), a.real(0.0)))
    return double.log_domain(a, x, _log_near_one(a, e, a.sub(mantissa, a.real(1.0))))


def log1p(a: Arithmetic, x: SSAValue) -> SSAValue:
    """log of u = 1 + x as rounded; what the rounding lost is added to the mantissa. Without it a small x would lose its digits."""
    one = a.real(1.0)
    u = a.add(x, one)
    lost = a.sub(x, a.sub(u, one))
    bits = a.bits(u)
    exponent = a.shift_right(a.isub(bits, a.integer(0x3F3504F3)), 23)
    power = a.shift_left(exponent, 23)
    scale = a.floats(a.imax(a.isub(a.integer(127 << 23), power), a.integer(0)))
    f = a.fma(lost, scale, a.sub(a.floats(a.isub(bits, power)), one))
    found = double.log_domain(a, u, _log_near_one(a, a.to_real(exponent), f))
    return a.copysign(found, x)


def _log_near_one(a: Arithmetic, exponent: SSAValue, f: SSAValue) -> SSAValue:
    """log(2^exponent (1 + f))"""
    square = a.mul(f, f)
    tail = a.mul(a.mul(square, f), a.horner(f, LOG))
    tail = a.fma(exponent, a.real(LN2_LOW), tail)
    tail = a.fma(square, a.real(-0.5), tail)
    return a.fma(exponent, a.real(LN2_HIGH), a.add(f, tail))


def tanh(a: Arithmetic, x: SSAValue) -> SSAValue:
    return _odd_quotient(a, x, TANH_OVER, TANH_UNDER, TANH_ONE)


def erf(a: Arithmetic, x: SSAValue) -> SSAValue:
    return _odd_quotient(a, x, ERF_OVER, ERF_UNDER, ERF_ONE)


def _odd_quotient(a: Arithmetic, x: SSAValue, over: Sequence[float], under: Sequence[float], limit: float) -> SSAValue:
    """x times a quotient of polynomials in x^2; 1 from `limit` on, and never more."""
    square = a.mul(x, x)
    found = a.div(a.mul(x, a.horner(square, over)), a.horner(square, under))
    found = a.least(a.most(found, 1.0), -1.0)
    return a.select(a.compare("ogt", a.absolute(x), a.real(limit)), a.copysign(a.real(1.0), x), found)


def erfc(a: Arithmetic, x: SSAValue) -> SSAValue:
    """exp(-t^2) times a polynomial in (t - 3) / (t + 3), t = |x|; 2 minus that for x < 0. t^2 is taken with its rounding error, which the
    exponential would multiply."""
    t = a.most(a.absolute(x), 10.1)
    square = a.mul(t, t)
    lost = a.fma(t, t, a.negate(square))
    magic = a.real(12582912.0)
    shifted = a.fma(square, a.real(-LOG2E_HIGH), magic)
    f = a.fma(square, a.real(-LOG2E_REST), a.fma(square, a.real(-LOG2E_HIGH), a.sub(magic, shifted)))
    decay = _power_of_two(a, shifted, a.fma(lost, a.real(-LOG2E), f))
    three = a.real(3.0)
    found = a.mul(decay, a.horner(a.div(a.sub(t, three), a.add(t, three)), ERFCX))
    return a.select(a.compare("olt", x, a.real(0.0)), a.sub(a.real(2.0), found), found)


def rsqrt(a: Arithmetic, x: SSAValue) -> SSAValue:
    return a.div(a.real(1.0), a.root(x))


EXPANSIONS: dict[type[Operation], Callable[..., SSAValue]] = {
    math.ExpOp: exp,
    math.Exp2Op: exp2,
    math.ExpM1Op: expm1,
    math.LogOp: log,
    math.Log2Op: double.log2,
    math.Log10Op: double.log10,
    math.Log1pOp: log1p,
    math.TanhOp: tanh,
    math.ErfOp: erf,
    ErfcOp: erfc,
    math.SinOp: angles.sin,
    math.CosOp: angles.cos,
    math.TanOp: angles.tan,
    math.RsqrtOp: rsqrt,
    math.PowFOp: double.power,
    math.AtanOp: double.atan,
    math.Atan2Op: double.atan2,
    math.AsinOp: double.asin,
    math.AcosOp: double.acos,
    math.SinhOp: double.sinh,
    math.CoshOp: double.cosh,
    math.AsinhOp: double.asinh,
    math.AcoshOp: double.acosh,
    math.AtanhOp: double.atanh,
    math.CbrtOp: double.cbrt,
    RemainderOp: double.remainder,
}
