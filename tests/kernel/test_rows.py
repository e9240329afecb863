"""Softmax, layer norm, reductions and element-wise chains, against float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects import arith

from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.kernel import Buffer, Kernel
from mlc.ir.kernel.schedule import Vector
from mlc.passes.kernel.merge import merge_loops
from mlc.passes.kernel.rules.cpu import choose
from tests.kernel import hand_made
from tests.kernel.native import RUNNABLE, by_rules, close, floats, run

WIDTHS = st.sampled_from([1, 3, 8, 16, 17, 40, 64, 130, 200, 401])
QUICK = settings(max_examples=8, deadline=None)


@QUICK
@given(rows=st.integers(0, 7), columns=WIDTHS, named=st.booleans(), target=st.sampled_from(RUNNABLE))
def test_softmax(rows, columns, named, target):
    x = floats(rows, columns) * 20
    e = np.exp((x.astype(np.float64) - x.max(1, keepdims=True)) * 0.5) if rows else x.astype(np.float64)
    kernel = hand_made.softmax("R", "C", 0.5) if named else hand_made.softmax(rows, columns, 0.5)
    extents = {"R": rows, "C": columns} if named else {}
    found = run(kernel, {"X": x, "Y": np.zeros_like(x)}, "Y", target, parts=2, **extents)
    close(found, e / e.sum(1, keepdims=True))


def test_softmax_of_masked_and_broken_rows():
    x = floats(4, 24)
    x[0, 5:] = -np.inf
    x[1, 3] = np.nan
    x[2] = 1e30
    found = run(hand_made.softmax(4, 24, 1.0), {"X": x, "Y": np.zeros_like(x)}, "Y")
    assert (found[0, 5:] == 0).all() and np.isclose(found[0].sum(), 1)
    assert np.isnan(found[1]).all()
    assert np.allclose(found[2], 1 / 24)


@QUICK
@given(rows=st.integers(1, 7), columns=WIDTHS, named=st.booleans(), residual=st.booleans())
def test_layer_norm(rows, columns, named, residual):
    x, r, gamma, beta = floats(rows, columns), floats(rows, columns, seed=1), floats(columns), floats(columns, seed=1)
    z = x.astype(np.float64) + (r if residual else 0)
    z = z - z.mean(1, keepdims=True)
    exact = z / np.sqrt((z * z).mean(1, keepdims=True) + 1e-5) * gamma + beta
    kernel = hand_made.layer_norm("N", "C" if named else columns, residual=residual)
    arrays = {"X": x, "R": r, "gamma": gamma, "beta": beta, "Y": np.zeros_like(x)}
    close(run(kernel, arrays, "Y", parts=2, N=rows, C=columns), exact, 1e-5)


@pytest.mark.parametrize("columns", [768, "C"])
def test_rows_of_any_width_take_the_vector_leaf(columns):
    for kernel in (hand_made.softmax("R", columns, 1.0), hand_made.layer_norm("N", columns)):
        merge_loops(kernel)
        assert isinstance(choose(kernel, cpu_target("x86-64-v3")).leaf, Vector), kernel.report


def reduction(shape: tuple, keep: tuple[int, ...], combine, start: float) -> Kernel:
    names = tuple(f"i{axis}" for axis in range(len(shape)))
    kept = tuple(names[axis] for axis in keep)
    kernel = Kernel("reduce", {"X": Buffer(shape), "Y": Buffer(tuple(shape[axis] for axis in keep))})
    at, loops = kernel.buffers, dict(zip(names, shape, strict=True))
    outer = {n: loops[n] for n in kept}
    total = kernel.temporary(tuple(outer.values()), name="acc")
    kernel.structured(outer, [], (total, kept), lambda b, y: hand_made.number(b, start))
    kernel.structured(
        loops, [(at["X"], names)], (total, kept), lambda b, x, y: combine(b, y, x), set(names) - set(kept)
    )
    kernel.structured(outer, [(total, kept)], (at["Y"], kept), hand_made.copied)
    kernel.return_()
    return kernel


@pytest.mark.parametrize("keep", [(0,), (1,), (0, 2), (), (2,), (1, 0)])
@settings(max_examples=4, deadline=None)
@given(sizes=st.tuples(*[st.sampled_from([1, 2, 7, 16, 35, 130])] * 3), largest=st.booleans(), named=st.booleans())
def test_reductions_over_any_axes(keep, sizes, largest, named):
    x = floats(*sizes)
    shape = ("N", *sizes[1:]) if named else sizes
    combine, start, exact = (hand_made.maximum, float("-inf"), np.max) if largest else (hand_made.add, 0.0, np.sum)
    reduced = tuple(axis for axis in range(3) if axis not in keep)
    kept = exact(x.astype(np.float64), axis=reduced)
    kept = kept.T if keep == (1, 0) else kept
    y = np.zeros(kept.shape, np.float32)
    close(run(reduction(shape, keep, combine, start), {"X": x, "Y": y}, "Y", parts=2, N=sizes[0]), kept, 2e-5)


def test_a_nan_in_a_row_reaches_its_maximum():
    x = floats(5, 100)
    x[2, 71] = x[3, 0] = np.nan
    found = run(
        reduction((5, 100), (0,), hand_made.maximum, float("-inf")), {"X": x, "Y": np.zeros(5, np.float32)}, "Y"
    )
    assert np.isnan(found).tolist() == [False, False, True, True, False]


def elementwise(shape: tuple, operands: dict[str, tuple[str, ...]], out: tuple[str, ...], body, loops: dict) -> Kernel:
    def buffer(axes):
        return Buffer(tuple(loops[axis] for axis in axes))

    kernel = Kernel("chain", {**{name: buffer(axes) for name, axes in operands.items()}, "Y": buffer(out)})
    at = kernel.buffers
    kernel.structured(loops, [(at[n], axes) for n, axes in operands.items()], (at["Y"], out), body)
    kernel.return_()
    return kernel


@QUICK
@given(
    sizes=st.tuples(*[st.sampled_from([1, 2, 3, 16, 19, 50])] * 3), named=st.sets(st.sampled_from("abc"), max_size=2),
    axes=st.permutations("abc"), second=st.sampled_from(["a", "c", "bc", "ac", "cb", ""]), target=st.sampled_from(RUNNABLE),
)  # fmt: skip
def test_broadcasts_and_permutations(sizes, named, axes, second, target):
    size = dict(zip("abc", sizes, strict=True))
    loops = {x: x.upper() if x in named else size[x] for x in "abc"}
    x, z = floats(*(size[a] for a in axes)), floats(*(size[a] for a in second), seed=1)
    exact = np.einsum(f"{''.join(axes)},{second}->abc", x.astype(np.float64), z)
    kernel = elementwise(
        sizes, {"X": tuple(axes), "Z": tuple(second)}, ("a", "b", "c"), lambda b, x, z, y: hand_made.mul(b, x, z), loops
    )
    extents = {x.upper(): size[x] for x in named}
    arrays = {"X": x, "Z": z, "Y": np.zeros(sizes, np.float32)}
    assert np.array_equal(run(kernel, arrays, "Y", target, parts=3, **extents), exact.astype(np.float32))


def test_long_runs_are_cut_for_threads():
    loops = {"i": "N"}
    kernel = elementwise(("N",), {"X": ("i",)}, ("i",), lambda b, x, y: hand_made.relu(b, x), loops)
    x = floats(10_007)
    tiles = by_rules(kernel.clone(), cpu_target()).tiles
    found = run(kernel, {"X": x, "Y": np.zeros_like(x)}, "Y", parts=2, N=x.size)
    assert np.array_equal(found, np.maximum(x, 0)) and str(tiles) == "(N + 4095)//4096"


def test_choices_by_truth_stay_in_vectors():
    kernel = Kernel(
        "where",
        {"C": Buffer((9, 37), "bool"), "X": Buffer((9, 37)), "L": Buffer((9, 37), "bool"), "Y": Buffer((9, 37))},
    )
    at, loops, both = kernel.buffers, {"r": 9, "c": 37}, ("r", "c")
    zero = lambda b: hand_made.number(b, 0.0)
    kernel.structured(
        loops,
        [(at["C"], both), (at["X"], both)],
        (at["Y"], both),
        lambda b, c, x, y: b.insert(arith.SelectOp(c, x, zero(b))).result,
    )
    kernel.structured(
        loops, [(at["X"], both)], (at["L"], both), lambda b, x, y: b.insert(arith.CmpfOp(x, zero(b), "olt")).result
    )
    kernel.return_()
    prepared = kernel.clone()
    merge_loops(prepared)
    assert isinstance(choose(prepared, cpu_target("x86-64-v3")).leaf, Vector)
    condition, x, less = floats(9, 37) > 0, floats(9, 37, seed=1), np.zeros((9, 37), bool)
    found = run(kernel, {"C": condition, "X": x, "L": less, "Y": np.zeros_like(x)}, "Y", parts=2)
    assert np.array_equal(found, np.where(condition, x, 0)) and np.array_equal(less, x < 0)
