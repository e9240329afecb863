"""sin, cos and tan of every finite f32: x = q pi/2 + r, |r| <= pi/4, and two short polynomials of r.

Below 2^20 pi/2 in three floats is enough: q times the first is taken from x without rounding, q times the second with one, q times the third is
added to what is small. Beyond, x times 196 bits of 2/pi is taken in f64, in pieces whose products are exact (Payne, Hanek 1983):

    x * piece = 4 k + f     f in [-2, 2], exact; whole turns 4 k vanish, the f are added up with their rounding errors
"""

from __future__ import annotations

from math import pi

from xdsl.ir import SSAValue

from mlc.passes.loops.floats import Arithmetic

SIN = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)  # Cephes sinf, cosf on [-pi/4, pi/4]
COS = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
# pi/2 in floats, each below what is left, so that a 0 keeps its sign; they leave 1e-22
HALF_PI = (1.570796251296997, 7.549789415861596e-08, 5.390302953474239e-15)
TWO_OVER_PI = 0xA2F9836E4E441529FC2757D1F534DDC0DB6295993C439041F  # times 2^-196
PIECE, PIECES = 28, 7  # bits of a piece: times 24 bits of x it fits in f64
LARGE = 2.0**20
MAGIC = 12582912.0  # 1.5 * 2^23: adding it rounds to an integer, kept in the low bits


def _quadrant(a: Arithmetic, x: SSAValue) -> tuple[SSAValue, SSAValue, SSAValue]:
    """The quadrant q in the low bits of a float, r, and a correction of r."""
    magic = a.real(MAGIC)
    shifted = a.fma(x, a.real(2 / pi), magic)
    q = a.sub(shifted, magic)
    first, second, third = (a.real(-part) for part in HALF_PI)
    r, low = a.exact_fma(q, second, a.exact_fma(q, first, x)), a.mul(q, third)
    large = a.compare("oge", a.absolute(x), a.real(LARGE))
    shifted, r, low = a.rarely(large, lambda a: _reduced(a, x), (shifted, r, low))
    return shifted, r, low


def _reduced(a: Arithmetic, x: SSAValue) -> tuple[SSAValue, SSAValue, SSAValue]:
    """The same for |x| from 2^20 on: q modulo 4 and r by exact products."""
    d = a.double()
    wide = d.extended(x)
    total = error = None
    for number in range(PIECES):
        bits = TWO_OVER_PI >> PIECE * (PIECES - 1 - number) & (1 << PIECE) - 1
        product = d.mul(wide, d.real(bits * 2.0 ** (-PIECE * (number + 1))))
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
    rest = d.mul(d.add(d.sub(total, q), error), d.real(pi / 2))
    r = a.truncated(rest)
    return a.add(a.truncated(q), a.real(MAGIC)), r, a.truncated(d.sub(rest, d.extended(r)))


def _sin_cos(a: Arithmetic, r: SSAValue, low: SSAValue) -> tuple[SSAValue, SSAValue]:
    square = a.mul(r, r)
    sine = a.add(r, a.fma(a.mul(square, r), a.horner(square, SIN), low))
    cosine = a.fma(a.mul(square, square), a.horner(square, COS), a.fma(square, a.real(-0.5), a.real(1.0)))
    return a.copysign(sine, r), cosine  # of -0 too


def sin(a: Arithmetic, x: SSAValue) -> SSAValue:
    q, r, low = _quadrant(a, x)
    return _of_quadrant(a, a.bits(q), *_sin_cos(a, r, low))


def cos(a: Arithmetic, x: SSAValue) -> SSAValue:
    """The sine of the next quadrant."""
    q, r, low = _quadrant(a, x)
    return _of_quadrant(a, a.iadd(a.bits(q), a.integer(1)), *_sin_cos(a, r, low))


def _of_quadrant(a: Arithmetic, q: SSAValue, sine: SSAValue, cosine: SSAValue) -> SSAValue:
    """sin(q pi/2 + r)"""
    return a.flipped(a.select(a.odd(q), cosine, sine), a.shift_left(q, 30))


def tan(a: Arithmetic, x: SSAValue) -> SSAValue:
    q, r, low = _quadrant(a, x)
    sine, cosine = _sin_cos(a, r, low)
    odd = a.odd(a.bits(q))
    return a.div(a.select(odd, a.negate(cosine), sine), a.select(odd, sine, cosine))
