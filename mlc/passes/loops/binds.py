"""Give tile loops to the blocks and threads of a GPU: instead of a loop, a tile begins where the number of the block or thread says.

    Level(m = 128 block.y, n = 128 block.x)
->  %block_y = gpu.block_id y;  %m_block = arith.muli %block_y, 128          kernel.launch = {block.y = "((M + 127)//128)", ...}

Several loops of a level may share an axis, the last one running fastest: their numbers are quotients and remainders. Every tile keeps its
size; what is left of a loop in the last one is a view of run-time size, and a tile of one element is there or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xdsl.dialects import arith, gpu
from xdsl.dialects.builtin import ArrayAttr, StringAttr
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import Operation, SSAValue

from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.kernel.extents import tile_count
from mlc.ir.kernel.kernel import Kernel, space_of
from mlc.ir.kernel.schedule import Level
from mlc.passes.loops.pixel_windows import reads_beyond
from mlc.passes.loops.refused import Refused
from mlc.passes.loops.tile_view import Size, accesses, valid_sizes


def bound_offsets(
    kernel: Kernel, level: Level, names: Sequence[str], extents: Mapping[str, Extent], sizes: Mapping[str, int]
) -> dict[str, SSAValue]:
    """Where the tile of this block or thread begins, for each loop of `names` that the level gives to one. Raises Refused where another
    level counts an axis otherwise."""
    found: dict[str, SSAValue] = {}
    binds: dict[str, list[str]] = {}
    for name in names:
        if level.bind.get(name, "parallel") != "parallel":
            binds.setdefault(level.bind[name], []).append(name)
    for bind, loops in binds.items():
        counts = [tile_count(extents[name], sizes[name]) for name in loops]
        total = dims.prod(counts)
        if kernel.launch.setdefault(bind, total) != total:
            raise Refused(f"{level}: {bind} would count {kernel.launch[bind]} tiles and {total}")
        left = kernel.place(bind)
        for place in reversed(range(len(loops))):
            name, size = loops[place], sizes[loops[place]]
            number = left
            if place:
                count = _count(kernel, extents[name], size)
                number = kernel.shared((bind, "of", *counts[place:]), lambda: arith.RemUIOp(left, count))  # noqa: B023
                left = kernel.shared((bind, "by", *counts[place:]), lambda: arith.DivUIOp(left, count))  # noqa: B023
            kind = bind.split(".")[0]
            offset = number
            if size != 1:
                by = kernel.const(size)
                key = (bind, size) if len(loops) == 1 else (number, size)
                offset = kernel.shared(key, lambda: arith.MuliOp(number, by))  # noqa: B023
                offset.name_hint = f"{name.replace('.', '_')}_{kind}"
            found[name] = offset
    return found


def _count(kernel: Kernel, extent: Extent, size: int) -> SSAValue:
    """Tiles of a loop, as a value at the entry."""
    if isinstance(extent, int):
        return kernel.const(-(-extent // size))
    total = kernel.extent(extent)
    if size == 1:
        return total
    up = kernel.shared((total, "up", size), lambda: arith.AddiOp(total, kernel.const(size - 1)))
    by = kernel.const(size)
    return kernel.shared((total, "tiles", size), lambda: arith.DivUIOp(up, by))


def marked(op: GenericOp, level: Level) -> dict[str, ArrayAttr]:
    """The attribute of a tile that says which blocks and threads it is given to."""
    before = op.attributes.get("binds")
    names = [text.data for text in before.data] if isinstance(before, ArrayAttr) else []
    more = [bind for bind in level.bind.values() if bind != "parallel" and bind not in names]
    every = [*names, *dict.fromkeys(more)]
    return {"binds": ArrayAttr([StringAttr(name) for name in every])} if every else {}


def verify_shared(kernel: Kernel) -> None:
    """Raises Refused where blocks or threads would all compute the same elements, or miss what another one keeps in its registers."""
    counted = {bind for bind, count in kernel.launch.items() if not isinstance(count, int) or count > 1}
    for op in kernel.op.walk():
        if not isinstance(op, GenericOp):
            continue
        if "copy" not in op.attributes and (name := reads_beyond(kernel, op, accesses(op), {*valid_sizes(op)})):
            raise Refused(f"'{name}' is read through a window that ends inside a tile, and is not staged")
        cooperative = "copy" in op.attributes and space_of(op.outputs[0]) == "workgroup"
        wanted = {bind for bind in counted if not cooperative or bind.startswith("block")}
        mine = op.attributes.get("binds")
        have = {text.data for text in mine.data} if isinstance(mine, ArrayAttr) else set()
        if space_of(op.outputs[0]) == "register" or "copy" in op.attributes:
            continue  # each thread's own, or one that a tile of a level made
        if missing := sorted(wanted - have):
            name = op.outputs[0].name_hint
            raise Refused(f"every {missing[0].split('.')[0]} along {missing[0]} would compute '{name}'")


def comes_from_thread(value: SSAValue) -> bool:
    """Is a number at the entry made of the number of a thread?"""
    waiting = [value]
    while waiting:
        owner = waiting.pop().owner
        if isinstance(owner, gpu.ThreadIdOp):
            return True
        if isinstance(owner, Operation) and owner.name.startswith("arith."):
            waiting += owner.operands
    return False


def is_of_block(kernel: Kernel, start: Size) -> bool:
    """Is it one number for a whole block, made of the block's own and of sizes?"""
    waiting = [start] if isinstance(start, SSAValue) else []
    while waiting:
        value = waiting.pop()
        if isinstance(value.owner, Operation):
            if not isinstance(value.owner, gpu.BlockIdOp) and not value.owner.name.startswith("arith."):
                return False
            waiting += value.owner.operands
        elif value.owner is not kernel.block:
            return False
    return True
