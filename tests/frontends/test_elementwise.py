"""Element-wise operators against onnxruntime: dtypes, broadcasting, special values, versions."""

import itertools

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from mlc.errors import InvalidModel, UnsupportedOp
from mlc.frontends.onnx import load, table
from mlc.ir import interpreter
from tests.frontends.one_node import check, integers, interpreted, model, normal

SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 30.0, -30.0, np.inf, -np.inf, np.nan], np.float32)
UNARY = [
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh", "Erf", "Exp", "Floor", "IsNaN",
    "Log", "Neg", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "Sin", "Sinh", "Sqrt", "Tan", "Tanh",
]  # fmt: skip


@pytest.mark.parametrize("op_type", UNARY)
def test_unary_operators_agree_on_special_values(op_type: str) -> None:
    with np.errstate(all="ignore"):
        check(op_type, [SPECIAL], opset=21, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("op_type", ["Abs", "Neg", "Sign"])
@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64])
def test_unary_operators_take_integers(op_type: str, dtype: type) -> None:
    check(op_type, [integers(-9, 9, 5, dtype=dtype)], opset=17)


@settings(max_examples=40)
@given(
    st.sampled_from(["Add", "Sub", "Mul", "Div", "Pow", "Less", "GreaterOrEqual", "Equal"]),
    mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=5, min_side=0),
)
def test_binary_operators_broadcast(op_type: str, shapes: object) -> None:
    first, second = shapes.input_shapes  # type: ignore[attr-defined]
    check(op_type, [np.asarray(np.abs(normal(*first)) + np.float32(0.5)), normal(*second, seed=1)], opset=17)


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float64])
def test_arithmetic_of_other_dtypes(op_type: str, dtype: type) -> None:
    x = integers(-20, 20, 4, 6, dtype=dtype)
    y = integers(1, 7, 6, dtype=dtype) * np.array([1, -1, 1, -1, 1, -1], dtype)
    check(op_type, [x, y], opset=14)


@pytest.mark.parametrize(
    ("base", "exponent"),
    [
        (np.float32, np.int64),
        (np.int32, np.int32),
        (np.int64, np.float32),
        (np.int32, np.float32),
        (np.float64, np.float32),
    ],
)
def test_power_has_the_dtype_of_its_base(base: type, exponent: type) -> None:
    check("Pow", [integers(1, 6, 8, dtype=base), integers(0, 4, 8, dtype=exponent)], opset=15)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint8])
@pytest.mark.parametrize("fmod", [0, 1])
def test_modulo_follows_the_divisor_and_fmod_the_dividend(dtype: type, fmod: int) -> None:
    low = 0 if np.dtype(dtype).kind == "u" else -9
    x = np.arange(low, 9).astype(dtype)
    y = np.resize(np.array([3, 5, -4 if low else 4, -7 if low else 7]), x.shape).astype(dtype)
    check("Mod", [x, y], opset=13, fmod=fmod)


def test_fmod_of_floats() -> None:
    check("Mod", [normal(50) * 9, normal(50, seed=1)], opset=13, fmod=1)


@pytest.mark.parametrize("op_type", ["Max", "Min", "Sum", "Mean"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_variadic_operators(op_type: str, count: int) -> None:
    check(op_type, [normal(*shape) for shape in [(3, 4), (4,), (1, 4), (2, 1, 1)][:count]], opset=13)


def test_maximum_and_minimum_keep_nan() -> None:
    x, y = (
        np.array(pairs, np.float32) for pairs in zip(*itertools.product([1, np.nan, -np.inf], repeat=2), strict=True)
    )
    check("Max", [x, y], opset=13)
    check("Min", [x, y], opset=13)


@pytest.mark.parametrize("op_type", ["And", "Or", "Xor"])
def test_logic(op_type: str) -> None:
    check(op_type, [integers(0, 2, 3, 1, dtype=np.bool_), integers(0, 2, 4, seed=1, dtype=np.bool_)], opset=7)


@pytest.mark.parametrize("op_type", ["BitwiseAnd", "BitwiseOr", "BitwiseXor"])
def test_bits(op_type: str) -> None:
    check(op_type, [integers(-99, 99, 3, 1, dtype=np.int32), integers(-99, 99, 4, dtype=np.int32)], opset=18)
    check("BitwiseNot", [integers(-99, 99, 9, dtype=np.int32)], opset=18)


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_bit_shift_by_up_to_the_width(direction: str) -> None:
    x = integers(0, 256, 9, dtype=np.uint8)
    check("BitShift", [x, np.arange(9, dtype=np.uint8) % 8], opset=11, direction=direction)
    (shifted,) = interpreted(
        model("BitShift", [x, np.full(9, 8, np.uint8)], opset=11, direction=direction), [x, np.full(9, 8, np.uint8)]
    )
    assert not shifted.any()


@pytest.mark.parametrize(("negative", "positive"), list(itertools.product([0, 1], repeat=2)))
def test_is_inf_of_either_sign(negative: int, positive: int) -> None:
    check("IsInf", [SPECIAL], opset=20, detect_negative=negative, detect_positive=positive)


def test_where_broadcasts_three_operands() -> None:
    check("Where", [integers(0, 2, 3, 1, 1, dtype=np.bool_), normal(4, 1), normal(5)], opset=16)


@pytest.mark.parametrize(("low", "high"), list(itertools.product([None, -0.5], [None, 0.5, -1.0])))
def test_clip_with_bounds_left_out(low: float | None, high: float | None) -> None:
    bounds = [None if v is None else np.array(v, np.float32) for v in (low, high)]
    check("Clip", [normal(9), *bounds], opset=13)


def test_clip_with_attributes_of_older_versions() -> None:
    check("Clip", [normal(9)], opset=6, min=-0.5, max=0.5)


FLOATS = [np.float16, np.float32, np.float64]
INTEGERS = [np.int8, np.int32, np.int64, np.uint8, np.uint16]


@pytest.mark.parametrize(("source", "target"), list(itertools.product([*FLOATS, *INTEGERS, np.bool_], repeat=2)))
def test_casts_of_values_that_fit(source: type, target: type) -> None:
    x = np.array([0, 1, 2, 100, 3]).astype(source)
    if np.dtype(source).kind == "f":
        x = x + np.array(0.75, source)
    check("Cast", [x], opset=13, to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(target)))


def test_cast_truncates_toward_zero_and_saturates() -> None:
    x = np.array([2.9, -2.9, 1e20, -1e20, np.inf], np.float32)
    (found,) = interpreted(model("Cast", [x], opset=13, to=onnx.TensorProto.INT32), [x])
    np.testing.assert_array_equal(found, [2, -2, 2**31 - 1, -(2**31), 2**31 - 1])


def test_a_cast_to_a_type_without_a_dtype_is_refused() -> None:
    with pytest.raises(UnsupportedOp, match="element type complex64 is not supported"):
        load(model("Cast", [SPECIAL], opset=19, to=onnx.TensorProto.COMPLEX64))


def test_cast_like_takes_the_other_dtype() -> None:
    check("CastLike", [normal(5) * 9, integers(0, 2, 1, dtype=np.int32)], opset=15)


def test_the_older_broadcast_aligns_at_an_axis() -> None:
    x, y = normal(2, 3, 4), normal(3)
    (found,) = interpreted(model("Add", [x, y], opset=6, broadcast=1, axis=1), [x, y])
    np.testing.assert_allclose(found, x + y[:, None])


def test_dropout_is_the_identity_at_inference() -> None:
    for opset, inputs in ((7, []), (10, []), (13, [np.array(0.5, np.float32)])):
        (found,) = interpreted(model("Dropout", [SPECIAL, *inputs], opset=opset), [SPECIAL, *inputs])
        np.testing.assert_array_equal(found, SPECIAL)
    given_ = [SPECIAL, np.array(0.5, np.float32), np.array(True)]
    with pytest.raises(UnsupportedOp, match="random"):
        load(model("Dropout", given_, opset=13, constants=[1, 2]))


def test_an_operand_of_another_dtype_is_refused() -> None:
    with pytest.raises(Exception, match="f32.*i64|i64.*f32"):
        load(model("Add", [normal(3), integers(0, 3, 3)], opset=14))


def test_a_bit_shift_without_direction_is_invalid() -> None:
    with pytest.raises(InvalidModel, match="'direction' is missing"):
        load(model("BitShift", [np.ones(2, np.uint8), np.ones(2, np.uint8)], opset=11))


def test_every_listed_version_is_one_of_the_standard() -> None:
    """A handler for a version that no schema has could never be found."""
    known = {
        ("" if s.domain == "ai.onnx" else s.domain, s.name, s.since_version)
        for s in onnx.defs.get_all_schemas_with_history()
    }
    domains = {domain for domain, _, _ in known}
    listed = {(k.domain, k.op_type, k.version) for k in table.load() if k.domain in domains}
    of_onnxruntime = {("", "LayerNormalization", 1), ("", "SimplifiedLayerNormalization", 1)}
    assert listed <= known | of_onnxruntime


def test_scalars_stay_scalars() -> None:
    x, y = np.array(2.0, np.float32), np.array(3.0, np.float32)
    (found,) = interpreter.run(load(model("Mul", [x, y], opset=14)), [x, y])
    assert found.shape == ()
