"""Kernels of plain loops: what they compute, that no part of one touches what another writes, and the same bits for any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.func import FuncOp

import mlc
from mlc.ir import builder as g
from mlc.ir.graph.counted import NonZeroOp
from mlc.ir.interpreter import run
from mlc.ir.kernel.interpreter import run_program
from mlc.ir.kernel.kernel import Kernel
from mlc.ir.module import Module
from mlc.ir.types import numpy_dtype
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import lowering_passes
from tests.kernel.native import Native

SIZES = st.sampled_from([0, 1, 2, 3, 5, 7, 17, 64, 65, 130])
RNG = np.random.default_rng(0)


def module(inputs, build) -> Module:
    m = g.module_builder("plain")
    with m.function(inputs=[(f"x{n}", shape, dtype) for n, (shape, dtype) in enumerate(inputs)]) as values:
        found = build(*values)
        found = [found] if not isinstance(found, (list, tuple)) else found
        m.outputs([(f"y{n}", value) for n, value in enumerate(found)])
    return m.finish()


def lowered(made: Module) -> Module:
    return PassManager(["decompose,expand-padding,dce", *lowering_passes("x86-64-v3")]).run(made)


def agree(made: Module, arrays: list[np.ndarray], tolerance: float = 0) -> None:
    """The program, tile by tile from the last to the first, with a watch on who touches what; then machine code of its kernel, by parts."""
    want = run(made, arrays)
    loops = lowered(made)
    kernels = [Kernel.from_func(f) for f in loops.op.ops if isinstance(f, FuncOp) and "kernel.schedule" in f.attributes]
    *copies, kernel = [kernel for kernel in kernels if any("plain loops" in line for line in kernel.report)]
    assert all(found.tiles is not None for found in (copies or [kernel]))
    for found, exact in zip(run_program(loops, arrays, races=True), want, strict=True):
        np.testing.assert_allclose(found, exact, rtol=tolerance, atol=tolerance)
    if any(name.startswith("x") for name in kernel.buffers):  # not a border, which leaves the inside alone
        by_parts([*copies, kernel], arrays, want, tolerance)


def by_parts(kernels: list[Kernel], arrays: list[np.ndarray], want: list[np.ndarray], tolerance: float) -> None:
    """As threads take it: any cut gives the same bits."""
    natives = [Native(kernel) for kernel in kernels]
    first: list[bytes] = []
    for parts in (1, 2, 5):
        found = [np.full_like(exact, 77) for exact in want]
        named = {f"x{n}": x for n, x in enumerate(arrays)} | {f"y{n}": y for n, y in enumerate(found)}
        extents = {
            str(extent): size
            for kernel in kernels
            for name, buffer in kernel.buffers.items()
            if len(kernel.shapes[buffer]) == named[name].ndim  # indices may have one axis more
            for extent, size in zip(kernel.shapes[buffer], named[name].shape, strict=True)
            if not isinstance(extent, int)
        }
        for native in natives:
            native(named, parts, **extents)
        for values, exact in zip(found, want, strict=True):
            np.testing.assert_allclose(values, exact, rtol=tolerance, atol=tolerance)
        bits = [values.tobytes() for values in found]
        first = first or bits
        assert bits == first, f"{parts} parts give other bits"


def normal(*shape: int, dtype: str = "f32") -> np.ndarray:
    values = RNG.standard_normal(shape) * 4
    return values.astype(numpy_dtype(dtype))


QUICK = settings(max_examples=6, deadline=None)
KINDS = st.sampled_from(["set", "add", "mul", "max", "min"])


@QUICK
@given(SIZES, SIZES, st.sampled_from([1, 3, 130, 300]), KINDS, st.booleans())
def test_rows_are_scattered_by_columns(rows, updates, width, kind, symbolic):
    """scatter_nd, as the gradient of an embedding does it: rows may collide, and some indices lie outside."""
    w = "W" if symbolic else width
    made = module(
        [((rows, w), "f32"), ((updates, 1), "i64"), ((updates, w), "f32")], lambda x, i, u: g.scatter_nd(x, i, u, kind)
    )
    where = RNG.integers(-rows - 1, rows + 1, (updates, 1)) if rows else np.zeros((updates, 1), np.int64)
    agree(made, [normal(rows, width), where, normal(updates, width)])


@QUICK
@given(SIZES, SIZES, SIZES, st.integers(0, 1), KINDS)
def test_elements_are_scattered_by_the_axis_that_no_index_decides(rows, columns, updates, axis, kind):
    shape = (updates, columns) if axis == 0 else (rows, updates)
    made = module(
        [((rows, columns), "f32"), (shape, "i64"), (shape, "f32")],
        lambda x, i, u: g.scatter_elements(x, i, u, axis, kind),
    )
    size = (rows, columns)[axis]
    where = RNG.integers(-size, size, shape) if size else np.zeros(shape, np.int64)
    if size == 0 and where.size:
        return
    agree(made, [normal(rows, columns), where, normal(*shape)])


@QUICK
@given(SIZES, SIZES, KINDS)
def test_elements_are_scattered_one_by_one(size, updates, kind):
    made = module(
        [(("N",), "f32"), ((updates,), "i64"), ((updates,), "f32")],
        lambda x, i, u: g.scatter_elements(x, i, u, 0, kind),
    )
    where = RNG.integers(0, max(size, 1), updates)
    agree(made, [normal(size), where, normal(updates)])


@QUICK
@given(
    st.lists(st.sampled_from([0, 1, 3, 7, 65, 130]), min_size=1, max_size=3),
    st.data(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["sum", "prod"]),
    st.sampled_from(["f32", "f16", "i64", "f64"]),
)
def test_cumulative_along_any_axis(shape, data, exclusive, reverse, kind, dtype):
    axis = data.draw(st.integers(0, len(shape) - 1))
    made = module([(shape, dtype)], lambda x: g.cumulative(x, axis, kind, exclusive=exclusive, reverse=reverse))
    x = (normal(*shape) / 4).astype(numpy_dtype(dtype)) if "f" in dtype else RNG.integers(-2, 3, shape)
    agree(made, [x], 0 if dtype == "i64" else 2e-2 if dtype == "f16" else 2e-4)


@QUICK
@given(SIZES, st.sampled_from([1, 2, 7, 33]), st.data(), st.booleans(), st.integers(0, 1))
def test_the_first_k_of_each_row(rows, size, data, largest, axis):
    k = data.draw(st.integers(1, size))
    shape = (rows, size) if axis else (size, rows)
    made = module([(shape, "f32")], lambda x: g.top_k(x, k, axis, largest))
    agree(made, [np.round(normal(*shape))])


@QUICK
@given(SIZES, st.sampled_from([0.0, 0.1, 0.9, 1.0]))
def test_nonzero(size, share):
    made = module([(("N",), "bool")], lambda flags: g.emit(NonZeroOp(flags)))
    agree(made, [RNG.random(size) < share])


@QUICK
@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 5, 20]), st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=4),
    st.booleans(),
)
def test_a_border_is_written_box_by_box(axes, symbolic):
    shape = [size for size, _, _ in axes]
    named = ["N", *shape[1:]] if symbolic else shape
    if all(low == high == 0 for _, low, high in axes):
        return
    made = module([(named, "f32")], lambda x: g.pad(x, [low for _, low, _ in axes], [high for _, _, high in axes], 1.5))
    agree(made, [normal(*shape)])


def test_sharing_survives_specialisation():
    made = module([(("N", 70), "f32")], lambda x: g.cumulative(x, 1, "sum"))
    exe = mlc.compile(made, specialise=[{"N": 8}])
    for rows in (3, 8):
        x = np.ones((rows, 70), np.float32)
        np.testing.assert_array_equal(exe(x), np.cumsum(x, 1))


@pytest.mark.parametrize("dtype", ["f32", "i32"])
def test_a_row_of_updates_is_added_in_vectors(dtype):
    """In the machine code of the kernel; an element is a memory operand or a vector of them."""
    from mlc.codegen.llvm.object import assembly
    from mlc.codegen.llvm.printer import emit
    from mlc.ir.kernel.cpu_target import cpu_target

    made = module(
        [((50, 256), dtype), ((9, 1), "i64"), ((9, 256), dtype)], lambda x, i, u: g.scatter_nd(x, i, u, "add")
    )
    _, kernel = [f for f in lowered(made).op.ops if isinstance(f, FuncOp) and "kernel.tiles" in f.attributes]
    target = cpu_target("x86-64-v3")
    assert ("vaddps" if dtype == "f32" else "vpaddd") in assembly(emit([kernel], target), target, optimise=True)
