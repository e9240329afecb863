"""A launch shared among threads: every tile is run once, by whoever comes, and a thread's tiles lie one behind the other."""

from __future__ import annotations

import ctypes
import threading

import pytest

from mlc.codegen.llvm import threads
from mlc.codegen.llvm.float_mode import FloatMode
from mlc.codegen.llvm.launch import POOL, TIMES, NativeKernel, launch
from mlc.codegen.llvm.object import Library, compile_text, load
from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.schedule import Schedule
from mlc.passes.loops.lower import lower
from tests.kernel import hand_made

# In place of the kernel: its n-th tile adds 1 to y[n], and notes in x[n] behind which tile it ran.
KERNEL = """
define void @counted({arguments}, i64 %begin, i64 %end) {{
entry:
  br label %loop
loop:
  %n = phi i64 [ %begin, %entry ], [ %next, %loop ]
  %place = getelementptr i64, ptr %D, i64 %n
  %a = atomicrmw add ptr %place, i64 1 monotonic
  %mark = getelementptr i64, ptr %A, i64 %n
  store i64 %begin, ptr %mark
  %next = add i64 %n, 1
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %done
done:
  ret void
}}
define void @start(ptr %A, ptr %D, i64 %tiles, i64 %helpers) {{
  call void @counted.launch({given}, i64 %tiles, i64 %helpers, i64 0, ptr null, i64 0)
  ret void
}}
"""


@pytest.fixture(scope="module")
def library() -> Library:
    kernel = hand_made.gemm("M", 16, 4, epilogue=False, weight=False)
    lower(kernel, Schedule.parse("Level(m = 1 parallel) | Scalar"), cpu_target())
    native = NativeKernel(kernel.op, "counted")
    types = native.llvm_types()
    assert types == ["ptr", "ptr", "ptr", "i64"]
    mode = FloatMode(cpu_target().arch)
    text = [*mode.declared(), TIMES, POOL, launch(native, mode).replace("declare void @counted(", "; @counted(")]
    text.append(KERNEL.format(arguments="ptr %A, ptr %B, ptr %D, i64 %M", given="ptr %A, ptr null, ptr %D, i64 0"))
    return load([compile_text("\n".join(text))], {"mlc_pool_run": threads.pool().run})


def run(library: Library, tiles: int, helpers: int) -> tuple[list[int], list[int]]:
    start = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    marks, counts = (ctypes.c_int64 * tiles)(), (ctypes.c_int64 * tiles)()
    start(library.address("start"))(ctypes.addressof(marks), ctypes.addressof(counts), tiles, helpers)
    return list(marks), list(counts)


@pytest.mark.parametrize("helpers", [0, 1, 2, 5, 255])
def test_every_tile_runs_once(library, helpers):
    threads.pool().start(4)
    for tiles in (1, 2, 3, 4, 7, 8, 37, 256, 1001):
        for _ in range(5):
            assert set(run(library, tiles, helpers)[1]) == {1}, tiles


def test_no_chunk_runs_over_the_end_of_a_range(library):
    """24 tiles of two threads: each has 12, in chunks of 3."""
    threads.pool().start(2)
    for _ in range(20):
        assert run(library, 24, 1)[0] == [n // 3 * 3 for n in range(24)]
    marks, _ = run(library, 25, 1)  # 12 and 13
    assert marks == [0, 0, 0, 3, 3, 3, 6, 6, 6, 9, 9, 9, 12, 12, 12, 15, 15, 15, 18, 18, 18, 21, 21, 21, 24]


def test_callers_that_find_the_workers_taken_run_all_ranges(library):
    threads.pool().start(3)
    wrong: list[object] = []

    def many() -> None:
        wrong.extend(set(found) - {1} for found in (run(library, 50, 2)[1] for _ in range(100)) if set(found) != {1})

    callers = [threading.Thread(target=many) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong
