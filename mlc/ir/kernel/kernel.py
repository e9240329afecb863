"""A kernel: a function on named buffers that holds structured ops whose loops have names.

    %t = memref.alloc()
    linalg.generic {loops = {m = 128, n = 768}}          outs(%t)              // fill
    linalg.generic {loops = {m = 128, n = 768, k = 768}} ins(%A, %B) outs(%t)  // contraction
    linalg.generic {loops = {m = 128, n = 768}}          ins(%t, %bias) outs(%D)

An extent is a number, or the name of an index argument: buffers of shape ("M", 768) and loops {m = "M", n = 768} belong to
func.func @gemm(%A: memref<?x768xf32>, ..., %M: index). A stride that such an extent decides is open: memref<?x?xf32, strided<[?, 1]>>
is passed as a pointer and one i64 per open stride. Arguments: buffers, scratch where a kernel needs it, extents, then %begin and %end of
the range of tiles that one call computes. Everything a later stage must know stands in the function's attributes (signature.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from itertools import chain, count
from math import prod
from typing import Any, cast

import numpy as np
from xdsl.dialects import arith, func, gpu, memref
from xdsl.dialects.builtin import (
    DYNAMIC_INDEX,
    DenseIntOrFPElementsAttr,
    DictionaryAttr,
    FloatAttr,
    IndexType,
    IntegerAttr,
    IntegerType,
    MemRefType,
    NoneAttr,
    StridedLayoutAttr,
    StringAttr,
    TensorType,
    f32,
    f64,
    i64,
)
from xdsl.dialects.linalg.attrs import IteratorTypeAttr
from xdsl.dialects.linalg.ops import GenericOp, IndexOp, YieldOp
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.rewriter import InsertPoint, Rewriter

from mlc.errors import InternalError
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.kernel.access import Access, affine, write_map
from mlc.ir.kernel.extents import factors, spelled
from mlc.ir.kernel.located import Builder
from mlc.ir.kernel.pack import Pack
from mlc.ir.kernel.signature import read_signature, write_signature
from mlc.ir.text import text_of
from mlc.ir.types import signless

index = IndexType()


@dataclass(frozen=True)
class Buffer:
    """An argument of a kernel: row-major unless `strides` are given (None = open). `weight`: its bytes are known at compile time."""

    shape: tuple[Extent, ...]
    dtype: str = "f32"
    weight: bool = False
    strides: tuple[int | None, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(named(e) for e in self.shape))

    @property
    def type(self) -> MemRefType:
        return buffer_type(self.shape, self.dtype, self.strides)


class Body(Builder):
    """Builds the scalar computation of a structured op."""

    loops: list[str]

    def index(self, loop: str) -> SSAValue:
        """The position of a loop."""
        return self.insert(IndexOp(self.loops.index(loop))).result


class Kernel:
    """A func.func under construction or rewriting, and what is shared at its entry."""

    def __init__(self, name: str, buffers: Mapping[str, Buffer | MemRefType], extents: Sequence[str] = ()):
        """The names in shapes, and `extents`, become index arguments behind the buffers."""
        kinds = list(buffers.values())
        shaped = [b for b in kinds if isinstance(b, Buffer)]
        names = list(dict.fromkeys([*(n for b in shaped for e in b.shape for n in factors(e)[0]), *extents]))
        if clash := sorted({*names} & {*buffers}):
            raise InternalError(f"kernel '{name}': '{clash[0]}' is both a buffer and an extent")
        self.block = Block(arg_types=[*(b.type if isinstance(b, Buffer) else b for b in kinds), *[index] * len(names)])
        self.buffers: dict[str, SSAValue] = dict(zip(buffers, self.block.args, strict=False))
        self.extents: dict[str, SSAValue] = dict(zip(names, self.block.args[len(buffers) :], strict=True))
        self.shapes: dict[SSAValue, tuple[Extent, ...]] = {
            self.buffers[n]: tuple(b.shape) for n, b in buffers.items() if isinstance(b, Buffer)
        }
        self.dtypes = {n: b.dtype for n, b in buffers.items() if isinstance(b, Buffer)}
        self.weights = {n for n, b in buffers.items() if isinstance(b, Buffer) and b.weight}
        self.packs: dict[str, Pack] = {}  # weight -> how the weight store must pack it
        self.op = func.FuncOp(name, ([arg.type for arg in self.block.args], []), Region(self.block))
        self.leaves: list[func.FuncOp] = []  # private functions that the kernel calls
        self.local: dict[str, SSAValue] = {}  # extents of partial tiles: values inside the loops over tiles
        self.partial: dict[
            str, SSAValue
        ] = {}  # how much of a loop the tile of a block has, where that may be less than all
        self.range: tuple[SSAValue, ...] = ()
        self.tiles: Extent | None = None  # how many tiles %begin and %end count
        self.launch: dict[str, Extent] = {}  # "block.x", "thread.y", ... -> how many there are on a GPU
        self.scratch: Extent = 0  # bytes that every call needs for itself
        self.optimise = False  # the LLVM IR is plain loops: compile it with LLVM's own passes
        self.report: list[str] = []
        self.schedule = ""
        self.applied = 0  # parts of the schedule, levels and the leaf, that the kernel has had
        self._shared: dict[object, SSAValue] = {}
        for hint, value in [*self.buffers.items(), *self.extents.items()]:
            value.name_hint = hint.replace("*", "_")

    @property
    def name(self) -> str:
        return self.op.sym_name.data

    @property
    def builder(self) -> Builder:
        """At the end of the kernel."""
        return Builder(InsertPoint.at_end(self.block))

    # Building --------------------------------------------------------------------------------------------------------
    def structured(
        self,
        loops: Mapping[str, Extent],
        inputs: Sequence[tuple[SSAValue, Access]],
        output: tuple[SSAValue, Access],
        body: Callable[..., SSAValue],
        reduce: Collection[str] = (),
    ) -> GenericOp:
        """Append a linalg.generic over named loops, outermost first. `body(b, *inputs, out)` builds the scalar computation on what the
        operands hold and returns what is stored; b.index(loop) is the position of a loop, and memref.load of any buffer is allowed."""
        return structured(self.builder, loops, inputs, output, body, reduce)

    def temporary(self, shape: Sequence[Extent], dtype: str = "f32", name: str = "t") -> SSAValue:
        """Memory of this kernel alone. It need not survive: a temporary that only a tile uses becomes a register."""
        return self.allocate(self.builder, shape, signless(dtype), name)

    def constant(self, values: np.ndarray, name: str = "c") -> SSAValue:
        """A small f32 array whose values the leaf folds into the code."""
        value = self.temporary(values.shape, "f32", name)
        attr = DenseIntOrFPElementsAttr.from_list(TensorType(f32, values.shape), [float(v) for v in values.flat])
        cast(memref.AllocOp, value.owner).attributes["constant"] = attr
        return value

    def return_(self) -> None:
        self.builder.insert(func.ReturnOp())

    def allocate(self, b: Builder, shape: Sequence[Extent], element: Attribute, name: str | None) -> SSAValue:
        op = b.insert(allocation([e if isinstance(e, int) else self.extent(e) for e in shape], element))
        op.memref.name_hint = name
        return op.memref

    # What there is ---------------------------------------------------------------------------------------------------
    def extent(self, extent: Extent | str) -> SSAValue:
        """A number, an index argument, or a product of them, as a value at the entry."""
        extent = named(extent)
        if isinstance(extent, int):
            return self.const(extent)
        text = spelled(extent)
        if (found := self.extents.get(text) or self.local.get(text)) is not None:
            return found
        names, number = factors(extent)
        unknown = [name for name in names if name not in self.extents]
        if unknown:
            raise InternalError(f"kernel '{self.name}' has no extent '{unknown[0]}'")
        rest = dims.prod([*map(dims.symbol, names[1:]), number])
        lhs, rhs = self.extents[names[0]], self.extent(rest)
        return self.shared(text, lambda: arith.MuliOp(lhs, rhs))

    def local_extent(self, loop: str, value: SSAValue) -> Extent:
        """A name for how much of a loop one tile has; `value` is an arith op inside the loop over tiles."""
        stem = f"{loop.replace('.', '_')}_part"
        names = chain([stem], (f"{stem}{k}" for k in count(2)))
        name = next(n for n in names if n not in self.local and n not in self.extents)
        assert isinstance(value.owner, Operation)
        value.owner.attributes["extent"] = StringAttr(name)
        value.name_hint = name
        self.local[name] = value
        return dims.symbol(name)

    def shape_of(self, value: SSAValue) -> tuple[Extent, ...]:
        """The extents of an argument, a temporary or a collapsed view of one."""
        if value in self.shapes:
            return self.shapes[value]
        if isinstance(value.owner, memref.CollapseShapeOp):
            shape = self.shape_of(value.owner.src)
            return tuple(dims.prod(shape[axis] for axis in group) for group in groups(value.owner))
        match value.owner:
            case memref.SubviewOp(sizes=sizes) | memref.AllocOp(dynamic_sizes=sizes):
                dynamic = iter(sizes)
            case _:
                raise InternalError(f"kernel '{self.name}': the extents of {value} have no names")
        return tuple(
            self.name_of_extent(next(dynamic)) if size == DYNAMIC_INDEX else size for size in type_of(value).get_shape()
        )

    def name_of_extent(self, value: SSAValue) -> Extent:
        if value.name_hint in self.extents and self.extents[value.name_hint] is value:
            return dims.symbol(value.name_hint)
        match value.owner:
            case arith.MuliOp() as op:
                return self.name_of_extent(op.lhs) * self.name_of_extent(op.rhs)
            case arith.ConstantOp(value=IntegerAttr() as attr):
                return attr.value.data
        raise InternalError(f"kernel '{self.name}': {value} is no extent")

    def sizes(self, value: SSAValue) -> list[SSAValue | int]:
        """What a buffer, temporary or view has along each axis."""
        match value.owner:
            case memref.SubviewOp() as view:
                open_sizes = iter(list(view.sizes))
            case memref.AllocOp() as alloc:
                open_sizes = iter(list(alloc.dynamic_sizes))
            case _:
                open_sizes = iter([self.extent(e) for e in self.shape_of(value) if not isinstance(e, int)])
        return [next(open_sizes) if size == DYNAMIC_INDEX else size for size in type_of(value).get_shape()]

    def root_of(self, value: SSAValue) -> SSAValue:
        """The argument or allocation that a view shows a part of."""
        while isinstance(
            value.owner,
            (memref.SubviewOp, memref.CollapseShapeOp, memref.CastOp, memref.ViewOp, memref.ReinterpretCastOp),
        ):
            value = value.owner.operands[0]
        return value

    def name_of(self, value: SSAValue) -> str | None:
        """The buffer that `value` shows, or holds a staged copy of."""
        root = self.root_of(value)
        if isinstance(root.owner, memref.AllocOp):
            stages = root.owner.attributes.get("stages")
            return stages.data if isinstance(stages, StringAttr) else None
        return root.name_hint if root.name_hint in self.buffers else None

    def is_argument(self, value: SSAValue) -> bool:
        return self.root_of(value) in self.block.args

    # Values at the entry ---------------------------------------------------------------------------------------------
    def const(self, value: int) -> SSAValue:
        return self.shared(value, lambda: constant(IntegerAttr(value, index)))

    def number(self, attr: FloatAttr | IntegerAttr) -> SSAValue:
        """A constant at the entry. By its text, because 0.0 equals -0.0 and NaN does not equal itself."""
        return self.shared(("number", repr(attr.value.data), attr.type), lambda: constant(attr))

    def shared(self, key: object, make: Callable[[], Operation]) -> SSAValue:
        """A value computed once, at the entry, after the shared values it may use."""
        if (found := self._shared.get(key)) is None:
            op = make()
            last = next((v.owner for v in reversed(self._shared.values())), None)
            point = InsertPoint.after(last) if isinstance(last, Operation) else InsertPoint.at_start(self.block)
            Builder(point).insert(op)
            found = self._shared[key] = op.results[0]
        return found

    def shared_first(self) -> None:
        """Move the shared values in front of everything else at the entry: they use arguments and one another alone."""
        for value in reversed(self._shared.values()):
            if isinstance(value.owner, Operation):
                value.owner.detach()
                Builder(InsertPoint.at_start(self.block)).insert(value.owner)

    def place(self, bind: str) -> SSAValue:
        """The number of this block or thread along an axis of a GPU: "block.x"."""
        kind, axis = bind.split(".")
        make = gpu.BlockIdOp if kind == "block" else gpu.ThreadIdOp
        value = self.shared(bind, lambda: make(gpu.DimensionAttr(gpu.DimensionEnum(axis))))
        value.name_hint = bind.replace(".", "_")
        return value

    def threads(self) -> int:
        """Of a block."""
        counts = [self.launch.get(f"thread.{axis}", 1) for axis in "xyz"]
        assert all(isinstance(count, int) for count in counts), counts
        return prod(cast(list[int], counts))

    # Arguments -------------------------------------------------------------------------------------------------------
    def replace_buffer(self, name: str, type: MemRefType) -> SSAValue:
        """Give a buffer another type. Uses of the old argument are the caller's to replace before `finish`."""
        old = self.buffers[name]
        new = self.block.insert_arg(type, self.block.args.index(old))
        new.name_hint = name
        self.buffers[name] = new
        self.shapes[new] = tuple(type.get_shape())
        return new

    def add_scratch(self, bytes: Extent) -> SSAValue:
        """The argument %scratch: memory that belongs to one call, behind the buffers."""
        self.scratch = bytes
        value = self.block.insert_arg(MemRefType(IntegerType(8), [DYNAMIC_INDEX]), len(self.buffers))
        value.name_hint = "scratch"
        return value

    def tile_range(self, count: Extent) -> tuple[SSAValue, SSAValue]:
        """Arguments %begin, %end of a kernel whose outermost tiles are shared among threads."""
        if self.tiles is None:
            self.tiles = count
            for name in ("begin", "end"):
                arg = self.block.insert_arg(index, len(self.block.args))
                arg.name_hint = name
                self.range = (*self.range, arg)
        if self.tiles != count:
            raise InternalError(f"kernel '{self.name}': its parallel loops have {self.tiles} and {count} tiles")
        begin, end = self.range
        return begin, end

    def finish(self) -> None:
        """Erase buffers that packing replaced and bring type and attributes of the function up to date."""
        kept = {*self.buffers.values(), *self.extents.values(), *self.range}
        for arg in list(self.block.args):
            if arg not in kept and arg.name_hint != "scratch":
                erase([use.operation for use in arg.uses])  # a collapsed view that nobody looks at
                self.block.erase_arg(arg)
        write_signature(self)

    # As text ---------------------------------------------------------------------------------------------------------
    @staticmethod
    def from_func(op: func.FuncOp, leaves: Sequence[func.FuncOp] = ()) -> Kernel:
        """The kernel that a function states: the inverse of writing it."""
        kernel = Kernel(op.sym_name.data, {})
        read_signature(kernel, op, leaves)
        return kernel

    def clone(self) -> Kernel:
        self.finish()
        return Kernel.from_func(self.op.clone(), [leaf.clone() for leaf in self.leaves])

    def text(self) -> str:
        self.finish()
        return text_of(*self.leaves, self.op)

    def key(self) -> str:
        """Equal for kernels that differ in their names only."""
        name = self.op.sym_name
        self.op.properties["sym_name"] = StringAttr("kernel")
        text = self.text()
        self.op.properties["sym_name"] = name
        return sha256(text.encode()).hexdigest()[:16]

    def functions(self) -> list[func.FuncOp]:
        return [*self.leaves, self.op]


def named(extent: Extent | str) -> Extent:
    """An extent; text is the name of one, or a product."""
    return _parsed(extent) if isinstance(extent, str) else extent


@cache
def _parsed(text: str) -> Extent:
    return dims.parse(text)


# Types ---------------------------------------------------------------------------------------------------------------
def buffer_type(
    shape: Sequence[Extent],
    dtype: str | Attribute = "f32",
    strides: Sequence[int | None] | None = None,
    space: str | None = None,
    offset: int | None = 0,
) -> MemRefType:
    """Row-major unless strides are given; a named extent is `?`, and so is every stride that it would decide."""
    sizes = [extent if isinstance(extent, int) else DYNAMIC_INDEX for extent in shape]
    if strides is None and DYNAMIC_INDEX in sizes[1:]:
        rows = [sizes[axis + 1 :] for axis in range(len(sizes))]
        strides = [None if DYNAMIC_INDEX in row else prod(row) for row in rows]
    element = signless(dtype) if isinstance(dtype, str) else dtype
    return _memref(element, tuple(sizes), None if strides is None else tuple(strides), space, offset)


@lru_cache(4096)
def _memref(
    element: Attribute,
    sizes: tuple[int, ...],
    strides: tuple[int | None, ...] | None,
    space: str | None,
    offset: int | None,
) -> MemRefType:
    layout = NoneAttr() if strides is None else StridedLayoutAttr(list(strides), offset)
    return MemRefType(element, sizes, layout, NoneAttr() if space is None else StringAttr(space))


def type_of(value: SSAValue) -> MemRefType:
    assert isinstance(value.type, MemRefType), value.type
    return value.type


def strides_of(value: SSAValue) -> list[int | None]:
    strides = type_of(value).get_strides()
    assert strides is not None
    return list(strides)


def open_axes(type: Attribute) -> list[int]:
    """The axes whose strides travel with a memref."""
    if not isinstance(type, MemRefType):
        return []
    return [axis for axis, stride in enumerate(type.get_strides() or ()) if stride is None]


def space_of(value: SSAValue) -> str | None:
    space = type_of(value).memory_space
    return space.data if isinstance(space, StringAttr) else None


def constant(attr: FloatAttr | IntegerAttr) -> arith.ConstantOp:
    return arith.ConstantOp.create(result_types=[attr.type], properties={"value": attr})


def float_attr(value: float, element: Attribute) -> FloatAttr:
    """A number of a float type that is known when it runs only."""
    return FloatAttr(value, cast(Any, element))


def element_bytes(element: Attribute) -> int:
    """In memory; i1 takes a byte."""
    if isinstance(element, IntegerType):
        return max(1, element.width.data // 8)
    return {f64: 8, f32: 4}.get(element, 8 if isinstance(element, IndexType) else 2)  # type: ignore[call-overload]


def static_bytes(op: memref.AllocOp) -> int | None:
    """Bytes of an allocation, padded rows included, if they are known."""
    type = op.memref.type
    if DYNAMIC_INDEX in type.get_shape():
        return None
    spans = zip(type.get_shape(), strides_of(op.memref), strict=True)
    return max((n * s for n, s in spans if s is not None), default=1) * element_bytes(type.element_type)


def allocation(sizes: Sequence[SSAValue | int], element: Attribute) -> memref.AllocOp:
    open_sizes = [size for size in sizes if not isinstance(size, int)]
    shape = [size if isinstance(size, int) else DYNAMIC_INDEX for size in sizes]
    return memref.AllocOp(open_sizes, [], buffer_type([DYNAMIC if s == DYNAMIC_INDEX else s for s in shape], element))


DYNAMIC = dims.symbol("?")  # an extent that has no name


def groups(op: memref.CollapseShapeOp) -> list[list[int]]:
    """The axes of the source that each axis of the result is made of."""
    return [[axis.value.data for axis in group.data] for group in op.reassociation.data]


# Structured ops ------------------------------------------------------------------------------------------------------
def loops_of(op: Operation) -> dict[str, Extent]:
    """Name -> extent of a structured op's loops, outermost first."""
    attr = op.attributes["loops"]
    assert isinstance(attr, DictionaryAttr)
    return {n: e.value.data if type(e) is IntegerAttr else named(e.data) for n, e in attr.data.items()}  # type: ignore[attr-defined]


def loops_attr(extents: Mapping[str, Extent]) -> DictionaryAttr:
    return DictionaryAttr(
        {name: IntegerAttr(e, i64) if isinstance(e, int) else StringAttr(spelled(e)) for name, e in extents.items()}
    )


def structured(
    b: Builder,
    loops: Mapping[str, Extent],
    inputs: Sequence[tuple[SSAValue, Access]],
    output: tuple[SSAValue, Access],
    body: Callable[..., SSAValue],
    reduce: Collection[str] = (),
) -> GenericOp:
    """A linalg.generic over named loops at `b`; see Kernel.structured."""
    operands = [*inputs, output]
    block = Block(arg_types=[type_of(value).element_type for value, _ in operands])
    inside = Body(InsertPoint.at_end(block))
    inside.loops = list(loops)
    inside.insert(YieldOp(body(inside, *block.args)))
    maps = [write_map([affine(i) for i in access], inside.loops) for _, access in operands]
    kinds = [IteratorTypeAttr.reduction() if name in reduce else IteratorTypeAttr.parallel() for name in loops]
    op = GenericOp([value for value, _ in inputs], [output[0]], Region(block), maps, kinds)
    op.attributes["loops"] = loops_attr(loops)
    b.insert(op)
    return op


def erase(ops: Sequence[Operation]) -> None:
    for op in reversed(ops):
        Rewriter.erase_op(op)
