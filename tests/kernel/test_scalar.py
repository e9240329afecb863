"""What the vector leaf does not take: every dtype, reads at computed places, loops written by hand. The kernel's report says why."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from xdsl.builder import Builder
from xdsl.dialects import arith, memref, scf
from xdsl.dialects.builtin import IntegerAttr
from xdsl.ir import Block
from xdsl.rewriter import InsertPoint

from mlc.ir import types
from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.kernel import Buffer, Kernel, index
from mlc.ir.types import signless
from mlc.passes.loops.scf_blocks import for_loop
from tests.kernel import hand_made
from tests.kernel.native import Native, by_rules, floats, run

INTEGERS = [d for d in types.DTYPES if types.is_integer(d)]


def binary(op, dtype: str, out: str | None = None) -> Kernel:
    kernel = Kernel("op", {"X": Buffer((50,), dtype), "Z": Buffer((50,), dtype), "Y": Buffer((50,), out or dtype)})
    at, line = kernel.buffers, ("i",)
    kernel.structured({"i": 50}, [(at["X"], line), (at["Z"], line)], (at["Y"], line), lambda b, x, z, y: op(b, x, z))
    kernel.return_()
    return kernel


def apply(kernel: Kernel, x: np.ndarray, z: np.ndarray, out: np.dtype | None = None) -> np.ndarray:
    return run(kernel, {"X": x, "Z": z, "Y": np.zeros(50, out or x.dtype)}, "Y")


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_wrap_divide_and_compare_by_their_sign(dtype):
    kind = types.numpy_dtype(dtype)
    info, rng = np.iinfo(kind), np.random.default_rng(0)
    x = rng.integers(info.min, info.max, 50, kind, endpoint=True)
    z = np.maximum(rng.integers(1, info.max, 50, kind), 1).astype(kind)
    signed = dtype.startswith("i")
    with np.errstate(over="ignore"):
        assert np.array_equal(apply(binary(lambda b, x, z: b.insert(arith.MuliOp(x, z)).result, dtype), x, z), x * z)
    divide, rest = (arith.DivSIOp, arith.RemSIOp) if signed else (arith.DivUIOp, arith.RemUIOp)
    quotient = np.array([_divide(p, q) for p, q in zip(x, z, strict=True)], kind)
    assert np.array_equal(apply(binary(lambda b, x, z: b.insert(divide(x, z)).result, dtype), x, z), quotient)
    assert np.array_equal(apply(binary(lambda b, x, z: b.insert(rest(x, z)).result, dtype), x, z), x - quotient * z)
    less = "slt" if signed else "ult"
    found = apply(
        binary(lambda b, x, z: b.insert(arith.CmpiOp(x, z, less)).result, dtype, "bool"), x, z, np.dtype(bool)
    )
    assert np.array_equal(found, x < z)
    largest = arith.MaxSIOp if signed else arith.MaxUIOp
    assert np.array_equal(apply(binary(lambda b, x, z: b.insert(largest(x, z)).result, dtype), x, z), np.maximum(x, z))


def _divide(x: np.integer, z: np.integer) -> int:
    quotient = abs(int(x)) // abs(int(z))
    return quotient if (x < 0) == (z < 0) else -quotient


@pytest.mark.parametrize("dtype, target", [("i32", np.int32), ("i64", np.int64), ("i8", np.int8)])
def test_floats_saturate_as_integers(dtype, target):
    x = np.zeros(50, np.float32)
    x[:7] = [1.5, -2.5, np.nan, np.inf, -np.inf, 1e30, -1e30]
    kernel = binary(lambda b, x, z: b.insert(arith.FPToSIOp(x, signless(dtype))).result, "f32", dtype)
    found, info = apply(kernel, x, x, np.dtype(target)), np.iinfo(target)
    assert found[:7].tolist() == [1, -2, 0, info.max, info.min, info.max, info.min]


@pytest.mark.parametrize("dtype", ["bf16", "f16"])
def test_narrow_floats_are_computed_wide_and_rounded_to_even(dtype):
    kind = types.numpy_dtype(dtype)
    x, z = floats(50).astype(kind), floats(50, seed=1).astype(kind)
    exact = (x.astype(np.float32) * z.astype(np.float32)).astype(kind)
    assert np.array_equal(apply(binary(lambda b, x, z: hand_made.mul(b, x, z), dtype), x, z), exact)
    wide = np.concatenate([floats(45) * 1e3, [np.nan, np.inf, -np.inf, 0.0, 1 + 2**-8]]).astype(np.float32)
    narrow = binary(lambda b, x, z: b.insert(arith.TruncFOp(x, signless(dtype))).result, "f32", dtype)
    assert np.array_equal(apply(narrow, wide, wide, kind), wide.astype(kind), equal_nan=True)


@pytest.mark.parametrize("dtype", ["i8", "i16"])
def test_integer_products_accumulate_in_i32(dtype):
    """In vectors where they are bytes."""
    a = np.random.default_rng(0).integers(-128, 127, (17, 33), types.numpy_dtype(dtype))
    b = np.random.default_rng(1).integers(-128, 127, (33, 29), types.numpy_dtype(dtype))
    kernel = Kernel("dot", {"A": Buffer((17, 33), dtype), "B": Buffer((33, 29), dtype), "Y": Buffer((17, 29), "i32")})
    at, i32 = kernel.buffers, signless("i32")
    kernel.structured(
        {"m": 17, "n": 29},
        [],
        (at["Y"], ("m", "n")),
        lambda b, y: b.insert(arith.ConstantOp(IntegerAttr(0, i32))).result,
    )

    def body(b, x, z, y):
        x, z = (b.insert(arith.ExtSIOp(v, i32)).result for v in (x, z))
        return b.insert(arith.AddiOp(y, b.insert(arith.MuliOp(x, z)).result)).result

    operands = [(at["A"], ("m", "k")), (at["B"], ("k", "n"))]
    kernel.structured({"m": 17, "n": 29, "k": 33}, operands, (at["Y"], ("m", "n")), body, {"k"})
    kernel.return_()
    found = run(kernel, {"A": a, "B": b, "Y": np.zeros((17, 29), np.int32)}, "Y", parts=2)
    assert np.array_equal(found, a.astype(np.int32) @ b.astype(np.int32))
    assert any("folds no integers" in line for line in kernel.report) == (dtype == "i16")


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_rows_gathered_from_a_table(rows):
    table, at = floats(50, 24), np.random.default_rng(0).integers(0, 50, rows)
    kernel = Kernel("gather", {"T": Buffer((50, 24)), "I": Buffer(("N",), "i64"), "Y": Buffer(("N", 24))})
    buffers = kernel.buffers

    def body(b, i, y):
        row = b.insert(arith.IndexCastOp(i, index)).result
        return b.insert(memref.LoadOp.get(buffers["T"], [row, b.index("c")])).results[0]

    kernel.structured({"r": "N", "c": 24}, [(buffers["I"], ("r",))], (buffers["Y"], ("r", "c")), body)
    kernel.return_()
    found = run(kernel, {"T": table, "I": at, "Y": np.zeros((rows, 24), np.float32)}, "Y", parts=2, N=rows)
    assert np.array_equal(found, table[at])


def test_positions_count_from_the_beginning_of_the_whole_loop():
    kernel = Kernel("iota", {"Y": Buffer((3, "N", 5), "i64")})
    at, loops = kernel.buffers, {"a": 3, "b": "N", "c": 5}

    def body(b, y):
        total = b.index("a")
        for name, scale in (("b", 10), ("c", 10)):
            ten = b.insert(arith.ConstantOp(IntegerAttr(scale, index))).result
            total = b.insert(arith.AddiOp(b.insert(arith.MuliOp(total, ten)).result, b.index(name))).result
        return b.insert(arith.IndexCastOp(total, signless("i64"))).result

    kernel.structured(loops, [], (at["Y"], ("a", "b", "c")), body)
    kernel.return_()
    found = run(kernel, {"Y": np.zeros((3, 4, 5), np.int64)}, "Y", parts=2, N=4)
    a, b, c = np.indices((3, 4, 5))
    assert np.array_equal(found, a * 100 + b * 10 + c)


def test_loops_written_by_hand_stay_as_they_are():
    """counts[x[i]] += 1, and the position of the first 3 by scf.while."""
    kernel = Kernel("count", {"X": Buffer(("N",), "i64"), "C": Buffer((4,), "i64"), "F": Buffer((1,), "i64")}, ["N"])
    at, const, i64 = kernel.buffers, kernel.const, signless("i64")

    def count(b: Builder, i):
        place = b.insert(arith.IndexCastOp(b.insert(memref.LoadOp.get(at["X"], [i])).results[0], index)).result
        one = b.insert(arith.ConstantOp(IntegerAttr(1, i64))).result
        more = b.insert(arith.AddiOp(b.insert(memref.LoadOp.get(at["C"], [place])).results[0], one)).result
        b.insert(memref.StoreOp.get(more, at["C"], [place]))

    b = kernel.builder
    b.insert(for_loop(const(0), kernel.extent("N"), const(1), "i", count))
    before, after = Block(arg_types=[index]), Block(arg_types=[index])
    inside = Builder(InsertPoint.at_end(before))
    value = inside.insert(memref.LoadOp.get(at["X"], [before.args[0]])).results[0]
    three = inside.insert(arith.ConstantOp(IntegerAttr(3, i64))).result
    inside.insert(scf.ConditionOp(inside.insert(arith.CmpiOp(value, three, "ne")).result, before.args[0]))
    inside = Builder(InsertPoint.at_end(after))
    inside.insert(scf.YieldOp(inside.insert(arith.AddiOp(after.args[0], const(1))).result))
    loop = b.insert(scf.WhileOp([const(0)], [index], [before], [after]))
    first = b.insert(arith.IndexCastOp(loop.results[0], i64)).result
    b.insert(memref.StoreOp.get(first, at["F"], [const(0)]))
    kernel.return_()
    x, c, f = np.array([0, 2, 1, 3, 2, 2]), np.zeros(4, np.int64), np.zeros(1, np.int64)
    kernel = by_rules(kernel, cpu_target())
    assert kernel.report == ["scalar loops: the kernel holds scf.for"]
    Native(kernel)({"X": x, "C": c, "F": f}, N=6)
    assert c.tolist() == [1, 1, 3, 1] and f.tolist() == [3]


def test_bf16_is_the_upper_half_of_f32():
    x = np.array([1.0, -2.5, 3e38, 1e-40] + [0.0] * 46, ml_dtypes.bfloat16)
    kernel = binary(lambda b, x, z: b.insert(arith.ExtFOp(x, signless("f32"))).result, "bf16", "f32")
    assert np.array_equal(apply(kernel, x, x, np.dtype(np.float32)), x.astype(np.float32))
