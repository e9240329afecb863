"""Copies between the memories of a GPU, as loops: all threads of a block share one into workgroup memory, a thread has its own into registers.

    linalg.generic {copy, zeros} ins(%A_1 : memref<?x16xf32>) outs(%A_shared : memref<128x16xf32, strided<[1, 132]>, "workgroup">)
->  scf.for %e = 0 to 2048 step 1024 {unroll}             256 threads, 4 elements each: neighbours read neighbouring addresses
      %at = %e + 4 * thread;  %i0 = %at / 16;  %i1 = %at % 16
      %v = scf.if %i0 < %m_valid { vector.load %A_1[%i0, %i1] : vector<4xf32> } else { 0 }
      memref.store %v[0], %A_shared[%i0, %i1] ...         transposed on the way

A thread moves 16 bytes at a time where the slower memory's rows allow: contiguous, aligned, and no end within the 16 bytes. Neighbours take a row side
by side, as far as what they store lies in banks of shared memory of its own: a transposed row has some threads, and the next rows the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np
from xdsl.dialects import arith, memref, scf, vector
from xdsl.dialects.builtin import DYNAMIC_INDEX, FloatAttr, IntegerAttr, IntegerType, UnitAttr, VectorType, i64
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import Attribute, BlockArgument, SSAValue
from xdsl.rewriter import InsertPoint

from mlc.ir.kernel.address_maps import LANES, bank_ways
from mlc.ir.kernel.async_copies import CopyAsyncOp
from mlc.ir.kernel.kernel import Kernel, element_bytes, erase, float_attr, space_of, strides_of, type_of
from mlc.ir.kernel.located import Builder, located
from mlc.passes.loops.lanes import vector_type
from mlc.passes.loops.scf_blocks import branch, choice, for_loop

BYTES = 16  # that a thread moves at a time
UNDER_WAY = 16  # loads of a thread that are written out: more addresses than these do not stay in registers
LEAST = 8  # of a row that neighbouring threads read next to each other
Indices = list[SSAValue]


def lower_copies(kernel: Kernel) -> None:
    """Every staged copy of the kernel."""
    for op in [op for op in kernel.op.walk() if isinstance(op, GenericOp) and "copy" in op.attributes]:
        with located(op):
            Copy(kernel, op.inputs[0], op.outputs[0], "ahead" in op.attributes).lower(Builder(InsertPoint.before(op)))
        erase([op])


class Copy:
    """One tile; what the source does not have is zero in the target, and a target that is there in part gets that part."""

    def __init__(self, kernel: Kernel, source: SSAValue, target: SSAValue, ahead: bool = False):
        self.kernel, self.source, self.target, self.ahead = kernel, source, target, ahead
        self.element: Attribute = type_of(source).element_type
        whole = target if DYNAMIC_INDEX not in type_of(target).get_shape() else source
        self.pads = whole is target
        self.shape: tuple[int, ...] = type_of(whole).get_shape()
        self.outer = target if space_of(source) == "register" else source  # the slower memory decides
        self.limits = _open_sizes(source) | _open_sizes(target)
        strides = strides_of(self.outer)
        along = [axis for axis, n in enumerate(self.shape) if strides[axis] == 1 and n > 1]
        self.axis = along[-1] if along else len(self.shape) - 1
        lanes = BYTES // element_bytes(self.element)
        self.width = self.width_ahead if ahead else lanes if self.moves_whole(lanes) else 1
        self.type: Attribute = vector_type(self.element, self.width) if self.width > 1 else self.element

    @property
    def width_ahead(self) -> int:
        """Elements that are copied at once while the thread computes; 0 where it has to move them itself: 4 bytes are the least."""
        for bytes in (16, 8, 4):
            lanes = bytes // element_bytes(self.element)
            if lanes == 1 or lanes > 1 and self.moves_whole(lanes) and self.whole_rows(self.target, lanes):
                return lanes
        return 0

    def moves_whole(self, lanes: int) -> bool:
        """Are rows of the slower memory contiguous and aligned, and do they end between two such groups of elements?"""
        if lanes < 2 or isinstance(self.element, IntegerType) and self.element.width.data == 1:
            return False
        strides = strides_of(self.outer)
        if strides[self.axis] != 1 or self.shape[self.axis] % lanes:
            return False
        rows = [s for axis, s in enumerate(strides) if axis != self.axis and self.shape[axis] > 1]
        if any(s is None or s % lanes for s in rows):
            return False
        return aligned(self.kernel, self.outer, lanes, self.axis)

    def lower(self, b: Builder) -> None:
        if space_of(self.target) == "workgroup":
            self.cooperative(b)
            return
        zero, steps = self.kernel.const(0), {}
        for axis, extent in enumerate(self.shape):
            if extent > (width := self.width if axis == self.axis else 1):
                steps[axis] = (extent, width)
        nest(self.kernel, b, steps, lambda b, at: self.move(b, [at.get(a, zero) for a in range(len(self.shape))]))

    def cooperative(self, b: Builder) -> None:
        kernel, const = self.kernel, self.kernel.const
        total, step = prod(self.shape), kernel.threads() * self.width
        first = kernel.shared(("first", self.width), lambda: arith.MuliOp(thread_number(kernel), const(self.width)))
        first.name_hint = "first"
        order = self.order(self.near())
        mine = self.digits(order, step, first)

        def place(b: Builder, start: SSAValue, number: SSAValue) -> None:
            at: dict[int, SSAValue] = {}
            faster = 1
            for position, (axis, extent) in reversed(list(enumerate(order))):
                if mine is None:
                    part = b.insert(arith.RemUIOp(number, const(extent))).result if position else number
                    number = b.insert(arith.DivUIOp(number, const(extent))).result if position else number
                else:
                    part = mine[position] if faster < step else const(0)
                    if faster * extent > step:  # the start is at no digit that only threads count
                        count = b.insert(arith.DivUIOp(start, const(faster))).result if faster > 1 else start
                        count = b.insert(arith.RemUIOp(count, const(extent))).result if position else count
                        part = b.insert(arith.AddiOp(count, part)).result if faster < step else count
                    faster *= extent
                if axis in at:  # a piece of the row, behind those before it
                    part = b.insert(arith.MuliOp(part, const(order[-1][1]))).result
                    part = b.insert(arith.AddiOp(part, at[axis])).result
                at[axis] = part
                part.name_hint = f"i{axis}"
            self.move(b, [at.get(axis, const(0)) for axis in range(len(self.shape))])

        def some(b: Builder, start: SSAValue) -> None:
            number = b.insert(arith.AddiOp(start, first)).result
            number.name_hint = "at"
            if total % step == 0:
                place(b, start, number)
            else:
                there = b.insert(arith.CmpiOp(number, const(total), "slt")).result
                b.insert(scf.IfOp(there, [], [branch(lambda b: place(b, start, number))]))

        loop = for_loop(const(0), const(total), const(step), "e", some)
        loop.attributes["unroll"] = UnitAttr() if total <= UNDER_WAY * step else IntegerAttr(UNDER_WAY, i64)
        b.insert(loop)

    def digits(self, order: Sequence[tuple[int, int]], step: int, first: SSAValue) -> list[SSAValue] | None:
        """Where the elements of the first step that a thread has begin along each of the axes, so that a later step adds a number to one of them that
        is known when the code is compiled. None where a sum of both would carry."""
        kernel, faster = self.kernel, 1
        found: list[SSAValue] = []
        for _, extent in reversed(order):
            if step % faster if faster < step else False:
                return None
            here = step // faster
            if faster < step and (extent % here if extent > here else here % extent):
                return None
            by = kernel.const(faster)
            part = kernel.shared((first, "by", faster), lambda: arith.DivUIOp(first, by)) if faster > 1 else first  # noqa: B023
            if extent < here:
                size, whole = kernel.const(extent), part
                part = kernel.shared((first, "by", faster, "of", extent), lambda: arith.RemUIOp(whole, size))  # noqa: B023
            found.insert(0, part)
            faster *= extent
        return found

    def near(self) -> int:
        """How much of a row neighbouring threads have: all of it or, if its stores conflict, the longest part that does least."""
        parts = [self.shape[self.axis]]
        while parts[-1] % (2 * self.width) == 0 and parts[-1] * element_bytes(self.element) >= 2 * LEAST:
            parts.append(parts[-1] // 2)
        return min(parts, key=self.ways)

    def order(self, near: int) -> list[tuple[int, int]]:
        """Axes with their extents as threads are counted, the last fastest."""
        others = [(axis, extent) for axis, extent in enumerate(self.shape) if axis != self.axis and extent > 1]
        row = self.shape[self.axis]
        return [*([(self.axis, row // near)] if near < row else []), *others, (self.axis, near)]

    def ways(self, near: int) -> int:
        """How often the first warp goes through the banks with what it stores at a time."""
        number = np.arange(LANES) * self.width
        there = number < prod(self.shape)
        strides, bytes = strides_of(self.target), element_bytes(self.element)
        whole = self.width > 1 and self.whole_rows(self.target, self.width)
        place, step = np.zeros(LANES, np.int64), 1
        for axis, extent in reversed(self.order(near)):
            stride = strides[axis]
            assert stride is not None
            place += number % extent * (stride if axis != self.axis or step == 1 else stride * near)
            number, step = number // extent, step * extent
        lanes = [0] if whole else range(self.width)
        each = np.stack([place + lane * (strides[self.axis] or 0) for lane in lanes]) * bytes
        return int(bank_ways(np.where(there, each, -1), bytes * (self.width if whole else 1)).max())

    def move(self, b: Builder, at: Indices) -> None:
        inside = inside_of(b, {at[axis]: size for axis, size in self.limits.items()})
        if self.ahead:
            all, none = self.kernel.const(self.width), self.kernel.const(0)
            valid: SSAValue = all if inside is None else b.insert(arith.SelectOp(inside, all, none)).result
            b.insert(CopyAsyncOp(self.source, at, self.target, at, valid, self.width))
        elif inside is None:
            self.store(b, self.load(b, at), at)
        elif self.pads:
            read = choice(inside, [self.type], lambda b: [self.load(b, at)], lambda b: [self.zero(b)])
            self.store(b, b.insert(read).results[0], at)
        else:
            b.insert(scf.IfOp(inside, [], [branch(lambda b: self.store(b, self.load(b, at), at))]))

    def zero(self, b: Builder) -> SSAValue:
        attr: FloatAttr | IntegerAttr = (
            IntegerAttr(0, self.element) if isinstance(self.element, IntegerType) else float_attr(0.0, self.element)
        )
        one = self.kernel.number(attr)
        if self.width == 1:
            return one
        return b.insert(vector.BroadcastOp.create(operands=[one], result_types=[self.type])).results[0]

    def load(self, b: Builder, at: Indices) -> SSAValue:
        if isinstance(self.type, VectorType):
            if strides_of(self.source)[self.axis] == 1:
                return b.insert(vector.LoadOp.create(operands=[self.source, *at], result_types=[self.type])).results[0]
            found = self.zero(b)
            for lane, place in enumerate(self.each(b, at)):
                one = b.insert(memref.LoadOp.get(self.source, place)).results[0]
                found = b.insert(vector.InsertOp(one, found, [lane])).results[0]
            return found
        return b.insert(memref.LoadOp.get(self.source, at)).results[0]

    def store(self, b: Builder, value: SSAValue, at: Indices) -> None:
        if not isinstance(self.type, VectorType):
            b.insert(memref.StoreOp.get(value, self.target, at))
        elif self.whole_rows(self.target, self.width):
            b.insert(vector.StoreOp.create(operands=[value, self.target, *at]))
        else:  # transposed on the way
            for lane, place in enumerate(self.each(b, at)):
                one = b.insert(vector.ExtractOp(value, [lane], self.element)).results[0]
                b.insert(memref.StoreOp.get(one, self.target, place))

    def whole_rows(self, value: SSAValue, lanes: int) -> bool:
        strides = strides_of(value)
        others = [s for axis, s in enumerate(strides) if axis != self.axis and self.shape[axis] > 1]
        return strides[self.axis] == 1 and all(s is not None and s % lanes == 0 for s in others)

    def each(self, b: Builder, at: Indices) -> list[Indices]:
        """Where each lane lies."""
        found = []
        for lane in range(self.width):
            moved = b.insert(arith.AddiOp(at[self.axis], self.kernel.const(lane))).result if lane else at[self.axis]
            found.append([moved if axis == self.axis else i for axis, i in enumerate(at)])
        return found


def aligned(kernel: Kernel, value: SSAValue, lanes: int, axis: int) -> bool:
    """Does a view begin at a multiple of so many elements, and end so along its contiguous axis where it may end early?"""
    window = value.owner.source if isinstance(value.owner, memref.ReinterpretCastOp) else value
    root = kernel.root_of(window)
    size = type_of(root).get_shape()
    if root in kernel.block.args and prod(n for n in size if n != DYNAMIC_INDEX) % lanes:
        return False  # it may be a row of a larger buffer, any of them
    if axis in (ends := _open_sizes(value)) and not is_multiple(ends[axis], lanes):
        return False
    if isinstance(value.owner, memref.ReinterpretCastOp):  # a window, from the beginning of its memory
        (offset,) = value.owner.offsets or value.owner.static_offsets.get_values()
        return is_multiple(offset, lanes)
    while isinstance(value.owner, memref.SubviewOp | memref.CollapseShapeOp):
        view = value.owner
        if isinstance(view, memref.CollapseShapeOp):
            value = view.src
            continue
        dynamic = iter(view.offsets)
        rows = zip(view.static_offsets.get_values(), strides_of(view.source), strict=True)
        for axis_of, (start, stride) in enumerate(rows):
            offset = next(dynamic) if start == DYNAMIC_INDEX else start
            if stride is None:
                stride = known_factor(kernel, view.source, axis_of)
            if stride % lanes and not is_multiple(offset, lanes):
                return False
        value = view.source
    return value is root


def known_factor(kernel: Kernel, value: SSAValue, axis: int) -> int:
    """A number that the run-time stride of an axis is a multiple of: rows have no gaps, and some of their extents are known."""
    while (
        isinstance(value.owner, memref.SubviewOp)
        and type_of(value.owner.source).get_num_dims() == type_of(value).get_num_dims()
    ):
        value = value.owner.source
    if value not in kernel.block.args:
        return 1
    return prod(size for size in type_of(value).get_shape()[axis + 1 :] if size != DYNAMIC_INDEX)


def is_multiple(value: SSAValue | int, of: int) -> bool:
    """Is an index known to be a multiple of a number?"""
    if isinstance(value, int):
        return value % of == 0
    owner = value.owner
    match owner:
        case arith.ConstantOp(value=IntegerAttr() as attr):
            return attr.value.data % of == 0
        case arith.MuliOp():
            return is_multiple(owner.lhs, of) or is_multiple(owner.rhs, of)
        case arith.AddiOp() | arith.SubiOp() | arith.MinSIOp() | arith.MaxSIOp():
            return is_multiple(owner.lhs, of) and is_multiple(owner.rhs, of)
    if isinstance(value, BlockArgument):
        loop = value.block.parent_op()
        return (
            isinstance(loop, scf.ForOp) and value.index == 0 and is_multiple(loop.lb, of) and is_multiple(loop.step, of)
        )
    return False


def thread_number(kernel: Kernel) -> SSAValue:
    """Of this thread in its block, x running fastest."""
    number: SSAValue | None = None
    faster = 1
    for axis in "xyz":
        count = kernel.launch.get(f"thread.{axis}", 1)
        assert isinstance(count, int)
        if count > 1 or (axis == "z" and number is None):
            part = kernel.place(f"thread.{axis}")
            if faster > 1:
                by = kernel.const(faster)
                part = kernel.shared((f"thread.{axis}", faster), lambda: arith.MuliOp(part, by))  # noqa: B023
            before = number
            number = part if before is None else kernel.shared(("number", axis), lambda: arith.AddiOp(before, part))  # noqa: B023
        faster *= count
    assert number is not None
    return number


def inside_of(b: Builder, limits: Mapping[SSAValue, SSAValue]) -> SSAValue | None:
    """Whether every index is below its limit; None where there is none."""
    found: SSAValue | None = None
    for at, size in limits.items():
        test = b.insert(arith.CmpiOp(at, size, "slt")).result
        found = test if found is None else b.insert(arith.AndIOp(found, test)).result
    return found


def nest(
    kernel: Kernel,
    b: Builder,
    steps: Mapping[int, tuple[int, int]],
    fill: Callable[[Builder, Mapping[int, SSAValue]], None],
    at: Mapping[int, SSAValue] | None = None,
) -> None:
    """Loops over axes, marked for unrolling: axis -> (extent, step)."""
    at = at or {}
    if not steps:
        fill(b, at)
        return
    (axis, (extent, step)), *rest = steps.items()
    const = kernel.const
    inner = lambda b, iv: nest(kernel, b, dict(rest), fill, {**at, axis: iv})
    loop = for_loop(const(0), const(extent), const(step), f"i{axis}", inner)
    loop.attributes["unroll"] = UnitAttr()
    b.insert(loop)


def _open_sizes(value: SSAValue) -> dict[int, SSAValue]:
    """Axis -> how much of it is there, of a view that is there in part."""
    owner = value.owner
    dynamic = iter(owner.sizes) if isinstance(owner, memref.SubviewOp | memref.ReinterpretCastOp) else iter(())
    return {axis: next(dynamic) for axis, size in enumerate(type_of(value).get_shape()) if size == DYNAMIC_INDEX}
