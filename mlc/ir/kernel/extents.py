"""How kernels write extents: a number, the name of an index argument, or a product of both that merging loops made, "N*S*49".

They are dimension expressions whose symbols are the names of index arguments; mlc.ir.dims reads what stands here.
"""

from __future__ import annotations

from mlc.ir import dims
from mlc.ir.dims import Dim, Extent


def spelled(extent: Extent | str) -> str:
    """Equal products are equal text: names in order, the number last, so that a product too can be the name of an argument."""
    if not isinstance(extent, Dim) or len(extent.terms) > 1:
        return str(extent)
    ((atoms, number),) = extent.terms
    texts = sorted(atom if isinstance(atom, str) else f"({dims.dim_of(atom)})" for atom in atoms)
    return "*".join([*texts, *([str(number)] if number != 1 else [])])


def factors(extent: Extent) -> tuple[list[str], int]:
    """The names and the number that an extent is the product of."""
    if isinstance(extent, int):
        return [], extent
    ((atoms, number),) = extent.terms
    return sorted(atom for atom in atoms if isinstance(atom, str)), number


def tile_count(extent: Extent, size: int) -> Extent:
    """How many tiles of `size` cover an extent."""
    return dims.floordiv(extent + (size - 1), size)
