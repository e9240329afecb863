"""NVIDIA GPUs: what schedules need to know of one (target.py), and what nvcc is asked to compile for.

cuda_target("native")           the GPU at hand, as nvidia-smi tells; where there is none, code that runs on every GPU since Ampere: machine code
                                of sm_80 and sm_90a, and PTX
cuda_target("sm_90a")           one architecture; PTX of its family beside it, where its code runs on no later one
cuda_target("sm_80,sm_86")      several, scheduled for the first
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar

from mlc.errors import TargetUnavailable
from mlc.ir.kernel.target import Lowering
from mlc.ir.spelling import nearest

# 48 KiB of shared memory need no word to the driver: what a kernel has beyond, `shared_block` at most, is given to it by its launch.
STATIC_SHARED = 48 << 10


@dataclass(frozen=True)
class CudaTarget:
    """A GPU as schedules and code generation see it. Figures are those of the CUDA programming guide, table "Technical specifications per
    compute capability", and of the vendor's data sheets (the largest product of an architecture).

    name          of the architecture that schedules are made for: "sm_90a"
    archs         what machine code is made for, and "compute_80" where PTX is added
    sms           multiprocessors
    threads_sm    threads that a multiprocessor holds
    blocks_sm     blocks that it holds
    registers_sm  32-bit registers that they share
    shared_sm     bytes of shared memory that they share
    shared_block  bytes of them that one block may have, on this GPU and on those that its PTX is for
    l1            bytes of the cache that shared memory is cut from
    l2            bytes
    bandwidth     of device memory, in GB/s
    f32, tf32, f16  peaks of dense arithmetic, in TFLOP/s: ordinary cores, and tensor cores on tf32 and on f16 or bf16
    registers     that a thread may have
    lanes         f32 elements that one instruction of a warp computes
    precision     to which tensor cores may round f32 operands of products: "tf32" or "bf16"; "f32": they get none
    """

    name: str
    archs: tuple[str, ...]
    sms: int
    threads_sm: int
    blocks_sm: int
    shared_sm: int
    shared_block: int
    l1: int
    l2: int
    bandwidth: int
    f32: float
    tf32: float
    f16: float
    registers_sm: int = 64 << 10
    registers: int = 255
    lanes: int = 32
    precision: str = "f32"
    kind: ClassVar[str] = "cuda"
    _lowering: ClassVar[Lowering] = Lowering(
        spaces=("workgroup", "register"),
        binds=tuple(f"{what}.{axis}" for what in ("block", "thread") for axis in "xyz"),
        pads=True,
        partial="guard",
        stack=1024,
        math="keep",
        threads=1024,
        online=True,
        precisions=("tf32", "bf16"),  # f16 ends at 65504, and f32 operands may be larger
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "archs", tuple(self.archs))  # a package has a list

    @property
    def lowering(self) -> Lowering:
        return replace(self._lowering, shared=self.shared_block)

    @property
    def capability(self) -> int:
        """80 of sm_80, 90 of sm_90a."""
        return int(self.name.removeprefix("sm_").rstrip("af"))

    @property
    def warps_sm(self) -> int:
        return self.threads_sm // 32

    @property
    def clock(self) -> float:
        """GHz at which its peaks are reached: the ordinary cores of a multiprocessor take 128 products in a cycle, 64 on sm_80."""
        return 1e3 * self.f32 / (2 * self.sms * (64 if self.capability == 80 else 128))

    def tensor_products(self, type: str) -> float:
        """Products of numbers of a type ("tf32", "bf16", "f16") that the tensor cores of a multiprocessor take in a cycle."""
        peak = self.tf32 if type == "tf32" else self.f16
        return 1e3 * peak / (2 * self.sms * self.clock)

    def missing(self) -> list[str]:
        """Whether a driver and a GPU are there is found out where the code is loaded: it is no reason to compile again."""
        return []

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.archs)}): {self.sms} multiprocessors, {self.shared_block >> 10} K shared memory per block"


def _gpu(
    name: str,
    sms: int,
    threads: int,
    blocks: int,
    shared: int,
    l1: int,
    l2: int,
    bandwidth: int,
    f32: float,
    tf32: float,
    f16: float,
) -> CudaTarget:
    """Sizes in KiB, L2 in MiB. A block may have all of the shared memory but one KiB."""
    archs = (name, "compute_" + name.removeprefix("sm_").rstrip("af"))
    sizes = (shared << 10, (shared - 1) << 10, l1 << 10, l2 << 20)
    return CudaTarget(name, archs, sms, threads, blocks, *sizes, bandwidth, f32, tf32, f16)


_GPUS = {
    gpu.name: gpu
    for gpu in (
        _gpu("sm_80", 108, 2048, 32, 164, 192, 40, 1555, 19.5, 156, 312),  # A100
        _gpu("sm_86", 84, 1536, 16, 100, 128, 6, 768, 38.7, 77, 155),  # RTX A6000
        _gpu("sm_89", 142, 1536, 24, 100, 128, 96, 864, 91.6, 183, 366),  # L40S
        _gpu("sm_90", 132, 2048, 32, 228, 256, 50, 3350, 67, 495, 989),  # H100, H200
        _gpu("sm_90a", 132, 2048, 32, 228, 256, 50, 3350, 67, 495, 989),
        _gpu("sm_100", 148, 2048, 32, 228, 256, 126, 8000, 80, 1100, 2250),  # B200
    )
}


def cuda_target(name: str = "native") -> CudaTarget:
    """The target called `name`. Raises TargetUnavailable for any other name."""
    if name in ("native", "cuda"):
        found = _at_hand()
        return cuda_target(found or "sm_80,sm_90a")
    names = [part.strip() for part in name.split(",")]
    for each in names:
        if each not in _GPUS:
            raise TargetUnavailable(
                f"unknown GPU architecture '{each}'",
                remedy=f"{_advice(each)}Choices: native, {', '.join(_GPUS)}.",
            )
    # PTX of the oldest, which the driver compiles for whatever comes later
    oldest = min(names, key=lambda each: _GPUS[each].capability)
    later = [gpu.shared_block for gpu in _GPUS.values() if gpu.capability >= _GPUS[oldest].capability]
    return replace(_GPUS[names[0]], archs=(*dict.fromkeys(names), _GPUS[oldest].archs[-1]), shared_block=min(later))


def _advice(name: str) -> str:
    """The start of a remedy for an architecture that has no row: others have numbers near it, and are no other spelling."""
    if number := re.fullmatch(r"sm_(\d+)[af]?", name):
        oldest = min(gpu.capability for gpu in _GPUS.values())
        if int(number[1]) < oldest:
            return f"sm_{oldest} (compute capability {oldest / 10}) is the oldest that code is made for. "
        return "PTX in a package for an older one runs there: the driver compiles it. "
    near = nearest(name, _GPUS)
    return f"Did you mean {near[0]}? " if near else ""


@cache
def _at_hand() -> str | None:
    """The architecture of the first GPU of this machine, if it is one of those above."""
    import subprocess

    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    try:
        done = subprocess.run(
            [tool, "--query-gpu=compute_cap", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return architecture(done.stdout.partition("\n")[0]) if done.returncode == 0 else None


def architecture(capability: str) -> str | None:
    """Of a compute capability: "9.0" is sm_90a, whose code runs there alone; None for one that has no row here."""
    digits = capability.strip().replace(".", "")
    return next((name for name in (f"sm_{digits}a", f"sm_{digits}") if name in _GPUS), None)
