"""Sums of products on a GPU: tiles of both operands in shared memory, a tile of the result in the registers of each thread.

    Level(m = 128 block.x, n = 128 block.y) | Level(k = 16; A -> workgroup[1, 0]+4 async 2; B -> workgroup async 2) | Level(k = 1) | Level(m = 64, n = 64)
    | Level(m = 4 thread.y, n = 4 thread.x; A, B -> register) | Level(m = 1, n = 4; bias, D -> register) | Scalar | resident 2

A thread has pieces of 4 x 4 elements as far apart as all threads reach with one piece, so that the 16 bytes which neighbouring threads read
of shared memory lie next to each other: no two of them in one bank. Both tiles lie k-major; the one that is transposed on the way has
rows 16 bytes longer. Which of the shapes below computes a kernel is decided by how many rounds of blocks it takes. Rows, of which there may be more than 65,535 tiles, are along x.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, prod

from xdsl.dialects.builtin import f32

from mlc.ir.dims import Extent
from mlc.ir.kernel.cuda_target import CudaTarget
from mlc.ir.kernel.kernel import loops_of, type_of
from mlc.ir.kernel.schedule import Binding, Level, Scalar, Schedule, Stage
from mlc.passes.kernel.rules.loop_facts import LoopFacts, OperandFacts

PIECE = 4  # elements of 4 bytes that a thread moves at a time
BUFFERS = 2  # of a tile: one in use, one under way
DEPTH = 16  # products of a sum between two barriers
UNKNOWN = 512  # what a run-time extent is taken for


@dataclass(frozen=True)
class TileShape:
    """A block of `down` x `across` threads with `rows` x `columns` pieces each. `speed`: what of a multiprocessor's arithmetic it reaches
    with enough blocks, an estimate from the reads of shared memory per product."""

    down: int
    across: int
    rows: int
    columns: int
    speed: float

    @property
    def m(self) -> int:
        return self.down * self.rows * PIECE

    @property
    def n(self) -> int:
        return self.across * self.columns * PIECE

    @property
    def threads(self) -> int:
        return self.down * self.across

    @property
    def resident(self) -> int:
        """Blocks that fit with 128 registers for a thread of 64 elements, and fewer for one of fewer."""
        registers = 64 + self.rows * self.columns * PIECE * PIECE
        return max(1, min(8, (64 << 10) // (registers * self.threads)))


SHAPES = (
    TileShape(16, 16, 2, 2, 1.0),
    TileShape(16, 8, 2, 2, 0.9),
    TileShape(8, 16, 2, 2, 0.9),
    TileShape(8, 8, 2, 2, 0.8),
    TileShape(4, 32, 1, 2, 0.55),
    TileShape(8, 8, 1, 1, 0.4),
    TileShape(2, 32, 1, 1, 0.3),
)


@dataclass(frozen=True)
class Product:
    """The loops of a sum of products and its operands: result[batch, rows, n] += other[batch, rows, sums] * panel[batch, sums, n]."""

    group: LoopFacts
    number: int
    panel: OperandFacts
    other: OperandFacts
    result: OperandFacts
    n: str
    rows: tuple[str, ...]
    batch: tuple[str, ...]
    sums: tuple[str, ...]

    @staticmethod
    def of(group: LoopFacts) -> Product | None:
        """The product of a group that computes one, with what comes before and after it in the same tile."""
        products = [n for n, op in enumerate(group.ops) if group.is_product(n) and group.reduced & loops_of(op).keys()]
        if len(products) != 1 or len(operands := group.used(products[0])) != 3:
            return None
        lhs, rhs, result = operands
        loops = loops_of(group.ops[products[0]])
        order = [name for name in loops if name in result.loops]
        sums = tuple(name for name in loops if name not in result.loops)
        n = next((name for name in order if result.step(name) == 1), None)
        if n is None or not set(order) <= group.common or (n in lhs.loops) == (n in rhs.loops):
            return None
        panel, other = (rhs, lhs) if n in rhs.loops else (lhs, rhs)
        if not set(sums) <= panel.loops & other.loops:  # an operand that repeats along a sum is no matrix
            return None
        rows = tuple(name for name in order if name not in panel.loops and name in other.loops)
        batch = tuple(name for name in order if name != n and name not in rows)
        return Product(group, products[0], panel, other, result, n, rows, batch, sums)

    def name(self, operand: OperandFacts) -> str | None:
        return self.group.kernel.name_of(operand.value)

    def all_f32(self) -> bool:
        return all(type_of(o.value).element_type == f32 for operands in self.group.operands for o in operands)

    def is_window(self) -> bool:
        """Is a loop added to another, or multiplied, where an operand is read?"""
        return any([*form.terms.values()] not in ([], [1]) for o in (self.panel, self.other) for form in o.access)

    def k_major(self, operand: OperandFacts, along: str) -> Stage:
        """A tile in shared memory whose rows lie along a loop of the result."""
        axes = [axis for axis, form in enumerate(operand.access) if along in form.terms]
        order = tuple(axis for axis in range(len(operand.access)) if axis not in axes) + tuple(axes)
        transposed = operand.step(along) != 1
        plain = order == tuple(range(len(order)))
        buffers = BUFFERS if type_of(operand.value).element_type == f32 else 1
        return Stage("workgroup", () if plain else order, PIECE if transposed else 0, buffers=buffers)

    def beside(self) -> dict[str, Stage]:
        """What a thread reads and writes of the result's tile, by 16 bytes: operands of what comes after the sum, and results."""
        found: dict[str, Stage] = {}
        factors = {self.name(self.panel), self.name(self.other)}
        for number, operands in enumerate(self.group.operands):
            for operand in operands if number != self.number else ():
                name = self.name(operand)
                if name is not None and name not in factors and operand.step(self.n) == 1:
                    found[name] = Stage("register")
        written = [self.name(o) for o in self.group.results]
        read = [self.name(o) for ops in self.group.operands for o in ops[:-1]]
        return {name: stage for name, stage in found.items() if not (name in written and name in read)}


def contraction(group: LoopFacts, target: CudaTarget) -> Schedule | None:
    """[batch] m n k, all in f32."""
    product = Product.of(group)
    if product is None or not product.all_f32() or product.is_window() or len(product.rows) > 1:
        return None
    if product.name(product.panel) is None or product.name(product.panel) == product.name(product.other):
        return None
    extents = [*group.loops.values()]
    if 0 in extents:
        return None
    if not product.rows:
        return vector_times_matrix(product)
    return tiled(product, best_shape(product, target))


def tiled(product: Product, shape: TileShape) -> Schedule:
    (m,), n = product.rows, product.n
    lhs, rhs = product.name(product.other), product.name(product.panel)
    assert lhs is not None and rhs is not None
    depth = depths(product)
    stages = buffered(product, {lhs: product.k_major(product.other, m), rhs: product.k_major(product.panel, n)}, depth)
    blocks: dict[str, Binding] = {**dict.fromkeys(product.batch, "block.x"), m: "block.x", n: across(product, shape.n)}
    pieces = (Level({m: shape.m // shape.rows, n: shape.n // shape.columns}),) if shape.rows * shape.columns > 1 else ()
    single = {name: 1 for name in product.sums}
    levels = (
        Level({**dict.fromkeys(product.batch, 1), m: shape.m, n: shape.n}, blocks),
        Level(depth, stage=stages),
        Level(single),
        *pieces,
        Level({m: PIECE, n: PIECE}, {m: "thread.y", n: "thread.x"}, dict.fromkeys((lhs, rhs), Stage("register"))),
        Level({m: 1, n: PIECE}, stage=product.beside()),
    )
    return Schedule(levels, Scalar(), shape.resident)


def buffered(product: Product, stages: Mapping[str, Stage], depth: Mapping[str, int]) -> dict[str, Stage]:
    """One buffer for each where the sum is one tile."""
    extents = {name: product.group.fixed(name) for name in product.sums}
    single = all(extent is not None and extent <= depth[name] for name, extent in extents.items())
    return {name: replace(stage, buffers=1) if single else stage for name, stage in stages.items()}


def across(product: Product, columns: int) -> Binding:
    """What tiles of so many columns are given to: of the axes y and z a grid has 65,535 blocks at most."""
    return "block.y" if ceil(size(product, product.n) / columns) <= 65_535 else "block.x"


def depths(product: Product, most: int = DEPTH) -> dict[str, int]:
    """How much of each sum is staged at a time: of the last loop as much as may be, of the others one."""
    found = dict.fromkeys(product.sums, 1)
    if product.sums:
        last = next((s for s in reversed(product.sums) if product.other.step(s) == 1), product.sums[-1])
        extent = product.group.fixed(last)
        found[last] = most if extent is None or extent > most // 2 else max(PIECE, 1 << (extent - 1).bit_length())
    return found


def vector_times_matrix(product: Product) -> Schedule | None:
    """One row: nothing is read twice. A warp has 128 columns where these lie along memory."""
    n, panel = product.n, product.name(product.panel)
    if product.panel.step(n) != 1 or panel is None:
        return None
    blocks: dict[str, Binding] = {**dict.fromkeys((*product.batch, n), "block.x")}
    levels = (
        Level({**dict.fromkeys(product.batch, 1), n: 32 * PIECE}, blocks),
        Level({n: PIECE}, {n: "thread.x"}),
        Level({**dict.fromkeys(product.sums, 1), n: PIECE}, stage={panel: Stage("register")}),
        Level({n: PIECE}, stage=product.beside()),
    )
    return Schedule(levels, Scalar())


def best_shape(product: Product, target: CudaTarget, shapes: Sequence[TileShape] = SHAPES) -> TileShape:
    """The one whose blocks take the least time: rounds of as many blocks as the multiprocessors hold, times the work of a block."""
    (m,) = product.rows
    batch = prod(size(product, name) for name in product.batch)
    rows, columns = size(product, m), size(product, product.n)

    def time(shape: TileShape) -> float:
        blocks = batch * ceil(rows / shape.m) * ceil(columns / shape.n)
        at_once = min(shape.resident, ceil(blocks / target.sms))
        rounds = ceil(blocks / (target.sms * at_once))
        # fewer than 8 warps do not hide how long an operation takes
        hidden = min(1.0, at_once * shape.threads / 256)
        return rounds * at_once * shape.m * shape.n / (shape.speed * hidden)

    return min(shapes, key=lambda shape: (time(shape), -shape.m * shape.n))


def size(product: Product, name: str) -> int:
    extent: Extent = product.group.loops[name]
    return extent if isinstance(extent, int) else UNKNOWN
