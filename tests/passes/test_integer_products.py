"""Integer products against NumPy: exact where the model computes in integers, within a step of quantisation where it computes in floats."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
from mlc.ir import builder as g
from mlc.ir.graph.linear import ContractOp
from mlc.ir.interpreter import run
from mlc.ir.module import Module
from mlc.passes.graph.integer_products import LONGEST, IntegerProducts
from mlc.passes.pipelines import graph_passes

DTYPES = st.sampled_from(["i8", "u8"])
SIZES = st.sampled_from([0, 1, 2, 3, 5, 8, 17])


def bytes_of(seed, dtype, *shape):
    info = np.iinfo(np.int8 if dtype == "i8" else np.uint8)
    return np.random.default_rng(seed).integers(info.min, info.max + 1, shape).astype(info.dtype)


def widened(x, zero, shape, axes=()):
    """i32(x) - zero, as the ONNX operators compute it."""
    return g.sub(g.cast(x, "i32"), g.broadcast(g.constant(np.asarray(zero, np.int32)), shape, list(axes)))


def compiled(module: Module, *inputs, opt_level=2, **options):
    found = mlc.compile(module, opt_level=opt_level, **options)(*inputs)
    return found if isinstance(found, np.ndarray) else found[0]


def products_of(module: Module) -> list[ContractOp]:
    return [op for op in module.op.walk() if isinstance(op, ContractOp)]


def product(a, b, a_zero, b_zero, constant="b", turned=False) -> Module:
    """(a - a_zero) (b - b_zero), b_zero per column, one of the operands known."""
    m = g.module_builder("product")
    given = {"a": a, "b": b}
    inputs = [(name, v.shape, "i8" if v.dtype == np.int8 else "u8") for name, v in given.items() if name != constant]
    with m.function(inputs=inputs) as arguments:
        values = dict(zip([name for name, *_ in inputs], arguments, strict=True))
        x, y = (values[name] if name in values else g.constant(v, name) for name, v in given.items())
        lhs, rhs = widened(x, a_zero, a.shape), widened(y, b_zero, b.shape, [1] if np.ndim(b_zero) else [])
        spec = "mk,kn->nm" if turned else "mk,kn->mn"
        m.outputs([("y", g.contract(lhs, rhs, spec))])
    return m.finish()


@settings(max_examples=10, deadline=None)
@given(
    m=SIZES,
    n=SIZES,
    k=SIZES,
    left=DTYPES,
    right=DTYPES,
    constant=st.sampled_from(["a", "b", ""]),
    turned=st.booleans(),
    seed=st.integers(0, 99),
)
def test_contractions_of_all_signs_and_zero_points_are_exact(m, n, k, left, right, constant, turned, seed):
    a, b = bytes_of(seed, left, m, k), bytes_of(seed + 1, right, k, n)
    a_zero, b_zero = int(seed % 7 - 3), np.random.default_rng(seed).integers(-128, 256, n) if seed % 2 else 128
    exact = (a.astype(np.int64) - a_zero) @ (b.astype(np.int64) - b_zero)
    module = product(a, b, a_zero, b_zero, constant, turned)
    inputs = [v for name, v in (("a", a), ("b", b)) if name != constant]
    found = compiled(module, *inputs)
    np.testing.assert_array_equal(found, (exact.T if turned else exact).astype(np.int32))


def test_an_axis_of_one_element_that_is_summed_is_no_obstacle():
    a, b = bytes_of(1, "u8", 3, 1, 8), bytes_of(2, "i8", 8, 5)
    m = g.module_builder("product")
    with m.function(inputs=[("a", a.shape, "u8")]) as (x,):
        y = g.contract(widened(x, 3, a.shape), g.cast(g.constant(b, "b"), "i32"), "mak,kn->mn")
        m.outputs([("y", y)])
    module = m.finish()
    np.testing.assert_array_equal(compiled(module, a), (a[:, 0].astype(np.int64) - 3) @ b)
    assert is_integer(module)


def convolution(x, w, x_zero, w_zero, groups, stride, padding, dilation) -> Module:
    m = g.module_builder("convolution")
    with m.function(inputs=[("x", x.shape, "i8" if x.dtype == np.int8 else "u8")]) as (v,):
        rhs = widened(g.constant(w, "w"), w_zero, w.shape, [0] if np.ndim(w_zero) else [])
        lhs = widened(v, x_zero, x.shape)
        pads = [(padding, padding)] * 2
        y = g.convolution(lhs, rhs, strides=[stride] * 2, padding=pads, dilations=[dilation] * 2, groups=groups)
        m.outputs([("y", y)])
    return m.finish()


@settings(max_examples=10, deadline=None)
@given(
    channels=st.sampled_from([(3, 5, 1), (4, 16, 1), (8, 8, 2), (6, 6, 6), (1, 17, 1)]), kernel=st.sampled_from([1, 2, 3]), stride=st.sampled_from([1, 2]),
    padding=st.sampled_from([0, 1]), dilation=st.sampled_from([1, 2]), left=DTYPES, right=DTYPES, seed=st.integers(0, 99),
)  # fmt: skip
def test_convolutions_of_all_signs_and_zero_points_are_exact(
    channels, kernel, stride, padding, dilation, left, right, seed
):
    inputs, outputs, groups = channels
    x, w = bytes_of(seed, left, 2, inputs, 7, 6), bytes_of(seed, right, outputs, inputs // groups, kernel, kernel)
    x_zero, w_zero = 5, np.random.default_rng(seed).integers(-9, 140, outputs) if seed % 2 else 128
    module = convolution(x, w, x_zero, w_zero, groups, stride, padding, dilation)
    with np.errstate(all="ignore"):
        (exact,) = run(convolution(x, w, x_zero, w_zero, groups, stride, padding, dilation), [x])
    np.testing.assert_array_equal(compiled(module, x), exact)


def dequantised(k: int, scale_axis: int = 1, zero: int = 117) -> Module:
    """A product of dequantised u8 and i8 with a scale per column (or, axis 0, per element that is summed), a bias and relu, quantised to u8."""
    draw = np.random.default_rng(k)
    m = g.module_builder("qdq")
    with m.function(inputs=[("x", (9, k), "u8")]) as (x,):
        w = g.cast(g.constant(draw.integers(-128, 128, (k, 21)).astype(np.int8), "w"), "f32")
        scale = (draw.random(21 if scale_axis else k) * 0.01 + 0.001).astype(np.float32)
        real = g.mul(g.cast(widened(x, zero, (9, k)), "f32"), g.full((9, k), 0.02, "f32"))
        weight = g.mul(w, g.broadcast(g.constant(scale), (k, 21), [scale_axis]))
        y = g.relu(g.add(g.matmul(real, weight), g.full((9, 21), 0.3, "f32")))
        whole = g.add(g.round(g.div(y, g.full((9, 21), 0.05, "f32"))), g.full((9, 21), 3, "f32"))
        m.outputs([("y", g.cast(g.minimum(whole, g.full((9, 21), 255, "f32")), "u8")), ("real", y)])
    return m.finish()


@pytest.mark.parametrize("k", [1, 7, 64, 301])
def test_dequantised_products_are_nearer_to_real_numbers_than_floats(k):
    x = bytes_of(1, "u8", 9, k)
    draw = np.random.default_rng(k)
    w, scale = draw.integers(-128, 128, (k, 21)).astype(np.float64), (draw.random(21) * 0.01 + 0.001).astype(np.float32)
    exact = np.maximum((x.astype(np.float64) - 117) * np.float32(0.02) @ (w * scale) + np.float32(0.3), 0)
    steps = exact / np.float32(0.05)
    found = mlc.compile(dequantised(k))(x)
    y, real = (np.asarray(v) for v in found)
    np.testing.assert_allclose(real, exact, rtol=3e-6, atol=1e-6)
    expected = np.minimum(np.rint(steps) + 3, 255)
    tie = np.abs(steps - np.floor(steps) - 0.5) < 1e-4 * np.maximum(1, np.abs(steps))
    assert (y[~tie] == expected[~tie]).all()
    assert (np.abs(y[tie] - expected[tie]) <= 1).all()


def is_integer(module: Module, **options) -> bool:
    for step in graph_passes(2):
        (IntegerProducts(**options) if isinstance(step, IntegerProducts) else step).run(module)
    (op,) = products_of(module)
    return op.of_bytes


def test_floats_stay_where_scales_change_along_a_sum_and_where_sums_are_too_long():
    assert is_integer(dequantised(8))
    assert not is_integer(dequantised(8, scale_axis=0))
    assert not is_integer(dequantised(8), dequantised=False)
    assert not is_integer(dequantised(LONGEST + 1))
    assert not is_integer(dequantised(8, zero=10**6))
