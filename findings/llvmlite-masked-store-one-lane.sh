#!/usr/bin/env bash
# llvmlite 0.50.0 (LLVM 22.1.0), x86-64-v4: a masked store of the first byte of a truncated vector writes four bytes.
#
# Behaviour: where the mask of llvm.masked.store is a constant that keeps one lane, and the vector comes from a truncation, the code for AVX-512 is a scalar
# store as wide as the lane was before the truncation: the three bytes behind are overwritten by zeros. Two lanes, or code for x86-64-v3, are right.
# llvmlite 0.49.0 does the same, 0.47.0 (LLVM 20.1.8) does not.
# Expected: "memory is modified only for the lanes that the mask keeps" (https://llvm.org/docs/LangRef.html, llvm.masked.store).
# Known to LLVM as issue 179489, mended in its pull request 179853 of February 2026, which no release of llvmlite has so far.
# Seen (movl writes four bytes, vpextrb one):
#     x86-64-v3, 1 lane:  vpextrb $0, %xmm0, (%rdi)
#     x86-64-v4, 1 lane:  movl %eax, (%rdi)
#     x86-64-v4, 2 lanes: vpmovdb %zmm0, (%rdi) {%k1}
# Needs Python 3.11 or newer and PyPI; the code is only printed, so any x86-64 will do. Fails where the behaviour has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet llvmlite==0.50.0
"$work/venv/bin/python" -I - <<'END'
import sys

import llvmlite.binding as llvm

TEXT = """
declare void @llvm.masked.store.v16i8.p0(<16 x i8>, ptr, <16 x i1>)

define void @first(ptr %to, ptr %from) {{
  %words = load <16 x i32>, ptr %from, align 4
  %bytes = trunc <16 x i32> %words to <16 x i8>
  call void @llvm.masked.store.v16i8.p0(<16 x i8> %bytes, ptr align 1 %to, <16 x i1> <{mask}>)
  ret void
}}
"""
llvm.initialize_native_target()
llvm.initialize_native_asmprinter()


def store(cpu: str, lanes: int) -> str:
    """The instruction that writes to %to."""
    mask = ", ".join(f"i1 {int(lane < lanes)}" for lane in range(16))
    machine = llvm.Target.from_triple("x86_64-unknown-linux-gnu").create_target_machine(cpu=cpu, opt=2)
    module = llvm.parse_assembly(TEXT.format(mask=mask))
    module.verify()
    lines = machine.emit_assembly(module).splitlines()
    return next(" ".join(line.split()) for line in lines if "(%rdi)" in line)


seen = {(cpu, lanes): store(cpu, lanes) for cpu, lanes in (("x86-64-v3", 1), ("x86-64-v4", 1), ("x86-64-v4", 2))}
for (cpu, lanes), instruction in seen.items():
    print(f"{cpu}, {lanes} lane{'s' * (lanes > 1)}: {instruction}")
stated = ["vpextrb $0, %xmm0, (%rdi)", "movl %eax, (%rdi)", "vpmovdb %zmm0, (%rdi) {%k1}"]
sys.exit(None if list(seen.values()) == stated else "the behaviour has changed")
END
