"""A kernel and its schedule -> loops -> leaf: level after level, each of which prints, verifies and parses back.

lower(kernel, Schedule((Level({"n": 32}, stage={"B": Stage("panel")}), Level({"m": 14})), Vector(("n",), 16, ("m", "n"))))
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mlc.ir.kernel.kernel import Kernel
from mlc.ir.kernel.schedule import Schedule, Vector
from mlc.passes.loops.outline import outline_leaves
from mlc.passes.loops.places import verify_bounds
from mlc.passes.loops.scalar import lower_scalar
from mlc.passes.loops.scratch import place_scratch
from mlc.passes.loops.tile import tile


def lower(kernel: Kernel, schedule: Schedule, after: Callable[[str, Kernel], None] | None = None) -> Kernel:
    """Rewrite the kernel in place to what the printers take. `after(level, kernel)` sees it after each level. Raises Refused where the kernel
    does not allow the schedule; it is then half rewritten."""
    with without_collections():
        leaf = schedule.leaf
        verify_bounds(kernel)
        lanes = dict.fromkeys(leaf.loops, leaf.lanes) if isinstance(leaf, Vector) else {}
        for level in schedule.levels:
            tile(kernel, level, lanes)
            verify_bounds(kernel)
            if after:
                kernel.finish()
                after(str(level), kernel)
        if isinstance(leaf, Vector):
            outline_leaves(kernel, leaf)
        else:
            lower_scalar(kernel)
        place_scratch(kernel)
        kernel.schedule = str(schedule)
        kernel.finish()
        if after:
            after(str(leaf), kernel)
    return kernel


@contextmanager
def without_collections() -> Iterator[None]:
    """A collection costs 30 ms and finds nothing: IR is cyclic but alive."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
