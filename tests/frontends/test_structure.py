"""Operators that move or make elements against onnxruntime, in all their versions."""

import itertools
from typing import Any

import numpy as np
import onnx
import onnx.reference
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.errors import InvalidModel, MlcError, ShapeError, UnsupportedOp
from mlc.frontends.onnx import load
from mlc.frontends.onnx.node import NeedsValue
from mlc.ir import interpreter
from tests.frontends.one_node import check, integers, interpreted, model, normal


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def constants(op_type: str, x: np.ndarray, *rest: np.ndarray | None, opset: int, **attributes: Any) -> None:
    """The operands behind the first are initializers."""
    given_ = [i for i, value in enumerate(rest, 1) if value is not None]
    check(op_type, [x, *rest], opset=opset, constants=given_, **attributes)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ((2, 3, 4), (6, 4)), ((2, 3, 4), (-1,)), ((2, 3, 4), (0, -1)), ((2, 3, 4), (0, 0, 2, 2)), ((), (1, 1)),
        ((1,), ()), ((2, 0), (0, 0)), ((0, 3), (0, 3)), ((0, 3), (-1, 3)),
    ],
)  # fmt: skip
def test_reshape(source: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    constants("Reshape", normal(*source), i64(*wanted), opset=13)


def test_reshape_with_allowzero_takes_zero_for_an_extent() -> None:
    constants("Reshape", normal(0, 3), i64(3, 0), opset=14, allowzero=1)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [((5, -1), "not a multiple"), ((-1, -1), "cannot reshape"), ((7,), "reshape"), ((2, 3, 0), "copies an axis")],
)
def test_a_reshape_that_does_not_fit_is_refused(wanted: tuple[int, ...], words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        load(model("Reshape", [normal(4, 3), i64(*wanted)], opset=13, constants=[1]))


@pytest.mark.parametrize("axis", range(-3, 4))
def test_flatten(axis: int) -> None:
    check("Flatten", [normal(2, 3, 4)], opset=13, axis=axis)


def test_transpose_by_default_reverses() -> None:
    check("Transpose", [normal(2, 3, 4)], opset=13)
    check("Transpose", [normal(2, 3, 4)], opset=13, perm=[2, 0, 1])


def test_squeeze_and_unsqueeze_with_axes_as_attribute_and_as_input() -> None:
    check("Squeeze", [normal(1, 3, 1)], opset=11, axes=[0])
    check("Squeeze", [normal(1, 3, 1)], opset=11)
    constants("Squeeze", normal(1, 3, 1), i64(-1), opset=13)
    check("Unsqueeze", [normal(3)], opset=11, axes=[0, 2])
    constants("Unsqueeze", normal(3), i64(-1, 0), opset=13)


def test_squeezing_an_extent_that_is_not_one_is_refused() -> None:
    with pytest.raises(ShapeError, match="3 and 1 differ"):
        load(model("Squeeze", [normal(1, 3)], opset=11, axes=[1]))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(axis: int) -> None:
    shapes = {0: [(1, 3), (0, 3), (4, 3)], 1: [(2, 3), (2, 1)]}[axis % 2]
    check("Concat", [normal(*s) for s in shapes], opset=13, axis=axis)


def test_concat_of_what_does_not_fit_names_the_axis() -> None:
    with pytest.raises(ShapeError, match=r"along axis 0: \[1, 3\] and \[1, 4\] do not fit"):
        load(model("Concat", [normal(1, 3), normal(1, 4)], opset=13, axis=0))


@pytest.mark.parametrize(
    ("opset", "sizes", "attributes", "outputs"),
    [
        (11, None, {"split": [1, 4, 2]}, 3), (11, None, {}, 7), (13, i64(3, 4), {}, 2), (13, i64(0, 7), {}, 2),
        (18, None, {"num_outputs": 3}, 3), (18, None, {"num_outputs": 4}, 4),
    ],
)  # fmt: skip
def test_split(opset: int, sizes: np.ndarray | None, attributes: dict[str, Any], outputs: int) -> None:
    operands = [normal(2, 7)] if sizes is None else [normal(2, 7), sizes]
    check(
        "Split",
        operands,
        opset=opset,
        constants=[1] if sizes is not None else [],
        outputs=outputs,
        axis=1,
        **attributes,
    )


@given(
    st.lists(st.tuples(st.integers(-7, 7), st.integers(-7, 7), st.sampled_from([1, 2, -1, -3])), min_size=1, max_size=3)
)
@settings(max_examples=40)
def test_slice(cuts: list[tuple[int, int, int]]) -> None:
    starts, ends, steps = (i64(*column) for column in zip(*cuts, strict=True))
    constants("Slice", normal(5, 4, 3), starts, ends, i64(*range(len(cuts))), steps, opset=13)


def test_slice_with_attributes() -> None:
    check("Slice", [normal(5, 4, 3)], opset=9, starts=[1, -2], ends=[1000, -1], axes=[0, 2])


def test_expand_both_ways() -> None:
    constants("Expand", normal(3, 1), i64(2, 1, 4), opset=13)
    constants("Expand", normal(2, 3, 4), i64(1, 1), opset=13)
    constants("Expand", normal(1), i64(0), opset=13)


def test_tile() -> None:
    constants("Tile", normal(2, 3), i64(2, 3), opset=13)
    constants("Tile", normal(2, 3), i64(0, 1), opset=13)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
@pytest.mark.parametrize("pads", [(0, 1, 2, 3), (1, 0, 0, 2), (-1, 2, 0, -1)])
def test_pad(mode: str, pads: tuple[int, ...]) -> None:
    if mode == "wrap" and min(pads) < 0:
        pytest.skip("onnxruntime wraps before it crops")
    constants("Pad", normal(5, 6), i64(*pads), opset=19, mode=mode)


@pytest.mark.parametrize(("size", "pads"), [(3, (3, 0)), (3, (2, 7)), (1, (2, 1)), (4, (9, 4))])
def test_reflections_go_on_beyond_the_axis(size: int, pads: tuple[int, ...]) -> None:
    """As the reference of the standard and numpy.pad; onnxruntime takes less than the axis has."""
    x = np.arange(size, dtype=np.float32)
    for extent in (size, "N"):
        proto = model("Pad", [x, i64(*pads)], opset=19, constants=[1], mode="reflect")
        proto.graph.input[0].type.tensor_type.shape.dim[0].CopyFrom(
            onnx.TensorShapeProto.Dimension(dim_param=extent)
            if extent == "N"
            else onnx.TensorShapeProto.Dimension(dim_value=size)
        )
        (want,) = onnx.reference.ReferenceEvaluator(proto).run(None, {"x0": x})
        (found,) = interpreter.run(load(proto), [x])
        np.testing.assert_array_equal(found, want)


def test_pad_with_value_and_axes() -> None:
    constants("Pad", normal(3, 4), i64(1, 2), np.array(7, np.float32), i64(-1), opset=18)
    constants("Pad", integers(0, 9, 3), i64(1, 1), np.array(-5), opset=13)
    check("Pad", [normal(3, 4)], opset=2, pads=[1, 0, 0, 2], value=1.5)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space_and_back(mode: str) -> None:
    check("DepthToSpace", [normal(2, 12, 3, 2)], opset=13, blocksize=2, mode=mode)
    check("SpaceToDepth", [normal(2, 3, 4, 6)], opset=13, blocksize=2)


def test_shape_of_part_of_the_axes() -> None:
    for start, end in itertools.product([None, 0, 1, -2, 9], [None, 2, -1, 9]):
        given_ = {name: v for name, v in (("start", start), ("end", end)) if v is not None}
        check("Shape", [normal(2, 3, 4)], opset=15, **given_)
    check("Size", [normal(2, 3, 4)], opset=13)


def test_constants_of_every_kind() -> None:
    kinds: list[dict[str, Any]] = [
        {"value_int": 3}, {"value_ints": [1, 2]}, {"value_float": 0.5}, {"value_floats": [0.5, 1.5]},
        {"value": onnx.numpy_helper.from_array(normal(3, 20))}, {"value": onnx.numpy_helper.from_array(np.array(True))},
    ]  # fmt: skip
    for kind in kinds:
        check("Constant", [], opset=13, **kind)
    values = onnx.numpy_helper.from_array(np.array([5.0, 7.0], np.float32))
    sparse = onnx.SparseTensorProto(values=values, indices=onnx.numpy_helper.from_array(i64(1, 3)), dims=[4])
    (found,) = interpreted(model("Constant", [], opset=13, sparse_value=sparse), [])
    np.testing.assert_array_equal(found, np.array([0, 5, 0, 7], np.float32))


def test_a_constant_with_two_values_is_invalid() -> None:
    with pytest.raises(InvalidModel, match="2 attributes give its value"):
        load(model("Constant", [], opset=13, value_int=1, value_float=1.0))
    with pytest.raises(UnsupportedOp, match="'value_string' is not supported"):
        load(model("Constant", [], opset=13, value_string="a"))


def test_constant_of_shape() -> None:
    check("ConstantOfShape", [i64(2, 3)], opset=9, constants=[0])
    check("ConstantOfShape", [i64(2, 0)], opset=9, constants=[0], value=onnx.numpy_helper.from_array(np.array([7])))
    check("ConstantOfShape", [i64()], opset=9, constants=[0], value=onnx.numpy_helper.from_array(np.array([True])))


@pytest.mark.parametrize(
    "numbers",
    [
        (0, 5, 1), (5, 0, -2), (3, 3, 1), (3, 0, 1), (0.0, 1.0, 0.3), (1.0, -1.0, -0.25), (-2, 9, 3),
    ],
)  # fmt: skip
def test_range(numbers: tuple[float, float, float]) -> None:
    dtype = np.int64 if isinstance(numbers[0], int) else np.float32
    check("Range", [np.array(n, dtype) for n in numbers], opset=11, constants=[0, 1, 2])


def test_a_range_up_to_a_size_is_symbolic() -> None:
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        main (float[N, 3] x) => (int64[n] y) <int64 zero = {0}, int64 two = {2}> {
            shape = Shape(x)
            n = Gather(shape, zero)
            y = Range(zero, n, two)
        }""")
    module = load(proto)
    for size in (0, 1, 6, 7):
        (found,) = interpreter.run(module, [np.zeros((size, 3), np.float32)])
        np.testing.assert_array_equal(found, np.arange(0, size, 2))


def test_eye_like() -> None:
    for k, dtype in itertools.product((-1, 0, 2), (None, onnx.TensorProto.INT64)):
        check("EyeLike", [normal(3, 4)], opset=9, k=k, **({} if dtype is None else {"dtype": dtype}))


@pytest.mark.parametrize("op_type", ["HannWindow", "HammingWindow", "BlackmanWindow"])
@pytest.mark.parametrize("periodic", [0, 1])
def test_windows(op_type: str, periodic: int) -> None:
    check(op_type, [np.array(10)], opset=17, constants=[0], periodic=periodic)


def test_center_crop_pad_takes_the_larger_half_at_the_end() -> None:
    proto = model("CenterCropPad", [normal(5, 4), i64(2, 7)], opset=18, constants=[1])
    expected = onnx.reference.ReferenceEvaluator(proto).run(None, {"x0": normal(5, 4)})[0]
    np.testing.assert_array_equal(interpreted(proto, [normal(5, 4)])[0], expected)


@pytest.mark.parametrize(
    ("op_type", "operands", "attributes"),
    [
        ("Slice", [normal(3), i64(0), i64(2)], {}),
        ("Expand", [normal(3), i64(3)], {}),
        ("Tile", [normal(3), i64(3)], {}),
        ("Pad", [normal(3), i64(3, 3)], {}),
        ("Unsqueeze", [normal(3), i64(0)], {}),
        ("ConstantOfShape", [i64(3)], {}),
        ("Range", [np.array(0), np.array(3), np.array(1)], {}),
    ],
)
def test_operands_that_decide_shapes_at_run_time_are_named(
    op_type: str, operands: list[np.ndarray], attributes: dict
) -> None:
    with pytest.raises(NeedsValue) as error:
        load(model(op_type, operands, opset=18, **attributes))
    assert error.value.inputs[0] in [f"x{i}" for i in range(len(operands))]


@pytest.mark.parametrize(
    ("op_type", "operands", "attributes"),
    [
        ("Transpose", [normal(2, 3)], {"perm": [0, 0]}),
        ("Flatten", [normal(2, 3)], {"axis": 5}),
        ("Concat", [normal(2, 3), normal(2)], {"axis": 0}),
        ("Slice", [normal(3), i64(0), i64(2), i64(1)], {}),
        ("Slice", [normal(3), i64(0), i64(2), i64(0), i64(0)], {}),
        ("Expand", [normal(3), i64(4)], {}),
        ("Tile", [normal(3), i64(4, 2)], {}),
        ("Pad", [normal(3), i64(4)], {}),
        ("Pad", [normal(3), i64(-2, -2)], {}),
        ("Pad", [normal(3), i64(1, 1)], {"mode": "mirror"}),
        ("EyeLike", [normal(3)], {}),
        ("DepthToSpace", [normal(1, 4, 2, 2)], {"blocksize": 0}),
        ("ConstantOfShape", [i64(-2)], {}),
    ],
)
def test_what_does_not_fit_is_an_error_that_names_the_node(
    op_type: str, operands: list[np.ndarray], attributes: dict
) -> None:
    with pytest.raises(MlcError, match=f"^{op_type} 'node': "):
        load(
            model(
                op_type,
                operands,
                opset=18,
                constants=range(1 if op_type != "ConstantOfShape" else 0, len(operands)),
                **attributes,
            )
        )
