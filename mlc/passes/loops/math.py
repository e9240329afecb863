"""math.exp and friends as polynomials, on f32 scalars and vectors alike: LLVM would call a library lane by lane.

NaN propagates and infinities are right: exp overflows to inf and underflows to 0, log(0) = -inf, log(x < 0) = NaN. Errors against float64 are
below 4 ulp (tanh and erf 7) except where a docstring says so. Functions of rare use are computed in f64 and rounded once. f64 arguments stay
calls of the C library. On machines without fused multiply-add exp loses up to 100 ulp for large arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xdsl.builder import Builder
from xdsl.dialects import math
from xdsl.dialects.builtin import f32
from xdsl.ir import Operation, SSAValue

from mlc.passes.loops.arithmetic import Arithmetic, Constants

LOG2E = 1.44269504088896340736
LOG2E_HIGH = 1.44269502162933349609375  # the float nearest to it; the rest makes it log2(e)
LOG2E_REST = 1.9259629911266175e-8
LN2 = 0.693147180559945309417
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
TANH_OVER = (-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08, 1.48572235717979e-05,
             6.37261928875436e-04, 4.89352455891786e-03)  # fmt: skip
TANH_UNDER = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
ERF_OVER = (0.00022905065861350646, 0.0034082910107109506, 0.050955695062380861, 0.18520832239976145, 1.128379143519084)
ERF_UNDER = (-1.1791602954361697e-7, 0.000023547966471313185, 0.0010179625278914885, 0.014070470171167667, 0.11098505178285362,
             0.49746925110067538, 1.0)  # fmt: skip
SIN = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)  # Cephes sinf, cosf on [-pi/4, pi/4]
COS = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)


def expansion(op: Operation) -> Callable[..., SSAValue] | None:
    """How an op is spelled by simpler ones, if it is: f32 functions of the math dialect."""
    found = EXPANSIONS.get(type(op))
    return found if found and op.results[0].type == f32 else None


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
    """(e - 1) x / log(e) corrects the rounding of e (Higham)."""
    return a.in_double(_expm1, x)


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
    f = a.sub(mantissa, a.real(1.0))
    square = a.mul(f, f)
    tail = a.mul(a.mul(square, f), a.horner(f, LOG))
    tail = a.fma(e, a.real(-2.12194440e-4), tail)
    tail = a.fma(square, a.real(-0.5), tail)
    found = a.fma(e, a.real(0.693359375), a.add(f, tail))
    return _log_domain(a, x, found)


def _log_domain(a: Arithmetic, x: SSAValue, found: SSAValue) -> SSAValue:
    """inf and NaN stay, 0 gives -inf, what is negative NaN."""
    found = a.select(a.compare("olt", x, a.real(float("inf"))), found, x)
    found = a.select(a.compare("oeq", x, a.real(0.0)), a.real(float("-inf")), found)
    return a.select(a.compare("olt", x, a.real(0.0)), a.real(float("nan")), found)


def log2(a: Arithmetic, x: SSAValue) -> SSAValue:
    return a.in_double(lambda d, x: d.mul(_log(d, x), d.real(LOG2E)), x)


def log10(a: Arithmetic, x: SSAValue) -> SSAValue:
    return a.in_double(lambda d, x: d.mul(_log(d, x), d.real(0.434294481903251827651)), x)


def log1p(a: Arithmetic, x: SSAValue) -> SSAValue:
    return a.in_double(_log1p, x)


def tanh(a: Arithmetic, x: SSAValue) -> SSAValue:
    """A rational function of x in [-7.9, 7.9], beyond which it is 1."""
    x = a.least(a.most(x, 7.90531110763549805), -7.90531110763549805)
    square = a.mul(x, x)
    return a.div(a.mul(x, a.horner(square, TANH_OVER)), a.horner(square, TANH_UNDER))


def erf(a: Arithmetic, x: SSAValue) -> SSAValue:
    """A rational function of x in [-3.75, 3.75], beyond which it is 1."""
    x = a.least(a.most(x, 3.7439211627767994), -3.7439211627767994)
    square = a.mul(x, x)
    return a.div(a.mul(x, a.horner(square, ERF_OVER)), a.horner(square, ERF_UNDER))


def _quadrant(a: Arithmetic, x: SSAValue) -> tuple[SSAValue, SSAValue]:
    """x = q pi/2 + r, |r| <= pi/4; the quadrant q modulo 4 as a float, and r. In f64, pi/2 in two parts: right for |x| below 1e14, bounded
    beyond."""
    d = a.double()
    wide = d.extended(x)
    q = d.round(d.mul(wide, d.real(0.636619772367581343076)))
    r = d.fma(q, d.real(-6.123233995736766036e-17), d.fma(q, d.real(-1.57079632679489661923), wide))
    r = d.least(d.most(r, 0.8), -0.8)
    turn = d.fma(d.floor(d.mul(q, d.real(0.25))), d.real(-4.0), q)
    return a.truncated(turn), a.truncated(r)


def _sin_cos(a: Arithmetic, r: SSAValue) -> tuple[SSAValue, SSAValue]:
    square = a.mul(r, r)
    sine = a.fma(a.mul(square, r), a.horner(square, SIN), r)
    cosine = a.fma(a.mul(square, square), a.horner(square, COS), a.fma(square, a.real(-0.5), a.real(1.0)))
    return sine, cosine


def _odd(a: Arithmetic, q: SSAValue) -> SSAValue:
    """Is the quadrant 1 or 3?"""
    return a.compare("oeq", a.absolute(a.sub(q, a.real(2.0))), a.real(1.0))


def sin(a: Arithmetic, x: SSAValue) -> SSAValue:
    q, r = _quadrant(a, x)
    sine, cosine = _sin_cos(a, r)
    found = a.select(_odd(a, q), cosine, sine)
    return a.select(a.compare("oge", q, a.real(2.0)), a.negate(found), found)


def cos(a: Arithmetic, x: SSAValue) -> SSAValue:
    q, r = _quadrant(a, x)
    sine, cosine = _sin_cos(a, r)
    found = a.select(_odd(a, q), sine, cosine)
    middle = a.compare("ole", a.absolute(a.sub(q, a.real(1.5))), a.real(0.5))
    return a.select(middle, a.negate(found), found)


def tan(a: Arithmetic, x: SSAValue) -> SSAValue:
    q, r = _quadrant(a, x)
    sine, cosine = _sin_cos(a, r)
    odd = _odd(a, q)
    return a.div(a.select(odd, a.negate(cosine), sine), a.select(odd, sine, cosine))


def rsqrt(a: Arithmetic, x: SSAValue) -> SSAValue:
    return a.div(a.real(1.0), a.root(x))


def power(a: Arithmetic, x: SSAValue, y: SSAValue) -> SSAValue:
    """exp(y log |x|) in f64; the sign of x where y is odd, NaN where x < 0 and y is no integer; x^0 = 1^y = 1."""
    return a.in_double(_power, x, y)


def _power(d: Arithmetic, x: SSAValue, y: SSAValue) -> SSAValue:
    one, zero = d.real(1.0), d.real(0.0)
    size = d.absolute(x)
    found = _exp(d, d.mul(y, _log(d, size)))
    half = d.mul(y, d.real(0.5))
    integral = d.compare("oeq", d.floor(y), y)
    odd = d.both(integral, d.compare("one", d.floor(half), half))
    negative = d.compare("olt", d.copysign(one, x), zero)
    found = d.select(d.both(negative, odd), d.negate(found), found)
    finite = d.compare("one", size, d.real(float("inf")))
    root = d.both(d.both(d.compare("olt", x, zero), finite), d.compare("one", d.floor(y), y))
    bounded = d.compare("one", d.absolute(y), d.real(float("inf")))
    found = d.select(d.both(root, bounded), d.real(float("nan")), found)
    # |x| = 1 with y = +-inf: 0 * inf is NaN in the exponent
    unit = d.select(d.compare("oeq", d.absolute(y), d.real(float("inf"))), size, x)
    found = d.select(d.compare("oeq", unit, one), one, found)
    return d.select(d.compare("oeq", y, zero), one, found)


def atan(a: Arithmetic, x: SSAValue) -> SSAValue:
    return a.in_double(_atan, x)


def atan2(a: Arithmetic, y: SSAValue, x: SSAValue) -> SSAValue:
    return a.in_double(_atan2, y, x)


def asin(a: Arithmetic, x: SSAValue) -> SSAValue:
    return a.in_double(lambda d, x: _atan2(d, x, d.root(d.mul(d.sub(d.real(1.0), x), d.add(d.real(1.0), x)))), x)


def acos(a: Arithmetic, x: SSAValue) -> SSAValue:
    return a.in_double(lambda d, x: _atan2(d, d.root(d.mul(d.sub(d.real(1.0), x), d.add(d.real(1.0), x))), x), x)


def sinh(a: Arithmetic, x: SSAValue) -> SSAValue:
    def wide(d: Arithmetic, x: SSAValue) -> SSAValue:
        e = _expm1(d, d.absolute(x))
        ratio = d.div(e, d.add(e, d.real(1.0)))
        ratio = d.select(d.compare("oeq", e, d.real(float("inf"))), d.real(1.0), ratio)
        return d.copysign(d.mul(d.real(0.5), d.add(e, ratio)), x)

    return a.in_double(wide, x)


def cosh(a: Arithmetic, x: SSAValue) -> SSAValue:
    def wide(d: Arithmetic, x: SSAValue) -> SSAValue:
        e = _exp(d, d.absolute(x))
        return d.mul(d.real(0.5), d.add(e, d.div(d.real(1.0), e)))

    return a.in_double(wide, x)


def asinh(a: Arithmetic, x: SSAValue) -> SSAValue:
    def wide(d: Arithmetic, x: SSAValue) -> SSAValue:
        size = d.absolute(x)
        square = d.mul(size, size)
        rest = d.div(square, d.add(d.real(1.0), d.root(d.add(square, d.real(1.0)))))
        rest = d.select(d.compare("oeq", size, d.real(float("inf"))), size, rest)
        return d.copysign(_log1p(d, d.add(size, rest)), x)

    return a.in_double(wide, x)


def acosh(a: Arithmetic, x: SSAValue) -> SSAValue:
    def wide(d: Arithmetic, x: SSAValue) -> SSAValue:
        rest = d.sub(x, d.real(1.0))
        found = _log1p(d, d.add(rest, d.root(d.mul(rest, d.add(x, d.real(1.0))))))
        return d.select(d.compare("olt", x, d.real(1.0)), d.real(float("nan")), found)

    return a.in_double(wide, x)


def atanh(a: Arithmetic, x: SSAValue) -> SSAValue:
    def wide(d: Arithmetic, x: SSAValue) -> SSAValue:
        size = d.absolute(x)
        ratio = d.div(d.add(size, size), d.sub(d.real(1.0), size))
        return d.copysign(d.mul(d.real(0.5), _log1p(d, ratio)), x)

    return a.in_double(wide, x)


def cbrt(a: Arithmetic, x: SSAValue) -> SSAValue:
    def wide(d: Arithmetic, x: SSAValue) -> SSAValue:
        size = d.absolute(x)
        found = _exp(d, d.div(_log(d, size), d.real(3.0)))
        return d.copysign(d.select(d.compare("oeq", size, d.real(0.0)), size, found), x)

    return a.in_double(wide, x)


# In f64, to about 1e-12: enough for a result that is rounded to f32


def _exp(d: Arithmetic, x: SSAValue) -> SSAValue:
    """Taylor's series of 2^f to degree 11; n from the bits of x log2(e) + 1.5 * 2^52."""
    x = d.least(d.most(x, 1000.0), -1000.0)
    n = d.round(d.mul(x, d.real(LOG2E)))
    r = d.fma(n, d.real(-1.90821492927058770002e-10), d.fma(n, d.real(-6.93147180369123816490e-01), x))
    series = [1.0]
    for k in range(1, 12):
        series.insert(0, series[0] / k)
    shifted = d.bits(d.add(n, d.real(6755399441055744.0 + 1022.0)))
    scale = d.floats(d.shift_left(shifted, 52))
    half = d.mul(d.horner(r, [2.0 * c for c in series]), scale)
    half = d.select(d.compare("ogt", x, d.real(709.0)), d.real(float("inf")), half)
    return d.select(d.compare("olt", x, d.real(-708.0)), d.real(0.0), half)


def _log(d: Arithmetic, x: SSAValue) -> SSAValue:
    """2 atanh(s) + e log 2, s = (m - 1)/(m + 1), |s| < 0.172; series to s^17. f64 arguments that come from f32 are never denormal."""
    bits = d.bits(x)
    shifted = d.isub(bits, d.integer(0x3FE6A09E667F3BCD))
    exponent = d.shift_right(shifted, 52)
    m = d.floats(d.isub(bits, d.shift_left(exponent, 52)))
    s = d.div(d.sub(m, d.real(1.0)), d.add(m, d.real(1.0)))
    square = d.mul(s, s)
    series = d.mul(d.mul(s, square), d.horner(square, [2.0 / k for k in range(17, 1, -2)]))
    found = d.fma(d.to_real(exponent), d.real(LN2), d.add(d.add(s, s), series))
    return _log_domain(d, x, found)


def _log1p(d: Arithmetic, x: SSAValue) -> SSAValue:
    """log(u) x / (u - 1), u = 1 + x as rounded."""
    u = d.add(x, d.real(1.0))
    exact = d.sub(u, d.real(1.0))
    found = d.div(d.mul(_log(d, u), x), exact)
    found = d.select(d.compare("oeq", exact, d.real(0.0)), x, found)
    return d.select(d.compare("oeq", x, d.real(float("inf"))), x, found)


def _expm1(d: Arithmetic, x: SSAValue) -> SSAValue:
    e = _exp(d, x)
    less = d.sub(e, d.real(1.0))
    found = d.div(d.mul(less, x), _log(d, e))
    found = d.select(d.compare("oeq", less, d.real(0.0)), x, found)
    found = d.select(d.compare("oeq", less, d.real(-1.0)), less, found)
    return d.select(d.compare("oeq", e, d.real(float("inf"))), e, found)


def _atan(d: Arithmetic, x: SSAValue) -> SSAValue:
    return _atan2(d, x, d.real(1.0))


def _atan2(d: Arithmetic, y: SSAValue, x: SSAValue) -> SSAValue:
    """atan of smaller/larger, halved twice by atan t = 2 atan(t / (1 + sqrt(1 + t^2))) so that the series of degree 17 is enough."""
    one, zero, infinite = d.real(1.0), d.real(0.0), d.real(float("inf"))
    up, along = d.absolute(y), d.absolute(x)
    steep = d.compare("ogt", up, along)
    both_infinite = d.both(d.compare("oeq", up, infinite), d.compare("oeq", along, infinite))
    over, under = d.select(steep, along, up), d.select(steep, up, along)
    t = d.div(over, under)
    t = d.select(d.compare("oeq", under, zero), zero, t)
    t = d.select(both_infinite, one, t)
    for _ in range(2):
        t = d.div(t, d.add(one, d.root(d.fma(t, t, one))))
    square = d.mul(t, t)
    series = d.horner(square, [(-1.0) ** (k // 2) / k for k in range(17, 0, -2)])
    angle = d.mul(d.mul(d.real(4.0), t), series)
    angle = d.select(steep, d.sub(d.real(1.57079632679489661923), angle), angle)
    behind = d.compare("olt", d.copysign(one, x), zero)
    angle = d.select(behind, d.sub(d.real(3.14159265358979323846), angle), angle)
    found = d.copysign(angle, y)
    return _nan_of(d, found, x, y)


def _nan_of(d: Arithmetic, found: SSAValue, *operands: SSAValue) -> SSAValue:
    """NaN where any operand is."""
    for x in operands:
        found = d.select(d.compare("uno", x, x), x, found)
    return found


EXPANSIONS: dict[type[Operation], Callable[..., SSAValue]] = {
    math.ExpOp: exp,
    math.Exp2Op: exp2,
    math.ExpM1Op: expm1,
    math.LogOp: log,
    math.Log2Op: log2,
    math.Log10Op: log10,
    math.Log1pOp: log1p,
    math.TanhOp: tanh,
    math.ErfOp: erf,
    math.SinOp: sin,
    math.CosOp: cos,
    math.TanOp: tan,
    math.RsqrtOp: rsqrt,
    math.PowFOp: power,
    math.AtanOp: atan,
    math.Atan2Op: atan2,
    math.AsinOp: asin,
    math.AcosOp: acos,
    math.SinhOp: sinh,
    math.CoshOp: cosh,
    math.AsinhOp: asinh,
    math.AcoshOp: acosh,
    math.AtanhOp: atanh,
    math.CbrtOp: cbrt,
}
