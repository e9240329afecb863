"""How machine code computes with floats, set at the start of a call and taken back at its end.

    %caller.mode = what the caller has;  mode = round to nearest, no traps, denormals as asked for
    ...
    mode = %caller.mode

An operation on a denormal number takes 100 times as long on many CPUs, so that they count as 0 unless they are to be kept: as operands
and as results. The rest of the mode is fixed as well: the bits of a result do not depend on what the caller has set. What computes is
called from the middle and not inlined there: LLVM knows nothing of modes and may move arithmetic past their change.
"""

from __future__ import annotations

from dataclasses import dataclass

# MXCSR: all exceptions masked (0x1F80), operands (bit 6) and results (bit 15) that are denormal count as 0
_MXCSR = {"flush": 0x9FC0, "keep": 0x1F80}
# FPCR: bit 24 for both
_FPCR = {"flush": 1 << 24, "keep": 0}


@dataclass(frozen=True)
class FloatMode:
    """Text of LLVM IR for an architecture. `denormals` is "flush" or "keep"."""

    arch: str = "x86_64"
    denormals: str = "flush"

    def declared(self) -> list[str]:
        if self.arch == "x86_64":
            return ["declare void @llvm.x86.sse.stmxcsr(ptr)", "declare void @llvm.x86.sse.ldmxcsr(ptr)"]
        return ["declare i64 @llvm.aarch64.get.fpcr()", "declare void @llvm.aarch64.set.fpcr(i64)"]

    def enter(self) -> list[str]:
        """Lines of the first block of a function."""
        if self.arch == "x86_64":
            return [
                "%caller.mode = alloca i32",
                "%own.mode = alloca i32",
                "call void @llvm.x86.sse.stmxcsr(ptr %caller.mode)",
                f"store i32 {_MXCSR[self.denormals]}, ptr %own.mode",
                "call void @llvm.x86.sse.ldmxcsr(ptr %own.mode)",
            ]
        return [
            "%caller.mode = call i64 @llvm.aarch64.get.fpcr()",
            f"call void @llvm.aarch64.set.fpcr(i64 {_FPCR[self.denormals]})",
        ]

    def leave(self) -> list[str]:
        """Lines before the function's return."""
        if self.arch == "x86_64":
            return ["call void @llvm.x86.sse.ldmxcsr(ptr %caller.mode)"]
        return ["call void @llvm.aarch64.set.fpcr(i64 %caller.mode)"]
