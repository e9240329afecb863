"""Whether a schedule fits a kernel: it names loops and buffers that are there, and asks for nothing that its ops forbid.

    Level(q = 4) | Scalar                    kernel 'gemm': Level(q = 4): there is no loop q           its loops are m, n, k
    Level(k = 4 parallel) | Scalar           ... loop k is summed over, and threads would add to the same elements
    Level(n = 32; C -> panel) | Scalar       ... buffer C is written: only what is read is staged

Schedules are written by hand too, so that each of these is an error about the user's text. What a target knows is asked where kernels are
lowered (mlc/passes/loops/verify.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product

from xdsl.dialects.builtin import StringAttr
from xdsl.dialects.func import FuncOp
from xdsl.dialects.linalg.attrs import IteratorType
from xdsl.dialects.linalg.ops import GenericOp

from mlc.errors import MlcError
from mlc.ir.dims import Extent
from mlc.ir.kernel.access import read_map
from mlc.ir.kernel.kernel import Kernel, loops_of
from mlc.ir.kernel.schedule import Level, Schedule, Stage, Vector
from mlc.ir.spelling import nearest


@dataclass
class Facts:
    """What a kernel's structured ops say, at any stage: they may be cut into tiles already."""

    kernel: Kernel
    ops: list[GenericOp]
    loops: dict[str, list[Extent]] = field(default_factory=dict)  # with every extent that a loop has in some op
    reduced: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    axes: dict[str, int] = field(default_factory=dict)  # of each buffer that ops read or write
    loops_along: dict[str, set[str]] = field(default_factory=dict)  # that index a buffer

    @staticmethod
    def of(kernel: Kernel) -> Facts:
        found = Facts(kernel, [op for op in kernel.op.walk() if isinstance(op, GenericOp)])
        for op in found.ops:
            loops = loops_of(op)
            for loop, extent in loops.items():
                found.loops.setdefault(loop, []).append(extent)
            kinds = zip(loops, op.iterator_types.data, strict=True)
            found.reduced |= {loop for loop, kind in kinds if kind.data is IteratorType.REDUCTION}
            for value, attr in zip(op.operands, op.indexing_maps.data, strict=True):
                name = kernel.name_of(value)
                if name is None:
                    continue
                access = read_map(attr, list(loops))
                found.axes[name] = len(access)
                found.loops_along.setdefault(name, set()).update(n for form in access for n in form.terms)
                if value is op.outputs[0] and kernel.is_argument(value):
                    found.written.add(name)
        return found

    def loops_text(self) -> str:
        return ", ".join(f"{name} = {extents[0]}" for name, extents in self.loops.items())


def verify_fit(kernel: Kernel, schedule: Schedule) -> None:
    """Raises MlcError where the parts of a schedule that are still to be applied do not fit the kernel."""
    facts = Facts.of(kernel)
    rest = schedule.levels[kernel.applied :]
    if not facts.ops:
        if schedule.levels and not kernel.applied:
            raise error(kernel, schedule, "its loops have no names: it was written as plain loops", "Write Scalar.")
        return
    before: list[Level] = []
    for level in rest:
        _verify_level(facts, level, before)
        _verify_sizes(facts, level, schedule)
        _verify_ahead(facts, level, schedule)
        before.append(level)
    if isinstance(schedule.leaf, Vector):
        _verify_vector(facts, schedule.leaf)


def verify_function(function: FuncOp) -> None:
    """The schedule that a kernel of a module carries, if its ops are there. Raises MlcError."""
    attr = function.attributes.get("kernel.schedule")
    if attr is None:
        return
    if not isinstance(attr, StringAttr):
        raise MlcError(
            f"kernel '{function.sym_name.data}': kernel.schedule is no text", remedy='Write kernel.schedule = "Scalar".'
        )
    if any(isinstance(op, GenericOp) for op in function.walk()):
        kernel = Kernel.from_func(function)
        try:
            verify_fit(kernel, Schedule.parse(kernel.schedule))
        except MlcError as wrong:
            if wrong.message.startswith("kernel "):
                raise
            raise MlcError(f"kernel '{kernel.name}': {wrong.message}", remedy=wrong.remedy) from wrong


def error(kernel: Kernel, part: object, why: str, remedy: str) -> MlcError:
    """About one part of a schedule."""
    return MlcError(f"kernel '{kernel.name}': {part}: {why}", remedy=remedy)


def _verify_level(facts: Facts, level: Level, before: Iterable[Level]) -> None:
    kernel = facts.kernel
    for name in level.tiles:
        _require_loop(facts, level, name)
    if strangers := level.bind.keys() - level.tiles.keys():
        raise error(
            kernel, level, f"it binds {min(strangers)}, which it does not tile", "Bind loops that the level tiles."
        )
    for other, (name, times) in level.beside.items():
        _verify_beside(facts, level, other, name, times)
    if not level.fits and not any(level.covers(loops_of(op)) for op in facts.ops):
        raise error(
            kernel,
            level,
            f"no op has all of the loops {', '.join(level.tiles)}",
            f"A level is for ops that have all its loops; they have {'; '.join(_loops_of_ops(facts))}.",
        )
    for name, bind in level.bind.items():
        if name in facts.reduced:
            raise error(
                kernel,
                level,
                f"loop {name} is reduced over, and the {'threads' if bind == 'parallel' else 'copies'} that share it would add to the same elements",
                f"Bind a loop of the result: {', '.join(n for n in facts.loops if n not in facts.reduced) or 'there is none'}.",
            )
    _verify_sharing(facts, level, before)
    for name, stage in level.stage.items():
        _verify_stage(facts, level, name, stage, before)


def _verify_beside(facts: Facts, level: Level, other: str, name: str, times: int) -> None:
    """A loop that goes beside a tiled one stands in its place: no op has both, and as many steps of the one belong to all of the other."""
    kernel = facts.kernel
    _require_loop(facts, level, other)
    if level.fits or other in level.tiles or any({other, name} <= loops_of(op).keys() for op in facts.ops):
        raise error(
            kernel, level, f"loop {other} stands nowhere in place of {name}", f"Leave out 'beside {times} {other}'."
        )
    for extent, steps in product(facts.loops[other], facts.loops[name]):
        if isinstance(extent, int) and isinstance(steps, int) and -(-extent // times) != steps:
            raise error(
                kernel,
                level,
                f"{extent} steps of {other}, {times} at a time, are not the {steps} of {name}",
                f"Leave out 'beside {times} {other}', or write the number that belongs to a step of {name}.",
            )


def _verify_sizes(facts: Facts, level: Level, schedule: Schedule) -> None:
    """A tile has an element, and no more of them than its loop, in whole vectors; on a grid all tiles are of one size, and a short loop has
    one tile that it does not fill."""
    leaf = schedule.leaf
    lanes = leaf.lanes if isinstance(leaf, Vector) else 1
    for name, size in level.tiles.items():
        if size < 1:
            raise error(facts.kernel, level, f"the tile of loop {name} is {size}", "A tile has at least one element.")
        if level.fits and isinstance(leaf, Vector) and name in leaf.loops and size % lanes:
            raise error(
                facts.kernel,
                level,
                f"{size} elements of loop {name} are no whole vectors of {lanes}",
                f"Write a multiple of {lanes}.",
            )
        known = [extent for extent in facts.loops[name] if isinstance(extent, int)]
        if (
            not schedule.on_grid
            and len(known) == len(facts.loops[name])
            and size > (most := max(1, -(-max(known) // lanes) * lanes))
        ):
            raise error(
                facts.kernel,
                level,
                f"the tile of loop {name} is {size}, and the loop has {max(known)} elements",
                f"Write at most {most}" + (f", which is whole vectors of {lanes}." if most > max(known) else "."),
            )


def _verify_sharing(facts: Facts, level: Level, before: Iterable[Level]) -> None:
    kernel, shared = facts.kernel, [name for name, bind in level.bind.items() if bind == "parallel"]
    if level.block and (len(shared) < 2 or len(shared) < len(level.tiles)):
        raise error(
            kernel,
            level,
            "'by' is for loops that are all parallel, two of them or more",
            f"Leave out 'by {level.block}'.",
        )
    if not shared:
        return
    if kernel.range or any("parallel" in other.bind.values() for other in before):
        raise error(kernel, level, "an earlier level is parallel already", "Threads share the tiles of one level.")
    for other in before:
        if not other.fits and (twice := [name for name in shared if name in other.tiles]):
            raise error(
                kernel,
                level,
                f"loop {twice[0]} is cut by {other} already",
                "Make the outermost level of a loop the parallel one.",
            )


def _verify_stage(facts: Facts, level: Level, name: str, stage: Stage, before: Iterable[Level]) -> None:
    kernel = facts.kernel
    if name not in facts.axes:
        near = nearest(name, facts.axes)
        remedy = f"Did you mean {near[0]}? " if near else ""
        raise error(kernel, level, f"no op reads a buffer {name}", f"{remedy}It reads {', '.join(_read(facts))}.")
    if name in facts.written and stage.space != "register":
        others = ", ".join(_read(facts)) or "none"
        raise error(kernel, level, f"buffer {name} is written, and only what is read is staged", f"It reads {others}.")
    axes = facts.axes[name]
    if stage.order and sorted(stage.order) != list(range(axes)):
        wanted = ", ".join(map(str, reversed(range(axes))))
        raise error(
            kernel,
            level,
            f"{list(stage.order)} is no order of the {axes} axes of {name}",
            f"Write each axis once, as in [{wanted}].",
        )
    if any(name in other.stage and other.stage[name].space == stage.space for other in before):
        raise error(kernel, level, f"{name} is staged in {stage.space} already", "Leave out one of the two.")
    if level.fits:
        raise error(kernel, level, "a level with <= stages nothing", "Stage in a level with = or ~.")
    if stage.buffers > 1 and stage.space != "workgroup":
        raise error(
            kernel,
            level,
            f"{name} is copied to {stage.space}, which nothing does behind a thread's back",
            f"Leave out 'async {stage.buffers}': it is for workgroup.",
        )
    if not facts.loops_along[name] & level.tiles.keys():
        along = ", ".join(sorted(facts.loops_along[name])) or "no loop"
        raise error(kernel, level, f"none of its loops runs through {name}", f"{name} is indexed by {along}.")


def _verify_ahead(facts: Facts, level: Level, schedule: Schedule) -> None:
    """Panels are fetched ahead where they lie one behind the other, by a leaf that does it."""
    kernel = facts.kernel
    for name, stage in level.stage.items():
        if not stage.ahead:
            continue
        if stage.space != "panel" or name not in kernel.weights:
            raise error(
                kernel,
                level,
                f"{name} has no next panel in memory to fetch ahead",
                f"Leave out 'ahead {stage.ahead}': it is for weights in panels.",
            )
        if not isinstance(schedule.leaf, Vector):
            raise error(
                kernel,
                level,
                f"{schedule.leaf} fetches nothing ahead",
                f"Leave out 'ahead {stage.ahead}', or write Vector(...).",
            )


def tiles_of_rows(facts: Facts, level: Level, name: str) -> list[str]:
    """The loops of a level whose tiles use the same panel of a weight."""
    return [loop for loop in level.tiles if loop not in facts.loops_along[name] and loop not in facts.reduced]


def _read(facts: Facts) -> list[str]:
    return [name for name in facts.axes if name not in facts.written]


def _verify_vector(facts: Facts, leaf: Vector) -> None:
    kernel = facts.kernel
    for name in (*leaf.loops, *leaf.unroll):
        _require_loop(facts, leaf, name)
    for names, what in ((leaf.loops, "runs across the lanes"), (leaf.unroll, "is unrolled")):
        if twice := [name for name in names if names.count(name) > 1]:
            raise error(kernel, leaf, f"loop {twice[0]} {what} twice", "Name it once.")
    if not leaf.loops:
        raise error(kernel, leaf, "no loop runs across the lanes", "Name one, or write Scalar.")
    for value, what in ((leaf.lanes, "lanes"), (leaf.interleave, "vectors in a step")):
        if value < 1:
            raise error(kernel, leaf, f"it has {value} {what}", "Write at least 1.")


def _require_loop(facts: Facts, part: Level | Vector, name: str) -> None:
    if name not in facts.loops:
        near = nearest(name, facts.loops)
        remedy = f"Did you mean {near[0]}? " if near else ""
        raise error(facts.kernel, part, f"there is no loop {name}", f"{remedy}The loops are {facts.loops_text()}.")


def _loops_of_ops(facts: Facts) -> Iterator[str]:
    yield from dict.fromkeys(", ".join(loops_of(op)) for op in facts.ops)
