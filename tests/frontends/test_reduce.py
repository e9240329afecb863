"""Reductions, extremes and running sums against onnxruntime and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.errors import ShapeError, UnsupportedOp
from mlc.frontends.onnx import load
from tests.frontends.one_node import check, integers, interpreted, model, normal

FLOAT_KINDS = [
    "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd",
    "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp",
]  # fmt: skip
INTEGER_KINDS = ["ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceMean", "ReduceL1", "ReduceSumSquare"]


@pytest.mark.parametrize("op_type", FLOAT_KINDS)
@settings(max_examples=8, deadline=None)
@given(
    shape=st.lists(st.sampled_from([1, 2, 3, 5]), min_size=1, max_size=4),
    chosen=st.sets(st.integers(0, 3)),
    keepdims=st.booleans(),
    negative=st.booleans(),
)
def test_reductions_over_any_axes(
    op_type: str, shape: list[int], chosen: set[int], keepdims: bool, negative: bool
) -> None:
    axes = [a - len(shape) if negative else a for a in sorted(chosen) if a < len(shape)]
    x = np.abs(normal(*shape)) + 0.5
    if op_type == "ReduceSum":
        check(op_type, [x, np.array(axes, np.int64)], opset=13, constants=[1], keepdims=int(keepdims))
    else:
        check(op_type, [x], opset=11, keepdims=int(keepdims), **({"axes": axes} if axes else {}))


@pytest.mark.parametrize("op_type", INTEGER_KINDS)
def test_integer_reductions(op_type: str) -> None:
    check(op_type, [integers(-4, 5, 3, 4, dtype=np.int32)], opset=13 if op_type != "ReduceSum" else 11, axes=[1])


@pytest.mark.parametrize("noop", [0, 1])
@pytest.mark.parametrize("op_type", ["ReduceSum", "ReduceMax", "ReduceL1", "ReduceLogSum"])
def test_empty_axes_mean_all_or_none(op_type: str, noop: int) -> None:
    x = np.abs(normal(2, 3)) + 0.5
    proto = model(op_type, [x, np.zeros(0, np.int64)], opset=18, constants=[1], noop_with_empty_axes=noop)
    found = interpreted(proto, [x])[0]
    before, after = {
        "ReduceSum": (lambda v: v, lambda v: v),
        "ReduceMax": (lambda v: v, lambda v: v),
        "ReduceL1": (np.abs, lambda v: v),
        "ReduceLogSum": (lambda v: v, np.log),
    }[op_type]
    fold = np.max if op_type == "ReduceMax" else np.sum
    expected = after(before(x) if noop else fold(before(x), keepdims=True))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "op_type, expected", [("ReduceSum", 0.0), ("ReduceProd", 1.0), ("ReduceMax", -np.inf), ("ReduceMin", np.inf)]
)
def test_reducing_nothing_gives_the_identity(op_type: str, expected: float) -> None:
    x = np.zeros((2, 0, 3), np.float32)
    proto = model(op_type, [x, np.array([1], np.int64)], opset=18, constants=[1], keepdims=0)
    np.testing.assert_array_equal(interpreted(proto, [x])[0], np.full((2, 3), expected, np.float32))


def test_log_sum_exp_survives_large_and_infinite_values() -> None:
    x = np.array([[1000.0, 1000.0], [-np.inf, -np.inf], [np.inf, 0.0]], np.float32)
    proto = model("ReduceLogSumExp", [x, np.array([1], np.int64)], opset=18, constants=[1], keepdims=0)
    np.testing.assert_allclose(interpreted(proto, [x])[0], [1000 + np.log(2), -np.inf, np.inf])


@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
def test_ties_go_to_the_first_or_the_last(op_type: str, last: int) -> None:
    x = np.array([[1, 3, 3, 1], [2, 2, 2, 2]], np.float32)
    check(op_type, [x], opset=13, axis=-1, keepdims=0, select_last_index=last)


@settings(max_examples=15, deadline=None)
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    axis=st.integers(-1, 0),
    largest=st.integers(0, 1),
    data=st.data(),
)
def test_top_k_breaks_ties_by_position(shape: list[int], axis: int, largest: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, shape[axis]))
    x = integers(0, 4, *shape).astype(np.float32)
    check("TopK", [x, np.array([k], np.int64)], opset=11, constants=[1], outputs=2, axis=axis, largest=largest)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("axis", [0, -1])
def test_cumulative_sum(exclusive: int, reverse: int, axis: int) -> None:
    x = normal(4, 3)
    check("CumSum", [x, np.array(axis, np.int64)], opset=14, constants=[1], exclusive=exclusive, reverse=reverse)


def test_an_axis_out_of_range_is_refused() -> None:
    x = normal(2, 3)
    with pytest.raises(ShapeError, match="axis 2 is not one of the 2 axes"):
        load(model("ReduceMax", [x], opset=13, axes=[2]))


def test_axes_from_a_graph_input_name_that_input() -> None:
    x, axes = normal(2, 3), np.array([1], np.int64)
    proto = model("ReduceSum", [x, axes], opset=13)
    with pytest.raises(UnsupportedOp, match="x1"):
        load(proto)
    np.testing.assert_allclose(interpreted_with(proto, {"x1": axes}, x), x.sum(1, keepdims=True), rtol=1e-6)


def interpreted_with(proto: object, known: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    from mlc.ir import interpreter

    module = load(proto, known=known)  # type: ignore[arg-type]
    return interpreter.run(module, [x] if len(module.input_names) == 1 else [x, known["x1"]])[0]
