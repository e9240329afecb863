"""One comparison at least for every handler of onnxruntime's own operators and of classical machine learning, interpreted and in native
code: with onnxruntime, or, where it has no kernel for the CPU, with the operator's formula in NumPy.

The table must name each version of each operator that is registered; the other test files go deeper.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest

from mlc.frontends.onnx import table
from mlc.frontends.onnx.ops.ml import ML
from mlc.frontends.onnx.table import MICROSOFT, Key
from tests.frontends.one_node import Arrays, assert_same, compiled, integers, interpreted, model, normal, reference
from tests.frontends.test_ml import trees

U8, F32 = np.uint8, np.float32
Formula = Callable[..., Sequence[np.ndarray]]


@dataclass(frozen=True)
class Comparison:
    """Inputs and attributes of one node; `formula` gives its outputs where onnxruntime cannot."""

    inputs: Arrays
    attributes: dict[str, Any] = field(default_factory=dict)
    constants: Sequence[int] = ()
    shapes: dict[int, Sequence[int | str]] | None = None
    outputs: int = 1
    atol: float = 2e-5  # 1 for quantised results: ties may be rounded either way
    formula: Formula | None = None


def one(value: float) -> np.ndarray:
    return np.array(value, F32)


def zero(value: int) -> np.ndarray:
    return np.array(value, U8)


def u8(*shape: int, seed: int = 0) -> np.ndarray:
    return integers(0, 256, *shape, seed=seed, dtype=U8)


def numbers(count: int, seed: int = 0) -> list[float]:
    return normal(count, seed=seed).tolist()


def softmax(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    e = np.exp(x - x.max(axes, keepdims=True))
    return e / e.sum(axes, keepdims=True)


def bias_softmax(x: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
    return [softmax(x.astype(np.float64) + bias, (2, 3)).astype(F32)]


def mean_of_quantised(x: np.ndarray, scale: Any, offset: Any, y_scale: Any, y_offset: Any) -> list[np.ndarray]:
    mean = ((x.astype(np.float64) - offset) * scale).mean(1, keepdims=True)
    return [np.clip(np.rint(mean / y_scale) + y_offset, 0, 255).astype(U8)]


def product_of_integers(a: np.ndarray, a_zero: Any, b: np.ndarray, b_zero: Any) -> list[np.ndarray]:
    return [(a.astype(np.int32) - int(a_zero)) * (b.astype(np.int32) - int(b_zero))]


def few_bits(
    x: np.ndarray, b: np.ndarray, scales: np.ndarray, zeros: np.ndarray, index: np.ndarray
) -> list[np.ndarray]:
    """Four bits in blocks of 16, whose order `index` gives. onnxruntime leaves packed zero points out where it is given."""
    n, blocks, _ = b.shape
    values, packed = (np.stack([v & 15, v >> 4], -1).reshape(n, -1) for v in (b, zeros.reshape(n, -1)))
    k = x.shape[-1]
    weight = (values[:, :k].astype(np.float64) - packed[:, :blocks][:, index]) * scales.reshape(n, blocks)[:, index]
    return [(x.astype(np.float64) @ weight.T).astype(F32)]


QUANTISED = [u8(2, 3, 4, 5), one(0.031), zero(121)]
Y = [one(0.05), zero(128)]
CONSTANT_SCALES = (1, 2, 3, 4)
HEADS = {"num_heads": 2}
FLAT = [normal(2, 3, 8, seed=s) for s in range(3)]
SCALE, SHIFT = normal(8, seed=7), normal(8, seed=8)
IMAGE = [normal(1, 3, 5, 6), normal(4, 3, 3, 3, seed=1), normal(4, seed=2)]
ROWS = {0: ["N", 4]}
X = normal(5, 4)
VECTORS = {"support_vectors": numbers(20), "kernel_type": "RBF", "kernel_params": [0.3, 0.1, 3.0], "n_supports": 5}
CLASSES = {"classlabels_ints": [4, 0, 7]}

MICROSOFTS = {
    "Attention": Comparison([normal(2, 3, 5), normal(5, 24, seed=1), normal(24, seed=2)], HEADS, (1, 2), {0: ["N", "S", 5]}),
    "BiasGelu": Comparison([FLAT[0], SHIFT], shapes={0: ["N", "S", 8]}),
    "BiasSoftmax": Comparison(
        [normal(2, 3, 4, 5), normal(2, 1, 4, 5, seed=1)], {"axis": 2, "is_inner_broadcast": 1},
        shapes={0: ["N", 3, 4, 5], 1: ["N", 1, 4, 5]}, formula=bias_softmax,
    ),
    "CDist": Comparison([normal(3, 5), normal(4, 5, seed=1)], {"metric": "euclidean"}, shapes={0: ["N", 5], 1: ["M", 5]}, atol=1e-4),
    "DequantizeLinear": Comparison(QUANTISED),
    "DynamicQuantizeLSTM": Comparison(
        [normal(4, 2, 5), u8(1, 5, 12), u8(1, 3, 12, seed=1), normal(1, 24), None, None, None, None]
        + [np.full(1, 0.01, F32), np.full(1, 120, U8)] * 2,
        {"hidden_size": 3}, (1, 2, 3, 8, 9, 10, 11), {0: ["S", "N", 5]}, 3,
    ),
    "DynamicQuantizeMatMul": Comparison([normal(3, 5), u8(5, 4), one(0.02), zero(3), normal(4)], {}, (1, 2, 3, 4), {0: ["N", 5]}),
    "EmbedLayerNormalization": Comparison(
        [integers(0, 9, 2, 3, dtype=np.int32), None, normal(9, 8), normal(7, 8, seed=1), None, SCALE, SHIFT], {}, (2, 3, 5, 6),
        {0: ["N", 3]}, outputs=2,
    ),
    "ExpandDims": Comparison([normal(3, 5), np.array(1, np.int32)], {}, (1,), {0: ["N", 5]}),
    "FastGelu": Comparison([FLAT[0], SHIFT], shapes={0: ["N", "S", 8]}),
    "FusedConv": Comparison(IMAGE, {"activation": "Relu", "pads": [1] * 4}, (1, 2), {0: ["N", 3, "H", "W"]}),
    "FusedGemm": Comparison([normal(3, 5), normal(5, 4), normal(4)], {"activation": "Tanh"}, (1, 2), {0: ["N", 5]}),
    "FusedMatMul": Comparison([normal(2, 5, 3), normal(5, 4)], {"transA": 1, "alpha": 0.5}, shapes={0: ["N", 5, "M"]}),
    "Gelu": Comparison([FLAT[0]], shapes={0: ["N", "S", 8]}),
    "GroupQueryAttention": Comparison(
        [normal(2, 3, 32), normal(2, 3, 16, seed=1), normal(2, 3, 16, seed=2), normal(2, 1, 0, 16), normal(2, 1, 0, 16)]
        + [np.full(2, 2, np.int32), np.array(3, np.int32)],
        {"num_heads": 2, "kv_num_heads": 1}, (6,), outputs=3,
    ),
    "MatMulIntegerToFloat": Comparison([u8(3, 5), u8(5, 4), one(0.02), one(0.03), zero(100), zero(9)], {}, (1, 2, 3, 4, 5), {0: ["N", 5]}),
    "MatMulNBits": Comparison(
        [normal(3, 40), u8(6, 3, 8), np.abs(normal(18)), u8(12, seed=1), integers(0, 3, 40, dtype=np.int32)],
        {"K": 40, "N": 6, "bits": 4, "block_size": 16}, (1, 2, 3, 4), {0: ["M", 40]}, atol=1e-3, formula=few_bits,
    ),
    "MulInteger": Comparison([u8(2, 3), zero(120), u8(3, seed=1), zero(7)], shapes={0: ["N", 3]}, formula=product_of_integers),
    "MultiHeadAttention": Comparison(FLAT, HEADS, shapes={i: ["N", "ST"[i > 0], 8] for i in range(3)}),
    "QAttention": Comparison(
        [u8(2, 3, 5), u8(5, 24, seed=1), normal(24), one(0.02), one(0.01), np.array([3, 2], np.int32), zero(120), zero(9)],
        {"num_heads": 2, "unidirectional": 1}, (1, 2, 3, 4, 6, 7), {0: ["N", "S", 5], 5: ["N"]}, 2, atol=1e-4,
    ),
    "QGemm": Comparison([u8(3, 5), one(0.02), zero(9), u8(5, 4), one(0.03), zero(99), integers(-99, 99, 4, dtype=np.int32), *Y], {}, range(1, 9), {0: ["N", 5]}, atol=1),
    "QLinearAdd": Comparison([*QUANTISED, u8(4, 5, seed=1), one(0.02), zero(3), *Y], shapes={0: ["N", 3, 4, 5]}, atol=1),
    "QLinearAveragePool": Comparison([*QUANTISED, *Y], {"kernel_shape": [2, 2]}, CONSTANT_SCALES, {0: ["N", 3, 4, 5]}, atol=1),
    "QLinearConcat": Comparison([*Y, *QUANTISED, *QUANTISED], {"axis": 1}, (0, 1, 3, 4, 6, 7), {2: ["N", 3, 4, 5], 5: ["N", 3, 4, 5]}, atol=0),
    "QLinearConv": Comparison([*QUANTISED, u8(4, 3, 2, 2), one(0.02), zero(120), *Y], {}, range(1, 8), {0: ["N", 3, "H", "W"]}, atol=1),
    "QLinearGlobalAveragePool": Comparison([*QUANTISED, *Y], {}, CONSTANT_SCALES, {0: ["N", 3, 4, 5]}, atol=1),
    "QLinearLeakyRelu": Comparison([*QUANTISED, *Y], {"alpha": 0.2}, CONSTANT_SCALES, {0: ["N", 3, 4, 5]}, atol=0),
    "QLinearMul": Comparison([*QUANTISED, u8(4, 5, seed=1), one(0.02), zero(3), *Y], shapes={0: ["N", 3, 4, 5]}, atol=0),
    "QLinearReduceMean": Comparison([*QUANTISED, *Y], {"axes": [1], "keepdims": 1}, CONSTANT_SCALES, {0: ["N", 3, 4, 5]}, atol=1, formula=mean_of_quantised),
    "QLinearSigmoid": Comparison([*QUANTISED, one(1 / 255), zero(0)], {}, CONSTANT_SCALES, {0: ["N", 3, 4, 5]}, atol=0),
    "QLinearSoftmax": Comparison([*QUANTISED, one(1 / 256), zero(0)], {"axis": -1}, CONSTANT_SCALES, {0: ["N", 3, 4, 5]}, atol=1),
    "QLinearWhere": Comparison(
        [integers(0, 2, 4, 1).astype(bool), u8(4, 5), one(0.02), zero(3), u8(5, seed=1), one(0.04), zero(9), *Y], {}, (2, 3, 5, 6, 7, 8), atol=0
    ),
    "QuantizeLinear": Comparison([normal(3, 4), one(0.02), zero(120)], atol=0),
    "QuickGelu": Comparison([FLAT[0]], shapes={0: ["N", "S", 8]}),
    "ReduceSumInteger": Comparison(
        [u8(4, 300)], {"axes": [1], "keepdims": 0}, shapes={0: ["N", "M"]}, formula=lambda x: [x.sum(1, dtype=np.uint32)]
    ),
    "RotaryEmbedding": Comparison(
        [normal(2, 3, 8), integers(0, 9, 2, 3), normal(9, 2), normal(9, 2, seed=1)], {"interleaved": 1}, (2, 3), {0: ["N", 3, 8], 1: ["N", 3]}
    ),
    "SkipLayerNormalization": Comparison([FLAT[0], FLAT[1], SCALE, SHIFT], {}, (2, 3), {0: ["N", "S", 8], 1: ["N", "S", 8]}),
    "SkipSimplifiedLayerNormalization": Comparison([FLAT[0], FLAT[1], SCALE], {}, (2,), {0: ["N", "S", 8], 1: ["N", "S", 8]}),
    "TransposeMatMul": Comparison([normal(2, 3, 5), normal(2, 4, 5)], {"transB": 1}, shapes={0: ["N", 3, 5], 1: ["N", 4, 5]}),
}  # fmt: skip

LEARNED = {
    ("ArrayFeatureExtractor", 1): Comparison([X, np.array([2, 0, 2])], {}, (1,), ROWS),
    ("Binarizer", 1): Comparison([X], {"threshold": 0.3}, shapes=ROWS),
    ("FeatureVectorizer", 1): Comparison([X, normal(5, 2)], {"inputdimensions": [4, 2]}, shapes={0: ["N", 4], 1: ["N", 2]}),
    ("Imputer", 1): Comparison([np.where(X > 1, np.nan, X).astype(F32)], {"imputed_value_floats": numbers(4), "replaced_value_float": np.nan}, shapes=ROWS),
    ("LabelEncoder", 2): Comparison([integers(0, 6, 5, 4)], {"keys_int64s": [5, 1, 3], "values_floats": numbers(3)}, shapes=ROWS),
    ("LabelEncoder", 4): Comparison([integers(0, 6, 5, 4).astype(F32)], {"keys_floats": [5.0, 1.0, 3.0], "values_int64s": [7, 8, 9]}, shapes=ROWS),
    ("LinearClassifier", 1): Comparison([X], {"coefficients": numbers(12), "intercepts": numbers(3), **CLASSES}, shapes=ROWS, outputs=2),
    ("LinearRegressor", 1): Comparison([X], {"coefficients": numbers(8), "intercepts": numbers(2), "targets": 2}, shapes=ROWS),
    ("Normalizer", 1): Comparison([X], {"norm": "L2"}, shapes=ROWS),
    ("OneHotEncoder", 1): Comparison([integers(0, 6, 5)], {"cats_int64s": [1, 2, 4], "zeros": 1}, shapes={0: ["N"]}),
    ("SVMClassifier", 1): Comparison(
        [X],
        {k: v for k, v in VECTORS.items() if k != "n_supports"}
        | {"vectors_per_class": [2, 1, 2], "coefficients": numbers(10, 1), "rho": numbers(3, 2), "prob_a": [-1.0, -0.5, -0.7], "prob_b": numbers(3, 3), **CLASSES},
        shapes=ROWS, outputs=2, atol=1e-4,
    ),
    ("SVMRegressor", 1): Comparison([X], {**VECTORS, "coefficients": numbers(5, 1), "rho": [0.2]}, shapes=ROWS),
    ("Scaler", 1): Comparison([X], {"offset": numbers(4), "scale": numbers(4, 1)}, shapes=ROWS),
    ("TreeEnsembleClassifier", 1): Comparison([X], trees("class", [0, 1, 2], classlabels_int64s=[1, 2, 3]), shapes=ROWS, outputs=2),
    ("TreeEnsembleClassifier", 3): Comparison([X], trees("class", [0, 1, 2], classlabels_int64s=[1, 2, 3]), shapes=ROWS, outputs=2),
    ("TreeEnsembleRegressor", 1): Comparison([X], trees("target", [0, 1], n_targets=2), shapes=ROWS),
    ("TreeEnsembleRegressor", 3): Comparison([X], trees("target", [0, 1], n_targets=2), shapes=ROWS),
    ("ZipMap", 1): Comparison([X], {"classlabels_int64s": [1, 2, 3, 4]}, shapes=ROWS, formula=lambda x: [x]),
}  # fmt: skip

STANDARD = {  # onnxruntime's, in the standard's domain
    ("LayerNormalization", 1): Comparison([FLAT[0], SCALE, SHIFT], {}, (1, 2), {0: ["N", "S", 8]}),
    ("SimplifiedLayerNormalization", 1): Comparison([FLAT[0], SCALE], {}, (1,), {0: ["N", "S", 8]}),
}

ELSEWHERE = {Key(ML, "TreeEnsemble", 5)}  # its attributes are tensors: test_ml.py

COMPARISONS = {
    **{Key(MICROSOFT, op_type, 1): case for op_type, case in MICROSOFTS.items()},
    **{Key(ML, *operator): case for operator, case in LEARNED.items()},
    **{Key("", *operator): case for operator, case in STANDARD.items()},
}


def test_every_contributed_handler_has_a_comparison() -> None:
    packages = ("mlc.frontends.onnx.ops.microsoft", "mlc.frontends.onnx.ops.ml")
    registered = {key for key, handler in table.load().items() if handler.__module__.startswith(packages)}
    assert registered == COMPARISONS.keys() | ELSEWHERE


@pytest.mark.parametrize("symbolic", [False, True], ids=["fixed", "symbolic"])
@pytest.mark.parametrize("key", COMPARISONS, ids=lambda key: f"{key.op_type}-{key.version}")
def test_a_contributed_operator_gives_what_its_owner_gives(key: Key, symbolic: bool) -> None:
    case = COMPARISONS[key]
    if symbolic and case.shapes is None:
        pytest.skip("its sizes are fixed")
    proto = model(
        key.op_type, case.inputs, opset=13 if key.domain == "" else 17, domain=key.domain, version=key.version, outputs=case.outputs,
        constants=case.constants, shapes=case.shapes if symbolic else None, **case.attributes,
    )  # fmt: skip
    if key.op_type == "QLinearSoftmax":  # which has an attribute of this name
        proto.graph.node[0].attribute.append(onnx.helper.make_attribute("opset", 13))
    expected = reference(proto, case.inputs) if case.formula is None else case.formula(*case.inputs)
    for found in (interpreted(proto, case.inputs), compiled(proto, case.inputs)):
        assert_same(found, expected, 1e-5 if case.atol else 0, case.atol)
