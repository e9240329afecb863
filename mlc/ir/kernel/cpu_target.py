"""CPUs: what schedules need to know of one (target.py), and what LLVM needs to compile for it.

cpu_target("native")      the machine at hand: LLVM's host name and features, cache sizes from the system
cpu_target("x86-64-v3")   any machine of that level; cache sizes are those of the smallest common one
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal

from mlc.errors import TargetUnavailable
from mlc.ir.kernel.target import Lowering

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_L1, _L2 = 32 << 10, 512 << 10  # where the system tells nothing


@dataclass(frozen=True)
class CpuTarget:
    """A CPU as schedules and code generation see it.

    name       LLVM's name of the CPU ("znver4", "x86-64-v3")
    features   LLVM's feature string; empty for what the name implies
    lanes      f32 elements of a vector register: 16, 8 or 4
    registers  vector registers: 32 or 16
    l1, l2     bytes of one core's data caches
    fma        whether a fused multiply-add is one instruction; without it llvm.fma is a slow library call
    arch       "x86_64" or "aarch64"
    """

    name: str
    features: str
    lanes: int
    registers: int
    l1: int = _L1
    l2: int = _L2
    fma: bool = True
    arch: str = "x86_64"
    kind: ClassVar[str] = "cpu"
    lowering: ClassVar[Lowering] = Lowering(
        ("panel",), ("parallel",), False, "peel", 48 << 10, "expand", winograd=True, attention=True, widens=True
    )

    @property
    def dot(self) -> Literal["dot", "pairs", "none"]:
        """How it multiplies bytes: four products and their sum in one instruction (VNNI), products of neighbouring 16-bit integers added in
        pairs (every x86), or neither."""
        have = set(self.features.split(","))
        wide = {"+avx512vnni", "+avx512vl"} <= have
        if wide or ("+avxvnni" in have and self.lanes <= 8):
            return "dot"
        return "pairs" if self.arch == "x86_64" else "none"

    @property
    def triple(self) -> str:
        return f"{self.arch}-unknown-linux-gnu"

    def missing(self) -> list[str]:
        return _lacks(cpu_target(), self)

    def __str__(self) -> str:
        return f"{self.name}: {self.lanes} lanes f32, {self.registers} registers, L1 {self.l1 >> 10} K, L2 {self.l2 >> 10} K"


_LEVELS = {
    "x86-64-v2": CpuTarget("x86-64-v2", "", lanes=4, registers=16, fma=False),
    "x86-64-v3": CpuTarget("x86-64-v3", "", lanes=8, registers=16),
    "x86-64-v4": CpuTarget("x86-64-v4", "", lanes=16, registers=32),
}


def cpu_target(name: str = "native") -> CpuTarget:
    """The target called `name`: "native" or one of the x86-64 levels. Raises TargetUnavailable for any other name."""
    if name in ("native", "cpu"):
        return _host()
    if name not in _LEVELS:
        raise TargetUnavailable(f"unknown CPU '{name}'", remedy=f"Choices: native, {', '.join(_LEVELS)}.")
    return _LEVELS[name]


_CPUINFO = Path("/proc/cpuinfo")
_SAY_WHICH = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")


def identity(name: str) -> str:
    """What tells the target of that name from others, without loading LLVM: of the machine at hand on x86 what the system says of it, from which
    LLVM knows its features. Raises TargetUnavailable for other names than `cpu_target`."""
    if name not in ("native", "cpu"):
        return repr(cpu_target(name))
    try:
        with _CPUINFO.open("rb") as file:
            first = file.read(1 << 14).decode(errors="replace").partition("\n\n")[0]
    except OSError:
        return repr(cpu_target())
    rows = [line for line in first.splitlines() if line.partition(":")[0].strip() in _SAY_WHICH]
    return f"{rows} {_cache_sizes()}" if len(rows) == len(_SAY_WHICH) else repr(cpu_target())


@cache
def _host() -> CpuTarget:
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    arch = llvm.get_process_triple().split("-")[0]
    if arch == "x86_64":
        wide = all(features.get(f) for f in ("avx512f", "avx512bw", "avx512dq", "avx512vl"))
        lanes = 16 if wide else 8 if features.get("avx2") and features.get("fma") else 4
        registers, fma = 32 if wide else 16, bool(features.get("fma"))
    else:
        lanes, registers, fma = 4, 32, True
    l1, l2 = _cache_sizes()
    return CpuTarget(llvm.get_host_cpu_name(), features.flatten(), lanes, registers, l1, l2, fma, arch)


def _cache_sizes() -> tuple[int, int]:
    """Bytes of the data caches of levels 1 and 2, as Linux reports them."""
    found = {1: _L1, 2: _L2}
    for folder in sorted(_CACHES.glob("index*")):
        try:
            level, kind, size = ((folder / file).read_text().strip() for file in ("level", "type", "size"))
        except OSError:
            continue  # a container may hide one file of an entry
        if kind != "Instruction" and level in ("1", "2") and size.endswith("K") and size[:-1].isdigit():
            found[int(level)] = int(size[:-1]) << 10
    return found[1], found[2]


def last_cache() -> int:
    """Bytes of the largest data cache, which cores may share; of L2 where the system tells of no other."""
    largest = _cache_sizes()[1]
    for file in sorted(_CACHES.glob("index*/size")):
        try:
            size = file.read_text().strip()
        except OSError:
            continue
        if size.endswith("K") and size[:-1].isdigit():
            largest = max(largest, int(size[:-1]) << 10)
    return largest


def _lacks(host: CpuTarget, wanted: CpuTarget) -> list[str]:
    """What `wanted` needs and `host` has not, as words for a message."""
    missing = []
    if host.arch != wanted.arch:
        missing.append(f"architecture {wanted.arch} (this machine is {host.arch})")
    if wanted.features:
        have = set(host.features.split(","))
        missing += [f.removeprefix("+") for f in wanted.features.split(",") if f.startswith("+") and f not in have]
    elif wanted.lanes > host.lanes:
        missing.append(f"vectors of {wanted.lanes} f32 (this machine has {host.lanes})")
    elif wanted.fma and not host.fma:
        missing.append("fused multiply-add")
    return missing
