"""TfIdfVectorizer of numbers against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.errors import InvalidModel, UnsupportedOp
from mlc.frontends.onnx import load
from tests.frontends.one_node import assert_same, check, compiled, integers, model, reference

WORDS = 4


def pool(longest: int, seed: int) -> dict[str, Any]:
    """Up to five different n-grams of each length, in any order, with columns in any order."""
    rng, elements, starts, count = np.random.default_rng(seed), [], [], 0
    for length in range(1, longest + 1):
        starts.append(len(elements))
        grams = np.unique(rng.integers(0, WORDS, (1 + int(rng.integers(5)), length)), axis=0)
        elements += rng.permutation(grams).ravel().tolist()
        count += len(grams)
    return {"pool_int64s": elements, "ngram_counts": starts, "ngram_indexes": rng.permutation(count).tolist()}


@settings(max_examples=25, deadline=None)
@given(
    mode=st.sampled_from(["TF", "IDF", "TFIDF"]),
    lengths=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    skips=st.integers(0, 3),
    shape=st.lists(st.integers(0, 9), min_size=1, max_size=2),
    seed=st.integers(0, 99),
    weighted=st.booleans(),
    symbolic=st.booleans(),
)
def test_n_grams_are_counted(
    mode: str, lengths: tuple[int, int], skips: int, shape: list[int], seed: int, weighted: bool, symbolic: bool
) -> None:
    if len(shape) == 2:
        shape[0] = max(shape[0], 1)  # onnxruntime takes no empty batch
    given: dict[str, Any] = pool(max(lengths), seed)
    if weighted:
        given["weights"] = np.random.default_rng(seed).standard_normal(len(given["ngram_indexes"])).tolist()
    given |= {"mode": mode, "max_skip_count": skips, "min_gram_length": min(lengths), "max_gram_length": max(lengths)}
    x = integers(0, WORDS, *shape, seed=seed, dtype=np.int32 if seed % 2 else np.int64)
    check("TfIdfVectorizer", [x], opset=9, shapes={0: ["N", "C"][-x.ndim :]} if symbolic else None, **given)


def test_native_code_counts_at_every_size() -> None:
    given = pool(2, 0) | {"mode": "TFIDF", "max_skip_count": 2, "min_gram_length": 1, "max_gram_length": 2}
    for shape in [(1, 0), (3, 1), (2, 50), (7, 13)]:
        x = integers(0, WORDS, *shape)
        proto = model("TfIdfVectorizer", [x], opset=9, shapes={0: ["N", "C"]}, **given)
        assert_same(compiled(proto, [x]), reference(proto, [x]), 1e-6, 1e-6)


def test_a_pool_that_does_not_fit_is_refused() -> None:
    given = {"mode": "TF", "max_skip_count": 0, "min_gram_length": 1, "max_gram_length": 2, "ngram_counts": [0, 1]}
    x = integers(0, WORDS, 5)
    for pool_, indexes, words in [
        ([1, 2], [0, 1], "n-grams of 2"),
        ([1, 2, 3, 1, 2], [0, 1], "more n-grams than"),
        ([1], [-1], "must be in"),
    ]:
        with pytest.raises(InvalidModel, match=words):
            load(model("TfIdfVectorizer", [x], opset=9, pool_int64s=pool_, ngram_indexes=indexes, **given))
    with pytest.raises(UnsupportedOp, match="n-grams of strings"):
        load(model("TfIdfVectorizer", [x], opset=9, pool_strings=["a"], ngram_indexes=[0], **given))
