"""Fetch the next panel of a weight into L2 while tiles of rows use this one, each a share of it.

    Level(n = 32; B -> panel ahead 8) | Level(m = 14)
->  %B_ahead = memref.reinterpret_cast %B to offset: [%next + %m / 14 % 8 * 3072], sizes: [3072], strides: [1]
    linalg.generic {fetches} ins(%A_1, %B_1, %B_ahead) ...        // %B_ahead is indexed by 4 k: one instruction for each step of the sum

Panels that exceed L2 come from further away as fast as they are asked for, and a tile of rows asks for none before it needs it. Spread
over the sums of the present panel the requests cost nothing, and the next panel is there when it begins. The last panel fetches itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from xdsl.dialects import arith, memref
from xdsl.dialects.builtin import DYNAMIC_INDEX, ArrayAttr, DenseArrayBase, UnitAttr, i32
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import SSAValue

from mlc.ir.kernel.access import Affine, write_map
from mlc.ir.kernel.fit import Facts, tiles_of_rows
from mlc.ir.kernel.kernel import Kernel, buffer_type, loops_of, strides_of, type_of
from mlc.ir.kernel.located import Builder
from mlc.ir.kernel.schedule import Schedule
from mlc.passes.loops.refused import Refused
from mlc.passes.loops.tile_view import Size, add, scaled


def fetched_at(kernel: Kernel, schedule: Schedule) -> Mapping[int, Mapping[str, int]]:
    """Number of a level -> weights of whose next panel each of its tiles fetches one of so many shares: those whose tiles of rows are innermost."""
    found: dict[int, dict[str, int]] = {}
    facts = Facts.of(kernel)
    for number, level in enumerate(schedule.levels):
        for name, stage in level.stage.items():
            if stage.ahead and name in facts.axes:
                later = range(number + 1, len(schedule.levels))
                rows = [n for n in later if tiles_of_rows(facts, schedule.levels[n], name)]
                found.setdefault([number, *rows][-1], {})[name] = stage.ahead
    return found


def share(
    kernel: Kernel, b: Builder, name: str, panel: SSAValue, sums: Mapping[str, object], tile: Size, shares: int
) -> tuple[SSAValue, Affine]:
    """What tile number `tile` fetches of the elements behind `panel`, a view of the weight `name`, and the place of each step of the sums."""
    extents = [extent for extent in sums.values() if isinstance(extent, int)]
    span = max((n * (s or 0) for n, s in zip(type_of(panel).get_shape(), strides_of(panel), strict=True)), default=0)
    step = span // (shares * max(1, prod(extents)))
    if len(extents) < len(sums) or not step:
        raise Refused(
            f"'{name}' is not fetched ahead: {shares} shares of a panel have no element for each step of the sums"
        )
    whole = kernel.packs[name].elements()
    size = prod(extents) * step
    next = least(kernel, b, add(kernel, b, place_of(kernel, b, panel), span), whole - span)
    if isinstance(tile, int):
        turn: Size = tile % shares
    else:
        turn = b.insert(arith.RemUIOp(tile, kernel.const(shares))).result
    start = add(kernel, b, next, scaled(kernel, b, turn, size))
    type = buffer_type([size], type_of(panel).element_type, [1], "panel", offset=None)
    view = b.insert(memref.ReinterpretCastOp.from_dynamic(kernel.buffers[name], [start], [size], [1], type)).result
    view.name_hint = f"{name}_ahead"
    return view, Affine(dict(zip(sums, row_major(extents, step), strict=True)))


def row_major(extents: Sequence[int], step: int) -> list[int]:
    return [step * prod(extents[number + 1 :]) for number in range(len(extents))]


def place_of(kernel: Kernel, b: Builder, value: SSAValue) -> Size:
    """How many elements behind the beginning of its buffer a view begins."""
    place: Size = 0
    while isinstance(value.owner, memref.SubviewOp):
        view = value.owner
        dynamic = iter(list(view.offsets))
        for at, stride in zip(view.static_offsets.get_values(), strides_of(view.source), strict=True):
            start: Size = next(dynamic) if at == DYNAMIC_INDEX else at
            place = add(kernel, b, place, scaled(kernel, b, start, stride or 0))
        value = view.source
    return place


def least(kernel: Kernel, b: Builder, value: Size, most: int) -> Size:
    if isinstance(value, int):
        return min(value, most)
    return b.insert(arith.MinSIOp(value, kernel.const(most))).result


def fetch(op: GenericOp, value: SSAValue, place: Affine) -> None:
    """Make `value` the last input of an op whose body uses nothing of it; the vector leaf asks for `place` in it at every step of its loops."""
    inputs, outputs = list(op.inputs), list(op.outputs)
    maps = list(op.indexing_maps.data)
    maps.insert(len(inputs), write_map([place], list(loops_of(op))))
    op.body.block.insert_arg(type_of(value).element_type, len(inputs))
    op.operands = [*inputs, value, *outputs]
    op.properties["operandSegmentSizes"] = DenseArrayBase.from_list(i32, [len(inputs) + 1, len(outputs)])
    op.properties["indexing_maps"] = ArrayAttr(maps)
    op.attributes["fetches"] = UnitAttr()
