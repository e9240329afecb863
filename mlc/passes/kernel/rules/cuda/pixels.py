"""Convolutions on a GPU: products whose rows are pixels, images channels last. Each pixel of a tile gets what it reads of the image in shared memory.

    Level(n = 1 block.x, oh = 8 block.x, ow = 16 block.x, oc = 128 block.y) | Level(kh = 1, kw.ic = 16; X -> workgroup+4; W -> workgroup)
    | Level(kh = 1, kw.ic = 1) | Level(oh = 4, oc = 64) | Level(n = 1 thread.y, oh = 1 thread.y, ow = 4 thread.y, oc = 4 thread.x; X, W -> register)
    | Level(ow = 1, oc = 4; bias, Y -> register) | Scalar

No matrix of windows is written to memory (implicit GEMM). The tile's shape follows the image: of those with so many pixels the one that wastes
fewest at the borders.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product as combinations
from math import ceil, prod

from mlc.ir.kernel.cuda_target import CudaTarget
from mlc.ir.kernel.schedule import Binding, Level, Scalar, Schedule, Stage
from mlc.passes.kernel.rules.cuda.contraction import PIECE, SHAPES, Product, TileShape, across, depths
from mlc.passes.kernel.rules.loop_facts import LoopFacts
from mlc.passes.loops.pixel_windows import is_window

ONE, LINE = 1, 32  # what a run-time number of images is taken for, and a run-time size of one


def convolution(group: LoopFacts, target: CudaTarget) -> Schedule | None:
    """[group] n oh ow oc kh kw ic, all in f32."""
    product = Product.of(group)
    if product is None or not product.all_f32() or not product.rows or 0 in group.loops.values():
        return None
    if len(product.rows) == 1 and not product.is_window():
        return None
    image, weight = product.name(product.other), product.name(product.panel)
    if any(group.fixed(name) is None for name in product.sums) or image is None or weight is None or image == weight:
        return None
    shape = min(SHAPES, key=lambda shape: time(product, shape, target))
    return tiled(product, shape, image, weight)


def pixels(product: Product, count: int) -> dict[str, int]:
    """A tile of so many pixels: powers of two of each loop, the last a multiple of PIECE; the fewest wasted, then the longest rows."""
    powers = [1 << n for n in range(count.bit_length())]
    extents = [extent_of(product, name) for name in product.rows]
    found: tuple[float, tuple[int, ...]] | None = None
    for tile in combinations(powers, repeat=len(extents)):
        if prod(tile) != count or tile[-1] % PIECE:
            continue
        padded = prod(ceil(extent / size) * size for extent, size in zip(extents, tile, strict=True))
        if found is None or (padded, tuple(-size for size in reversed(tile))) < found:
            found = (padded, tuple(-size for size in reversed(tile)))
    assert found is not None
    return dict(zip(product.rows, (-size for size in reversed(found[1])), strict=True))


def extent_of(product: Product, name: str) -> int:
    extent = product.group.fixed(name)
    return extent if extent is not None else LINE if name in product.rows[-2:] else ONE


def time(product: Product, shape: TileShape, target: CudaTarget) -> tuple[float, int]:
    """As for products, with what the tiles waste at the borders of an image."""
    tile = pixels(product, shape.m)
    blocks = prod(ceil(extent_of(product, name) / size) for name, size in tile.items())
    blocks *= ceil(extent_of(product, product.n) / shape.n) * prod(extent_of(product, name) for name in product.batch)
    at_once = min(shape.resident, ceil(blocks / target.sms))
    rounds = ceil(blocks / (target.sms * at_once))
    hidden = min(1.0, at_once * shape.threads / 256)
    return rounds * at_once * shape.m * shape.n / (shape.speed * hidden), -shape.m * shape.n


def staged(product: Product) -> Stage:
    """What is read of the image: windows have all pixels as the last axis (pixel_windows.py), and pixels that share nothing are laid so."""
    forms = product.other.access
    if is_window(forms):
        return Stage("workgroup", pad=PIECE)
    place = {name: number for number, name in enumerate(product.rows)}
    order = tuple(sorted(range(len(forms)), key=lambda axis: place.get(forms[axis].loop() or "", -1)))
    return Stage("workgroup", () if order == tuple(range(len(forms))) else order, PIECE)


def tiled(product: Product, shape: TileShape, image: str, weight: str) -> Schedule:
    n, tile = product.n, pixels(product, shape.m)
    blocks: dict[str, Binding] = dict.fromkeys((*product.batch, *product.rows), "block.x")
    blocks[n] = across(product, shape.n)
    # an image is gathered pixel by pixel, and what is copied with it waits for it
    stages = {image: staged(product), weight: replace(product.k_major(product.panel, n), buffers=1)}
    pieces: tuple[Level, ...] = ()
    piece = dict(tile)
    if shape.rows > 1:
        halved = next(name for name, size in tile.items() if size > 1 and (name != product.rows[-1] or size > PIECE))
        piece[halved] //= shape.rows
        pieces = (Level({halved: piece[halved], n: shape.n // shape.columns}),)
    elif shape.columns > 1:
        pieces = (Level({n: shape.n // shape.columns}),)
    *outer, last = product.rows
    threads: dict[str, Binding] = {**dict.fromkeys(product.rows, "thread.y"), n: "thread.x"}
    levels = (
        Level({**dict.fromkeys(product.batch, 1), **tile, n: shape.n}, blocks),
        Level(depths(product), stage=stages),
        Level(dict.fromkeys(product.sums, 1)),
        *pieces,
        Level(
            {**dict.fromkeys(outer, 1), last: PIECE, n: PIECE},
            threads,
            dict.fromkeys((image, weight), Stage("register")),
        ),
        Level({last: 1, n: PIECE}, stage=product.beside()),
    )
    return Schedule(levels, Scalar(), shape.resident)
