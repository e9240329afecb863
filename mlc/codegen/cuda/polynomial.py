"""Index arithmetic as text: sums of products of names, {("i",): 768, ("j",): 1, (): 3} is i * 768 + j + 3."""

from __future__ import annotations

from collections.abc import Mapping

Polynomial = Mapping[tuple[str, ...], int]


def number(value: int) -> Polynomial:
    return {(): value} if value else {}


def name(text: str) -> Polynomial:
    return {(text,): 1}


def plus(lhs: Polynomial, rhs: Polynomial, sign: int = 1) -> Polynomial:
    total = dict(lhs)
    for term, coefficient in rhs.items():
        total[term] = total.get(term, 0) + sign * coefficient
    return {term: coefficient for term, coefficient in total.items() if coefficient}


def times(lhs: Polynomial, rhs: Polynomial) -> Polynomial:
    total: dict[tuple[str, ...], int] = {}
    for a, x in lhs.items():
        for b, y in rhs.items():
            term = tuple(sorted((*a, *b)))
            total[term] = total.get(term, 0) + x * y
    return {term: coefficient for term, coefficient in total.items() if coefficient}


def constant(value: Polynomial) -> int | None:
    """The number that it is, if it is one."""
    return value.get((), 0) if not value.keys() - {()} else None


def text(value: Polynomial) -> str:
    """Products of names first, then what moves far; terms with a common coefficient share it: a * s0 + (m + i) * 768 + k + 3. What is
    subtracted stands behind."""
    groups: dict[tuple[int, int], list[str]] = {}
    for term, coefficient in value.items():
        if term:
            groups.setdefault((len(term), coefficient), []).append(" * ".join(term))
    total = ""
    for (_, coefficient), terms in sorted(groups.items(), key=lambda item: (item[0][1] < 0, -item[0][0], -item[0][1])):
        part = " + ".join(terms)
        if abs(coefficient) != 1:
            part = f"({part}) * {abs(coefficient)}" if len(terms) > 1 else f"{part} * {abs(coefficient)}"
        elif coefficient < 0 and len(terms) > 1:
            part = f"({part})"
        if not total:
            total = part if coefficient > 0 else f"-{part}"
        else:
            total += f" + {part}" if coefficient > 0 else f" - {part}"
    last = value.get((), 0)
    if not total:
        return str(last)
    return total if not last else f"{total} + {last}" if last > 0 else f"{total} - {-last}"
