"""Ops of arith and math against Python's integers and float64."""

import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlc.errors import InternalError
from mlc.ir.kernel.interpreter import run_kernel
from tests.interpreter.ops_from_text import function

DTYPES = {"i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64, "f16": np.float16, "f32": np.float32, "f64": np.float64,
          "bf16": ml_dtypes.bfloat16, "i1": np.bool_}  # fmt: skip


def pointwise(op: str, source: str, target: str, operands: list[np.ndarray]) -> list[np.ndarray]:
    """Both ways to run an op on arrays: in a structured op, and element by element in a loop."""
    n = len(operands[0])
    names = [f"%x{i}" for i in range(len(operands))]
    inner = f"%r = {op.format(*names)}"
    maps = ", ".join(["affine_map<(d0) -> (d0)>"] * (len(operands) + 1))
    arguments = ", ".join(
        [*(f"%a{i}: memref<{n}x{source}>" for i in range(len(operands))), f"%y: memref<{n}x{target}>"]
    )
    whole = f"""func.func @f({arguments}) {{
      linalg.generic {{indexing_maps = [{maps}], iterator_types = ["parallel"]}}
        ins({", ".join(f"%a{i}" for i in range(len(operands)))} : {", ".join([f"memref<{n}x{source}>"] * len(operands))})
        outs(%y : memref<{n}x{target}>) {{
        ^bb0({", ".join(f"{name}: {source}" for name in names)}, %old: {target}):
          {inner}
          linalg.yield %r : {target}
      }}
      func.return
    }}"""
    loads = "\n".join(f"{name} = memref.load %a{i}[%i] : memref<{n}x{source}>" for i, name in enumerate(names))
    loop = f"""func.func @f({arguments}) {{
      %zero = arith.constant 0 : index
      %one = arith.constant 1 : index
      %n = arith.constant {n} : index
      scf.for %i = %zero to %n step %one {{
        {loads}
        {inner}
        memref.store %r, %y[%i] : memref<{n}x{target}>
      }}
      func.return
    }}"""
    results = []
    for text in (whole, loop):
        result = np.zeros(n, DTYPES[target])
        run_kernel(function(text), [*operands, result])
        results.append(result)
    return results


def signed(value: int, width: int) -> int:
    value &= (1 << width) - 1
    return value - (1 << width) if value >> (width - 1) else value


def truncated(x: int, y: int) -> int:
    return abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)


INTEGER_OPS = {
    "addi": lambda x, y, w: x + y,
    "subi": lambda x, y, w: x - y,
    "muli": lambda x, y, w: x * y,
    "andi": lambda x, y, w: x & y,
    "ori": lambda x, y, w: x | y,
    "xori": lambda x, y, w: x ^ y,
    "maxsi": lambda x, y, w: max(x, y),
    "minsi": lambda x, y, w: min(x, y),
    "maxui": lambda x, y, w: max(x % 2**w, y % 2**w),
    "minui": lambda x, y, w: min(x % 2**w, y % 2**w),
    "divsi": lambda x, y, w: truncated(x, y),
    "remsi": lambda x, y, w: x - y * truncated(x, y),
    "divui": lambda x, y, w: (x % 2**w) // (y % 2**w),
    "remui": lambda x, y, w: (x % 2**w) % (y % 2**w),
    "floordivsi": lambda x, y, w: x // y,
    "shli": lambda x, y, w: x << y,
    "shrsi": lambda x, y, w: x >> y,
    "shrui": lambda x, y, w: (x % 2**w) >> y,
}


@pytest.mark.parametrize("width", [8, 32, 64])
@pytest.mark.parametrize("op", INTEGER_OPS)
def test_integers_wrap_and_keep_their_sign_in_the_op(op, width):
    low, high = -(2 ** (width - 1)), 2 ** (width - 1) - 1
    values = [low, low + 1, -7, -1, 0, 1, 2, 7, high]
    others = [v for v in values if v and not (v == -1 and "div" in op) and not (v == -1 and "rem" in op)]
    if op.startswith("sh"):
        others = [0, 1, width - 1]
    pairs = [(x, y) for x in values for y in others]
    operands = [np.array(column, f"i{width // 8}") for column in zip(*pairs, strict=True)]
    want = [signed(INTEGER_OPS[op](x, y, width), width) for x, y in pairs]
    for found in pointwise(f"arith.{op} {{}}, {{}} : i{width}", f"i{width}", f"i{width}", operands):
        assert found.tolist() == want


@pytest.mark.parametrize("predicate", ["eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge"])
def test_comparisons_of_integers(predicate):
    pairs = [(x, y) for x in (-128, -1, 0, 1, 127) for y in (-128, -1, 0, 1, 127)]
    operands = [np.array(column, np.int8) for column in zip(*pairs, strict=True)]
    name = predicate[-2:]
    python = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}[name]
    by = 256 if predicate[0] == "u" else None
    want = [eval(f"{x % by if by else x} {python} {y % by if by else y}") for x, y in pairs]
    for found in pointwise(f"arith.cmpi {predicate}, {{}}, {{}} : i8", "i8", "i1", operands):
        assert found.tolist() == want


@pytest.mark.parametrize("predicate", ["oeq", "ogt", "ole", "one", "ord", "ueq", "ugt", "ule", "une", "uno"])
def test_comparisons_of_floats_with_nan(predicate):
    values = [-math.inf, -1.0, 0.0, 1.0, math.inf, math.nan]
    pairs = [(x, y) for x in values for y in values]
    operands = [np.array(column, np.float32) for column in zip(*pairs, strict=True)]
    tests = {"eq": lambda x, y: x == y, "gt": lambda x, y: x > y, "le": lambda x, y: x <= y, "ne": lambda x, y: x != y}
    want = []
    for x, y in pairs:
        unordered = math.isnan(x) or math.isnan(y)
        if predicate in ("ord", "uno"):
            want.append(unordered == (predicate == "uno"))
        elif unordered:
            want.append(predicate[0] == "u")
        else:
            want.append(tests[predicate[1:]](x, y))
    for found in pointwise(f"arith.cmpf {predicate}, {{}}, {{}} : f32", "f32", "i1", operands):
        assert found.tolist() == want


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32", "f64"])
@pytest.mark.parametrize(
    "target, signed_op", [("i8", True), ("i8", False), ("i32", True), ("i64", True), ("i64", False)]
)
def test_floats_become_integers_truncated_and_saturated(dtype, target, signed_op):
    values = np.array(
        [0.0, -0.9, 1.9, -1.9, 127.6, 128.0, 254.9, 300.0, -300.0, math.inf, -math.inf, math.nan], DTYPES[dtype]
    )
    width = int(target[1:])
    low, high = (-(2 ** (width - 1)), 2 ** (width - 1) - 1) if signed_op else (0, 2**width - 1)
    want = []
    for v in values.astype(np.float64).tolist():
        whole = 0 if math.isnan(v) else v if math.isinf(v) else math.trunc(v)
        want.append(signed(int(min(max(whole, low), high)), width))
    op = f"arith.{'fptosi' if signed_op else 'fptoui'} {{}} : {dtype} to {target}"
    for found in pointwise(op, dtype, target, [values]):
        assert found.tolist() == want


def test_integers_become_floats_by_the_sign_of_the_op():
    values = np.array([-128, -1, 0, 5, 127], np.int8)
    for op, want in (("sitofp", [-128.0, -1.0, 0.0, 5.0, 127.0]), ("uitofp", [128.0, 255.0, 0.0, 5.0, 127.0])):
        for found in pointwise(f"arith.{op} {{}} : i8 to f32", "i8", "f32", [values]):
            assert found.tolist() == want
    for op, want in (("extsi", [-128, -1, 0, 5, 127]), ("extui", [128, 255, 0, 5, 127])):
        for found in pointwise(f"arith.{op} {{}} : i8 to i32", "i8", "i32", [values]):
            assert found.tolist() == want
    for found in pointwise("arith.extui {} : i1 to i32", "i1", "i32", [np.array([True, False])]):
        assert found.tolist() == [1, 0]


def test_bits_of_a_float():
    values = np.array([1.0, -2.0, 0.5], np.float32)
    for found in pointwise("arith.bitcast {} : f32 to i32", "f32", "i32", [values]):
        assert found.tolist() == [0x3F800000, signed(0xC0000000, 32), 0x3F000000]


MATH = {"exp": math.exp, "log": math.log, "sqrt": math.sqrt, "sin": math.sin, "cos": math.cos, "tanh": math.tanh, "erf": math.erf,
        "floor": math.floor, "ceil": math.ceil, "roundeven": round, "rsqrt": lambda x: 1 / math.sqrt(x), "log1p": math.log1p,
        "expm1": math.expm1, "absf": abs, "atan": math.atan, "asinh": math.asinh, "trunc": math.trunc}  # fmt: skip


@pytest.mark.parametrize("dtype, tolerance", [("f16", 1e-3), ("bf16", 1e-2), ("f32", 1e-6), ("f64", 1e-14)])
@pytest.mark.parametrize("name", MATH)
def test_functions_in_every_float_type(name, dtype, tolerance):
    values = np.array([0.25, 0.5, 1.0, 1.5, 2.5, 3.25], DTYPES[dtype])
    want = [MATH[name](v) for v in values.astype(np.float64).tolist()]
    for found in pointwise(f"math.{name} {{}} : {dtype}", dtype, dtype, [values]):
        assert np.allclose(found.astype(np.float64), want, rtol=tolerance, atol=tolerance)


def test_nan_wins_in_maximumf_and_loses_in_maxnumf():
    operands = [np.array([math.nan, 1.0, 2.0], np.float32), np.array([1.0, math.nan, 3.0], np.float32)]
    for found in pointwise("arith.maximumf {}, {} : f32", "f32", "f32", operands):
        assert np.isnan(found[:2]).all() and found[2] == 3.0
    for found in pointwise("arith.maxnumf {}, {} : f32", "f32", "f32", operands):
        assert found.tolist() == [1.0, 1.0, 3.0]


@given(st.lists(st.floats(width=32, min_value=-(2.0**50), max_value=2.0**50), min_size=3, max_size=3))
def test_the_product_in_fma_is_not_rounded(values):
    x, y, z = (Fraction(v) for v in values)
    exact = x * y + z
    for (found,) in pointwise("math.fma {}, {}, {} : f32", "f32", "f32", [np.array([v], np.float32) for v in values]):
        unit = Fraction(float(np.spacing(np.abs(found))))
        assert abs(Fraction(float(found)) - exact) <= unit * Fraction(501, 1000)


def test_sums_of_bf16_are_rounded_at_every_op():
    found = pointwise(
        "arith.addf {}, {} : bf16",
        "bf16",
        "bf16",
        [np.array([256.0], ml_dtypes.bfloat16), np.array([1.0], ml_dtypes.bfloat16)],
    )
    assert [float(f[0]) for f in found] == [256.0, 256.0]


def test_division_by_zero_is_a_fault_of_the_kernel():
    with pytest.raises(InternalError, match="divided by zero"):
        pointwise("arith.divsi {}, {} : i32", "i32", "i32", [np.array([1], np.int32), np.array([0], np.int32)])


def test_a_shift_by_the_width_is_a_fault_of_the_kernel():
    with pytest.raises(InternalError, match="32 bits are shifted by 32"):
        pointwise("arith.shli {}, {} : i32", "i32", "i32", [np.array([1], np.int32), np.array([32], np.int32)])
