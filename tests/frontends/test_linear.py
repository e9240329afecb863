"""Matrix products and convolutions against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.errors import ShapeError
from mlc.frontends.onnx import load
from tests.frontends.one_node import (
    assert_same,
    check,
    compiled,
    integers,
    interpreted,
    model,
    normal,
    reference,
    run,
)

EXTENT = st.sampled_from([1, 2, 3, 5, 7])


@pytest.mark.parametrize(
    "a, b",
    [
        ((3,), (3,)),
        ((3,), (3, 4)),
        ((2, 3), (3,)),
        ((5, 1, 2, 3), (4, 3, 7)),
        ((2, 0), (0, 3)),
        ((0, 3), (3, 2)),
        ((1, 2, 3), (6, 3, 2)),
    ],
)
def test_matmul_follows_numpy(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, y = normal(*a), normal(*b)
    np.testing.assert_allclose(
        interpreted(model("MatMul", [x, y], opset=13), [x, y])[0],
        x.astype(np.float64) @ y.astype(np.float64),
        rtol=1e-5,
        atol=1e-5,
    )


@settings(max_examples=15, deadline=None)
@given(
    m=EXTENT, n=EXTENT, k=EXTENT, ta=st.booleans(), tb=st.booleans(), bias=st.sampled_from(["", "n", "1", "m1", "mn"])
)
def test_gemm_transposes_scales_and_broadcasts(m: int, n: int, k: int, ta: bool, tb: bool, bias: str) -> None:
    a, b = normal(*((k, m) if ta else (m, k))), normal(*((n, k) if tb else (k, n)))
    shape = {"": None, "n": (n,), "1": (1,), "m1": (m, 1), "mn": (m, n)}[bias]
    c = None if shape is None else normal(*shape, seed=1)
    check("Gemm", [a, b, c], opset=13, transA=int(ta), transB=int(tb), alpha=0.5, beta=2.0)


@pytest.mark.parametrize(
    "equation, shapes",
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("bij,bjk", [(2, 3, 4), (2, 4, 5)]),
        ("...ij,...jk->...ik", [(5, 2, 3), (3, 4)]),
        ("ii->i", [(3, 3)]),
        ("ij->", [(3, 4)]),
        ("i,j,k->kij", [(2,), (3,), (4,)]),
        ("bhid,bhjd->bhij", [(1, 2, 3, 4), (1, 2, 5, 4)]),
    ],
)
def test_einsum_follows_numpy(equation: str, shapes: list[tuple[int, ...]]) -> None:
    xs = [normal(*s, seed=i) for i, s in enumerate(shapes)]
    found = interpreted(model("Einsum", xs, opset=12, equation=equation), xs)[0]
    expected = np.einsum(equation, *(x.astype(np.float64) for x in xs))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    spatial=st.integers(1, 3),
    groups=st.sampled_from([1, 2, 3]),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    kernel=st.integers(1, 3),
    pads=st.lists(st.integers(0, 2), min_size=6, max_size=6),
    auto_pad=st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]),
)
def test_conv(
    spatial: int, groups: int, stride: int, dilation: int, kernel: int, pads: list[int], auto_pad: str
) -> None:
    x = normal(2, 2 * groups, *[6, 7, 5][:spatial])
    w, b = normal(groups * 3, 2, *[kernel, 2, 1][:spatial], seed=1), normal(groups * 3, seed=2)
    if auto_pad != "NOTSET" and dilation > 1:
        dilation = 1  # onnxruntime ignores dilations when it computes SAME padding
    padding = {"pads": pads[: 2 * spatial]} if auto_pad == "NOTSET" else {"auto_pad": auto_pad}
    check(
        "Conv", [x, w, b], opset=11, group=groups, strides=[stride] * spatial, dilations=[dilation] * spatial, **padding
    )


def test_conv_crops_with_negative_pads() -> None:
    x, w = normal(1, 2, 6, 6), normal(3, 2, 2, 2, seed=1)
    found = interpreted(model("Conv", [x, w], opset=11, pads=[-1, 0, 0, -2]), [x, w])
    cropped = np.ascontiguousarray(x[:, :, 1:, :-2])
    expected = reference(model("Conv", [cropped, w], opset=11), [cropped, w])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("height, width", [(4, 4), (7, 9), (1, 2), (32, 33)])
def test_same_padding_is_one_formula_for_every_size(height: int, width: int) -> None:
    x, w = normal(2, 3, height, width), normal(4, 3, 3, 2, seed=1)
    symbolic = model(
        "Conv", [x, w], opset=11, constants=[1], shapes={0: ("N", 3, "H", "W")}, auto_pad="SAME_UPPER", strides=[2, 3]
    )
    np.testing.assert_allclose(run(load(symbolic), [x])[0], reference(symbolic, [x])[0], rtol=1e-5, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    spatial=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    kernel=st.integers(1, 3),
    pads=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    extra=st.integers(0, 1),
)
def test_conv_transpose(
    spatial: int, groups: int, stride: int, dilation: int, kernel: int, pads: list[int], extra: int
) -> None:
    x = normal(2, 2 * groups, *[5, 6][:spatial])
    w, b = normal(2 * groups, 3, *[kernel, 3][:spatial], seed=1), normal(3 * groups, seed=2)
    extra = extra if extra < stride else 0  # onnxruntime refuses more
    check(
        "ConvTranspose",
        [x, w, b],
        opset=11,
        group=groups,
        strides=[stride] * spatial,
        dilations=[dilation] * spatial,
        pads=pads[: 2 * spatial],
        output_padding=[extra] * spatial,
    )


@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
def test_conv_transpose_to_an_output_shape(auto_pad: str) -> None:
    x, w = normal(1, 1, 3, 3), normal(1, 2, 3, 3, seed=1)
    check("ConvTranspose", [x, w], opset=11, strides=[3, 2], output_shape=[8, 6], auto_pad=auto_pad)


@pytest.mark.parametrize("per", ["tensor", "axis", "none"])
def test_matmul_integer(per: str) -> None:
    a, b = integers(0, 255, 2, 3, 5, dtype=np.uint8), integers(-128, 127, 5, 4, dtype=np.int8)
    zeros = {
        "tensor": [np.uint8(12), np.int8(-3)],
        "axis": [np.uint8(7), integers(-9, 9, 4, dtype=np.int8)],
        "none": [None, None],
    }[per]
    check("MatMulInteger", [a, b, *(None if z is None else np.asarray(z) for z in zeros)], opset=10)


def test_conv_integer_pads_with_the_zero_point() -> None:
    x, w = integers(0, 255, 1, 2, 5, 5, dtype=np.uint8), integers(0, 255, 3, 2, 3, 3, dtype=np.uint8)
    check("ConvInteger", [x, w, np.array(9, np.uint8), np.array(100, np.uint8)], opset=10, pads=[1, 1, 1, 1])


def test_a_wrong_inner_extent_names_both() -> None:
    x, y = normal(2, 8), normal(7, 4)
    with pytest.raises(ShapeError, match="8.*7"):
        load(model("MatMul", [x, y], opset=13))


def test_conv_refuses_a_weight_of_another_rank() -> None:
    x, w = normal(1, 2, 5, 5), normal(3, 2, 3)
    with pytest.raises(ShapeError, match="2 spatial axes, W has 1"):
        load(model("Conv", [x, w], opset=11))


def matrices(shape: tuple[int, ...], dtype: type, singular: bool) -> np.ndarray:
    x = normal(*shape, dtype=dtype)
    if singular and shape[-1] > 1:
        x[..., 0] = x[..., -1]
    return x


@settings(max_examples=15, deadline=None)
@given(
    batch=st.lists(st.integers(0, 3), max_size=2),
    size=st.integers(0, 8),
    dtype=st.sampled_from([np.float32, np.float64]),
    singular=st.booleans(),
    symbolic=st.booleans(),
)
def test_determinants_of_every_size(batch: list[int], size: int, dtype: type, singular: bool, symbolic: bool) -> None:
    x = matrices((*batch, size, size), dtype, singular)
    shapes = {0: [*(f"B{i}" for i in range(len(batch))), "M", "M"]} if symbolic else None
    proto = model("Det", [x], opset=22, shapes=shapes)
    expected = np.linalg.det(x.astype(np.float64)).astype(dtype)
    rtol, atol = (2e-4, 1e-5) if dtype is np.float32 else (1e-9, 1e-12)
    for found in (interpreted(proto, [x]), compiled(proto, [x])):
        assert_same(found, [expected], rtol, atol)


def test_determinants_exchange_rows_and_take_halves() -> None:
    x = np.array([[[0, 2, 1], [3, 0, 0], [0, 0, 5]], [[0, 0, 1], [0, 1, 0], [1, 0, 0]]], np.float16)
    assert_same(interpreted(model("Det", [x], opset=11), [x]), [np.array([-30, -1], np.float16)], 0, 0)
    check("Det", [normal(2, 3, 5, 5)], opset=11)
    with pytest.raises(ShapeError, match=r"the matrices are not square: X has shape \[2, 3\]"):
        load(model("Det", [normal(2, 3)], opset=11))
    with pytest.raises(ShapeError, match="axis 1 is 3, but M is 2"):
        compiled(model("Det", [normal(2, 3)], opset=11, shapes={0: ["M", "N"]}), [normal(2, 3)])
