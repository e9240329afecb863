"""What a user reads when something does not fit."""

import pytest

import mlc
from mlc.errors import (
    InternalError,
    MlcError,
    NumericMismatch,
    ShapeError,
    TargetUnavailable,
    UnsupportedKind,
    UnsupportedOp,
)
from mlc.options import CompileOptions, DimRange


def test_an_error_says_where_which_things_disagree_and_what_to_do() -> None:
    error = ShapeError(
        "Conv 'conv1': weight expects 64 input channels, x has 3",
        file="model.onnx",
        node=4,
        shapes=[
            ("x", "images", "f32[1, 3, 224, 224]", "graph input"),
            ("weight", "conv1.weight", "f32[128, 64, 3, 3]", "initializer"),
        ],
        remedy="With group = 1, weight.shape[1] equals the channels of x.",
    )
    assert str(error).splitlines() == [
        "Conv 'conv1': weight expects 64 input channels, x has 3",
        "  model.onnx: node 4",
        "    x       'images'         f32[1, 3, 224, 224]   graph input",
        "    weight  'conv1.weight'   f32[128, 64, 3, 3]    initializer",
        "  With group = 1, weight.shape[1] equals the channels of x.",
    ]
    assert error.shapes[1].name == "conv1.weight"


def test_an_error_without_details_is_its_first_line() -> None:
    assert str(MlcError("the file is empty")) == "the file is empty"
    assert str(MlcError("no such output 'y'", node="head")) == "no such output 'y'\n  node 'head'"


def test_unsupported_operators_are_listed_with_their_nodes() -> None:
    error = UnsupportedOp(
        "2 of 61 operator kinds cannot be compiled (6 of 1204 nodes)",
        file="detector.onnx",
        kinds=[
            UnsupportedKind("com.acme.FancyNorm", ("a", "b", "c", "d", "e"), "not an ONNX operator"),
            UnsupportedKind("TopK (k not constant)", ("head/topk",)),
        ],
    )
    assert str(error).splitlines()[2:] == [
        "    com.acme.FancyNorm   5 nodes   a, b, c, d, ...",
        "        not an ONNX operator",
        "    TopK (k not constant)   1 node   head/topk",
    ]


def test_kinds_of_error_have_the_exit_codes_of_the_command_line() -> None:
    assert [kind.exit_code for kind in (MlcError, ShapeError, UnsupportedOp, NumericMismatch, TargetUnavailable)] == [
        1,
        1,
        2,
        3,
        4,
    ]
    assert InternalError.exit_code == 70
    assert not issubclass(InternalError, MlcError)


def test_an_internal_error_names_the_pass() -> None:
    error = InternalError(
        "result 0 of graph.add is used before it is defined", pass_name="fuse", reproducer="repro.mlir"
    )
    assert str(error).startswith("in pass fuse: result 0")
    assert "repro.mlir" in str(error)


def test_public_names_lead_to_their_definitions() -> None:
    assert mlc.ShapeError is ShapeError
    assert set(mlc.__all__) <= set(dir(mlc))
    with pytest.raises(AttributeError, match="no attribute 'compyle'"):
        _ = mlc.compyle


def test_options_take_the_short_forms_a_user_writes() -> None:
    options = CompileOptions.of(
        target="cpu", shapes={"x": ["N", 3]}, dims={"N": (1, 32), "S": 128, "T": DimRange(0, 9)}, specialise=[{"N": 8}]
    )
    assert options.shapes == {"x": ("N", 3)}
    assert options.dims == {"N": DimRange(1, 32), "S": DimRange(128, 128), "T": DimRange(0, 9)}
    assert options.specialise == ({"N": 8},)
    assert str(options.dims["N"]) == "1..32"
    assert options.threads is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target": "tpu"}, "target is 'tpu'"),
        ({"threads": 0}, "threads is 0"),
        ({"opt_level": 4}, "opt_level is 4"),
        ({"dims": {"N": (4, 2)}}, "holds no size"),
        ({"dims": {"N": DimRange(1, 4)}, "precisoin": "f16"}, "unknown compile option 'precisoin'"),
        ({"dims": {"N": "many"}}, "'N' is 'many'"),
    ],
)
def test_options_that_make_no_sense_are_errors_of_the_user(given: dict, message: str) -> None:
    with pytest.raises(MlcError, match=message):
        CompileOptions.of(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"specialise": [{"N": 8}], "dims": {"N": 8}}, "dimension 'N' is fixed to 8"),
        ({"specialise": ["N@8"]}, "'N@8' is no set of sizes"),
        ({"specialise": [{}]}, "{} is no set of sizes"),
        ({"specialise": [{"N": True}]}, "'N' is True, not a size"),
        ({"specialise": [{"N": "8"}]}, "'N' is '8', not a size"),
    ],
)
def test_what_cannot_be_specialised_is_an_error_of_the_user(given: dict, message: str) -> None:
    with pytest.raises(MlcError, match=message):
        CompileOptions.of(**given)
