"""What each op on memory prints as LLVM IR: loads, stores, views, allocations."""

from __future__ import annotations

from collections.abc import Iterator

from xdsl.dialects import memref, vector
from xdsl.dialects.builtin import DYNAMIC_INDEX, IntegerType, VectorType
from xdsl.ir import Attribute, SSAValue

from mlc.codegen.llvm.function import FunctionPrinter, mangled, memory_text, prints, type_text
from mlc.codegen.llvm.ops import plus, times
from mlc.errors import InternalError
from mlc.ir.kernel.kernel import element_bytes, groups, strides_of, type_of
from mlc.ir.kernel.prefetch import PrefetchOp


@prints("memref.load")
def _(f: FunctionPrinter, op: memref.LoadOp) -> None:
    element = op.results[0].type
    text = f"load {memory_text(element)}, ptr {f.address(op.memref, op.indices)}, align {_alignment(op.memref)}"
    if element == IntegerType(1):
        f.define(op.results[0], f"icmp ne i8 {f.let(text)}, 0")
    else:
        f.define(op.results[0], text)


@prints("memref.store")
def _(f: FunctionPrinter, op: memref.StoreOp) -> None:
    value = f.value(op.value)
    if op.value.type == IntegerType(1):
        value = f.let(f"zext i1 {value} to i8")
    at = f.address(op.memref, op.indices)
    f.line(f"store {memory_text(op.value.type)} {value}, ptr {at}, align {_alignment(op.memref)}")


@prints("memref.prefetch")
def _(f: FunctionPrinter, op: PrefetchOp) -> None:
    at, writes = f.address(op.memref, op.indices), "1" if op.writes else "0"
    data = ("i32", "1")
    f.call("llvm.prefetch.p0", [("ptr", at), ("i32", writes), ("i32", str(op.locality.value.data)), data], "void")


def _alignment(value: SSAValue) -> int:
    return element_bytes(type_of(value).element_type)


# Truth values take a byte each, in vectors too
@prints("vector.load")
def _(f: FunctionPrinter, op: vector.LoadOp) -> None:
    at = f.address(op.base, op.indices)
    found = f.let(f"load {_in_memory(op.result.type)}, ptr {at}, align {_alignment(op.base)}")
    f.names[op.result] = _truth(f, op.result.type, found)


@prints("vector.store")
def _(f: FunctionPrinter, op: vector.StoreOp) -> None:
    at = f.address(op.base, op.indices)
    f.line(f"store {_in_memory(op.vector.type)} {_bytes(f, op.vector)}, ptr {at}, align {_alignment(op.base)}")


@prints("vector.maskedload")
def _(f: FunctionPrinter, op: vector.MaskedLoadOp) -> None:
    wide, mask = _in_memory(op.result.type), type_text(op.mask.type)
    args = [("ptr", f.address(op.base, op.indices)), (mask, f.value(op.mask)), (wide, _bytes(f, op.pass_thru))]
    found = f.call(f"llvm.masked.load.{_mangled(op.result.type)}.p0", args, wide)
    f.names[op.result] = _truth(f, op.result.type, found)


@prints("vector.maskedstore")
def _(f: FunctionPrinter, op: vector.MaskedStoreOp) -> None:
    kind = op.value_to_store.type
    assert isinstance(kind, VectorType)
    wide, mask = _in_memory(kind), type_text(op.mask.type)
    if isinstance(op.mask.owner, vector.CreateMaskOp) and f.linear(op.mask.owner.mask_dim_sizes[0]) == ({}, 1):
        # LLVM 22 makes a scalar store of it itself, and of an integer that was truncated one that is too long (its issue 179489)
        element = f.let(f"extractelement {wide} {_bytes(f, op.value_to_store)}, i32 0")
        at = f.address(op.base, op.indices)
        f.line(f"store {memory_text(kind.element_type)} {element}, ptr {at}, align {_alignment(op.base)}")
        return
    args = [(wide, _bytes(f, op.value_to_store)), ("ptr", f.address(op.base, op.indices)), (mask, f.value(op.mask))]
    f.call(f"llvm.masked.store.{_mangled(kind)}.p0", args, "void")


def _is_truth(type: Attribute) -> bool:
    return isinstance(type, VectorType) and type.element_type == IntegerType(1)


def _in_memory(type: Attribute) -> str:
    return type_text(type).replace(" x i1>", " x i8>")


def _mangled(type: Attribute) -> str:
    return mangled(type).removesuffix("i1") + "i8" if _is_truth(type) else mangled(type)


def _truth(f: FunctionPrinter, type: Attribute, value: str) -> str:
    return f.let(f"icmp ne {_in_memory(type)} {value}, zeroinitializer") if _is_truth(type) else value


def _bytes(f: FunctionPrinter, value: SSAValue) -> str:
    if not _is_truth(value.type):
        return f.value(value)
    return f.let(f"zext {f.typed(value)} to {_in_memory(value.type)}")


# Views ---------------------------------------------------------------------------------------------------------------
def _mixed(fixed: tuple[int, ...], dynamic: tuple[SSAValue, ...]) -> Iterator[int | SSAValue]:
    open_values = iter(dynamic)
    for number in fixed:
        yield next(open_values) if number == DYNAMIC_INDEX else number


@prints("memref.subview")
def _(f: FunctionPrinter, op: memref.SubviewOp) -> None:
    offsets = list(_mixed(op.static_offsets.get_values(), tuple(op.offsets)))
    steps = op.static_strides.get_values()
    f.names[op.result] = f.address(op.source, offsets)
    strides = []
    for stride, step in zip(f.strides[op.source], steps, strict=True):
        if step == 1:
            strides.append(stride)
        elif isinstance(stride, int) and step != DYNAMIC_INDEX:
            strides.append(stride * step)
        else:
            raise InternalError("a subview with a run-time step")
    f.strides[op.result] = _kept(op, strides)


def _kept(op: memref.SubviewOp, strides: list[int | str]) -> list[int | str]:
    """A subview may drop axes of size 1: the ones that are not in the result's shape, outermost first."""
    shape = list(type_of(op.result).get_shape())
    kept: list[int | str] = []
    sizes = op.static_sizes.get_values()
    for axis, (size, stride) in enumerate(zip(sizes, strides, strict=True)):
        left = len(sizes) - axis
        if len(kept) < len(shape) and (left == len(shape) - len(kept) or size == shape[len(kept)] != 1):
            kept.append(stride)
    return kept


@prints("memref.cast")
def _(f: FunctionPrinter, op: memref.CastOp) -> None:
    f.names[op.dest] = f.names[op.source]
    f.strides[op.dest] = f.strides[op.source]


@prints("memref.collapse_shape")
def _(f: FunctionPrinter, op: memref.CollapseShapeOp) -> None:
    """Each merged axis moves as its last one does."""
    f.names[op.result] = f.names[op.src]
    f.strides[op.result] = [f.strides[op.src][group[-1]] for group in groups(op)]


@prints("memref.reinterpret_cast")
def _(f: FunctionPrinter, op: memref.ReinterpretCastOp) -> None:
    offset = next(_mixed(op.static_offsets.get_values(), tuple(op.offsets)))
    where = offset if isinstance(offset, int) else f.value(offset)
    f.names[op.result] = f.step(f.names[op.source], memory_text(type_of(op.result).element_type), where)
    strides = _mixed(op.static_strides.get_values(), tuple(op.strides))
    f.strides[op.result] = [s if isinstance(s, int) else f.value(s) for s in strides]


@prints("memref.view")
def _(f: FunctionPrinter, op: memref.ViewOp) -> None:
    f.names[op.result] = f.step(f.names[op.source], "i8", f.value(op.byte_shift))
    strides = strides_of(op.result)
    if None in strides:
        raise InternalError("a view of bytes with a run-time row")
    f.strides[op.result] = [s for s in strides if s is not None]


# Allocations ---------------------------------------------------------------------------------------------------------
@prints("memref.alloca")
def _(f: FunctionPrinter, op: memref.AllocaOp) -> None:
    """At the entry, whatever the loop. A size known at run time only must be one of the function's own arguments."""
    type = type_of(op.memref)
    element = memory_text(type.element_type)
    f.names[op.memref] = name = f.fresh()
    if not op.dynamic_sizes:
        strides = [s for s in strides_of(op.memref) if s is not None]
        f.strides[op.memref] = list(strides)
        spans = (extent * stride for extent, stride in zip(type.get_shape(), strides, strict=True))
        f.head.append(f"  {name} = alloca [{max(1, max(spans, default=1))} x {element}], align 64")
        return
    if f.label != "entry":
        raise InternalError(f"'{f.op.sym_name.data}' allocates a run-time size inside a loop")
    dynamic = iter(op.dynamic_sizes)
    row: tuple[dict[str, int], int] = ({}, 1)
    found: list[int | str] = []
    for size in reversed(type.get_shape()):
        found.insert(0, f.sum_text(row) if row[0] else row[1])
        if size != DYNAMIC_INDEX:
            row = times(row, size)  # type: ignore[assignment]
        elif row[0]:
            raise InternalError(f"'{f.op.sym_name.data}' allocates two run-time sizes")
        else:
            row = plus(({f.value(next(dynamic)): row[1]}, 0), ({}, 0))  # type: ignore[assignment]
    f.strides[op.memref] = found
    f.line(f"{name} = alloca {element}, i64 {f.sum_text(row)}, align 64")
