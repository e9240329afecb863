"""How machine code takes a kernel's arguments, and the function that launches it: alone, or shared among the threads of the pool.

    launch(arguments, tiles, helpers, scratch, times, step)

A kernel whose tiles can be shared takes the range of tiles [begin, end): all of them at once where there are no helpers. Else each thread has a
range of its own, which it takes chunk by chunk, one behind the other, and then what is left of the others' ranges:

    body(data, thread):  for owner in thread, thread + 1, ..., thread - 1:
                             while ((begin = data.taken[owner] += data.chunk) < end of the range) kernel(data..., begin, begin + data.chunk)

A launch's data is a row of 8-byte slots: the kernel's arguments, scratch bytes per thread, tiles, chunk, threads, and the address of the counters
of tiles taken so far, each on a cache line of its own, for several threads write it.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import func

from mlc.codegen.llvm.float_mode import FloatMode
from mlc.ir.kernel.kernel import open_axes
from mlc.ir.kernel.planner import KernelSignature

# Chunks of a launch per thread: enough that threads that start late, or are taken away, do not matter.
CHUNKS = 4

POOL = "declare void @mlc_pool_run(ptr, ptr, i64)"

# The clock, and the addition of one call to the times of its step.
TIMES = """declare i32 @clock_gettime(i32, ptr)
define internal i64 @now() nounwind {
  %time = alloca { i64, i64 }
  %a = call i32 @clock_gettime(i32 1, ptr %time)
  %seconds = load i64, ptr %time
  %rest = getelementptr { i64, i64 }, ptr %time, i64 0, i32 1
  %ns = load i64, ptr %rest
  %scaled = mul i64 %seconds, 1000000000
  %all = add i64 %scaled, %ns
  ret i64 %all
}
define internal void @record(ptr %times, i64 %step, i64 %before) nounwind {
  %now = call i64 @now()
  %spent = sub i64 %now, %before
  %own = getelementptr { i64, i64 }, ptr %times, i64 %step
  %turns = getelementptr { i64, i64 }, ptr %own, i64 0, i32 1
  %ns = load i64, ptr %own
  %count = load i64, ptr %turns
  %more = add i64 %ns, %spent
  %next = add i64 %count, 1
  store i64 %more, ptr %own
  store i64 %next, ptr %turns
  ret void
}"""


class NativeKernel(KernelSignature):
    """A kernel as machine code, which is called `symbol`."""

    def __init__(self, op: func.FuncOp, symbol: str):
        super().__init__(op)
        self.symbol = symbol

    def llvm_types(self) -> list[str]:
        """Of all arguments but the range of tiles."""
        found = []
        for type, role in zip(self.types, self.roles, strict=True):
            if role in ("begin", "end"):
                continue
            found += ["i64"] if role == "extent" else ["ptr", *["i64"] * len(open_axes(type))]
        return found


def launch(kernel: NativeKernel, mode: FloatMode) -> str:
    """The function that launches a kernel. With times it calls itself without, and takes the time. What it calls last it jumps to: next to
    nothing on top of the kernel itself."""
    types, names = kernel.llvm_types(), [f"%a{slot}" for slot in range(len(kernel.llvm_types()))]
    tiled = kernel.tiles is not None
    own = [*types, *["i64"] * (3 if tiled else 0)]
    given = [*names, *(["%tiles", "%helpers", "%scratch"] if tiled else [])]
    range_types = ["i64", "i64"] if tiled else []
    again = typed([*own, "ptr", "i64"], [*given, "null", "0"])
    alone = typed([*types, *range_types], [*names, *(["0", "%tiles"] if tiled else [])])
    lines = [f"declare void @{kernel.symbol}({', '.join([*types, *range_types])})"]
    if tiled:
        lines += [_body(kernel, mode), _share(kernel)]
    lines += [
        f"define internal void @{kernel.symbol}.launch({typed([*own, 'ptr', 'i64'], [*given, '%times', '%step'])}) nounwind {{",
        "  %untimed = icmp eq ptr %times, null",
        "  br i1 %untimed, label %start, label %timed",
        "timed:",
        "  %before = call i64 @now()",
        f"  call void @{kernel.symbol}.launch({again})",
        "  call void @record(ptr %times, i64 %step, i64 %before)",
        "  ret void",
        "start:",
    ]
    if tiled:
        lines += ["  %shared = icmp sgt i64 %helpers, 0", "  br i1 %shared, label %share, label %alone", "alone:"]
    lines += [f"  tail call void @{kernel.symbol}({alone})", "  ret void"]
    if tiled:
        lines += ["share:", f"  tail call void @{kernel.symbol}.share({typed(own, given)})", "  ret void"]
    return "\n".join([*lines, "}"])


def _share(kernel: NativeKernel) -> str:
    """Write down a launch's data and hand it to the pool."""
    types = kernel.llvm_types()
    names = [f"%a{slot}" for slot in range(len(types))]
    own, given = [*types, "i64", "i64", "i64"], [*names, "%tiles", "%helpers", "%scratch"]
    fields = [*zip(own, [*names, "%scratch", "%tiles", "%chunk"], strict=True), ("i64", "%threads"), ("ptr", "%taken")]
    lines = [
        f"define internal void @{kernel.symbol}.share({typed(own, given)}) nounwind {{",
        "entry:",
        f"  %data = alloca [{len(fields)} x i64], align 64",
        "  %threads = add i64 %helpers, 1",
        "  %taken = alloca [8 x i64], i64 %threads, align 64",
        f"  %cuts = mul i64 %threads, {CHUNKS}",
        "  %even = udiv i64 %tiles, %cuts",
        "  %small = icmp eq i64 %even, 0",
        "  %chunk = select i1 %small, i64 1, i64 %even",
    ]
    for slot, (type, value) in enumerate(fields):
        lines.append(f"  %d{slot} = getelementptr i64, ptr %data, i64 {slot}")
        lines.append(f"  store {type} {value}, ptr %d{slot}")
    lines += [
        "  br label %clear",
        "clear:",
        "  %owner = phi i64 [ 0, %entry ], [ %next, %clear ]",
        "  %counter = getelementptr [8 x i64], ptr %taken, i64 %owner",
        "  store i64 0, ptr %counter",
        "  %next = add i64 %owner, 1",
        "  %left = icmp slt i64 %next, %threads",
        "  br i1 %left, label %clear, label %launch",
        "launch:",
    ]
    lines.append(f"  call void @mlc_pool_run(ptr @{kernel.symbol}.body, ptr %data, i64 %helpers)")
    return "\n".join([*lines, "  ret void", "}"])


def _body(kernel: NativeKernel, mode: FloatMode) -> str:
    """What each thread of a launch runs, in the mode of the call: chunks of its own range of tiles, then of the others', until none is left."""
    types = kernel.llvm_types()
    scratch = _scratch_slot(kernel)
    lines = [f"define internal void @{kernel.symbol}.body(ptr %data, i64 %thread) nounwind {{", "entry:"]
    lines += [f"  {line}" for line in mode.enter()]
    for slot, type in enumerate([*types, "i64", "i64", "i64", "i64", "ptr"]):
        lines.append(f"  %p{slot} = getelementptr i64, ptr %data, i64 {slot}")
        lines.append(f"  %a{slot} = load {type}, ptr %p{slot}")
    count = len(types)
    names = [f"%a{slot}" for slot in range(count)]
    if scratch is not None:
        lines.append(f"  %apart = mul i64 %thread, %a{count}")
        lines.append(f"  %own = getelementptr i8, ptr %a{scratch}, i64 %apart")
        names[scratch] = "%own"
    arguments = typed([*types, "i64", "i64"], [*names, "%begin", "%stop"])
    tiles, chunk, threads, taken = (f"%a{count + slot}" for slot in (1, 2, 3, 4))
    lines += [
        "  br label %range",
        "range:",
        "  %turn = phi i64 [ 0, %entry ], [ %next, %others ]",
        "  %place = add i64 %thread, %turn",
        f"  %owner = urem i64 %place, {threads}",
        f"  %before = mul i64 %owner, {tiles}",
        f"  %first = udiv i64 %before, {threads}",
        f"  %until = add i64 %before, {tiles}",
        f"  %last = udiv i64 %until, {threads}",
        f"  %counter = getelementptr [8 x i64], ptr {taken}, i64 %owner",
        "  br label %take",
        "take:",
        f"  %done = atomicrmw add ptr %counter, i64 {chunk} monotonic",
        "  %begin = add i64 %first, %done",
        "  %more = icmp slt i64 %begin, %last",
        "  br i1 %more, label %run, label %others",
        "run:",
        f"  %after = add i64 %begin, {chunk}",
        "  %over = icmp sgt i64 %after, %last",
        "  %stop = select i1 %over, i64 %last, i64 %after",
        f"  call void @{kernel.symbol}({arguments}) noinline",
        "  br label %take",
        "others:",
        "  %next = add i64 %turn, 1",
        f"  %again = icmp slt i64 %next, {threads}",
        "  br i1 %again, label %range, label %end",
        "end:",
        *(f"  {line}" for line in mode.leave()),
        "  ret void",
        "}",
    ]
    return "\n".join(lines)


def _scratch_slot(kernel: NativeKernel) -> int | None:
    slot = 0
    for type, role in zip(kernel.types, kernel.roles, strict=True):
        if role == "scratch":
            return slot
        if role not in ("begin", "end"):
            slot += 1 if role == "extent" else 1 + len(open_axes(type))
    return None


def typed(types: Sequence[str], values: Sequence[str]) -> str:
    return ", ".join(f"{type} {value}" for type, value in zip(types, values, strict=True))
