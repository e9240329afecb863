"""Gathers and scatters against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.frontends.one_node import check, integers, interpreted, model, normal


@settings(max_examples=15, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    more=st.lists(st.integers(0, 3), max_size=2),
    axis=st.integers(-1, 0),
)
def test_gather_wraps_negative_indices(shape: list[int], more: list[int], axis: int) -> None:
    check("Gather", [normal(*shape), integers(-shape[axis], shape[axis], *more)], opset=13, axis=axis)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_elements(axis: int) -> None:
    x = normal(3, 4, 5)
    shape = (2, 4, 3) if axis == 0 else (3, 2, 5) if axis == 1 else (2, 3, 7)
    check("GatherElements", [x, integers(-x.shape[axis], x.shape[axis], *shape)], opset=13, axis=axis)


@pytest.mark.parametrize(
    "x, indices, batch_dims",
    [((4, 5), (3, 2), 0), ((4, 5), (3, 1), 0), ((2, 4, 5), (2, 3, 1), 1), ((3, 4), (2, 2, 2), 0)],
)
def test_gather_nd(x: tuple[int, ...], indices: tuple[int, ...], batch_dims: int) -> None:
    high = min(x[batch_dims : batch_dims + indices[-1]])
    check("GatherND", [normal(*x), integers(-high, high, *indices)], opset=13, batch_dims=batch_dims)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("axis", [0, -1])
def test_scatter_elements(reduction: str, axis: int) -> None:
    x = normal(4, 5)
    indices = np.array([[0, 1, 1], [2, 0, -1]], np.int64)
    if reduction == "none":  # the order of writes to one place is not defined
        indices = np.array([[0, 1, 2], [3, 2, -1]], np.int64)
    check("ScatterElements", [x, indices, normal(2, 3, seed=1)], opset=18, axis=axis, reduction=reduction)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
def test_scatter_nd(reduction: str) -> None:
    indices = np.array([[0], [3], [0]] if reduction != "none" else [[0], [3], [-2]], np.int64)
    check("ScatterND", [normal(4, 5), indices, normal(3, 5, seed=1)], opset=18, reduction=reduction)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_one_hot_wraps_once_and_leaves_the_rest_off(axis: int) -> None:
    indices = np.array([[0, 2, -1], [5, -4, -3]], np.int64)
    proto = model("OneHot", [indices, np.array(3), np.array([2, 7], np.int32)], opset=11, constants=[1], axis=axis)
    hot = indices[..., None] % 3 == np.arange(3)
    hot &= (indices[..., None] >= -3) & (indices[..., None] < 3)
    expected = np.moveaxis(np.where(hot, 7, 2), -1, axis).astype(np.int32)
    found = interpreted(proto, [indices, None, np.array([2, 7], np.int32)])[0]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [None, -2, 0, 1, 9])
@pytest.mark.parametrize("known", [True, False])
def test_trilu(upper: int, k: int | None, known: bool) -> None:
    inputs = [normal(2, 3, 4), None if k is None else np.array(k, np.int64)]
    check("Trilu", inputs, opset=14, constants=[1] if known and k is not None else [], upper=upper)


@pytest.mark.parametrize("time, batch", [(0, 1), (1, 0)])
def test_reverse_sequence(time: int, batch: int) -> None:
    x = normal(4, 4, 2)
    check("ReverseSequence", [x, np.array([1, 4, 2, 3], np.int64)], opset=10, time_axis=time, batch_axis=batch)


def test_positions_of_a_constant_are_known() -> None:
    x = np.array([[0, 1], [2, 0]], np.int32)
    found = interpreted(model("NonZero", [x], opset=13, constants=[0]), [x])[0]
    np.testing.assert_array_equal(found, np.array(np.nonzero(x)))
