"""Quantised operators against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from tests.frontends.one_node import check, integers, interpreted, model, normal

ZERO_POINTS = {np.uint8: 100, np.int8: -7, np.uint16: 30000, np.int16: -300}


@pytest.mark.parametrize("dtype", ZERO_POINTS)
def test_quantize_rounds_half_to_even_and_saturates(dtype: type) -> None:
    x = np.concatenate([np.arange(-8, 8, 0.5), [1e6, -1e6]]).astype(np.float32)
    check("QuantizeLinear", [x, np.array(1, np.float32), np.array(ZERO_POINTS[dtype], dtype)], opset=21)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_quantize_and_dequantize_per_axis(axis: int) -> None:
    x = normal(3, 4, 5) * 50
    count = x.shape[axis]
    scale, zero = np.linspace(0.1, 2, count).astype(np.float32), integers(0, 200, count, dtype=np.uint8)
    check("QuantizeLinear", [x, scale, zero], opset=13, axis=axis)
    check("DequantizeLinear", [integers(0, 256, 3, 4, 5, dtype=np.uint8), scale, zero], opset=13, axis=axis)


@pytest.mark.parametrize("block", [2, 3])
def test_quantize_and_dequantize_in_blocks(block: int) -> None:
    x = normal(2, 6, 3) * 50
    shape = (2, 6 // block, 3)
    scale, zero = np.abs(normal(*shape, seed=1)) + 0.1, integers(-9, 9, *shape, dtype=np.int8)
    check("QuantizeLinear", [x, scale, zero], opset=21, axis=1, block_size=block)
    check(
        "DequantizeLinear",
        [integers(-128, 128, 2, 6, 3, dtype=np.int8), scale, zero],
        opset=21,
        axis=1,
        block_size=block,
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32])
def test_dequantize_without_a_zero_point(dtype: type) -> None:
    check("DequantizeLinear", [integers(0, 100, 3, 4, dtype=dtype), np.array(0.25, np.float32)], opset=13)


def test_dequantize_of_wide_integers_is_exact_before_the_scale() -> None:
    x, scale = np.array([2**31 - 1, -(2**31), 16777217], np.int32), np.array(1, np.float32)
    found = interpreted(model("DequantizeLinear", [x, scale], opset=13), [x, scale])[0]
    np.testing.assert_array_equal(found, x.astype(np.float32))


@pytest.mark.parametrize("x", [normal(3, 4) * 9, np.abs(normal(3, 4)), -np.abs(normal(5)), np.zeros(4, np.float32)])
def test_dynamic_quantization_covers_the_range_and_zero(x: np.ndarray) -> None:
    check("DynamicQuantizeLinear", [x], opset=11, outputs=3)


def scale(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def zero(value: int, dtype: type = np.uint8) -> np.ndarray:
    return np.array(value, dtype)


def test_qlinear_matmul() -> None:
    a, b = integers(0, 256, 2, 3, 5, dtype=np.uint8), integers(0, 256, 2, 5, 4, dtype=np.uint8)
    check("QLinearMatMul", [a, scale(0.02), zero(120), b, scale(0.03), zero(100), scale(0.5), zero(128)], opset=10)


@pytest.mark.parametrize("per_channel", [False, True])
def test_qlinear_conv(per_channel: bool) -> None:
    x, w = integers(0, 256, 1, 4, 6, 6, dtype=np.uint8), integers(-128, 128, 6, 2, 3, 3, dtype=np.int8)
    w_scale = np.linspace(0.01, 0.05, 6).astype(np.float32) if per_channel else scale(0.02)
    w_zero = np.zeros(6, np.int8) if per_channel else zero(0, np.int8)
    bias = integers(-1000, 1000, 6, dtype=np.int32)
    inputs = [x, scale(0.05), zero(128), w, w_scale, w_zero, scale(0.9), zero(120), bias]
    check("QLinearConv", inputs, opset=10, constants=[3, 4, 5], group=2, pads=[1, 1, 1, 1], atol=1)
