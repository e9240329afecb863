"""Reads dimension expressions: our own text, and what torch and sympy write into exported models."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from mlc.ir.dims.expression import Dim, DivisionByZero, Extent, ceildiv, dmax, dmin, exact_quotient, floordiv, symbol

# Terms of a product: text from a file must not take exponential time.
_LARGEST = 256

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
        return _Ratio(_product(a.top, b.top), _product(a.bottom, b.bottom))
    return _product(a, b)


def _product(a: Extent, b: Extent) -> Extent:
    terms = [len(factor.terms) if isinstance(factor, Dim) else 1 for factor in (a, b)]
    if terms[0] * terms[1] > _LARGEST:
        raise ValueError(f"a product of {terms[0]} by {terms[1]} terms is beyond any extent")
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
    except DivisionByZero:
        raise ValueError(f"cannot read the dimension {text!r}: division by zero") from None
    except ValueError as error:
        if str(error).startswith("cannot read"):
            raise
        raise ValueError(f"cannot read the dimension {text[:80]!r}: {error}") from None
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
