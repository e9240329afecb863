"""Matrix multiplication on a CPU, step by step: one structured op, and one schedule after another.

    python examples/matmul_steps.py                    loads counted, each step timed
    python examples/matmul_steps.py --ir register      the IR of one step after every level
    python examples/matmul_steps.py --count 48 --time 768

Every step computes C = A B for n x n matrices of f32. What differs is data: a Schedule, a list of levels that cut loops into tiles and a leaf
that puts a tile into registers. Loads are counted by the interpreter, which runs the IR of the step; the formulas stand beside them:

    from the cache into registers   n^3 / v1 + n^3 / v2     for a register tile of v1 rows x v2 columns
    from memory into the cache      n^2 + n^3 / b1          for a cache tile of b1 rows x b2 columns
"""

from __future__ import annotations

import argparse
import ctypes
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from xdsl.builder import Builder
from xdsl.dialects import arith, scf, vector
from xdsl.dialects.builtin import FloatAttr, f32
from xdsl.ir import SSAValue

from mlc.codegen.llvm.object import compile_text, load
from mlc.codegen.llvm.printer import emit
from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.interpreter import Counters, run_kernel
from mlc.ir.kernel.kernel import Buffer, Kernel
from mlc.ir.kernel.schedule import Level, Schedule, Vector
from mlc.passes.loops.lower import lower


def matmul(n: int) -> Kernel:
    """C = A B: fill a temporary with 0, add the products, copy it to C. Where it lives is the schedule's matter."""
    kernel = Kernel("matmul", {name: Buffer((n, n)) for name in "ABC"})
    a, b, c = kernel.buffers.values()
    t = kernel.temporary((n, n), name="t")

    def zero(b: Builder, out: SSAValue) -> SSAValue:
        return b.insert(arith.ConstantOp(FloatAttr(0.0, f32))).result

    def multiply_add(b: Builder, x: SSAValue, y: SSAValue, out: SSAValue) -> SSAValue:
        return b.insert(arith.AddfOp(out, b.insert(arith.MulfOp(x, y)).result)).result

    kernel.structured({"m": n, "n": n}, [], (t, ("m", "n")), zero)
    kernel.structured(
        {"m": n, "n": n, "k": n}, [(a, ("m", "k")), (b, ("k", "n"))], (t, ("m", "n")), multiply_add, {"k"}
    )
    kernel.structured({"m": n, "n": n}, [(t, ("m", "n"))], (c, ("m", "n")), lambda b, x, out: x)
    kernel.return_()
    return kernel


@dataclass(frozen=True)
class Step:
    """A schedule by its tiles: v1 x v2 elements in registers, b1 x b2 in a cache (0: no tile), `lanes` elements in a vector."""

    name: str
    v1: int = 1
    v2: int = 1
    b1: int = 0
    b2: int = 0
    lanes: int = 1
    parallel: bool = False

    @property
    def schedule(self) -> Schedule:
        shared = {"m": "parallel", "n": "parallel"} if self.parallel else {}
        cache = (Level({"m": self.b1, "n": self.b2}, shared),) if self.b1 else ()  # type: ignore[arg-type]
        return Schedule((*cache, Level({"m": self.v1, "n": self.v2})), Vector(("n",), self.lanes, ("m", "n")))

    def loads_into_registers(self, n: int) -> int:
        return n**3 // self.v1 + n**3 // self.v2

    def loads_into_cache(self, n: int) -> int:
        """Without a cache tile, the register tile is what memory is asked for."""
        return n**2 + n**3 // (self.b1 or self.v1)


def steps(lanes: int, rows: int, vectors: int, b1: int, b2: int) -> list[Step]:
    """`rows` x `vectors` is the register tile of vectors; the one of single elements is 4 x 4."""
    columns = vectors * lanes
    return [
        Step("naive"),
        Step("register", 4, 4),
        Step("cache", b1=b1, b2=b2),
        Step("both", 4, 4, b1, b2),
        Step("vector", rows, columns, b1, b2, lanes),
        Step("parallel", rows, columns, b1, b2, lanes, parallel=True),
    ]


COUNTED = steps(16, 8, 1, 16, 16)
WIDE = cpu_target("x86-64-v4")  # for what is counted and shown: the interpreter needs no machine that has such vectors


def timed_steps() -> list[Step]:
    """Register tiles that fill the registers of the machine at hand, cache tiles that stay in its L2."""
    target = cpu_target()
    rows = 12 if target.registers >= 32 else 6
    return steps(target.lanes, rows, 2, 96, 96)


@dataclass(frozen=True)
class Count:
    """What the interpreter saw of one step: elements of A and B that came into registers and into the cache, and registers in use."""

    registers: int
    into_registers: int
    into_cache: int
    correct: bool


def count(step: Step, n: int) -> Count:
    random = np.random.default_rng(0)
    a, b = (random.standard_normal((n, n)).astype(np.float32) for _ in range(2))
    c = np.empty_like(a)
    kernel, counters = lower(matmul(n), step.schedule, target=WIDE), Counters()
    run_kernel(kernel, {"A": a, "B": b, "C": c}, counters=counters)
    correct = np.allclose(c, a.astype(np.float64) @ b, atol=1e-3)
    into_registers = counters.loads["A"] + counters.loads["B"]
    into_cache = counters.moved["A", 1] + counters.moved["B", 1]  # tiles of the outermost level
    return Count(registers(kernel), into_registers, into_cache, bool(correct))


def registers(kernel: Kernel) -> int:
    """Of the innermost loop: the sums that it carries, what it loads of a row of B, and one element of A."""
    loops = [
        op for function in kernel.functions() for op in function.walk() if isinstance(op, scf.ForOp) and op.iter_args
    ]
    loop = max(loops, key=lambda loop: len(loop.iter_args))
    return len(loop.iter_args) + sum(isinstance(op, vector.LoadOp) for op in loop.body.block.ops) + 1


def measure(step: Step, n: int, rounds: int = 5) -> float:
    """Seconds of the native code of a step: the best of some rounds."""
    target = cpu_target()
    kernel = lower(matmul(n), step.schedule, target=target)
    library = load([compile_text(emit(kernel.functions(), target), target, kernel.optimise)])
    random = np.random.default_rng(0)
    a, b = (random.standard_normal((n, n)).astype(np.float32) for _ in range(2))
    c = np.empty_like(a)
    pointers = [array.ctypes.data for array in (a, b, c)]
    ranges = _ranges(kernel, len(os.sched_getaffinity(0)) if step.parallel else 1)
    entry = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * (3 + len(ranges[0])))(library.address("matmul"))
    with ThreadPoolExecutor(len(ranges)) as threads:

        def once() -> None:
            if len(ranges) == 1:
                entry(*pointers, *ranges[0])
            else:
                list(threads.map(lambda tiles: entry(*pointers, *tiles), ranges))

        best = _best(once, rounds)
    if not np.allclose(c, a @ b, atol=1e-2):
        raise AssertionError(f"step {step.name} is wrong")
    return best


def _ranges(kernel: Kernel, threads: int) -> list[tuple[int, ...]]:
    """Equal parts of a kernel's tiles; none where it has no tiles to share."""
    if not isinstance(kernel.tiles, int):
        return [()]
    cuts = [kernel.tiles * part // threads for part in range(threads + 1)]
    return list(pairwise(cuts))


def _best(run: Callable[[], object], rounds: int) -> float:
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


def text(kernel: Kernel) -> str:
    """The IR of a kernel without what its signature says of arguments."""
    return re.sub(r" \{kernel\.[^}]*\}", "", kernel.text()).strip()


def show(step: Step, n: int, levels: int | None = None) -> None:
    """The IR of a step: as written, after each level (the first `levels` of them), after the leaf."""
    kernel = matmul(n)
    seen = [f"// {step.name}: {step.schedule}\n{text(kernel)}"]
    lower(kernel, step.schedule, WIDE, lambda level, kernel: seen.append(f"// after {level}\n{text(kernel)}"))
    print("\n\n".join(seen if levels is None else seen[1 : levels + 1]))


def table(counted: list[Step], n: int, timed: list[Step], time_n: int) -> None:
    print(f"{n} x {n} x {n}: elements of A and B that are loaded, counted (formula)")
    row = "{:<9} {:>5} {:>9} {:>9}  {:>20} {:>20} {:>10}".format
    print(
        row(
            "step",
            "lanes",
            "v1 x v2",
            "registers",
            "into registers",
            "into the cache",
            f"ms at {time_n}" if time_n else "",
        )
    )
    for step, native in zip(counted, timed, strict=True):
        found = count(step, n)
        if not found.correct:
            raise AssertionError(f"step {step.name} is wrong")
        into_registers = f"{found.into_registers} ({step.loads_into_registers(n)})"
        into_cache = f"{found.into_cache} ({step.loads_into_cache(n)})"
        ms = f"{measure(native, time_n) * 1e3:.2f}" if time_n else ""
        print(row(step.name, step.lanes, f"{step.v1} x {step.v2}", found.registers, into_registers, into_cache, ms))
    if time_n:
        a = np.ones((time_n, time_n), np.float32)
        print(f"numpy's matmul: {_best(lambda: a @ a, 5) * 1e3:.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--ir",
        metavar="STEP",
        help="print the IR of a step after every level: " + ", ".join(s.name for s in steps(4, 2, 1, 8, 8)),
    )
    parser.add_argument(
        "--count", type=int, default=32, metavar="N", help="size at which loads are counted (a multiple of 16)"
    )
    parser.add_argument(
        "--time",
        type=int,
        default=384,
        metavar="N",
        help="size at which steps are timed (a multiple of 96); 0: not at all",
    )
    given = parser.parse_args()
    if given.ir:
        show(next(step for step in steps(4, 2, 1, 8, 8) if step.name == given.ir), 16)
        return
    table(COUNTED, given.count, timed_steps(), given.time)


if __name__ == "__main__":
    main()
