"""Compute convolutions of 3 x 3 windows in fewer products, where that is faster (mlc/ir/graph/winograd.py).

    convolution(x, w : 3x3)     ->     winograd(pad(x), windows(w)) {tile = 4}

The windows of a weight are transformed once, when constants are folded; those that come with a call, as in training, by a kernel of the step, and
for tiles of 2 alone, which round as the convolution itself does: after 20 steps of two convolutions losses differ from those of float64 by 8e-8 of
the largest, with tiles of 4 by 5e-5, with neither by 7e-8.

What is faster is told by counting vector operations of the CPU: multiply-adds of products, and what the transforms and the bytes of windows
that no cache holds take beside them. The figures are from a Zen 5 with AVX-512. Symbolic heights and widths are taken to be those of a photograph
of SIDE pixels, as far as their bounds allow; what is chosen is right for all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import ClassVar

from xdsl.ir import SSAValue

from mlc.errors import ShapeError
from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.graph.constants import ConstantOp, WeightOp
from mlc.ir.graph.convolution import ConvolutionOp
from mlc.ir.graph.winograd import TAPS, TILES, windows, winograd
from mlc.ir.kernel.target import Target
from mlc.ir.module import Module
from mlc.ir.sample_sizes import sample_binding
from mlc.ir.types import dtype_of, shape_of
from mlc.passes.base import Pass
from mlc.passes.graph.rewrite import rewrite, rule
from mlc.passes.kernel.rules.by_target import AT_HAND, target_of
from mlc.passes.kernel.rules.winograd_schedule import STREAMS, rows_of_block

TRANSFORMS = {2: 130, 4: 400}  # vector operations that a vector of channels of a tile takes, there or back
STREAMED = 0.1  # vector operations that a byte of windows takes beyond L2
GAIN = 0.9  # of the time of the direct kernel, above which it stays
EXACT = 1.2  # of the fastest way's time, up to which the way with smaller tiles is taken: its errors are smaller, and its windows
EXACT_TILES = (2,)  # for weights that change: errors of tiles of 4 add up from step to step
TILES_OF_A_BLOCK = 14  # that fill the registers
SIDE = 224


@dataclass(frozen=True)
class Winograd(Pass):
    """Compute convolutions of 3 x 3 windows in fewer products, where that is faster on the machine `target`; with tiles of `tile` outputs, 2 or 4, all of them."""

    name: ClassVar[str] = "winograd"
    target: str = AT_HAND
    tile: int = 0

    def run(self, module: Module) -> None:
        target = target_of(self.target)
        if target.lowering.winograd:
            sizes = sizes_of(module)
            rewrite(module, [rule(ConvolutionOp)(lambda op, module: self.transform(op, sizes, target))])

    def transform(self, op: ConvolutionOp, sizes: Mapping[str, int] | None, target: Target) -> SSAValue | None:
        """The op that takes a convolution's place, or None; `sizes` are those that symbolic ones are taken to be."""
        if not fits(op) or (is_open(op) and sizes is None):
            return None
        if shape_of(op.x)[3] == 1 or panel_width(int(shape_of(op.result)[3]), target.lanes) == 1:  # type: ignore[arg-type]
            return None  # no loop of channels
        tiles = TILES if isinstance(op.weight.owner, WeightOp | ConstantOp) else EXACT_TILES
        ways = [Way.of(op, m, sizes or {}, target) for m in ([self.tile] if self.tile else tiles)]
        least = min(way.cost for way in ways)
        way = next(way for way in ways if way.cost <= EXACT * least)
        if not self.tile and way.cost > GAIN * direct_cost(op, sizes or {}, target):
            return None
        (low0, high0), (low1, high1) = op.padding
        crop = [dims.ceildiv(size, way.m) * way.m - size for size in shape_of(op.result)[1:3]]
        x = g.pad(op.x, [0, low0, low1, 0], [0, high0 + crop[0], high1 + crop[1], 0], 0)
        x_names, weight_names, names = op.labels
        weight = g.transpose(op.weight, [weight_names.index(c) for c in ("0", "1", x_names[3], names[3])])
        u = windows(weight, way.m, way.width)
        return winograd(x, u, way.m, crop, way.images, way.rows, way.shares)


def fits(op: ConvolutionOp) -> bool:
    """Windows of 3 x 3, one step apart, over f32 images with channels last."""
    x, weight, result = op.labels
    steps = [v for p in (op.strides, op.dilations, op.x_dilation) for v in p.get_values()]
    if len(op.spatial) != 2 or any(step != 1 for step in steps) or dtype_of(op.x) != "f32":
        return False
    if x[1:3] != "01" or result != f"{x[0]}01{result[3]}" or sorted(weight) != sorted(f"01{x[3]}{result[3]}"):
        return False
    extents = dict(zip(weight, shape_of(op.weight), strict=True))
    sizes = [*shape_of(op.x)[1:], *shape_of(op.result)[1:]]
    padding = [e for pair in op.padding for e in pair]
    known = isinstance(sizes[2], int) and isinstance(sizes[5], int)
    filled = all(not isinstance(e, int) or e > 0 for e in sizes) and shape_of(op.result)[0] != 0
    padded = all(isinstance(e, int) and e >= 0 for e in padding)
    return known and filled and padded and extents["0"] == extents["1"] == TAPS


def is_open(op: ConvolutionOp) -> bool:
    """Does only the run know the height or the width?"""
    return not all(isinstance(e, int) for e in shape_of(op.result)[1:3])


def sizes_of(module: Module) -> dict[str, int] | None:
    """What symbols are taken to be: SIDE where they decide a height or width, or as much of it as makes the largest one of that size, as where a
    side is four times a symbol; else 1. None where the module takes no such sizes."""
    sides = [
        e for op in module.main.walk() if isinstance(op, ConvolutionOp) and fits(op) for e in shape_of(op.result)[1:3]
    ]
    symbols = {symbol for e in sides if isinstance(e, Dim) for symbol in e.symbols()}
    if not symbols:
        return None
    others = {symbol: max(1, low) for symbol, (low, _) in module.symbols.items() if symbol not in symbols}
    try:
        found = sample_binding(module, others, SIDE)
        largest = max(dims.evaluate(e, found) for e in sides)
        return found if largest <= SIDE else sample_binding(module, others, max(1, SIDE**2 // largest))
    except ShapeError:
        return None


def direct_cost(op: ConvolutionOp, sizes: Mapping[str, int], target: Target) -> float:
    """Of an image, in vector operations."""
    h, w, o = (max(1, dims.evaluate(e, sizes)) for e in shape_of(op.result)[1:])
    return h * w * ceil(o / target.lanes) * TAPS**2 * shape_of(op.x)[3]  # type: ignore[return-value]


@dataclass(frozen=True)
class Way:
    """How a convolution is computed: tiles of m x m outputs, `images` and `rows` of tiles in a block, panels of `width` channels in `shares`;
    and what an image costs, in vector operations."""

    m: int
    images: int
    rows: int
    width: int
    shares: int
    cost: float

    @staticmethod
    def of(op: ConvolutionOp, m: int, sizes: Mapping[str, int], target: Target) -> Way:
        batch, open = shape_of(op.result)[0], is_open(op)
        h, w, o, c = (max(1, dims.evaluate(e, sizes)) for e in (*shape_of(op.result)[1:], shape_of(op.x)[3]))
        points, tall, across, lanes = (m + TAPS - 1) ** 2, ceil(h / m), ceil(w / m), target.lanes
        row, stored = 4 * points * across * c, 4 * points * c * o  # bytes of a row of tiles, and of all windows
        rows = rows_of_block(stored, target.l2) if open else rows_of(tall, across, row, stored, target.l2)
        images = images_of(batch, ceil(TILES_OF_A_BLOCK / (tall * across))) if rows == tall and not open else 1
        panel = panel_width(o, lanes, (4 if across < 6 else 2) if open else 2)
        tiles, blocks = tall * across, ceil(tall / rows)
        # few tiles leave multiply-adds waiting for windows
        filled = min(1.0, across * ceil(panel / lanes) / 12 if open else images * rows * across / 8)
        products = tiles * points * c * ceil(panel / lanes) * (o // panel) / filled
        there, back = (tiles * TRANSFORMS[m] * ceil(channels / lanes) for channels in (c, o))
        tasks = blocks * (batch // images if isinstance(batch, int) else 1)
        shares = shares_of(o // panel, tasks, products / there)
        transforms = shares * there + back
        streamed = max(0, stored - target.l2) / images
        return Way(m, images, 1 if open else rows, panel, shares, products + transforms + STREAMED * streamed)


def rows_of(tall: int, across: int, row: int, stored: int, l2: int) -> int:
    """How many rows of tiles a block has: as few as fill the registers; where all windows are far more than stays in L2, as many as stay there,
    for each block streams the windows anew. Rows that are left take a kernel of their own, so those of equal blocks are better."""
    few = min(tall, ceil(TILES_OF_A_BLOCK / across))
    rows = few if stored <= STREAMS * l2 else max(few, min(tall, l2 // row))
    rows = ceil(tall / ceil(tall / rows))
    return next((n for n in range(rows, (rows - 1) // 2, -1) if tall % n == 0), rows)


def images_of(batch: Extent, wanted: int) -> int:
    """How many images a block has: about as many as wanted, and they divide the batch."""
    if not isinstance(batch, int) or wanted < 2:
        return 1
    return next((n for n in range(wanted, min(batch, 4 * wanted) + 1) if batch % n == 0), 1)


def panel_width(outputs: int, lanes: int, vectors: int = 2) -> int:
    """So many vectors of channels, or what divides them into the fewest."""
    widths = [w for w in range(1, 4 * lanes + 1) if outputs % w == 0]
    return min(widths, key=lambda w: (ceil(w / lanes) * (outputs // w), abs(w - vectors * lanes)))


def shares_of(panels: int, blocks: int, longer: float) -> int:
    """In how many parts threads take the panels of a block, which each transforms anew: some, where there are few blocks, and products take so
    much longer than the transforms that these may be repeated."""
    most = min(4 // max(blocks, 1), panels, 1 + int(longer / 8))
    return next((n for n in range(most, 1, -1) if panels % n == 0), 1)
