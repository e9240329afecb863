"""Symbols that a model's own checks make equal: past_0 == past_1 leaves one symbol, N == 4 leaves none.

Exporters give one size several names (a cache of four layers has four "past" lengths). What an operator needs equal is found by importing once;
the second import starts from the unified signature, so that the shapes agree by their text and no check is left for them.
"""

from __future__ import annotations

from collections.abc import Iterable

from mlc.frontends.onnx.signature import Signature, symbol_name
from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.graph.base import Check


def solve(checks: Iterable[Check], signature: Signature) -> dict[str, Extent]:
    """Symbol -> what it is replaced by, so that the checks that can be solved for one symbol hold.

    A symbol is replaced only where every symbol left is an axis of an input by itself, since a call binds symbols from there.
    """
    found: dict[str, Extent] = {}
    for check in checks:
        lhs, rhs = dims.substitute(check.lhs, found), dims.substitute(check.rhs, found)
        solved = _solved(lhs, rhs)
        if solved is None:
            continue
        symbol, extent = solved
        trial = {name: dims.substitute(e, {symbol: extent}) for name, e in found.items()} | {symbol: extent}
        if _bound(signature, trial):
            found = trial
    return found


def _solved(lhs: Extent, rhs: Extent) -> tuple[str, Extent] | None:
    """A symbol that the equation gives as an expression of others; of two symbols the one later in the alphabet."""
    difference = lhs - rhs
    if isinstance(difference, int):
        return None
    candidates: list[tuple[str, Extent]] = []
    for monomial, coefficient in difference.terms:
        if len(monomial) == 1 and isinstance(symbol := monomial[0], str) and abs(coefficient) == 1:
            rest = (dims.symbol(symbol) * coefficient - difference) * coefficient
            if not (isinstance(rest, Dim) and symbol in rest.symbols()) and not (isinstance(rest, int) and rest < 0):
                candidates.append((symbol, rest))
    plain = [c for c in candidates if isinstance(c[1], int) or symbol_name(c[1]) is not None]
    return max(plain or candidates, key=lambda c: c[0], default=None)


def _bound(signature: Signature, substitution: dict[str, Extent]) -> bool:
    extents = [dims.substitute(e, substitution) for i in signature.inputs for e in i.shape]
    alone = {symbol_name(e) for e in extents}
    return all(s in alone for e in extents if isinstance(e, Dim) for s in e.symbols())
