"""Single kernels against what the machine can do: GFLOP/s and share of the FMA peak, GB/s and share of a copy's.

    python -m benchmarks.kernels                             GEMM, ResNet-50's convolutions, rows; 1 and 2 threads
    python -m benchmarks.kernels --only gemm --threads 1 --rounds 20

Modules are built op by op and take the whole road through mlc.compile; "sizes: run" has M, or N, H and W, known at run time alone.
Every kernel gets a short turn in each round, and so does the peak, so that a change of the machine's speed meets all of them; the best
turn counts. With one thread the time of a long kernel leaves out what other programs had of the processor; with two it cannot, so that
a busy machine shows in the speed-up. Work is counted as 2*M*N*K, whatever the algorithm. The table goes to benchmarks/results/<cpu>/.
"""

import argparse
import ctypes
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

import mlc
from benchmarks.run import RESULTS, machine, markdown
from mlc.codegen.llvm.object import compile_text, load
from mlc.ir import builder as g
from mlc.ir.kernel.cpu_target import CpuTarget, cpu_target
from mlc.ir.module import Module
from mlc.runtime.executable import Executable

Kind = Literal["gemm", "convolution", "rows"]
GEMM_SIZES = (256, 384, 512, 768, 1024, 1536, 2048)
# Distinct convolutions of ResNet-50 at 224x224, batch 1: input height, input channels, output channels, window, stride.
RESNET50 = (
    (224, 3, 64, 7, 2),
    (56, 64, 64, 1, 1), (56, 64, 64, 3, 1), (56, 64, 256, 1, 1), (56, 256, 64, 1, 1),
    (56, 256, 128, 1, 1), (56, 128, 128, 3, 2), (28, 128, 512, 1, 1), (56, 256, 512, 1, 2), (28, 512, 128, 1, 1), (28, 128, 128, 3, 1),
    (28, 512, 256, 1, 1), (28, 256, 256, 3, 2), (14, 256, 1024, 1, 1), (28, 512, 1024, 1, 2), (14, 1024, 256, 1, 1), (14, 256, 256, 3, 1),
    (14, 1024, 512, 1, 1), (14, 512, 512, 3, 2), (7, 512, 2048, 1, 1), (14, 1024, 2048, 1, 2), (7, 2048, 512, 1, 1), (7, 512, 512, 3, 1),
)  # fmt: skip
ROWS = ((1536, 128), (1024, 1000), (128, 768), (4096, 1024))
PEAK_LOOPS = 100_000  # a third of a millisecond: the call counts for little, and is not interrupted each time
# Nanoseconds from which on a kernel will hardly run without a break on a busy machine: then the time of its thread counts, around the
# whole call, if that is less. It is a few microseconds off, and so no measure of short ones.
LONG = 1e6
ACCUMULATORS = 12  # enough to hide the latency of an FMA, few enough for 16 registers


@dataclass
class Case:
    """One kernel: how to build it, what to feed it, how much it works; `best` collects nanoseconds by threads."""

    kind: Kind
    name: str
    sizes: Literal["fixed", "run"]
    build: Callable[[], Module]
    shape: tuple[int, ...]  # of the input
    work: int  # floating-point operations, or bytes for rows
    best: dict[int, float] = field(default_factory=dict)
    border: float = float(
        "inf"
    )  # nanoseconds of the other kernels, which write a convolution's input into a zero border
    schedule: str = ""
    programs: dict[int, Executable] = field(default_factory=dict)

    def rate(self, threads: int) -> float:
        """GFLOP/s or GB/s."""
        return self.work / self.best[threads]


def gemm(size: int, sizes: Literal["fixed", "run"]) -> Case:
    def build() -> Module:
        m = g.module_builder("gemm")
        with m.function(inputs=[("x", ("M" if sizes == "run" else size, size), "f32")]) as (x,):
            m.outputs([("y", g.matmul(x, g.weight(_normal(size, size), "w")))])
        return m.finish()

    return Case("gemm", f"{size} x {size} x {size}", sizes, build, (size, size), 2 * size**3)


def convolution(height: int, channels: int, out: int, window: int, stride: int, sizes: Literal["fixed", "run"]) -> Case:
    def build() -> Module:
        m = g.module_builder("convolution")
        shape: tuple[int | str, ...] = ("N", "H", "W", channels) if sizes == "run" else (1, height, height, channels)
        with m.function(inputs=[("x", shape, "f32")]) as (x,):
            weight, bias = g.weight(_normal(window, window, channels, out), "w"), g.weight(_normal(out), "b")
            y = g.convolution(x, weight, "n01c,01co->n01o", [stride] * 2, [(window // 2,) * 2] * 2)
            m.outputs([("y", g.relu(g.add(y, g.broadcast_to(bias, g.shape_of(y)))))])
        return m.finish()

    pixels = ((height - 1) // stride + 1) ** 2
    work = 2 * pixels * window**2 * channels * out
    text = f"{height}x{height}x{channels} -> {out}, {window}x{window}" + (f", stride {stride}" if stride > 1 else "")
    return Case("convolution", text, sizes, build, (1, height, height, channels), work)


def rows(name: Literal["softmax", "layer_norm"], count: int, columns: int, sizes: Literal["fixed", "run"]) -> Case:
    """With sizes known at run time a softmax has rows of any length; a layer norm's are those of its scale."""
    shape: tuple[int | str, ...] = (count, columns)
    if sizes == "run":
        shape = ("M", "K" if name == "softmax" else columns)

    def build() -> Module:
        m = g.module_builder(name)
        with m.function(inputs=[("x", shape, "f32")]) as (x,):
            if name == "softmax":
                y = g.softmax(x, 1)
            else:
                y = g.layer_norm(x, g.weight(_normal(columns), "scale"), g.weight(_normal(columns), "bias"), [1], 1e-5)
            m.outputs([("y", y)])
        return m.finish()

    return Case("rows", f"{name} {count} x {columns}", sizes, build, (count, columns), 8 * count * columns)


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape, dtype=np.float32)


def cases(only: list[str]) -> list[Case]:
    found: list[Case] = []
    for sizes in ("fixed", "run"):
        found += [gemm(size, sizes) for size in GEMM_SIZES]
        found += [convolution(*layer, sizes) for layer in RESNET50]
        found += [rows(name, *shape, sizes) for name in ("softmax", "layer_norm") for shape in ROWS]
    return [case for case in found if not only or case.kind in only]


def peak_text(target: CpuTarget) -> str:
    """LLVM IR of @peak(loops, place): independent chains of FMAs in registers."""
    vector = f"<{target.lanes} x float>"
    intrinsic = f"@llvm.fma.v{target.lanes}f32"
    numbers = range(ACCUMULATORS)
    phis = [f"  %a{i} = phi {vector} [ zeroinitializer, %entry ], [ %n{i}, %loop ]" for i in numbers]
    fmas = [f"  %n{i} = call {vector} {intrinsic}({vector} %x, {vector} %x, {vector} %a{i})" for i in numbers]
    sums = [f"  %s{i + 1} = fadd {vector} {'%n0' if i == 0 else f'%s{i}'}, %n{i + 1}" for i in numbers[:-1]]
    return "\n".join(
        [
            f"declare {vector} {intrinsic}({vector}, {vector}, {vector})",
            "define void @peak(i64 %loops, ptr %place) nounwind {",
            "entry:",
            f"  %x = load {vector}, ptr %place, align 4",
            "  br label %loop",
            "loop:",
            "  %i = phi i64 [ 0, %entry ], [ %next, %loop ]",
            *phis,
            *fmas,
            "  %next = add i64 %i, 1",
            "  %more = icmp slt i64 %next, %loops",
            "  br i1 %more, label %loop, label %end",
            "end:",
            *sums,
            f"  store {vector} %s{ACCUMULATORS - 1}, ptr %place, align 4",
            "  ret void",
            "}",
            "",
        ]
    )


class Peak:
    """The FMA peak of one core in GFLOP/s: the best turn so far."""

    def __init__(self) -> None:
        target = cpu_target()
        self._library = load([compile_text(peak_text(target), target)])
        self._run = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)(self._library.address("peak"))
        self._place = np.zeros(target.lanes, np.float32)
        self._work = 2 * ACCUMULATORS * target.lanes * PEAK_LOOPS
        self.best = 0.0

    def turn(self) -> None:
        place = self._place.ctypes.data
        for _ in range(10):
            start = time.perf_counter_ns()
            self._run(PEAK_LOOPS, place)
            self.best = max(self.best, self._work / (time.perf_counter_ns() - start))


class Copy:
    """GB/s of NumPy's copy of an array, bytes read and written counted: what rows of work can reach at most."""

    def __init__(self) -> None:
        self.best: dict[tuple[int, ...], float] = {}

    def turn(self, shape: tuple[int, ...]) -> None:
        x, y = np.ones(shape, np.float32), np.empty(shape, np.float32)
        for _ in range(20):
            start = time.perf_counter_ns()
            np.copyto(y, x)
            rate = 2 * x.nbytes / (time.perf_counter_ns() - start)
            self.best[shape] = max(self.best.get(shape, 0.0), rate)


def turn(case: Case, threads: int, seconds: float) -> None:
    """Call the case for some milliseconds; the kernel with most time is the one that counts."""
    executable = case.programs[threads]
    x = _normal(*case.shape)
    executable(x)
    end = time.perf_counter() + seconds
    while True:
        start = time.thread_time_ns()
        steps = [step.nanoseconds for step in executable.profile(x)]
        own = time.thread_time_ns() - start
        least = max(steps)
        if threads == 1 and least > LONG:
            least = min(least, own)
        case.best[threads] = min(case.best.get(threads, least), least)
        if threads == 1:
            case.border = min(case.border, sum(steps) - max(steps))
        if time.perf_counter() > end:
            return


def measure(found: list[Case], threads: list[int], rounds: int, seconds: float) -> tuple[Peak, Copy]:
    peak, copy = Peak(), Copy()
    for number, case in enumerate(found):
        print(f"\rcompiling {number + 1} of {len(found)}", end="", flush=True)
        module = case.build()
        for count in threads:
            executable = mlc.compile(module, threads=count)
            assert isinstance(executable, Executable)
            case.programs[count] = executable
        executable(_normal(*case.shape))
        kernels = case.programs[threads[0]].report["kernels"]
        case.schedule = kernels[-1]["schedule"]
    for number in range(rounds):
        print(f"\rround {number + 1} of {rounds}, load {os.getloadavg()[0]:.1f}        ", end="", flush=True)
        for case in found:
            peak.turn()
            if case.kind == "rows":
                copy.turn(case.shape)
            for count in threads:
                turn(case, count, seconds)
    print()
    return peak, copy


def table(found: list[Case], threads: list[int], peak: Peak, copy: Copy) -> str:
    parts = []
    for kind, unit, whole in (
        ("gemm", "GFLOP/s", "peak"),
        ("convolution", "GFLOP/s", "peak"),
        ("rows", "GB/s", "copy"),
    ):
        heads = [kind, "sizes", f"{unit}, 1 T", f"of {whole}", *(f"speed-up, {n} T" for n in threads if n > 1)]
        heads += ["border (us)"] if kind == "convolution" else []
        lines = []
        for case in (case for case in found if case.kind == kind):
            most = copy.best[case.shape] if kind == "rows" else peak.best
            line = [case.name, case.sizes, f"{case.rate(1):.1f}", f"{100 * case.rate(1) / most:.1f} %"]
            line += [f"{case.best[1] / case.best[n]:.2f}" for n in threads if n > 1]
            lines.append([*line, f"{case.border / 1e3:.0f}"] if kind == "convolution" else line)
        if lines:
            parts.append(markdown(heads, lines))
    return "\n".join(parts)


def record(case: Case) -> dict[str, Any]:
    rates = {str(threads): case.rate(threads) for threads in case.best}
    return {"kind": case.kind, "name": case.name, "sizes": case.sizes, "rate": rates, "schedule": case.schedule}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=("gemm", "convolution", "rows"), default=[])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="1 is always among them")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.04, help="of a turn")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the table")
    args = parser.parse_args()
    threads = sorted({1, *args.threads})
    found = cases(args.only)
    peak, copy = measure(found, threads, args.rounds, args.seconds)
    text = f"{machine()}; FMA peak of one core {peak.best:.1f} GFLOP/s; load {os.getloadavg()[0]:.1f}\n\n"
    text += table(found, threads, peak, copy)
    print(text)
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "kernels.md").write_text(text)
    answer = {
        "machine": machine(),
        "peak": peak.best,
        "load": os.getloadavg()[0],
        "kernels": [record(c) for c in found],
    }
    (args.results / "kernels.json").write_text(json.dumps(answer, indent=1) + "\n")


if __name__ == "__main__":
    main()
