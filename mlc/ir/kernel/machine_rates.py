"""What a CPU was measured to do: rates and costs that no list of features tells, and that no name does.

`mlc doctor` shows them. Schedules ask sizes of caches instead: the same model is the same code on equal machines, however busy they were when
they were measured.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class MachineRates:
    """Of one core, by itself. None where this kind of machine has no way to measure it.

    clock            GHz, while it computes
    fma, load        fused multiply-adds and loads of whole vectors in a cycle
    l2, l3, memory   GB/s that a core reads from there, one line after the other
    store, stream    GB/s that it writes to memory, by ordinary stores and around its caches
    pause, syscall   ns of one
    fork, wake       ns from a launch until a second thread works, when that spins and when it sleeps
    """

    clock: float
    fma: float
    load: float
    l2: float
    l3: float
    memory: float | None = None
    store: float | None = None
    stream: float | None = None
    pause: float | None = None
    syscall: float | None = None
    fork: float | None = None
    wake: float | None = None

    def facts(self) -> dict[str, float | None]:
        return asdict(self)

    @staticmethod
    def of(facts: object) -> MachineRates | None:
        """The inverse of `facts`; None for anything else."""
        names = [field.name for field in fields(MachineRates)]
        if not isinstance(facts, dict) or list(facts) != names:
            return None
        needed, numbers = names[:5], (float, int)
        if not all(isinstance(v, numbers) or (v is None and n not in needed) for n, v in facts.items()):
            return None
        return MachineRates(**facts)

    def __str__(self) -> str:
        def rate(name: str, value: float | None, unit: str) -> list[str]:
            return [] if value is None else [f"{name} {value:.3g} {unit}"]

        return ", ".join(
            [
                f"{self.clock:.2g} GHz, {self.fma:.2g} fma and {self.load:.2g} loads of a vector per cycle",
                *rate("L2", self.l2, "GB/s"),
                *rate("L3", self.l3, "GB/s"),
                *rate("memory", self.memory, "GB/s"),
                *rate("stores", self.store, "GB/s"),
                *rate("streaming stores", self.stream, "GB/s"),
                *rate("pause", self.pause, "ns"),
                *rate("syscall", self.syscall, "ns"),
                *rate("fork", self.fork, "ns"),
                *rate("wake", self.wake, "ns"),
            ]
        )


@dataclass(frozen=True)
class Core:
    """A core of a machine: its rates, bytes of its L2, and of the last cache, which cores may share."""

    rates: MachineRates
    l2: int
    last: int
