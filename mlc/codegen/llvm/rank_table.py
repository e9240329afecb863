"""How native code sums up over ranks: through a table that whoever runs it fills for the engine at hand, of which the code knows nothing.

    i64 table[]     START, TEST, WAIT    functions: i32 start(table, slot, data, count, element), i32 test(table, slot), i32 wait(table, slot)
                    RANK, SIZE           of this process, and how many there are
                    FAILED               0, or 1 + the slot of the sum that came to no end; waits return at once from then on
                    LIMIT                nanoseconds that a wait takes at most
                    OWN ...              what the functions need; of REQUESTS on one word for each slot

Where START is 0 there is one process, and a sum is what it sums up.
"""

from __future__ import annotations

from mlc.ir.kernel.all_reduce import ELEMENTS

SYMBOL = "mlc_collectives"
START, TEST, WAIT, RANK, SIZE, FAILED, LIMIT, OWN = range(8)
REQUESTS = 64
SLOTS = 4096
WORDS = REQUESTS + SLOTS


def _through(name: str, which: int, more: str = "") -> str:
    """A call of a function of the table, if there is one; `more` are its arguments behind the slot."""
    return f"""define internal void @collective.{name}(i64 %slot{more}) nounwind {{
  %function = call ptr @collective.function(i64 {which})
  %alone = icmp eq ptr %function, null
  br i1 %alone, label %done, label %several
several:
  %code = call i32 %function(ptr @{SYMBOL}, i64 %slot{more})
  br label %done
done:
  ret void
}}"""


COLLECTIVES = f"""@{SYMBOL} = external global i64
define internal ptr @collective.function(i64 %which) alwaysinline nounwind {{
  %place = getelementptr i64, ptr @{SYMBOL}, i64 %which
  %found = load ptr, ptr %place
  ret ptr %found
}}
{_through("start", START, ", ptr %data, i64 %count, i64 %element")}
{_through("test", TEST)}
{_through("wait", WAIT)}
define internal void @collective.rank(ptr %target) nounwind {{
  %place = getelementptr i64, ptr @{SYMBOL}, i64 {RANK}
  %rank = load i64, ptr %place
  %number = trunc i64 %rank to i32
  store i32 %number, ptr %target
  ret void
}}"""

# The functions of a table for MPI. Handles are i32 in MPICH and what has its ABI, pointers in Open MPI; a real status is passed, so that the value of
# MPI_STATUS_IGNORE does not matter. A wait asks again and again, which makes engines get on, and lets others have the core now and then.
IALLREDUCE, MPI_TEST, COMM, SUM, IN_PLACE, STATUS, FLAG, TYPES = range(OWN, OWN + 8)
assert TYPES + len(ELEMENTS) <= REQUESTS
_TURNS = 256  # questions between two looks at the clock


def mpi_adapters(handle: str) -> str:
    """LLVM IR; `handle` is the type of MPI's handles, i32 or ptr."""
    word = lambda name, type, which: (
        f"  %{name}.at = getelementptr i64, ptr %table, i64 {which}\n  %{name} = load {type}, ptr %{name}.at\n"
    )
    request = f"  %place = add i64 %slot, {REQUESTS}\n  %request = getelementptr i64, ptr %table, i64 %place\n"
    return f"""declare i32 @clock_gettime(i32, ptr)
declare i32 @sched_yield()
define internal i64 @now() nounwind {{
  %time = alloca {{ i64, i64 }}
  %code = call i32 @clock_gettime(i32 1, ptr %time)
  %seconds = load i64, ptr %time
  %rest = getelementptr {{ i64, i64 }}, ptr %time, i64 0, i32 1
  %ns = load i64, ptr %rest
  %scaled = mul i64 %seconds, 1000000000
  %all = add i64 %scaled, %ns
  ret i64 %all
}}
define internal void @fail(ptr %table, i64 %slot) nounwind {{
{word("failed", "i64", FAILED)}  %first = icmp eq i64 %failed, 0
  %mark = add i64 %slot, 1
  %kept = select i1 %first, i64 %mark, i64 %failed
  store i64 %kept, ptr %failed.at
  ret void
}}
define i32 @start(ptr %table, i64 %slot, ptr %data, i64 %count, i64 %element) nounwind {{
{word("reduce", "ptr", IALLREDUCE)}{word("comm", handle, COMM)}{word("sum", handle, SUM)}{word("in_place", "ptr", IN_PLACE)}{request}  %type.place = add i64 %element, {TYPES}
  %type.at = getelementptr i64, ptr %table, i64 %type.place
  %type = load {handle}, ptr %type.at
  %n = trunc i64 %count to i32
  %code = call i32 %reduce(ptr %in_place, ptr %data, i32 %n, {handle} %type, {handle} %sum, {handle} %comm, ptr %request)
  %wrong = icmp ne i32 %code, 0
  br i1 %wrong, label %broken, label %done
broken:
  call void @fail(ptr %table, i64 %slot)
  br label %done
done:
  ret i32 %code
}}
define i32 @test(ptr %table, i64 %slot) nounwind {{
{word("ask", "ptr", MPI_TEST)}{word("status", "ptr", STATUS)}{request}  %flag = getelementptr i64, ptr %table, i64 {FLAG}
  %code = call i32 %ask(ptr %request, ptr %flag, ptr %status)
  ret i32 %code
}}
define i32 @wait(ptr %table, i64 %slot) nounwind {{
entry:
{word("failed", "i64", FAILED)}{word("limit", "i64", LIMIT)}{word("ask", "ptr", MPI_TEST)}{word("status", "ptr", STATUS)}{request}  %flag = getelementptr i64, ptr %table, i64 {FLAG}
  %begin = call i64 @now()
  %given.up = icmp ne i64 %failed, 0
  br i1 %given.up, label %lost, label %again
again:
  %turn = phi i64 [ 0, %entry ], [ %next, %more ], [ 0, %slow ]
  %code = call i32 %ask(ptr %request, ptr %flag, ptr %status)
  %wrong = icmp ne i32 %code, 0
  br i1 %wrong, label %broken, label %asked
asked:
  %there = load i32, ptr %flag
  %done = icmp ne i32 %there, 0
  br i1 %done, label %complete, label %more
more:
  %next = add i64 %turn, 1
  %often = icmp sge i64 %next, {_TURNS}
  br i1 %often, label %slow, label %again
slow:
  %yielded = call i32 @sched_yield()
  %now = call i64 @now()
  %spent = sub i64 %now, %begin
  %over = icmp sgt i64 %spent, %limit
  br i1 %over, label %broken, label %again
broken:
  call void @fail(ptr %table, i64 %slot)
  br label %lost
lost:
  ret i32 1
complete:
  ret i32 0
}}
"""
