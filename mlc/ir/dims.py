"""Dimension expressions: how large an axis is when a size is known only at run time.

An extent is an ``int`` or a ``Dim``: an integer polynomial over symbols and over floor divisions, minima and maxima.
A ``Dim`` is kept in a normal form, so that equal text means equal extent:

    (N*S*64) // (N*S)            -> 64
    ((H - 1)//2 + 1 - 1)//2 + 1  -> (H + 3)//4
    min(N + 1, 513)              -> min(512, N) + 1

Every rewrite holds for all integers, negative ones included, with one exception: a factor that a division cancels is
taken to be nonzero. What depends on the range of a symbol is decided only by ``compare``, ``bounds_of`` and ``simplify``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

Range = tuple[int | None, int | None]
# Symbol -> (low, high); a missing symbol is an extent, hence (0, None); None is "no limit".
Bounds = Mapping[str, tuple[int, int | None]]

_PLAIN_NAME = re.compile(r"[^\W\d][\w.]*\Z")
# Terms of a quotient after which polynomial division gives up; real extents need at most four.
_QUOTIENT_TERMS = 20
# Nested relaxations tried when bounds of single terms decide nothing.
_RELAXATIONS = 4


class Call:
    """A floor division, minimum or maximum: an indivisible factor of a product."""

    __slots__ = ("args", "op", "text")

    def __init__(self, op: str, args: tuple[Extent, ...]):
        self.op = op
        self.args = args
        self.text = "//".join(map(_operand, args)) if op == "//" else f"{op}({', '.join(map(str, args))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Call) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return self.text


Atom = str | Call
Monomial = tuple[Atom, ...]


class Dim:
    """An extent that is not a constant: a sum of integer coefficients times products of symbols and calls.

    Immutable and hashable. Make one with ``symbol`` or ``parse``; arithmetic with ints and Dims returns an ``int``
    wherever the result is constant. A Dim has no truth value and no order: use ``compare`` with bounds.
    """

    __slots__ = ("_hash", "_text", "terms")

    terms: tuple[tuple[Monomial, int], ...]

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]):
        self.terms = terms
        self._hash: int | None = None
        self._text: str | None = None

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(self.terms)
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dim) and self.terms == other.terms

    def __bool__(self) -> bool:
        raise TypeError(f"whether the extent {self} is zero is not known; use compare() with bounds")

    def __add__(self, other: Extent) -> Extent:
        total = dict(self.terms)
        for monomial, coefficient in _terms(other):
            total[monomial] = total.get(monomial, 0) + coefficient
        return _sum(total)

    def __mul__(self, other: Extent) -> Extent:
        total: dict[Monomial, int] = {}
        for left, a in self.terms:
            for right, b in _terms(other):
                product = tuple(sorted(left + right, key=_atom_key)) if left and right else left or right
                total[product] = total.get(product, 0) + a * b
        return _sum(total)

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> Dim:
        return Dim(tuple((monomial, -coefficient) for monomial, coefficient in self.terms))

    def __sub__(self, other: Extent) -> Extent:
        return self + -other

    def __rsub__(self, other: Extent) -> Extent:
        return -self + other

    def __floordiv__(self, other: Extent) -> Extent:
        return floordiv(self, other)

    def __rfloordiv__(self, other: Extent) -> Extent:
        return floordiv(other, self)

    def __mod__(self, other: Extent) -> Extent:
        return self - floordiv(self, other) * other

    def __rmod__(self, other: Extent) -> Extent:
        return other - floordiv(other, self) * self

    def __str__(self) -> str:
        if self._text is None:
            self._text = _text(self.terms)
        return self._text

    def __repr__(self) -> str:
        return f"Dim({str(self)!r})"

    def symbols(self) -> frozenset[str]:
        """The names of the symbols this expression depends on."""
        names: set[str] = set()
        for monomial, _ in self.terms:
            for atom in monomial:
                if isinstance(atom, str):
                    names.add(atom)
                else:
                    names.update(*(arg.symbols() for arg in atom.args if isinstance(arg, Dim)))
        return frozenset(names)


Extent = int | Dim


def _terms(extent: Extent) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(extent, Dim):
        return extent.terms
    return (((), int(extent)),) if extent else ()


def _atom_key(atom: Atom) -> tuple[str, bool]:
    return (atom, False) if isinstance(atom, str) else (atom.text, True)


def _term_key(term: tuple[Monomial, int]) -> tuple[int, list[tuple[str, bool]]]:
    return -len(term[0]), [_atom_key(atom) for atom in term[0]]


def _sum(terms: dict[Monomial, int]) -> Extent:
    """The extent with these terms: zeros dropped, highest degree first, an int if nothing but the constant is left."""
    kept = [term for term in terms.items() if term[1]]
    if not kept:
        return 0
    if len(kept) == 1:
        return Dim((kept[0],)) if kept[0][0] else kept[0][1]
    kept.sort(key=_term_key)
    return Dim(tuple(kept))


def _of(atom: Atom) -> Dim:
    return Dim((((atom,), 1),))


def symbol(name: str) -> Dim:
    """The extent called `name`. Any nonempty string will do; one that is not an identifier is quoted in text."""
    if not name:
        raise ValueError("a dimension symbol needs a name")
    return _of(name)


# ---------------------------------------------------------------- text


def _quoted(name: str) -> str:
    if _PLAIN_NAME.match(name):
        return name
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _operand(extent: Extent) -> str:
    """Text of an operand of ``//``: in parentheses unless it is one number, symbol, minimum or maximum."""
    text = str(extent)
    if isinstance(extent, int):
        return text if extent >= 0 else f"({text})"
    monomial, coefficient = extent.terms[0]
    single = len(extent.terms) == 1 and coefficient == 1 and len(monomial) == 1
    if single and (isinstance(monomial[0], str) or monomial[0].op != "//"):
        return text
    return f"({text})"


def _text(terms: Iterable[tuple[Monomial, int]]) -> str:
    out = ""
    for monomial, coefficient in terms:
        size = abs(coefficient)
        alone = len(monomial) == 1 and coefficient == 1
        factors = [str(size)] if size != 1 or not monomial else []
        for atom in monomial:
            if isinstance(atom, str):
                factors.append(_quoted(atom))
            else:
                factors.append(atom.text if alone or atom.op != "//" else f"({atom.text})")
        sign = ("-" if coefficient < 0 else "") if not out else " - " if coefficient < 0 else " + "
        out += sign + "*".join(factors)
    return out


# ---------------------------------------------------------------- division


def floordiv(a: Extent, b: Extent) -> Extent:
    """a // b, rounding towards minus infinity. Factors common to `a` and `b` are cancelled, taken to be nonzero."""
    if isinstance(b, Dim):
        return _divide_by_dim(a, b)
    if isinstance(a, int):
        return a // b
    if b == 0:
        raise ZeroDivisionError(f"({a})//0")
    return _divide_by_constant(a, b) if b > 0 else _divide_by_constant(-a, -b)


def _divide_by_constant(a: Dim, k: int) -> Extent:
    if a.terms[0][1] < 0:  # floor(a/k) = -ceil(-a/k): one spelling of a rounded-up quotient, (S + 63)//64
        return -_rounded(-a + (k - 1), k)
    return _rounded(a, k)


def _rounded(a: Extent, k: int) -> Extent:
    whole: dict[Monomial, int] = {}
    rest: dict[Monomial, int] = {}
    for monomial, c in _terms(a):
        quotient = c // k if c > 0 or not monomial else -(-c // k)  # H - W stays H - W
        whole[monomial] = quotient
        rest[monomial] = c - quotient * k
    remainder = _sum(rest)
    if isinstance(remainder, int):
        return _sum(whole) + remainder // k
    if remainder.terms[0][1] < 0:
        return _sum(whole) + -_quotient(-remainder + (k - 1), k)
    return _sum(whole) + _quotient(remainder, k)


def _quotient(a: Extent, k: int) -> Extent:
    """a//k of which no multiple of k can be split off, but for the constant."""
    if isinstance(a, int):
        return a // k
    constant = a.terms[-1][1] if not a.terms[-1][0] else 0
    moving = a - constant
    assert isinstance(moving, Dim)
    # (g*x + c)//(g*k) = (x + c//g)//k
    common = math.gcd(k, *(c for _, c in moving.terms))
    if common > 1:
        shrunk = _sum({m: c // common for m, c in moving.terms}) + constant // common
        return shrunk if k == common else floordiv(shrunk, k // common)
    # (x//p + y)//k = (x + p*y)//(p*k)
    for monomial, c in moving.terms:
        atom = monomial[0]
        if c == 1 and len(monomial) == 1 and isinstance(atom, Call) and atom.op == "//":
            inner, p = atom.args
            if isinstance(p, int):
                return floordiv(inner + (a - _of(atom)) * p, p * k)
    whole, offset = divmod(constant, k)
    return _of(Call("//", (moving + offset, k))) + whole


def _divide_by_dim(a: Extent, b: Dim) -> Extent:
    if a == 0:
        return 0
    if b.terms[0][1] < 0:
        a, b = -a, -b
    quotient = exact_quotient(a, b)
    if quotient is not None:
        return quotient
    a, b_small = _cancel(a, b)
    if isinstance(b_small, int):
        return floordiv(a, b_small)
    whole: dict[Monomial, int] = {}
    if len(b_small.terms) == 1:  # (q*b + r)//b = q + r//b
        (divisor, k), rest = b_small.terms[0], {}
        for monomial, c in _terms(a):
            left = _without(monomial, divisor)
            if left is not None and c % k == 0:
                whole[left] = c // k
            else:
                rest[monomial] = c
        a = _sum(rest)
    return _sum(whole) + (_of(Call("//", (a, b_small))) if a != 0 else 0)


def _without(monomial: Monomial, factors: Monomial) -> Monomial | None:
    left = list(monomial)
    for atom in factors:
        if atom not in left:
            return None
        left.remove(atom)
    return tuple(left)


def _cancel(a: Extent, b: Dim) -> tuple[Extent, Extent]:
    """Both without the integer and the symbols that divide all their terms."""
    terms = [*_terms(a), *b.terms]
    number = math.gcd(*(c for _, c in terms))
    common = list(terms[0][0])
    for monomial, _ in terms[1:]:
        left, shared = list(monomial), []
        for atom in common:
            if atom in left:
                left.remove(atom)
                shared.append(atom)
        common = shared
    if number == 1 and not common:
        return a, b

    def shrink(extent: Extent) -> Extent:
        return _sum({_without(m, tuple(common)) or (): c // number for m, c in _terms(extent)})

    return shrink(a), shrink(b)


def exact_quotient(a: Extent, b: Extent) -> Extent | None:
    """a / b where `b` divides `a` as a polynomial (so N*S*64 / (N*S) = 64), else None."""
    if b == 0:
        return None
    rest: Extent = a
    quotient: Extent = 0
    lead, k = max(_terms(b), key=_degree)
    for _ in range(_QUOTIENT_TERMS):
        if rest == 0:
            return quotient
        monomial, c = max(_terms(rest), key=_degree)
        left = _without(monomial, lead)
        if left is None or c % k:
            return None
        term = _sum({left: c // k})
        quotient, rest = quotient + term, rest - term * b
    return None


def _degree(term: tuple[Monomial, int]) -> tuple[int, list[tuple[str, bool]]]:
    return len(term[0]), [_atom_key(atom) for atom in term[0]]


def ceildiv(a: Extent, b: Extent) -> Extent:
    """a / b rounded up."""
    return -floordiv(-a, b)


def prod(extents: Iterable[Extent]) -> Extent:
    """The product; 1 of nothing."""
    product: Extent = 1
    for extent in extents:
        product = product * extent
    return product


# ---------------------------------------------------------------- minimum and maximum


def dmin(*extents: Extent) -> Extent:
    """The least of the extents."""
    return _extreme("min", extents)


def dmax(*extents: Extent) -> Extent:
    """The greatest of the extents."""
    return _extreme("max", extents)


def _wins(op: str, difference: Extent) -> bool:
    return isinstance(difference, int) and (difference <= 0 if op == "min" else difference >= 0)


def _extreme(op: str, extents: Sequence[Extent]) -> Extent:
    kept: list[Extent] = []
    for extent in _flatten(op, extents):
        if not any(_wins(op, other - extent) for other in kept):
            kept = [other for other in kept if not _wins(op, extent - other)] + [extent]
    if len(kept) == 1:
        return kept[0]
    kept.sort(key=lambda extent: (isinstance(extent, Dim), str(extent)))
    # min(x + c, y) = min(x, y - c) + c, with x the first that is not a number
    first = next(extent for extent in kept if isinstance(extent, Dim))
    shift = first.terms[-1][1] if not first.terms[-1][0] else 0
    if shift:
        return _extreme(op, [extent - shift for extent in kept]) + shift
    return _of(Call(op, tuple(kept)))


def _flatten(op: str, extents: Iterable[Extent]) -> list[Extent]:
    """min(a, min(b, c) + 1) -> a, b + 1, c + 1."""
    out: list[Extent] = []
    for extent in extents:
        if isinstance(extent, Dim) and len(extent.terms) <= 2:
            monomial, coefficient = extent.terms[0]
            constant = extent.terms[1] if len(extent.terms) == 2 else ((), 0)
            atom = monomial[0]
            if coefficient == 1 and len(monomial) == 1 and isinstance(atom, Call) and atom.op == op and not constant[0]:
                out += _flatten(op, [arg + constant[1] for arg in atom.args])
                continue
        out.append(extent)
    return out


# ---------------------------------------------------------------- values


def substitute(extent: Extent, values: Mapping[str, Extent]) -> Extent:
    """The extent with symbols replaced, all at once; symbols not named stay."""
    if isinstance(extent, int):
        return extent
    total: Extent = 0
    for monomial, coefficient in extent.terms:
        product: Extent = coefficient
        for atom in monomial:
            if isinstance(atom, str):
                value = values.get(atom)
                product = product * (_of(atom) if value is None else value)
            else:
                product = product * _apply(atom.op, [substitute(arg, values) for arg in atom.args])
        total = total + product
    return total


def _apply(op: str, args: Sequence[Extent]) -> Extent:
    return floordiv(*args) if op == "//" else _extreme(op, args)


def evaluate(extent: Extent, binding: Mapping[str, int]) -> int:
    """The number an extent is under a binding of all its symbols; KeyError names one that is missing."""
    if isinstance(extent, int):
        return extent
    total = 0
    for monomial, product in extent.terms:
        for atom in monomial:
            if isinstance(atom, str):
                product *= binding[atom]
            else:
                args = [evaluate(arg, binding) for arg in atom.args]
                product *= args[0] // args[1] if atom.op == "//" else min(args) if atom.op == "min" else max(args)
        total += product
    return total


def evaluator(extents: Sequence[Extent], symbols: Sequence[str]) -> Callable[..., tuple[int, ...]]:
    """One compiled function of the symbols' values, in this order, that returns the values of all `extents`."""
    names = {name: f"s{i}" for i, name in enumerate(symbols)}
    body = "".join(f"{python_source(extent, names)}, " for extent in extents)
    return eval(f"lambda {', '.join(names.values())}: ({body})", {"__builtins__": {}, "min": min, "max": max})


def python_source(extent: Extent, names: Mapping[str, str]) -> str:
    """Python text of an extent, its symbols spelled as `names` says."""
    if isinstance(extent, int):
        return str(extent)

    def factor(atom: Atom) -> str:
        if isinstance(atom, str):
            return names[atom]
        args = [python_source(arg, names) for arg in atom.args]
        return f"(({args[0]})//({args[1]}))" if atom.op == "//" else f"{atom.op}({', '.join(args)})"

    return " + ".join(
        "*".join([str(c)] * (c != 1 or not monomial) + [factor(atom) for atom in monomial])
        for monomial, c in extent.terms
    )


# ---------------------------------------------------------------- ranges


def bounds_of(extent: Extent, bounds: Bounds) -> Range:
    """(low, high) between which the extent lies under the bounds of its symbols; None where nothing limits it.

    Always valid, not always the tightest: `H - 4*(H//4)` is within (0, 3), `N*N - N` within (None, None).
    """
    low = _low(extent, bounds, _RELAXATIONS)
    high = _low(-extent, bounds, _RELAXATIONS)
    return low, None if high is None else -high


def compare(a: Extent, b: Extent, bounds: Bounds) -> int | None:
    """-1, 0 or 1 as `a` is less than, equal to or greater than `b` for every binding within bounds; None if undecided."""
    difference = a - b
    if isinstance(difference, int):
        return (difference > 0) - (difference < 0)
    low, high = bounds_of(difference, bounds)
    if low is not None and low > 0:
        return 1
    if high is not None and high < 0:
        return -1
    return 0 if low == high == 0 else None


def simplify(extent: Extent, bounds: Bounds) -> Extent:
    """The extent without the minima, maxima and divisions that the bounds decide: max(0, N) -> N."""
    if isinstance(extent, int):
        return extent
    low, high = bounds_of(extent, bounds)
    if low is not None and low == high:
        return low
    total: Extent = 0
    for monomial, coefficient in extent.terms:
        product: Extent = coefficient
        for atom in monomial:
            if isinstance(atom, str):
                product = product * _of(atom)
                continue
            args = [simplify(arg, bounds) for arg in atom.args]
            if atom.op != "//":
                args = _undominated(atom.op, args, bounds)
            product = product * _apply(atom.op, args)
        total = total + product
    return total


def _undominated(op: str, args: list[Extent], bounds: Bounds) -> list[Extent]:
    kept: list[Extent] = []
    for arg in args:
        if not any(_at_most(other, arg, op, bounds) for other in kept):
            kept = [other for other in kept if not _at_most(arg, other, op, bounds)] + [arg]
    return kept


def _at_most(a: Extent, b: Extent, op: str, bounds: Bounds) -> bool:
    low = _low(b - a if op == "min" else a - b, bounds, _RELAXATIONS)
    return low is not None and low >= 0


def _low(extent: Extent, bounds: Bounds, relaxations: int) -> int | None:
    """A lower bound: of each term by itself and, where that finds none, with a call replaced by what limits it."""
    if isinstance(extent, int):
        return extent
    total: int | None = 0
    for monomial, coefficient in extent.terms:
        least = _range(monomial, coefficient, bounds, relaxations)[0]
        total = None if least is None or total is None else total + least
    best = total
    if not relaxations or len(extent.terms) < 2:
        return best
    for monomial, coefficient in extent.terms:
        atom = monomial[0] if len(monomial) == 1 else ""
        if isinstance(atom, str):
            continue
        for low in _relaxed(extent, atom, coefficient, bounds, relaxations - 1):
            if low is not None and (best is None or low > best):
                best = low
    return best


def _relaxed(extent: Dim, atom: Call, coefficient: int, bounds: Bounds, relaxations: int) -> Iterable[int | None]:
    """Lower bounds of an extent that has the term coefficient*atom."""
    others = extent - _of(atom) * coefficient
    if atom.op == "//":
        x, k = atom.args
        if isinstance(k, int):  # x - k + 1 <= k*(x//k) <= x
            low = _low(others * k + (x - (k - 1 if coefficient > 0 else 0)) * coefficient, bounds, relaxations)
            yield None if low is None else -(-low // k)
        return
    cases = [_low(others + arg * coefficient, bounds, relaxations) for arg in atom.args]
    if (atom.op == "min") == (coefficient < 0):  # -min(x, y) >= -x and >= -y: the best of them
        yield max((low for low in cases if low is not None), default=None)
    else:
        known = [low for low in cases if low is not None]
        yield min(known) if len(known) == len(cases) else None


def _range(monomial: Monomial, coefficient: int, bounds: Bounds, relaxations: int) -> Range:
    low: float = coefficient
    high: float = coefficient
    for atom in monomial:
        a, b = _atom_range(atom, bounds, relaxations)
        corners = [_times(p, q) for p in (low, high) for q in (a, b)]
        low, high = min(corners), max(corners)
    return _finite(low), _finite(high)


def _times(a: float, b: float) -> float:
    return 0 if a == 0 or b == 0 else a * b


def _finite(value: float) -> int | None:
    return None if math.isinf(value) else int(value)


def _atom_range(atom: Atom, bounds: Bounds, relaxations: int) -> tuple[float, float]:
    """As numbers in which infinity stands for no limit; finite ones stay ints."""
    if isinstance(atom, str):
        low, high = bounds.get(atom, (0, None))
        return low, math.inf if high is None else high
    ranges = []
    for arg in atom.args:
        low = _low(arg, bounds, relaxations)
        high = _low(-arg, bounds, relaxations)
        ranges.append((-math.inf if low is None else low, math.inf if high is None else -high))
    if atom.op == "min":
        return min(low for low, _ in ranges), min(high for _, high in ranges)
    if atom.op == "max":
        return max(low for low, _ in ranges), max(high for _, high in ranges)
    (a, b), (p, q) = ranges
    if p <= 0:  # a divisor that may be zero or negative limits nothing
        return -math.inf, math.inf
    corners = [_quotient_limit(x, y) for x in (a, b) for y in (p, q)]
    return min(corners), max(corners)


def _quotient_limit(x: float, y: float) -> float:
    if math.isinf(x):
        return x
    if math.isinf(y):
        return -1 if x < 0 else 0
    return x // y


# ---------------------------------------------------------------- parsing

_TOKEN = re.compile(r"\s*(?:(\d+(?:\.0*)?)|([^\W\d][\w.]*)|'((?:[^'\\]|\\.)*)'|(//|\*\*|[-+*/%(),]))")


class _Ratio(NamedTuple):
    """A quotient that floor or ceil has still to round."""

    top: Extent
    bottom: Extent


def _ratio(value: Extent | _Ratio) -> _Ratio:
    return value if isinstance(value, _Ratio) else _Ratio(value, 1)


def _exact(value: Extent | _Ratio) -> Extent:
    if not isinstance(value, _Ratio):
        return value
    quotient = exact_quotient(value.top, value.bottom)
    if quotient is None:
        raise ValueError(f"({value.top})/({value.bottom}) is not an integer expression; write // or floor()")
    return quotient


def _floor(value: Extent | _Ratio) -> Extent:
    return floordiv(*_ratio(value))


def _ceil(value: Extent | _Ratio) -> Extent:
    return ceildiv(*_ratio(value))


def _divide(a: Extent | _Ratio, b: Extent | _Ratio) -> _Ratio:
    a, b = _ratio(a), _ratio(b)
    return _Ratio(a.top * b.bottom, a.bottom * b.top)


def _add(a: Extent | _Ratio, b: Extent | _Ratio, sign: int) -> Extent | _Ratio:
    if isinstance(a, _Ratio) or isinstance(b, _Ratio):
        a, b = _ratio(a), _ratio(b)
        return _Ratio(a.top * b.bottom + b.top * a.bottom * sign, a.bottom * b.bottom)
    return a + b * sign


def _multiply(a: Extent | _Ratio, b: Extent | _Ratio) -> Extent | _Ratio:
    if isinstance(a, _Ratio) or isinstance(b, _Ratio):
        a, b = _ratio(a), _ratio(b)
        return _Ratio(a.top * b.top, a.bottom * b.bottom)
    return a * b


def _modulo(a: Extent | _Ratio, b: Extent | _Ratio) -> Extent:
    top, bottom = _exact(a), _exact(b)
    return top - floordiv(top, bottom) * bottom


# Spellings of torch and sympy. Truncation equals floor for what an extent can be.
_FUNCTIONS: dict[str, Callable[..., Extent | _Ratio]] = {
    "min": lambda *args: dmin(*map(_exact, args)),
    "max": lambda *args: dmax(*map(_exact, args)),
    "floor": _floor,
    "ceil": _ceil,
    "mod": _modulo,
    "floordiv": lambda a, b: _floor(_divide(a, b)),
    "ceildiv": lambda a, b: _ceil(_divide(a, b)),
    "truediv": _divide,
    "identity": lambda value: value,
}
_SPELLINGS = {
    "Min": "min",
    "Max": "max",
    "FloorToInt": "floor",
    "TruncToInt": "floor",
    "math.floor": "floor",
    "math.trunc": "floor",
    "int": "floor",
    "ceiling": "ceil",
    "CeilToInt": "ceil",
    "math.ceil": "ceil",
    "Mod": "mod",
    "PythonMod": "mod",
    "FloorDiv": "floordiv",
    "CleanDiv": "floordiv",
    "CeilDiv": "ceildiv",
    "IntTrueDiv": "truediv",
    "FloatTrueDiv": "truediv",
    "ToFloat": "identity",
    "Identity": "identity",
    "float": "identity",
}


@lru_cache(maxsize=4096)
def parse(text: str) -> Extent:
    """The extent `text` spells: Python's integer operators, min and max, and torch's names for them.

    ``parse(str(extent)) == extent``. Raises ValueError, naming the text, where it is no integer expression.
    """
    try:
        return _Parser(text).extent()
    except ZeroDivisionError:
        raise ValueError(f"cannot read the dimension {text!r}: division by zero") from None
    except RecursionError:
        raise ValueError(f"cannot read the dimension {text[:40]!r}...: nested too deeply") from None


class _Parser:
    def __init__(self, text: str):
        self.text = text
        self.tokens: list[tuple[str, str]] = []  # (kind, spelling); kind is number, name, symbol or the operator itself
        self.next = 0
        at, end = 0, len(text.rstrip())
        while at < end:
            match = _TOKEN.match(text, at)
            if match is None:
                raise self.error(f"unexpected {text[at:].lstrip()[:10]!r}")
            number, name, quoted, operator = match.groups()
            if number is not None:
                self.tokens.append(("number", number))
            elif name is not None:
                self.tokens.append(("name", name))
            elif quoted is not None:
                self.tokens.append(("symbol", re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)))
            else:
                self.tokens.append((operator, operator))
            at = match.end()

    def error(self, why: str) -> ValueError:
        return ValueError(f"cannot read the dimension {self.text!r}: {why}")

    def peek(self) -> str:
        return self.tokens[self.next][0] if self.next < len(self.tokens) else ""

    def take(self, kind: str) -> str:
        if self.peek() != kind:
            found = repr(self.tokens[self.next][1]) if self.next < len(self.tokens) else "the end"
            raise self.error(f"expected {kind!r}, found {found}")
        self.next += 1
        return self.tokens[self.next - 1][1]

    def extent(self) -> Extent:
        if not self.tokens:
            raise self.error("it is empty")
        value = self.sum()
        if self.next < len(self.tokens):
            raise self.error(f"unexpected {self.tokens[self.next][1]!r}")
        return _exact(value)

    def sum(self) -> Extent | _Ratio:
        value = self.product()
        while self.peek() in ("+", "-"):
            sign = 1 if self.take(self.peek()) == "+" else -1
            value = _add(value, self.product(), sign)
        return value

    def product(self) -> Extent | _Ratio:
        value = self.factor()
        while (operator := self.peek()) in ("*", "//", "/", "%"):
            self.take(operator)
            other = self.factor()
            if operator == "*":
                value = _multiply(value, other)
            elif operator == "%":
                value = _modulo(value, other)
            else:
                value = _divide(value, other)
                value = _floor(value) if operator == "//" else value
        return value

    def factor(self) -> Extent | _Ratio:
        if self.peek() in ("+", "-"):
            sign = 1 if self.take(self.peek()) == "+" else -1
            return _multiply(self.factor(), sign)
        value = self.primary()
        if self.peek() == "**":
            self.take("**")
            exponent = int(self.take("number").split(".")[0])
            if exponent > 16:
                raise self.error(f"the power {exponent} is beyond any extent")
            base, value = value, 1
            for _ in range(exponent):
                value = _multiply(value, base)
        return value

    def primary(self) -> Extent | _Ratio:
        kind = self.peek()
        if kind == "number":
            return int(self.take(kind).split(".")[0])
        if kind == "symbol":
            return symbol(self.take(kind))
        if kind == "(":
            self.take("(")
            value = self.sum()
            self.take(")")
            return value
        name = self.take("name")
        if self.peek() != "(":
            return symbol(name)
        function = _FUNCTIONS.get(_SPELLINGS.get(name, name))
        if function is None:
            raise self.error(f"unknown function {name!r}")
        self.take("(")
        args = [self.sum()]
        while self.peek() == ",":
            self.take(",")
            args.append(self.sum())
        self.take(")")
        try:
            return function(*args)
        except TypeError:
            raise self.error(f"{name} does not take {len(args)} arguments") from None
