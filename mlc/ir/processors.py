"""How many threads of this machine a call may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

from mlc.errors import MlcError

LARGEST = 256


def thread_count(limit: int | None = None) -> int:
    """Threads a call may use: `limit`, else MLC_NUM_THREADS, else OMP_NUM_THREADS, else what the process may run on."""
    if limit is not None:
        return max(1, min(limit, LARGEST))
    for name in ("MLC_NUM_THREADS", "OMP_NUM_THREADS"):
        if text := os.environ.get(name, "").split(",")[0].strip():  # OpenMP allows one number per nesting level
            if not text.isdigit() or not int(text):
                raise MlcError(f"{name} is '{text}'", remedy="Give a number of threads, 1 or more.")
            return min(int(text), LARGEST)
    return available_cpus()


def available_cpus() -> int:
    """CPUs this process may use: its affinity, cut to the quota of its container."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(Path("/sys/fs/cgroup"))
    return max(1, min(cpus, cpus if quota is None else math.ceil(quota), LARGEST))


def _quota(root: Path) -> float | None:
    """CPUs per the control group, version 2 (cpu.max) or 1 (cpu.cfs_quota_us); None where there is no limit."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = [word for file in files for word in (root / file).read_text().split()]
        except OSError:
            continue
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
            return int(words[0]) / int(words[1])
    return None
