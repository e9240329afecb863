"""Dimension expressions: how large an axis is when a size is known only at run time.

An extent is an ``int`` or a ``Dim``: an integer polynomial over symbols and over floor divisions, minima and maxima.
A ``Dim`` is kept in a normal form, so that equal text means equal extent:

    (N*S*64) // (N*S)            -> 64
    ((H - 1)//2 + 1 - 1)//2 + 1  -> (H + 3)//4
    min(N + 1, 513)              -> min(512, N) + 1

Every rewrite holds for all integers, negative ones included, with one exception: a factor that a division cancels is
taken to be nonzero. What depends on the range of a symbol is decided only by ``compare``, ``bounds_of`` and ``simplify``.
"""

from mlc.ir.dims.expression import (
    Dim,
    DivisionByZero,
    Extent,
    TooLong,
    ceildiv,
    dim_of,
    dmax,
    dmin,
    evaluate,
    evaluator,
    exact_quotient,
    floordiv,
    prod,
    python_source,
    substitute,
    symbol,
)
from mlc.ir.dims.parser import parse
from mlc.ir.dims.ranges import Bounds, Interval, bounds_of, ceiling, compare, simplify

__all__ = [
    "Bounds",
    "Dim",
    "DivisionByZero",
    "Extent",
    "Interval",
    "TooLong",
    "bounds_of",
    "ceildiv",
    "ceiling",
    "compare",
    "dim_of",
    "dmax",
    "dmin",
    "evaluate",
    "evaluator",
    "exact_quotient",
    "floordiv",
    "parse",
    "prod",
    "python_source",
    "simplify",
    "substitute",
    "symbol",
]
