"""Single kernels against what the machine can do: GFLOP/s and share of the FMA peak, GB/s and share of a copy's.

    python -m benchmarks.kernels                             GEMM, ResNet-50's convolutions, rows; 1 and 2 threads
    python -m benchmarks.kernels --only gemm --threads 1 --rounds 20
    python -m benchmarks.kernels --row softplus --at N=4096      any op, by its row in tests/ir/examples.py

Modules are built from the rows that ops are tested with, with whose references they must agree first, and take the whole road through
mlc.compile; "sizes: run" has M, or N, H and W, known at run time alone.
Every kernel gets a short turn in each round, and so does the peak, so that a change of the machine's speed meets all of them; the best
turn counts. With one thread the time of a long kernel leaves out what other programs had of the processor; with two it cannot, so that
a busy machine shows in the speed-up. Work is counted as 2*M*N*K, whatever the algorithm. The table goes to benchmarks/results/<cpu>/.
"""

import argparse
import ctypes
import json
import os
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

import mlc
from benchmarks.run import RESULTS, machine, markdown
from mlc.codegen.llvm.object import compile_text, load
from mlc.ir import dims
from mlc.ir.graph.base import GraphOp
from mlc.ir.kernel.cpu_target import CpuTarget, cpu_target
from mlc.ir.module import Module
from mlc.ir.types import itemsize
from mlc.runtime.executable import Executable
from tests.ir.examples import EXAMPLES, Example, channels_last

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
    """A row of the table of ops at some sizes, the symbols of `open` known at run time alone; the inputs of `weights` are weights. `best`
    collects nanoseconds by threads."""

    kind: Kind
    name: str
    row: Example
    at: dict[str, int]
    open: str = ""
    weights: range = range(0)
    best: dict[int, float] = field(default_factory=dict)
    border: float = float(
        "inf"
    )  # nanoseconds of the other kernels, which write a convolution's input into a zero border
    schedule: str = ""
    programs: dict[int, Executable] = field(default_factory=dict)

    def module(self) -> Module:
        given = self.row.arrays(sizes=self.at)
        fixed = [name for name in self.row.sizes if name not in self.open]
        return self.row.module(self.at, fixed, {n: given[n] for n in self.weights})

    @cached_property
    def inputs(self) -> list[np.ndarray]:
        return [x for n, x in enumerate(self.row.arrays(sizes=self.at)) if n not in self.weights]

    @cached_property
    def work(self) -> int:
        """Floating-point operations of the op; bytes of inputs and results where moving them is what takes time."""
        module, sizes = self.module(), {**self.row.sizes, **self.at}
        if self.kind != "rows":
            ops = [op for op in module.main.walk() if isinstance(op, GraphOp) and op.name == f"graph.{self.row.op}"]
            return sum(dims.evaluate(op.flops, sizes) for op in ops)
        types = (*module.input_types, *module.output_types)
        return sum(dims.evaluate(dims.prod(shape), sizes) * itemsize(dtype) for shape, dtype in types)

    @property
    def sizes(self) -> str:
        return "run" if self.open else "fixed"

    def rate(self, threads: int) -> float:
        """GFLOP/s or GB/s."""
        return self.work / self.best[threads]


ROW = {str(example): example for example in EXAMPLES}
KINDS: dict[str, Kind] = {
    "contract": "gemm",
    "convolution": "convolution",
}  # of ops; moving data takes the time of others


def gemm(size: int, known: bool) -> Case:
    at = dict.fromkeys("MKN", size)
    return Case("gemm", f"{size} x {size} x {size}", ROW["contract"], at, "" if known else "M", range(1, 2))


def convolution(height: int, channels: int, out: int, window: int, stride: int, known: bool) -> Case:
    at = {"N": 1, "H": height, "W": height, "C": channels, "O": out}
    text = f"{height}x{height}x{channels} -> {out}, {window}x{window}" + (f", stride {stride}" if stride > 1 else "")
    return Case("convolution", text, channels_last(window, stride), at, "" if known else "NHW", range(1, 3))


def rows(name: Literal["softmax", "layer_norm"], count: int, columns: int, known: bool) -> Case:
    """With sizes known at run time a softmax has rows of any length; a layer norm's are those of its scale."""
    run = "" if known else "MK" if name == "softmax" else "M"
    weights = range(1, len(ROW[name].inputs))
    return Case("rows", f"{name} {count} x {columns}", ROW[name], {"M": count, "K": columns}, run, weights)


def cases(only: list[str]) -> list[Case]:
    found: list[Case] = []
    for known in (True, False):
        found += [gemm(size, known) for size in GEMM_SIZES]
        found += [convolution(*layer, known) for layer in RESNET50]
        found += [rows(name, *shape, known) for name in ("softmax", "layer_norm") for shape in ROWS]
    return [case for case in found if not only or case.kind in only]


def case_of(label: str, at: dict[str, int]) -> Case:
    """One row of the table at sizes of the user's. Raises SystemExit for what it does not have."""
    if label not in ROW:
        raise SystemExit(f"there is no row '{label}'; rows: {', '.join(ROW)}")
    row = ROW[label]
    if strange := at.keys() - row.sizes.keys():
        raise SystemExit(f"'{label}' has no size {min(strange)}; it has {', '.join(row.sizes) or 'none'}")
    sizes = {**row.sizes, **at}
    text = ", ".join(f"{name}={size}" for name, size in sizes.items())
    return Case(KINDS.get(row.op, "rows"), f"{label}: {text}" if text else label, row, sizes)


def agrees(row: Example) -> bool:
    """Whether native code computes at the row's own sizes what its reference does."""
    arrays = row.arrays()
    found = mlc.compile(row.module()).run(None, {f"x{n}": x for n, x in enumerate(arrays)})
    return all(np.allclose(y, want, 1e-3, 1e-4) for y, want in zip(found, row.expected(arrays), strict=True))


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
    """GB/s of NumPy's copy that reads and writes as many bytes as a case: what rows of work can reach at most."""

    def __init__(self) -> None:
        self.best: dict[int, float] = {}

    def turn(self, bytes: int) -> None:
        x = np.ones(max(1, bytes // 8), np.float32)
        y = np.empty_like(x)
        for _ in range(20):
            start = time.perf_counter_ns()
            np.copyto(y, x)
            rate = 2 * x.nbytes / (time.perf_counter_ns() - start)
            self.best[bytes] = max(self.best.get(bytes, 0.0), rate)


def turn(case: Case, threads: int, seconds: float) -> None:
    """Call the case for some milliseconds; the kernel with most time is the one that counts."""
    executable = case.programs[threads]
    executable(*case.inputs)
    end = time.perf_counter() + seconds
    while True:
        start = time.thread_time_ns()
        steps = [step.nanoseconds for step in executable.profile(*case.inputs)]
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
        module = case.module()
        for count in threads:
            executable = mlc.compile(module, threads=count)
            assert isinstance(executable, Executable)
            case.programs[count] = executable
        kernels = case.programs[threads[0]].report["kernels"]
        if not kernels:
            raise SystemExit(f"{case.name}: no kernel computes it, for its result is a view")
        case.schedule = kernels[-1]["schedule"]
    for number in range(rounds):
        print(f"\rround {number + 1} of {rounds}, load {os.getloadavg()[0]:.1f}        ", end="", flush=True)
        for case in found:
            peak.turn()
            if case.kind == "rows":
                copy.turn(case.work)
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
            most = copy.best[case.work] if kind == "rows" else peak.best
            line = [case.name, case.sizes, f"{case.rate(1):.1f}", f"{100 * case.rate(1) / most:.1f} %"]
            line += [f"{case.best[1] / case.best[n]:.2f}" for n in threads if n > 1]
            lines.append([*line, f"{case.border / 1e3:.0f}"] if kind == "convolution" else line)
        if lines:
            parts.append(markdown(heads, lines))
    return "\n".join(parts)


def record(case: Case) -> dict[str, Any]:
    rates = {str(threads): case.rate(threads) for threads in case.best}
    return {"kind": case.kind, "name": case.name, "sizes": case.sizes, "rate": rates, "schedule": case.schedule}


def _size(text: str) -> tuple[str, int]:
    name, _, size = text.partition("=")
    if not size.isdecimal():
        raise SystemExit(f"--at takes NAME=SIZE, not {text!r}")
    return name, int(size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=("gemm", "convolution", "rows"), default=[])
    parser.add_argument("--row", help="one row of tests/ir/examples.py, by its label; nothing is written")
    parser.add_argument("--at", nargs="+", default=[], metavar="NAME=SIZE", help="sizes of --row in place of its own")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="1 is always among them")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.04, help="of a turn")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the table")
    args = parser.parse_args()
    threads = sorted({1, *args.threads})
    found = [case_of(args.row, dict(map(_size, args.at)))] if args.row else cases(args.only)
    if wrong := [str(row) for row in {str(case.row): case.row for case in found}.values() if not agrees(row)]:
        raise SystemExit(f"native code does not compute what the reference does: {', '.join(wrong)}")
    peak, copy = measure(found, threads, args.rounds, args.seconds)
    text = f"{machine()}; FMA peak of one core {peak.best:.1f} GFLOP/s; load {os.getloadavg()[0]:.1f}\n\n"
    text += table(found, threads, peak, copy)
    print(text)
    if args.row:
        return
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
