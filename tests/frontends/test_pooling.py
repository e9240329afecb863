"""Pooling against onnxruntime, at numbers and at symbolic sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.frontends.onnx import load
from tests.frontends.one_node import check, interpreted, model, normal, reference, run

SHAPES = {1: (2, 3, 9), 2: (1, 2, 7, 8), 3: (1, 1, 5, 4, 6)}


@st.composite
def windows(draw: st.DrawFn) -> tuple[int, dict[str, Any]]:
    """Number of spatial axes and the attributes of a pooling node; pads stay below the kernel."""
    spatial = draw(st.integers(1, 3))
    kernel = draw(st.lists(st.integers(1, 3), min_size=spatial, max_size=spatial))
    attributes: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": draw(st.lists(st.integers(1, 3), min_size=spatial, max_size=spatial)),
    }
    auto_pad = draw(st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if auto_pad == "NOTSET":
        low, high = ([draw(st.integers(0, k - 1)) for k in kernel] for _ in range(2))
        attributes |= {"pads": low + high, "ceil_mode": draw(st.integers(0, 1))}
    else:
        # onnxruntime refuses SAME padding where the stride exceeds the window.
        attributes |= {"auto_pad": auto_pad, "kernel_shape": [max(k, 3) for k in kernel]}
    return spatial, attributes


@settings(max_examples=30, deadline=None)
@given(window=windows(), dilation=st.integers(1, 2))
def test_max_pool(window: tuple[int, dict[str, Any]], dilation: int) -> None:
    spatial, attributes = window
    if "auto_pad" not in attributes and dilation > 1:
        attributes = attributes | {"dilations": [dilation] * spatial, "kernel_shape": [2] * spatial}
        attributes["pads"] = [min(p, 1) for p in attributes["pads"]]
    check("MaxPool", [normal(*SHAPES[spatial])], opset=12, **attributes)


@settings(max_examples=30, deadline=None)
@given(window=windows(), include=st.integers(0, 1))
def test_average_pool(window: tuple[int, dict[str, Any]], include: int) -> None:
    spatial, attributes = window
    check("AveragePool", [normal(*SHAPES[spatial])], opset=19, count_include_pad=include, **attributes)


@settings(max_examples=10, deadline=None)
@given(window=windows(), p=st.integers(1, 3))
def test_lp_pool(window: tuple[int, dict[str, Any]], p: int) -> None:
    spatial, attributes = window
    attributes.pop("ceil_mode", None)  # onnxruntime rounds down here
    check("LpPool", [normal(*SHAPES[spatial])], opset=18, p=p, rtol=1e-4, **attributes)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.float32, np.float64])
def test_max_pool_takes_these_types(dtype: type) -> None:
    x = (normal(1, 2, 6, 6) * 20).astype(dtype)
    check("MaxPool", [x], opset=12, kernel_shape=[3, 3], pads=[1, 1, 1, 1])


@pytest.mark.parametrize("storage_order", [0, 1])
def test_max_pool_positions_count_in_the_whole_tensor(storage_order: int) -> None:
    x = normal(2, 3, 6, 5)
    attributes = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1], "storage_order": storage_order}
    check("MaxPool", [x], opset=12, outputs=2, **attributes)


@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
def test_global_pooling(op_type: str) -> None:
    check(op_type, [normal(2, 3, 4, 5)], opset=13)
    check(op_type, [normal(2, 3, 7)], opset=13)


def test_max_unpool_puts_values_back() -> None:
    x = normal(1, 2, 4, 4)
    pool = model("MaxPool", [x], opset=12, outputs=2, kernel_shape=[2, 2], strides=[2, 2])
    values, places = reference(pool, [x])
    check("MaxUnpool", [values, places], opset=11, kernel_shape=[2, 2], strides=[2, 2])


@pytest.mark.parametrize("height, width", [(3, 3), (8, 8), (11, 6), (64, 31)])
@pytest.mark.parametrize("op_type, ceil_mode", [("MaxPool", 1), ("AveragePool", 1), ("AveragePool", 0)])
def test_one_import_serves_every_size(op_type: str, ceil_mode: int, height: int, width: int) -> None:
    x = normal(2, 3, height, width)
    attributes = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": ceil_mode}
    symbolic = model(op_type, [x], opset=19, shapes={0: ("N", 3, "H", "W")}, **attributes)
    np.testing.assert_allclose(run(load(symbolic), [x])[0], reference(symbolic, [x])[0], rtol=1e-5, atol=1e-6)


def test_average_pool_of_halves_is_summed_in_single_precision() -> None:
    x = np.full((1, 1, 64, 64), 100, np.float16)
    found = interpreted(model("AveragePool", [x], opset=19, kernel_shape=[64, 64]), [x])[0]
    np.testing.assert_array_equal(found, np.full((1, 1, 1, 1), 100, np.float16))
