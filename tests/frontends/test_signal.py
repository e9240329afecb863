"""Fourier transforms against numpy.fft, folding of blocks against its definition, mel filters against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
from mlc.errors import ShapeError
from mlc.frontends.onnx import load
from tests.frontends.one_node import check, compiled, interpreted, model, normal, reference, run


def pairs(z: np.ndarray) -> np.ndarray:
    return np.stack([z.real, z.imag], -1)


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(1, 13),
    length=st.integers(1, 13),
    complex_=st.booleans(),
    inverse=st.booleans(),
    axis=st.integers(0, 1),
)
def test_dft_pads_or_cuts_to_its_length(n: int, length: int, complex_: bool, inverse: bool, axis: int) -> None:
    x = normal(n, n + 1, 2 if complex_ else 1, dtype=np.float64)
    inputs = [x, np.array(length), np.array(axis)]
    found = interpreted(model("DFT", inputs, opset=20, constants=[1, 2], inverse=int(inverse)), inputs)[0]
    z = x[..., 0] + (1j * x[..., 1] if complex_ else 0)
    transform = np.fft.ifft if inverse else np.fft.fft
    np.testing.assert_allclose(found, pairs(transform(z, n=length, axis=axis)), atol=1e-10)


@pytest.mark.parametrize("n", [1, 2, 8, 9])
def test_one_sided_transforms(n: int) -> None:
    x = normal(3, n, 1, dtype=np.float64)
    (spectrum,) = interpreted(model("DFT", [x], opset=20, onesided=1), [x])
    np.testing.assert_allclose(spectrum, pairs(np.fft.rfft(x[..., 0])), atol=1e-12)
    inputs = [spectrum, np.array(n)]
    (back,) = interpreted(model("DFT", inputs, opset=20, constants=[1], onesided=1, inverse=1), inputs)
    np.testing.assert_allclose(back, x, atol=1e-12)


@pytest.mark.parametrize("windowed", [True, False])
@pytest.mark.parametrize("onesided", [0, 1])
def test_stft(windowed: bool, onesided: int) -> None:
    window = np.hanning(16).astype(np.float32) if windowed else None
    inputs = [normal(2, 64, 1), np.array(5), window, np.array(16)]
    check("STFT", inputs, opset=17, constants=[1, 3], onesided=onesided, atol=1e-4)


def test_the_number_of_frames_follows_a_symbolic_signal() -> None:
    inputs = [normal(1, 20, 1), np.array(3), None, np.array(8)]
    module = load(model("STFT", inputs, opset=17, constants=[1, 3], shapes={0: ("N", "T", 1)}))
    for samples in (8, 9, 30):
        x = normal(2, samples, 1)
        frames = np.lib.stride_tricks.sliding_window_view(x[..., 0], 8, 1)[:, ::3]
        np.testing.assert_allclose(run(module, [x])[0], pairs(np.fft.rfft(frames)), atol=1e-4)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("form", ["", "inverse", "onesided", "both"])
def test_a_transform_whose_length_the_run_decides(form: str, parts: int) -> None:
    inverse, onesided = form in ("inverse", "both"), form in ("onesided", "both")
    attributes = {"inverse": int(inverse), "onesided": int(onesided)}
    module = load(model("DFT", [normal(2, 4, parts)], opset=20, shapes={0: (2, "T", parts)}, **attributes))
    for length in (2, 5, 12, 97):
        x = normal(2, length, parts)
        points = x[..., 0] + (1j * x[..., 1] if parts == 2 else 0)
        want = {
            "": lambda z: pairs(np.fft.fft(z)),
            "inverse": lambda z: pairs(np.fft.ifft(z)),
            "onesided": lambda z: pairs(np.fft.fft(z)[..., : z.shape[-1] // 2 + 1]),
            "both": lambda z: np.fft.irfft(z, n=2 * (z.shape[-1] - 1))[..., None],
        }[form](points)
        np.testing.assert_allclose(run(module, [x])[0], want, atol=2e-5)


def test_a_length_that_another_input_gives() -> None:
    """dft_length is the extent of y: x is cut or filled with zeros."""
    inputs = [normal(1, 4, 1), normal(6)]
    proto = model("DFT", [inputs[0], np.array(6)], opset=20, shapes={0: (1, "T", 1)})
    del proto.graph.input[1:]
    proto.graph.input.append(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["L"]))
    proto.graph.node.insert(0, onnx.helper.make_node("Shape", ["y"], ["s"]))
    proto.graph.node.insert(1, onnx.helper.make_node("ReduceProd", ["s"], ["x1"], keepdims=0))
    exe = mlc.compile(proto)
    for samples, length in ((4, 6), (9, 6), (5, 5), (3, 1)):
        x = normal(1, samples, 1)
        np.testing.assert_allclose(exe(x, normal(length)), pairs(np.fft.fft(x[..., 0], n=length)), atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    block=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pads=st.lists(st.integers(0, 1), min_size=4, max_size=4),
    image=st.tuples(st.integers(5, 7), st.integers(5, 7)),
)
def test_col2im_sums_overlapping_blocks(
    block: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    pads: list[int],
    image: tuple[int, int],
) -> None:
    height, width = (n + pads[i] + pads[i + 2] for i, n in enumerate(image))
    rows = range(0, height - (block[0] - 1) * dilations[0], strides[0])
    columns = range(0, width - (block[1] - 1) * dilations[1], strides[1])
    x = normal(2, 3 * block[0] * block[1], len(rows) * len(columns))
    expected = np.zeros((2, 3, height, width))
    parts = x.reshape(2, 3, *block, len(rows), len(columns))
    for i in range(block[0]):
        for j in range(block[1]):
            for r, row in enumerate(rows):
                for c, column in enumerate(columns):
                    expected[:, :, row + i * dilations[0], column + j * dilations[1]] += parts[:, :, i, j, r, c]
    inputs = [x, np.array(image), np.array(block)]
    proto = model("Col2Im", inputs, opset=18, constants=[1, 2], strides=strides, dilations=dilations, pads=pads)
    cropped = expected[:, :, pads[0] : pads[0] + image[0], pads[1] : pads[1] + image[1]]
    np.testing.assert_allclose(interpreted(proto, inputs)[0], cropped, rtol=1e-5, atol=1e-5)


def mel(*numbers: float) -> list[np.ndarray]:
    return [np.array(n, np.int64 if i < 3 else np.float32) for i, n in enumerate(numbers)]


@pytest.mark.parametrize(
    "numbers", [(8, 16, 8192, 0, 4096), (1, 8, 8000, 20, 3000), (11, 31, 16000, 700, 1500), (5, 512, 8000, 0, 4000)]
)
def test_mel_filters(numbers: tuple[float, ...]) -> None:
    for more in ({}, {"output_datatype": 11}):
        check("MelWeightMatrix", mel(*numbers), opset=17, constants=range(5), rtol=1e-6, **more)


def test_mel_filters_by_values_of_a_call() -> None:
    inputs = mel(4, 16, 8000, 0, 4000)
    proto = model("MelWeightMatrix", inputs, opset=17)
    np.testing.assert_allclose(compiled(proto, inputs)[0], reference(proto, inputs)[0], rtol=1e-6)


@pytest.mark.parametrize(
    "numbers, words",
    [
        ((0, 16, 8000, 0, 4000), "num_mel_bins is 0"),
        ((4, 16, 0, 0, 4000), "sample_rate is 0"),
        ((4, 16, 800, 0, 4000), "beyond the 9 frequencies"),
    ],
)
def test_mel_filters_that_do_not_exist_are_refused(numbers: tuple[float, ...], words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        load(model("MelWeightMatrix", mel(*numbers), opset=17, constants=range(5)))
