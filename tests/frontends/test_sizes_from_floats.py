"""Float constants that decide sizes: NaN, infinities and what is beyond 64 bits are errors about the model. Loops of one turn whose number
is data are right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import mlc
from mlc.errors import ShapeError


def model(
    op: str,
    constants: dict[str, Any],
    x: Sequence[int | str] | None = None,
    opset: int = 18,
    dtype: int = 1,
    **attributes: Any,
) -> ModelProto:
    """One node; its inputs are x, where there is one, and the constants, "" for those that are left out."""
    inputs = [] if x is None else [helper.make_tensor_value_info("x", dtype, x)]
    names = [
        *(["x"] if x is not None else []),
        *(name if value is not None else "" for name, value in constants.items()),
    ]
    node = helper.make_node(op, names, ["y"], **attributes)
    given = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items() if v is not None]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph([node], "g", inputs, outputs, given)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


F = np.float32
BAD = [np.nan, np.inf, -np.inf]


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_range_needs_finite_ends(value: float, place: int, kind: type) -> None:
    ends = [kind(value if i == place else n) for i, n in enumerate((0, 5, 1))]
    with pytest.raises(ShapeError, match="decides a size"):
        mlc.compile(model("Range", dict(zip(("start", "limit", "delta"), ends, strict=True))))


@pytest.mark.parametrize(("limit", "delta"), [(1e300, 1e-300), (1e30, 1.0), (1e308, 5e-324)])
def test_a_range_that_nothing_holds_is_refused(limit: float, delta: float) -> None:
    ends = {"start": np.float64(0), "limit": np.float64(limit), "delta": np.float64(delta)}
    with pytest.raises(mlc.MlcError):
        mlc.compile(model("Range", ends))


@pytest.mark.parametrize("value", [*BAD, 3e38])
@pytest.mark.parametrize("opset", [7, 9, 10, 18])
def test_scales_are_finite_and_in_reach(value: float, opset: int) -> None:
    scales = np.array([1, 1, value, 1], F)
    match opset:
        case 7:
            wrong = model("Upsample", {}, [1, 1, 2, 2], opset, scales=[float(s) for s in scales])
        case 9:
            wrong = model("Upsample", {"scales": scales}, [1, 1, 2, 2], opset)
        case 10:
            wrong = model("Resize", {"scales": scales}, [1, 1, 2, 2], opset)
        case _:
            wrong = model("Resize", {"roi": None, "scales": scales}, [1, 1, 2, 2], opset)
    with pytest.raises(ShapeError):
        mlc.compile(wrong)


@pytest.mark.parametrize("value", BAD)
def test_a_region_is_finite(value: float) -> None:
    constants = {"roi": np.array([0, 0, 0, 0, 1, 1, value, 1], F), "scales": np.array([1, 1, 2, 2], F)}
    with pytest.raises(ShapeError, match="roi"):
        mlc.compile(model("Resize", constants, [1, 1, 2, 2], coordinate_transformation_mode="tf_crop_and_resize"))


@pytest.mark.parametrize("value", [*BAD, 1e30])
def test_a_depth_is_finite_and_in_reach(value: float) -> None:
    constants = {"depth": F(value), "values": np.array([0, 1], F)}
    with pytest.raises(ShapeError, match="depth"):
        mlc.compile(model("OneHot", constants, [3], dtype=TensorProto.INT64))


ONE_TURN = {
    "Hardmax": lambda axis: model("Hardmax", {}, ["M", "N"], axis=axis),
    "Trilu": lambda axis: model("Trilu", {"k": np.int64(axis)}, ["M", "N"]),
    "CumSum": lambda axis: model("CumSum", {"axis": np.int64(axis)}, ["M", "N"]),
    "EyeLike": lambda axis: model("EyeLike", {}, ["M", "N"], k=axis),
}


@pytest.mark.parametrize("op", ONE_TURN)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("sizes", [{"N": 1}, {"M": 1}, {"M": 1, "N": 1}, {"N": 2}])
def test_axes_of_one_element_have_their_number(op: str, axis: int, sizes: dict[str, int]) -> None:
    source = ONE_TURN[op](axis)
    exact, also = mlc.compile(source, dims=sizes), mlc.compile(source, specialise=[sizes])
    module = mlc.load(source)
    for rows, columns in ((1, 1), (1, 3), (3, 1), (3, 2)):
        x = np.random.default_rng(0).standard_normal((rows, columns)).astype(F)
        (want,) = module.run(x)
        np.testing.assert_allclose(also(x), want, rtol=1e-6)
        if all({"M": rows, "N": columns}[name] == size for name, size in sizes.items()):
            np.testing.assert_allclose(exact(x), want, rtol=1e-6)
