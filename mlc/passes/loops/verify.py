"""Whether a target can lower a schedule for a kernel, asked before anything is rewritten.

    Level(m = 8 thread.y) | Scalar                       on a CPU: it knows no bind thread.y, only parallel
    Level(m = 64) | Vector(n x 16, unroll m*n)           64 x 2 sums do not stay in 32 registers
    Level(n = 4096 ...)                                  too many copies of the code: a tile per size of a run-time loop, or unrolled too far

What a schedule says of the kernel itself is mlc.ir.kernel.fit's matter. Whatever passes here is lowered, or refused while lowering
(refused.py); nothing of it is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

from xdsl.dialects import memref
from xdsl.dialects.builtin import IntegerType, f32, f64
from xdsl.dialects.linalg.attrs import IteratorType
from xdsl.dialects.linalg.ops import GenericOp, IndexOp
from xdsl.ir import Attribute

from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.kernel.fit import Facts, error, verify_fit
from mlc.ir.kernel.kernel import Kernel, element_bytes, loops_of, space_of, static_bytes, type_of
from mlc.ir.kernel.schedule import Leaf, Level, Schedule, Vector
from mlc.ir.kernel.target import Target
from mlc.passes.loops.body import BodyOps
from mlc.passes.loops.byte_products import byte_factors
from mlc.passes.loops.refused import Refused

COPIES = (
    512  # of the ops of a kernel: peeled rests, and a tile for each size of a run-time loop; the rules stay below 64
)
THREADS = 1024  # of a block of a GPU
VOLUME = 1 << 15  # elements that all leaves of a kernel compute in straight code; seconds of compilation


def verify_schedule(kernel: Kernel, schedule: Schedule, target: Target) -> None:
    """Raises MlcError, about the first part of the schedule that cannot be applied as it says."""
    verify_fit(kernel, schedule)
    facts = Facts.of(kernel)
    for level in schedule.levels[kernel.applied :]:
        _verify_known(kernel, level, target)
    if not facts.ops:
        return
    sizes = {name: Sizes.of(facts, name, schedule) for name in facts.loops}
    _verify_threads(facts, schedule, target)
    if not schedule.on_grid:  # one code for all tiles
        _verify_copies(kernel, schedule, sizes)
    if isinstance(schedule.leaf, Vector):
        _verify_leaf(facts, schedule.leaf, sizes, target, "thread.x" in target.lowering.binds)


def _verify_known(kernel: Kernel, level: Level, target: Target) -> None:
    """Nothing that the lowering would leave out."""
    knows = target.lowering
    for bind in level.bind.values():
        if bind not in knows.binds:
            raise error(
                kernel, level, f"{target.name} knows no bind {bind}", f"It knows {', '.join(knows.binds) or 'none'}."
            )
    for name, stage in level.stage.items():
        if stage.space not in knows.spaces:
            raise error(
                kernel,
                level,
                f"{target.name} has no space {stage.space}",
                f"It has {', '.join(knows.spaces) or 'none'}: {name} -> ...",
            )
        if stage.pad and not knows.pads:
            raise error(
                kernel, level, f"{target.name} pads rows of {name} to whole vectors itself", f"Leave out +{stage.pad}."
            )


def _verify_threads(facts: Facts, schedule: Schedule, target: Target) -> None:
    """The threads of a block are as many as a block may have."""
    now = {name: max((e for e in extents if isinstance(e, int)), default=0) for name, extents in facts.loops.items()}
    threads = 1
    for level in schedule.levels:
        for name, size in level.tiles.items():
            if level.bind.get(name, "").startswith("thread") and now[name]:
                threads *= ceil(now[name] / size)
                if threads > target.lowering.threads:
                    raise error(
                        facts.kernel,
                        level,
                        f"with loop {name} a block has {threads} threads, and {target.name} allows {target.lowering.threads}",
                        f"Write larger tiles of {name} here, or smaller ones for the block.",
                    )
            now[name] = size
    if (
        isinstance(schedule.leaf, Vector)
        and threads > 1
        and threads * schedule.leaf.lanes // 4 > target.lowering.threads
    ):
        raise error(
            facts.kernel,
            schedule.leaf,
            f"{threads} rows of {schedule.leaf.lanes // 4} threads are more than the {target.lowering.threads} of a block",
            "Write fewer lanes, or fewer rows for a block.",
        )


def verify_workgroup_memory(kernel: Kernel, part: Level | Leaf, target: Target) -> None:
    """What is staged so far fits in the memory of a block. Raises MlcError."""
    arrays = [op for op in kernel.op.walk() if isinstance(op, memref.AllocOp) and space_of(op.memref) == "workgroup"]
    bytes = sum(static_bytes(op) or 0 for op in arrays)
    if bytes > target.lowering.shared:
        most = max(arrays, key=lambda op: static_bytes(op) or 0)
        raise error(
            kernel,
            part,
            f"{bytes} bytes are staged in workgroup memory, {static_bytes(most)} of them for "
            f"'{(most.memref.name_hint or '').removesuffix('_shared')}', and a block of {target.name} has {target.lowering.shared}",
            f"Write smaller tiles{f' of {names}' if (names := ', '.join(getattr(part, 'tiles', {}))) else ''}.",
        )


@dataclass(frozen=True)
class Sizes:
    """What becomes of a loop: how many copies of its body there are, and which sizes it has in the leaves."""

    copies: int
    sizes: frozenset[Extent]

    @staticmethod
    def of(facts: Facts, name: str, schedule: Schedule) -> Sizes:
        leaf = schedule.leaf
        lanes = leaf.lanes if isinstance(leaf, Vector) and name in leaf.loops else 1
        found: dict[Extent, int] = dict.fromkeys(
            facts.loops[name], 1
        )  # size -> copies of the body in which the loop has it
        for level in schedule.levels[facts.kernel.applied :]:
            if name not in level.tiles:
                continue
            after: dict[Extent, int] = {}
            for extent, copies in found.items():
                for size in _tile_sizes(extent, level, level.tiles[name], lanes):
                    after[size] = after.get(size, 0) + copies
            found = after
        return Sizes(sum(found.values()), frozenset(found))

    @property
    def largest(self) -> int:
        """Of the sizes that are numbers."""
        return max((size for size in self.sizes if isinstance(size, int)), default=0)


def _tile_sizes(extent: Extent, level: Level, size: int, lanes: int) -> list[Extent]:
    """The sizes that a level leaves of a loop, one for each copy of the code."""
    if isinstance(extent, Dim):
        unit = lanes if size % lanes == 0 else 1
        if level.ragged and size > 1 and not level.fits:
            return [dims.symbol(f"{extent}_part")]
        count = min(size // unit, COPIES + 1)  # more are refused whatever they are
        return [*(unit * n for n in range(1, count + 1)), *([extent] if level.fits else [])]
    if level.fits or extent <= size:
        return [extent]
    return [size, extent % size] if extent % size else [size]


def _verify_copies(kernel: Kernel, schedule: Schedule, sizes: dict[str, Sizes]) -> None:
    if prod(s.copies for s in sizes.values()) <= COPIES:
        return
    most = max(sizes, key=lambda name: sizes[name].copies)
    raise error(
        kernel,
        schedule,
        f"its tiles need more than {COPIES} copies of the code, most of them for loop {most}",
        f"Write smaller tiles of {most}, or {most} ~ ... instead of {most} = ...: its tiles then keep a run-time size.",
    )


def _verify_leaf(facts: Facts, leaf: Vector, sizes: dict[str, Sizes], target: Target, on_grid: bool) -> None:
    """What stays in registers fits there, and straight code stays short."""
    kernel = facts.kernel
    if why := not_for_vectors(facts.ops):
        raise error(kernel, leaf, why, "Write Scalar.")
    widest = THREADS * 4 if on_grid else 8 * target.lanes
    if leaf.lanes & (leaf.lanes - 1) or leaf.lanes > widest or (on_grid and leaf.lanes < target.lanes):
        raise error(
            kernel,
            leaf,
            f"{leaf.lanes} lanes are no vector",
            f"Write a power of two, {target.lanes} for {target.name}, at most {widest}.",
        )
    volume = 0
    for op in facts.ops:
        points, held, vectors = _points(op, leaf, sizes)
        volume += points * prod(max(1, len(sizes[name].sizes)) for name in loops_of(op))
        wide = -(-leaf.lanes * element_bytes(type_of(op.outputs[0]).element_type) // (4 * target.lanes))
        if on_grid:  # of a vector that more than a warp shares each thread has 16 bytes
            wide = min(wide, 4)
        reduces = any(kind.data is IteratorType.REDUCTION for kind in op.iterator_types.data)
        if (reduces or not kernel.is_argument(op.outputs[0])) and held * wide > target.registers:
            raise error(
                kernel,
                leaf,
                f"it keeps {held} vectors of '{op.outputs[0].name_hint}' in {held * wide} registers, and {target.name} has {target.registers}",
                f"Write smaller tiles of {', '.join(n for n in loops_of(op) if n in (*leaf.unroll, *vectors)) or 'its loops'}"
                f"{', or a smaller interleave' if leaf.interleave > 1 else ''}, or unroll less.",
            )
    if volume > VOLUME:
        raise error(
            kernel,
            leaf,
            f"it writes {volume} vectors of straight code",
            f"Unroll less, or write smaller tiles: {VOLUME} are the most.",
        )


def _points(op: GenericOp, leaf: Vector, sizes: dict[str, Sizes]) -> tuple[int, int, list[str]]:
    """Of one op: vectors that a step computes in straight code, those of them that are results, and the loop across the lanes."""
    loops = loops_of(op)
    kinds = dict(zip(loops, (kind.data for kind in op.iterator_types.data), strict=True))
    across = next((name for name in leaf.loops if name in loops), None)
    points = held = 1
    for name in leaf.unroll:
        if name not in loops or name == across:
            continue
        size = max(1, sizes[name].largest)
        points *= size
        held *= size if kinds[name] is not IteratorType.REDUCTION else 1
    chunks = 1
    if across is not None:
        unrolled = across in leaf.unroll and sizes[across].largest
        chunks = ceil(max(1, sizes[across].largest) / leaf.lanes) if unrolled else leaf.interleave
    return points * chunks, held * chunks, [across] if across is not None else []


def not_for_vectors(ops: Sequence[GenericOp]) -> str | None:
    """Why the vector leaf cannot compute these ops."""
    kinds: set[Attribute] = {type_of(value).element_type for op in ops for value in op.operands}
    floats = {kind for kind in kinds if not isinstance(kind, IntegerType)}
    bytes = [op for op in ops if byte_factors(op) is not None]
    if len(floats) > 1 or not floats <= {f32, f64}:
        return f"the vector leaf takes f32 or f64, and integers, not {', '.join(sorted(map(str, kinds)))}"
    for op in ops:
        folds = any(kind.data is IteratorType.REDUCTION for kind in op.iterator_types.data)
        if folds and isinstance(type_of(op.outputs[0]).element_type, IntegerType) and op not in bytes:
            return "the vector leaf folds no integers but sums of products of bytes"
        for inner in op.body.walk():
            if isinstance(inner, IndexOp):
                return "a body asks for the position of a loop"
            if isinstance(inner, (memref.LoadOp, memref.StoreOp)):
                return "a body reads or writes a buffer itself"
        try:
            BodyOps(op)
        except Refused as why:
            return str(why)
    return None
