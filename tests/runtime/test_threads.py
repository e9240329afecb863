"""The fork-join pool, driven from Python through small bodies in LLVM IR."""

import ctypes
import os
import subprocess
import sys
import threading

import pytest

from mlc.codegen.llvm import threads
from mlc.codegen.llvm.object import compile_text, load
from mlc.errors import MlcError

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
    assert threads.thread_count() == threads.available_cpus() >= 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert threads.thread_count() == 3
    monkeypatch.setenv("MLC_NUM_THREADS", "5")
    assert threads.thread_count() == 5
    assert threads.thread_count(2) == 2
    monkeypatch.setenv("MLC_NUM_THREADS", "many")
    with pytest.raises(MlcError, match="MLC_NUM_THREADS is 'many'"):
        threads.thread_count()


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
    assert threads._quota(tmp_path) == quota
