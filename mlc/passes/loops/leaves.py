"""Outline the innermost tiles: each distinct one becomes one private function, which the vector leaf fills.

    linalg.generic {m = 13, n = 32} ...; linalg.generic {m = 13, n = 32, k = 768} ins(%A_1, %B_1) ...        // 9 times, and once with m = 11
->  func.call @gemm_13x32x768_0(%A_1, %B_1, ...)                                                             // two functions in all

so peeling and switches cost calls, not code. A run-time extent, and how much of a partial tile is there, are index arguments of the function.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from xdsl.dialects import func, memref
from xdsl.dialects.builtin import (
    DYNAMIC_INDEX,
    DenseIntOrFPElementsAttr,
    IntegerAttr,
    IntegerType,
    MemRefType,
    StringAttr,
    UnitAttr,
    f32,
    f64,
    i32,
    i64,
)
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.rewriter import InsertPoint

from mlc.ir.kernel.extents import spelled
from mlc.ir.kernel.kernel import DYNAMIC, Kernel, buffer_type, erase, loops_of, space_of, strides_of, type_of
from mlc.ir.kernel.located import Builder, located
from mlc.ir.kernel.schedule import Leaf, Mma, Vector
from mlc.ir.kernel.target import Target
from mlc.passes.loops.copies import aligned
from mlc.passes.loops.lanes import Lanes
from mlc.passes.loops.refused import Refused
from mlc.passes.loops.stage import loop_along
from mlc.passes.loops.tile_view import accesses, valid_sizes
from mlc.passes.loops.vector_leaf import Tile, rows_of_scratch


def outline_leaves(kernel: Kernel, leaf: Vector, target: Target) -> None:
    """Replace every innermost tile by a call. Raises Refused where the vector leaf cannot compute one."""
    outliner = Outliner(kernel, leaf, bool(kernel.launch))
    for run in list(tiles(kernel, kernel.op)):
        with located(max(run, key=lambda op: len(loops_of(op)))):
            outliner.outline(run)
    kernel.leaves = [made.op for made in outliner.made.values()]


def tiles(kernel: Kernel, root: Operation) -> Iterator[list[GenericOp]]:
    """Structured ops with nothing between them: what one leaf computes. One that sees memory otherwise than those that write it, or that writes it, is
    in another leaf: the last tile of a loop stands in front of what reads all of them."""
    for region in root.regions:
        for block in region.blocks:
            run: list[GenericOp] = []
            for op in block.ops:
                if isinstance(op, GenericOp) and "copy" not in op.attributes:
                    if any(_otherwise(kernel, one, op) for one in run):
                        yield run
                        run = []
                    run.append(op)
                    continue
                if run:
                    yield run
                    run = []
                if isinstance(op, GenericOp):  # a staged copy fills a buffer of its own
                    yield [op]
                else:
                    yield from tiles(kernel, op)
            if run:
                yield run


def _otherwise(kernel: Kernel, first: GenericOp, second: GenericOp) -> bool:
    """Do two ops touch one buffer through two views, and one of them writes it?"""
    for one, other in ((first, second), (second, first)):
        target = one.outputs[0]
        root = kernel.root_of(target)
        if any(value is not target and kernel.root_of(value) is root for value in other.operands):
            return True
    return False


class Outliner:
    def __init__(self, kernel: Kernel, leaf: Vector, over_threads: bool):
        self.kernel, self.leaf, self.over_threads = kernel, leaf, over_threads
        self.made: dict[object, Kernel] = {}

    def outline(self, run: Sequence[GenericOp]) -> None:
        kernel = self.kernel
        values = list(dict.fromkeys(value for op in run for value in op.operands))
        constants = {v: array for v in values if (array := constant_values(v)) is not None}
        own = [v for v in values if isinstance(v.owner, memref.AllocOp) and v not in constants]
        own = [v for v in own if "stages" not in v.owner.attributes and all(use.operation in run for use in v.uses)]  # type: ignore[union-attr]
        leaf = self.leaf_of(run)
        for op in run:
            across = next((name for name in leaf.loops if name in loops_of(op)), None)
            if ragged := valid_sizes(op).keys() - {across}:
                raise Refused(f"loop {min(ragged)} ends inside a tile, and does not run across the lanes")
        rows = rows_of_scratch(run, own, leaf)
        if rows and kernel.launch:
            raise Refused(f"a row of '{rows[0].name_hint}' does not fit in registers")
        registers = [v for v in own if v not in rows]
        outside = [v for v in values if v not in registers and v not in constants]
        self.check_aliases(run, outside)
        types = [anywhere(v) for v in outside]
        sizes = {spelled(e): kernel.extent(e) for op in run for e in loops_of(op).values() if not isinstance(e, int)}
        sizes |= {f"{loop}_valid": size for op in run for loop, size in valid_sizes(op).items()}
        captured = {v for op in run for inner in op.body.walk() for v in inner.operands if v in kernel.extents.values()}
        sizes |= {v.name_hint or "": v for v in sorted(captured, key=lambda v: v.name_hint or "")}
        key = (tuple(types), tuple(sizes), tuple(signature(op, values) for op in run))
        if key not in self.made:
            function = Kernel(self.name(run), dict(zip(argument_names(outside), types, strict=True)), list(sizes))
            function.op.properties["sym_visibility"] = StringAttr("private")
            inside = dict(zip([*outside, *sizes.values()], function.block.args, strict=True))
            tile = Tile(
                function,
                leaf,
                Lanes(function, element_of(run), leaf.lanes, self.over_threads),
                {**inside, **{v: v for v in registers}},
                constants,
            )
            tile.lower(function.builder, run)
            function.return_()
            function.op.update_function_type()
            if kernel.launch:
                self.say_how_lanes_lie(function, run, outside)
            self.made[key] = function
        b = Builder(InsertPoint.before(run[0]))
        arguments = [
            v if v.type == t else b.insert(memref.CastOp.get(v, t)).results[0]
            for v, t in zip(outside, types, strict=True)
        ]
        b.insert(func.CallOp(self.made[key].name, [*arguments, *sizes.values()], []))
        erase(list(run))
        erase([v.owner for v in registers if isinstance(v.owner, Operation)])
        erase([v.owner for v in constants if isinstance(v.owner, Operation) and not v.uses.get_length()])

    def say_how_lanes_lie(self, function: Kernel, run: Sequence[GenericOp], outside: Sequence[SSAValue]) -> None:
        """Over how many threads a vector is spread, and whether each may move its lanes as one. Raises Refused where threads would read what one of
        them writes: a scalar is stored by the first."""
        stored = {op.memref for op in function.op.walk() if isinstance(op, memref.StoreOp)}
        for inner in function.op.walk():
            if isinstance(inner, memref.LoadOp) and inner.memref in stored:
                raise Refused(f"'{inner.memref.name_hint}' is folded in memory that threads share")
        threads = cast(int, self.kernel.launch["thread.x"])
        held = self.leaf.lanes // threads
        function.op.attributes["kernel.spread"] = IntegerAttr(threads, i64)
        for op in run:
            for value, access in zip(op.operands, accesses(op), strict=True):
                axes = [axis for axis, form in enumerate(access) if self.leaf.loops_in(form.terms)]
                if value not in outside or not axes:
                    continue
                if len(axes) > 1 or strides_of(value)[axes[0]] != 1:
                    raise Refused(f"'{value.name_hint}' is read with a stride")
                if not aligned(self.kernel, value, held, axes[0]):
                    return
        function.op.attributes["kernel.aligned"] = UnitAttr()

    def leaf_of(self, run: Sequence[GenericOp]) -> Vector:
        """A copy that transposes unrolls the loop along which its source lies."""
        op = run[0]
        if "copy" in op.attributes and (along := loop_along(op, op.inputs[0])) not in (None, *self.leaf.loops):
            extent = loops_of(op)[along or ""]
            if isinstance(extent, int) and extent <= self.leaf.lanes:
                return replace(self.leaf, unroll=(*self.leaf.unroll, along or ""))
        return self.leaf

    def check_aliases(self, run: Sequence[GenericOp], outside: Sequence[SSAValue]) -> None:
        """Arguments of a leaf do not overlap: what it writes must come in as one view."""
        roots = [self.kernel.root_of(v) for v in outside]
        for op in run:
            target = op.outputs[0]
            if roots.count(self.kernel.root_of(target)) > 1 and target in outside:
                raise Refused(f"'{target.name_hint}' is written and read through two views")

    def name(self, run: Sequence[GenericOp]) -> str:
        extents = max((loops_of(op) for op in run), key=len).values()
        shape = "x".join(spelled(e).replace("*", "_") for e in extents)
        return f"{self.kernel.name}_{shape}_{len(self.made)}"


def give_lanes(kernel: Kernel, leaf: Leaf) -> None:
    """Count the threads along x that share a vector or an instruction of a tensor core: of a vector each has 16 bytes, or less where that would
    be less than a warp. Raises Refused where a loop has these threads."""
    if not isinstance(leaf, Vector | Mma):
        return
    if "thread.x" in kernel.launch:
        raise Refused(f"{leaf}: thread.x is given to a loop, and the lanes are its threads")
    if isinstance(leaf, Mma):
        kernel.launch["thread.x"] = WARP
        return
    wide = any(
        isinstance(op, GenericOp) and type_of(v).element_type == f64 for op in kernel.op.walk() for v in op.operands
    )
    kernel.launch["thread.x"] = max(WARP, leaf.lanes // (2 if wide else 4))


WARP = 32  # threads of a GPU that run together


def element_of(run: Sequence[GenericOp]) -> Attribute:
    """The type of floats in a tile, i32 where there are none; integers and truth values have as many lanes."""
    types = {type_of(value).element_type for op in run for value in op.operands}
    found = {type for type in types if not isinstance(type, IntegerType)} or {i32}
    if len(found) != 1 or not found <= {f32, f64, i32}:
        raise Refused(f"the vector leaf does not mix {', '.join(sorted(map(str, types)))}")
    return found.pop()


def constant_values(value: SSAValue) -> np.ndarray | None:
    """The numbers of a Kernel.constant."""
    if not isinstance(value.owner, memref.AllocOp):
        return None
    attr = value.owner.attributes.get("constant")
    if not isinstance(attr, DenseIntOrFPElementsAttr):
        return None
    return np.array(attr.get_values(), np.float64).reshape(type_of(value).get_shape())


def argument_names(values: Sequence[SSAValue]) -> list[str]:
    hints = [v.name_hint or "arg" for v in values]
    return [f"{hint}{'' if hints.count(hint) == 1 else f'_{i}'}" for i, hint in enumerate(hints)]


def anywhere(value: SSAValue) -> MemRefType:
    """The type of such a tile at any offset of its buffer."""
    type = type_of(value)
    shape = [DYNAMIC if size == DYNAMIC_INDEX else size for size in type.get_shape()]
    return buffer_type(shape, type.element_type, list(type.get_strides() or ()), space_of(value), offset=None)


def signature(op: GenericOp, values: Sequence[SSAValue]) -> tuple:
    """What makes two tiles the same code, but for where they lie."""
    numbers = {value: i for i, value in enumerate(op.body.block.args)}
    body = []
    for inner in op.body.block.ops:
        body.append((inner.name, tuple(inner.properties.items()), tuple(numbers.get(v, v) for v in inner.operands)))
        numbers.update({r: len(numbers) for r in inner.results})
    operands = tuple(values.index(value) for value in op.operands)
    constants = tuple(str(v.owner.attributes["constant"]) for v in op.operands if constant_values(v) is not None)  # type: ignore[union-attr]
    fetches = "fetches" in op.attributes
    return (op.attributes["loops"], op.indexing_maps, op.iterator_types, operands, constants, fetches, tuple(body))
