"""How the vector leaf reads and writes an operand: registers, vectors, strided lanes, masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from xdsl.dialects import arith, memref, vector
from xdsl.dialects.builtin import DYNAMIC_INDEX, ArrayAttr, IntegerAttr, VectorType, i8, i32, i64
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import Operation, SSAValue

from mlc.ir.dims import Extent
from mlc.ir.kernel.access import read_map
from mlc.ir.kernel.kernel import DYNAMIC, Kernel, buffer_type, element_bytes, space_of, strides_of, type_of
from mlc.ir.kernel.located import Builder, index_op
from mlc.ir.kernel.prefetch import PrefetchOp
from mlc.passes.loops.byte_products import QUAD
from mlc.passes.loops.lanes import Lanes
from mlc.passes.loops.refused import Refused
from mlc.passes.loops.shuffle import transposed

LINE = 64  # bytes of a cache line
Point = dict[str, int]  # the positions of the unrolled loops


class Surroundings(Protocol):
    """What an operand asks of its tile (vector.Tile)."""

    function: Kernel
    buffers: Mapping[SSAValue, SSAValue]
    constants: Mapping[SSAValue, np.ndarray]
    registers: dict[tuple[SSAValue, tuple[int, ...]], SSAValue]
    around: dict[str, SSAValue]

    def in_registers(self, value: SSAValue) -> bool: ...


class Reader(Protocol):
    """What an operand asks of its step (vector_leaf.LeafOp): the loops that stand around the reads and writes."""

    op: GenericOp
    lanes: Lanes
    names: list[str]
    extents: dict[str, Extent]
    across: str | None
    across_looped: bool
    unrolled: list[str]
    sequential: list[str]
    result_loops: set[str]

    @property
    def tile(self) -> Surroundings: ...
    def once(
        self, what: str, op: Callable[[SSAValue, SSAValue], Operation], lhs: SSAValue, rhs: SSAValue | int
    ) -> SSAValue: ...


@dataclass(frozen=True)
class Chunk:
    """Where the vector loop stands: a constant position or iv + position, and how many lanes count."""

    position: int
    iv: SSAValue | None
    valid: int | SSAValue


class Operand:
    """One operand of a step; the last is the result."""

    def __init__(self, step: Reader, number: int):
        self.step, self.number = step, number
        self.value = step.op.operands[number]
        self.access = read_map(step.op.indexing_maps.data[number], step.names)
        self.forms = tuple((form.constant, tuple(sorted(form.terms.items()))) for form in self.access)
        self.spans = any(step.across in form.terms for form in self.access)  # does it move with the vector loop?
        self.in_registers = step.tile.in_registers(self.value)
        self.constant = step.tile.constants.get(self.value)
        self.runs_through = next((n for form in self.access for n in form.terms if n in step.sequential), None)

    def position(self, point: Point, chunk: Chunk | None) -> tuple[int, ...]:
        at = {**point, self.step.across: chunk.position} if chunk and self.step.across else point
        found = []
        for total, terms in self.forms:
            for name, c in terms:
                total += c * at.get(name, 0)
            found.append(total)
        return tuple(found)

    def indices(self, b: Builder, point: Point, chunk: Chunk | None, ivs: Mapping[str, SSAValue]) -> list[SSAValue]:
        const, found = self.step.tile.function.const, []
        moving = {**self.step.tile.around, **ivs}
        if chunk and chunk.iv is not None and self.step.across:
            moving[self.step.across] = chunk.iv
        for form, fixed in zip(self.access, self.position(point, chunk), strict=True):
            total: SSAValue | None = None
            for name, c in form.terms.items():
                if name in moving:
                    term = moving[name] if c == 1 else index_op(b, arith.MuliOp, moving[name], const(c))
                    total = term if total is None else index_op(b, arith.AddiOp, total, term)
            if total is None:
                total = const(fixed)
            elif fixed:
                total = index_op(b, arith.AddiOp, total, const(fixed))
            found.append(total)
        return found

    def at(self, point: Point, chunk: Chunk | None) -> float:
        """A number of a constant."""
        assert self.constant is not None
        return float(self.constant[self.position(point, chunk)])

    # Reading ---------------------------------------------------------------------------------------------------------
    def read(self, b: Builder, point: Point, chunk: Chunk | None, ivs: Mapping[str, SSAValue], seen: dict) -> SSAValue:
        tile, lanes = self.step.tile, self.step.lanes
        mine = chunk if self.spans else None
        if self.constant is not None:
            return lanes.number(self.at(point, mine))  # a scalar: body.py looks at it
        where = self.position(point, mine)
        if self.in_registers and self.runs_through:
            name = self.value.name_hint
            raise Refused(f"temporary '{name}' is in registers, and loop {self.runs_through} runs through it")
        if (held := tile.registers.get((self.value, where))) is not None:
            return held
        key = (self.value, self.forms, where, mine)
        if key not in seen:
            if self.in_registers:
                raise Refused(f"temporary '{self.value.name_hint}' is read before it is written")
            if mine is not None and (row := self.row_loop()) is not None:
                self.read_square(b, row, point, mine, ivs, seen)
            else:
                seen[key] = self.load(b, point, mine, ivs)
        found = seen[key]
        if chunk is not None and not isinstance(found.type, VectorType):
            wide = (*key, "in every lane")
            if wide not in seen:
                seen[wide] = lanes.broadcast(b, found)
            found = seen[wide]
        return found

    def load(self, b: Builder, point: Point, chunk: Chunk | None, ivs: Mapping[str, SSAValue]) -> SSAValue:
        lanes = self.step.lanes
        source = self.step.tile.buffers[self.value]
        where = self.indices(b, point, chunk, ivs)
        if chunk is None:
            element = type_of(source).element_type
            return b.insert(memref.LoadOp.create(operands=[source, *where], result_types=[element])).results[0]
        type = lanes.type(type_of(source).element_type)
        if self.contiguous(source):
            if self.whole(source, chunk):
                return b.insert(vector.LoadOp.create(operands=[source, *where], result_types=[type])).results[0]
            return b.insert(
                vector.MaskedLoadOp(source, where, lanes.mask(chunk.valid), lanes.nothing(type.element_type))
            ).results[0]
        return self.gather(b, source, where, chunk)

    def read_words(
        self, b: Builder, point: Point, chunk: Chunk | None, ivs: Mapping[str, SSAValue], seen: dict
    ) -> SSAValue:
        """Four neighbouring bytes for each lane, the same ones in all lanes where the operand does not move with the vector loop."""
        tile, lanes = self.step.tile, self.step.lanes
        mine = chunk if self.spans else None
        if chunk is None or self.in_registers:
            raise Refused(f"'{self.value.name_hint}' is multiplied by words, which have no vector loop or no memory")
        key = (self.value, self.forms, self.position(point, mine), mine, "words")
        if key not in seen:
            source, where = tile.buffers[self.value], self.indices(b, point, mine, ivs)
            bytes = lanes.type(i8, QUAD)
            if mine is None:
                word = b.insert(vector.LoadOp.create(operands=[source, *where], result_types=[VectorType(i8, [QUAD])]))
                whole = b.insert(vector.BitcastOp(word.results[0], VectorType(i32, [1]))).result
                one = b.insert(vector.ExtractOp(whole, [0], i32)).result
                seen[key] = b.insert(vector.BitcastOp(lanes.broadcast(b, one), bytes)).result
            else:
                seen[key] = self.load_words(b, source, where, mine, bytes)
        return seen[key]

    def load_words(
        self, b: Builder, source: SSAValue, where: list[SSAValue], chunk: Chunk, bytes: VectorType
    ) -> SSAValue:
        """A vector from a buffer [..., n, 4], n across the lanes: of [..., n * 4], which are the same bytes."""
        function, lanes, strides = self.step.tile.function, self.step.lanes, strides_of(source)
        along = self.axes()
        if (
            along != [len(strides) - 2]
            or strides[-2] != QUAD
            or self.access[along[0]].terms[self.step.across or ""] != 1
        ):
            raise Refused(f"'{self.value.name_hint}' is multiplied by words, which do not lie along {self.step.across}")
        shape = [DYNAMIC if n == DYNAMIC_INDEX else n for n in type_of(source).get_shape()]
        flat = buffer_type([*shape[:-2], shape[-2] * QUAD], i8, [*strides[:-2], 1], space_of(source), offset=None)
        *outer, n, quad = (IntegerAttr(axis, i64) for axis in range(len(shape)))
        merged = {"reassociation": ArrayAttr([*(ArrayAttr([axis]) for axis in outer), ArrayAttr([n, quad])])}
        view = function.shared(
            ("bytes", source),
            lambda: memref.CollapseShapeOp.create(operands=[source], properties=merged, result_types=[flat]),
        )
        view.name_hint = source.name_hint
        at = [*where[:-2], b.insert(arith.MuliOp(where[-2], function.const(QUAD))).result]
        rows = strides[-3] if len(strides) > 2 else None
        padded = space_of(source) == "panel" and rows is not None and rows % (QUAD * lanes.width) == 0
        if padded or chunk.valid == lanes.width:
            return b.insert(vector.LoadOp.create(operands=[view, *at], result_types=[bytes])).results[0]
        valid = (
            chunk.valid * QUAD
            if isinstance(chunk.valid, int)
            else self.step.once("bytes", arith.MuliOp, chunk.valid, QUAD)
        )
        mask = lanes.mask(valid, QUAD)
        return b.insert(vector.MaskedLoadOp(view, at, mask, lanes.nothing(i8, QUAD))).results[0]

    def contiguous(self, source: SSAValue) -> bool:
        axes = self.axes()
        return (
            len(axes) == 1
            and strides_of(source)[axes[0]] == 1
            and self.access[axes[0]].terms[self.step.across or ""] == 1
        )

    def fetch(self, b: Builder, ivs: Mapping[str, SSAValue]) -> None:
        """Ask for the cache lines that a step of the loops has a share of: from the elements of this step to those of the next."""
        source = self.step.tile.buffers[self.value]
        (at,), (form,) = self.indices(b, {}, None, ivs), self.access
        line = LINE // element_bytes(type_of(source).element_type)
        for more in range(0, min((c for name, c in form.terms.items() if name in ivs), default=1), line):
            place = b.insert(arith.AddiOp(at, self.step.tile.function.const(more))).result if more else at
            b.insert(PrefetchOp(source, [place], locality=2))

    def axes(self) -> list[int]:
        return [axis for axis, form in enumerate(self.access) if self.step.across in form.terms]

    def whole(self, source: SSAValue, chunk: Chunk) -> bool:
        return chunk.valid == self.step.lanes.width or space_of(source) == "panel"

    # A square of elements: read along another loop, transposed ------------------------------------------------------
    def row_loop(self) -> str | None:
        """An unrolled loop along which a strided operand is contiguous."""
        source = self.step.tile.buffers[self.value]
        if self.contiguous(source) or len(self.axes()) != 1 or self.step.lanes.width & (self.step.lanes.width - 1):
            return None
        for axis, form in enumerate(self.access):
            loop = form.loop()
            if loop in self.step.unrolled and strides_of(source)[axis] == 1:
                return loop
        return None

    def read_square(
        self, b: Builder, row: str, point: Point, chunk: Chunk, ivs: Mapping[str, SSAValue], seen: dict
    ) -> None:
        """One vector along `row` for each lane of the chunk; transposed, each is what one position of `row` reads."""
        lanes, source = self.step.lanes, self.step.tile.buffers[self.value]
        width, extent = lanes.width, self.step.extents[row]
        assert isinstance(extent, int)
        first = point[row] // width * width
        here = min(width, extent - first)
        corner = self.indices(b, {**point, row: first}, chunk, ivs)
        type = lanes.type(type_of(source).element_type)
        found: list[SSAValue] = []
        for at in self.each_lane(b, corner, chunk):
            if here == width:
                found.append(b.insert(vector.LoadOp.create(operands=[source, *at], result_types=[type])).results[0])
            else:
                found.append(
                    b.insert(
                        vector.MaskedLoadOp(source, at, lanes.mask(here), lanes.nothing(type.element_type))
                    ).results[0]
                )
        found += [lanes.nothing(type.element_type)] * (width - len(found))
        for position, value in enumerate(transposed(b, found)[:here]):
            where = self.position({**point, row: first + position}, chunk)
            seen[self.value, self.forms, where, chunk] = value

    def each_lane(self, b: Builder, where: list[SSAValue], chunk: Chunk) -> Iterator[list[SSAValue]]:
        """Where each lane of a strided read lies; behind a run-time end the last lane again."""
        step, const = self.step, self.step.tile.function.const
        fixed = chunk.valid if isinstance(chunk.valid, int) else None
        for lane in range(step.lanes.width if fixed is None else fixed):
            by = const(lane)
            if fixed is None and lane:
                assert isinstance(chunk.valid, SSAValue)
                last = step.once("last", arith.SubiOp, chunk.valid, 1)
                by = step.once(f"lane{lane}", arith.MinSIOp, last, lane)
            at = list(where)
            for axis in self.axes() if lane else ():
                c = self.access[axis].terms[step.across or ""]
                moved = by if c == 1 else b.insert(arith.MuliOp(by, const(c))).result
                at[axis] = b.insert(arith.AddiOp(at[axis], moved)).result
            yield at

    def gather(self, b: Builder, source: SSAValue, where: list[SSAValue], chunk: Chunk) -> SSAValue:
        """A strided read: lane by lane."""
        result = self.step.lanes.nothing(type_of(source).element_type)
        for lane, at in enumerate(self.each_lane(b, where, chunk)):
            scalar = b.insert(memref.LoadOp.get(source, at)).results[0]
            result = b.insert(vector.InsertOp(scalar, result, [lane])).results[0]
        return result

    # Writing ---------------------------------------------------------------------------------------------------------
    def current(self, b: Builder, point: Point, chunk: Chunk | None) -> SSAValue:
        """What the result holds before a reduction."""
        value = self.read(b, point, chunk, {}, {})
        return self.step.lanes.broadcast(b, value) if chunk is not None else value

    def place(self, point: Point, chunk: Chunk | None) -> object:
        """Equal for points that are written to the same elements."""
        mine = chunk if self.spans else None
        return self.position(point, mine), mine

    def write(
        self,
        b: Builder,
        point: Point,
        chunk: Chunk | None,
        ivs: Mapping[str, SSAValue],
        value: SSAValue,
        seen: dict,
        final: bool = True,
    ) -> None:
        """Memory gets the value if it is the final one of those that are folded there."""
        step, tile, lanes = self.step, self.step.tile, self.step.lanes
        chunk = chunk if self.spans else None
        where = self.position(point, chunk)
        if chunk is None and isinstance(value.type, VectorType):
            raise Refused(f"'{self.value.name_hint}' does not have the vector loop {step.across}")
        if self.in_registers and not (chunk is not None and step.across_looped):
            if moving := step.result_loops & ivs.keys():
                name = self.value.name_hint
                raise Refused(f"temporary '{name}' is indexed by the loops {sorted(moving)}: a level must tile them")
            tile.registers[self.value, where] = value
            return
        seen[self.value, self.forms, where, chunk] = value
        if self.in_registers or not final:  # read only by the ops that share this loop
            return
        target = tile.buffers[self.value]
        at = self.indices(b, point, chunk, ivs)
        if chunk is None:
            b.insert(memref.StoreOp.get(value, target, at))
            return
        value = lanes.broadcast(b, value)
        if not self.contiguous(target):
            raise Refused(f"'{self.value.name_hint}' is written with a stride")
        if self.whole(target, chunk):
            b.insert(vector.StoreOp.create(operands=[value, target, *at]))
        else:
            b.insert(vector.MaskedStoreOp(target, at, lanes.mask(chunk.valid), value))
