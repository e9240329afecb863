"""Operators of domain ai.onnx.ml against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

import mlc
from mlc.errors import InvalidModel, MlcError, UnsupportedOp
from mlc.frontends.onnx import load
from tests.frontends import one_node
from tests.frontends.one_node import Arrays, integers, normal

NAN = float("nan")


def check(op_type: str, inputs: Arrays, **given: Any) -> None:
    one_node.check(
        op_type, inputs, **{"opset": 17, "domain": "ai.onnx.ml", "shapes": {0: ["N", inputs[0].shape[-1]]}, **given}
    )


def numbers(count: int, seed: int = 0) -> list[float]:
    return normal(count, seed=seed).tolist()


TRANSFORMS = ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"]


@pytest.mark.parametrize("post_transform", TRANSFORMS)
@pytest.mark.parametrize("rows", [1, 7])
def test_linear_models(post_transform: str, rows: int) -> None:
    x, given = normal(rows, 4), {"post_transform": post_transform}
    check(
        "LinearClassifier",
        [x],
        coefficients=numbers(12),
        intercepts=numbers(3),
        classlabels_ints=[4, 0, 7],
        outputs=2,
        **given,
    )
    check(
        "LinearClassifier",
        [x],
        coefficients=numbers(8),
        intercepts=numbers(2),
        classlabels_ints=[0, 1],
        outputs=2,
        **given,
    )
    if post_transform in ("NONE", "LOGISTIC"):
        check(
            "LinearClassifier",
            [x],
            coefficients=numbers(4),
            intercepts=numbers(1),
            classlabels_ints=[0, 1],
            outputs=2,
            **given,
        )
        check("LinearRegressor", [x], coefficients=numbers(8), intercepts=numbers(2), targets=2, **given)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int32])
def test_linear_models_take_any_numbers(dtype: type) -> None:
    x = (normal(5, 4) * 5).astype(dtype)
    given = {"coefficients": numbers(12), "intercepts": numbers(3), "outputs": 2}
    check("LinearClassifier", [x], classlabels_ints=[4, 0, 7], atol=1e-4, **given)


@pytest.mark.parametrize("kernel", ["LINEAR", "POLY", "RBF", "SIGMOID"])
@pytest.mark.parametrize("one_class", [0, 1])
def test_support_vector_regression(kernel: str, one_class: int) -> None:
    given = {"kernel_type": kernel, "kernel_params": [0.3, 0.1, 3.0], "one_class": one_class, "rho": [0.2]}
    check(
        "SVMRegressor", [normal(6, 4)], n_supports=5, support_vectors=numbers(20), coefficients=numbers(5, 1), **given
    )


def machine(classes: int, features: int, seed: int, probable: bool, **given: Any) -> dict[str, Any]:
    """Attributes of a classifier of random support vectors."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 4, classes).tolist()
    pairs = classes * (classes - 1) // 2
    found: dict[str, Any] = {
        "vectors_per_class": sizes,
        "support_vectors": rng.standard_normal(sum(sizes) * features).tolist(),
        "coefficients": rng.standard_normal(sum(sizes) * (classes - 1)).tolist(),
        "rho": rng.standard_normal(pairs).tolist(),
        "kernel_params": [0.3, 0.1, 3.0],
        "classlabels_ints": rng.permutation(10)[:classes].tolist(),
    }
    if probable:
        found |= {
            "prob_a": (-np.abs(rng.standard_normal(pairs))).tolist(),
            "prob_b": rng.standard_normal(pairs).tolist(),
        }
    return found | given


@settings(max_examples=25, deadline=None)
@example(classes=2, features=3, rows=4, seed=0, kernel="LINEAR", post_transform="NONE", probable=False)
@given(
    classes=st.integers(2, 4),
    features=st.integers(1, 4),
    rows=st.integers(1, 6),
    seed=st.integers(0, 999),
    kernel=st.sampled_from(["LINEAR", "POLY", "RBF", "SIGMOID"]),
    post_transform=st.sampled_from(TRANSFORMS),
    probable=st.booleans(),
)
def test_support_vector_classification(
    classes: int, features: int, rows: int, seed: int, kernel: str, post_transform: str, probable: bool
) -> None:
    if classes == 2 and not probable and post_transform.startswith("SOFTMAX"):
        post_transform = "LOGISTIC"  # onnxruntime gives no softmax there
    x = normal(rows, features, seed=seed, dtype=np.float64 if seed % 2 else np.float32)
    given = machine(classes, features, seed, probable, kernel_type=kernel, post_transform=post_transform)
    check("SVMClassifier", [x], outputs=2, rtol=1e-4, atol=2e-4, **given)


def test_support_vector_classification_in_native_code_at_open_sizes() -> None:
    for classes, probable in [(2, True), (3, True), (5, True), (3, False)]:
        given = machine(classes, 3, classes, probable, kernel_type="RBF")
        proto = one_node.model(
            "SVMClassifier", [normal(1, 3)], opset=17, domain="ai.onnx.ml", outputs=2, shapes={0: ["N", 3]}, **given
        )
        for rows in (1, 7):
            x = normal(rows, 3, seed=rows)
            one_node.assert_same(one_node.compiled(proto, [x]), one_node.reference(proto, [x]), 1e-4, 1e-4)


@pytest.mark.parametrize("post_transform", TRANSFORMS)
@pytest.mark.parametrize("labels", [[3], [7, 9, 1], [4, 0, 2, 8]])
def test_classification_by_linear_support_vectors(post_transform: str, labels: list[int]) -> None:
    given = {
        "coefficients": numbers(3 * len(labels)),
        "rho": [0.3],
        "classlabels_ints": labels,
        "kernel_params": [0.0, 0.0, 3.0],
    }
    check("SVMClassifier", [normal(6, 3)], outputs=2, post_transform=post_transform, **given)


@pytest.mark.parametrize("post_transform", ["SOFTMAX", "SOFTMAX_ZERO"])
def test_the_softmax_of_two_decisions_is_one(post_transform: str) -> None:
    """As the standard's reference has it; onnxruntime gives 1 - s and s."""
    x, given = normal(5, 3), machine(2, 3, 0, False, kernel_type="RBF", post_transform=post_transform)
    proto = one_node.model("SVMClassifier", [x], opset=17, domain="ai.onnx.ml", outputs=2, **given)
    expected = ReferenceEvaluator(proto).run(None, {"x0": x})
    one_node.assert_same(one_node.interpreted(proto, [x]), expected, 1e-4, 1e-5)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"vectors_per_class": [1, 2]}, "2 vectors_per_class for 3 classes"),
        ({"rho": [0.5]}, "1 values of rho for 3 pairs"),
        ({"coefficients": [1.0]}, "1 coefficients for"),
        ({"prob_b": [1.0]}, "3 values of prob_a, 1 of prob_b"),
        ({"coefficients": []}, "'coefficients' is missing"),
    ],
)
def test_support_vectors_that_do_not_fit_are_refused(change: dict[str, Any], words: str) -> None:
    given = machine(3, 2, 0, True, kernel_type="RBF") | change
    given = {name: value for name, value in given.items() if value != []}
    with pytest.raises(MlcError, match=words):
        load(one_node.model("SVMClassifier", [normal(2, 2)], opset=17, domain="ai.onnx.ml", outputs=2, **given))


def test_normal_quantiles_of_scores() -> None:
    x = np.random.default_rng(0).uniform(0.1, 0.3, (4, 3)).astype(np.float32)
    given = {
        "coefficients": np.linspace(0.1, 0.9, 9).tolist(),
        "intercepts": [0.0, 0.05, 0.1],
        "post_transform": "PROBIT",
    }
    check("LinearClassifier", [x], classlabels_ints=[0, 1, 2], outputs=2, **given)


# Trees


def trees(
    prefix: str, columns: list[int], count: int = 5, depth: int = 4, features: int = 4, seed: int = 0, **given: Any
) -> dict[str, Any]:
    """Attributes of an ensemble of random trees, not all of one depth; a leaf has a weight for each of `columns`, or for one of them."""
    rng = np.random.default_rng(seed)
    modes = given.pop("modes", ["BRANCH_LEQ"])
    single, positive = given.pop("single", False), given.pop("positive", False)
    nodes: list[tuple[Any, ...]] = []
    weights: list[tuple[Any, ...]] = []
    for tree in range(count):
        pending, made = [(0, 0)], 1
        while pending:
            number, level = pending.pop(0)
            if level == depth or (level and rng.random() < 0.2):
                nodes.append((tree, number, 0, 0.0, "LEAF", 0, 0, 0))
                for column in [columns[int(rng.integers(len(columns)))]] if single else columns:
                    weight = float(np.float32(rng.random() / count if positive else rng.standard_normal()))
                    weights.append((tree, number, column, weight))
                continue
            value = float(np.float32(rng.standard_normal()))
            mode = modes[int(rng.integers(len(modes)))]
            nodes.append(
                (tree, number, int(rng.integers(features)), value, mode, made, made + 1, int(rng.random() < 0.5))
            )
            pending += [(made, level + 1), (made + 1, level + 1)]
            made += 2
    names = (
        "treeids",
        "nodeids",
        "featureids",
        "values",
        "modes",
        "truenodeids",
        "falsenodeids",
        "missing_value_tracks_true",
    )
    found = {f"nodes_{name}": [node[i] for node in nodes] for i, name in enumerate(names)}
    for i, name in enumerate(("treeids", "nodeids", "ids", "weights")):
        found[f"{prefix}_{name}"] = [weight[i] for weight in weights]
    return {**found, **given}


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
@pytest.mark.parametrize("columns", [[0], [0, 1, 2]])
def test_tree_regression(aggregate: str, columns: list[int]) -> None:
    given = {"aggregate_function": aggregate, "n_targets": len(columns), "base_values": numbers(len(columns))}
    for rows in (0, 1, 13):
        check("TreeEnsembleRegressor", [normal(rows, 4)], version=3, **trees("target", columns, **given))
    del given["base_values"]  # onnxruntime leaves it out where no leaf on a row's ways has a weight for the target
    check("TreeEnsembleRegressor", [normal(6, 4)], version=1, **trees("target", columns, single=True, **given))


@pytest.mark.parametrize("mode", ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"])
def test_every_comparison_of_trees_and_where_nan_goes(mode: str) -> None:
    x = normal(40, 4)
    x[::5, 1], x[3::7, 2] = NAN, NAN
    check("TreeEnsembleRegressor", [x], version=3, **trees("target", [0], n_targets=1, modes=[mode]))
    check(
        "TreeEnsembleRegressor",
        [x],
        version=3,
        **trees("target", [0], n_targets=1, modes=[mode, "BRANCH_LEQ", "BRANCH_GT"]),
    )


@pytest.mark.parametrize("post_transform", TRANSFORMS)
@pytest.mark.parametrize("positive", [True, False])
def test_tree_classification(post_transform: str, positive: bool) -> None:
    x, given = normal(20, 4), {"post_transform": post_transform, "positive": positive}
    for single in (True, False):
        three = trees("class", [0, 1, 2], classlabels_int64s=[5, 3, 9], single=single, **given)
        check("TreeEnsembleClassifier", [x], version=3, outputs=2, **three)
    for base in ({}, {"base_values": [0.1]}):
        one = trees("class", [0], classlabels_int64s=[0, 1], **given, **base)
        check("TreeEnsembleClassifier", [x], version=3, outputs=2, **one)


def test_trees_that_weigh_both_of_two_classes_choose_the_larger() -> None:
    """As the standard's reference has it; onnxruntime takes the second wherever its score is above 0."""
    x = normal(20, 4)
    given = trees("class", [0, 1], classlabels_int64s=[7, 9], positive=True)
    proto = one_node.model("TreeEnsembleClassifier", [x], opset=17, domain="ai.onnx.ml", version=3, outputs=2, **given)
    label, scores = one_node.interpreted(proto, [x])
    np.testing.assert_allclose(scores, one_node.reference(proto, [x])[1], rtol=1e-5)
    np.testing.assert_array_equal(label, np.array([7, 9])[scores.argmax(1)])


def test_trees_of_doubles_and_integers() -> None:
    check("TreeEnsembleRegressor", [normal(9, 4).astype(np.float64)], version=3, **trees("target", [0], n_targets=1))
    given = trees("class", [0, 1, 2], classlabels_int64s=[1, 2, 3])
    check("TreeEnsembleClassifier", [integers(-3, 3, 9, 4)], version=3, outputs=2, **given)


def test_a_thousand_trees_are_one_small_program() -> None:
    given = trees("target", [0], count=1000, depth=6, n_targets=1)
    x = normal(3, 4)
    proto = one_node.model("TreeEnsembleRegressor", [x], opset=17, domain="ai.onnx.ml", version=3, **given)
    module = load(proto)
    assert len(list(module.main.body.block.ops)) < 30
    found = mlc.compile(proto).run(None, {"x0": x})
    one_node.assert_same(found, one_node.reference(proto, [x]), 1e-5, 1e-4)


def test_trees_with_a_cycle_are_refused() -> None:
    given = trees("target", [0], n_targets=1)
    given["nodes_falsenodeids"] = [0 for _ in given["nodes_falsenodeids"]]
    with pytest.raises(InvalidModel, match="cycle|reach"):
        load(one_node.model("TreeEnsembleRegressor", [normal(2, 4)], opset=17, domain="ai.onnx.ml", version=3, **given))


# Features


def test_preparation_of_features() -> None:
    x = normal(5, 3)
    check("Scaler", [x], offset=numbers(3), scale=numbers(3, 1))
    check("Scaler", [integers(-9, 9, 5, 3)], offset=[1.5], scale=[2.0])
    for norm in ("MAX", "L1", "L2"):
        check("Normalizer", [np.abs(x)], norm=norm)
    check("Normalizer", [x], norm="L1")
    check("Binarizer", [x], threshold=0.3)
    check("ArrayFeatureExtractor", [x, np.array([2, 0, 2])], constants=[1])
    holes = x.copy()
    holes[1, 2] = holes[3, 0] = NAN
    check("Imputer", [holes], imputed_value_floats=numbers(3), replaced_value_float=NAN)
    check("Imputer", [integers(0, 3, 5, 3)], imputed_value_int64s=[7], replaced_value_int64=1)
    check("FeatureVectorizer", [x, normal(5, 2)], inputdimensions=[3, 2], shapes={})


@pytest.mark.parametrize("kind", ["int64s", "floats"])
def test_encoding_of_labels(kind: str) -> None:
    x = integers(0, 6, 4, 3)
    values: dict[str, Any] = {"values_int64s": [9, 8, 7]} if kind == "int64s" else {"values_floats": [0.5, NAN, 1e30]}
    check("LabelEncoder", [x], version=2, keys_int64s=[1, 3, 5], **values)
    keys = x.astype(np.float32)
    check("LabelEncoder", [keys], version=2, keys_floats=[1.0, 3.0, 5.0], **values)
    check("OneHotEncoder", [x], cats_int64s=[1, 2, 4], zeros=1, shapes={0: ["N", 3]})


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_a_value_that_is_no_category_is_an_error_of_the_call_unless_zeros_are_wanted(dtype: type) -> None:
    x = np.array([[1, 4, 2], [2, 2, 1]], dtype)
    for shapes in ({}, {0: ["N", 3]}):
        check("OneHotEncoder", [x], cats_int64s=[1, 2, 4], zeros=0, shapes=shapes)
    proto = one_node.model(
        "OneHotEncoder", [x], opset=17, domain="ai.onnx.ml", cats_int64s=[1, 2, 4], zeros=0, shapes={0: ["N", 3]}
    )
    exe = mlc.compile(proto, threads=1)
    np.testing.assert_array_equal(exe(x), one_node.reference(proto, [x])[0])
    assert exe(x[:0]).shape == (0, 3, 3)
    for bad in (0, 3, -1):
        strange = x.copy()
        strange[1, 2] = bad
        with pytest.raises(MlcError, match="a value of 'x0' is no category, and zeros is 0"):
            exe(strange)
    np.testing.assert_array_equal(exe(x), one_node.reference(proto, [x])[0])


@pytest.mark.parametrize("post_transform", ["SOFTMAX", "SOFTMAX_ZERO"])
def test_the_softmax_of_one_row_of_coefficients_is_one(post_transform: str) -> None:
    """As the standard's reference has it; onnxruntime gives 1 - s and s."""
    x = normal(5, 3)
    given = {
        "coefficients": numbers(3),
        "intercepts": [0.2],
        "classlabels_ints": [4, 7],
        "post_transform": post_transform,
    }
    proto = one_node.model("LinearClassifier", [x], opset=17, domain="ai.onnx.ml", outputs=2, **given)
    expected = ReferenceEvaluator(proto).run(None, {"x0": x})
    one_node.assert_same(one_node.interpreted(proto, [x]), expected, 1e-5, 1e-6)


@settings(max_examples=25, deadline=None)
@given(
    version=st.sampled_from([2, 4]),
    count=st.sampled_from([1, 2, 3, 7, 20, 300]),
    keys=st.sampled_from(["int64s", "floats"]),
    values=st.sampled_from(["int64s", "floats"]),
    shape=st.lists(st.integers(0, 4), min_size=1, max_size=2),
    missing=st.booleans(),
    seed=st.integers(0, 99),
)
def test_labels_are_found_among_any_number_of_keys(
    version: int, count: int, keys: str, values: str, shape: list[int], missing: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    known = (rng.permutation(2 * count)[:count] - count).astype(np.int64 if keys == "int64s" else np.float32)
    x = rng.integers(-2 * count, 2 * count, shape).astype(known.dtype)
    if missing and keys == "floats" and version == 4:
        known[rng.integers(count)] = NAN
        x.flat[: min(x.size, 1)] = NAN
    found = rng.integers(-50, 50, count).astype(np.int64 if values == "int64s" else np.float32)
    given = {f"keys_{keys}": known.tolist(), f"values_{values}": found.tolist()}
    check("LabelEncoder", [x], version=version, shapes={0: ["N", "M"][: x.ndim]}, **given)


def test_the_key_nan_and_keys_given_twice_are_as_the_standard_says() -> None:
    """Version 2 compares bits, of equal keys of version 4 the last counts; onnxruntime differs in both."""
    x = np.array([NAN, 1, 5], np.float32)
    for version, expected in ((2, [7, 8, 10]), (4, [7, 8, 20])):
        given = {"keys_floats": [NAN, 1.0, 5.0, 5.0], "values_int64s": [7, 8, 10, 20]}
        proto = one_node.model("LabelEncoder", [x], opset=17, domain="ai.onnx.ml", version=version, **given)
        np.testing.assert_array_equal(one_node.interpreted(proto, [x])[0], expected)


def classifier(**labels: Any) -> onnx.ModelProto:
    """What converters write: a classifier and a ZipMap of its scores."""
    make = onnx.helper.make_node
    linear = make(
        "LinearClassifier", ["x"], ["label", "scores"], name="linear", domain="ai.onnx.ml",
        coefficients=numbers(12), intercepts=numbers(3), post_transform="SOFTMAX",
        **{f"classlabels_{'ints' if kind == 'int64s' else kind}": value for kind, value in labels.items()},
    )  # fmt: skip
    zipped = make(
        "ZipMap",
        ["scores"],
        ["probabilities"],
        **{f"classlabels_{k}": v for k, v in labels.items()},
        domain="ai.onnx.ml",
    )
    graph = onnx.helper.make_graph(
        [linear, zipped],
        "classifier",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 4])],
        [onnx.ValueInfoProto(name="label"), onnx.ValueInfoProto(name="probabilities")],
    )
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("ai.onnx.ml", 1)], ir_version=8
    )


def test_a_map_of_scores_is_the_table_of_them() -> None:
    labels, scores = mlc.compile(classifier(int64s=[4, 0, 7])).run(None, {"x": normal(5, 4)})
    assert scores.shape == (5, 3)
    np.testing.assert_array_equal(labels, np.array([4, 0, 7])[scores.argmax(1)])


def test_labels_that_are_strings_are_refused_and_the_scores_compile() -> None:
    proto = classifier(strings=["a", "b", "c"])
    with pytest.raises(UnsupportedOp, match="labels that are strings"):
        load(proto)
    assert mlc.compile(proto, until="scores").run(None, {"x": normal(5, 4)})[0].shape == (5, 3)
