"""math.exp and friends as polynomials, on f32 scalars and vectors alike: LLVM would call a library lane by lane.

NaN propagates, zeros keep their signs and infinities are right: exp overflows to inf and underflows to 0, log(0) = -inf, log(x < 0) = NaN.
docs/numerics.md has the largest error of each over all of f32. Functions of rare use are computed in f64 and rounded once (double.py). f64
arguments stay calls of the C library. On machines without fused multiply-add exp loses up to 100 ulp for large arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xdsl.dialects import arith, math
from xdsl.dialects.builtin import f32, f64
from xdsl.ir import Operation, SSAValue

from mlc.ir.kernel.located import Builder
from mlc.ir.kernel.scalar_ops import GeluOp, RemainderOp, SoftplusOp
from mlc.passes.loops import angles, double
from mlc.passes.loops.floats import Arithmetic, Constants
from mlc.passes.loops.lanes import constant_of

LOG2E = 1.44269504088896340736
LOG2E_HIGH = 1.44269502162933349609375  # the float nearest to it; the rest makes it log2(e)
LOG2E_REST = 1.9259629911266175e-8
LN2 = 0.693147180559945309417
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
# tanh(x) / x and erf(x) / x as quotients of polynomials in s = x^2, the least relative errors (2e-8, 3e-8) for s up to 81.5 and 15.5 by Remez'
# exchange in f64, rounded. A polynomial that begins with 1 takes an instruction less, and one constant less in a register.
TANH_OVER = (0.017153998836874962, 26.524648666381836, 4503.93603515625, 172492.515625, 1289257.75)
TANH_UNDER = (1.0, 423.14849853515625, 33351.53125, 602244.875, 1289257.75)
TANH_ONE = 81.2  # the square of 9.011: from here on 1 - tanh is less than half a unit in the last place
ERF_OVER = (-2075.709228515625, -32535.162109375, -464287.78125, -1714925.25, -10150800.0)
ERF_UNDER = (1.0, -207.74526977539062, -9547.7568359375, -130440.0859375, -1018065.4375, -4518442.0, -8995913.0)
ERF_ONE = 15.36  # of 3.919
# Phi(-t) exp(t^2/2) as a quotient in t up to 13.2, relative error 1.8e-7. GELU_STEP is 2 log 2 times 1 + 2 k, k = 3.45e-7: with n steps
# taken from t^2, exp(-t^2/2) = 2^-n exp(-(1/2 + k) r) exp(k t^2). DECAY has the second factor on [-STEP/2, STEP/2] (7.6e-8) and what is in
# front of the two polynomials, which begin with 1; the quotient has the third, and is the better for it: without k its error is 3.4e-7.
GELU_STEP = 1.3862953186035156
GELU_OVER = (1.0, 7.512538433074951, 23.751121520996094, 34.874595642089844)
GELU_UNDER = (1.0, 7.494734287261963, 24.903106689453125, 41.12939453125, 27.81029510498047)
GELU_DECAY = (
    -0.00010338627907913178,
    0.0010445493971928954,
    -0.008307076059281826,
    0.04983864352107048,
    -0.19935910403728485,
    0.39871862530708313,
)
# the exponential is 0 here: n is 126, and DECAY a little above 1/2 has the bits of 2^-126 or just less
GELU_END = 13.198
# 2 atanh(z / 2) / z in z^2 up to 4/9, by least squares with weights moved to where the error is largest (Lawson), to 1e-8
ATANH = (0.0005503717693500221, 0.002184411510825157, 0.012507786974310875, 0.08333289623260498, 1.0)
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
    """2^n * 2^f, n = round(x log2 e). What would be below 2^-125.5 = 1.7e-38 is 0."""
    return _exp_below(a, a.most(x, 89.0))


def _exp_below(a: Arithmetic, x: SSAValue) -> SSAValue:
    """exp of what is at most 89."""
    x = a.least(x, -87.33654)  # n from -126
    magic = a.real(12582912.0)  # 1.5 * 2^23: adding it rounds to an integer, kept in the low bits
    shifted = a.fma(x, a.real(LOG2E_HIGH), magic)
    n = a.sub(magic, shifted)
    return _power_of_two(a, shifted, a.fma(x, a.real(LOG2E_REST), a.fma(x, a.real(LOG2E_HIGH), n)))


def exp2(a: Arithmetic, x: SSAValue) -> SSAValue:
    x = a.least(a.most(x, 129.0), -126.0)
    magic = a.real(12582912.0)
    shifted = a.add(x, magic)
    return _power_of_two(a, shifted, a.sub(x, a.sub(shifted, magic)))


def _power_of_two(a: Arithmetic, shifted: SSAValue, f: SSAValue) -> SSAValue:
    """2^n * 2^f, n from -126 in the low bits of `shifted`. 2^(n - 1) comes from exponent bits, those of 2^-127 are 0: overflow and underflow
    happen in the last product."""
    twice = a.horner(f, [2 * c for c in EXP2])
    biased = a.iadd(a.shift_left(a.bits(shifted), 23), a.integer(126 << 23))
    return a.mul(twice, a.floats(biased))


def expm1(a: Arithmetic, x: SSAValue) -> SSAValue:
    """2^n (exp(r) - 1) + (2^n - 1), x = n log 2 + r: no digits are lost near 0. Where x is min(..., 0), log 2 in one float is enough, for the error
    of n log 2 is multiplied by 2^n, and 2^n is in range."""
    below = _at_most_zero(x)
    bounded = a.least(x if below else a.most(x, 89.0), -60.0)
    magic = a.real(12582912.0)
    shifted = a.fma(bounded, a.real(LOG2E), magic)
    n = a.sub(magic, shifted)  # its negative
    r = a.fma(n, a.real(LN2), bounded) if below else a.fma(n, a.real(LN2_LOW), a.fma(n, a.real(LN2_HIGH), bounded))
    less = a.fma(a.mul(r, r), a.horner(r, EXPM1), r)
    if below:
        scale = a.floats(a.iadd(a.shift_left(a.bits(shifted), 23), a.integer(127 << 23)))
        return a.signed(a.fma(scale, less, a.sub(scale, a.real(1.0))), x)
    half = a.floats(a.iadd(a.shift_left(a.bits(shifted), 23), a.integer(126 << 23)))
    found = a.fma(half, less, a.sub(half, a.real(0.5)))
    return a.signed(a.add(found, found), x)


def _at_most_zero(x: SSAValue) -> bool:
    op = x.owner
    return isinstance(op, arith.MinimumfOp) and any((c := constant_of(v)) is not None and c <= 0 for v in op.operands)


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
    return a.signed(double.log_domain(a, u, _log_near_one(a, a.to_real(exponent), f)), x)


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


def _odd_quotient(a: Arithmetic, x: SSAValue, over: Sequence[float], under: Sequence[float], one: float) -> SSAValue:
    """x times a quotient of polynomials in x^2, which stays what it is at `one`: from there on the product is 1 or more, and cut off."""
    square = a.most(a.mul(x, x), one)
    found = a.div(a.mul(x, a.horner(square, over)), a.horner(square, under))
    return a.least(a.most(found, 1.0), -1.0)


def gelu(a: Arithmetic, x: SSAValue) -> SSAValue:
    """max(x, 0) - t Phi(-t), t = |x|; t^2 is taken with its rounding error, which the exponential would multiply. The maximum is x - min(x, 0):
    NaN at -inf, as the definition is."""
    t = a.most(a.absolute(x), GELU_END)
    square = a.mul(t, t)
    magic = a.real(12582912.0)
    shifted = a.fma(square, a.real(-1 / GELU_STEP), magic)
    rest = a.fma(a.sub(shifted, magic), a.real(GELU_STEP), square)
    rest = a.add(rest, a.fma(t, t, a.negate(square)))
    exponent = a.shift_left(a.bits(shifted), 23)
    decay = a.floats(a.iadd(a.bits(a.horner(rest, GELU_DECAY)), exponent))
    tail = a.mul(t, a.div(a.horner(t, GELU_OVER), a.horner(t, GELU_UNDER)))
    below = a.select(a.compare("olt", x, a.real(0.0)), x, a.real(0.0))  # 0 for -0, so that the difference is -0
    return a.fma(a.negate(tail), decay, a.sub(x, below))


def softplus(a: Arithmetic, x: SSAValue) -> SSAValue:
    """max(x, 0) + log(1 + e), e = exp(-|x|): log(1 + e) = 2 atanh(z / 2), z = e / (1 + e / 2) up to 2/3."""
    e = _exp_below(a, a.negate(a.absolute(x)))
    z = a.div(e, a.fma(e, a.real(0.5), a.real(1.0)))
    return a.fma(z, a.horner(a.mul(z, z), ATANH), a.least(x, 0.0))


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
    GeluOp: gelu,
    SoftplusOp: softplus,
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
