"""What each op on memory prints as CUDA C: loads, stores, views, memory of a thread or a block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from xdsl.dialects import arith, memref
from xdsl.dialects.builtin import DYNAMIC_INDEX
from xdsl.ir import Operation, SSAValue

from mlc.codegen.cuda import polynomial
from mlc.codegen.cuda.c_function import Function, View, is_shared, prints, used_here
from mlc.codegen.cuda.polynomial import Polynomial
from mlc.errors import InternalError
from mlc.ir.kernel.kernel import groups, strides_of, type_of

# Between a load and its use these may change what is loaded
WRITES = ("memref.store", "vector.store", "vector.maskedstore", "gpu.barrier", "func.call", "scf.for", "scf.if", "scf.while", "scf.index_switch", "scf.parallel")  # fmt: skip


@prints("memref.load")
def _(f: Function, op: memref.LoadOp) -> None:
    f.define(op.results[0], f.element(op.memref, op.indices), inline=used_at_once(op))


def used_at_once(op: Operation) -> bool:
    """Is the result used by an op of the same block, before anything writes? What is printed later is read later."""
    result = op.results[0]
    if not used_here(result):
        return False
    reader: Operation | None = next(iter(result.uses)).operation
    while reader is not None and not _has_text_of_its_own(reader):
        uses = reader.results[0].uses if len(reader.results) == 1 and used_here(reader.results[0]) else ()
        reader = next((use.operation for use in uses), None)
    step = op.next_op
    while step is not None and step is not reader:
        if step.name in WRITES:
            return False
        step = step.next_op
    return step is reader and step is not None and not step.regions


def _has_text_of_its_own(op: Operation) -> bool:
    """Is it printed where it stands? What is used once may be printed at its user."""
    return len(op.results) != 1 or not used_here(op.results[0])


@prints("memref.store")
def _(f: Function, op: memref.StoreOp) -> None:
    place, value = f.element(op.memref, op.indices), f.value(op.value)
    if f.spread > 1 and not f.views[op.memref].single:  # every thread has the value, and one of them is enough
        f.line(f"if (threadIdx.x == 0) {place} = {value};")
        return
    if place in f.undeclared:
        f.line(f"{f.undeclared.pop(place)} {place} = {value};")
    elif value.startswith(f"{place} + ") and isinstance(op.value.owner, arith.AddfOp):
        f.line(f"{place} += {value.removeprefix(f'{place} + ')};")
    else:
        f.line(f"{place} = {value};")


# Views ---------------------------------------------------------------------------------------------------------------
def _mixed(fixed: Sequence[int], given: Sequence[SSAValue]) -> Iterator[int | SSAValue]:
    rest = iter(given)
    for number in fixed:
        yield next(rest) if number == DYNAMIC_INDEX else number


def _position(f: Function, value: int | SSAValue) -> Polynomial:
    return polynomial.number(value) if isinstance(value, int) else f.position(value)


@prints("memref.subview")
def _(f: Function, op: memref.SubviewOp) -> None:
    source = f.views[op.source]
    offsets = list(_mixed(op.static_offsets.get_values(), op.offsets))
    steps = [_position(f, step) for step in _mixed(op.static_strides.get_values(), op.strides)]
    strides = [polynomial.times(a, b) for a, b in zip(source.strides, steps, strict=True)]
    kept = _kept(op, strides)
    offset = {} if source.single else f.offset(op.source, offsets)
    f.views[op.result] = View(source.pointer, offset, tuple(kept), source.single)


def _kept(op: memref.SubviewOp, strides: list[Polynomial]) -> list[Polynomial]:
    """A subview may drop axes of size 1: the ones that are not in the result's shape, outermost first."""
    shape, sizes = list(type_of(op.result).get_shape()), op.static_sizes.get_values()
    kept: list[Polynomial] = []
    for axis, (size, stride) in enumerate(zip(sizes, strides, strict=True)):
        left = len(sizes) - axis
        if len(kept) < len(shape) and (left == len(shape) - len(kept) or size == shape[len(kept)] != 1):
            kept.append(stride)
    return kept


@prints("memref.cast")
def _(f: Function, op: memref.CastOp) -> None:
    f.views[op.dest] = f.views[op.source]


@prints("memref.collapse_shape")
def _(f: Function, op: memref.CollapseShapeOp) -> None:
    """Each merged axis moves as its last one does."""
    source = f.views[op.src]
    strides = tuple(source.strides[group[-1]] for group in groups(op))
    f.views[op.result] = View(source.pointer, source.offset, strides, source.single)


@prints("memref.view")
def _(f: Function, op: memref.ViewOp) -> None:
    """A part of the scratch memory, seen as elements of a type."""
    bytes = f.views[op.source]
    type, name = f.type(op.result), f.fresh(_hint(op.result))
    offset = polynomial.text(polynomial.plus(bytes.offset, f.position(op.byte_shift)))
    place = bytes.pointer if offset == "0" else f"({bytes.pointer} + {offset})"
    f.line(f"{type} *const {name} = ({type} *){place};")
    strides = strides_of(op.result)
    if None in strides:
        raise InternalError(f"CUDA C of '{f.kernel}': a view of bytes with a run-time row")
    f.views[op.result] = View(name, {}, tuple(polynomial.number(s) for s in strides if s is not None))


def _hint(value: SSAValue) -> str:
    """The row of bytes that a temporary is made of has the name of the temporary."""
    if value.name_hint is None and value.has_one_use():
        (use,) = value.uses
        if isinstance(use.operation, memref.ReinterpretCastOp):
            return use.operation.result.name_hint or "t"
    return value.name_hint or "t"


@prints("memref.reinterpret_cast")
def _(f: Function, op: memref.ReinterpretCastOp) -> None:
    source = f.views[op.source]
    offset = _position(f, next(_mixed(op.static_offsets.get_values(), op.offsets)))
    strides = tuple(_position(f, s) for s in _mixed(op.static_strides.get_values(), op.strides))
    f.views[op.result] = View(source.pointer, polynomial.plus(source.offset, offset), strides)


# Allocations ---------------------------------------------------------------------------------------------------------
@prints("memref.alloca", "memref.alloc")
def _(f: Function, op: memref.AllocaOp) -> None:
    """Registers of a thread, as long as every place in them is known when it is compiled; or shared memory of its block."""
    if op.dynamic_sizes:
        raise InternalError(f"CUDA C of '{f.kernel}': memory of run-time size for '{op.memref.name_hint}'")
    type, strides = f.type(op.memref), [s for s in strides_of(op.memref) if s is not None]
    shape = type_of(op.memref).get_shape()
    spans = (extent * stride for extent, stride in zip(shape, strides, strict=True))
    size = max(1, max(spans, default=1))
    name = f.fresh(op.memref.name_hint or "t")
    if op.memref in f.dynamic:
        f.line(f"{type} *const {name} = reinterpret_cast<{type} *>({f.shared} + {f.dynamic[op.memref]});")
        f.views[op.memref] = View(name, {}, tuple(map(polynomial.number, strides)))
        return
    where = (
        "__shared__ __align__(16) " if is_shared(op.memref) else "alignas(16) " if moved_by_vectors(op.memref) else ""
    )
    single = not where and prod(shape) == 1
    if single and written_first(op):
        f.undeclared[name] = type
    else:
        f.line(f"{where}{type} {name};" if single else f"{where}{type} {name}[{size}];")
    f.views[op.memref] = View(name, {}, tuple(map(polynomial.number, strides)), single)


def moved_by_vectors(value: SSAValue) -> bool:
    """Does a load or store of a whole vector touch it, itself or through a view?"""
    for use in value.uses:
        match use.operation.name:
            case "memref.subview" | "memref.cast":
                if moved_by_vectors(use.operation.results[0]):
                    return True
            case "vector.load" | "vector.store":
                return True
    return False


def written_first(op: memref.AllocaOp) -> bool:
    """Is the first thing that happens to it a store in its own block?"""
    step = op.next_op
    while step is not None and not any(op.memref in inner.operands for inner in step.walk()):
        step = step.next_op
    return isinstance(step, memref.StoreOp) and step.value is not op.memref
