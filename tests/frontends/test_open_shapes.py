"""Models whose inputs declare a name for every axis and nothing else: what an operator needs of them comes from weights and other operands."""

import numpy as np
import onnx
import pytest

import mlc
from mlc.errors import ShapeError
from mlc.frontends.onnx import load
from mlc.ir import interpreter
from tests.frontends.one_node import assert_same, integers, model, normal, reference


def opened(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with another name for every axis of every input."""
    for value in proto.graph.input:
        for axis, extent in enumerate(value.type.tensor_type.shape.dim):
            extent.dim_param = f"{value.name}_{axis}"
    return proto


LENGTHS = np.array([3, 2], np.int32)
GRID = normal(2, 3, 4, 2)
CASES = {
    "Conv": ([normal(2, 4, 6, 5), normal(6, 2, 3, 3), normal(6)], {"constants": (1, 2), "group": 2}),
    "Conv, weight given": ([normal(2, 4, 6, 5), normal(6, 4, 3, 3), normal(6)], {"constants": (1,)}),
    "ConvTranspose": ([normal(2, 4, 6, 5), normal(4, 3, 3, 3), normal(6)], {"constants": (1, 2), "group": 2}),
    "ConvInteger": ([integers(0, 9, 1, 2, 5, 5, dtype=np.uint8), integers(-9, 9, 3, 2, 2, 2, dtype=np.int8)], {"constants": (1,)}),
    "BatchNormalization": ([normal(2, 3, 4), *(np.abs(normal(3, seed=i)) for i in range(4))], {"constants": (1, 2, 3, 4)}),
    "BatchNormalization, all given": ([normal(2, 3, 4), *(np.abs(normal(3, seed=i)) for i in range(4))], {"constants": (3,)}),
    "InstanceNormalization": ([normal(2, 3, 4), normal(3), normal(3)], {"constants": (1, 2)}),
    "LSTM": ([normal(3, 2, 5), normal(1, 16, 5), normal(1, 16, 4), normal(1, 32), LENGTHS], {"constants": (1, 2, 3), "hidden_size": 4, "outputs": 3}),
    "GRU": ([normal(3, 2, 5), normal(1, 12, 5), normal(1, 12, 4), normal(1, 24), LENGTHS], {"constants": (1, 2), "hidden_size": 4, "outputs": 2}),
    "GridSample": ([normal(2, 3, 5, 6), GRID], {"opset": 16}),
    "ScatterElements": ([normal(5, 4), integers(0, 5, 2, 3), normal(2, 3)], {"axis": 0}),
    "ScatterND": ([normal(5, 4), integers(0, 5, 3, 1), normal(3, 4)], {"constants": (1,)}),
    "ReverseSequence": ([normal(3, 2, 4), np.array([3, 1])], {"time_axis": 0, "batch_axis": 1}),
    "Concat": ([normal(3, 2, 4), normal(3, 5, 4), normal(3, 1, 4)], {"axis": 1}),
    "NonMaxSuppression": ([np.sort(np.abs(normal(2, 5, 4))), np.abs(normal(2, 3, 5)), np.array([3])], {"constants": (2,), "opset": 11}),
    "Gemm": ([normal(3, 4), normal(4, 5), normal(5)], {"constants": (1,)}),
    "PRelu": ([normal(2, 3, 4), normal(3, 1)], {"constants": (1,)}),
    "DequantizeLinear": ([integers(0, 255, 3, 4, dtype=np.uint8), np.abs(normal(4)), integers(0, 255, 4, dtype=np.uint8)], {"constants": (1, 2), "axis": 1}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_an_operator_needs_of_open_shapes_is_found(case: str) -> None:
    inputs, attributes = CASES[case]
    proto = model(case.split(",")[0], inputs, **{"opset": 17, **attributes})
    expected = reference(proto, inputs)
    module = load(opened(proto))
    given = [inputs[int(name[1:])] for name in module.input_names]
    assert_same(interpreter.run(module, given), expected, 1e-4, 1e-5)


def test_the_executable_of_open_shapes_names_the_extent_that_does_not_fit() -> None:
    proto = opened(model("Conv", [normal(2, 4, 6, 5), normal(6, 4, 3, 3)], opset=17, constants=(1,)))
    executable = mlc.compile(proto)
    assert [i.shape[1] for i in executable.get_inputs()] == [4]
    for batch, size in ((1, 3), (3, 7)):
        x = normal(batch, 4, size, 5)
        want = reference(model("Conv", [x, normal(6, 4, 3, 3)], opset=17, constants=(1,)), [x])
        assert_same([executable(x)], want, 1e-4, 1e-5)
    with pytest.raises(ShapeError, match="axis 1 is 3, the model takes 4"):
        executable(normal(2, 3, 6, 5))


def test_bounds_that_leave_no_size_are_refused() -> None:
    proto = opened(model("Add", [normal(2, 3), normal(2, 3)], opset=17))
    assert load(proto, dims={"x0_1": (2, 5), "x1_1": (3, 9)}).symbols["x0_1"] == (3, 5)
    with pytest.raises(ShapeError, match=r"axis 1: no size suits x\d_1, which must be at least 5 and at most 3"):
        load(proto, dims={"x0_1": (2, 3), "x1_1": (5, 9)})


def test_a_size_that_a_weight_decides_is_refused_outside_the_bounds() -> None:
    proto = opened(model("MatMul", [normal(2, 64), normal(64, 3)], opset=17, constants=(1,)))
    assert load(proto, dims={"x0_1": (64, 70)}).symbols.keys() == {"x0_0"}
    for limits in ((70, None), (1, 63)):
        with pytest.raises(ShapeError, match="x0_1 would be 64, but must be at least"):
            load(proto, dims={"x0_1": limits})
    with pytest.raises(ShapeError, match="x0_0 would be 5, but must be at least 2 and at most 3"):
        load(proto, dims={"x0_0": (2, 3)}, known={"x0": normal(5, 64)})


def test_an_extent_that_one_node_decides_is_known_to_the_others() -> None:
    """A transform has to know whether there is an imaginary part; the product says so."""
    x, w = normal(2, 6, 2), normal(2, 1)
    proto = model("MatMul", [x, w], opset=17, constants=(1,))
    proto.graph.node.append(onnx.helper.make_node("DFT", ["x0"], ["z"]))
    proto.graph.output.append(onnx.ValueInfoProto(name="z"))
    module = load(opened(proto))
    assert module.input_types[0][0][2] == 2
    spectrum = np.fft.fft(x[..., 0] + 1j * x[..., 1])
    expected = [x @ w, np.stack([spectrum.real, spectrum.imag], -1).astype(np.float32)]
    assert_same(interpreter.run(module, [x]), expected, 1e-5, 1e-5)
