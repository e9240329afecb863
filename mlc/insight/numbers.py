"""Numbers as people read them."""

from __future__ import annotations


def quantity(number: float, unit: str = "") -> str:
    """1234567 -> 1.2 M."""
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= limit:
            scale = 1e3 if letter == "k" else limit
            return f"{number / scale:.1f} {letter}{unit}"
    return f"{number:,.0f}{' ' + unit if unit else ''}"
