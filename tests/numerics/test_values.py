"""Compiled models where numbers are hard: tails, NaN among constants, 16-bit statistics, exact remainders and powers; against float64."""

from __future__ import annotations

from math import erfc
from typing import Any

import numpy as np
import onnx
import pytest
from ml_dtypes import bfloat16

import mlc
from mlc.ir import interpreter
from tests.frontends.one_node import model, run


def compiled(
    op_type: str, inputs: list[np.ndarray], symbolic: bool = False, level: int = 2, **options: Any
) -> np.ndarray:
    names = {i: [f"{'nmhw'[a]}{i}" for a in range(x.ndim)] for i, x in enumerate(inputs)} if symbolic else None
    proto = model(op_type, inputs, shapes=names, **options)
    constants = options.get("constants", ())
    feeds = {f"x{i}": x for i, x in enumerate(inputs) if i not in constants}
    (y,) = mlc.compile(proto, opt_level=level).run(None, feeds)
    (expected,) = run(mlc.load(proto), inputs)
    np.testing.assert_allclose(y.astype(np.float64), expected.astype(np.float64), rtol=2e-3 if y.itemsize < 4 else 2e-5)
    return y


def wide(function: Any) -> Any:
    return np.vectorize(function, otypes=[np.float64])


def log_sum(x: np.ndarray) -> np.ndarray:
    """log(sum(exp(x))) of the last axis, whose maximum is its first element, in f64 and by log1p."""
    return x[:, 0] + np.log1p(np.exp(x[:, 1:] - x[:, :1]).sum(-1))


TAILS = {
    "Gelu": (20, {}, lambda x: x / 2 * wide(erfc)(-x / 2**0.5)),
    "Gelu tanh": (20, {"approximate": "tanh"}, lambda x: x / (1 + np.exp(-2 * (2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)))),
    "Softplus": (22, {}, lambda x: np.logaddexp(0, x)),
    "Mish": (18, {}, lambda x: x * np.tanh(np.logaddexp(0, x))),
    "Elu": (22, {"alpha": 0.7}, lambda x: np.where(x < 0, np.float32(0.7) * np.expm1(x), x)),
    "Celu": (12, {"alpha": 2.0}, lambda x: np.where(x < 0, 2 * np.expm1(x / 2), x)),
    "Sigmoid": (13, {}, lambda x: 1 / (1 + np.exp(-x))),
}  # fmt: skip


@pytest.mark.parametrize("case", TAILS)
@pytest.mark.parametrize("symbolic", [False, True])
def test_activations_keep_their_digits_in_the_tails(case: str, symbolic: bool) -> None:
    opset, attributes, exact = TAILS[case]
    x = np.concatenate([-np.logspace(-6, 1.1, 60), np.logspace(-6, 2, 60), [0.0, -0.0]]).astype(np.float32)
    y = compiled(case.split()[0], [x], symbolic, opset=opset, **attributes)
    np.testing.assert_allclose(y, exact(x.astype(np.float64)), rtol=1.5e-5, atol=2e-37)
    assert np.array_equal(y[-2:] == 0, [case not in ("Softplus", "Sigmoid")] * 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_gelu_of_infinities_is_what_its_definition_gives(dtype: type) -> None:
    """0 times infinity at -inf, as in onnxruntime and PyTorch."""
    x = np.array([-np.inf, -1e4, -100, 100, np.inf, np.nan], dtype)
    for attributes in ({}, {"approximate": "tanh"}):
        y = compiled("Gelu", [x], opset=20, **attributes)
        np.testing.assert_array_equal(y, [np.nan, 0, 0, 100, np.inf, np.nan])


@pytest.mark.parametrize("columns", [2, 17, 64])
def test_log_softmax_and_log_sum_exp_keep_the_digits_of_what_is_outweighed(columns: int) -> None:
    rng = np.random.default_rng(0)
    x = np.full((5, columns), -100.0, np.float32)
    x[:, 0], x[:, 1:] = 0, rng.uniform(-30, -10, (5, columns - 1))
    exact = log_sum(x.astype(np.float64))
    np.testing.assert_allclose(compiled("LogSoftmax", [x], True, opset=13)[:, 0], -exact, rtol=1e-5)
    y = compiled("ReduceLogSumExp", [x, np.array([1])], opset=18, constants=[1], keepdims=0)
    np.testing.assert_allclose(y, exact, rtol=1e-5)
    same = np.full((3, columns), 2.5, np.float32)  # every element is the maximum
    np.testing.assert_allclose(compiled("LogSoftmax", [same], opset=13), -np.log(columns), rtol=1e-6)


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_a_nan_bound_wins(symbolic: bool, dtype: type) -> None:
    x = np.linspace(-3, 3, 19).astype(dtype)
    nan, one = np.array(np.nan, dtype), np.array(1, dtype)
    for bounds in ([nan, one], [one, nan], [nan, nan]):
        assert np.isnan(compiled("Clip", [x, *bounds], symbolic, opset=13, constants=[1, 2])).all()
    for op_type in ("Max", "Min"):
        for constants in ([1], [2], [1, 2]):
            inputs = [
                x,
                np.array([np.nan if 1 in constants else 1], dtype),
                np.array([np.nan if 2 in constants else 1], dtype),
            ]
            assert np.isnan(compiled(op_type, inputs, opset=13, constants=[1, 2])).all()


@pytest.mark.parametrize("dtype", [np.float16, bfloat16, np.float32, np.float64])
def test_remainders_of_floats_are_exact(dtype: Any) -> None:
    rng = np.random.default_rng(3)
    special = [5.3, -5.3, 0.0, -0.0, 1e-3, -0.1, 6e4, np.inf, -np.inf, np.nan, 3, -3]
    a, b = (v.ravel() for v in np.meshgrid(special, special))
    a = np.concatenate([a, rng.standard_normal(300) * 1e4]).astype(dtype)
    b = np.concatenate([b, rng.standard_normal(300)]).astype(dtype)
    with np.errstate(all="ignore"):
        expected = np.fmod(a.astype(np.float64), b.astype(np.float64)).astype(dtype)
        floored = np.mod(a.astype(np.float64), b.astype(np.float64)).astype(dtype)
    for fmod, wanted in ((1, expected), (0, floored)):
        found = compiled("Mod", [a, b], opset=13, fmod=fmod)
        assert np.array_equal(found.astype(np.float64), wanted.astype(np.float64), equal_nan=True)
        fine = ~np.isnan(wanted)
        assert np.array_equal(np.signbit(found[fine]), np.signbit(wanted[fine]))


def test_whole_powers_of_integers_are_exact_whatever_type_the_exponent_has() -> None:
    for dtype, values in ((np.int32, [0, 1, -1, 7, -46340, 40001]), (np.int64, [0, 1, -1, 3, -3037000499, 3037000499])):
        x = np.array(values, dtype)
        for exponent in (np.array(2, np.float32), np.array([2] * 6, np.float64), np.array(2, np.int64)):
            constants = [1] if exponent.ndim == 0 else []
            assert np.array_equal(compiled("Pow", [x, exponent], opset=15, constants=constants), x * x)
        assert compiled("Pow", [x, np.array(0.5, np.float32)], opset=15)[[0, 1, 3]].tolist() == [
            0,
            1,
            int(values[3] ** 0.5),
        ]


HALF = [
    ("ReduceMean", {"axes": [2, 3], "keepdims": 0}, 50, 50), ("GlobalAveragePool", {}, 50, 50),
    ("ReduceL2", {"axes": [2, 3]}, 100, 6400), ("GlobalLpPool", {}, 100, 6400),
    ("LpPool", {"kernel_shape": [64, 64]}, 100, 6400), ("AveragePool", {"kernel_shape": [64, 64]}, 50, 50),
    ("LpNormalization", {"axis": 3}, 1000, 0.125), ("LRN", {"size": 3}, 400, 400 / (1 + 1e-4 / 3 * 400**2) ** 0.75),
]  # fmt: skip


@pytest.mark.parametrize("op_type, attributes, value, expected", HALF, ids=[h[0] for h in HALF])
@pytest.mark.parametrize("dtype", [np.float16, bfloat16])
def test_sums_of_16_bits_that_do_not_fit_in_16_bits(
    op_type: str, attributes: dict, value: float, expected: float, dtype: Any
) -> None:
    if dtype is bfloat16 and not op_type.startswith("Reduce"):
        dtype = np.float16  # the operator has no bfloat16
    x = np.full((1, 3, 64, 64), value, dtype)
    if op_type == "LRN":
        x[:, [0, 2]] = 0
    y = compiled(op_type, [x], True, opset=13, **attributes).astype(np.float32)
    y = y[:, 1] if op_type == "LRN" else y
    np.testing.assert_allclose(y, expected, rtol=1e-2 if dtype is bfloat16 else 2e-3)


def test_normalisations_of_16_bits_with_a_large_spread() -> None:
    x = np.tile(np.array([512, -512], np.float16), 450).reshape(1, 1, 30, 30)
    assert np.array_equal(compiled("MeanVarianceNormalization", [x], opset=13), np.sign(x))
    one, zero = np.ones(1, np.float16), np.zeros(1, np.float16)
    variance = np.array([512.0**2 / 8], np.float32)
    assert np.array_equal(compiled("InstanceNormalization", [x, one, zero], opset=6), np.sign(x))
    y = compiled("BatchNormalization", [x, one, zero, zero.astype(np.float32), variance], opset=15)
    np.testing.assert_allclose(y, np.sign(x) * 8**0.5, rtol=1e-3)


def test_doubles_become_16_bits_in_one_rounding_folded_and_at_run_time() -> None:
    base = np.array([1 + 2.0**-8, 1 + 2.0**-11, 1 + 3 * 2.0**-8, 2.0**-25, 65520, 2.0**-133, 3.4e38, 1e-300, 1e300])
    x = np.concatenate([base * (1 + d) for d in (0, 2.0**-40, -(2.0**-40))])
    x = np.concatenate([x, -x, [0.0, -0.0, np.inf, -np.inf, np.nan]])
    for dtype, kind in ((np.float16, onnx.TensorProto.FLOAT16), (bfloat16, onnx.TensorProto.BFLOAT16)):
        digits, lowest = (11, -24) if dtype is np.float16 else (8, -133)
        exact = once(
            x, digits, lowest, float(np.finfo(np.float16).max) if dtype is np.float16 else 3.3895313892515355e38
        )
        for constants in ([], [0]):
            proto = model("Cast", [x], opset=13, to=kind, constants=constants)
            (y,) = mlc.compile(proto, denormals="keep").run(None, {} if constants else {"x0": x})
            assert np.array_equal(y.astype(np.float64), exact, equal_nan=True)
        (y,) = interpreter.run(mlc.load(model("Cast", [x], opset=13, to=kind)), [x])
        assert np.array_equal(y.astype(np.float64), exact, equal_nan=True)


def once(x: np.ndarray, digits: int, lowest: int, largest: float) -> np.ndarray:
    """x rounded to `digits` bits, ties to even, as multiples of 2^lowest at least."""
    with np.errstate(all="ignore"):
        _, exponent = np.frexp(x)
        unit = np.ldexp(1.0, np.maximum(exponent - digits, lowest))
        found = np.where(np.isfinite(x), np.rint(x / unit) * unit, x)
    return np.where(np.abs(found) > largest, np.copysign(np.inf, x), found)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_normalisations_of_doubles_compile_at_every_level(level: int) -> None:
    rng = np.random.default_rng(0)
    x, s, b = rng.standard_normal((3, 5)), rng.standard_normal(5), rng.standard_normal(5)
    y = compiled("LayerNormalization", [x, s, b], level=level, opset=17)
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + np.float32(1e-5)) * s + b
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    y = compiled("BatchNormalization", [x, s, b, b, s * s], level=level, opset=15)
    np.testing.assert_allclose(y, (x - b) / np.sqrt(s * s + np.float32(1e-5)) * s + b, rtol=1e-12, atol=1e-12)
