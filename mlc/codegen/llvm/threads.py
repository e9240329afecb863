"""The threads of a process: a fork-join pool in LLVM IR, compiled once and never unloaded.

    mlc_pool_run(body, data, helpers)     body(data, thread) on the caller (thread 0) and on up to `helpers` workers (1, 2, ...)

The pool waits for nobody who is not working: bodies take chunks from a counter of their own, the caller takes the rest itself, closes
the gate, and waits only for workers that are inside. A worker that the system has descheduled finds the gate closed when it wakes.
Waiting is a short spin, of as many pauses as fit into its time (a pause takes 9 ns on one CPU, 25 on another), then a futex. libgomp and OpenBLAS wait for every worker, and collapse 10 to 100 times beside a busy process.

One caller has the workers at a time; another that finds them taken runs its body alone. After a fork the child has no workers and
an open pool; the next `start` makes new ones.
"""

from __future__ import annotations

import ctypes
import os
import threading
from functools import cache

from mlc.codegen.llvm.object import Library, compile_text, load
from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.plan import GRAIN
from mlc.ir.processors import LARGEST

SPIN = 100_000  # nanoseconds, beyond the gap between two kernels of a model
LAUNCHES = 40  # that tell what one costs
PATIENCE = (
    4  # such a launch waits for its helpers for a quarter of a spin, more than any start on a machine that has time
)
TRIES, PAUSES = 3, 400  # that tell what a pause takes
RATE = 10  # bytes that a core touches in a nanosecond, in kernels that are worth a launch
LARGEST_GRAIN = 16 * GRAIN

_PAUSE = {"x86_64": "call void @llvm.x86.sse2.pause()", "aarch64": 'call void asm sideeffect "yield", ""()'}
_FUTEX = {"x86_64": 202, "aarch64": 98}

_POOL = """
@generation = internal global [16 x i32] zeroinitializer, align 64     ; of launches
@gate = internal global [16 x i32] zeroinitializer, align 64           ; OPEN = 65536, plus the workers inside
@owner = internal global [16 x i32] zeroinitializer, align 64          ; 1 while a caller has the workers
@sleepers = internal global [16 x i32] zeroinitializer, align 64
@work = internal global {{ ptr, ptr, i64 }} zeroinitializer, align 64    ; body, data, helpers
@workers = internal global i64 0
@spin = internal global i32 4000                                       ; pauses of a spin, once they are measured
declare i64 @syscall(i64, ...)
declare i32 @sched_yield()
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_detach(i64)
declare i32 @pthread_sigmask(i32, ptr, ptr)
declare i32 @sigfillset(ptr)
declare void @llvm.x86.sse2.pause()

declare i32 @clock_gettime(i32, ptr)

define internal i64 @now() {{
  %time = alloca {{ i64, i64 }}
  %a = call i32 @clock_gettime(i32 1, ptr %time)
  %seconds = load i64, ptr %time
  %second = getelementptr {{ i64, i64 }}, ptr %time, i64 0, i32 1
  %rest = load i64, ptr %second
  %scaled = mul i64 %seconds, 1000000000
  %all = add i64 %scaled, %rest
  ret i64 %all
}}

define internal void @measure_spin() {{                                  ; the quickest of some tries: a busy machine makes the others longer
entry:
  br label %try
try:
  %round = phi i64 [ 0, %entry ], [ %rounds, %tried ]
  %least = phi i64 [ {spin}, %entry ], [ %less, %tried ]
  %start = call i64 @now()
  br label %loop
loop:
  %turn = phi i64 [ 0, %try ], [ %next, %loop ]
  {pause}
  %next = add i64 %turn, 1
  %more = icmp slt i64 %next, {pauses}
  br i1 %more, label %loop, label %tried
tried:
  %end = call i64 @now()
  %took = sub i64 %end, %start
  %shorter = icmp slt i64 %took, %least
  %less = select i1 %shorter, i64 %took, i64 %least
  %rounds = add i64 %round, 1
  %again = icmp slt i64 %rounds, {tries}
  br i1 %again, label %try, label %known
known:
  %zero = icmp slt i64 %less, 1
  %some = select i1 %zero, i64 1, i64 %less
  %fit = udiv i64 {spent}, %some
  %large = icmp ugt i64 %fit, 1000000
  %bounded = select i1 %large, i64 1000000, i64 %fit
  %pauses = trunc i64 %bounded to i32
  store i32 %pauses, ptr @spin
  ret void
}}

define internal ptr @worker(ptr %argument) {{
entry:
  %id = ptrtoint ptr %argument to i64
  %longest = load i32, ptr @spin
  br label %wait
wait:
  %seen = phi i32 [ 0, %entry ], [ %now, %leave ], [ %now, %enter ]
  br label %spin
spin:
  %turn = phi i32 [ 0, %wait ], [ %next, %pause ], [ 0, %sleep ]
  %now = load atomic i32, ptr @generation acquire, align 4
  %new = icmp ne i32 %now, %seen
  br i1 %new, label %enter, label %pause
pause:
  {pause}
  %next = add i32 %turn, 1
  %more = icmp slt i32 %next, %longest
  br i1 %more, label %spin, label %sleep
sleep:
  %a = atomicrmw add ptr @sleepers, i32 1 seq_cst
  %wide = zext i32 %seen to i64
  %b = call i64 (i64, ...) @syscall(i64 {futex}, ptr @generation, i64 128, i64 %wide, ptr null, ptr null, i64 0)
  %c = atomicrmw sub ptr @sleepers, i32 1 seq_cst
  br label %spin
enter:
  %helpers = load atomic i64, ptr getelementptr (i8, ptr @work, i64 16) monotonic, align 8
  %wanted = icmp sle i64 %id, %helpers
  br i1 %wanted, label %knock, label %wait
knock:
  %gate = atomicrmw add ptr @gate, i32 1 acq_rel
  %open = icmp sge i32 %gate, 65536
  br i1 %open, label %check, label %leave
check:                                                                 ; the launch may be a later one by now
  %limit = load atomic i64, ptr getelementptr (i8, ptr @work, i64 16) monotonic, align 8
  %still = icmp sle i64 %id, %limit
  br i1 %still, label %run, label %leave
run:
  %body = load ptr, ptr @work
  %data = load ptr, ptr getelementptr (i8, ptr @work, i64 8)
  call void %body(ptr %data, i64 %id)
  br label %leave
leave:
  %d = atomicrmw sub ptr @gate, i32 1 release
  br label %wait
}}

define void @mlc_pool_forget() {{                                        ; in the child of a fork
  store i32 0, ptr @gate
  store i32 0, ptr @owner
  store i32 0, ptr @sleepers
  store i64 0, ptr @workers
  ret void
}}

define i64 @mlc_pool_start(i64 %wanted) {{                                ; the caller sees to it that one thread does this at a time
entry:
  %handle = alloca i64
  %all = alloca [128 x i8], align 8
  %old = alloca [128 x i8], align 8
  %first = load i64, ptr @workers
  %none = icmp eq i64 %first, 0
  br i1 %none, label %measure, label %begin
measure:
  call void @measure_spin()
  br label %begin
begin:
  %a = call i32 @sigfillset(ptr %all)
  %b = call i32 @pthread_sigmask(i32 2, ptr %all, ptr %old)              ; signals are for the threads of the program
  br label %loop
loop:
  %i = phi i64 [ %first, %begin ], [ %next, %made ]
  %more = icmp slt i64 %i, %wanted
  br i1 %more, label %make, label %end
make:
  %next = add i64 %i, 1
  %id = inttoptr i64 %next to ptr
  %failed = call i32 @pthread_create(ptr %handle, ptr null, ptr @worker, ptr %id)
  %ok = icmp eq i32 %failed, 0
  br i1 %ok, label %made, label %end
made:
  %thread = load i64, ptr %handle
  %c = call i32 @pthread_detach(i64 %thread)
  store i64 %next, ptr @workers
  br label %loop
end:
  %d = call i32 @pthread_sigmask(i32 2, ptr %old, ptr null)
  %count = load i64, ptr @workers
  ret i64 %count
}}

define void @mlc_pool_run(ptr %body, ptr %data, i64 %helpers) {{
entry:
  %some = icmp sgt i64 %helpers, 0
  br i1 %some, label %try, label %alone
try:
  %pair = cmpxchg ptr @owner, i32 0, i32 1 acquire monotonic
  %mine = extractvalue {{ i32, i1 }} %pair, 1
  br i1 %mine, label %open, label %alone
alone:
  call void %body(ptr %data, i64 0)
  ret void
open:
  store ptr %body, ptr @work
  store ptr %data, ptr getelementptr (i8, ptr @work, i64 8)
  store atomic i64 %helpers, ptr getelementptr (i8, ptr @work, i64 16) monotonic, align 8
  %a = atomicrmw or ptr @gate, i32 65536 release
  %b = atomicrmw add ptr @generation, i32 1 seq_cst
  %sleeping = load atomic i32, ptr @sleepers seq_cst, align 4
  %asleep = icmp ne i32 %sleeping, 0
  br i1 %asleep, label %wake, label %work
wake:
  %c = call i64 (i64, ...) @syscall(i64 {futex}, ptr @generation, i64 129, i64 2147483647, ptr null, ptr null, i64 0)
  br label %work
work:
  call void %body(ptr %data, i64 0)
  %d = atomicrmw and ptr @gate, i32 65535 acq_rel
  br label %join
join:
  %turn = phi i32 [ 0, %work ], [ %next, %again ], [ %next, %yield ]
  %inside = load atomic i32, ptr @gate acquire, align 4
  %none = icmp eq i32 %inside, 0
  br i1 %none, label %end, label %pause
pause:
  {pause}
  %next = add i32 %turn, 1
  %longest = load i32, ptr @spin
  %long = icmp sgt i32 %next, %longest
  br i1 %long, label %yield, label %again
yield:
  %e = call i32 @sched_yield()
  br label %join
again:
  br label %join
end:
  store atomic i32 0, ptr @owner release, align 4
  ret void
}}
"""


# One launch whose caller waits until every helper is there: the time that passes before all of them work. -1 where some do not come in time,
# for another caller has the workers or another process the CPU.
_COST = """
define internal void @arrive(ptr %data, i64 %thread) {{                  ; data: how many are here, are expected, were met in time
entry:
  %a = atomicrmw add ptr %data, i64 1 acq_rel
  %place = getelementptr i64, ptr %data, i64 1
  %expected = load i64, ptr %place
  %caller = icmp eq i64 %thread, 0
  %longest = load i32, ptr @spin
  %patience = udiv i32 %longest, {patience}
  br i1 %caller, label %wait, label %end
wait:
  %turn = phi i32 [ 0, %entry ], [ %next, %pause ]
  %here = load atomic i64, ptr %data acquire, align 8
  %all = icmp sge i64 %here, %expected
  br i1 %all, label %met, label %pause
met:
  %in_time = getelementptr i64, ptr %data, i64 2
  store i64 1, ptr %in_time
  ret void
pause:
  {pause}
  %next = add i32 %turn, 1
  %more = icmp slt i32 %next, %patience
  br i1 %more, label %wait, label %end
end:
  ret void
}}

define i64 @mlc_pool_cost(i64 %helpers) {{
  %data = alloca [3 x i64], align 64
  %threads = add i64 %helpers, 1
  %expected = getelementptr i64, ptr %data, i64 1
  %in_time = getelementptr i64, ptr %data, i64 2
  store i64 0, ptr %data
  store i64 %threads, ptr %expected
  store i64 0, ptr %in_time
  %start = call i64 @now()
  call void @mlc_pool_run(ptr @arrive, ptr %data, i64 %helpers)
  %end = call i64 @now()
  %took = sub i64 %end, %start
  %met = load i64, ptr %in_time
  %all = icmp ne i64 %met, 0
  %cost = select i1 %all, i64 %took, i64 -1
  ret i64 %cost
}}
"""


def pool_text() -> str:
    """LLVM IR of the pool, for the architecture at hand."""
    arch = cpu_target().arch
    text = _filled(_POOL)
    return text if arch == "x86_64" else text.replace("declare void @llvm.x86.sse2.pause()\n", "")


def _filled(text: str) -> str:
    arch = cpu_target().arch
    numbers = {"spin": SPIN, "spent": SPIN * PAUSES, "patience": PATIENCE, "tries": TRIES, "pauses": PAUSES}
    return text.format(**numbers, pause=_PAUSE[arch], futex=_FUTEX[arch])


class Pool:
    """The workers of this process."""

    def __init__(self) -> None:
        self.library: Library = load([compile_text(pool_text() + _filled(_COST))])
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.library))  # workers wait in its code until the process ends
        self.run = self.library.address("mlc_pool_run")
        self.workers = 0
        self._lock = threading.Lock()
        self._start = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(self.library.address("mlc_pool_start"))
        self._cost = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(self.library.address("mlc_pool_cost"))
        self._grains: dict[int, int] = {}  # by number of threads
        self._forget = ctypes.CFUNCTYPE(None)(self.library.address("mlc_pool_forget"))
        os.register_at_fork(after_in_child=self._in_child)

    def start(self, threads: int) -> int:
        """See to it that `threads`, counting a caller, can work; returns how many can where the system gives fewer."""
        if threads - 1 > self.workers:
            with self._lock:
                self.workers = self._start(min(threads, LARGEST) - 1)
        return min(threads, self.workers + 1)

    def cost(self, threads: int, launches: int = LAUNCHES) -> float | None:
        """Nanoseconds from a launch until `threads`, with the caller, work: the lower quartile of some launches. None in a busy moment, in
        which most of them do not come together: that is no property of the machine, and the pool waits for nobody then."""
        found = sorted(took for _ in range(launches) if (took := self._cost(threads - 1)) >= 0)
        return float(found[len(found) // 4]) if len(found) > launches // 4 else None

    def grain(self, threads: int) -> int:
        """Bytes that each of up to `threads` threads must have to touch before it takes part in a launch: what a core gets through while
        one starts. Measured once per process, which takes 0.1 ms; after a busy moment the next caller measures again."""
        if threads > 1 and threads not in self._grains:
            cost = self.cost(threads)
            if cost is None:
                return GRAIN
            self._grains[threads] = min(max(GRAIN, int(cost * RATE)), LARGEST_GRAIN)
        return self._grains.get(threads, GRAIN)

    def _in_child(self) -> None:
        self._forget()
        self.workers = 0
        self._lock = threading.Lock()


@cache
def pool() -> Pool:
    """The pool of this process; its code is compiled on first use."""
    return Pool()
