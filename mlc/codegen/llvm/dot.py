"""The dot product of bytes as LLVM IR, by what a machine has: all three are exact.

dot     vpdpbusd: four products and their sum in one instruction
pairs   bytes 0 and 2, and 1 and 3, widened to 16 bits: vpmaddwd twice. (vpmaddubsw would saturate.)
none    four products of 32 bits
"""

from __future__ import annotations

from xdsl.dialects.builtin import VectorType

from mlc.codegen.llvm.function import FunctionPrinter, prints
from mlc.ir.kernel.vector_ops import DotBytes

_PAIRS = {4: "llvm.x86.sse2.pmadd.wd", 8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}


@prints("vector.dot_bytes")
def _(f: FunctionPrinter, op: DotBytes) -> None:
    assert isinstance(op.acc.type, VectorType)
    (lanes,) = op.acc.type.get_shape()
    wide, bytes = f"<{lanes} x i32>", f"<{4 * lanes} x i8>"
    x, y, acc = f.value(op.x), f.value(op.y), f.value(op.acc)
    if f.dot == "dot" and lanes in _PAIRS:
        name = f"llvm.x86.avx512.vpdpbusd.{32 * lanes}"
        f.names[op.result] = f.call(name, [(wide, acc), (bytes, x), (bytes, y)], wide)
    elif f.dot == "pairs" and lanes in _PAIRS:
        f.names[op.result] = _pairs(f, lanes, x, y, acc)
    else:
        f.names[op.result] = _one_by_one(f, lanes, x, y, acc)


def _pairs(f: FunctionPrinter, lanes: int, x: str, y: str, acc: str) -> str:
    wide, half = f"<{lanes} x i32>", f"<{2 * lanes} x i16>"
    eight = "splat (i16 8)"
    left, right = (f.let(f"bitcast <{4 * lanes} x i8> {v} to {half}") for v in (x, y))
    even = f.let(f"and {half} {left}, splat (i16 255)"), f.let(f"shl {half} {right}, {eight}")
    even = even[0], f.let(f"ashr {half} {even[1]}, {eight}")
    odd = f.let(f"lshr {half} {left}, {eight}"), f.let(f"ashr {half} {right}, {eight}")
    for a, b in (even, odd):
        acc = f.let(f"add {wide} {acc}, {f.call(_PAIRS[lanes], [(half, a), (half, b)], wide)}")
    return acc


def _one_by_one(f: FunctionPrinter, lanes: int, x: str, y: str, acc: str) -> str:
    wide, left_most = f"<{lanes} x i32>", "splat (i32 24)"
    left, right = (f.let(f"bitcast <{4 * lanes} x i8> {v} to {wide}") for v in (x, y))
    for j in range(4):
        a = f.let(f"and {wide} {f.let(f'lshr {wide} {left}, splat (i32 {8 * j})')}, splat (i32 255)")
        b = f.let(f"ashr {wide} {f.let(f'shl {wide} {right}, splat (i32 {24 - 8 * j})')}, {left_most}")
        acc = f.let(f"add {wide} {acc}, {f.let(f'mul {wide} {a}, {b}')}")
    return acc
