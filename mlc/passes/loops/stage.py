"""Put an operand's tile into a faster memory: a copy in the kernel, or panels that the weight store packs at compile time.

    Level(n = 32; B -> panel), B an activation
->  %B_panel = memref.alloc() : memref<768x32xf32, "panel">;  linalg.generic {copy} ins(%B_tile) outs(%B_panel)
    Level(k = 16; A -> workgroup[1, 0]+4)
->  %A_shared = memref.alloc() : memref<128x16xf32, strided<[1, 132]>, "workgroup">;  linalg.generic {copy, zeros} ins(%A_tile) outs(%A_shared)
    Level(n = 32; B -> panel), B a weight of 768x768
->  the argument becomes memref<24x768x32xf32, "panel">, a tile is a subview of panel n / 32, and kernel.packs says how to pack
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xdsl.dialects import arith, memref
from xdsl.dialects.builtin import DYNAMIC_INDEX, StringAttr, UnitAttr
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import SSAValue
from xdsl.rewriter import InsertPoint

from mlc.ir.dims import Extent
from mlc.ir.kernel.access import Affine
from mlc.ir.kernel.kernel import Kernel, buffer_type, element_bytes, loops_of, strides_of, structured, type_of
from mlc.ir.kernel.located import Builder
from mlc.ir.kernel.pack import Pack, panel_strides
from mlc.ir.kernel.schedule import Level, Stage
from mlc.passes.loops.refused import Refused
from mlc.passes.loops.tile_view import Part, Slice, subview


def packed(
    kernel: Kernel,
    level: Level,
    b: Builder,
    value: SSAValue,
    access: Sequence[Affine],
    part: Slice,
    parts: Mapping[str, Part],
    stage: Stage,
    lanes: int,
) -> SSAValue:
    """A panel of a weight: the copy that staging asks for happens in the weight store, at compile time."""
    name = kernel.name_of(value)
    assert name is not None
    loops = [form.loop() for form in access]
    axes = {
        axis: level.tiles[loop] for axis, loop in enumerate(loops) if loop and loop in parts and loop in level.tiles
    }
    if name not in kernel.packs:
        shape = tuple(type_of(value).get_shape())
        if DYNAMIC_INDEX in shape or isinstance(value.owner, memref.SubviewOp):
            raise Refused(f"weight '{name}' is tiled before it is packed")
        last = stage.order[-1] if stage.order else len(shape) - 1
        pack = Pack(shape, axes, stage.order, lanes if last in axes else 1)
        kernel.packs[name] = pack
        element = type_of(value).element_type
        kernel.replace_buffer(name, buffer_type([*pack.panels(), *pack.inside()], element, pack.strides(), "panel"))
    elif kernel.packs[name].tiles != axes:
        raise Refused(f"weight '{name}' is read in panels of two kinds")
    numbers = []
    for axis, size in axes.items():
        start = part.starts[axis]
        numbers.append(
            start // size if isinstance(start, int) else b.insert(arith.DivUIOp(start, kernel.const(size))).result
        )
    inside = [0 if axis in axes else start for axis, start in enumerate(part.starts)]
    counts = [1] * len(numbers) + list(part.counts)
    return subview(b, kernel.buffers[name], [*numbers, *inside], counts, drop=len(numbers))


def staged(
    kernel: Kernel,
    b: Builder,
    part: SSAValue,
    shape: Sequence[int | SSAValue],
    stage: Stage,
    lanes: int,
    turn: SSAValue | None = None,
) -> SSAValue:
    """A buffer for a tile in a faster memory, its axes in the order the stage asks for: registers where they are used, other memory at the
    entry. `turn`: the number of the buffer, where tiles have several."""
    fixed = [size for size in shape if isinstance(size, int)]
    name = kernel.name_of(part)
    if len(fixed) < len(shape) or name is None:
        raise Refused(f"'{part.name_hint}' cannot be staged in {stage.space}")
    strides = panel_strides(fixed, stage.order, lanes) if stage.space == "panel" else padded_strides(fixed, stage)
    element, buffers = type_of(part).element_type, stage.buffers if turn is not None else 1
    sizes, places = list(fixed), list(strides)
    if buffers > 1:
        whole = max((n * s for n, s in zip(fixed, strides, strict=True)), default=1)
        lines = ALIGNED // element_bytes(element)  # each begins where 16 bytes can be moved at a time
        sizes, places = [buffers, *fixed], [-(-whole // lines) * lines, *strides]
    op = memref.AllocOp([], [], buffer_type(sizes, element, places, stage.space))
    op.attributes["stages"] = StringAttr(name)
    at_entry = Builder(InsertPoint.at_start(kernel.block))
    value = (b if stage.space == "register" else at_entry).insert(op).memref
    value.name_hint = f"{name}_{SUFFIX[stage.space]}"
    if turn is None or buffers == 1:
        return value
    return subview(b, value, [turn, *[0] * len(fixed)], [1, *fixed], drop=1)


ALIGNED = 16  # bytes
SUFFIX = {"panel": "panel", "workgroup": "shared", "register": "reg"}


def padded_strides(shape: Sequence[int], stage: Stage) -> list[int]:
    """Of a tile in the order and with the padding that its stage asks for."""
    strides, row = [0] * len(shape), 1
    for number, axis in enumerate(reversed(stage.order or range(len(shape)))):
        strides[axis] = row
        row *= shape[axis] + (0 if number else stage.pad)
    return strides


def copy(b: Builder, source: SSAValue, target: SSAValue, loops: Mapping[str, Extent]) -> GenericOp:
    """linalg.generic that copies a tile, over loops with the names that the tile's axes have."""
    op = structured(b, loops, [(source, list(loops))], (target, list(loops)), lambda b, x, out: x)
    op.attributes["copy"] = UnitAttr()
    return op


def loop_along(op: GenericOp, value: SSAValue) -> str | None:
    """The loop of a copy along which an operand is contiguous."""
    strides = strides_of(value)
    return next((name for name, stride in zip(loops_of(op), strides, strict=True) if stride == 1), None)
