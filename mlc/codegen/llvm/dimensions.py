"""Dimension expressions as LLVM IR on i64: for sizes that become known only while native code runs."""

from __future__ import annotations

from collections.abc import Callable

from mlc.ir.dims import Dim, Extent


def extent_text(extent: Extent, symbol: Callable[[str], str], define: Callable[[str], str]) -> str:
    """The operand that holds an extent. `symbol` gives a symbol's operand; `define` writes an instruction and names its result.

    Division rounds towards minus infinity, as Python's; a divisor of zero counts as one, for native code must not trap.
    """
    if isinstance(extent, int):
        return str(extent)
    total = ""
    for monomial, coefficient in extent.terms:
        factors = [str(coefficient)] if coefficient != 1 or not monomial else []
        for atom in monomial:
            if isinstance(atom, str):
                factors.append(symbol(atom))
                continue
            args = [extent_text(arg, symbol, define) for arg in atom.args]
            factors.append(_floordiv(args[0], args[1], define) if atom.op == "//" else _extreme(atom.op, args, define))
        product = factors[0]
        for factor in factors[1:]:
            product = define(f"mul i64 {product}, {factor}")
        total = define(f"add i64 {total}, {product}") if total else product
    return total


def _floordiv(a: str, b: str, define: Callable[[str], str]) -> str:
    if b.isdecimal():
        safe = b
    else:
        zero = define(f"icmp eq i64 {b}, 0")
        safe = define(f"select i1 {zero}, i64 1, i64 {b}")
    quotient = define(f"sdiv i64 {a}, {safe}")
    rest = define(f"srem i64 {a}, {safe}")
    uneven = define(f"icmp ne i64 {rest}, 0")
    signs = define(f"xor i64 {rest}, {safe}")
    apart = define(f"icmp slt i64 {signs}, 0")
    down = define(f"and i1 {uneven}, {apart}")
    by = define(f"zext i1 {down} to i64")
    return define(f"sub i64 {quotient}, {by}")


def _extreme(op: str, args: list[str], define: Callable[[str], str]) -> str:
    best, predicate = args[0], "slt" if op == "min" else "sgt"
    for arg in args[1:]:
        wins = define(f"icmp {predicate} i64 {arg}, {best}")
        best = define(f"select i1 {wins}, i64 {arg}, i64 {best}")
    return best


def symbols_of(extent: Extent) -> frozenset[str]:
    return extent.symbols() if isinstance(extent, Dim) else frozenset()
