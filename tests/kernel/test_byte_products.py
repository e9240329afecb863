"""Sums of products of bytes: exact on every kind of machine, at every size, where 16-bit sums would saturate and 32-bit ones wrap."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerAttr, i32

from mlc.codegen.llvm.object import assembly
from mlc.codegen.llvm.printer import emit
from mlc.ir.kernel.cpu_target import CpuTarget, cpu_target
from mlc.ir.kernel.interpreter import run_kernel
from mlc.ir.kernel.kernel import Buffer, Kernel
from mlc.ir.kernel.schedule import Vector
from mlc.passes.kernel.rules.cpu import choose
from tests.kernel.hand_made import copied
from tests.kernel.native import RUNNABLE, by_rules, run


class WithoutBytes(CpuTarget):
    """A machine with no instruction for products of bytes."""

    dot = "none"


VNNI = CpuTarget("znver4", "+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512vnni", lanes=16, registers=32)
TARGETS = [cpu_target(), *RUNNABLE, WithoutBytes("x86-64-v2", "", lanes=4, registers=16, fma=False)]


def product(m, n, k, unsigned_rows=True, weight=True, quads=True) -> Kernel:
    """D[m, n] : i32 = sum of A[m, k] B[k, n], one of them unsigned; in quads A is [m, k, 4] and B is [k, n, 4]."""
    more = (4,) if quads else ()
    shapes = {"A": Buffer((m, k, *more), "u8"), "B": Buffer((k, n, *more), "i8", weight), "D": Buffer((m, n), "i32")}
    kernel = Kernel("product", shapes)
    at, t = kernel.buffers, kernel.temporary((m, n), "i32", "acc")
    widen = (arith.ExtUIOp, arith.ExtSIOp) if unsigned_rows else (arith.ExtSIOp, arith.ExtUIOp)

    def multiply_add(b, x, y, out):
        wide = [b.insert(kind(v, i32)).result for kind, v in zip(widen, (x, y), strict=True)]
        return b.insert(arith.AddiOp(out, b.insert(arith.MuliOp(*wide)).result)).result

    def zero(b, out):
        return b.insert(arith.ConstantOp(IntegerAttr(0, i32))).result

    loops, r = {"m": m, "n": n}, {"r": 4} if quads else {}
    kernel.structured(loops, [], (t, ("m", "n")), zero)
    operands = [(at["A"], ("m", "k", *r)), (at["B"], ("k", "n", *r))]
    kernel.structured({**loops, "k": k, **r}, operands, (t, ("m", "n")), multiply_add, {"k", *r})
    kernel.structured(loops, [(t, ("m", "n"))], (at["D"], ("m", "n")), copied)
    kernel.return_()
    return kernel


def exact(a, b, unsigned_rows=True):
    a, b = (
        v.view(np.uint8 if u else np.int8).astype(np.int64) for v, u in ((a, unsigned_rows), (b, not unsigned_rows))
    )
    spec = "mkr,knr->mn" if a.ndim == 3 else "mk,kn->mn"
    return np.einsum(spec, a, b).astype(np.int32)


SIZES = st.sampled_from([0, 1, 2, 3, 7, 13, 16, 17, 31, 32, 33, 49])


@settings(max_examples=25, deadline=None)
@given(
    m=SIZES, n=SIZES, k=SIZES, unsigned_rows=st.booleans(), weight=st.booleans(), quads=st.booleans(), named=st.booleans(),
    target=st.sampled_from(TARGETS), seed=st.integers(0, 99),
)  # fmt: skip
@example(14, 32, 9, True, True, True, False, TARGETS[0], 0)
@example(13, 17, 9, False, False, True, True, TARGETS[0], 0)
def test_products_of_any_size_are_exact(m, n, k, unsigned_rows, weight, quads, named, target, seed):
    more = (4,) if quads else ()
    draw = np.random.default_rng([seed, m, n, k])
    a, b = (draw.integers(-128, 128, (*shape, *more), np.int8) for shape in ((m, k), (k, n)))
    kernel = product("M" if named else m, n, k, unsigned_rows, weight, quads)
    sizes = {"M": m} if named else {}
    arrays = {"A": a.view(np.uint8), "B": b, "D": np.zeros((m, n), np.int32)}
    found = run(kernel, arrays, "D", target, parts=1 + seed % 3, **sizes)
    np.testing.assert_array_equal(found, exact(a, b, unsigned_rows))


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("a, b", [(-1, -128), (-1, 127), (0, -128), (127, 127)])
def test_the_largest_products_saturate_nothing(target, a, b):
    """255 * -128 twice is below the least 16-bit number, and 70,000 times below the least of 32 bits, where it wraps."""
    for k in (2, 17_500):
        left, right = np.full((3, k, 4), a, np.int8), np.full((k, 17, 4), b, np.int8)
        found = run(
            product(3, 17, k), {"A": left.view(np.uint8), "B": right, "D": np.zeros((3, 17), np.int32)}, "D", target
        )
        np.testing.assert_array_equal(found, exact(left, right))


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_every_level_runs_in_the_interpreter(target):
    a, b = (
        np.random.default_rng(n).integers(-128, 128, shape, np.int8) for n, shape in enumerate(((5, 3, 4), (3, 19, 4)))
    )
    seen = []

    def look(part, kernel):
        result = np.zeros((5, 19), np.int32)
        copy = Kernel.from_func(kernel.op.clone(), [leaf.clone() for leaf in kernel.leaves])
        run_kernel(copy, {"A": a.view(np.uint8), "B": b, "D": result})
        np.testing.assert_array_equal(result, exact(a, b), err_msg=part)
        seen.append(part)

    by_rules(product(5, 19, 3, weight=False), target, look)
    assert len(seen) > 2


@pytest.mark.parametrize(
    "target, wanted",
    [(VNNI, "vpdpbusd\t%zmm"), (cpu_target("x86-64-v4"), "vpmaddwd\t%zmm"), (cpu_target("x86-64-v3"), "vpmaddwd\t%ymm"), (cpu_target("x86-64-v2"), "pmaddwd\t%xmm")],
    ids=["vnni", "x86-64-v4", "x86-64-v3", "x86-64-v2"],
)  # fmt: skip
def test_a_machine_multiplies_by_its_own_instructions(target, wanted):
    kernel = by_rules(product(28, 64, 16), target)
    text = assembly(emit(kernel.functions(), target), target)
    assert wanted in text
    assert not re.search(r"p?maddubs|vpmulld", text)


def test_schedules_of_products_of_bytes_are_those_of_floats():
    schedule = choose(product(28, 64, 16), VNNI)
    assert (
        str(schedule)
        == "Level(m = 14 parallel, n = 32 parallel; B -> panel) | Level(m = 14) | Vector(n x 16, unroll m*n)"
    )
    assert isinstance(schedule.leaf, Vector)
