"""What a call takes of memory at some sizes, before anything has run: the weights as kernels read them, the arena, the outputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlc.ir.byte_counts import bytes_text

if TYPE_CHECKING:
    from mlc.ir.kernel.plan import Plan
    from mlc.runtime.binding import MemoryUse


@dataclass(frozen=True)
class CallMemory:
    """Of one call at `sizes` with up to `threads` threads. `packed` bytes of the weights lie in panels; `at` are the nodes that run when
    most of the arena is in use."""

    use: MemoryUse
    packed: int
    sizes: Mapping[str, int]
    threads: int
    at: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """For JSON, in bytes."""
        use = self.use
        return {
            "total": use.total,
            "weights": use.weights,
            "packed": self.packed,
            "arena": use.arena,
            "alive": use.peak,
            "outputs": use.outputs,
            "sizes": dict(self.sizes),
            "threads": self.threads,
            "at": list(self.at),
        }

    def lines(self) -> list[str]:
        """The total with what it depends on, then its parts."""
        use = self.use
        sizes = ", ".join(f"{name} = {size}" for name, size in self.sizes.items())
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}"
        packed = f" ({bytes_text(self.packed)} packed)" if self.packed else ""
        at = f" (most at {self.at[0]})" if self.at and use.peak else ""
        return [
            f"{bytes_text(use.total)} for a call{' at ' + sizes if sizes else ''} with {threads}",
            f"weights {bytes_text(use.weights)}{packed}, arena {bytes_text(use.arena)}{at}, outputs {bytes_text(use.outputs)}",
        ]


def call_memory(
    plan: Plan,
    weights: Mapping[str, int],
    packed: Collection[str],
    sizes: Mapping[str, int],
    threads: int | None = None,
) -> CallMemory:
    """`weights` are bytes by key, `packed` the keys of those in panels. Raises MlcError where sizes do not fit, or the machine has less."""
    from dataclasses import replace

    from mlc.ir.processors import thread_count
    from mlc.runtime.binding import Binder

    threads = thread_count(threads)
    binder = Binder(plan, threads)
    found = {name: size for name, size in sizes.items() if name in binder.solver.symbols}
    use = replace(binder.memory(found), weights=sum(weights[key] for key in plan.weights))
    at = plan.steps[use.step].source if use.step is not None else ()
    return CallMemory(use, sum(weights[key] for key in plan.weights if key in packed), found, threads, tuple(at))


def memory_lines(planned: Mapping[str, Any] | None) -> list[str]:
    """What was planned under a budget of memory, if there was one."""
    if planned is None:
        return []
    line = f"intermediate results {bytes_text(planned['planned'])} of {bytes_text(planned['budget'])}"
    if not planned["groups"]:
        return [line]
    again = f"{planned['groups']} groups are computed again: {planned['extra']:.1%} more work"
    return [f"{line}, {bytes_text(planned['without'])} without a budget; {again}"]
