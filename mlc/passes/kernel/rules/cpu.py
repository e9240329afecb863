"""The schedule of a kernel on a CPU, from its loops and accesses alone.

    contraction, convolution   panels of the operand along the vector loop, a register tile of rows x vectors
    depthwise, pooling         one vector of channels, several pixels of a row, taps unrolled
    rows                       reductions along the vector loop (softmax, layer norm): one or two rows in flight
    columns                    reductions across the vector loop: eight vectors of columns in registers
    element-wise               the vector loop in long runs
    scalar                     everything else; the kernel's report says why

Figures behind the sizes are from a Zen 4 with AVX-512 and hold for 16 and 8 lanes alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil, prod

from xdsl.dialects import math

from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.kernel import Kernel, element_bytes, loops_of, type_of
from mlc.ir.kernel.schedule import Binding, Level, Scalar, Schedule, Stage, Vector
from mlc.ir.kernel.target import Target
from mlc.passes.kernel.rules.attention_schedule import attention
from mlc.passes.kernel.rules.even_tiles import even
from mlc.passes.kernel.rules.loop_facts import LoopFacts, OperandFacts
from mlc.passes.kernel.rules.winograd_schedule import winograd
from mlc.passes.loops.sums import PIECE, is_sum, long_loop
from mlc.passes.loops.tiling_rule import obstacle

MANY_ROWS = 9  # of a product: with fewer memory decides, and fetching ahead hides nothing
TAPS = 25  # of a window that are unrolled
SQUARES = 16  # of a transpose along one loop, before the next tile
PIXELS = 32  # of an output row, where only the run knows
FEW = 1024  # sums of one tap, below which register tiles take more taps
BLOCK = 256  # products of a sum that are taken before the next tile, and rows of a tile that threads share
DEEP = 256  # products of a sum from which on finding a tile's place by divisions costs next to nothing
CHUNK = 4096  # elements of a run of element-wise work: long enough to pay for a thread's next tile
SHARED = 1024  # of a run that several ops take in turns: what they read and hand on stays in L1


def target(arch: str) -> Target:
    """The CPU of that name: "native" or one of the x86-64 levels. Raises TargetUnavailable for any other."""
    return cpu_target(arch)


def choose(kernel: Kernel, target: Target) -> Schedule:
    """A schedule for a kernel whose loops are merged. Reasons for scalar loops go to kernel.report."""
    group = LoopFacts(kernel)
    if why := group.strange_code():
        kernel.report.append(f"scalar loops: {why}")
        return Schedule((), Scalar())
    if why := group.not_for_vectors():
        kernel.report.append(f"scalar loops: {why}")
        return scalar(group)
    if 0 in group.loops.values():
        return Schedule((), Scalar())
    if found := winograd(group, target):
        return found
    rule = Rule(group, target)
    if found := attention(group, target, rule.shape):
        return found
    if group.integers_alone and not group.folds_bytes:
        if found := rule.transpose():
            return found
        kernel.report.append("scalar loops: of integers alone, which LLVM puts into vectors as long as they are")
        return scalar(group)
    for make in (rule.contraction, rule.rows, rule.window, rule.columns, rule.transpose, rule.elementwise):
        if found := make():
            return found
    apart = len(group.ops) > 1 and not group.common
    why = "its parts have no loop in common" if apart else "no loop runs through the result by unit steps"
    kernel.report.append(f"scalar loops: {why}")
    return scalar(group)


def plain(kernel: Kernel) -> Schedule:
    """Scalar loops, which every kernel has."""
    return scalar(LoopFacts(kernel))


def scalar(group: LoopFacts) -> Schedule:
    """The loops that all ops share become one nest, so that what they hand to each other is one element; the innermost one stays whole where
    rows do, so that LLVM can vectorise it."""
    if not group.ops:
        return Schedule((), Scalar())
    last = group.ops[group.main]
    shared = [name for name in loops_of(last) if name in group.common and name not in group.reduced]
    if len(group.ops) > 1 and group.reduced and shared:
        inner = next((n for n in shared if group.operands[group.main][-1].step(n) == 1), None)
        if inner is not None and len(shared) > 1:
            shared.remove(inner)
    elif len(shared) > 1 or (shared and group.fixed(shared[0]) is not None and len(group.ops) == 1):
        shared = shared[:-1]
    while shared and obstacle(group.ops, shared):
        shared.pop()
    bind: dict[str, Binding] = {}
    for name in shared:  # the outermost loops, as long as every op has them
        bind[name] = "parallel"
    return Schedule((Level(dict.fromkeys(shared, 1), bind),) if shared else (), Scalar())


class Rule:
    def __init__(self, group: LoopFacts, target: Target):
        self.group, self.target = group, target
        wide = any(element_bytes(type_of(o.value).element_type) == 8 for ops in group.operands for o in ops)
        self.bytes = 8 if wide else 4
        self.lanes = target.lanes // 2 if wide else target.lanes
        if group.folds_bytes:
            self.bytes = 1  # of what products read

    # Contractions ----------------------------------------------------------------------------------------------------
    def contraction(self) -> Schedule | None:
        """One sum of products, and what comes before and after it in the same tile."""
        group = self.group
        products = [n for n in range(len(group.ops)) if group.is_product(n) or group.is_product_of_bytes(n)]
        products = [n for n in products if self.reduces(n)]
        if len(products) != 1 or len(operands := group.used(products[0])) != 3:
            return None
        number = products[0]
        lhs, rhs, result = operands
        order = [name for name in loops_of(group.ops[number]) if name in result.loops]
        n = next((name for name in order if self.unit(result, name)), None)
        if n is None or (n in lhs.loops) == (n in rhs.loops):
            return None
        panel, other = (rhs, lhs) if n in rhs.loops else (lhs, rhs)
        rows = [name for name in order if name not in panel.loops and name in other.loops]
        batch = [name for name in order if name != n and name not in rows]
        if not set(order) <= group.common:
            return None
        computed = group.kernel.name_of(panel.value) not in group.kernel.weights
        if (
            computed
            and rows
            and other.step(rows[-1]) == 1
            and (found := self.deep(number, n, rows, batch, panel, other))
        ):
            return found
        window = bool(rows) and self.window_of(other, rows[-1])
        if computed and group.quad(number) and not window:
            rows, batch = rows[-1:], [*batch, *rows[:-1]]
        spatial = len(rows) > 1 or window
        make = self.convolution if spatial else self.product
        return make(number, n, rows, batch, panel, other)

    def reduces(self, number: int) -> bool:
        return bool(set(loops_of(self.group.ops[number])) & self.group.reduced)

    def unit(self, operand: OperandFacts, loop: str) -> bool:
        return operand.step(loop) == 1

    def window_of(self, operand: OperandFacts, loop: str) -> bool:
        """Is the loop added to another where it indexes?"""
        return any(loop in form.terms and len(form.terms) > 1 for form in operand.access)

    def depth(self, number: int) -> int | None:
        """How many products a sum has, if that is known."""
        extents = [self.group.loops[name] for name in loops_of(self.group.ops[number]) if name in self.group.reduced]
        return prod(e for e in extents if isinstance(e, int)) if all(isinstance(e, int) for e in extents) else None

    def registers(self, vectors: int) -> int:
        """Rows of accumulators beside `vectors` of the panel and one broadcast: one row more spills, and loses up to 70 %."""
        return max(1, (self.target.registers - 2 - vectors) // vectors)

    def shape(self, rows: int | None, n: int | None, aliased: bool) -> tuple[int, int]:
        """The register tile: rows x vectors. 14x2 or 6x4 of 32 registers, 6x2 of 16. `aliased`: rows of the other operand fall on one set of
        L1, so that few rows are better; fewer than 4 rows take wider panels, because an fma needs 4 others in flight."""
        wide = self.target.registers >= 32
        vectors = 4 if wide and aliased else 2
        if wide and self.bytes == 1 and rows is None:
            vectors = 4  # a single row has as many sums in flight
        elif wide and self.bytes == 1 and n is not None and n % (3 * self.lanes) == 0:
            vectors = 3  # of bytes 9x3 reads a weight beyond L2 at 1,020 GOP/s, 14x2 at 940
        if n is not None:
            vectors = max(1, min(vectors, ceil(n / self.lanes)))
        most = min(self.registers(vectors), 14)
        if rows is None:
            return most, vectors
        tall = even(rows, most)
        if tall < 4:
            wider = max(vectors, ceil(8 / tall) if wide else ceil(6 / tall))
            vectors = min(wider, ceil(n / self.lanes)) if n is not None else wider
            tall = even(rows, min(most, self.registers(vectors)))
        return tall, vectors

    def beyond_l2(self, weight: int) -> bool:
        """Does a weight of so many bytes leave L2 while rows stream by?"""
        return weight > self.target.l2 * 2 // 5

    def ahead(self, staged: Mapping[str, Stage], tiles: int) -> dict[str, Stage]:
        """The weight, whose next panel `tiles` tiles of rows fetch while they use one, each a share. Where only the run knows how many there
        are, as many as a row of the panel has vectors: then a step of the sums asks for one line."""
        shares = min(1 << max(tiles, 1).bit_length() - 1, self.lanes)
        return {name: replace(stage, ahead=shares) for name, stage in staged.items()}

    def stage(self, number: int, n: str, panel: OperandFacts, many_rows: bool) -> dict[str, Stage]:
        """A weight is packed at compile time. A computed operand is copied where that pays: always if n is strided in it."""
        name = self.group.kernel.name_of(panel.value)
        if name is None:
            return {}
        if name in self.group.kernel.weights:
            return self.along(n, panel, self.group.quad(number))
        if self.group.quad(number):  # its bytes lie as they are read
            return {}
        if any(form.loop() is None and form.terms for form in panel.access):
            return {}
        return self.copied(number, n, panel) if not self.unit(panel, n) or (many_rows and self.aliased(panel)) else {}

    def copied(self, number: int, n: str, panel: OperandFacts) -> dict[str, Stage]:
        """A copy of what a tile reads of the operand, if its size is known."""
        return {} if self.depth(number) is None else self.along(n, panel)

    def along(self, n: str, panel: OperandFacts, quad: str | None = None) -> dict[str, Stage]:
        """The operand in panels whose rows lie along loop n, which runs through one of its axes, and within along a quad of bytes."""
        name = self.group.kernel.name_of(panel.value)
        axes = [axis for axis, form in enumerate(panel.access) if n in form.terms]
        if name is None or len(axes) != 1 or panel.access[axes[0]].loop() != n:
            return {}
        axes += [axis for axis, form in enumerate(panel.access) if quad in form.terms]
        order = tuple(a for a in range(len(panel.access)) if a not in axes) + tuple(axes)
        return {name: Stage("panel", () if order == tuple(range(len(order))) else order)}

    def aliased(self, operand: OperandFacts) -> bool:
        """Do its rows begin at multiples of 2048 bytes?"""
        steps = [operand.step(loop) for loop in operand.loops]
        return any(step is not None and step > 1 and step * self.bytes % 2048 == 0 for step in steps)

    def product(
        self, number: int, n: str, rows: list[str], batch: list[str], panel: OperandFacts, other: OperandFacts
    ) -> Schedule | None:
        """[batch] m n k: n in panels, m in the rows of a register tile."""
        group, depth = self.group, self.depth(number)
        m = rows[0] if rows else None
        count = 1 if m is None else group.fixed(m)
        columns = group.fixed(n)
        if depth is None and columns is None:
            count = None
        step = other.step(m) if m else None
        aliased = bool(step) and step is not None and step * self.bytes % 2048 == 0 and (columns or 0) >= 4 * self.lanes
        tall, vectors = self.shape(count, columns, aliased)
        staged = self.stage(number, n, panel, count is None or count >= 4 * tall)
        weight = (depth or 0) * (columns or 0) * self.bytes
        streams = self.beyond_l2(weight) and bool(staged) and self.packed(staged)
        streams = streams and (count is None or count >= MANY_ROWS)
        if streams and count is not None and self.target.registers >= 32 and (columns or 0) % (3 * self.lanes) == 0:
            tall, vectors = even(count, self.registers(3)), 3  # as fast as 14 x 2 vectors, and rows are read less often
        outer = dict.fromkeys(batch, 1)
        width = vectors * self.lanes
        panels = 1 if columns is None else ceil(columns / width)
        leaf = Vector((n,), self.lanes, (*batch, *([m] if m else []), n))
        tile = (Level({m: tall}),) if m else ()
        levels: dict[str, int] = {**outer, n: width}
        in_l2 = max(1, (self.target.l2 * 3 // 4) // (self.bytes * depth * tall)) if depth else 0  # tiles of rows
        if m and count is not None and depth:
            rows_of_all = count * depth * self.bytes
            blocks = ceil(count / (in_l2 * tall))
            if streams and rows_of_all <= 3 * self.target.l2:
                blocks = 1  # rows come from L3 one after the other, which costs less than the weight once more
            if not batch and panels * blocks < 8:
                blocks = min(ceil(count / tall), max(blocks, ceil(8 / panels)))
            if blocks > 1:
                levels = {m: ceil(ceil(count / tall) / blocks) * tall, **levels}
            if streams:
                staged = self.ahead(staged, ceil(levels.get(m, count) / tall))
        elif m and count is None and not batch and panels < 8:
            order = {**levels, m: tall} if not weight or self.beyond_l2(weight) else {m: tall, **levels}
            if staged and not self.packed(staged):
                return self.bound([Level(levels, stage=staged), *tile], leaf)
            levels, tile = order, ()
            staged = self.ahead(staged, vectors) if streams else staged
        elif m and count is None and not batch and (depth or 0) >= DEEP and self.packed(staged):
            staged = self.ahead(staged, vectors) if streams else staged
            return self.bound([Level({**levels, m: tall}, stage=staged, block=in_l2)], leaf)
        return self.bound([Level(levels, stage=staged), *tile], leaf)

    def packed(self, staged: dict[str, Stage]) -> bool:
        return all(name in self.group.kernel.weights for name in staged)

    def convolution(
        self, number: int, n: str, rows: list[str], batch: list[str], panel: OperandFacts, other: OperandFacts
    ) -> Schedule | None:
        """[batch] (image) oh ow oc kh kw.ic: a tile is a piece of an output row, or several whole short rows."""
        group = self.group
        *images, row, pixel = rows if len(rows) > 1 else ["", *rows]
        width, height = group.fixed(pixel), group.fixed(row) if row else 1
        columns = group.fixed(n)
        step = other.step(pixel)
        aliased = step is not None and step * self.bytes % 2048 == 0
        few = (
            width is None or height is None
        )  # with 4 vectors a run-time width takes code for 6 lengths of a tile, not 14
        tall, vectors = self.shape(None if few else width, columns, aliased or few)
        most = tall
        if width is not None and height is not None:
            # 8 ways of L1: 7x2 ran at 116 GFLOP/s where pixels are 2048 bytes apart, 6x4 at 109
            vectors = min(vectors, 2) if aliased else vectors
            most = min(self.registers(vectors), 7 if aliased else 14)
        lines = 1 if width is None or height is None else min(height, max(1, most // max(width, 1)))
        across = tall if width is None else even(width, most)
        leaf = Vector((n,), self.lanes, (*images, *batch, *([row] if row else []), pixel, n))
        single = dict.fromkeys(images, 1)
        tile = Level({**({row: lines} if row else {}), pixel: across})
        channels = {**dict.fromkeys(batch, 1), n: vectors * self.lanes}
        if group.kernel.name_of(panel.value) not in group.kernel.weights:
            return self.computed_window(number, n, images, channels, panel, tile, leaf)
        staged = self.stage(number, n, panel, True)
        depth = self.depth(number)
        weight = (depth or 0) * (columns or 0) * self.bytes * prod(group.fixed(b) or 1 for b in batch)
        line = {row: lines} if row else {}
        if height is None and self.beyond_l2(weight):  # a block of rows stays in L2, and the weight is read once for it
            rows_in_l2 = max(2, self.target.l2 // 2 // (PIXELS * max(1, step or 1) * self.bytes))
            if (
                self.target.registers >= 32
            ):  # deep layers have short rows: one tile, or two, where 6 pixels would take 3
                channels[n], tile = min(channels[n], 2 * self.lanes), Level({row: lines, pixel: 10})
            return self.bound([Level({**single, **channels, **line}, stage=staged, block=rows_in_l2), tile], leaf)
        if height is None or not self.beyond_l2(weight):
            first = {**single, **line}
            return self.bound([*([Level(first)] if first else []), Level(channels, stage=staged), tile], leaf)
        row_bytes = (other.step(row) if row else 0) or 1
        in_l2 = max(1, (self.target.l2 // 4) // (row_bytes * self.bytes * lines)) * lines
        blocks = ceil(height / in_l2)
        block = {row: ceil(ceil(height / lines) / blocks) * lines} if row and blocks > 1 else {}
        tiles = vectors if width is None else ceil(block.get(row, height) / lines) * ceil(width / across)
        staged = self.ahead(staged, tiles)
        return self.bound([Level({**single, **block, **channels}, stage=staged), tile], leaf)

    def computed_window(
        self,
        number: int,
        n: str,
        images: list[str],
        channels: dict[str, int],
        panel: OperandFacts,
        tile: Level,
        leaf: Vector,
    ) -> Schedule | None:
        """A convolution whose weight is known at run time: each panel of it is copied, for as many images as leave every thread enough tiles."""
        staged = self.copied(number, n, panel)
        if (not staged and not self.unit(panel, n)) or self.group.quad(number):
            return None
        tiles = prod(ceil((self.group.fixed(name) or size) / size) for name, size in channels.items())
        share = {name: 1 for name in images}
        if images and (count := self.group.fixed(images[0])) is not None:
            share[images[0]] = ceil(count / ceil(8 / tiles)) if count else 1
        single = Level({**dict.fromkeys(images, 1), **tile.tiles})
        return self.bound([Level({**share, **channels}, stage=staged), single], leaf)

    def deep(
        self, number: int, n: str, rows: list[str], batch: list[str], panel: OperandFacts, other: OperandFacts
    ) -> Schedule | None:
        """Long sums over rows of both operands, as gradients of weights are: [batch] m n k, where m lies along memory as n does.

        Sums are taken by blocks of products, so that what a tile reads of both operands stays in a cache while its register tiles run over
        it; between blocks they are in memory. Both operands are read in place, but for a product whose block is read often: that has panels.
        """
        *outer, m = rows
        sums = [name for name in loops_of(self.group.ops[number]) if name in self.group.reduced]
        height, columns, depth = self.group.fixed(m), self.group.fixed(n), self.depth(number)
        if height is None or columns is None or not self.unit(panel, n) or (depth is not None and depth < 2 * BLOCK):
            return None
        product = not batch and not outer
        tall, vectors = self.shape(height, columns, product and depth is not None and self.aliased(other))
        width = vectors * self.lanes
        leaf = Vector((n,), self.lanes, (*batch, *outer, m, n))
        if product:
            wide = BLOCK if ceil(height / BLOCK) * ceil(columns / BLOCK) >= 8 else BLOCK // 2
            share = {m: even(height, BLOCK), n: min(width * self.few(n, max(1, wide // width), width), columns)}
            staged = self.copied(number, n, panel) if height >= 6 * tall else {}
            inner = [Level({n: width}, stage=staged), Level({m: tall})] if staged else [Level({n: width, m: tall})]
            return self.bound([Level(share), self.blocks(sums, BLOCK // 2), *inner], leaf)
        tile = {**dict.fromkeys((*batch, *outer), 1), n: width, m: tall}
        if height * columns >= FEW:
            share = {**dict.fromkeys((*batch, *outer), 1), m: even(height, BLOCK), n: min(2 * width, columns)}
        else:  # groups of few channels: several of them lie in a cache line, and the rows of more than one tap fill the registers
            share = {name: self.few(name, 4 * self.lanes // columns) for name in batch} | {m: height, n: columns}
            if outer and (taps := self.group.fixed(outer[-1])) is not None:
                tile[outer[-1]] = even(taps, max(1, self.registers(vectors) // tall))
        return self.bound([Level(share), self.blocks(sums, BLOCK), Level(tile)], leaf)

    def few(self, loop: str, most: int, of: int = 1) -> int:
        """About `most` tiles of `of` elements, so that a loop's are shared evenly."""
        extent = self.group.fixed(loop)
        return max(1, most) if extent is None else even(ceil(extent / of), max(1, most))

    def blocks(self, sums: list[str], left: int) -> Level:
        """About `left` products of a long sum."""
        found: dict[str, int] = {}
        for name in reversed(sums):
            extent = self.group.fixed(name)
            size = min(left, extent) if extent is not None else left
            found[name] = even(extent, size) if extent else size
            left = max(1, left // max(size, 1))
        ragged = any(self.group.fixed(name) is None and size > 1 for name, size in found.items())
        return Level({name: found[name] for name in sums}, ragged=ragged)

    # Windows ---------------------------------------------------------------------------------------------------------
    def window(self) -> Schedule | None:
        """Depthwise convolution and pooling: the vector loop is in every operand, reductions run over a few taps."""
        group = self.group
        if not group.results or not group.reduced:
            return None
        result = group.results[-1]
        c = next((name for name in group.common if self.unit(result, name)), None)
        taps = [name for name in group.loops if name in group.reduced]
        if c is None or c in group.reduced:
            return None
        sizes = [group.fixed(name) for name in taps]
        wide = [name for name in loops_of(group.ops[group.main]) if name in group.common and name != c]
        moved = [w for w in wide for ops in group.operands for o in ops if self.window_of(o, w)]
        if not moved:
            return None
        spots = [group.fixed(name) for name in wide]
        known = [size for size in sizes if size is not None]
        if (
            all(spots)
            and prod(filter(None, spots)) <= self.registers(1)
            and (len(known) < len(sizes) or prod(known) >= 2 * BLOCK)
        ):
            # the gradient of a depthwise weight: all of its taps in registers, over blocks of pixels
            leaf = Vector((c,), self.lanes, (*wide, c))
            # two vectors of channels use pairs of cache lines: 1.07 to 1.25 times one
            vectors = 2 if 2 * prod(filter(None, spots)) + 4 <= self.target.registers else 1
            across = min(vectors, ceil((group.fixed(c) or 2 * self.lanes) / self.lanes)) * self.lanes
            share = self.few(c, 4 * self.lanes // across, across) * across
            return self.bound([Level({c: share}), self.blocks(taps, BLOCK), Level({c: across})], leaf)
        if len(known) < len(sizes):
            return None
        pixel = moved[-1] if wide[-1] not in moved else wide[-1]
        unrolled = taps if prod(s for s in sizes if s is not None) <= TAPS else []
        outer = [name for name in wide if name != pixel]
        levels = [Level(dict.fromkeys(outer, 1))] if outer else []
        most = 7 if self.target.registers >= 32 else 4
        extent = group.fixed(pixel)
        levels += [Level({c: self.lanes}), Level({pixel: most if extent is None else even(extent, most)})]
        return self.bound(levels, Vector((c,), self.lanes, (*outer, pixel, c, *unrolled)))

    # Rows and columns ------------------------------------------------------------------------------------------------
    def rows(self) -> Schedule | None:
        """Reductions along a loop that runs through memory, and element-wise work on the same rows. Where everything is reduced, loops that
        could not be merged with it go around the leaf."""
        group = self.group
        candidates = [c for c in group.loops if c in group.reduced and group.steps_by_one(c)]
        whole = group.reduced == set(group.loops)
        if group.folds_bytes or not candidates or (len(candidates) > 1 and not whole):
            return None
        col = candidates[-1]
        others = [] if whole else [name for name in group.loops if name != col]
        if any(name in group.reduced for name in others):
            return None
        shared = [name for name in loops_of(group.ops[group.main]) if name in group.common and name != col]
        if set(others) != set(shared):
            return None
        columns = group.fixed(col)
        wide = self.target.registers >= 32
        short, long = (10, 24) if wide else (4, 10)
        *outer, row = shared or [""]
        unroll = tuple(name for name in (*outer, row) if name)
        single = dict.fromkeys([name for name in outer if name], 1)

        def plan(count: int, in_registers: bool, interleave: int = 1, fits: int = 0) -> Schedule:
            leaf = Vector((col,), self.lanes, (*unroll, col) if in_registers else unroll, interleave)
            level = [Level({**single, **({row: count} if row else {})})] if unroll else []
            return self.bound([*([Level({col: fits}, fits=True)] if fits else []), *level], leaf)

        exponential = group.has(math.ExpOp)
        if columns is None:
            return plan(2, True, 2, (8 if wide else 4) * self.lanes)
        if columns <= short * self.lanes:
            return plan(2, True)
        if columns <= long * self.lanes and exponential:
            return plan(1, True)
        return plan(1, False, 4) if exponential else plan(2, False, 2)

    def columns(self) -> Schedule | None:
        """Reductions across the vector loop: columns in registers, rows run."""
        group = self.group
        c = self.vector_loop()
        if not group.reduced or c is None or c in group.reduced:
            return None
        outer = [name for name in loops_of(group.ops[group.main]) if name in group.common and name != c]
        if set(group.loops) - {c, *outer} - group.reduced:
            return None
        extent = group.fixed(c)
        vectors = 8 if self.target.registers >= 32 else 4
        if extent is not None:
            vectors = min(vectors, ceil(extent / self.lanes) or 1)
        level = Level({**dict.fromkeys(outer, 1), c: vectors * self.lanes})
        return self.bound([level], Vector((c,), self.lanes, (*outer, c)))

    def vector_loop(self) -> str | None:
        """The loop that every result of the kernel steps along by one."""
        found = [name for name in self.group.common if all(self.unit(r, name) for r in self.group.results)]
        return found[0] if found and self.group.results else None

    def transpose(self) -> Schedule | None:
        """Squares of as many elements as a vector has, read along one loop and written along another."""
        group = self.group
        if group.reduced or (i := self.vector_loop()) is None or set(group.loops) != group.common:
            return None
        if (other := self.transposes(i)) is None:
            return None
        extent = group.fixed(i)
        tiles = {name: 1 for name in loops_of(group.ops[group.main]) if name not in (i, other)}
        wide = SQUARES if extent is None else min(SQUARES, ceil(extent / self.lanes))
        tiles |= {other: self.lanes, i: wide * self.lanes}
        return self.bound(
            [Level(tiles, ragged=True)], Vector((i,), self.lanes, tuple(name for name in tiles if name != i))
        )

    def elementwise(self) -> Schedule | None:
        group = self.group
        if group.reduced or (i := self.vector_loop()) is None or set(group.loops) != group.common:
            return None
        *outer, row = [name for name in loops_of(group.ops[group.main]) if name != i] or [""]
        extent = group.fixed(i)
        run = CHUNK if len(group.ops) == 1 else SHARED
        tiles = {name: 1 for name in outer if name}
        if row:
            rows = group.fixed(row)
            tiles[row] = max(1, run // max(extent or run, 1))
            tiles[row] = tiles[row] if rows is None else min(tiles[row], rows)
        if extent is None or extent > 2 * run:
            tiles[i] = run
        short = extent is not None and extent <= 8 * self.lanes
        leaf = Vector((i,), self.lanes, (*(n for n in outer if n), *((i,) if short else ())), 4)
        return self.bound([Level(tiles, ragged=True)] if tiles else [], leaf)

    def transposes(self, i: str) -> str | None:
        """The loop along which an operand lies that moves in strides along the vector loop."""
        for operand in (o for operands in self.group.operands for o in operands if o.step(i) not in (0, 1)):
            for name in (name for name in operand.loops if name != i):
                extent = self.group.fixed(name)
                if self.unit(operand, name) and extent is not None and extent >= 4:
                    return name
        return None

    # Threads ---------------------------------------------------------------------------------------------------------
    def bound(self, levels: list[Level], leaf: Vector) -> Schedule:
        """The tiles of the first level are shared among threads, if every op is in them. Long sums are taken by pieces."""
        summed = [
            loops_of(op)[name]
            for op in self.group.ops
            if is_sum(op)
            for name in loops_of(op)
            if name in self.group.reduced
        ]
        if any(long_loop(extent, PIECE) for extent in summed):
            leaf = replace(leaf, pieces=PIECE)
        first = next((n for n, level in enumerate(levels) if not level.fits), None)
        if first is not None and (first == 0 or self.only_fits(levels[:first])):
            level = levels[first]
            if set(level.tiles) <= self.group.common and not obstacle(self.group.ops, list(level.tiles)):
                shared: dict[str, Binding] = {name: "parallel" for name in level.tiles}
                levels[first] = replace(level, bind=shared)
        levels = [
            level if level.bind else replace(level, block=0) for level in levels
        ]  # blocks are of tiles that are shared
        return Schedule(tuple(levels), leaf)

    def only_fits(self, levels: list[Level]) -> bool:
        return all(level.fits for level in levels)
