"""Tiles of one loop that differ as little as they can."""

from __future__ import annotations

from math import ceil


def even(extent: int, largest: int) -> int:
    """The tile that covers `extent` in as few tiles as `largest` would, nearly equal: 128 by 14 -> 13 (9 x 13 + 11)."""
    return ceil(extent / ceil(extent / largest)) if extent else 1
