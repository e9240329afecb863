"""Stage what a tile reads through a window: neighbouring pixels share elements, and each gets its own in workgroup memory.

    X[oh + kh, ow * C + kw.ic] in tiles oh = 4, ow = 8, kh = 1, kw.ic = 16
->  %X_shared = memref.alloc() : memref<1x16x32xf32, "workgroup">                    // the sums, then all pixels of the tile as one axis
    %X_1 = memref.reinterpret_cast %X to offset: [...], sizes: [4, 8, 1, 16], strides: [W * C, C, W * C, 1]
    linalg.generic {copy} ins(%X_1) outs(%X_shared, seen with the same axes)
    ... X_shared[kh, kw.ic, oh * 8 + ow]

This is the matrix that im2col writes, a tile at a time and never to memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xdsl.dialects import arith, memref
from xdsl.dialects.builtin import DYNAMIC_INDEX, UnitAttr
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import SSAValue

from mlc.ir import dims
from mlc.ir.kernel.access import Affine
from mlc.ir.kernel.kernel import DYNAMIC, Kernel, buffer_type, space_of, strides_of, type_of
from mlc.ir.kernel.located import Builder
from mlc.ir.kernel.schedule import Stage
from mlc.passes.loops.refused import Refused
from mlc.passes.loops.stage import copy, staged
from mlc.passes.loops.tile_view import Size, Slice, add, scaled


def is_window(access: Sequence[Affine]) -> bool:
    """Does an axis move with several loops, or by more than one?"""
    return any(list(form.terms.values()) not in ([], [1]) for form in access)


def gathered(
    kernel: Kernel,
    b: Builder,
    value: SSAValue,
    access: Sequence[Affine],
    part: Slice,
    loops: Mapping[str, tuple[int, Size, bool]],
    stage: Stage,
) -> tuple[SSAValue, tuple[Affine, ...]]:
    """A copy in workgroup memory, and how the tile reads it. `loops`: of each loop that `access` uses its tile, how much of that is there, and
    whether the op folds over it."""
    if any(c < 0 for form in access for c in form.terms.values()):
        raise Refused(f"'{value.name_hint}' is read backwards through a window")
    strides = steps_along(kernel, value)
    steps: list[Size] = []
    for name in loops:
        step: Size = 0
        for form, stride in zip(access, strides, strict=True):
            step = add(kernel, b, step, scaled(kernel, b, stride, form.terms.get(name, 0)))
        steps.append(step)
    sums = [name for name, (_, _, folds) in loops.items() if folds]
    pixels = [name for name in loops if name not in sums]
    inside: dict[str, int] = {}
    count = 1
    for name in reversed(pixels):
        inside[name] = count
        count *= loops[name][0]
    place = staged(kernel, b, value, [*(loops[name][0] for name in sums), count], stage, 1)
    *rows, row = [stride for stride in strides_of(place) if stride is not None]
    by_loop = dict(zip(sums, rows, strict=True)) | {name: step * row for name, step in inside.items()}
    sizes = [size for size, _, _ in loops.values()]
    target = seen_as(b, place, 0, sizes, [by_loop[name] for name in loops])
    offset = offset_of(kernel, b, value)
    for start, stride in zip(part.starts, strides, strict=True):
        offset = add(kernel, b, offset, times(kernel, b, start, stride))
    root = kernel.root_of(value)
    source = seen_as(b, root, offset, [there for _, there, _ in loops.values()], steps)
    source.name_hint = value.name_hint
    op = copy(b, source, target, {name: size for name, (size, _, _) in loops.items()})
    if DYNAMIC_INDEX in type_of(source).get_shape():
        op.attributes["zeros"] = UnitAttr()
    reads = (*(Affine({name: 1}) for name in sums), Affine(inside))
    return place, reads


def steps_along(kernel: Kernel, value: SSAValue) -> list[Size]:
    """Elements from one position of each axis to the next. A run-time stride is that of rows without gaps."""
    while isinstance(value.owner, memref.SubviewOp):
        value = value.owner.source
    found: list[Size] = []
    for axis, stride in enumerate(strides_of(value)):
        if stride is None:
            behind = dims.prod(kernel.shape_of(value)[axis + 1 :])
            found.append(behind if isinstance(behind, int) else kernel.extent(behind))
        else:
            found.append(stride)
    return found


def times(kernel: Kernel, b: Builder, lhs: Size, rhs: Size) -> Size:
    if isinstance(rhs, int):
        return scaled(kernel, b, lhs, rhs)
    return scaled(kernel, b, rhs, lhs) if isinstance(lhs, int) else b.insert(arith.MuliOp(lhs, rhs)).result


def seen_as(b: Builder, value: SSAValue, offset: Size, sizes: Sequence[Size], strides: Sequence[Size]) -> SSAValue:
    """Elements of a memory by an offset and strides of their own."""
    shape = [size if isinstance(size, int) else DYNAMIC for size in sizes]
    known = [stride if isinstance(stride, int) else None for stride in strides]
    type = buffer_type(shape, type_of(value).element_type, known, space_of(value), offset=None)
    op = memref.ReinterpretCastOp.from_dynamic(value, [offset], list(sizes), list(strides), type)
    return b.insert(op).result


def offset_of(kernel: Kernel, b: Builder, value: SSAValue) -> Size:
    """Elements from the beginning of its memory to that of a view."""
    total: Size = 0
    while isinstance(view := value.owner, memref.SubviewOp | memref.CollapseShapeOp):
        if isinstance(view, memref.CollapseShapeOp):
            value = view.src
            continue
        dynamic = iter(view.offsets)
        for start, stride in zip(view.static_offsets.get_values(), steps_along(kernel, view.source), strict=True):
            at: Size = next(dynamic) if start == DYNAMIC_INDEX else start
            total = add(kernel, b, total, times(kernel, b, at, stride))
        value = view.source
    return total


def reads_beyond(kernel: Kernel, op: GenericOp, accesses: Sequence[Sequence[Affine]], shown: set[str]) -> str | None:
    """A buffer that a tile reads through a window along a loop that may end inside of the tile, where no copy stops it."""
    for value, access in zip(op.operands, accesses, strict=True):
        if not kernel.is_argument(value) or not is_window(access):
            continue
        if any(name in kernel.partial and name not in shown for form in access for name in form.terms):
            return value.name_hint
    return None
