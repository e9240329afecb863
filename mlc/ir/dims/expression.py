"""The expressions themselves: integer polynomials in normal form, their arithmetic, their text, their values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

from mlc.errors import ShapeError

_PLAIN_NAME = re.compile(r"[^\W\d][\w.]*\Z")
# Terms of a quotient after which polynomial division gives up; real extents need at most four.
_QUOTIENT_TERMS = 20
# What one extent may hold; sizes of real models have some ten terms. A size that grows with each layer would else make each layer after it slower.
LONGEST = 3000  # characters of a floor division, minimum or maximum
MOST_TERMS = 2000
LARGEST_COEFFICIENT = 1 << 256
HIGHEST_DEGREE = 64


class DivisionByZero(ShapeError, ZeroDivisionError):
    """An extent is divided by a size that is 0."""


class TooLong(ShapeError):
    """A size is a longer expression than is computed with."""

    def __init__(self, text: str):
        short = text if len(text) <= 60 else f"{text[:60]}..."
        super().__init__(
            f"a size is too long an expression: {short}",
            remedy="Fix a size that it is made of: --dim NAME=SIZE, or shapes.",
        )


class UndecidedSize(ShapeError, TypeError):
    """Python asks for the number, the truth or the order of a size that is symbolic."""

    def __init__(self, asked: str, remedy: str | None = None):
        super().__init__(
            f"{asked} is not known: the size is symbolic",
            remedy=remedy
            or "Give the size as a number where code depends on it (without shapes=), or compute with tensors: mlc.cond, mlc.scan.",
        )


class Call:
    """A floor division, minimum or maximum: an indivisible factor of a product."""

    __slots__ = ("args", "op", "text")

    def __init__(self, op: str, args: tuple[Extent, ...]):
        self.op = op
        self.args = args
        self.text = "//".join(map(_operand, args)) if op == "//" else f"{op}({', '.join(map(str, args))})"
        if len(self.text) > LONGEST:
            raise TooLong(self.text)

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
        raise UndecidedSize(f"whether {self} is 0")

    if not TYPE_CHECKING:  # to a type checker it is no number at all

        def __index__(self):
            raise UndecidedSize(f"the number {self}")

    def _ordered(self, sign: str, other: object) -> bool:
        if not _is_extent(other):
            return NotImplemented
        raise UndecidedSize(f"whether {self} {sign} {other}")

    def __lt__(self, other: object) -> bool:
        return self._ordered("<", other)

    def __le__(self, other: object) -> bool:
        return self._ordered("<=", other)

    def __gt__(self, other: object) -> bool:
        return self._ordered(">", other)

    def __ge__(self, other: object) -> bool:
        return self._ordered(">=", other)

    def _beside(self, sign: str, other: object) -> Any:
        """The result of an operation that gives no extent: that of a tensor is the tensor's own. Raises UndecidedSize beside a number of Python."""
        if isinstance(other, int | float | complex | Dim):
            raise UndecidedSize(
                f"the number {self} {sign} {other}",
                "The functions of mlc.numpy take sizes as numbers: divide(1, x.shape[0]), multiply(x.shape[0], 0.5), sqrt(x.shape[0]).",
            )
        return NotImplemented

    def __truediv__(self, other: object) -> Any:
        return self._beside("/", other)

    __rtruediv__ = __truediv__

    def __pow__(self, other: object) -> Any:
        return self._beside("**", other)

    __rpow__ = __pow__

    def __add__(self, other: Extent) -> Extent:
        if not _is_extent(other):
            return self._beside("+", other)
        total = dict(self.terms)
        for monomial, coefficient in _terms(other):
            total[monomial] = total.get(monomial, 0) + coefficient
        return _sum(total)

    def __mul__(self, other: Extent) -> Extent:
        if not _is_extent(other):
            return self._beside("*", other)
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
        return self + -other if _is_extent(other) else self._beside("-", other)

    def __rsub__(self, other: Extent) -> Extent:
        return -self + other

    def __floordiv__(self, other: Extent) -> Extent:
        return floordiv(self, other) if _is_extent(other) else self._beside("//", other)

    def __rfloordiv__(self, other: Extent) -> Extent:
        return floordiv(other, self) if _is_extent(other) else self._beside("//", other)

    def __mod__(self, other: Extent) -> Extent:
        return self - floordiv(self, other) * other if _is_extent(other) else self._beside("%", other)

    def __rmod__(self, other: Extent) -> Extent:
        return other - floordiv(other, self) * self

    def __str__(self) -> str:
        if self._text is None:
            self._text = _text(self.terms)
        return self._text

    def __repr__(self) -> str:
        return f"Dim({str(self)!r})"

    def symbols(self) -> frozenset[str]:
        """The names of the symbols this expression depends on; sort them where an order is kept, for that of a set changes from run to run."""
        names: set[str] = set()
        for monomial, _ in self.terms:
            for atom in monomial:
                if isinstance(atom, str):
                    names.add(atom)
                else:
                    names.update(*(arg.symbols() for arg in atom.args if isinstance(arg, Dim)))
        return frozenset(names)


Extent = int | Dim


def _is_extent(value: object) -> bool:
    return isinstance(value, int | Dim | Integral)


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
    if len(kept) > MOST_TERMS or any(abs(c) > LARGEST_COEFFICIENT or len(m) > HIGHEST_DEGREE for m, c in kept):
        raise TooLong(_text(kept[:8]))
    if len(kept) == 1:
        return Dim((kept[0],)) if kept[0][0] else kept[0][1]
    kept.sort(key=_term_key)
    return Dim(tuple(kept))


def dim_of(atom: Atom) -> Dim:
    return Dim((((atom,), 1),))


def symbol(name: str) -> Dim:
    """The extent called `name`. Any nonempty string will do; one that is not an identifier is quoted in text."""
    if not name:
        raise ValueError("a dimension symbol needs a name")
    return dim_of(name)


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
    """a // b, rounding towards minus infinity. Factors common to `a` and `b` are cancelled, taken to be nonzero.

    Raises DivisionByZero where b is 0.
    """
    if isinstance(b, Dim):
        return _divide_by_dim(a, b)
    if b == 0:
        raise DivisionByZero(f"the extent ({a})//0 divides by zero")
    if isinstance(a, int):
        return a // b
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
                return floordiv(inner + (a - dim_of(atom)) * p, p * k)
    whole, offset = divmod(constant, k)
    return dim_of(Call("//", (moving + offset, k))) + whole


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
    return _sum(whole) + (dim_of(Call("//", (a, b_small))) if a != 0 else 0)


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
    return dim_of(Call(op, tuple(kept)))


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
    """The extent with symbols replaced, all at once; symbols not named stay. Raises DivisionByZero."""
    if isinstance(extent, int):
        return extent
    total: Extent = 0
    for monomial, coefficient in extent.terms:
        product: Extent = coefficient
        for atom in monomial:
            if isinstance(atom, str):
                value = values.get(atom)
                product = product * (dim_of(atom) if value is None else value)
            else:
                product = product * apply_call(atom.op, [substitute(arg, values) for arg in atom.args])
        total = total + product
    return total


def apply_call(op: str, args: Sequence[Extent]) -> Extent:
    return floordiv(*args) if op == "//" else _extreme(op, args)


def evaluate(extent: Extent, binding: Mapping[str, int]) -> int:
    """The number an extent is under a binding of all its symbols; KeyError names one that is missing.

    Raises DivisionByZero, a ShapeError, where the sizes divide by zero.
    """
    if isinstance(extent, int):
        return extent
    total = 0
    for monomial, product in extent.terms:
        for atom in monomial:
            if isinstance(atom, str):
                product *= binding[atom]
            else:
                args = [evaluate(arg, binding) for arg in atom.args]
                if atom.op == "//" and not args[1]:
                    at = ", ".join(f"{name} = {binding[name]}" for name in sorted(dim_of(atom).symbols()))
                    raise DivisionByZero(f"the extent {atom} divides by zero at {at}")
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
