"""How the code of a kernel is launched, as data that travels with it: one row per __global__ function.

    {"gemm_0": KernelCode(launches=(Launch("gemm_0", grid=("(s0 + 127)//128", "6", "1"), block=(16, 16, 1)),), extents=("s0",))}

The objects of an artifact for GPUs are this table, then the source of each file, then its machine code: LaunchTable.files says by number which.

A kernel of the plan is one launch or several, one after the other, all with the same arguments: those of the plan's step in order, a memref as
a pointer and its open strides, sizes as integers of `index_bytes` bytes. A kernel with scratch memory gets the start of the arena.
A grid is in the kernel's extents, which are the step's last arguments; with 0 blocks nothing is launched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

FORM = 1


@dataclass(frozen=True)
class Resources:
    """What one thread or block of a launch takes on one architecture, as ptxas says."""

    registers: int
    spills: int = 0  # bytes stored and loaded
    stack: int = 0  # bytes
    shared: int = 0  # bytes

    def __str__(self) -> str:
        parts = [f"{self.registers} registers"]
        parts += [f"{self.shared} bytes of shared memory"] if self.shared else []
        parts += [f"{self.spills} bytes spilled" if self.spills else "nothing spilled"]
        return ", ".join([*parts, *([f"{self.stack} bytes of stack"] if self.stack else [])])


@dataclass(frozen=True)
class Launch:
    """One __global__ function, its grid (texts of mlc.ir.dims), threads of a block and bytes of dynamic shared memory."""

    symbol: str
    grid: tuple[str, str, str]
    block: tuple[int, int, int]
    shared: int = 0
    resources: Mapping[str, Resources] = field(default_factory=dict)  # by architecture

    def facts(self) -> Iterator[str]:
        """For reports: gemm_0<<<(s0 + 127)//128 x 6, 16 x 16>>>, then a line for each architecture."""
        grid, block = (" x ".join(map(str, trimmed(side))) for side in (self.grid, self.block))
        yield f"{self.symbol}<<<{grid}, {block}>>>" + (
            f" with {self.shared} bytes of shared memory" if self.shared else ""
        )
        for arch, found in self.resources.items():
            yield f"  {arch}: {found}"


@dataclass(frozen=True)
class KernelCode:
    """The launches of a kernel; `file` is the number of the source and the fatbin that hold them."""

    launches: tuple[Launch, ...]
    extents: tuple[str, ...]
    file: int = 0
    index_bytes: int = 4


@dataclass(frozen=True)
class FileCode:
    """One file of kernels: the numbers of the objects that are its CUDA C, and its machine code by what that is for: "fatbin" (nvcc; the driver
    chooses), or architectures one by one ("sm_80" a cubin, "compute_80" PTX; NVRTC)."""

    source: int
    code: Mapping[str, int]


@dataclass(frozen=True)
class LaunchTable:
    """All that a loader needs beside the plan.

    archs     what the fatbins have machine code for, and "compute_80" for PTX
    counts    elements of the largest buffers, as expressions of the module's sizes: positions are 32-bit numbers where `index_bytes` is 4, and
              a call at whose sizes one of these reaches 2**31 must be refused
    """

    kernels: Mapping[str, KernelCode]
    files: tuple[FileCode, ...] = ()
    archs: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        return json.dumps({"form": FORM, **asdict(self)}, indent=1).encode()

    @staticmethod
    def from_bytes(content: bytes) -> LaunchTable:
        """Raises KeyError, TypeError or ValueError for what to_bytes did not write."""
        data = json.loads(content)
        if data["form"] != FORM:
            raise ValueError(f"a table of launches of form {data['form']}")
        kernels = {name: _kernel(row) for name, row in data["kernels"].items()}
        files = tuple(FileCode(row["source"], dict(row["code"])) for row in data["files"])
        return LaunchTable(kernels, files, tuple(data["archs"]), tuple(data["counts"]))


def best_code(code: Mapping[str, int], capability: int) -> int | None:
    """The object of a file for a GPU of compute capability 10 * major + minor: what the driver chooses from, else machine code of the same
    major version, the newest that the GPU runs, else PTX. None where it runs none of them."""
    if "fatbin" in code:
        return code["fatbin"]
    numbers = {arch: int(arch.partition("_")[2].rstrip("af")) for arch in code}
    exact = [arch for arch in code if arch.startswith("sm_") and arch[-1] in "af" and numbers[arch] == capability]
    family = [
        arch
        for arch, number in numbers.items()
        if arch.startswith("sm_") and arch[-1].isdigit() and number // 10 == capability // 10 and number <= capability
    ]
    texts = [arch for arch, number in numbers.items() if arch.startswith("compute_") and number <= capability]
    for group in (exact, family, texts):
        if group:
            return code[max(group, key=numbers.__getitem__)]
    return None


def _kernel(row: Mapping[str, Any]) -> KernelCode:
    return KernelCode(tuple(map(_launch, row["launches"])), tuple(row["extents"]), row["file"], row["index_bytes"])


def _launch(row: Mapping[str, Any]) -> Launch:
    resources = {arch: Resources(**found) for arch, found in row["resources"].items()}
    return Launch(row["symbol"], _three(row["grid"]), _three(row["block"]), row["shared"], resources)


def trimmed(side: Sequence[Any]) -> list[Any]:
    """Without the axes behind that have one."""
    found = list(side)
    while len(found) > 1 and found[-1] in (1, "1"):
        found.pop()
    return found


def _three(row: Sequence[Any]) -> tuple[Any, Any, Any]:
    x, y, z = row
    return x, y, z
