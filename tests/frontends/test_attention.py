"""Attention and RotaryEmbedding against onnx's reference evaluator and onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx.reference
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.errors import ShapeError
from mlc.frontends.onnx import load
from mlc.ir import interpreter
from tests.frontends.one_node import Arrays, assert_same, check, interpreted, model, normal


def compare(op_type: str, inputs: Arrays, *, opset: int, outputs: int = 1, **attributes: Any) -> None:
    proto = model(op_type, inputs, opset=opset, outputs=outputs, **attributes)
    feeds = {f"x{i}": x for i, x in enumerate(inputs) if x is not None}
    expected = onnx.reference.ReferenceEvaluator(proto).run(None, feeds)
    assert_same(interpreted(proto, inputs), expected, 1e-4, 1e-5)


def projections(queries: int = 3, keys: int = 5, heads: int = 2, groups: int = 2) -> list[np.ndarray]:
    return [normal(2, heads, queries, 4), normal(2, groups, keys, 4, seed=1), normal(2, groups, keys, 6, seed=2)]


@settings(max_examples=20, deadline=None)
@given(
    queries=st.integers(1, 4),
    keys=st.integers(1, 5),
    groups=st.sampled_from([1, 2, 4]),
    causal=st.integers(0, 1),
    softcap=st.sampled_from([0.0, 2.0]),
    scale=st.sampled_from([None, 0.3]),
)
def test_attention(queries: int, keys: int, groups: int, causal: int, softcap: float, scale: float | None) -> None:
    inputs = projections(queries, keys, 4, groups)
    more = {} if scale is None else {"scale": scale}
    compare("Attention", inputs, opset=23, is_causal=causal, softcap=softcap, **more)


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5), (2, 2, 3, 5), (2, 1, 1, 5)])
@pytest.mark.parametrize("kind", ["bool", "float"])
@pytest.mark.parametrize("causal", [0, 1])
def test_masks_broadcast(shape: tuple[int, ...], kind: str, causal: int) -> None:
    mask = normal(*shape, seed=3)
    inputs = [*projections(), mask > -0.5 if kind == "bool" else mask]
    # The evaluator takes the number of queries from the mask, so it gets every row.
    rows = np.broadcast_to(inputs[3], (*shape[:-2], 3, 5)).copy()
    proto = model("Attention", inputs, opset=23, is_causal=causal)
    whole = model("Attention", [*inputs[:3], rows], opset=23, is_causal=causal)
    expected = onnx.reference.ReferenceEvaluator(whole).run(
        None, {f"x{i}": x for i, x in enumerate([*inputs[:3], rows])}
    )
    assert_same(interpreted(proto, inputs), expected, 1e-4, 1e-5)


def test_a_query_without_keys_gives_zeros() -> None:
    mask = np.ones((3, 5), bool)
    mask[1] = False
    q, k, v = projections()
    (y,) = interpreted(model("Attention", [q, k, v, mask], opset=23), [q, k, v, mask])
    np.testing.assert_array_equal(y[:, :, 1], np.zeros_like(y[:, :, 1]))
    assert np.isfinite(y).all() and y[:, :, 0].any()


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("past", [0, 1, 4])
def test_a_past_is_prepended_and_returned(causal: int, past: int) -> None:
    q, k, v = projections()
    cache = [normal(2, 2, past, 4, seed=4), normal(2, 2, past, 6, seed=5)]
    compare("Attention", [q, k, v, None, *cache], opset=23, outputs=3, is_causal=causal)


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_scores_at_every_stage(mode: int) -> None:
    inputs = [*projections(), normal(3, 5, seed=3), normal(2, 2, 0, 4), normal(2, 2, 0, 6)]
    check("Attention", inputs, opset=23, outputs=4, softcap=1.5, qk_matmul_output_mode=mode)


def test_heads_are_split_from_three_axes() -> None:
    q, k, v = normal(2, 3, 8), normal(2, 5, 4, seed=1), normal(2, 5, 6, seed=2)
    compare("Attention", [q, k, v], opset=23, q_num_heads=4, kv_num_heads=2)


@pytest.mark.parametrize("causal", [0, 1])
def test_external_caches_have_lengths(causal: int) -> None:
    q, k, v = projections()
    lengths = np.array([2, 5], np.int64)
    compare("Attention", [q, k, v, None, None, None, lengths], opset=24, is_causal=causal)


def test_a_mask_that_covers_fewer_keys_forbids_the_rest() -> None:
    mask = normal(3, 4, seed=3)
    compare("Attention", [*projections(), mask], opset=24)
    compare("Attention", [*projections(), mask > 0], opset=24)


@pytest.mark.parametrize("left, right", [(1, -1), (-1, 1), (2, 0), (0, 0)])
def test_sliding_windows(left: int, right: int) -> None:
    compare("Attention", projections(4, 5), opset=25, left_window_size=left, right_window_size=right)


def test_head_counts_must_divide() -> None:
    with pytest.raises(ShapeError, match="3 query heads are not a multiple of 2"):
        load(model("Attention", projections(heads=3, groups=2), opset=23))


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("turned", [0, 4])
@pytest.mark.parametrize("positions", [True, False])
@pytest.mark.parametrize("flat", [True, False])
def test_rotary_embedding(interleaved: int, turned: int, positions: bool, flat: bool) -> None:
    size = 6 if turned else 8
    pairs = (turned or size) // 2
    x = normal(2, 3, 2 * size) if flat else normal(2, 2, 3, size)
    cache = (10, pairs) if positions else (2, 3, pairs)
    inputs: list[np.ndarray | None] = [x, normal(*cache, seed=1), normal(*cache, seed=2)]
    if positions:
        inputs.append(np.array([[0, 1, 2], [5, 9, 3]], np.int64))
    more = {"num_heads": 2} if flat else {}
    compare("RotaryEmbedding", inputs, opset=23, interleaved=interleaved, rotary_embedding_dim=turned, **more)


@pytest.mark.parametrize("queries, keys, past", [(1, 1, 0), (3, 3, 2), (1, 1, 7)])
def test_sequence_and_past_are_symbols(queries: int, keys: int, past: int) -> None:
    declared = [("N", 2, "S", 4), ("N", 2, "S", 4), ("N", 2, "S", 6), None, ("N", 2, "P", 4), ("N", 2, "P", 6)]
    small = [normal(1, *s[1:2], 1, s[3]) if s else None for s in declared]  # type: ignore[misc]
    proto = model(
        "Attention",
        small,
        opset=23,
        outputs=3,
        shapes={i: s for i, s in enumerate(declared) if s},
        is_causal=1,
    )
    arrays = {
        f"x{i}": normal(2, 2, past if s[2] == "P" else queries if i == 0 else keys, s[3], seed=i)  # type: ignore[arg-type]
        for i, s in enumerate(declared)
        if s
    }
    module = load(proto)
    found = interpreter.run(module, [arrays[name] for name in module.input_names])
    expected = onnx.reference.ReferenceEvaluator(proto).run(None, arrays)
    assert_same(found, expected, 1e-4, 1e-5)
