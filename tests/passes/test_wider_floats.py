"""f16 and bf16 computed in f32 between ops: what a graph of halves gives, in which types it computes, and what it rounds as it says."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
from mlc.ir import builder as g
from mlc.ir.graph.constants import WeightOp
from mlc.ir.module import Module
from mlc.ir.types import dtype_of
from mlc.passes.graph.wider_floats import WidenFloats

TYPES = {"f16": (np.float16, 2**-11), "bf16": (ml_dtypes.bfloat16, 2**-8)}


def layers(dtype: str, rows: int, inputs: int, outputs: int, normalised: bool) -> tuple[Module, np.ndarray, np.ndarray]:
    """relu(x w + 1), its rows normalised or not."""
    kind = TYPES[dtype][0]
    weight = np.random.default_rng(1).standard_normal((inputs, outputs)).astype(kind)
    m = g.module_builder()
    with m.function([("x", (rows, inputs), dtype)]) as (x,):
        y = g.matmul(x, g.weight(weight, name="w"))
        y = g.relu(g.add(y, g.full_like(y, 1.0)))
        m.outputs([("y", g.softmax(y, 1) if normalised else y)])
    return m.finish(), np.random.default_rng(2).standard_normal((rows, inputs)).astype(kind), weight


@settings(max_examples=12, deadline=None)
@given(
    dtype=st.sampled_from(list(TYPES)),
    rows=st.sampled_from([0, 1, 7, 16]),
    inputs=st.sampled_from([1, 5, 64]),
    outputs=st.sampled_from([1, 3, 33]),
    normalised=st.booleans(),
)
def test_results_are_rounded_once(dtype: str, rows: int, inputs: int, outputs: int, normalised: bool) -> None:
    module, x, weight = layers(dtype, rows, inputs, outputs, normalised)
    found = mlc.compile(module)(x)
    assert found.dtype == TYPES[dtype][0]
    exact = np.maximum(x.astype(np.float64) @ weight.astype(np.float64) + 1, 0)
    if normalised and exact.size:
        e = np.exp(exact - exact.max(1, keepdims=True))
        exact = e / e.sum(1, keepdims=True)
    np.testing.assert_allclose(found.astype(np.float64), exact, rtol=1.01 * TYPES[dtype][1], atol=2e-6)


@pytest.mark.parametrize("dtype", TYPES)
def test_products_and_weights_are_those_of_the_wider_model(dtype: str) -> None:
    module, _, weight = layers(dtype, 4, 6, 5, False)
    changed = module.clone()
    WidenFloats().run(changed)
    changed.verify()
    (product,) = [op for op in changed.op.walk() if op.name == "graph.contract"]
    assert dtype_of(product.results[0]) == "f32"
    made = product.operands[1].owner
    assert isinstance(made, WeightOp) and dtype_of(made.result) == "f32"
    assert np.array_equal(changed.weights.get(made.weight_key), weight.astype(np.float32))


def test_a_cast_of_the_graph_rounds() -> None:
    m = g.module_builder()
    with m.function([("x", (4,), "f16")]) as (x,):
        third = g.div(x, g.full_like(x, 3.0))
        wide = g.cast(third, "f32")
        m.outputs([("y", g.cast(g.cast(wide, "f16"), "f32"))])
    x = np.arange(1, 5, dtype=np.float16)
    assert np.array_equal(mlc.compile(m.finish())(x), (x / np.float16(3)).astype(np.float32))


def test_overflow_between_ops_is_none_and_in_a_result_infinite() -> None:
    m = g.module_builder()
    with m.function([("x", (3,), "f16")]) as (x,):
        large = g.mul(x, x)
        m.outputs([("y", g.mul(large, g.full_like(x, 2.0**-8))), ("z", large)])
    y, z = mlc.compile(m.finish())(np.array([1, 512, 1024], np.float16))
    assert y.tolist() == [2.0**-8, 1024, 4096] and z.tolist() == [1, np.inf, np.inf]
