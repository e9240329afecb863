"""How busy the machine was while something was measured: CPU time of other processes, and what a hypervisor took."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

BUSY = 0.1  # CPUs that others use: beyond this, times are too long
SHORT = 0.2  # seconds; the system counts in hundredths, and less than this says nothing

_STAT = Path("/proc/stat")


@dataclass(frozen=True)
class Load:
    """Means over a measurement, in CPUs of `cpus`: `own` for this process, `others` for every other one, `stolen` by the hypervisor."""

    cpus: int
    own: float
    others: float
    stolen: float

    @property
    def busy(self) -> bool:
        return self.others + self.stolen > BUSY

    def __str__(self) -> str:
        stolen = f", the hypervisor {self.stolen:.1f}" if self.stolen > BUSY else ""
        return f"other processes used {self.others:.1f} of {self.cpus} CPUs{stolen}"


class LoadMeter:
    """Measures from its making to `read()`."""

    def __init__(self, stat: Path = _STAT):
        self._stat = stat
        self._start, self._own, self._counts = time.perf_counter(), time.process_time(), _counts(stat)

    def read(self) -> Load | None:
        """None where the system does not tell, or after a moment too short to say."""
        seconds = time.perf_counter() - self._start
        now = _counts(self._stat)
        if now is None or self._counts is None or seconds < SHORT:
            return None
        own = (time.process_time() - self._own) / seconds
        working, stolen = (max(0.0, after - before) / seconds for before, after in zip(self._counts, now, strict=True))
        return Load(os.cpu_count() or 1, own, max(0.0, working - own), stolen)


def _counts(stat: Path) -> tuple[float, float] | None:
    """Seconds that all CPUs worked for processes of this system, and seconds that were stolen from it, since it started."""
    try:
        words = stat.read_text(encoding="ascii").partition("\n")[0].split()
        user, nice, system, _, _, irq, softirq, steal = map(int, words[1:9])
    except (OSError, ValueError):
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / ticks, steal / ticks
