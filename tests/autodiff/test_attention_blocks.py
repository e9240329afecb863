"""Attention by blocks of queries: its values and derivatives are those of the whole, and no scores of all queries are kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
from mlc import nn
from mlc.ir import interpreter
from mlc.ir.graph import attention
from mlc.ir.graph.attention import AttentionOp
from mlc.ir.graph.control import ScanOp

LENGTHS = st.sampled_from([1, 7, 8, 9, 16, 31, 40])


def exact(q, k, v, mask, causal, c):
    """Values, and the gradients of their sum with weights c, in float64 by the chain rule."""
    each = q.shape[1] // k.shape[1]
    q, k, v, c = (x.astype(np.float64) for x in (q, k, v, c))
    wide, values, scale = np.repeat(k, each, 1), np.repeat(v, each, 1), 1 / np.sqrt(q.shape[-1])
    scores = np.einsum("bhsd,bhtd->bhst", q, wide) * scale
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    if causal:
        scores = np.where(np.arange(q.shape[2])[:, None] >= np.arange(k.shape[2]), scores, -np.inf)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    changes = np.einsum("bhsd,bhtd->bhst", c, values)
    changes = p * (changes - (p * changes).sum(-1, keepdims=True)) * scale
    shared = lambda x: x.reshape(k.shape[0], k.shape[1], each, *k.shape[2:]).sum(2)
    gradients = (
        np.einsum("bhst,bhtd->bhsd", changes, wide),
        shared(np.einsum("bhst,bhsd->bhtd", changes, q)),
        shared(np.einsum("bhst,bhsd->bhtd", p, c)),
    )
    return np.einsum("bhst,bhtd->bhsd", p, values), gradients


def traced(arrays, mask, causal, c):
    def f(q, k, v):
        y = nn.functional.attention(q, k, v, mask, causal=causal)
        return (y * c).sum(), y

    return mlc.jit(mlc.value_and_grad(f, (0, 1, 2), has_aux=True)).trace(*arrays).module


def small_blocks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(attention, "WHOLE", 512)
    patch.setattr(attention, "BLOCK", 2048)


@settings(max_examples=25, deadline=None)
@given(
    length=LENGTHS,
    keys=LENGTHS,
    groups=st.sampled_from([1, 2]),
    causal=st.booleans(),
    mask=st.sampled_from([None, "keys", "places", "all", "added"]),
)
def test_blocks_of_any_sizes_give_values_and_gradients_of_the_whole(length, keys, groups, causal, mask):
    rng = np.random.default_rng(length * 64 + keys)
    sizes = [(2, 2, length, 5), (2, groups, keys, 5), (2, groups, keys, 5), (2, 2, length, 5)]
    *arrays, c = (rng.normal(size=size).astype(np.float32) for size in sizes)
    shape = {"keys": (2, 1, 1, keys), "places": (length, keys), "all": (2, 2, length, keys), "added": (1, 2, length, 1)}
    given_ = None if mask is None else rng.random(shape[mask]) < 0.7
    if mask == "added":
        given_ = rng.normal(size=shape[mask]).astype(np.float32)
    elif given_ is not None:
        given_[..., 0] = True
    with pytest.MonkeyPatch.context() as patch:
        small_blocks(patch)
        module = traced(arrays, given_, causal, c)
        found = interpreter.run(module, arrays)
    value, gradients = exact(*arrays, given_, causal, c)
    for one, wanted in zip(found[1:], (value, *gradients), strict=True):
        np.testing.assert_allclose(one, wanted, rtol=2e-5, atol=2e-5)


def test_scores_of_all_queries_are_neither_computed_nor_kept(monkeypatch):
    length = 192
    arrays = [np.random.default_rng(n).normal(size=(1, 2, length, 8)).astype(np.float32) for n in range(4)]
    monkeypatch.setattr(attention, "WHOLE", 1 << 14)
    monkeypatch.setattr(attention, "BLOCK", 1 << 14)
    for causal in (False, True):
        module = traced(arrays[:3], None, causal, arrays[3])
        assert any(isinstance(op, ScanOp) for op in module.op.walk())
        assert all(op.rows is None for op in module.op.walk() if isinstance(op, AttentionOp))
        executable = mlc.compile(module)
        assert executable.memory_analysis().buffers < 2 * length * length * 4
        value, gradients = exact(*arrays[:3], None, causal, arrays[3])
        for one, wanted in zip(executable(*arrays[:3])[1:], (value, *gradients), strict=True):
            np.testing.assert_allclose(one, wanted, rtol=2e-5, atol=2e-5)


def test_second_derivatives_go_through_blocks(monkeypatch):
    q, k, v = (np.random.default_rng(n).normal(size=(1, 1, 17, 3)) for n in range(3))
    f = lambda q, k, v: (nn.functional.attention(q, k, v, causal=True) ** 2).sum()
    direction = np.random.default_rng(3).normal(size=q.shape)
    product = lambda: np.asarray(mlc.hvp(lambda q: f(q, k, v), (q,), (direction,)))
    whole = product()
    small_blocks(monkeypatch)
    np.testing.assert_allclose(product(), whole, rtol=1e-10, atol=1e-12)
