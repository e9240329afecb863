"""Sums of products with any einsum-like accesses, against float64: sizes 0, 1 and primes, static and run-time, on every kind of machine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.kernel import Buffer, Kernel
from mlc.ir.kernel.schedule import Vector
from mlc.passes.kernel.merge import merge_loops
from mlc.passes.kernel.rules.cpu import DEEP, choose
from tests.kernel import hand_made
from tests.kernel.native import RUNNABLE, Native, by_rules, close, floats, run

SIZES = st.sampled_from([0, 1, 2, 3, 5, 7, 13, 16, 17, 31, 33, 48, 64, 67, 97])
QUICK = settings(max_examples=12, deadline=None)


def gemm_case(m, n, k):
    return {
        "A": floats(m, k),
        "B": floats(k, n),
        "bias": floats(n),
        "R": floats(m, n),
        "D": np.zeros((m, n), np.float32),
    }


def gemm_exact(a):
    return np.maximum(a["A"].astype(np.float64) @ a["B"] + a["bias"] + a["R"], 0)


@QUICK
@given(m=SIZES, n=SIZES, k=SIZES, weight=st.booleans(), target=st.sampled_from(RUNNABLE))
def test_gemm_of_any_size(m, n, k, weight, target):
    arrays = gemm_case(m, n, k)
    close(run(hand_made.gemm(m, n, k, weight=weight), arrays, "D", target, parts=2), gemm_exact(arrays))


@pytest.mark.parametrize("target", RUNNABLE, ids=str)
def test_one_compile_serves_every_number_of_rows(target):
    for m in (0, 1, 5, 6, 7, 13, 40):
        arrays = gemm_case(m, 70, 24)
        close(run(hand_made.gemm("M", 70, 24), arrays, "D", target, parts=3, M=m), gemm_exact(arrays))


def test_rows_in_blocks_that_stay_in_a_cache_are_all_computed():
    small = replace(cpu_target(), l2=96 << 10)
    kernel = hand_made.gemm("M", 520, DEEP)
    merge_loops(kernel)
    block = choose(kernel, small).levels[0].block
    assert 2 <= block <= 12
    native = Native(by_rules(hand_made.gemm("M", 520, DEEP), small))
    for rows in (0, 1, 6, 17, 84, 150, 211):
        arrays = gemm_case(rows, 520, DEEP)
        native(arrays, 3, M=rows)
        close(arrays["D"], gemm_exact(arrays))


@pytest.mark.parametrize("target", RUNNABLE, ids=str)
def test_a_packed_weight_is_no_larger_than_its_panels(target):
    kernel = by_rules(hand_made.gemm(30, 96, 50), target)
    assert kernel.packs["B"].elements() == 96 * 50


def test_all_three_extents_known_at_run_time_only():
    native = Native(by_rules(hand_made.gemm("M", "N", "K", weight=False), cpu_target()))
    rng = np.random.default_rng(0)
    for m, n, k in [(0, 5, 3), (5, 0, 3), (5, 3, 0), (1, 1, 1), *rng.integers(1, 100, (20, 3)).tolist()]:
        arrays = gemm_case(m, n, k)
        native(arrays, 2, M=m, N=n, K=k)
        close(arrays["D"], gemm_exact(arrays))


def contraction(spec: str, extents: dict, weight: bool = False) -> Kernel:
    """`spec`: axes of A, B and D as einsum writes them; every loop is named by its letter."""
    operands, out = spec.split("->")
    a, b = operands.split(",")
    shape = lambda axes: tuple(extents[x] for x in axes)
    kernel = Kernel("contract", {"A": Buffer(shape(a)), "B": Buffer(shape(b), weight=weight), "D": Buffer(shape(out))})
    at, over = kernel.buffers, {x: extents[x] for x in out}
    reduced = {x: extents[x] for x in a + b if x not in out}
    total = kernel.temporary(shape(out), name="acc")
    kernel.structured(over, [], (total, tuple(out)), hand_made.zero)
    operands = [(at["A"], tuple(a)), (at["B"], tuple(b))]
    kernel.structured({**over, **reduced}, operands, (total, tuple(out)), hand_made.multiply_add, reduced.keys())
    kernel.structured(over, [(total, tuple(out))], (at["D"], tuple(out)), hand_made.copied)
    kernel.return_()
    return kernel


SPECS = [
    "mk,nk->mn", "km,kn->mn", "bmk,bkn->bmn", "bmhk,bnhk->bhmn", "bhms,bshd->bmhd", "mk,kn->nm", "abk,kcd->abcd", "bk,bkn->bn", "mk,k->m",
    "k,kn->n", "mxk,xkn->mn", "m,n->mn",
]  # fmt: skip


@pytest.mark.parametrize("spec", SPECS)
@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_any_order_of_axes(spec, data):
    letters = sorted(set(spec) - set(",->"))
    sizes = {x: data.draw(st.sampled_from([1, 2, 3, 8, 17, 33]), label=x) for x in letters}
    named = data.draw(st.sets(st.sampled_from(letters), max_size=2), label="known at run time only")
    weight = data.draw(st.booleans(), label="weight") and not named & set(spec.split("->")[0].split(",")[1])
    a, b = (floats(*(sizes[x] for x in axes)) for axes in spec.split("->")[0].split(","))
    exact = np.einsum(spec, a.astype(np.float64), b.astype(np.float64))
    kernel = contraction(spec, {x: x.upper() * 2 if x in named else sizes[x] for x in letters}, weight)
    found = run(
        kernel,
        {"A": a, "B": b, "D": np.zeros(exact.shape, np.float32)},
        "D",
        parts=2,
        **{x.upper() * 2: sizes[x] for x in named},
    )
    close(found, exact)


@settings(max_examples=5, deadline=None)
@given(
    m=st.sampled_from([1, 7, 64, 97, 258]),
    n=st.sampled_from([1, 5, 17, 64, 131, 256]),
    k=st.sampled_from([512, 521, 640]),
    run_time=st.booleans(),
    target=st.sampled_from(RUNNABLE),
)
def test_long_sums_over_rows_are_taken_by_blocks(m, n, k, run_time, target):
    a, b = floats(k, m), floats(k, n)
    arrays = {"A": a, "B": b, "D": np.zeros((m, n), np.float32)}
    kernel = contraction("km,kn->mn", {"m": m, "n": n, "k": "K" if run_time else k})
    close(run(kernel, arrays, "D", target, parts=3, **({"K": k} if run_time else {})), a.T.astype(np.float64) @ b)


def test_blocks_of_long_sums_are_copied_where_they_are_read_often():
    def schedule(m, k):
        kernel = contraction("km,kn->mn", {"m": m, "n": 256, "k": k})
        merge_loops(kernel)
        return choose(kernel, cpu_target("x86-64-v4"))

    assert [set(level.stage) for level in schedule(256, 4096).levels] == [set(), set(), {"B"}, set()]
    assert not any(level.stage for level in (*schedule(16, 4096).levels, *schedule(256, "K").levels))


@pytest.mark.parametrize("spec", ["mk,nk->mn", "bmhk,bnhk->bhmn", "bhms,bshd->bmhd", "abk,kcd->abcd"])
def test_contractions_take_the_vector_leaf(spec):
    kernel = contraction(spec, dict.fromkeys(set(spec) - set(",->"), 32))
    merge_loops(kernel)
    assert isinstance(choose(kernel, cpu_target("x86-64-v3")).leaf, Vector)


def test_double_precision_takes_half_the_lanes():
    a, b = floats(9, 21).astype(np.float64), floats(21, 19).astype(np.float64)
    arrays = {"A": a, "B": b, "bias": np.zeros(19), "R": np.zeros((9, 19)), "D": np.zeros((9, 19))}
    close(run(hand_made.gemm(9, 19, 21, dtype="f64"), arrays, "D"), np.maximum(a @ b, 0), 1e-14)
