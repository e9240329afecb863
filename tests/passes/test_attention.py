"""Attention as one kernel: what it computes, of which graphs it is made, and what stays as it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.ir import SSAValue

import mlc
from mlc.ir import builder as g
from mlc.ir.graph import attention
from mlc.ir.kernel.interpreter import run_program
from mlc.ir.module import Module
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import pipeline

Shape = tuple[int, ...]
MASKS: dict[str, Shape] = {
    "none": (),
    "keys": (0, 3),
    "queries": (2,),
    "both": (2, 3),
    "heads": (1, 2, 3),
    "one": (1, 3),
}


def of(shapes: Sequence[tuple[str, Shape, str]], build, name: str = "y") -> Module:
    m = g.module_builder()
    with m.function(shapes) as values:
        m.outputs([(name, build(*values))])
    return m.finish()


def exact(q, k, v, mask=None, causal=False, scale=None):
    """In float64. Rows of which every key is hidden are NaN."""
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    k, v = (np.repeat(x, q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = q @ k.swapaxes(2, 3) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    if causal:
        scores = np.where(np.arange(q.shape[2])[:, None] >= np.arange(k.shape[2]), scores, -np.inf)
    with np.errstate(invalid="ignore"):
        e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True) @ v


def attends(executable: mlc.Executable) -> bool:
    """Is one kernel of it attention, in vectors?"""
    kernels = [k for k in executable.report["kernels"] if k["name"].startswith("attention")]
    return len(kernels) == 1 and "Vector" in kernels[0]["schedule"] and "scalar" not in str(executable.report)


@settings(max_examples=15, deadline=None)
@given(
    batch=st.sampled_from([1, 2]),
    groups=st.sampled_from([1, 2]),
    each=st.sampled_from([1, 3]),
    queries=st.sampled_from([16, 17, 32, 33, 49, 64]),
    keys=st.sampled_from([1, 2, 13, 14, 15, 64, 97]),
    size=st.sampled_from([2, 5, 16, 24, 64]),
    width=st.sampled_from([2, 7, 16, 40, 64]),
    axes=st.sampled_from(list(MASKS)),
    causal=st.booleans(),
    of_bools=st.booleans(),
    heads_first=st.booleans(),
    arch=st.sampled_from(["native", "x86-64-v3"]),
    data=st.integers(0, 2**31),
)
def test_one_kernel_computes_attention(
    batch, groups, each, queries, keys, size, width, axes, causal, of_bools, heads_first, arch, data
) -> None:
    heads = groups * each
    scores = (batch, heads, queries, keys)
    mask = tuple(e if a in MASKS[axes] else 1 for a, e in enumerate(scores))
    masked, causal = axes != "none", causal and queries == keys
    order = [0, 1, 2, 3] if heads_first else [0, 2, 1, 3]
    whole = [(batch, heads, queries, size), (batch, groups, keys, size), (batch, groups, keys, width)]
    shapes = [(name, tuple(s[a] for a in order), "f32") for name, s in zip("qkv", whole, strict=True)]
    shapes += [("mask", mask, "bool" if of_bools else "f32")] if masked else []

    def build(q, k, v, m=None):  # type: ignore[no-untyped-def]
        return g.attention(*(g.transpose(x, order) for x in (q, k, v)), m, causal=causal)

    rng = np.random.default_rng(data)
    q, k, v = (rng.standard_normal(s).astype(np.float32) for s in whole)
    given_mask = (rng.random(mask) < 0.7) if of_bools else rng.standard_normal(mask).astype(np.float32)
    if of_bools:
        given_mask[..., 0] = True
    arrays = [np.ascontiguousarray(x.transpose(order)) for x in (q, k, v)] + ([given_mask] if masked else [])
    executable = mlc.compile(of(shapes, build), arch=arch)
    if keys > 1 and mask != scores:  # turning so large a mask would cost what the arrangement saves
        assert attends(executable), executable.report["kernels"]
    wanted = exact(q, k, v, given_mask if masked else None, causal)
    np.testing.assert_allclose(executable(*arrays), wanted, rtol=2e-5, atol=2e-5)


def chain(q: SSAValue, k: SSAValue, v: SSAValue, mask: SSAValue) -> SSAValue:
    """As exporters write it."""
    half = lambda x: g.mul(x, g.full_like(x, 8**-0.25))
    scores = g.matmul(half(g.transpose(q, [0, 2, 1, 3])), half(g.transpose(k, [0, 2, 3, 1])))
    weights = g.softmax(g.add(scores, g.broadcast_to(mask, g.shape_of(scores))), 3)
    return g.transpose(g.matmul(weights, g.transpose(v, [0, 2, 1, 3])), [0, 2, 1, 3])


CHAIN = [
    ("q", ("N", 40, 2, 8), "f32"),
    ("k", ("N", 50, 2, 8), "f32"),
    ("v", ("N", 50, 2, 8), "f32"),
    ("m", ("N", 1, 1, 50), "f32"),
]


def test_a_chain_of_products_and_softmax_is_one_kernel_whatever_the_number_of_threads() -> None:
    module = of(CHAIN, chain)
    executables = [mlc.compile(module, threads=n) for n in (1, 2, 3)]
    assert all(attends(e) and len(e.plan.steps) == 1 for e in executables)
    for batch in (0, 1, 3):
        arrays = [
            np.random.default_rng(n).standard_normal((batch, *s[1:])).astype(np.float32)
            for n, (_, s, _) in enumerate(CHAIN)
        ]
        q, k, v, mask = arrays
        found = [e(*arrays) for e in executables]
        wanted = exact(*(x.transpose(0, 2, 1, 3) for x in (q, k, v)), mask).transpose(0, 2, 1, 3)
        np.testing.assert_allclose(found[0], wanted, rtol=2e-5, atol=2e-6)
        assert all(np.array_equal(found[0], other) for other in found)


def test_every_tile_reads_what_it_wrote_itself() -> None:
    lowered = PassManager(pipeline(2, "x86-64-v3")).run(of([(n, (1, *s[1:]), d) for n, s, d in CHAIN], chain))
    arrays = [
        np.random.default_rng(n).standard_normal((1, *s[1:])).astype(np.float32) for n, (_, s, _) in enumerate(CHAIN)
    ]
    (found,) = run_program(lowered, arrays, races=True)
    wanted = exact(*(x.transpose(0, 2, 1, 3) for x in arrays[:3]), arrays[3]).transpose(0, 2, 1, 3)
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-6)


def test_sums_over_many_keys_keep_their_digits() -> None:
    shapes = [("q", (1, 1, 16, 4), "f32"), ("k", (1, 1, 20000, 4), "f32"), ("v", (1, 1, 20000, 4), "f32")]
    executable = mlc.compile(of(shapes, lambda q, k, v: g.attention(q, k, v)))
    assert attends(executable)
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal(s).astype(np.float32) for _, s, _ in shapes)
    ones = np.ones_like(v)
    assert np.abs(executable(q, 0 * k, ones) - 1).max() < 1e-6
    np.testing.assert_allclose(executable(q, k, v), exact(q, k, v), atol=2e-6)


def test_a_row_of_which_no_key_is_seen_is_nan_and_leaves_the_others_alone() -> None:
    shapes = [(n, (1, 2, 24, 8), "f32") for n in "qkv"] + [("m", (24, 24), "bool")]
    executable = mlc.compile(of(shapes, lambda q, k, v, m: g.attention(q, k, v, m)))
    assert attends(executable)
    q, k, v = (np.random.default_rng(n).standard_normal((1, 2, 24, 8)).astype(np.float32) for n in range(3))
    mask = np.ones((24, 24), bool)
    mask[5] = False
    np.testing.assert_allclose(executable(q, k, v, mask), exact(q, k, v, mask), rtol=2e-5, atol=2e-6)


def test_large_causal_scores_leave_out_keys_that_no_query_of_a_band_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "WHOLE", 512)
    monkeypatch.setattr(attention, "BLOCK", 2048)
    shapes = [(n, (1, 2, 93, 4), "f32") for n in "qkv"]
    executable = mlc.compile(of(shapes, lambda q, k, v: g.attention(q, k, v, causal=True)), cache=False)
    assert sum(k["name"].startswith("attention") for k in executable.report["kernels"]) == 4
    q, k, v = (np.random.default_rng(n).standard_normal((1, 2, 93, 4)).astype(np.float32) for n in range(3))
    np.testing.assert_allclose(executable(q, k, v), exact(q, k, v, causal=True), rtol=2e-5, atol=2e-6)


def square(build) -> list[str]:  # type: ignore[no-untyped-def]
    """The kernels of a graph of q, k and v of 16 x 16."""
    executable = mlc.compile(of([(n, (2, 16, 16), "f32") for n in "qkv"], build))
    arrays = [np.random.default_rng(n).standard_normal((2, 16, 16)).astype(np.float32) for n in range(3)]
    np.testing.assert_allclose(executable(*arrays), mlc.compile(of([(n, (2, 16, 16), "f32") for n in "qkv"], build), opt_level=0)(*arrays), rtol=2e-5, atol=2e-5)  # fmt: skip
    return [k["name"] for k in executable.report["kernels"]]


def weights(q, k, spread=(0, 1), axis=2):  # type: ignore[no-untyped-def]
    scores = g.contract(q, k, "bsd,btd->bst")
    top = g.broadcast(g.reduce(scores, [axis], "max"), g.shape_of(scores), spread)
    e = g.exp(g.sub(scores, top))
    return e, g.broadcast(g.reciprocal(g.reduce(e, [2], "sum")), g.shape_of(scores), spread)


def test_other_uses_of_equal_extents_are_no_attention() -> None:
    """Axes of one extent: what is repeated along the wrong one, or multiplied along it, is another computation."""
    mix = lambda p, v: g.contract(p, v, "bst,btd->bsd")
    assert square(lambda q, k, v: mix(g.mul(*weights(q, k)), v)) == ["attention_0"]
    for build in (
        lambda q, k, v: mix(g.mul(*weights(q, k, (0, 2))), v),
        lambda q, k, v: g.contract(g.mul(*weights(q, k)), v, "bst,bsd->btd"),
        lambda q, k, v: mix(weights(q, k)[0], v),
        lambda q, k, v: mix(g.mul(p := g.mul(*weights(q, k)), p), v),
        lambda q, k, v: g.add(mix(p := g.mul(*weights(q, k)), v), p),
        lambda q, k, v: g.contract(p := g.mul(*weights(q, k)), p, "bst,btd->bsd"),
    ):
        assert not any(name.startswith("attention") for name in square(build))
