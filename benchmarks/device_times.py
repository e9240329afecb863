"""Times of kernels by the events of a GPU, and of calls by the clock of the host."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import mlc
from mlc.ir.gpus import Gpu

L2_BYTES = 512 << 20  # that are overwritten between turns: ten times the largest L2, and a tenth of a millisecond


@dataclass
class Session:
    """What all parts share. torch is None where there is no PyTorch with CUDA; `until` is the end of the part that runs."""

    dry: bool
    gpu: Gpu
    torch: Any = None
    until: float = 0.0
    left_out: list[str] = field(default_factory=list)
    wide: Any = None  # memory that flush() overwrites

    def late(self, name: str) -> bool:
        if time.monotonic() < self.until:
            return False
        self.left_out.append(name)
        return True

    def compile(self, module: Any, **options: Any) -> mlc.Executable:
        made = mlc.compile(module, target="cuda", **options)
        assert isinstance(made, mlc.Executable)
        return made

    def flush(self) -> None:
        """Have the GPU overwrite its L2; what is launched next waits for that in the queue."""
        if self.torch is not None:
            if self.wide is None:
                self.wide = self.torch.empty(L2_BYTES, dtype=self.torch.uint8, device="cuda")
            self.wide.zero_()

    def device_times(self, runs: dict[str, Callable[[], float]], seconds: float = 1.0) -> dict[str, float]:
        """Median milliseconds of each, called in turns; a run gives its own time."""
        found: dict[str, list[float]] = {name: [] for name in runs}
        for run in runs.values():
            run()
        end = time.monotonic() + (0 if self.dry else seconds)
        while len(found[next(iter(runs))]) < (1 if self.dry else 5) or time.monotonic() < end:
            for name, run in runs.items():
                self.flush()
                found[name].append(run())
            if time.monotonic() > end + 10 * seconds:
                break  # a kernel of seconds
        return {name: statistics.median(times) for name, times in found.items()}

    def ours(self, exe: mlc.Executable, *arrays: Any) -> Callable[[], float]:
        return lambda: sum(step.nanoseconds for step in exe.profile(*arrays)) / 1e6

    def theirs(self, call: Callable[[], Any]) -> Callable[[], float]:
        events = [self.torch.cuda.Event(enable_timing=True) for _ in range(2)]

        def run() -> float:
            events[0].record()
            call()
            events[1].record()
            events[1].synchronize()
            return events[0].elapsed_time(events[1])

        return run

    def wall(self, call: Callable[[], Any], seconds: float = 1.0) -> float:
        """Median milliseconds of a call with its end, by the clock of the host."""
        for _ in range(3):
            call()
        times: list[float] = []
        end = time.perf_counter() + (0 if self.dry else seconds)
        while len(times) < (2 if self.dry else 10) or time.perf_counter() < end:
            start = time.perf_counter()
            call()
            times.append(1e3 * (time.perf_counter() - start))
        return statistics.median(times)


@contextmanager
def tf32(torch: Any, allowed: bool) -> Iterator[None]:
    """Whether PyTorch may use it in products and convolutions."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def error(got: Any, want: np.ndarray) -> str:
    values = got.numpy().astype(np.float64)
    return f"{np.abs(values - want).max() / max(np.abs(want).max(), 1e-30):.1e}"
