"""Apply one level of a schedule: tile runs of structured ops together, stage their operands, bind their loops.

    linalg.generic {loops = {m = 128, n = 768}} outs(%t)                       // fill
    linalg.generic {loops = {m = 128, n = 768, k = 768}} ins(%A, %B) outs(%t)
    linalg.generic {loops = {m = 128, n = 768}} ins(%t, %bias) outs(%D)
->  Level(m = 13)
    scf.for %m = 0 to 117 step 13 {
      %A1 = memref.subview %A[%m, 0] [13, 768];  %D1 = ...;  %t1 = memref.alloc() : memref<13x768xf32>
      linalg.generic {loops = {m = 13, n = 768}} outs(%t1) ...
    }
    ... the same ops over the last 11 rows

Neighbouring ops that have all the loops of the level form a run and share its tile loops: this fuses the epilogue, and a temporary
that only the run uses shrinks to a tile. Partial tiles are peeled, so that every size stays static, or guarded, where the target says so: a
view of run-time size that the leaf stops at. Run-time extents: pieces.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from xdsl.dialects import arith, gpu, memref, scf
from xdsl.dialects.builtin import DYNAMIC_INDEX, ArrayAttr, IntegerAttr, StringAttr, UnitAttr, i64
from xdsl.dialects.linalg.attrs import IteratorType
from xdsl.dialects.linalg.ops import GenericOp, IndexOp
from xdsl.ir import Operation, Region, SSAValue
from xdsl.rewriter import InsertPoint

from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.kernel.access import Affine, write_map
from mlc.ir.kernel.extents import tile_count
from mlc.ir.kernel.kernel import Kernel, allocation, erase, loops_attr, loops_of, space_of, type_of
from mlc.ir.kernel.located import Builder, located
from mlc.ir.kernel.schedule import Level, Stage
from mlc.ir.kernel.target import Target
from mlc.passes.loops.ahead import fetch, share
from mlc.passes.loops.binds import bound_offsets, marked
from mlc.passes.loops.pieces import Pieces, short_or_long
from mlc.passes.loops.pixel_windows import gathered, is_window
from mlc.passes.loops.privatise import privatise
from mlc.passes.loops.refused import Refused
from mlc.passes.loops.scf_blocks import branch, for_loop
from mlc.passes.loops.stage import copy, loop_along, packed, staged
from mlc.passes.loops.tile_view import Part, Size, Slice, accesses, add, scaled, slice_of, subview, valid_sizes, within
from mlc.passes.loops.tiling_rule import obstacle

NOTHING: Mapping[str, int] = MappingProxyType({})
UNROLLED = 16  # steps of a loop over tiles that is written out on a GPU


def tile(
    kernel: Kernel, level: Level, lanes: Mapping[str, int], target: Target, ahead: Mapping[str, int] = NOTHING
) -> None:
    """`lanes`: the loops that the leaf will spread over so many lanes; `ahead`: the weights of whose next panel each tile fetches one of so many
    shares."""
    before = dict(kernel.buffers)
    for run in list(runs(kernel.op, level)):
        TileRun(kernel, level, lanes, target, run, ahead).rewrite()
    if level.on_grid:
        privatise(kernel)
    for name, old in before.items():
        if old is not kernel.buffers[name] and any(_reads(use.operation) for use in old.uses):
            raise Refused(f"{level}: weight '{name}' is packed for some of its readers only")


def _reads(op: Operation) -> bool:
    """Does an op look at a buffer, itself or through a view?"""
    if isinstance(op, memref.CollapseShapeOp | memref.SubviewOp):
        return any(_reads(use.operation) for use in op.results[0].uses)
    return True


def runs(root: Operation, level: Level) -> Iterator[list[GenericOp]]:
    """Structured ops with nothing between them that have all the loops of this level, of the same extents."""
    for region in root.regions:
        for block in region.blocks:
            run: list[GenericOp] = []
            for op in block.ops:
                mine = isinstance(op, GenericOp) and (level.fits or level.covers(loops_of(op)))
                mine = mine and not between_memories(op)
                if run and not (mine and _alike(run[0], op, level)):
                    yield run
                    run = []
                if mine and isinstance(op, GenericOp):
                    run = [*run, op]
                elif not isinstance(op, GenericOp):
                    yield from runs(op, level)
            if run:
                yield run


def _alike(first: Operation, second: Operation, level: Level) -> bool:
    """Do the loops of a level have one extent in both ops, where both have them?"""
    one, other = loops_of(first), loops_of(second)
    return all(one[name] == other[name] for name in level.tiles if name in one and name in other)


class TileRun:
    def __init__(
        self,
        kernel: Kernel,
        level: Level,
        lanes: Mapping[str, int],
        target: Target,
        run: list[GenericOp],
        ahead: Mapping[str, int] = NOTHING,
    ):
        self.kernel, self.level, self.lanes, self.target, self.run = kernel, level, lanes, target, run
        self.ahead = ahead
        self.guarded = target.lowering.partial == "guard"
        self.on_grid = level.on_grid or bool(kernel.launch)
        self.turn: tuple[SSAValue, int] | None = None  # position and step of the innermost loop over tiles
        self.repeated = in_loop(run[0])  # does the code of a tile run again and again?
        self.offsets: dict[str, SSAValue] = {}  # where this block's or thread's tile of a loop begins
        self.extents = {name: extent for op in run for name, extent in loops_of(op).items()}
        self.valid: dict[str, SSAValue] = {name: size for op in run for name, size in valid_sizes(op).items()}
        self.temporaries = {
            value
            for op in run
            for value in op.operands
            if isinstance(value.owner, memref.AllocOp)
            and not {"constant", "stages"} & value.owner.attributes.keys()
            and all(use.operation in run for use in value.uses)
        }

    def rewrite(self) -> None:
        """The loops over tiles come from the op that has most loops."""
        with located(max(self.run, key=lambda op: len(loops_of(op)))):
            self._rewrite()

    def _rewrite(self) -> None:
        names = [name for name in self.level.tiles if name in self.extents and self.concerns(name)]
        if not names:
            for op in self.run if self.ahead else ():  # one tile of rows: it fetches every share that it has
                self.fetch_share(Builder(InsertPoint.before(op)), op, {})
            return
        if not self.level.fits and (why := obstacle(self.run, names, self.level.beside)):
            raise Refused(f"{self.level}: cannot tile ops together: {why}")
        builder = Builder(InsertPoint.before(self.run[0]))
        if self.on_grid:
            sizes = {name: self.size(name) for name in names}
            self.offsets = bound_offsets(self.kernel, self.level, names, self.extents, sizes)
        shared = [name for name in names if self.level.bind.get(name) == "parallel"]
        if shared:
            rest = [name for name in names if name not in shared]
            self.parallel(builder, shared, lambda b, parts: self.nest(rest, b, parts))
        else:
            self.nest(names, builder, {})
        allocs = {value.owner for value in self.temporaries}
        erase([*(op for op in allocs if isinstance(op, Operation)), *self.run])

    def concerns(self, name: str) -> bool:
        extent = self.extents[name]
        if self.level.fits:
            return isinstance(extent, Dim)
        whole = isinstance(extent, int) and extent <= self.size(name)
        return not whole or name in self.level.bind or bool(self.level.stage)

    def size(self, name: str) -> int:
        """A peeled tile is never larger than its loop; on a grid all tiles are of one size."""
        extent, size = self.extents[name], self.level.tiles[name]
        return size if self.on_grid or isinstance(extent, Dim) else min(size, max(extent, 1))

    # Loops -----------------------------------------------------------------------------------------------------------
    def nest(self, names: Sequence[str], b: Builder, parts: Mapping[str, Part]) -> None:
        if not names:
            self.body(b, parts)
            return
        name, rest = names[0], names[1:]
        extent, size = self.extents[name], self.size(name)

        def inner(b: Builder, offset: Size, size: int, valid: Size | None = None) -> None:
            self.nest(rest, b, {**parts, name: Part(offset, size, size if valid is None else valid, size)})

        if self.level.fits:
            assert isinstance(extent, Dim)
            unit = self.lanes.get(name, 1)
            short_or_long(self.kernel, b, extent, size, unit, inner, lambda b: self.nest(rest, b, parts))
        elif self.on_grid:
            self.tile_on_grid(b, name, inner)
        elif name in self.valid:
            total = self.valid[name]
            self.loop(
                b, name, total, size, lambda b, offset: inner(b, offset, size, self.least(b, name, total, offset, size))
            )
        elif isinstance(extent, Dim) and self.ragged(name):
            const = self.kernel.const

            def ragged(b: Builder, number: SSAValue) -> None:
                self.nest(rest, b, {**parts, name: self.part_of(b, name, number)})

            b.insert(for_loop(const(0), self.count_value(name), const(1), name, ragged))
        elif isinstance(extent, Dim):
            self.pieces(name).all(b, inner)
        elif self.guarded and extent % size:
            total = self.kernel.extent(extent)
            self.loop(b, name, total, size, lambda b, iv: inner(b, iv, size, self.least(b, name, total, iv, size)))
        else:
            whole = extent // size * size
            if whole == size:
                inner(b, 0, size)
            elif whole:
                self.loop(b, name, whole, size, lambda b, iv: inner(b, iv, size))
            if whole < extent:
                inner(b, whole, extent - whole)

    def tile_on_grid(self, b: Builder, name: str, inner: Callable[..., None]) -> None:
        """One code for all tiles; loops have as many steps as they would without an end inside, so that they can be unrolled."""
        extent, size = self.extents[name], self.size(name)
        whole = name not in self.valid and isinstance(extent, int) and extent % size == 0

        def tile(b: Builder, offset: SSAValue) -> None:
            if whole:
                inner(b, offset, size)
                return
            total = self.valid.get(name) or self.kernel.extent(extent)
            block = self.level.bind.get(name, "").startswith("block")
            if size > 1 and name in self.lanes:  # whole vectors are moved as such
                end = b.insert(arith.AddiOp(offset, self.kernel.const(size))).result
                full = b.insert(arith.CmpiOp(end, total, "sle")).result
                left = self.least(b, name, total, offset, size)
                part = left if self.begins_inside(name) else self.at_least_none(b, name, left)
                yes, no = (branch(lambda b, valid=v: inner(b, offset, size, valid)) for v in (size, part))  # type: ignore[misc]
                b.insert(scf.IfOp(full, [], [yes], [no]))
            elif size > 1:
                left = self.least(b, name, total, offset, size)
                if block and b.insertion_point.block is self.kernel.block and isinstance(left.owner, Operation):
                    left.owner.attributes["partial"] = StringAttr(name)
                    self.kernel.partial[name] = left
                inner(b, offset, size, left if self.begins_inside(name) else self.at_least_none(b, name, left))
            elif self.begins_inside(name):
                inner(b, offset, size)
            else:
                there = b.insert(arith.CmpiOp(offset, total, "slt")).result
                b.insert(scf.IfOp(there, [], [branch(lambda b: inner(b, offset, size))]))

        if name in self.offsets:
            tile(b, self.offsets[name])
        elif whole and extent == size:
            inner(b, 0, size)
        else:
            stop = extent if isinstance(extent, int) else self.kernel.extent(extent)
            self.loop(b, name, stop, size, tile)

    def begins_inside(self, name: str) -> bool:
        """Does every tile hold some of the loop? Tiles of a tile that is there in part may lie behind its end."""
        return name not in self.valid

    def at_least_none(self, b: Builder, name: str, left: SSAValue) -> SSAValue:
        found = b.insert(arith.MaxSIOp(left, self.kernel.const(0))).result
        found.name_hint = left.name_hint
        return found

    def ragged(self, name: str) -> bool:
        return self.level.ragged and not isinstance(self.extents[name], int) and self.size(name) > 1

    def part_of(self, b: Builder, name: str, number: SSAValue) -> Part:
        """Tile `number` of a ragged level: all of its size, or what is left."""
        size, const = self.size(name), self.kernel.const
        offset = b.insert(arith.MuliOp(number, const(size))).result
        left = b.insert(arith.SubiOp(self.kernel.extent(self.extents[name]), offset)).result
        valid = b.insert(arith.MinSIOp(left, const(size))).result
        return Part(offset, size, valid, self.kernel.local_extent(name, valid))

    def pieces(self, name: str) -> Pieces:
        extent, size = self.extents[name], self.size(name)
        assert isinstance(extent, Dim)
        if size > 1 and not self.kernel.local.keys().isdisjoint(extent.symbols()):
            raise Refused(f"{self.level}: loop {name} is a partial tile already")
        return Pieces(self.kernel, name, extent, size, self.unit(name, size))

    def unit(self, name: str, size: int) -> int:
        """A run-time loop across the lanes is cut into whole vectors."""
        lanes = self.lanes.get(name, 1)
        return lanes if size % lanes == 0 else 1

    def loop(self, b: Builder, name: str, stop: Size, step: int, fill: Callable[[Builder, SSAValue], None]) -> None:
        const, self.repeated = self.kernel.const, True

        def inner(b: Builder, iv: SSAValue) -> None:
            self.turn = iv, step
            fill(b, iv)

        loop = for_loop(const(0), const(stop) if isinstance(stop, int) else stop, const(step), name, inner)
        staged = any(stage.space == "workgroup" for stage in self.level.stage.values())
        if self.on_grid and not staged and isinstance(stop, int) and stop <= UNROLLED * step:
            loop.attributes["unroll"] = UnitAttr()  # registers have no addresses
        b.insert(loop)

    def least(self, b: Builder, name: str, total: SSAValue, offset: SSAValue, size: int) -> SSAValue:
        """min(size, what is left) of a loop that ends inside a tile."""
        rest = b.insert(arith.SubiOp(total, offset)).result
        valid = b.insert(arith.MinSIOp(rest, self.kernel.const(size))).result
        valid.name_hint = f"{name.replace('.', '_')}_valid"
        return valid

    def parallel(self, b: Builder, names: Sequence[str], fill: Callable[[Builder, Mapping[str, Part]], None]) -> None:
        """Threads take ranges [begin, end) of the tiles of several loops, the last loop's fastest.

        scf.for %c = %begin to %end { %n = %c / 24, %m = %c % 24; tile (%n, %m) }

        In blocks of 8 of the last loop, which has 20, beside 10 of the others:
        %block = %c / 80;  %height = min(8, 20 - 8 * %block);  %n = %c % 80 / %height,  %m = 8 * %block + %c % 80 % %height
        """
        self.whole_kernel(names)
        count = dims.prod(tile_count(self.extents[name], self.size(name)) for name in names)
        if self.kernel.tiles not in (None, count):
            raise Refused(f"{self.level}: threads would share {self.kernel.tiles} tiles and {count}")
        begin, end = self.kernel.tile_range(count)

        def body(b: Builder, number: SSAValue) -> None:
            numbers = {names[0]: number}
            others = list(names)
            if self.level.block:
                last = others.pop()
                numbers[names[0]], numbers[last] = self.blocked(b, number, others, last)
            for name in reversed(others[1:]):
                count = self.count_value(name)
                numbers[name] = b.insert(arith.RemUIOp(numbers[names[0]], count)).result
                numbers[names[0]] = b.insert(arith.DivUIOp(numbers[names[0]], count)).result
            self.numbered(b, list(names), numbers, {}, fill)

        b.insert(for_loop(begin, end, self.kernel.const(1), names[0], body))

    def whole_kernel(self, shared: Sequence[str]) -> None:
        """Each thread runs what is in no shared loop, too, and would read there what others have not written yet."""
        for op in self.kernel.op.walk():
            if isinstance(op, GenericOp) and not self.level.covers(loops_of(op)):
                raise Refused(f"{self.level}: threads would share a part of the kernel")
        every = [op for op in self.kernel.block.ops if isinstance(op, GenericOp)]
        if why := obstacle(every, shared, self.level.beside):
            raise Refused(f"{self.level}: threads cannot share it: {why}")

    def blocked(self, b: Builder, number: SSAValue, others: Sequence[str], last: str) -> tuple[SSAValue, SSAValue]:
        """Number of the tile among all but the last loop, and of the last loop's, where these are taken in blocks."""
        const = self.kernel.const(self.level.block)
        whole: SSAValue = const
        for name in others:
            whole = b.insert(arith.MuliOp(whole, self.count_value(name))).result
        first = b.insert(arith.MuliOp(b.insert(arith.DivUIOp(number, whole)).result, const)).result
        within = b.insert(arith.RemUIOp(number, whole)).result
        left = b.insert(arith.SubiOp(self.count_value(last), first)).result
        height = b.insert(arith.MinSIOp(left, const)).result
        place = b.insert(arith.AddiOp(first, b.insert(arith.RemUIOp(within, height)).result)).result
        return b.insert(arith.DivUIOp(within, height)).result, place

    def count_value(self, name: str) -> SSAValue:
        extent, size = self.extents[name], self.size(name)
        if isinstance(extent, int):
            return self.kernel.const(-(-extent // size))
        return self.pieces(name).count()

    def numbered(
        self,
        b: Builder,
        names: list[str],
        numbers: Mapping[str, SSAValue],
        parts: Mapping[str, Part],
        fill: Callable[[Builder, Mapping[str, Part]], None],
    ) -> None:
        """The tile with these numbers; the peeled rest of a loop is its last tile."""
        if not names:
            fill(b, parts)
            return
        name, rest = names[0], names[1:]
        extent, size, number = self.extents[name], self.size(name), numbers[name]

        def inner(b: Builder, offset: Size, size: int, valid: Size | None = None) -> None:
            part = Part(offset, size, size if valid is None else valid, size)
            self.numbered(b, rest, numbers, {**parts, name: part}, fill)

        if isinstance(extent, Dim) and self.ragged(name):
            self.numbered(b, rest, numbers, {**parts, name: self.part_of(b, name, number)}, fill)
            return
        if isinstance(extent, Dim):
            self.pieces(name).piece(b, number, inner)
            return
        if self.guarded and extent % size:
            offset = b.insert(arith.MuliOp(number, self.kernel.const(size))).result
            inner(b, offset, size, self.least(b, name, self.kernel.extent(extent), offset, size))
            return
        whole = extent // size

        def full(b: Builder) -> None:
            inner(b, number if size == 1 else b.insert(arith.MuliOp(number, self.kernel.const(size))).result, size)

        def last(b: Builder) -> None:
            inner(b, whole * size, extent - whole * size)

        if whole * size == extent:
            full(b)
        elif not whole:
            last(b)
        else:
            among = b.insert(arith.CmpiOp(number, self.kernel.const(whole), "slt")).result
            b.insert(scf.IfOp(among, [], [branch(full)], [branch(last)]))

    # Body ------------------------------------------------------------------------------------------------------------
    def body(self, b: Builder, parts: Mapping[str, Part]) -> None:
        views: dict[object, SSAValue] = {}  # ops of a run that read the same tile share its view
        self.views: dict[tuple, SSAValue] = {}
        self.numbers: dict[int, SSAValue] = {}  # buffers of a tile -> that of this one
        self.gathered: dict[SSAValue, tuple[Affine, ...]] = {}  # copies of windows, and how their readers see them
        self.written: list[tuple[SSAValue, SSAValue, list[str]]] = []  # staged results: copy, tile, loops
        made: list[GenericOp] = []
        every = {**parts, **self.beside(b, parts)}
        for op in self.run:
            extents = loops_of(op)
            tile_extents = {n: every[n].extent if n in every else extent for n, extent in extents.items()}
            operands, maps = [], []
            for value, access, attr in zip(op.operands, accesses(op), op.indexing_maps.data, strict=True):
                key = value if value in self.temporaries else (value, attr, tuple(extents))
                if key not in views:
                    views[key] = self.view(b, op, value, access, tile_extents, every)
                operands.append(views[key])
                inside = self.gathered.get(views[key]) or within(access, every, extents)
                maps.append(write_map(inside, list(extents)))
            made.append(
                GenericOp.create(
                    operands=operands,
                    properties={**op.properties, "indexing_maps": ArrayAttr(maps)},
                    attributes={**op.attributes, **marked(op, self.level), "loops": loops_attr(tile_extents)},
                    regions=[moved(op, self.kernel, every)],
                )
            )
            if self.ahead:
                self.fetch_share(b, made[-1], parts)
        together = any(stage.space == "workgroup" for stage in self.level.stage.values())
        if together:
            b.insert(gpu.BarrierOp())
        for tiled in made:
            b.insert(tiled)
        for place, shown, names in self.written:
            copy(b, place, shown, dict(zip(names, type_of(place).get_shape(), strict=True)))
        if together and self.repeated:  # the next copy overwrites what others may still read
            b.insert(gpu.BarrierOp())
        self.require_shown(made, every)

    def beside(self, b: Builder, parts: Mapping[str, Part]) -> dict[str, Part]:
        """What a tile has of the loops that stand in place of a tiled one: as much as belongs to it, or what is left."""
        found = {}
        for name, (tiled, times) in self.level.beside.items():
            if tiled not in parts or name not in self.extents:
                continue
            whole, size = self.extents[name], parts[tiled].bound * times
            offset = scaled(self.kernel, b, parts[tiled].offset, times)
            if isinstance(whole, int) and isinstance(offset, int):
                there = min(whole - offset, size)
                found[name] = Part(offset, there, there, there)
                continue
            if isinstance(whole, int) and whole % times == 0:
                found[name] = Part(offset, size, size, size)
                continue
            start = self.kernel.const(offset) if isinstance(offset, int) else offset
            left = b.insert(arith.SubiOp(self.kernel.extent(whole), start)).result
            valid = b.insert(arith.MinSIOp(left, self.kernel.const(size))).result
            found[name] = Part(offset, size, valid, self.kernel.local_extent(name, valid))
        return found

    def fetch_share(self, b: Builder, op: GenericOp, parts: Mapping[str, Part]) -> None:
        """Give the op of a tile of rows its share of the next panel, if it reads one."""
        place = next((n for n, value in enumerate(op.inputs) if self.kernel.name_of(value) in self.ahead), None)
        if place is None:
            return
        name = self.kernel.name_of(op.inputs[place]) or ""
        if "fetches" in op.attributes:
            raise Refused(f"{self.level}: '{name}' is fetched ahead beside another weight")
        along = {loop for form in accesses(op)[place] for loop in form.terms}
        if any(self.alone(loop, parts[loop]) for loop in parts if loop not in along):
            return
        sums = {loop: extent for loop, extent in loops_of(op).items() if loop in reduced(op)}
        number = self.tile_number(b, [loop for loop in parts if loop not in along and loop not in sums], parts)
        fetch(op, *share(self.kernel, b, name, op.inputs[place], sums, number, self.ahead[name]))

    def alone(self, loop: str, part: Part) -> bool:
        """Is it a piece of a run-time loop that is shorter than pieces of one size would be, so that there is no other? What computes on few rows
        waits for memory whatever it asks for."""
        return (
            isinstance(self.extents[loop], Dim) and isinstance(part.extent, int) and 2 * part.extent < self.size(loop)
        )

    def tile_number(self, b: Builder, loops: Sequence[str], parts: Mapping[str, Part]) -> Size:
        """Of this tile among those of some loops, the last loop's fastest."""
        total: Size = 0
        for loop in loops:
            offset, size, extent = parts[loop].offset, self.size(loop), self.extents[loop]
            # rounded upwards: pieces of a run-time loop are shorter than `size`
            number = add(self.kernel, b, offset, size - 1)
            if isinstance(number, int):
                number //= size
            elif size > 1:
                number = b.insert(arith.DivUIOp(number, self.kernel.const(size))).result
            if isinstance(extent, int):
                total = scaled(self.kernel, b, total, -(-extent // size))
            elif not isinstance(total, int) or total:
                known = self.kernel.const(total) if isinstance(total, int) else total
                total = b.insert(arith.MuliOp(known, self.count_value(loop))).result
            total = add(self.kernel, b, total, number)
        return total

    def require_shown(self, made: Sequence[GenericOp], parts: Mapping[str, Part]) -> None:
        """A leaf masks what is beyond the end of a loop by the size of a view along it, and some view must have one, unless the loop only
        fills temporaries: these are whole tiles. A sum of what does not move with the loop needs its end too."""
        shown = {name for op in made for name in valid_sizes(op)}
        for name, part in parts.items():
            if isinstance(part.valid, int) or not isinstance(part.extent, int) or (name in shown and not self.on_grid):
                continue
            if self.on_grid:
                wrong = any(self.goes_beyond(op, name) for op in made)
            else:
                wrong = any(name in reduced(op) for op in made) or any(
                    name in form.terms and self.kernel.is_argument(value)
                    for op in self.run
                    for value, access in zip(op.operands, accesses(op), strict=True)
                    for form in access
                )
            if wrong:
                raise Refused(f"{self.level}: no view of the tile shows how much of {name} is there")

    def goes_beyond(self, op: GenericOp, name: str) -> bool:
        """Would an op that runs through a whole tile go wrong where it ends early? Copies are padded with zeros, which add nothing to a sum of
        products, and what temporaries hold there is not looked at."""
        if name in valid_sizes(op):
            return False
        moving = [
            value
            for value, access in zip(op.operands, accesses(op), strict=True)
            if any(name in form.terms for form in access)
        ]
        windows = [v for v, a in zip(op.operands, accesses(op), strict=True) if v in moving and is_window(a)]
        if any(self.kernel.is_argument(v) and not (v in windows and name in self.kernel.partial) for v in moving):
            return True  # a window must be staged yet: verify_shared asks
        staged = all(self.kernel.name_of(value) is not None for value in moving)
        if any(self.kernel.is_argument(value) for value in moving):
            return False
        return name in reduced(op) and not (staged and moving and adds_products(op))

    def view(
        self,
        b: Builder,
        op: GenericOp,
        value: SSAValue,
        access: Sequence[Affine],
        tile_extents: Mapping[str, Extent],
        parts: Mapping[str, Part],
    ) -> SSAValue:
        """The part of `value` that one tile touches: a smaller temporary, a staged copy or a subview."""
        here = {name: part for name, part in parts.items() if name in tile_extents}
        part = slice_of(self.kernel, b, value, access, loops_of(op), tile_extents, here, self.valid)
        if not self.kernel.is_argument(value):  # temporaries of known size and staged copies are whole tiles, padded
            present = zip(self.kernel.sizes(value), part.counts, part.shape, strict=True)
            counts = [size if isinstance(whole, int) else count for whole, count, size in present]
            part = Slice(part.starts, counts, part.shape)
        if value in self.temporaries:
            alloc = b.insert(allocation(part.shape, type_of(value).element_type))
            alloc.memref.name_hint = value.name_hint
            return alloc.memref
        name = self.kernel.name_of(value) or ""
        stage = self.level.stage.get(name)
        if stage and stage.space == "panel" and name in self.kernel.weights:
            return packed(self.kernel, self.level, b, value, access, part, here, stage, self.width())
        if stage and stage.space == "workgroup" and is_window(access) and adds_products(op):
            return self.window(b, op, value, access, part, tile_extents, parts, stage)
        starts_here = all(isinstance(start, int) and start == 0 for start in part.starts)
        whole = starts_here and part.counts == self.kernel.sizes(value) and not self.level.fits
        shown = value if whole else self.shown(b, value, part)
        if not stage:
            return shown
        # the copy's loops keep their names, so that the vector leaf vectorises it
        names = [form.loop() or f"i{axis}" for axis, form in enumerate(within(access, parts, loops_of(op)))]
        place = staged(self.kernel, b, shown, part.shape, stage, self.width(), self.number(b, stage))
        if value in [v for o in self.run for v in o.outputs]:
            if stage.space != "register" or any(value in o.inputs for o in self.run):
                raise Refused(f"'{name}' is written: only operands are staged")
            self.written.append((place, shown, names))
            return place
        op = copy(b, shown, place, {n: s for n, s in zip(names, part.shape, strict=True) if isinstance(s, int)})
        if stage.space != "panel":
            if stage.buffers > 1 and self.turn is not None:
                op.attributes["buffers"] = IntegerAttr(stage.buffers, i64)
            if DYNAMIC_INDEX in type_of(shown).get_shape():
                op.attributes["zeros"] = UnitAttr()  # in place of what is not there
            return place
        along = loop_along(op, shown)
        if along is not None and along != loop_along(
            op, place
        ):  # the leaf transposes squares of as many elements as it has lanes
            TileRun(self.kernel, Level({along: self.width()}), self.lanes, self.target, [op]).rewrite()
        return place

    def window(
        self,
        b: Builder,
        op: GenericOp,
        value: SSAValue,
        access: Sequence[Affine],
        part: Slice,
        tile_extents: Mapping[str, Extent],
        parts: Mapping[str, Part],
        stage: Stage,
    ) -> SSAValue:
        """A copy of what a tile reads of each pixel."""
        loops: dict[str, tuple[int, Size, bool]] = {}
        folds = reduced(op)
        for name, extent in tile_extents.items():
            if not any(name in form.terms for form in access):
                continue
            size = parts[name].bound if name in parts else extent
            if not isinstance(size, int):
                raise Refused(f"{self.level}: loop {name} has no tile of known size")
            there: Size | None = parts[name].valid if name in parts else self.valid.get(name)
            loops[name] = (size, there or self.kernel.partial.get(name) or size, name in folds)
        place, reads = gathered(self.kernel, b, value, access, part, loops, stage)
        self.gathered[place] = reads
        return place

    def number(self, b: Builder, stage: Stage) -> SSAValue | None:
        """Of the buffer of this tile, where tiles have several: those of the innermost loop take one after the other."""
        if stage.buffers == 1 or self.turn is None:
            return None
        if stage.buffers not in self.numbers:
            position, step = self.turn
            tile = position if step == 1 else b.insert(arith.DivUIOp(position, self.kernel.const(step))).result
            number = b.insert(arith.RemUIOp(tile, self.kernel.const(stage.buffers))).result
            tile.name_hint, number.name_hint = tile.name_hint or "tile", "buffer"
            self.numbers[stage.buffers] = number
        return self.numbers[stage.buffers]

    def width(self) -> int:
        """Elements of a vector of the leaf."""
        return max(self.lanes.values(), default=1)

    def shown(self, b: Builder, value: SSAValue, part: Slice) -> SSAValue:
        """A subview; what one op writes and another reads is one view, so that a leaf sees one buffer."""
        key = (value, tuple(part.starts), tuple(part.counts))
        if key not in self.views:
            self.views[key] = subview(b, value, part.starts, part.counts)
        return self.views[key]


def between_memories(op: Operation) -> bool:
    """Is it a copy that threads of a GPU make, whole?"""
    spaces = {space_of(value) for value in op.operands}
    return "copy" in op.attributes and not spaces.isdisjoint(("workgroup", "register"))


def in_loop(op: Operation | None) -> bool:
    """Does an op run again and again?"""
    while op is not None and not isinstance(op, scf.ForOp):
        op = op.parent_op()
    return op is not None


def moved(op: GenericOp, kernel: Kernel, parts: Mapping[str, Part]) -> Region:
    """The body of a tile: linalg.index counts from the beginning of the whole loop."""
    region = op.body.clone()
    names = list(loops_of(op))
    for inner in list(region.block.ops):
        if not isinstance(inner, IndexOp) or (name := names[inner.dim.value.data]) not in parts:
            continue
        offset = parts[name].offset
        if isinstance(offset, int) and offset == 0:
            continue
        value = kernel.const(offset) if isinstance(offset, int) else offset
        total = Builder(InsertPoint.after(inner)).insert(arith.AddiOp(inner.result, value))
        inner.result.replace_uses_with_if(total.result, lambda use, total=total: use.operation is not total)  # type: ignore[misc]
    return region


def adds_products(op: GenericOp) -> bool:
    """Does it add products of its two operands?"""
    last = op.body.block.last_op
    assert last is not None
    total, out = last.operands[0].owner, op.body.block.args[-1]
    if not isinstance(total, arith.AddfOp) or out not in total.operands:
        return False
    factors = next(v for v in total.operands if v is not out).owner
    return isinstance(factors, arith.MulfOp) and {*factors.operands} <= {*op.body.block.args[:-1]}


def reduced(op: GenericOp) -> set[str]:
    """The loops that an op folds its elements over."""
    kinds = zip(loops_of(op), op.iterator_types.data, strict=True)
    return {name for name, kind in kinds if kind.data is IteratorType.REDUCTION}
