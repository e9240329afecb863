"""What CUDA C computes: rows of the graph dialect, conversions and arithmetic of every type, executed on a CPU beside the interpreter of graphs."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import mlc
import mlc.testing  # registers the target cuda-on-cpu
from mlc.ir import builder as g
from mlc.ir import interpreter
from mlc.ir.module import Module
from mlc.ir.types import numpy_dtype
from tests.ir.examples import EXAMPLES, Example

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")

DTYPES = ("f64", "f32", "f16", "bf16", "i64", "i32", "i16", "i8", "u64", "u32", "u16", "u8", "bool")
INTERESTING = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 127.5, 255.4, -129.0, 3e4, 65519.9, 65520.0, 1e10, -1e10, 1e30, np.inf, -np.inf, np.nan, 1.00048828125, 5e-8]  # fmt: skip


def together(rows: list[Example]) -> Module:
    """All rows as one module, so that one compilation serves them."""
    m = g.module_builder("rows")
    named = [
        (f"r{k}x{n}", [row.sizes[e] if isinstance(e, str) else e for e in shape], dtype)
        for k, row in enumerate(rows)
        for n, (shape, dtype) in enumerate(row.inputs)
    ]
    with m.function(inputs=named) as values:
        given, outputs = iter(values), []
        for k, row in enumerate(rows):
            found = row.build(*(next(given) for _ in row.inputs))
            found = list(found) if isinstance(found, (list, tuple)) else [found]
            outputs += [(f"r{k}y{n}", value) for n, value in enumerate(found)]
        m.outputs(outputs)
    return m.finish()


def values_of(dtype: str) -> np.ndarray:
    kind = numpy_dtype(dtype)
    if dtype == "bool" or kind.kind in "iu":
        info = np.iinfo(np.uint8 if dtype == "bool" else kind)
        edges = [0, 1, 2, 3, 5, 7, 100, info.max, info.max - 1, info.min, info.min + 1]
        return np.array(edges, np.uint8 if dtype == "bool" else kind).astype(kind)
    with np.errstate(all="ignore"):
        return np.array(INTERESTING).astype(kind)


def test_rows_of_the_graph_dialect_are_computed() -> None:
    """Every eighth: g++ takes a second for a few of them."""
    rows = [row for row in EXAMPLES if "all_reduce" not in row.op and row.op != "rank"][::8]
    module = together(rows)
    arrays = [array for row in rows for array in row.arrays(1)]
    exe = mlc.compile(module, target="cuda-on-cpu")
    names = [spec.name for spec in exe.get_outputs()]
    for name, found, want in zip(names, exe(*arrays), interpreter.run(module, arrays), strict=True):
        tolerance = 1e-2 if want.dtype.kind not in "iub" and want.dtype.itemsize == 2 else 1e-5
        row = rows[int(name[1:].partition("y")[0])]
        np.testing.assert_allclose(
            np.asarray(found, np.float64), want.astype(np.float64), tolerance, tolerance, err_msg=str(row)
        )


def exactly(found: np.ndarray, want: np.ndarray, name: str) -> None:
    """The same numbers, NaN where it is NaN."""
    assert found.dtype == want.dtype
    np.testing.assert_array_equal(np.asarray(found).astype(np.float64), want.astype(np.float64), err_msg=name)


def test_types_are_converted_as_on_the_cpu() -> None:
    """NaN, infinities, halves, and what the other type has no number for."""
    floats, pairs = ("f64", "f32", "f16", "bf16"), []
    pairs += [(a, b) for a in ("f64", "f32", "bf16") for b in DTYPES if a != b]
    pairs += [(a, b) for a in ("i64", "u64", "u8", "bool") for b in (*floats, "i8", "i32")]
    m = g.module_builder("casts")
    with m.function(inputs=[(t, values_of(t).shape, t) for t in DTYPES]) as inputs:
        given = dict(zip(DTYPES, inputs, strict=True))
        m.outputs([(f"{a}_{b}", g.cast(given[a], b)) for a, b in pairs])
    module = m.finish()
    arrays = [values_of(t) for t in DTYPES]
    exe = mlc.compile(module, target="cuda-on-cpu", denormals="keep")
    native = mlc.compile(module, denormals="keep")(*arrays)
    for spec, found, want in zip(exe.get_outputs(), exe(*arrays), native, strict=True):
        exactly(found, want, spec.name)


def test_arithmetic_of_every_type_is_that_of_the_cpu() -> None:
    """Integers wrap; f16 and bf16 round once; max and min keep NaN."""
    m = g.module_builder("arithmetic")
    dtypes = [t for t in DTYPES if t != "bool"]
    ops = {"add": g.add, "sub": g.sub, "mul": g.mul, "max": g.maximum, "min": g.minimum}
    with m.function(inputs=[(f"{t}{n}", values_of(t).shape, t) for t in dtypes for n in (0, 1)]) as inputs:
        pairs = dict(zip(dtypes, zip(inputs[::2], inputs[1::2], strict=True), strict=True))
        m.outputs([(f"{t}_{name}", op(*pairs[t])) for t in dtypes for name, op in ops.items()])
    module = m.finish()
    arrays = [array for t in dtypes for array in (values_of(t), np.roll(values_of(t), 3))]
    exe = mlc.compile(module, target="cuda-on-cpu", denormals="keep")
    native = mlc.compile(module, denormals="keep")(*arrays)
    for spec, found, want in zip(exe.get_outputs(), exe(*arrays), native, strict=True):
        exactly(found, want, spec.name)


def test_a_product_is_what_it_is_where_its_result_is_padded() -> None:
    """Its sums, kept in the registers of a thread, are then made, added to and written in tiles apart; 300 columns are three blocks."""
    m = g.module_builder("padded")
    shapes = [(7,), (7, 5), (7, 300), (65, 6), (6, 133)]
    with m.function(inputs=[(f"x{n}", shape, "f32") for n, shape in enumerate(shapes)]) as (row, few, many, x, w):
        rows = [g.pad(g.matmul(row, panel), [low], [1]) for panel, low in ((few, 0), (many, 2))]
        m.outputs([*zip("ab", rows, strict=True), ("c", g.pad(g.matmul(x, w), [0, 1], [1, 0]))])
    module = m.finish()
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    found = mlc.compile(module, target="cuda-on-cpu")(*arrays)
    for array, want in zip(found, interpreter.run(module, arrays), strict=True):
        np.testing.assert_allclose(array, want, 1e-5, 1e-5)


def test_angles_are_those_of_the_cpu() -> None:
    """Bit for bit of a CPU with fma, on both sides of 2^20, where the reduction changes, and in NumPy's f64 within the three units of docs/numerics.md."""
    m = g.module_builder("angles")
    with m.function(inputs=[("x", ("N",), "f32")]) as (x,):
        m.outputs([("sin", g.sin(x)), ("cos", g.cos(x)), ("tan", g.tan(x))])
    module = m.finish()
    patterns = np.random.default_rng(0).integers(0, 1 << 32, 20000, np.uint64).astype(np.uint32).view(np.float32)
    edges = [0.0, -0.0, 2.0**20, -(2.0**20), np.nextafter(np.float32(2**20), np.float32(0)), 292835904, np.inf, np.nan]
    x = np.concatenate([patterns, np.linspace(-20, 20, 5001, dtype=np.float32), np.float32(edges)])
    finite = np.isfinite(x)
    on_cpu = mlc.compile(module)
    found = mlc.compile(module, target="cuda-on-cpu")(x)
    for function, y, other in zip((np.sin, np.cos, np.tan), found, on_cpu(x), strict=True):
        if on_cpu.target.fma:
            np.testing.assert_array_equal(y[finite].view(np.int32), other[finite].view(np.int32))
        assert np.isnan(y[~finite]).all()
        want = function(x[finite].astype(np.float64))
        normal = (abs(want) > 2e-38) & (abs(want) < 3e38)
        unit = np.spacing(abs(want[normal]).astype(np.float32)).astype(np.float64)
        assert (abs(y[finite][normal] - want[normal]) / unit).max() < 3
