"""Functions of rare use: f32 operands widened, computed in f64 to about 1e-12, rounded once."""

from __future__ import annotations

from xdsl.ir import SSAValue

from mlc.passes.loops.floats import Arithmetic

LOG2E = 1.44269504088896340736
LN2 = 0.693147180559945309417
QUOTIENT_BITS = 28  # of a partial quotient: times 24 bits of a divisor it fits in f64


def log2(a: Arithmetic, x: SSAValue) -> SSAValue:
    return a.in_double(lambda d, x: d.mul(_log(d, x), d.real(LOG2E)), x)


def log10(a: Arithmetic, x: SSAValue) -> SSAValue:
    return a.in_double(lambda d, x: d.mul(_log(d, x), d.real(0.434294481903251827651)), x)


def remainder(a: Arithmetic, x: SSAValue, y: SSAValue) -> SSAValue:
    """C's fmod, exact: long division, 28 bits of the quotient at a time. Every rest is a multiple of the last place of x or y and not larger
    than half of what it was divided by, so none is rounded. One step is enough where |x / y| < 2^28."""

    def wide(d: Arithmetic, x: SSAValue, y: SSAValue) -> SSAValue:
        size, by = d.absolute(x), d.absolute(y)
        inverse = d.div(d.real(1.0), by)

        def step(d: Arithmetic, rest: SSAValue, bits: int) -> SSAValue:
            quotient = d.round(d.mul(rest, d.mul(inverse, d.real(2.0**-bits))))
            return d.fma(quotient, d.mul(by, d.real(-(2.0**bits))), rest)

        def long_division(d: Arithmetic) -> list[SSAValue]:
            rest = size
            for number in range(9, 0, -1):  # quotients are below 2^277
                rest = step(d, rest, number * QUOTIENT_BITS)
            return [rest]

        long = d.compare("oge", size, d.mul(by, d.real(2.0**QUOTIENT_BITS)))
        (rest,) = d.rarely(long, long_division, [size])
        rest = step(d, rest, 0)
        rest = d.select(d.compare("olt", rest, d.real(0.0)), d.add(rest, by), rest)
        infinite = d.real(float("inf"))
        whole = d.both(d.compare("oeq", by, infinite), d.compare("olt", size, infinite))
        return d.copysign(d.select(whole, size, rest), x)

    return a.in_double(wide, x, y)


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
    return log_domain(d, x, found)


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


def log_domain(a: Arithmetic, x: SSAValue, found: SSAValue) -> SSAValue:
    """inf and NaN stay, 0 gives -inf, what is negative NaN."""
    found = a.select(a.compare("olt", x, a.real(float("inf"))), found, x)
    found = a.select(a.compare("oeq", x, a.real(0.0)), a.real(float("-inf")), found)
    return a.select(a.compare("olt", x, a.real(0.0)), a.real(float("nan")), found)
