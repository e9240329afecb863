"""Casts to and from small floats and integers below a byte: every code, every half, against the arrays of ml_dtypes."""

from __future__ import annotations

import itertools
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import mlc
from mlc.frontends.onnx import load
from mlc.ir import interpreter
from mlc.ir.dtypes import TABLE
from mlc.ir.types import is_float, is_integer
from tests.frontends.one_node import model

STORAGE = [name for name, row in TABLE.items() if row.storage]
FLOATS = [name for name in STORAGE if TABLE[name].format is not None and name != "f8e8m0"]
INTEGERS = [name for name in STORAGE if TABLE[name].format is None]
COMPUTED = [name for name in TABLE if is_float(name) or is_integer(name)]
HALVES = np.arange(1 << 16, dtype=np.uint16)


def codes(name: str) -> np.ndarray:
    return np.arange(1 << TABLE[name].bits, dtype=np.uint8).view(TABLE[name].numpy)


def element_type(name: str) -> int:
    return onnx.TensorProto.DataType.Value(TABLE[name].onnx)


def results(proto: onnx.ModelProto, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the interpreter and of compiled code; both have the dtype that the model says."""
    module = load(proto)
    (first,) = interpreter.run(module, [x])
    return first, np.asarray(mlc.compile(proto)(x))


def cast(x: np.ndarray, to: str, **attributes: object) -> tuple[np.ndarray, np.ndarray]:
    return results(model("Cast", [x], opset=28, to=element_type(to), **attributes), x)


def expect(found: np.ndarray, want: np.ndarray) -> None:
    """Equal as numbers, zeros with their sign, NaN where NaN is."""
    assert found.dtype == want.dtype
    wide = [a if a.dtype.kind in "iub" else a.astype(np.float64) for a in (found, want)]
    np.testing.assert_array_equal(*wide)
    if wide[0].dtype.kind == "f":
        numbers = ~np.isnan(wide[0])
        np.testing.assert_array_equal(np.signbit(wide[0])[numbers], np.signbit(wide[1])[numbers])


@pytest.mark.parametrize("name", STORAGE)
def test_every_code_becomes_its_number_in_every_float_and_integer(name: str) -> None:
    x = codes(name)
    # the least power of two of f8e8m0 is denormal in f32 and bf16, and there flushed
    targets = ["f32", "f64", "f16", "bf16", "i32", "i8", "bool"] if name != "f8e8m0" else ["f32", "f64"]
    for target in targets:
        if is_integer(target):  # what has no integer is decided by mlc: see the operator's documentation
            with np.errstate(all="ignore"):
                number = x.astype(np.float32)
            x = x[np.isfinite(number) & (np.abs(number) < 100)]
        want = x.astype(np.float32).astype(TABLE[target].numpy) if target != "bool" else x.astype(np.float32) != 0
        for found in cast(x, target):
            expect(found, want)


@pytest.mark.parametrize("saturate", [0, 1])
@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("source", [np.float16, ml_dtypes.bfloat16])
def test_every_half_becomes_the_nearest_small_float(source: type, name: str, saturate: int) -> None:
    x = HALVES.view(source)
    with np.errstate(all="ignore"):
        whole = x.astype(np.float32)
        top = np.float32(ml_dtypes.finfo(TABLE[name].numpy).max)
        want = (np.clip(whole, -top, top) if saturate else whole).astype(TABLE[name].numpy)
    for found in cast(x, name, saturate=saturate):
        expect(found, want)


@pytest.mark.parametrize("name", FLOATS)
def test_the_middle_between_two_small_floats_goes_to_the_even_code_and_its_neighbours_do_not(name: str) -> None:
    """From f64 too, where rounding by way of f32 would tell them apart no more."""
    numbers = np.unique(codes(name).astype(np.float64))
    numbers = numbers[np.isfinite(numbers)]
    middles = (numbers[1:] + numbers[:-1]) / 2
    mantissa = {n: int(np.array(n).astype(TABLE[name].numpy).view(np.uint8)) for n in numbers}
    even = np.array([a if mantissa[a] % 2 == 0 else b for a, b in itertools.pairwise(numbers)])
    for dtype in (np.float32, np.float64):
        x = middles.astype(dtype)
        for found in cast(x, name):
            np.testing.assert_array_equal(found.astype(np.float64), even)
        for side, want in ((np.inf, numbers[1:]), (-np.inf, numbers[:-1])):
            for found in cast(np.nextafter(x, dtype(side)), name):
                np.testing.assert_array_equal(found.astype(np.float64), want)


@pytest.mark.parametrize("rounding", ["up", "down", "nearest"])
def test_a_power_of_two_is_chosen_above_below_or_nearest(rounding: str) -> None:
    exponents = np.arange(-126, 127, dtype=np.float64)
    parts = np.array([1, 1.0000001, 1.25, 1.5, 1.75])
    x = (2.0 ** exponents[:, None] * parts).astype(np.float32)
    step = {"up": parts > 1, "down": parts > 2, "nearest": parts >= 1.5}[rounding]
    for found in cast(x, "f8e8m0", round_mode=rounding):
        np.testing.assert_array_equal(found.astype(np.float64), 2.0 ** (exponents[:, None] + step))
        (want,) = ReferenceEvaluator(model("Cast", [x], opset=28, to=element_type("f8e8m0"), round_mode=rounding)).run(
            None, {"x0": x}
        )
        np.testing.assert_array_equal(found.view(np.uint8), want.view(np.uint8))


def test_powers_of_two_end_at_the_largest_or_in_nan() -> None:
    x = np.array([0, 1e-42, 3e38, np.inf, np.nan], np.float32)
    for found in cast(x, "f8e8m0"):
        assert found.view(np.uint8).tolist() == [0, 0, 254, 254, 255]
    for found in cast(x, "f8e8m0", saturate=0, round_mode="nearest"):
        assert found.view(np.uint8).tolist() == [255, 255, 255, 255, 255]


@pytest.mark.parametrize("name", INTEGERS)
def test_small_integers_take_floats_towards_zero_as_all_integers_do(name: str) -> None:
    x = np.array([0.5, 1.5, 0.99, 1.0, 0.0] + ([] if name.startswith("u") else [-0.5, -1.5, -1.0]), np.float32)
    (want,) = ReferenceEvaluator(model("Cast", [x], opset=25, to=element_type(name))).run(None, {"x0": x})
    for found in cast(x, name):
        np.testing.assert_array_equal(found.astype(np.int8), want.astype(np.int8))
        np.testing.assert_array_equal(found.astype(np.int8), np.trunc(x).astype(np.int8))


@pytest.mark.parametrize("name", INTEGERS)
def test_small_integers_take_the_low_bits(name: str) -> None:
    low = np.arange(-300, 300)
    for source in (np.int8, np.int32, np.int64, np.uint8, np.float32, np.float16):
        x = low.astype(source) if source != np.uint8 else low.astype(np.int64).astype(np.uint8)
        for found in cast(x, name):
            np.testing.assert_array_equal(found, x.astype(np.int64).astype(np.int8).astype(TABLE[name].numpy))


@pytest.mark.parametrize(
    ("source", "target"), [("f8e5m2", "f8e4m3fn"), ("f4e2m1", "u4"), ("i4", "f8e4m3fnuz"), ("u2", "i2")]
)
def test_one_storage_type_becomes_another(source: str, target: str) -> None:
    x = codes(source)
    number = x.astype(np.float32)
    x = x[np.isfinite(number)]
    top = np.float32(highest) if (highest := _top(target)) else None
    number = x.astype(np.float32) if top is None else np.clip(x.astype(np.float32), -top, top)
    want = number.astype(TABLE[target].numpy) if top is not None else number.astype(np.int8).astype(TABLE[target].numpy)
    for found in cast(x, target):
        expect(found, want)


def _top(name: str) -> float:
    return float(ml_dtypes.finfo(TABLE[name].numpy).max) if TABLE[name].format is not None else 0.0


def dequantized(count: int, block: int, dtype: str) -> onnx.ModelProto:
    """y = x @ dequantised w, with a scale and a zero point per block of rows; w has `count` rows and 100 columns."""
    rng = np.random.default_rng(1)
    row = TABLE[dtype]
    w = rng.integers(0, 1 << row.bits, (count, 100)).astype(np.uint8).view(row.numpy)
    zero = rng.integers(0, 1 << row.bits, (count // block, 100)).astype(np.uint8).view(row.numpy)
    scale = rng.uniform(0.5, 1, (count // block, 100)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("DequantizeLinear", ["w", "s", "z"], ["k"], axis=0, block_size=block),
        onnx.helper.make_node("MatMul", ["x", "k"], ["y"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "blocks",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", count])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 100])],
        [onnx.numpy_helper.from_array(a, name) for name, a in (("w", w), ("s", scale), ("z", zero))],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 25)], ir_version=11)


@pytest.mark.parametrize("dtype", ["i4", "u4", "i2", "u2"])
@pytest.mark.parametrize("count", [8, 1024])
def test_packed_weights_give_the_product_of_their_numbers(count: int, dtype: str) -> None:
    proto = dequantized(count, 4, dtype)
    x = np.random.default_rng(2).standard_normal((3, count)).astype(np.float32)
    (want,) = ReferenceEvaluator(proto).run(None, {"x": x})
    for found in results(proto, x):
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-3)


def test_large_packed_weights_stay_packed_in_a_package(tmp_path: Path) -> None:
    executable = mlc.compile(dequantized(1024, 64, "i4"))
    x = np.ones((2, 1024), np.float32)
    executable.save(tmp_path / "blocks.mlc")
    assert (tmp_path / "blocks.mlc").stat().st_size < 1024 * 100  # one byte per element would be more
    np.testing.assert_array_equal(mlc.load_executable(tmp_path / "blocks.mlc")(x), executable(x))
