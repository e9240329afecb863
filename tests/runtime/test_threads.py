"""The fork-join pool, driven from Python through small bodies in LLVM IR."""

import ctypes
import itertools
import os
import subprocess
import sys
import threading

import pytest

from mlc.codegen.llvm import threads
from mlc.codegen.llvm.object import compile_text, load
from mlc.errors import MlcError
from mlc.ir import dims, processors
from mlc.ir.kernel import plan
from mlc.runtime.binding import Binder

# data: { i64 next, i64 count, ptr out }: every chunk adds 1 to out[chunk] and spins a little
BODY = """
define void @body(ptr %data, i64 %thread) {
entry:
  %pcount = getelementptr i64, ptr %data, i64 1
  %pout = getelementptr i64, ptr %data, i64 2
  %count = load i64, ptr %pcount
  %out = load ptr, ptr %pout
  br label %take
take:
  %i = atomicrmw add ptr %data, i64 1 monotonic
  %more = icmp slt i64 %i, %count
  br i1 %more, label %work, label %end
work:
  %p = getelementptr i64, ptr %out, i64 %i
  %old = load i64, ptr %p
  %new = add i64 %old, 1
  store i64 %new, ptr %p
  br label %spin
spin:
  %n = phi i64 [ 0, %work ], [ %m, %spin ]
  %m = add i64 %n, 1
  call void asm sideeffect "", ""()
  %again = icmp slt i64 %m, 200
  br i1 %again, label %spin, label %take
end:
  ret void
}
"""


class Launch:
    """Calls mlc_pool_run on the body above."""

    def __init__(self, chunks: int):
        self.library = load([compile_text(BODY)])
        self.body = self.library.address("body")
        self.run = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)(threads.pool().run)
        self.chunks = chunks
        self.out = (ctypes.c_int64 * chunks)()

    def __call__(self, helpers: int) -> None:
        data = (ctypes.c_int64 * 3)(0, self.chunks, ctypes.addressof(self.out))
        self.run(self.body, ctypes.addressof(data), helpers)


@pytest.mark.parametrize("helpers", [0, 1, 3])
def test_every_chunk_is_done_once_per_launch(helpers):
    threads.pool().start(4)
    launch = Launch(37)
    for _ in range(300):
        launch(helpers)
    assert list(launch.out) == [300] * 37


def test_callers_at_the_same_time_do_not_disturb_each_other():
    threads.pool().start(3)
    launches = [Launch(23) for _ in range(4)]

    def work(launch: Launch) -> None:
        for _ in range(400):
            launch(2)

    callers = [threading.Thread(target=work, args=(launch,)) for launch in launches]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert all(list(launch.out) == [400] * 23 for launch in launches)


def test_workers_that_slept_take_part_again():
    threads.pool().start(2)
    launch = Launch(5)
    for _ in range(5):
        threading.Event().wait(0.02)
        launch(1)
    assert list(launch.out) == [5] * 5


FORK = """
import os, sys
sys.path.insert(0, {tests!r})
import test_threads as t
t.threads.pool().start(3)
launch = t.Launch(11)
launch(2)
child = os.fork()
if child == 0:
    launch(2)                                   # without workers
    assert t.threads.pool().workers == 0
    assert t.threads.pool().start(2) == 2
    for _ in range(100):
        launch(1)
    os._exit(0 if list(launch.out) == [102] * 11 else 1)
launch(2)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), list(launch.out) == [2] * 11)
"""


def test_the_pool_works_in_parent_and_child_after_a_fork():
    program = FORK.format(tests=os.path.dirname(__file__))
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["0", "True"], done.stderr


def test_thread_count_follows_its_sources_in_order(monkeypatch):
    monkeypatch.delenv("MLC_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert processors.thread_count() == processors.available_cpus() >= 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert processors.thread_count() == 3
    monkeypatch.setenv("MLC_NUM_THREADS", "5")
    assert processors.thread_count() == 5
    assert processors.thread_count(2) == 2
    monkeypatch.setenv("MLC_NUM_THREADS", "many")
    with pytest.raises(MlcError, match="MLC_NUM_THREADS is 'many'"):
        processors.thread_count()


@pytest.mark.parametrize(
    "files, quota",
    [
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_container_quotas_are_read(tmp_path, files, quota):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert processors._quota(tmp_path) == quota


@pytest.mark.parametrize(
    ("costs", "want"),
    [
        ([0], threads.GRAIN),
        ([5_000], 50_000),
        ([10**9], threads.LARGEST_GRAIN),
        ([-1], threads.GRAIN),
        ([-1, -1, 5_000], 50_000),
        ([5_000, 6_000, 10**7, 10**8], 60_000),
    ],
)
def test_each_thread_has_to_do_what_a_launch_costs(monkeypatch, costs, want):
    """Costs of launches in turn, in nanoseconds; -1 where the helpers were not there in time."""
    pool = threads.Pool()
    waiting = itertools.cycle(costs)
    monkeypatch.setattr(pool, "_cost", lambda helpers: next(waiting))
    assert pool.grain(1) == threads.GRAIN
    assert pool.grain(2) == want


def test_the_cost_is_measured_again_after_a_busy_moment_and_else_once(monkeypatch):
    pool = threads.Pool()
    found = iter([None, 4_000.0, 9_000.0])
    monkeypatch.setattr(pool, "cost", lambda count: next(found))
    assert [pool.grain(4) for _ in range(3)] == [threads.GRAIN, 40_000, 40_000]


def test_a_launch_is_measured_on_the_real_pool():
    pool = threads.pool()
    for count in (2, pool.start(4)):
        cost = pool.cost(count)
        assert cost is None or cost > 0
        assert threads.GRAIN <= pool.grain(count) <= threads.LARGEST_GRAIN


def test_a_launch_has_as_many_threads_as_have_enough_to_do():
    """f32[N] read and written: 8 bytes an element."""
    row = plan.TensorSpec("x", "f32", (dims.symbol("N"),))
    touched = 8 * dims.symbol("N")
    made = plan.Plan((row,), (row,), launches=(plan.Launch(touched, 6),), symbols={"N": (0, None)})
    for limit in (1, 2, 4, 8):
        for grain in (threads.GRAIN, 3 * threads.GRAIN):
            binder = Binder(made, limit, grain)
            for size in (0, 1, 2047, 2048, 4095, 4096, 6144, 12288, 1 << 20):
                want = max(1, min(limit, 6, 8 * size // grain))
                assert binder.bind(((size,),)).threads == want
