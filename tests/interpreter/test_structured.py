"""linalg.generic: every way the interpreter runs it, against NumPy in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects import arith, memref, scf
from xdsl.dialects.builtin import IntegerAttr, i64
from xdsl.ir import Block

from mlc.errors import InternalError
from mlc.ir.kernel.access import Affine, L
from mlc.ir.kernel.interpreter import run_kernel, structured
from mlc.ir.kernel.kernel import Buffer, Kernel, index
from tests.interpreter.ops_from_text import function

extent = st.sampled_from([0, 1, 2, 3, 5, 7, 13])


def number(b, value, type=i64):
    return b.insert(arith.ConstantOp(IntegerAttr(value, type))).result


def multiply_add(b, x, y, out):
    return b.insert(arith.AddfOp(out, b.insert(arith.MulfOp(x, y)).result)).result


def random(shape, dtype=np.float32):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(dtype)


@given(batch=extent, m=extent, n=extent, k=extent, order=st.permutations(["b", "m", "n", "k"]), small=st.booleans())
def test_contractions_with_any_order_of_loops(batch, m, n, k, order, small):
    kernel = Kernel("f", {"x": Buffer((batch, m, k)), "y": Buffer((k, n, batch)), "z": Buffer((n, batch, m))})
    at, sizes = kernel.buffers, {"b": batch, "m": m, "n": n, "k": k}
    loops = {name: sizes[name] for name in order}
    kernel.structured(
        loops, [(at["x"], ("b", "m", "k")), (at["y"], ("k", "n", "b"))], (at["z"], ("n", "b", "m")), multiply_add, {"k"}
    )
    kernel.return_()
    x, y, z = random((batch, m, k)), random((k, n, batch)), np.ones((n, batch, m), np.float32)
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(structured, "LARGEST", 8)
        run_kernel(kernel, {"x": x, "y": y, "z": z})
    assert np.allclose(z, 1 + np.einsum("bmk,knb->nbm", x.astype(float), y.astype(float)), atol=1e-5)


@given(h=st.integers(3, 9), w=st.integers(3, 9), stride=st.integers(1, 2), dilation=st.integers(1, 2))
@settings(max_examples=20)
def test_windows_are_linear_accesses(h, w, stride, dilation):
    size = 2
    oh, ow = ((n - (size - 1) * dilation - 1) // stride + 1 for n in (h, w))
    kernel = Kernel("f", {"x": Buffer((h, w, 3)), "k": Buffer((size, size, 3, 4)), "y": Buffer((oh, ow, 4))})
    at = kernel.buffers
    image = (L("oh") * stride + L("kh") * dilation, L("ow") * stride + L("kw") * dilation, "ic")
    loops = {"oh": oh, "ow": ow, "oc": 4, "kh": size, "kw": size, "ic": 3}
    operands = [(at["x"], image), (at["k"], ("kh", "kw", "ic", "oc"))]
    kernel.structured(loops, operands, (at["y"], ("oh", "ow", "oc")), multiply_add, {"kh", "kw", "ic"})
    kernel.return_()
    x, k, y = random((h, w, 3)), random((size, size, 3, 4)), np.zeros((oh, ow, 4), np.float32)
    run_kernel(kernel, {"x": x, "k": k, "y": y})
    want = np.zeros((oh, ow, 4))
    for i in range(oh):
        for j in range(ow):
            patch = x[i * stride :: dilation, j * stride :: dilation][:size, :size].astype(float)
            want[i, j] = np.einsum("abc,abco->o", patch, k.astype(float))
    assert np.allclose(y, want, atol=1e-5)


@given(rows=extent, columns=extent, small=st.booleans())
def test_folds_of_what_the_body_computes(rows, columns, small):
    def body(b, x, out):
        return b.insert(arith.MaximumfOp(out, b.insert(arith.MulfOp(x, x)).result)).result

    kernel = Kernel("f", {"x": Buffer((rows, columns)), "y": Buffer((rows,))})
    at = kernel.buffers
    kernel.structured({"r": rows, "c": columns}, [(at["x"], ("r", "c"))], (at["y"], ("r",)), body, {"c"})
    kernel.return_()
    x, y = random((rows, columns)), np.full(rows, -1, np.float32)
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(structured, "LARGEST", 4)
        run_kernel(kernel, {"x": x, "y": y})
    assert np.array_equal(y, np.max(x * x, axis=1, initial=-1))


def test_a_value_that_a_reduction_does_not_depend_on_counts_once_per_point():
    kernel = Kernel("f", {"x": Buffer((2,)), "y": Buffer((2,))})
    at = kernel.buffers
    kernel.structured(
        {"r": 2, "c": 5},
        [(at["x"], ("r",))],
        (at["y"], ("r",)),
        lambda b, x, out: b.insert(arith.AddfOp(out, x)).result,
        {"c"},
    )
    kernel.structured({"r": 2, "c": 3}, [(at["x"], ("r",)), (at["x"], ("r",))], (at["y"], ("r",)), multiply_add, {"c"})
    kernel.return_()
    x, y = np.array([1, 2], np.float32), np.zeros(2, np.float32)
    run_kernel(kernel, {"x": x, "y": y})
    assert y.tolist() == [5 + 3, 10 + 12]


@given(rows=extent, columns=extent)
def test_reductions_that_no_ufunc_knows_keep_their_order(rows, columns):
    """out = 0.5 * out + x: the last element counts most."""
    from xdsl.dialects.builtin import FloatAttr, f32

    def body(b, x, out):
        half = b.insert(arith.ConstantOp(FloatAttr(0.5, f32))).result
        return b.insert(arith.AddfOp(b.insert(arith.MulfOp(out, half)).result, x)).result

    kernel = Kernel("f", {"x": Buffer((rows, columns)), "y": Buffer((rows,))})
    at = kernel.buffers
    kernel.structured({"r": rows, "c": columns}, [(at["x"], ("r", "c"))], (at["y"], ("r",)), body, {"c"})
    kernel.return_()
    x, y = random((rows, columns)), np.zeros(rows, np.float32)
    run_kernel(kernel, {"x": x, "y": y})
    want = np.zeros(rows)
    for c in range(columns):
        want = 0.5 * want + x[:, c]
    assert np.allclose(y, want, atol=1e-6)


def test_gather_reads_a_buffer_at_computed_places():
    kernel = Kernel("f", {"table": Buffer((10, 3)), "at": Buffer((4,), "i64"), "y": Buffer((4, 3))})
    buffers = kernel.buffers

    def body(b, where, out):
        row = b.insert(arith.IndexCastOp(where, index)).result
        return b.insert(memref.LoadOp.get(buffers["table"], [row, b.index("c")])).results[0]

    kernel.structured({"r": 4, "c": 3}, [(buffers["at"], ("r",))], (buffers["y"], ("r", "c")), body)
    kernel.return_()
    table, at, y = random((10, 3)), np.array([9, 0, 3, 3]), np.zeros((4, 3), np.float32)
    run_kernel(kernel, {"table": table, "at": at, "y": y})
    assert np.array_equal(y, table[at])
    with pytest.raises(
        InternalError, match=r"memref.load.*\[0..10, 0..2\] lies outside 'table', whose extents are \[10, 3\]"
    ):
        run_kernel(kernel, {"table": table, "at": np.array([9, 0, 10, 3]), "y": y})


def test_a_recurrence_through_its_own_buffer_runs_in_order():
    """y[i] = x[i] + y[max(i - 1, 0)]: a running sum, one point after another."""
    kernel = Kernel("f", {"x": Buffer((6,)), "y": Buffer((6,))})
    at = kernel.buffers

    def body(b, x, out):
        before = b.insert(
            arith.MaxSIOp(b.insert(arith.SubiOp(b.index("i"), number(b, 1, index))).result, number(b, 0, index))
        ).result
        return b.insert(arith.AddfOp(x, b.insert(memref.LoadOp.get(at["y"], [before])).results[0])).result

    kernel.structured({"i": 6}, [(at["x"], ("i",))], (at["y"], ("i",)), body)
    kernel.return_()
    x, y = np.arange(1, 7, dtype=np.float32), np.zeros(6, np.float32)
    run_kernel(kernel, {"x": x, "y": y})
    assert y.tolist() == np.cumsum(x).tolist()


def test_bodies_with_branches_run_point_by_point():
    kernel = Kernel("f", {"x": Buffer((5,)), "y": Buffer((5,))})
    at = kernel.buffers

    def body(b, x, out):
        inside = b.insert(arith.CmpiOp(b.index("i"), number(b, 3, index), "slt")).result
        yes, no = (
            Block([load := memref.LoadOp.get(at["x"], [b.index("i")]), scf.YieldOp(load)]),
            Block([scf.YieldOp(x)]),
        )
        return b.insert(scf.IfOp(inside, [x.type], [yes], [no])).results[0]

    kernel.structured({"i": 5}, [(at["x"], (Affine({}, 4),))], (at["y"], ("i",)), body)
    kernel.return_()
    x, y = np.arange(5, dtype=np.float32), np.zeros(5, np.float32)
    run_kernel(kernel, {"x": x, "y": y})
    assert y.tolist() == [0, 1, 2, 4, 4]


def test_an_access_beyond_a_buffer_names_the_buffer():
    kernel = Kernel("f", {"x": Buffer((4,)), "y": Buffer((4,))})
    at = kernel.buffers
    kernel.structured({"i": 4}, [(at["x"], (L("i") + 1,))], (at["y"], ("i",)), lambda b, x, out: x)
    kernel.return_()
    with pytest.raises(InternalError, match=r"linalg.generic: \[1..4\] lies outside 'x', whose extents are \[4\]"):
        run_kernel(kernel, [np.zeros(4, np.float32), np.zeros(4, np.float32)])


def test_parallel_points_must_not_write_one_element():
    kernel = Kernel("f", {"x": Buffer((4,)), "y": Buffer((1,))})
    at = kernel.buffers
    kernel.structured({"i": 4}, [(at["x"], ("i",))], (at["y"], (0,)), lambda b, x, out: x)
    kernel.return_()
    with pytest.raises(InternalError, match="loop i is parallel, and its points write one element"):
        run_kernel(kernel, [np.zeros(4, np.float32), np.zeros(1, np.float32)])


def test_loops_without_names_take_their_extents_from_the_operands():
    text = """func.func @f(%x: memref<2x3xf32>, %y: memref<3x2xf32>) {
      linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (j, i)>],
                      iterator_types = ["parallel", "parallel"]}
        ins(%x : memref<2x3xf32>) outs(%y : memref<3x2xf32>) {
        ^bb0(%a: f32, %b: f32):
          linalg.yield %a : f32
      }
      func.return
    }"""
    x, y = random((2, 3)), np.zeros((3, 2), np.float32)
    run_kernel(function(text), [x, y])
    assert np.array_equal(y, x.T)


def test_an_access_that_is_not_linear_is_refused():
    text = """func.func @f(%x: memref<4xf32>, %y: memref<8xf32>) {
      linalg.generic {indexing_maps = [affine_map<(i) -> (i floordiv 2)>, affine_map<(i) -> (i)>], iterator_types = ["parallel"]}
        ins(%x : memref<4xf32>) outs(%y : memref<8xf32>) {
        ^bb0(%a: f32, %b: f32):
          linalg.yield %a : f32
      }
      func.return
    }"""
    with pytest.raises(InternalError, match="linear accesses"):
        run_kernel(function(text), [np.zeros(4, np.float32), np.zeros(8, np.float32)])
