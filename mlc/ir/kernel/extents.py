"""Extents of kernels: a number, the name of an index argument, or a product of both that merging loops made: "N*S*49"."""

from __future__ import annotations

Extent = int | str


def factors(extent: Extent) -> tuple[list[str], int]:
    """The names and the number that an extent is the product of."""
    if isinstance(extent, int):
        return [], extent
    names, number = [], 1
    for factor in extent.split("*"):
        if factor.isdecimal():
            number *= int(factor)
        else:
            names.append(factor)
    return sorted(names), number


def product(*extents: Extent) -> Extent:
    """Equal products are equal text: names in order, the number last."""
    names: list[str] = []
    number = 1
    for extent in extents:
        more, by = factors(extent)
        names += more
        number *= by
    if not names or not number:
        return number
    return "*".join([*sorted(names), *([str(number)] if number != 1 else [])])


def tile_count(extent: Extent, size: int) -> Extent:
    """How many tiles of `size` cover an extent: a number, or text that mlc.ir.dims.parse reads."""
    if isinstance(extent, int):
        return -(-extent // size)
    return extent if size == 1 else f"(({extent} + {size - 1})//{size})"
