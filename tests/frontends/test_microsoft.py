"""Operators of domain com.microsoft against onnxruntime, whose they are; sizes fixed and symbolic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest

from mlc.errors import InvalidModel, ShapeError, UnsupportedOp
from mlc.frontends.onnx import load
from tests.frontends import one_node
from tests.frontends.one_node import Arrays, integers, normal

U8, I8, F32 = np.uint8, np.int8, np.float32


def check(op_type: str, inputs: Arrays, **given: Any) -> None:
    """The same values as onnxruntime's, with the shapes in the file and with a symbol for each axis of the first input."""
    given = {"opset": 17, "domain": "com.microsoft", **given}
    one_node.check(op_type, inputs, **given)


def f32(*values: float) -> np.ndarray:
    return np.array(values[0] if len(values) == 1 else values, F32)


def u8(value: int) -> np.ndarray:
    return np.array(value, U8)


def bytes_of(*shape: int, seed: int = 0, dtype: type = U8) -> np.ndarray:
    limits = np.iinfo(dtype)
    return integers(int(limits.min), int(limits.max) + 1, *shape, seed=seed, dtype=dtype)


# Quantised element-wise operators

X = [bytes_of(2, 3, 4, 5), f32(0.031), u8(121)]


@pytest.mark.parametrize("op_type", ["QLinearAdd", "QLinearMul"])
def test_sums_and_products_of_quantised_tensors_broadcast(op_type: str) -> None:
    lhs, rhs, y = X, [bytes_of(4, 1, seed=1), f32(0.017), u8(99)], [f32(0.053), u8(130)]
    check(op_type, [*lhs, *rhs, *y], atol=0, shapes={0: ["N", 3, "H", "W"]})


@pytest.mark.parametrize("dtype", [U8, I8])
def test_activations_of_quantised_tensors(dtype: type) -> None:
    x, zero = bytes_of(3, 7, dtype=dtype), np.array(5, dtype)
    shapes = {0: ["N", 7]}
    check("QLinearSigmoid", [x, f32(0.04), zero, f32(1 / 255), zero], shapes=shapes, constants=[1, 2, 3, 4], atol=0)
    check("QLinearLeakyRelu", [x, f32(0.04), zero, f32(0.04), zero], alpha=0.3, constants=[1, 2, 3, 4], atol=0)
    check("QLinearSigmoid", [x, f32(0.04), None, f32(1 / 255), None], constants=[1, 3], atol=0)


@pytest.mark.parametrize("opset, axis", [(13, -1), (13, 1), (12, 1), (12, 3)])
def test_softmax_of_a_quantised_tensor(opset: int, axis: int) -> None:
    scales = [f32(1 / 256), u8(0)]
    given = {"axis": axis, "opset": 17}
    proto = one_node.model("QLinearSoftmax", [*X, *scales], domain="com.microsoft", constants=[1, 2, 3, 4], **given)
    proto.graph.node[0].attribute.append(onnx.helper.make_attribute("opset", opset))
    inputs = [*X, *scales]
    one_node.assert_same(one_node.interpreted(proto, inputs), one_node.reference(proto, inputs), 0, 1)


@pytest.mark.parametrize("channels_last", [0, 1])
def test_pooling_of_quantised_tensors(channels_last: int) -> None:
    x = bytes_of(2, 6, 7, 3)
    x = x if channels_last else np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    scales = [f32(0.03), u8(120), f32(0.02), u8(128)]
    given = {"channels_last": channels_last, "constants": [1, 2, 3, 4], "atol": 1}
    check("QLinearGlobalAveragePool", [x, *scales], **given)
    window = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}
    check("QLinearAveragePool", [x, *scales], **given, **window)
    check("QLinearAveragePool", [x, *scales], count_include_pad=1, ceil_mode=1, **given, **window)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concatenation_of_quantised_tensors_brings_them_to_one_scale(axis: int) -> None:
    a, b = bytes_of(2, 3, 4), bytes_of(2, 3, 4, seed=1)
    operands = [f32(0.02), u8(100), a, f32(0.01), u8(90), b, f32(0.03), u8(128)]
    check("QLinearConcat", operands, axis=axis, constants=[0, 1, 3, 4, 6, 7], atol=0)


def test_choice_between_quantised_tensors() -> None:
    condition = integers(0, 2, 3, 1).astype(bool)
    operands = [bytes_of(3, 4), f32(0.02), u8(3), bytes_of(4, seed=1), f32(0.04), u8(9), f32(0.03), u8(7)]
    check("QLinearWhere", [condition, *operands], constants=[2, 3, 5, 6, 7, 8], atol=0)


def test_quantising_and_dequantising_by_the_early_operators() -> None:
    check("QuantizeLinear", [normal(3, 4), f32(0.02), u8(120)], atol=0)
    check("DequantizeLinear", [bytes_of(3, 4), f32(0.02), u8(120)])
    per_axis = [bytes_of(3, 4), np.linspace(0.1, 1, 4).astype(F32), bytes_of(4, seed=2)]
    check("DequantizeLinear", per_axis, axis=1)


def test_convolution_of_quantised_tensors_with_channels_last() -> None:
    x, w = bytes_of(1, 5, 6, 4), bytes_of(6, 2, 3, 3, dtype=I8)
    operands = [x, f32(0.05), u8(128), w, f32(0.02), np.array(0, I8), f32(0.9), u8(120)]
    operands.append(integers(-999, 999, 6, dtype=np.int32))
    check("QLinearConv", operands, group=2, pads=[1] * 4, channels_last=1, constants=[3, 4, 5], atol=1)


# Quantised products


@pytest.mark.parametrize("trans_a, trans_b", [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("quantised", [True, False])
def test_gemm_of_quantised_tensors(trans_a: int, trans_b: int, quantised: bool) -> None:
    a, b = bytes_of(*((5, 3) if trans_a else (3, 5))), bytes_of(*((4, 5) if trans_b else (5, 4)), dtype=I8)
    c = integers(-2000, 2000, 4, dtype=np.int32)
    y = [f32(0.7), u8(120)] if quantised else []
    per_column = [np.linspace(0.01, 0.02, 4).astype(F32), np.arange(4, dtype=I8)]
    for b_scales in ([f32(0.03), np.array(2, I8)], per_column):
        operands = [a, f32(0.02), u8(110), b, *b_scales, c, *y]
        given = {"transA": trans_a, "transB": trans_b, "constants": range(1, 6 + len(y) + 1)}
        check("QGemm", operands, alpha=0.5, atol=1 if quantised else 1e-5, **given)


@pytest.mark.parametrize("per_column", [True, False])
@pytest.mark.parametrize("dtype", [U8, I8])
def test_products_of_integers_with_a_floating_point_result(per_column: bool, dtype: type) -> None:
    a, b = normal(2, 3, 5), bytes_of(5, 4, dtype=dtype)
    scale = np.linspace(0.01, 0.02, 4).astype(F32) if per_column else f32(0.02)
    zero = np.arange(4).astype(dtype) if per_column else np.array(3, dtype)
    bias = normal(4, seed=3)
    constants = [1, 2, 3, 4]
    check("DynamicQuantizeMatMul", [a, b, scale, zero, bias], constants=constants, shapes={0: ["N", 3, 5]})
    check("DynamicQuantizeMatMul", [a, b, scale], constants=[1, 2])
    a = bytes_of(2, 3, 5, seed=4)
    check("MatMulIntegerToFloat", [a, b, f32(0.03), scale, u8(120), zero, bias], constants=range(1, 7))
    check("MatMulIntegerToFloat", [a, b, f32(0.03), scale, None, None, bias], constants=[1, 3])


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zero_points", ["none", "packed", "float"])
@pytest.mark.parametrize("k", [48, 40])
def test_products_with_weights_of_few_bits(bits: int, zero_points: str, k: int) -> None:
    n, block = 6, 16
    blocks = -(-k // block)
    weight = bytes_of(n, blocks, block * bits // 8)
    scales = np.abs(normal(n * blocks)) * 0.1
    zeros: np.ndarray | None = None
    if zero_points == "packed":
        zeros = bytes_of(n * -(-blocks * bits // 8), seed=1)
    elif zero_points == "float":
        if bits == 8:
            return
        zeros = normal(n * blocks, seed=1) + 7
    operands = [normal(2, 3, k), weight, scales, zeros, None, normal(n, seed=2)]
    given = {"K": k, "N": n, "bits": bits, "block_size": block}
    check("MatMulNBits", operands, constants=[1, 2, 3, 5], shapes={0: ["N", "S", k]}, atol=1e-4, **given)


@pytest.mark.parametrize("k", [48, 40])
@pytest.mark.parametrize("in_order", [True, False])
def test_blocks_of_few_bits_in_another_order(k: int, in_order: bool) -> None:
    n, block, blocks = 5, 16, 3
    order = (np.arange(k) // block if in_order else integers(0, blocks, k)).astype(np.int32)
    operands = [normal(2, 3, k), bytes_of(n, blocks, block // 2), np.abs(normal(n * blocks)) * 0.1, None, order]
    check(
        "MatMulNBits",
        operands,
        K=k,
        N=n,
        bits=4,
        block_size=block,
        constants=[1, 2, 4],
        shapes={0: ["N", "S", k]},
        atol=1e-4,
    )
    with pytest.raises(ShapeError, match="g_idx must name one of 3 blocks"):
        operands[4] = order + 1
        load(
            one_node.model(
                "MatMulNBits",
                operands,
                opset=17,
                domain="com.microsoft",
                K=k,
                N=n,
                bits=4,
                block_size=block,
                constants=[1, 2, 4],
            )
        )


# What the optimiser fuses


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("batch", [0, 1])
def test_fused_products_transpose_their_operands(trans_a: int, trans_b: int, batch: int) -> None:
    def stored(rows: int, columns: int, turned: int, seed: int) -> np.ndarray:
        shape = [columns, rows] if turned else [rows, columns]
        return normal(*([shape[0], 2, 7, shape[1]] if batch else [2, 7, *shape]), seed=seed)

    a, b = stored(3, 5, trans_a, 1), stored(5, 4, trans_b, 2)
    given = {"transA": trans_a, "transB": trans_b, "transBatchA": batch, "transBatchB": batch}
    check("FusedMatMul", [a, b], alpha=0.25, **given)


@pytest.mark.parametrize(
    "activation, parameters",
    [
        ("Relu", {}),
        ("LeakyRelu", {"activation_alpha": 0.2}),
        ("HardSigmoid", {"activation_alpha": 0.3, "activation_beta": 0.4}),
        ("Tanh", {}),
    ],
)
def test_fused_gemm_applies_its_activation(activation: str, parameters: dict[str, float]) -> None:
    check(
        "FusedGemm", [normal(3, 5), normal(4, 5), normal(4)], transB=1, alpha=0.5, activation=activation, **parameters
    )


@pytest.mark.parametrize(
    "activation, parameters",
    [
        ("Relu", None),
        ("LeakyRelu", [0.2]),
        ("Clip", [-0.3, 0.9]),
        ("HardSigmoid", [0.3, 0.4]),
        ("Sigmoid", None),
        (None, None),
    ],
)
@pytest.mark.parametrize("residual", [True, False])
def test_fused_convolution_adds_and_activates(
    activation: str | None, parameters: list[float] | None, residual: bool
) -> None:
    given: dict[str, Any] = {"pads": [1, 1, 1, 1]}
    if activation is not None:
        given["activation"] = activation
    if parameters is not None:
        given["activation_params"] = parameters
    z = normal(2, 4, 6, 5, seed=3) if residual else None
    check(
        "FusedConv", [normal(2, 3, 6, 5), normal(4, 3, 3, 3, seed=1), normal(4, seed=2), z], constants=[1, 2], **given
    )


def test_gelus_with_and_without_a_bias() -> None:
    x, bias = normal(2, 3, 8) * 3, normal(8, seed=1)
    check("BiasGelu", [x, bias], shapes={0: ["N", "S", 8]})
    check("FastGelu", [x, bias])
    check("FastGelu", [x])
    check("Gelu", [x])
    check("QuickGelu", [x])
    check("QuickGelu", [x], alpha=1.0)


def test_other_small_operators() -> None:
    check("CDist", [normal(3, 5), normal(4, 5, seed=1)], metric="sqeuclidean", atol=1e-4)
    check("CDist", [normal(3, 5), normal(4, 5, seed=1)], metric="euclidean", atol=1e-4)
    check("ExpandDims", [normal(3, 5), np.array(-1, np.int32)], constants=[1])


# Normalisations


@pytest.mark.parametrize("skip_shape", [(2, 3, 8), (1, 3, 8), (3, 8)])
@pytest.mark.parametrize("outputs", [["y0"], ["y0", "", "", "y3"]])
def test_skip_layer_normalization_adds_before_it_normalises(skip_shape: Sequence[int], outputs: list[str]) -> None:
    x, skip, scale, beta, bias = normal(2, 3, 8), normal(*skip_shape, seed=1), *(normal(8, seed=s) for s in (2, 3, 4))
    shapes = {0: ["N", 3, 8]} if skip_shape != (2, 3, 8) else None
    check("SkipLayerNormalization", [x, skip, scale, beta, bias], epsilon=1e-5, outputs=outputs, shapes=shapes)
    check("SkipLayerNormalization", [x, skip, scale], outputs=outputs)
    check("SkipSimplifiedLayerNormalization", [x, skip, scale, bias], epsilon=1e-5, outputs=outputs)
    check("SkipSimplifiedLayerNormalization", [x, skip, scale], outputs=outputs)


@pytest.mark.parametrize("axis", [-1, 1])
def test_normalisations_that_stand_in_the_standard_domain(axis: int) -> None:
    x = normal(2, 3, 8)
    scale, bias = normal(*x.shape[axis:], seed=1), normal(*x.shape[axis:], seed=2)
    one_node.check("SimplifiedLayerNormalization", [x, scale], opset=13, axis=axis, epsilon=1e-6)
    one_node.check("LayerNormalization", [x, scale, bias], opset=11, axis=axis)


@pytest.mark.parametrize("segments", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_embeddings_are_summed_and_normalised(segments: bool, masked: bool) -> None:
    ids, positions = integers(0, 11, 2, 5, dtype=np.int32), integers(0, 7, 2, 5, seed=1, dtype=np.int32)
    tables = normal(11, 8), normal(7, 8, seed=1)
    mask = integers(0, 2, 2, 5, seed=2, dtype=np.int32) if masked else None
    parts = [integers(0, 2, 2, 5, seed=3, dtype=np.int32), normal(2, 8, seed=2)] if segments else [None, None]
    for chosen in (None, positions):
        operands = [ids, parts[0], *tables, parts[1], normal(8, seed=4), normal(8, seed=5), mask, chosen]
        check("EmbedLayerNormalization", operands, outputs=2, constants=[2, 3, 4, 5, 6])


# Attention

BATCH, LENGTH, HEADS, SIZE = 2, 5, 3, 4
WIDTH = HEADS * SIZE


def masks() -> dict[str, np.ndarray | None]:
    raw = np.ones((BATCH, LENGTH), np.int32)
    raw[0, 3:] = 0
    return {
        "none": None,
        "lengths": np.array([3, 5], np.int32),
        "ends and starts": np.array([4, 5, 1, 0], np.int32),
        "raw": raw,
        "per query": integers(0, 2, BATCH, LENGTH, LENGTH, dtype=np.int32),
    }


@pytest.mark.parametrize("mask", masks())
@pytest.mark.parametrize("unidirectional", [0, 1])
def test_attention_with_every_form_of_mask(mask: str, unidirectional: int) -> None:
    operands = [normal(BATCH, LENGTH, 7), normal(7, 3 * WIDTH, seed=1), normal(3 * WIDTH, seed=2), masks()[mask]]
    given = {"num_heads": HEADS, "unidirectional": unidirectional, "constants": [1, 2]}
    check("Attention", operands, **given)
    if mask in ("none", "raw"):
        bias = normal(1, HEADS, LENGTH, LENGTH, seed=5)
        check("Attention", [*operands, None, bias], scale=0.3, **given)
    if unidirectional:
        check("Attention", operands, outputs=2, **given)


def test_attention_continues_from_a_past() -> None:
    past = normal(2, BATCH, HEADS, 3, SIZE, seed=4)
    raw = np.ones((BATCH, 3 + LENGTH), np.int32)
    raw[1, 6:] = 0
    operands = [normal(BATCH, LENGTH, 7), normal(7, 3 * WIDTH, seed=1), normal(3 * WIDTH, seed=2)]
    for mask in (None, raw):
        given = {"num_heads": HEADS, "unidirectional": 1, "outputs": 2, "constants": [1, 2]}
        check("Attention", [*operands, mask, past], **given)


def test_attention_with_values_of_another_width() -> None:
    columns = [WIDTH, WIDTH, 2 * WIDTH]
    operands = [normal(BATCH, LENGTH, 7), normal(7, sum(columns), seed=1), normal(sum(columns), seed=2)]
    check("Attention", operands, num_heads=HEADS, qkv_hidden_sizes=columns, constants=[1, 2])


@pytest.mark.parametrize("mask", ["none", "lengths", "raw"])
@pytest.mark.parametrize("dtype", [U8, I8])
@pytest.mark.parametrize("unidirectional", [0, 1])
def test_attention_of_quantised_tensors(mask: str, dtype: type, unidirectional: int) -> None:
    x, w = bytes_of(BATCH, LENGTH, 7), bytes_of(7, 3 * WIDTH, seed=1, dtype=dtype)
    operands = [x, w, normal(3 * WIDTH, seed=2), f32(0.02), f32(0.01), masks()[mask], u8(120), np.array(3, dtype)]
    given = {"num_heads": HEADS, "unidirectional": unidirectional, "constants": [1, 2, 3, 4, 6, 7], "atol": 1e-4}
    check("QAttention", operands, **given)
    if mask != "lengths":
        past = normal(2, BATCH, HEADS, 3, SIZE, seed=4)
        operands[5] = None if mask == "none" else np.pad(masks()["raw"], [(0, 0), (3, 0)], constant_values=1)  # type: ignore[arg-type]
        check("QAttention", [*operands, past], outputs=2, **given)


@pytest.mark.parametrize("mask", ["none", "lengths", "raw"])
@pytest.mark.parametrize("biased", [True, False])
def test_multi_head_attention_of_flat_operands(mask: str, biased: bool) -> None:
    q, k, v = (normal(BATCH, LENGTH, WIDTH, seed=s) for s in range(3))
    bias = normal(3 * WIDTH, seed=3) if biased else None
    symbolic = {0: ["N", "S", WIDTH], 1: ["N", "T", WIDTH], 2: ["N", "T", WIDTH], 4: {"lengths": ["N"]}.get(mask)}
    symbolic = {i: shape for i, shape in symbolic.items() if shape}
    given = {"num_heads": HEADS, "shapes": symbolic if mask != "raw" else None}
    check("MultiHeadAttention", [q, k, v, bias, masks()[mask]], **given)
    scores = normal(BATCH, 1, LENGTH, LENGTH, seed=4)
    check("MultiHeadAttention", [q, k, v, bias, masks()[mask], scores], num_heads=HEADS, unidirectional=1, scale=0.4)


def test_multi_head_attention_of_heads_and_with_a_past() -> None:
    q = normal(BATCH, LENGTH, WIDTH)
    k, v = (normal(BATCH, HEADS, 6, SIZE, seed=s) for s in (1, 2))
    check("MultiHeadAttention", [q, k, v], num_heads=HEADS)
    k, v = (normal(BATCH, LENGTH, WIDTH, seed=s) for s in (1, 2))
    past = [normal(BATCH, HEADS, 3, SIZE, seed=s) for s in (3, 4)]
    check("MultiHeadAttention", [q, k, v, None, None, None, *past], num_heads=HEADS, outputs=3)


@pytest.mark.parametrize("together", [3, 2])
def test_multi_head_attention_of_packed_operands_is_that_of_flat_ones(together: int) -> None:
    """onnxruntime's CPU kernels take flat operands only."""
    flat = [normal(BATCH, LENGTH, WIDTH, seed=s) for s in range(3)]
    shape = (BATCH, LENGTH, HEADS, SIZE)
    packed = np.stack([x.reshape(shape) for x in flat[3 - together :]], axis=3)
    operands = [*flat[: 3 - together], packed]
    given = {"opset": 17, "domain": "com.microsoft", "num_heads": HEADS}
    found = one_node.interpreted(one_node.model("MultiHeadAttention", operands, **given), operands)
    expected = one_node.reference(one_node.model("MultiHeadAttention", flat, **given), flat)
    one_node.assert_same(found, expected, 1e-5, 1e-5)


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embedding_by_positions_or_an_offset(interleaved: int) -> None:
    caches = [normal(9, SIZE // 2, seed=1), normal(9, SIZE // 2, seed=2)]
    positions = integers(0, 9, BATCH, LENGTH)
    given = {"interleaved": interleaved, "constants": [2, 3]}
    check("RotaryEmbedding", [normal(BATCH, LENGTH, WIDTH), positions, *caches], shapes={0: ["N", "S", WIDTH]}, **given)
    check("RotaryEmbedding", [normal(BATCH, HEADS, LENGTH, SIZE), positions, *caches], **given)
    check("RotaryEmbedding", [normal(BATCH, LENGTH, WIDTH), np.array([3], np.int64), *caches], **given)
    part = [cache[:, :1].copy() for cache in caches]
    turned = {"num_heads": HEADS, "rotary_embedding_dim": 2}
    check("RotaryEmbedding", [normal(BATCH, LENGTH, WIDTH), positions, *part], **given, **turned)


GROUPED = 16


def grouped(sequence: int, past: int, packed: bool) -> list[np.ndarray | None]:
    kv = 1
    q = normal(BATCH, sequence, (HEADS + 2 * kv if packed else HEADS) * GROUPED)
    k, v = (None, None) if packed else (normal(BATCH, sequence, kv * GROUPED, seed=s) for s in (1, 2))
    caches = [normal(BATCH, kv, past, GROUPED, seed=s) for s in (3, 4)]
    total = past + sequence
    lengths = np.full(BATCH, total - 1, np.int32)
    return [q, k, v, *caches, lengths, np.array(total, np.int32)]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("sequence, past", [(5, 0), (1, 4)])
@pytest.mark.parametrize(
    "given", [{}, {"local_window_size": 3}, {"softcap": 2.0}, {"smooth_softmax": 1}, {"scale": 0.2}]
)
def test_grouped_query_attention(packed: bool, sequence: int, past: int, given: dict[str, Any]) -> None:
    heads = {"num_heads": HEADS, "kv_num_heads": 1}
    check("GroupQueryAttention", grouped(sequence, past, packed), outputs=3, constants=[6], **heads, **given)


@pytest.mark.parametrize("sequence, past", [(5, 0), (1, 4)])
@pytest.mark.parametrize("interleaved", [0, 1])
def test_grouped_query_attention_rotates(sequence: int, past: int, interleaved: int) -> None:
    caches = [normal(16, GROUPED // 2, seed=7), normal(16, GROUPED // 2, seed=8)]
    heads = {"num_heads": HEADS, "kv_num_heads": 1, "do_rotary": 1, "rotary_interleaved": interleaved}
    check("GroupQueryAttention", [*grouped(sequence, past, False), *caches], outputs=3, constants=[6], **heads)


# Recurrence


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("dtype", [U8, I8])
@pytest.mark.parametrize("per_column", [True, False])
def test_a_dynamically_quantised_lstm(direction: str, dtype: type, per_column: bool) -> None:
    count, width, hidden, steps, batch = 2 if direction == "bidirectional" else 1, 6, 4, 5, 2
    w, r = bytes_of(count, width, 4 * hidden, dtype=dtype), bytes_of(count, hidden, 4 * hidden, seed=1, dtype=dtype)
    shape = (count, 4 * hidden) if per_column else (count,)
    scales = [np.linspace(0.005, 0.01, int(np.prod(shape))).reshape(shape).astype(F32) for _ in range(2)]
    zeros = [np.full(shape, 0 if dtype is I8 else 120, dtype)] * 2
    bias = normal(count, 8 * hidden, seed=2)
    quantised = [scales[0], zeros[0], scales[1], zeros[1]]
    given = {"hidden_size": hidden, "direction": direction, "outputs": 3, "constants": [1, 2, 3, 8, 9, 10, 11]}
    x = normal(steps, batch, width)
    check("DynamicQuantizeLSTM", [x, w, r, bias, *[None] * 4, *quantised], shapes={0: ["S", "N", width]}, **given)
    states = [normal(count, batch, hidden, seed=s) for s in (3, 4)]
    check("DynamicQuantizeLSTM", [x, w, r, bias, None, *states, None, *quantised], **given)
    x, states = x[:, :1], [state[:, :1] for state in states]
    check("DynamicQuantizeLSTM", [x, w, r, None, np.array([3], np.int32), *states, None, *quantised], **given)


# What is wrong in a file


def test_the_import_of_the_domain_may_be_left_out() -> None:
    proto = one_node.model("BiasGelu", [normal(2, 3), normal(3)], opset=17, domain="com.microsoft")
    del proto.opset_import[1]
    assert load(proto).main is not None


def test_a_missing_operand_and_one_too_many_are_named() -> None:
    with pytest.raises(InvalidModel, match=r"input 1 \(b\) is missing"):
        load(one_node.model("FusedMatMul", [normal(2, 3)], opset=17, domain="com.microsoft"))
    with pytest.raises(InvalidModel, match="2 inputs, the operator takes at most 1"):
        load(one_node.model("Gelu", [normal(2, 3), normal(3)], opset=17, domain="com.microsoft"))


def test_an_operator_without_a_handler_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedOp, match="com.microsoft.Unheard"):
        load(one_node.model("Unheard", [normal(2, 3)], opset=17, domain="com.microsoft"))
