"""What the sizes of a call decide: no read outside of a buffer, and what no size can give is refused by the name of its input and axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import mlc
from mlc.errors import ShapeError
from mlc.frontends.onnx import load
from mlc.ir import dims
from mlc.ir.kernel.plan import Equality
from mlc.runtime.binding import Binder
from tests.frontends.one_node import assert_same, integers, model, normal, reference, run


def called(proto: onnx.ModelProto, inputs: Sequence[np.ndarray | None], expected: Sequence[np.ndarray]) -> None:
    """The interpreter and native code both give what is expected."""
    module = load(proto)
    assert_same(run(module, inputs), expected, 1e-4, 1e-4)
    arrays = [inputs[int(name[1:])] for name in module.input_names]
    outputs = mlc.compile(module, threads=1, cache=False).run(None, dict(zip(module.input_names, arrays, strict=True)))
    assert_same(outputs, expected, 1e-4, 1e-4)


def refused(proto: onnx.ModelProto, inputs: Sequence[np.ndarray | None], match: str) -> None:
    module = load(proto)
    with pytest.raises(ShapeError):
        run(module, inputs)
    exe = mlc.compile(module, threads=1, cache=False)
    with pytest.raises(ShapeError, match=match):
        exe.run(None, {name: inputs[int(name[1:])] for name in module.input_names})


# Slices, pads and crops


@pytest.mark.parametrize("n", [1, 5, 8, 11])
@pytest.mark.parametrize("length", [1, 8])
def test_a_transform_longer_than_its_signal_sees_zeros_behind_it(n: int, length: int) -> None:
    x = normal(3, n, 1)
    inputs = [x, np.int64(length), np.int64(1)]
    proto = model("DFT", inputs, opset=20, constants=[1, 2], shapes={0: ("B", "S", 1)})
    y = np.fft.fft(x[..., 0], length, axis=1)
    called(proto, inputs, [np.stack([y.real, y.imag], -1).astype(np.float32)])


@pytest.mark.parametrize("n", [2, 3, 4, 7])
@pytest.mark.parametrize("size", [7, 11])
def test_a_transposed_convolution_is_cut_or_followed_by_zeros_to_its_output_shape(n: int, size: int) -> None:
    inputs = [normal(1, 2, n), normal(2, 1, 3)]
    proto = model(
        "ConvTranspose", inputs, opset=11, constants=[1], shapes={0: (1, 2, "L")}, strides=[3], output_shape=[size]
    )
    full = np.zeros(3 * n + 3 * size, np.float32)
    for i in range(n):
        full[3 * i : 3 * i + 3] += np.einsum("c,ck->k", inputs[0][0, :, i], inputs[1][:, 0])
    cut = max(3 * n - size, 0)
    called(proto, inputs, [full[cut - cut // 2 :][:size].reshape(1, 1, size)])


@pytest.mark.parametrize("target", [[4, 4], [5, 2]])
@pytest.mark.parametrize("shape", [(1, 7), (4, 4), (6, 3), (5, 5)])
def test_a_centre_is_cropped_or_padded_as_sizes_say(shape: tuple[int, int], target: list[int]) -> None:
    inputs = [normal(*shape), np.array(target)]
    fixed, symbolic = (
        model("CenterCropPad", inputs, opset=18, constants=[1], shapes=shapes) for shapes in ({}, {0: ("H", "W")})
    )
    called(symbolic, inputs, ReferenceEvaluator(fixed).run(None, {"x0": inputs[0]}))


@pytest.mark.parametrize("mode", ["constant", "edge"])
def test_pads_that_are_negative_for_some_sizes_crop_there(mode: str) -> None:
    wanted, x = np.array(4), onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N"])
    nodes = [
        onnx.helper.make_node("Shape", ["x"], ["n"]),
        onnx.helper.make_node("Sub", ["four", "n"], ["more"]),
        onnx.helper.make_node("Concat", ["zero", "more"], ["pads"], axis=0),
        onnx.helper.make_node("Pad", ["x", "pads"], ["y"], mode=mode),
    ]
    weights = [onnx.numpy_helper.from_array(np.array([v]), name) for name, v in (("four", wanted), ("zero", 0))]
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None])
    graph = onnx.helper.make_graph(nodes, "g", [x], [y], weights)
    exe = mlc.compile(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]), threads=1)
    for n in (1, 3, 4, 7):
        value = normal(n)
        padded = np.pad(value, (0, max(4 - n, 0)), mode=mode)[:4]  # type: ignore[call-overload]
        np.testing.assert_array_equal(exe(value), padded)


def test_block_scales_fit_the_number_of_blocks() -> None:
    inputs = [integers(0, 9, 2, 5, dtype=np.uint8), normal(2, 3)]
    proto = model("DequantizeLinear", inputs, opset=21, constants=[1], shapes={0: ("R", "K")}, axis=1, block_size=2)
    called(proto, inputs, [inputs[0] * np.repeat(inputs[1], 2, 1)[:, :5]])
    refused(proto, [integers(0, 9, 2, 7, dtype=np.uint8), None], "K is 7 .from x0 axis 1.")
    refused(proto, [integers(0, 9, 3, 5, dtype=np.uint8), None], "axis 0")


def test_a_signal_shorter_than_one_frame_is_refused() -> None:
    inputs = [normal(1, 9, 1), np.int64(2), normal(4), np.int64(4)]
    proto = model("STFT", inputs, opset=17, constants=[1, 2, 3], shapes={0: (1, "S", 1)})
    assert run(load(proto), inputs)[0].shape == (1, 3, 3, 2)
    refused(proto, [normal(1, 3, 1), None, None, None], "S is 3 .from x0 axis 1.")


def test_pieces_of_which_the_last_would_be_smaller_than_nothing_are_refused() -> None:
    inputs = [normal(7)]
    proto = model("Split", inputs, opset=18, outputs=4, shapes={0: ("N",)}, num_outputs=4)
    assert [len(y) for y in run(load(proto), inputs)] == [2, 2, 2, 1]
    refused(proto, [normal(5)], "N|pieces")


# Broadcasting


@pytest.mark.parametrize("end, start", [(1, 0), (2**40, -1)])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_one_row_of_a_symbolic_axis_broadcasts(n: int, start: int, end: int) -> None:
    text = f"""<ir_version: 8, opset_import: ["": 13]> main (float[N, 4] x) => (float[N, 4] y)
      <int64[1] s = {{{start}}}, int64[1] e = {{{end}}}> {{ r = Slice(x, s, e, s0)  y = Sub(x, r) }}"""
    proto = onnx.parser.parse_model(text.replace(", s0", ""))
    x = normal(n, 4)
    row = x[:1] if start == 0 else x[-1:]
    np.testing.assert_allclose(mlc.compile(proto, threads=1)(x), x - row, rtol=1e-6)


# Axes that go where they are 1


@pytest.mark.parametrize(
    "declared, accepted, refused_", [("", [0, 3, 1], []), ("[]", [1], [3]), ("[M]", [0, 3, 1], [])]
)
def test_squeezing_every_single_axis_follows_the_declared_result(
    declared: str, accepted: list[int], refused_: list[int]
) -> None:
    text = f"""<ir_version: 8, opset_import: ["": 13]> main (float[N, 1] x) => (float{declared.strip("[]") and "[M]"} y) {{ y = Squeeze(x) }}"""
    proto = onnx.parser.parse_model(text)
    if not declared:
        proto.graph.output[0].type.tensor_type.ClearField("shape")
    exe = mlc.compile(proto, threads=1)
    for n in accepted:
        x = normal(n, 1)
        np.testing.assert_array_equal(exe(x), np.squeeze(x), strict=True)
    for n in refused_:
        with pytest.raises(ShapeError, match="N|x: axis 0"):
            exe(normal(n, 1))


# Windows


@pytest.mark.parametrize("op, opset, extra", [
    ("MaxPool", 12, {}), ("MaxPool", 12, {"ceil_mode": 1}), ("AveragePool", 19, {}), ("AveragePool", 19, {"ceil_mode": 1}),
    ("AveragePool", 11, {"count_include_pad": 1}), ("AveragePool", 19, {"count_include_pad": 1}), ("LpPool", 18, {"p": 2}),
])  # fmt: skip
@pytest.mark.parametrize("kernel, stride, sizes", [(2, 2, (1, 2, 5)), (3, 3, (1, 2, 4)), (3, 2, (2, 3, 6))])
def test_a_window_less_than_a_stride_too_large_covers_what_there_is(
    op: str, opset: int, extra: dict[str, int], kernel: int, stride: int, sizes: tuple[int, ...]
) -> None:
    attributes: dict[str, Any] = {"kernel_shape": [kernel, 1], "strides": [stride, 1]} | extra
    inputs = [normal(1, 2, sizes[0], 3)]
    module = load(model(op, inputs, opset=opset, shapes={0: (1, 2, "H", 3)}, **attributes))
    exe = mlc.compile(module, threads=1)
    for size in sizes:
        inputs = [normal(1, 2, size, 3)]
        fixed = model(op, inputs, opset=opset, **attributes)
        expected = reference(fixed, inputs)
        assert_same(run(load(fixed), inputs), expected, 1e-5, 1e-5)
        assert_same(run(module, inputs), expected, 1e-5, 1e-5)
        assert_same(exe.run(None, {"x0": inputs[0]}), expected, 1e-5, 1e-5)


def test_an_axis_smaller_than_a_window_by_a_stride_is_refused() -> None:
    proto = model("MaxPool", [normal(1, 1, 4)], opset=12, shapes={0: (1, 1, "L")}, kernel_shape=[4], strides=[2])
    refused(proto, [normal(1, 1, 2)], "L is 2 .from x0 axis 2.")


def test_a_convolution_over_less_than_its_kernel_is_refused() -> None:
    inputs = [normal(1, 1, 6), normal(1, 1, 4)]
    proto = model("Conv", inputs, opset=11, constants=[1], shapes={0: (1, 1, "L")})
    refused(proto, [normal(1, 1, 3), None], "L is 3 .from x0 axis 2.")


# States, regions, unpooling


@pytest.mark.parametrize("op, gates", [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
def test_a_state_whose_batch_has_another_name_has_the_batch_of_x(op: str, gates: int) -> None:
    inputs: list[np.ndarray | None] = [normal(3, 2, 5), normal(1, 4 * gates, 5), normal(1, 4 * gates, 4)]
    inputs += [None, integers(1, 4, 2, dtype=np.int32), normal(1, 2, 4)]
    proto = model(
        op,
        inputs,
        opset=14,
        outputs=2,
        constants=[1, 2],
        shapes={0: ("S", "N", 5), 4: ("K",), 5: (1, "M", 4)},
        hidden_size=4,
    )
    called(proto, inputs, reference(proto, inputs))
    refused(proto, [*inputs[:5], normal(1, 1, 4)], "x5: axis 1 is 1")


@pytest.mark.parametrize("scale", [0.6, 1.3, 0.7, 1 / 3, 0.337])
@pytest.mark.parametrize("transform", ["half_pixel", "align_corners", "asymmetric"])
def test_a_symbolic_extent_takes_any_scale(scale: float, transform: str) -> None:
    factors = np.array([1, 1, scale], np.float32)
    for n in (4, 10, 20):  # onnxruntime copies where the length stays
        inputs = [normal(1, 1, n), None, factors]
        attributes = {"mode": "linear", "coordinate_transformation_mode": transform}
        symbolic, fixed = (
            model("Resize", inputs, opset=19, constants=[2], shapes=shapes, **attributes)
            for shapes in ({0: (1, 1, "L")}, {})
        )
        expected = reference(fixed, inputs)
        for proto in (symbolic, fixed):
            assert_same(run(load(proto), inputs), expected, 1e-4, 1e-4)


@pytest.mark.parametrize("mode", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("image", [(10, 9), (1, 6)])
def test_regions_take_as_many_samples_as_they_are_large(mode: str, image: tuple[int, int]) -> None:
    regions = np.array(
        [[0, 0, 8, 9], [1, 1, 4, 5], [2.5, 3.5, 6.6, 9.6], [-3, -2, 12, 14], [4, 4, 4, 4], [7, 6, 2, 1]], np.float32
    )
    inputs = [normal(2, 2, *image), regions, np.array([0, 1, 0, 1, 1, 0])]
    proto = model(
        "RoiAlign", inputs, opset=16, shapes={1: ("R", 4), 2: ("R",)}, output_height=3, output_width=2,
        coordinate_transformation_mode=mode,
    )  # fmt: skip
    called(proto, inputs, reference(proto, inputs))


@pytest.mark.parametrize("opset", [10, 16])
def test_the_default_mode_of_regions_is_that_of_the_operators_version(opset: int) -> None:
    inputs = [normal(1, 1, 6, 7), np.array([[0, 0, 4, 4], [1, 1, 3, 5]], np.float32), np.zeros(2, np.int64)]
    proto = model("RoiAlign", inputs, opset=opset, sampling_ratio=2, output_height=2, output_width=2)
    assert_same(run(load(proto), inputs), reference(proto, inputs), 1e-5, 1e-5)


def test_positions_of_unpooling_count_in_the_output_shape() -> None:
    x = normal(2, 2, 5, 5)
    pooled = model("MaxPool", [x], opset=12, outputs=2, kernel_shape=[2, 2], strides=[2, 2])
    values, places = reference(pooled, [x])
    inputs = [values, places, np.array([2, 2, 5, 5])]
    proto = model(
        "MaxUnpool", inputs, opset=11, constants=[2], shapes={0: ("N", 2, "H", "W"), 1: ("N", 2, "H", "W")},
        kernel_shape=[2, 2], strides=[2, 2],
    )  # fmt: skip
    called(proto, inputs, reference(proto, inputs))
    refused(proto, [normal(2, 2, 3, 2), integers(0, 9, 2, 2, 3, 2), None], "H is 3 .from x0 axis 2.")


def test_a_limit_between_two_sizes_is_named_with_both() -> None:
    text = """<ir_version: 8, opset_import: ["": 19]> main (float[N] x, float[M] z) => (float[M] y) {
      n = Shape(x)  m = Shape(z)  s = Sub(m, n)  zero = Constant<value_ints = [0]>()  p = Concat<axis = 0>(zero, s)
      q = Pad<mode = "edge">(x, p)  y = Add(q, z) }"""
    exe = mlc.compile(onnx.parser.parse_model(text), threads=1)
    assert exe(normal(2), normal(5)).shape == (5,)
    proto = model("MaxPool", [normal(1, 1, 4)], opset=12, shapes={0: (1, 1, "L")}, kernel_shape=[4], strides=[2])
    plan = mlc.compile(load(proto), threads=1).plan
    limited = replace(plan, symbols={}, checks=(Equality(dims.parse("min(3, L)"), 3, "who asks"),))
    with pytest.raises(ShapeError, match=r"L is 2, but must be at least 3 \(who asks\): L = 2 from x0 axis 2"):
        Binder(limited).bind(((1, 1, 2),))
