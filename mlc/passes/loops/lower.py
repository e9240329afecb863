"""A kernel and its schedule -> loops -> leaf: level after level, each of which prints, verifies, parses back and can be gone on from.

lower(kernel, Schedule((Level({"n": 32}, stage={"B": Stage("panel")}), Level({"m": 14})), Vector(("n",), 16, ("m", "n"))), target)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from mlc.ir.collection import without_collections
from mlc.ir.kernel.kernel import Kernel
from mlc.ir.kernel.schedule import Grid, Leaf, Level, Mma, Online, Scalar, Schedule, Vector
from mlc.ir.kernel.target import Target
from mlc.passes.loops.ahead import fetched_at
from mlc.passes.loops.binds import verify_shared
from mlc.passes.loops.copies import lower_copies
from mlc.passes.loops.grid_leaf import lower_grid
from mlc.passes.loops.leaves import give_lanes, outline_leaves
from mlc.passes.loops.online_leaf import lower_online
from mlc.passes.loops.overlap import overlap
from mlc.passes.loops.scalar_leaf import lower_scalar
from mlc.passes.loops.scratch import place_scratch
from mlc.passes.loops.tensor_core_leaf import lower_tensor_cores
from mlc.passes.loops.tile import tile
from mlc.passes.loops.tiling_rule import verify_bounds
from mlc.passes.loops.verify import verify_schedule, verify_workgroup_memory

# How the innermost tiles become code, by the kind of leaf.
LEAVES: Mapping[type, Callable[[Kernel, Leaf, Target], None]] = {
    Vector: outline_leaves,  # type: ignore[dict-item]
    Scalar: lower_scalar,  # type: ignore[dict-item]
    Grid: lower_grid,  # type: ignore[dict-item]
    Mma: lower_tensor_cores,  # type: ignore[dict-item]
    Online: lower_online,  # type: ignore[dict-item]
}


def lower(
    kernel: Kernel,
    schedule: Schedule,
    target: Target,
    after: Callable[[str, Kernel], None] | None = None,
) -> Kernel:
    """Rewrite the kernel in place to what the printers for a target take. `after(part, kernel)` sees it after each level and
    the leaf. Raises MlcError for a schedule that does not fit, before anything is rewritten, and Refused where its parts turn out not to go
    together; the kernel is then half rewritten."""
    with without_collections():
        for part in steps(kernel, schedule, target):
            if after:
                kernel.finish()
                after(str(part), kernel)
        kernel.finish()
    return kernel


def steps(kernel: Kernel, schedule: Schedule, target: Target) -> Iterator[Level | Leaf]:
    """Apply the parts of a schedule that the kernel has not had yet, one at a time; each is given when it is done."""
    verify_schedule(kernel, schedule, target)
    kernel.schedule = str(schedule)
    leaf = schedule.leaf
    verify_bounds(kernel)
    if isinstance(leaf, Vector) and "thread.x" in target.lowering.binds and not schedule.on_grid:
        kernel.launch.setdefault("block.x", 1)  # the lanes are the threads of one block
    lanes = dict.fromkeys(leaf.loops, leaf.lanes) if isinstance(leaf, Vector) else {}
    ahead = fetched_at(kernel, schedule)
    for level in schedule.levels[kernel.applied :]:
        tile(kernel, level, lanes, target, ahead.get(kernel.applied, {}))
        verify_bounds(kernel)
        if kernel.launch:
            verify_workgroup_memory(kernel, level, target)
        kernel.applied += 1
        yield level
    if kernel.applied == len(schedule.levels):
        if kernel.launch:
            verify_shared(kernel)
            give_lanes(kernel, leaf)
            overlap(kernel)
            lower_copies(kernel)
        LEAVES[type(leaf)](kernel, leaf, target)
        place_scratch(kernel, target.lowering.stack)
        if kernel.launch:
            verify_workgroup_memory(kernel, leaf, target)
        kernel.applied += 1
        yield leaf
