"""The schedule of a kernel on an NVIDIA GPU, from its loops and accesses alone.

    online.py       the scores of some keys at a time in registers
    contraction.py  tiles in shared memory and in registers
    warp_tiles.py   the same for the tensor cores, with a tile in the registers of each warp
    pixels.py       that of contraction.py with pixels for rows, each with its window in shared memory
    rows.py         a warp or a block for each row
    columns.py      four neighbours of a reduction across memory for each thread: pooling, depthwise convolutions
    pointwise.py    16 bytes at a time; what lies across by squares in shared memory
    generic.py      what every kernel has: one thread per element of a result

A rule takes the facts of a kernel (loop_facts.py) and the target, and gives a schedule or None; the first of SPECIAL that has one is heard.
"""

from __future__ import annotations

from collections.abc import Callable

from mlc.ir.kernel.cuda_target import CudaTarget, cuda_target
from mlc.ir.kernel.kernel import Kernel
from mlc.ir.kernel.schedule import Schedule
from mlc.ir.kernel.target import Target
from mlc.passes.kernel.rules.cuda.columns import columns
from mlc.passes.kernel.rules.cuda.contraction import contraction
from mlc.passes.kernel.rules.cuda.generic import generic, written_as_loops
from mlc.passes.kernel.rules.cuda.online import online
from mlc.passes.kernel.rules.cuda.pixels import convolution
from mlc.passes.kernel.rules.cuda.pointwise import pointwise
from mlc.passes.kernel.rules.cuda.rows import rows
from mlc.passes.kernel.rules.cuda.warp_tiles import says, tensor_cores
from mlc.passes.kernel.rules.loop_facts import LoopFacts

SPECIAL: tuple[Callable[[LoopFacts, CudaTarget], Schedule | None], ...] = (
    online,
    tensor_cores,
    contraction,
    convolution,
    rows,
    columns,
    pointwise,
)


def target(arch: str) -> CudaTarget:
    """The GPU of that name: "native", or architectures as in "sm_80,sm_90a". Raises TargetUnavailable for any other."""
    return cuda_target(arch)


def choose(kernel: Kernel, target: Target) -> Schedule:
    """A schedule for a kernel whose loops are merged."""
    assert isinstance(target, CudaTarget), target
    group = LoopFacts(kernel)
    if group.strange_code():
        return written_as_loops()
    found = next((schedule for rule in SPECIAL if (schedule := rule(group, target))), None) or generic()
    kernel.report += says(group, found, target)
    return found


def plain(kernel: Kernel) -> Schedule:
    """One thread per element, which every kernel has."""
    return written_as_loops() if LoopFacts(kernel).strange_code() else generic()
