"""What a tile sees of a buffer: offsets, sizes and a memref.subview, from the tile's part of each loop and the operand's access.

    %X: memref<58x58x64xf32>, access (oh + kh, ow + kw, ic); oh: 1 from %oh, ow: 14 from %ow; kh, kw = 3
->  memref.subview %X[%oh, %ow, 0] [3, 16, 64] [1, 1, 1]

A view of a partial tile has a run-time size (memref<?x16xf32>), which is how later passes know: whoever reads it pads, whoever writes it guards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xdsl.dialects import arith, memref
from xdsl.dialects.builtin import DYNAMIC_INDEX
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import SSAValue

from mlc.ir.dims import Extent
from mlc.ir.kernel.access import Affine, read_map
from mlc.ir.kernel.kernel import DYNAMIC, Kernel, buffer_type, loops_of, space_of, type_of
from mlc.ir.kernel.located import Builder, index_op
from mlc.passes.loops.refused import Refused

Size = SSAValue | int


@dataclass(frozen=True)
class Part:
    """What a tile takes of a loop: where it begins, how much of it is there, its largest size, and its own extent: that size, or the name of
    how much is there."""

    offset: Size
    bound: int
    valid: Size
    extent: Extent


@dataclass(frozen=True)
class Slice:
    """Per axis of an operand: where a tile begins, how much of it is there, and its padded size."""

    starts: list[Size]
    counts: list[Size]
    shape: list[Size]


def accesses(op: GenericOp) -> list[tuple[Affine, ...]]:
    """One access per operand."""
    names = list(loops_of(op))
    return [read_map(attr, names) for attr in op.indexing_maps.data]


def visited(b: Builder, value: SSAValue, access: Sequence[Affine], loops: Mapping[str, object]) -> SSAValue:
    """What a structured op with these loops reads or writes of a buffer: where they run through the front part of a static axis only, that
    part is a view, since linalg wants plain loops to run through the whole."""
    shape = type_of(value).get_shape()
    extents = [loops.get(form.loop() or "", size) for form, size in zip(access, shape, strict=True)]
    fixed = [extent for extent in extents if isinstance(extent, int)]
    if DYNAMIC_INDEX in shape or len(fixed) < len(shape) or not all(isinstance(e, int) for e in loops.values()):
        return value
    return subview(b, value, [0] * len(shape), fixed)


def slice_of(
    kernel: Kernel,
    b: Builder,
    value: SSAValue,
    access: Sequence[Affine],
    extents: Mapping[str, Extent],
    tile_extents: Mapping[str, Extent],
    parts: Mapping[str, Part],
    partial: Mapping[str, Size],
) -> Slice:
    """`partial`: run-time sizes of loops that are partial already. The accesses of the tile are `within`."""
    found = Slice([], [], [])
    for form, inside, present in zip(access, within(access, parts, extents), kernel.sizes(value), strict=True):
        used = form.terms
        start: Size = form.constant - inside.constant
        for name, c in used.items():
            start = add(kernel, b, start, scaled(kernel, b, parts[name].offset if name in parts else 0, c))
        found.starts.append(start)
        tiled = {name: c for name, c in used.items() if name in parts}
        sizes = {name: parts[name].bound if name in parts else tile_extents[name] for name in used}
        fixed = {name: size for name, size in sizes.items() if isinstance(size, int)}
        if len(fixed) < len(sizes):  # a loop that stays run-time: all that is there
            found.shape.append(present)
        else:
            found.shape.append(1 + inside.constant + sum(max(c, 0) * (fixed[name] - 1) for name, c in used.items()))
        valid = {n: parts[n].valid if n in parts else partial.get(n, _size(tile_extents[n])) for n in used}
        if not tiled:
            found.counts.append(present)
        elif all(isinstance(size, int) and size >= 0 for size in valid.values()):
            found.counts.append(found.shape[-1])
        elif inside.loop() is not None:
            found.counts.append(valid[inside.loop() or ""])
        else:  # a window: what is there now, less what the tile leaves out of each loop
            count: Size = present
            for name, c in tiled.items():
                extent = extents[name]
                whole: Size = extent if isinstance(extent, int) else kernel.extent(extent)
                count = add(kernel, b, count, scaled(kernel, b, whole, -c))
                count = add(kernel, b, count, scaled(kernel, b, valid[name], c))
            found.counts.append(count)
    return found


def within(access: Sequence[Affine], parts: Mapping[str, Part], extents: Mapping[str, Extent]) -> tuple[Affine, ...]:
    """The access of a tile to its view: one that runs through an axis along a tiled loop from some element on starts with the view, so that
    the size of the view is how much of the loop is there. One that runs backwards ends with it."""
    return tuple(_inside(form, parts, extents) for form in access)


def _inside(form: Affine, parts: Mapping[str, Part], extents: Mapping[str, Extent]) -> Affine:
    if form.terms.keys() <= parts.keys():  # beside one such loop all others may be in one place
        moving = {name: c for name, c in form.terms.items() if parts[name].bound > 1} or form.terms
        if list(moving.values()) == [1]:
            return Affine(moving)
    constant = form.constant
    for name in (name for name, c in form.terms.items() if c < 0 and name in parts):
        extent, size = extents[name], parts[name].valid
        if not isinstance(extent, int) or not isinstance(size, int):
            raise Refused(f"loop {name} runs backwards, and only the run knows how far")
        constant += form.terms[name] * (extent - size)
    return Affine(form.terms, constant)


def _size(extent: Extent) -> int:
    return extent if isinstance(extent, int) else -1


def subview(b: Builder, value: SSAValue, starts: Sequence[Size], counts: Sequence[Size], drop: int = 0) -> SSAValue:
    """memref.subview with unit steps, without its first `drop` axes; `value` itself where that is all of it."""
    source = type_of(value)
    if not drop and all(isinstance(s, int) and s == 0 for s in starts) and tuple(counts) == tuple(source.get_shape()):
        return value
    result = memref.SubviewOp.infer_result_type(source, starts, counts, [1] * len(starts))
    if drop:
        shape = [DYNAMIC if size == DYNAMIC_INDEX else size for size in result.get_shape()[drop:]]
        strides = list(result.get_strides() or ())[drop:]
        result = buffer_type(shape, source.element_type, strides, space_of(value), offset=None)
    op = b.insert(memref.SubviewOp.get(value, starts, counts, [1] * len(starts), result))
    op.result.name_hint = value.name_hint
    return op.result


def valid_sizes(op: GenericOp) -> dict[str, SSAValue]:
    """Run-time sizes of the loops of a partial tile: read off the views that carry them."""
    extents, found = loops_of(op), {}
    for value, access in zip(op.operands, accesses(op), strict=True):
        if not isinstance(value.owner, memref.SubviewOp):
            continue
        dynamic = iter(list(value.owner.sizes))
        kept = value.owner.static_sizes.get_values()
        sizes = [next(dynamic) if size == DYNAMIC_INDEX else size for size in kept][len(kept) - len(access) :]
        for form, size in zip(access, sizes, strict=True):
            loop = form.loop()
            if isinstance(size, SSAValue) and loop is not None and isinstance(extents[loop], int):
                found[loop] = size
    return found


def add(kernel: Kernel, b: Builder, lhs: Size, rhs: Size) -> Size:
    if isinstance(lhs, int) and isinstance(rhs, int):
        return lhs + rhs
    if isinstance(lhs, int) and lhs == 0:
        return rhs
    if isinstance(rhs, int) and rhs == 0:
        return lhs
    left, right = (kernel.const(x) if isinstance(x, int) else x for x in (lhs, rhs))
    return index_op(b, arith.AddiOp, left, right)


def scaled(kernel: Kernel, b: Builder, value: Size, by: int) -> Size:
    if isinstance(value, int):
        return value * by
    return value if by == 1 else index_op(b, arith.MuliOp, value, kernel.const(by))
