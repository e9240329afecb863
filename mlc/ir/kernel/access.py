"""Where a structured op reads and writes: affine expressions over the names of its loops.

(2 * L("oh") + L("kh"), "ic", 0)     ->  affine_map<(oh, kh, ic) -> (oh * 2 + kh, ic, 0)>
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xdsl.dialects.builtin import AffineMapAttr
from xdsl.ir.affine import AffineMap
from xdsl.ir.affine.affine_expr import (
    AffineBinaryOpExpr,
    AffineBinaryOpKind,
    AffineConstantExpr,
    AffineDimExpr,
    AffineExpr,
)

from mlc.errors import MlcError


@dataclass(frozen=True)
class Affine:
    """sum(coefficient * loop) + constant."""

    terms: Mapping[str, int] = field(default_factory=dict)
    constant: int = 0

    def __add__(self, other: Index) -> Affine:
        other = affine(other)
        names = {**self.terms, **other.terms}
        terms = {n: self.terms.get(n, 0) + other.terms.get(n, 0) for n in names}
        return Affine({n: c for n, c in terms.items() if c}, self.constant + other.constant)

    def __mul__(self, by: int) -> Affine:
        return Affine({n: c * by for n, c in self.terms.items() if by}, self.constant * by)

    def over(self, by: int) -> Affine:
        """A by-th of this, which is a multiple of `by`."""
        assert all(c % by == 0 for c in (self.constant, *self.terms.values())), (self, by)
        return Affine({n: c // by for n, c in self.terms.items()}, self.constant // by)

    def __neg__(self) -> Affine:
        return self * -1

    def __sub__(self, other: Index) -> Affine:
        return self + affine(other) * -1

    def __rsub__(self, other: Index) -> Affine:
        return affine(other) - self

    def __hash__(self) -> int:
        return hash((frozenset(self.terms.items()), self.constant))

    __radd__ = __add__
    __rmul__ = __mul__

    def loop(self) -> str | None:
        """The loop that this is, if it is exactly one."""
        return next(iter(self.terms)) if not self.constant and list(self.terms.values()) == [1] else None


Index = Affine | str | int  # an expression, the name of a loop, or a number
Access = Sequence[Index]  # one per axis


def L(name: str) -> Affine:
    """The position of a loop."""
    return Affine({name: 1})


def affine(index: Index) -> Affine:
    match index:
        case int():
            return Affine({}, index)
        case str():
            return Affine({index: 1})
    return index


def write_map(access: Sequence[Affine], names: Sequence[str]) -> AffineMapAttr:
    """The affine map of an access by the loops `names`, outermost first."""
    exprs = []
    for index in access:
        expr: AffineExpr | None = None
        for name, coefficient in index.terms.items():
            term: AffineExpr = AffineExpr.dimension(names.index(name))
            term = term if coefficient == 1 else term * coefficient
            expr = term if expr is None else expr + term
        if expr is None:
            expr = AffineExpr.constant(index.constant)
        elif index.constant:
            expr = expr + index.constant
        exprs.append(expr)
    return AffineMapAttr(AffineMap(len(names), 0, tuple(exprs)))


def read_map(attr: AffineMapAttr, names: Sequence[str]) -> tuple[Affine, ...]:
    """The access that an affine map over the loops `names` stands for. Raises MlcError for one that divides."""
    known = _READ.get(id(attr))
    if known is not None and known[0] is attr and known[1] == list(names):
        return known[2]
    found = []
    for expr in attr.data.results:
        factors, constant = [0] * len(names), 0
        waiting: list[tuple[AffineExpr, int]] = [(expr, 1)]
        while waiting:
            match waiting.pop():
                case AffineDimExpr(position), factor:
                    factors[position] += factor
                case AffineConstantExpr(value), factor:
                    constant += factor * value
                case AffineBinaryOpExpr(AffineBinaryOpKind.Add, lhs, rhs), factor:
                    waiting += [(lhs, factor), (rhs, factor)]
                case (AffineBinaryOpExpr(AffineBinaryOpKind.Mul, AffineConstantExpr(by), part), factor) | (
                    AffineBinaryOpExpr(AffineBinaryOpKind.Mul, part, AffineConstantExpr(by)),
                    factor,
                ):
                    waiting.append((part, factor * by))
                case _:
                    raise MlcError(f"{expr} is no sum of multiples of loops, as the places that a kernel reads are")
        found.append(Affine({name: f for name, f in zip(names, factors, strict=True) if f}, constant))
    if len(_READ) >= _MANY:
        _READ.clear()
    _READ[id(attr)] = attr, list(names), tuple(found)
    return tuple(found)


# Maps by identity, which are held so that their place is not used again: every level of a schedule asks several times for the same ones, and
# comparing them takes longer than reading them.
_READ: dict[int, tuple[AffineMapAttr, list[str], tuple[Affine, ...]]] = {}
_MANY = 4096
