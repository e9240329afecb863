"""sin, cos and tan of every finite f32: the quadrant and the rest are found in f64, the rest is what two short polynomials take.

Below 2^40 pi/2 in two parts is enough. Beyond, x times 196 bits of 2/pi is taken in pieces whose products are exact (Payne, Hanek 1983):

    x * piece = 4 k + f     f in [-2, 2], exact; whole turns 4 k vanish, the f are added up with their rounding errors
"""

from __future__ import annotations

from xdsl.ir import SSAValue

from mlc.passes.loops.arithmetic import Arithmetic

SIN = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)  # Cephes sinf, cosf on [-pi/4, pi/4]
COS = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
TWO_OVER_PI = 0xA2F9836E4E441529FC2757D1F534DDC0DB6295993C439041F  # times 2^-196
PIECE, PIECES = 28, 7  # bits of a piece: times 24 bits of x it fits in f64
LARGE = 2.0**40


def _quadrant(a: Arithmetic, x: SSAValue) -> tuple[SSAValue, SSAValue]:
    """x = q pi/2 + r, |r| <= pi/4; the quadrant q modulo 4 as a float, and r, which keeps the sign of a zero."""
    d = a.double()
    wide = d.extended(x)
    q = d.add(
        d.round(d.mul(wide, d.real(0.636619772367581343076))), d.real(0.0)
    )  # 0, not -0: else -0 would become 0 in r
    r = d.fma(q, d.real(-6.123233995736766036e-17), d.fma(q, d.real(-1.57079632679489661923), wide))
    turn = d.fma(d.floor(d.mul(q, d.real(0.25))), d.real(-4.0), q)
    large = d.compare("oge", d.absolute(wide), d.real(LARGE))
    turn, r = d.rarely(large, lambda d: _reduced(d, wide), (turn, r))
    r = d.least(d.most(r, 0.8), -0.8)
    return a.truncated(turn), a.truncated(r)


def _reduced(d: Arithmetic, x: SSAValue) -> tuple[SSAValue, SSAValue]:
    """The same for |x| from 2^40 on: q modulo 4 and r by exact products."""
    total = error = None
    for number in range(PIECES):
        bits = TWO_OVER_PI >> PIECE * (PIECES - 1 - number) & (1 << PIECE) - 1
        product = d.mul(x, d.real(bits * 2.0 ** (-PIECE * (number + 1))))
        part = d.fma(d.round(d.mul(product, d.real(0.25))), d.real(-4.0), product)
        if total is None:
            total = part
            continue
        larger = d.add(total, part)
        back = d.sub(larger, total)
        lost = d.add(d.sub(total, d.sub(larger, back)), d.sub(part, back))
        total, error = larger, lost if error is None else d.add(error, lost)
    assert total is not None and error is not None
    q = d.round(total)
    r = d.mul(d.add(d.sub(total, q), error), d.real(1.57079632679489661923))
    return d.fma(d.floor(d.mul(q, d.real(0.25))), d.real(-4.0), q), r


def _sin_cos(a: Arithmetic, r: SSAValue) -> tuple[SSAValue, SSAValue]:
    square = a.mul(r, r)
    sine = a.copysign(a.fma(a.mul(square, r), a.horner(square, SIN), r), r)  # of -0 too
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
