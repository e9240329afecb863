"""Measure what a core of this machine does (mlc/ir/kernel/machine_rates.py), once per machine: the result is kept beside the objects.

Each figure is the best of several short tries, for whatever disturbs one makes it longer: 30 to 50 ms in all on an idle machine. Clock and
costs come from loops whose instructions wait for each other, rates from loops whose instructions do not. Memory is a block that the caches
were told to give up.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import mmap
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mlc.codegen.llvm.cache import cache_directory
from mlc.codegen.llvm.object import compile_text, load
from mlc.codegen.llvm.threads import pool
from mlc.ir.kernel.cpu_target import CpuTarget, cpu_target
from mlc.ir.kernel.machine_rates import MachineRates

TRIES = 5
FORMAT = 1  # of the file
GETPPID = {"x86_64": 110, "aarch64": 173}  # a system call that does next to nothing
SUMS = 24  # vectors that are added to in turn: more than any core has multiply-adds under way
BLOCK = 2 << 20  # bytes that are read from memory and written there
BUSY_FORK = 5000.0  # ns: a thread that spins is at work in a tenth of it, if it has a CPU

_LOOP = """
define void @mlc_measure_{name}(ptr %at, i64 %turns) nounwind {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
{phis}
{body}
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %turns
  br i1 %more, label %loop, label %end
end:
{after}
  ret void
}}
"""


def rates(again: bool = False) -> MachineRates:
    """What is kept of this machine, else measured now and kept, if the machine was not too busy for two threads at a time; `again` measures in
    any case."""
    path = _path(cpu_target())
    if not again and (found := _read(path)) is not None:
        return found
    measured = measure()
    if measured.fork is None or measured.fork < BUSY_FORK:
        _write(path, measured)
    return measured


def known() -> MachineRates | None:
    """What is kept of this machine; measures nothing."""
    return _read(_path(cpu_target()))


def _path(target: CpuTarget) -> Path:
    """Machines whose CPU, caches, count of CPUs or way of measuring differ have files of their own."""
    digest = hashlib.sha256(f"{FORMAT}\0{target}\0{target.features}\0{os.cpu_count()}\0{_model()}".encode())
    return cache_directory() / "machines" / f"{digest.hexdigest()[:24]}.json"


def _model() -> str:
    """What Linux says of the first CPU that does not change from moment to moment."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0].splitlines()
    except OSError:
        return ""
    told = ("vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "CPU part")
    return "\n".join(line for line in lines if line.partition(":")[0].strip() in told)


def _read(path: Path) -> MachineRates | None:
    try:
        return MachineRates.of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _write(path: Path, measured: MachineRates) -> None:
    """Whole or not at all; a folder that cannot be written keeps nothing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(measured.facts(), file)
        os.replace(name, path)
    except OSError:
        return


# Measuring -----------------------------------------------------------------------------------------------------------
def measure() -> MachineRates:
    target = cpu_target()
    library = load([compile_text(_text(target))])
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
    loops = {name: call(library.address(f"mlc_measure_{name}")) for name in ("chain", "fma", "load", "read", "store")}
    x86 = target.arch == "x86_64"
    extra = ("flush", "stream", "pause") if x86 else ("pause",)
    loops |= {name: call(library.address(f"mlc_measure_{name}")) for name in (*extra, "syscall")}
    memory = mmap.mmap(-1, BLOCK + target.l2 * 4)
    at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    turns = 20_000

    def best(name: str, count: int, before: Callable[[], None] = lambda: None) -> float:
        """Nanoseconds of one turn."""
        found = []
        for _ in range(TRIES):
            before()
            start = time.perf_counter_ns()
            loops[name](at, count)
            found.append(time.perf_counter_ns() - start)
        return max(1, min(found)) / count

    cycle = best("chain", turns) / 8  # ns
    registers = min(SUMS, target.registers - 4)

    def reading(bytes: int) -> float:
        loops["read"](at, bytes // 64)
        return 64 / best("read", bytes // 64)

    def cold(name: str) -> float | None:
        if not x86:
            return None
        return 64 / best(name, BLOCK // 64, lambda: loops["flush"](at, BLOCK // 64))

    loops["store"](at, (BLOCK + target.l2 * 4) // 64)  # its pages are there
    found: dict[str, float | None] = dict(
        clock=1 / cycle,
        fma=registers * cycle / best("fma", turns),
        load=8 * cycle / best("load", turns),
        l2=reading(target.l2 // 2),
        l3=reading(target.l2 * 3),
        memory=cold("read"),
        store=cold("store"),
        stream=cold("stream"),
        pause=best("pause", 1000),
        syscall=best("syscall", 300),
        **_launches(),
    )
    rounded = {
        name: None if value is None else float(f"{value:.2g}") for name, value in found.items()
    }  # the rest is noise
    made = MachineRates.of(rounded)
    assert made is not None, rounded
    return made


def _launches() -> dict[str, float | None]:
    """Of the pool, with one worker beside the caller: while that spins, and when it has gone to sleep."""
    threads = pool()
    if threads.start(2) < 2 or len(os.sched_getaffinity(0)) < 2:
        return {"fork": None, "wake": None}

    def least(pause: float, count: int) -> float | None:
        took = []
        for _ in range(count):
            time.sleep(pause)
            took.append(threads.cost(2, launches=1))
        return min((cost for cost in took if cost is not None), default=None)

    return {"fork": least(0, 8 * TRIES), "wake": least(0.002, TRIES)}


def _text(target: CpuTarget) -> str:
    lanes, registers = target.lanes, min(SUMS, target.registers - 4)
    vector = f"<{lanes} x float>"

    def loop(name: str, body: list[str], phis: list[str] | None = None, after: list[str] | None = None) -> str:
        lines = ["\n".join(f"  {line}" for line in part or ()) for part in (phis, body, after)]
        return _LOOP.format(name=name, phis=lines[0], body=lines[1], after=lines[2])

    def where(bytes: int) -> list[str]:
        return [f"%by = mul i64 %i, {bytes}", "%here = getelementptr i8, ptr %at, i64 %by"]

    parts = 64 // (lanes * 4)
    steps = [f"%x{n + 1} = {'xor' if n % 2 else 'add'} i64 %x{n}, %turns" for n in range(8)]
    sums = [f"%s{n} = phi {vector} [ splat (float 0.0), %entry ], [ %t{n}, %loop ]" for n in range(registers)]
    adds = [
        f"%t{n} = call {vector} @llvm.fma.v{lanes}f32({vector} %s{n}, {vector} %s{n}, {vector} %s{n})"
        for n in range(registers)
    ]
    keep = [f"store volatile {vector} %t{n}, ptr %at, align 4" for n in range(registers)]
    loads = [f"%a{n} = getelementptr i8, ptr %at, i64 {64 * n}" for n in range(8)]
    loads += [f"%l{n} = load volatile {vector}, ptr %a{n}, align 4" for n in range(8)]

    def stores(hint: str) -> list[str]:
        places = [f"%p{n} = getelementptr i8, ptr %here, i64 {lanes * 4 * n}" for n in range(parts)]
        return places + [f"store {vector} zeroinitializer, ptr %p{n}, align {lanes * 4}{hint}" for n in range(parts)]

    texts = [
        f"declare {vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})",
        "declare i64 @syscall(i64, ...)",
        loop("chain", steps, ["%x0 = phi i64 [ 0, %entry ], [ %x8, %loop ]"], ["store volatile i64 %x8, ptr %at"]),
        loop("fma", adds, sums, keep),
        loop("load", loads),
        loop("read", [*where(64), f"%l = load volatile {vector}, ptr %here, align 4"]),
        loop("store", [*where(64), *stores("")]),
        loop("syscall", [f"%r = call i64 (i64, ...) @syscall(i64 {GETPPID[target.arch]})"]),
    ]
    if target.arch == "x86_64":
        fence = "declare void @llvm.x86.sse2.mfence()\ndeclare void @llvm.x86.sse2.clflush(ptr)\ndeclare void @llvm.x86.sse2.pause()"
        end = ["call void @llvm.x86.sse2.mfence()"]
        texts += [
            fence,
            "!0 = !{i32 1}",
            loop("flush", [*where(64), "call void @llvm.x86.sse2.clflush(ptr %here)"], after=end),
            loop("stream", [*where(64), *stores(", !nontemporal !0")], after=end),
            loop("pause", ["call void @llvm.x86.sse2.pause()"]),
        ]
    else:
        texts.append(loop("pause", ['call void asm sideeffect "yield", ""()']))
    return "\n".join(texts)
