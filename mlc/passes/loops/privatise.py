"""A temporary that every thread uses in its own tile only becomes that tile, in the registers of the thread.

    %t = memref.alloc() : memref<128x128xf32>; every use: subview %t[%m_thread, %n_thread] [8, 8]
->  %t = memref.alloc() : memref<8x8xf32, "register">
    every use: subview (subview %t[%m, %n] [64, 64]) [%m_thread, %n_thread] [4, 4]      (a tile in several pieces, in loops over m and n)
->  %t = memref.alloc() : memref<8x8xf32, "register">; subview %t[%m / 16, %n / 16] [4, 4]
    where the pieces begin at the number of a block: the block has one of them, at 0
"""

from __future__ import annotations

from collections.abc import Iterator

from xdsl.dialects import arith, memref
from xdsl.dialects.builtin import DYNAMIC_INDEX
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import InsertPoint, Rewriter

from mlc.ir.kernel.kernel import Kernel, buffer_type, space_of, type_of
from mlc.ir.kernel.located import Builder
from mlc.passes.loops.binds import comes_from_thread, is_of_block
from mlc.passes.loops.refused import Refused
from mlc.passes.loops.tile_view import Size, subview


def privatise(kernel: Kernel) -> None:
    """Rewrite every temporary of which threads use their own tiles. Raises Refused for one that they use in another way too."""
    for op in [op for op in kernel.op.walk() if isinstance(op, memref.AllocOp)]:
        if space_of(op.memref) is None and not {"constant", "stages"} & op.attributes.keys():
            _privatise(kernel, op)


def _privatise(kernel: Kernel, op: memref.AllocOp) -> None:
    views = list(_thread_views(op.memref))
    if not any(isinstance(view, memref.SubviewOp) for view in views):
        return
    tiles = [view for view in views if isinstance(view, memref.SubviewOp)]
    first = tiles[0]
    shape, piece = type_of(first.result).get_shape(), type_of(first.source).get_shape()
    whole = type_of(op.memref).get_shape()
    alike = all(_begins(v) == _begins(first) and type_of(v.result).get_shape() == shape for v in tiles)
    if len(tiles) < len(views) or not alike or DYNAMIC_INDEX in (*whole, *shape, *piece):
        raise Refused(f"'{op.memref.name_hint}' is shared by threads that keep their tiles of it in registers")
    begins = [
        _begins(v.source.owner) if isinstance(v.source.owner, memref.SubviewOp) else [0] * len(whole) for v in tiles
    ]
    starts_of_axes = [set(starts) for starts in zip(*begins, strict=True)]
    # a block has one piece along these axes
    single = [len(starts) == 1 and is_of_block(kernel, *starts) for starts in starts_of_axes]
    pieces = [1 if one else -(-extent // p) for extent, p, one in zip(whole, piece, single, strict=True)]
    private = [count * t for count, t in zip(pieces, shape, strict=True)]
    new = memref.AllocOp([], [], buffer_type(private, type_of(op.memref).element_type, space="register"))
    new.memref.name_hint = op.memref.name_hint
    Rewriter.insert_op(new, InsertPoint.before(op))
    for view in tiles:
        b = Builder(InsertPoint.before(view))
        outer = view.source.owner
        starts: list[Size] = [0] * len(private)
        if outer is not op:
            assert isinstance(outer, memref.SubviewOp)
            starts = [
                0 if one else start * t // p if isinstance(start, int) else _scaled(kernel, b, start, p // t)
                for start, p, t, one in zip(_begins(outer), piece, shape, single, strict=True)
            ]
        view.result.replace_all_uses_with(subview(b, new.memref, starts, list(shape)))
        Rewriter.erase_op(view)
        if outer is not op and isinstance(outer, Operation) and outer.results[0].first_use is None:
            Rewriter.erase_op(outer)
    if op.memref.first_use is None:
        Rewriter.erase_op(op)


def _scaled(kernel: Kernel, b: Builder, start: SSAValue, by: int) -> SSAValue:
    return start if by == 1 else b.insert(arith.DivUIOp(start, kernel.const(by))).result


def _thread_views(value: SSAValue) -> Iterator[memref.SubviewOp | None]:
    """The views of a temporary that begin where a thread's tile does; None where it is used in another way."""
    for use in list(value.uses):
        view = use.operation
        if not isinstance(view, memref.SubviewOp):
            yield None
        elif any(comes_from_thread(start) for start in _begins(view) if isinstance(start, SSAValue)):
            yield view
        elif isinstance(value.owner, memref.AllocOp):
            yield from _thread_views(view.result)
        else:
            yield None


def _begins(view: memref.SubviewOp) -> list[Size]:
    dynamic = iter(view.offsets)
    return [next(dynamic) if o == DYNAMIC_INDEX else o for o in view.static_offsets.get_values()]
