"""Values of a group as expressions: what is read at which place, and the scalar computation, views looked through.

An element-wise op is computed where it is read; broadcasts, transposes, slices and unit reshapes only change the place. What is
materialised (arguments, reductions, contractions, values read by several structured ops) is read from memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xdsl.dialects import arith, memref
from xdsl.dialects.builtin import IndexType, f32, i64
from xdsl.ir import SSAValue

from mlc.errors import InternalError
from mlc.ir.dims import Extent
from mlc.ir.dtypes import TABLE
from mlc.ir.graph import scalar
from mlc.ir.graph.constants import ConstantOp, DimensionOp, IotaOp
from mlc.ir.graph.elementwise import PointwiseOp
from mlc.ir.graph.index import GatherOp
from mlc.ir.graph.packed import UnpackOp
from mlc.ir.graph.parts import SliceOp
from mlc.ir.graph.views import has_fixed_offsets, looked_through, reads_through
from mlc.ir.kernel.access import Affine
from mlc.ir.kernel.kernel import Body
from mlc.ir.kernel.located import Builder
from mlc.ir.types import dtype_of, extent, shape_of
from mlc.passes.kernel.draft import Access, Context, Memory

index = IndexType()


@dataclass
class Expression:
    """The computation of one structured op: memory that it reads, in order of first use, and how to build the scalar."""

    memory: Mapping[SSAValue, Memory]  # what is materialised
    reads: dict[tuple[Memory, Access], int] = field(default_factory=dict)
    indexed: set[str] = field(default_factory=set)
    extents: list[Extent] = field(default_factory=list)
    seen: set[tuple[SSAValue, Access]] = field(default_factory=set)

    # Pass one: what is read ---------------------------------------------------------------------------------------------
    def collect(self, value: SSAValue, at: Access) -> None:
        """Note every read that computing `value` at `at` needs."""
        while value not in self.memory and reads_through(value.owner):
            value, at = looked_through(value.owner, at)
        if value in self.memory:
            memory = self.memory[value]
            self.reads.setdefault((memory, memory.place(at)), len(self.reads))
            return
        if (value, at) in self.seen:  # a value that is used twice has as many readers as there are paths to it
            return
        self.seen.add((value, at))
        op = value.owner
        match op:
            case ConstantOp():
                return
            case DimensionOp():
                self._ask(extent(op.extent.data))
            case IotaOp():
                self.indexed |= at[op.axis.value.data].terms.keys()
            case GatherOp():
                x = self.memory.get(op.x)
                if x is None:
                    raise InternalError("gather: its operand is not in memory")
                x.pinned = True
                for operand, place in gather_places(op, at):
                    self.collect(operand, place)
                for axis, a in enumerate(op.axes.get_values()):
                    if a != -1:
                        self.indexed |= at[a].terms.keys()
                    else:
                        self._ask(shape_of(op.x)[axis])
            case SliceOp() if not has_fixed_offsets(op):
                if op.x not in self.memory:
                    raise InternalError("slice: its operand is not in memory")
                self.memory[op.x].pinned = True
                for where, start in zip(at, op.starts.extents(), strict=True):
                    self.indexed |= where.terms.keys()
                    self._ask(start)
            case UnpackOp():
                if op.x not in self.memory:
                    raise InternalError("unpack: its operand is not in memory")
                self.memory[op.x].pinned = True
                self.indexed |= row_major(op, at).terms.keys()
            case PointwiseOp():
                for operand in op.operands:
                    self.collect(operand, at)
            case _:
                raise InternalError(f"outline: {op.name} is computed by no element-wise kernel")  # type: ignore[union-attr]

    def _ask(self, value: Extent) -> None:
        if not isinstance(value, int):
            self.extents.append(value)

    # Pass two: the scalar -----------------------------------------------------------------------------------------------
    def build(self, context: Context, b: Body, inputs: Sequence[SSAValue], value: SSAValue, at: Access) -> SSAValue:
        """The scalar of `value` at `at`, where `inputs` hold the reads in order."""
        done: dict[tuple[SSAValue, Access], SSAValue] = {}

        def scalar_of(value: SSAValue, at: Access) -> SSAValue:
            while value not in self.memory and reads_through(value.owner):
                value, at = looked_through(value.owner, at)
            if value in self.memory:  # an accumulator may be wider than the value it is read as
                memory = self.memory[value]
                return scalar.cast(b, memory.dtype, dtype_of(value), inputs[self.reads[memory, memory.place(at)]])
            key = (value, at)
            if key not in done:
                done[key] = compute(value, at)
            return done[key]

        def compute(value: SSAValue, at: Access) -> SSAValue:
            op = value.owner
            match op:
                case ConstantOp():
                    return scalar.constant(b, dtype_of(value), op.value.item())
                case DimensionOp():
                    return b.insert(arith.IndexCastOp(context.extent(extent(op.extent.data)), i64)).result
                case IotaOp():
                    position = b.insert(arith.IndexCastOp(place(context, b, at[op.axis.value.data]), i64)).result
                    return scalar.cast(b, "i64", dtype_of(value), position)
                case GatherOp():
                    where = []
                    columns = iter([scalar_of(*pair) for pair in gather_places(op, at)])
                    for axis, a in enumerate(op.axes.get_values()):
                        if a != -1:
                            where.append(place(context, b, at[a]))
                        else:
                            looked_up = scalar.cast(b, dtype_of(op.indices), "i64", next(columns))
                            where.append(clamped(context, b, looked_up, shape_of(op.x)[axis]))
                    return b.insert(memref.LoadOp.get(context.values[self.memory[op.x]], where)).results[0]
                case SliceOp() if not has_fixed_offsets(op):
                    where = []
                    for spot, start, step in zip(at, op.starts.extents(), op.steps.get_values(), strict=True):
                        moved = place(context, b, spot * step)
                        where.append(
                            moved if start == 0 else b.insert(arith.AddiOp(moved, context.extent(start))).result
                        )
                    return b.insert(memref.LoadOp.get(context.values[self.memory[op.x]], where)).results[0]
                case UnpackOp():
                    return unpacked(context, b, op, context.values[self.memory[op.x]], row_major(op, at))
                case PointwiseOp():
                    return op.scalar_body(b, *(scalar_of(operand, at) for operand in op.operands))
            raise InternalError(f"outline: {op.name} is computed by no element-wise kernel")  # type: ignore[union-attr]

        return scalar_of(value, at)


def row_major(op: UnpackOp, at: Access) -> Affine:
    """The number of an element of the result."""
    number, stride = Affine({}, 0), 1
    for where, size in zip(reversed(at), reversed(shape_of(op.result)), strict=True):
        number, stride = number + where * stride, stride * int(size)  # type: ignore[arg-type]
    return number


def unpacked(context: Context, b: Body, op: UnpackOp, memory: SSAValue, number: Affine) -> SSAValue:
    """The element of this number: a byte is loaded, and the element's bits are shifted down."""
    bits = TABLE[dtype_of(op.result)].bits
    part = (8 // bits).bit_length() - 1  # log2 of the elements in a byte

    def integer(value: int, dtype: str = "i64") -> SSAValue:
        return scalar.constant(b, dtype, value)

    position = b.insert(arith.IndexCastOp(place(context, b, number), i64)).result
    byte = b.insert(arith.IndexCastOp(b.insert(arith.ShRUIOp(position, integer(part))).result, index)).result
    loaded = b.insert(memref.LoadOp.get(memory, [byte])).results[0]
    inside = b.insert(arith.AndIOp(position, integer((1 << part) - 1))).result
    shift = scalar.cast(b, "i64", "u8", b.insert(arith.MuliOp(inside, integer(bits))).result)
    return b.insert(arith.AndIOp(b.insert(arith.ShRUIOp(loaded, shift)).result, integer((1 << bits) - 1, "u8"))).result


def gather_places(op: GatherOp, at: Access) -> list[tuple[SSAValue, Access]]:
    """Where the indices of a gather are read, one per looked-up axis."""
    loops = [at[d] for d in op.loops.get_values()]
    columns = sum(a == -1 for a in op.axes.get_values())
    return [(op.indices, (*loops, Affine({}, column))) for column in range(columns)]


def place(context: Context, b: Body, at: Affine) -> SSAValue:
    """The number that an affine expression of loops is, as an index."""
    total: SSAValue | None = None
    constant = at.constant
    for name, coefficient in at.terms.items():
        now = context.loops[name]
        constant += coefficient * now.constant
        for loop, factor in now.terms.items():
            term = b.index(loop)
            if coefficient * factor != 1:
                term = b.insert(arith.MuliOp(term, context.kernel.const(coefficient * factor))).result
            total = term if total is None else b.insert(arith.AddiOp(total, term)).result
    if total is None:
        return context.kernel.const(constant)
    return b.insert(arith.AddiOp(total, context.kernel.const(constant))).result if constant else total


def clamped(context: Context, b: Builder, position: SSAValue, size: Extent) -> SSAValue:
    """An i64 position as an index: negative counts from the end, out of range goes to the nearest element."""
    at: SSAValue = b.insert(arith.IndexCastOp(position, index)).result
    whole, zero = context.extent(size), context.kernel.const(0)
    negative = b.insert(arith.CmpiOp(at, zero, "slt")).result
    at = b.insert(arith.SelectOp(negative, b.insert(arith.AddiOp(at, whole)).result, at)).result
    last = b.insert(arith.SubiOp(whole, context.kernel.const(1))).result
    return b.insert(arith.MaxSIOp(b.insert(arith.MinSIOp(at, last)).result, zero)).result


def widen(b: Builder, value: SSAValue, dtype: str, accumulator: str) -> SSAValue:
    """f16 and bf16 values as the f32 they are accumulated in, bytes of either sign as the i32."""
    if accumulator == "f32" and value.type != f32:
        return b.insert(arith.ExtFOp(value, f32)).result
    return scalar.cast(b, dtype, accumulator, value) if accumulator == "i32" else value
