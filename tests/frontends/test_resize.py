"""Resize, Upsample, AffineGrid, GridSample and RoiAlign against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx.parser
import onnxruntime
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import mlc
from mlc.errors import ShapeError
from mlc.frontends.onnx import load
from tests.frontends.one_node import assert_same, check, compiled, model, normal, reference, run

TRANSFORMS = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]
NEAREST = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


def sizes(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def scales(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@settings(max_examples=40, deadline=None)
@given(
    mode=st.sampled_from(["nearest", "linear", "cubic"]),
    transform=st.sampled_from(TRANSFORMS),
    nearest=st.sampled_from(NEAREST),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
)
def test_resize_to_sizes(mode: str, transform: str, nearest: str, height: int, width: int) -> None:
    attributes: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": transform}
    if mode == "nearest":
        attributes["nearest_mode"] = nearest
    # The first of 2 positions in 6 is 1 exactly; onnxruntime's, computed in f32, is just below, and its floor is 0.
    assume((mode, transform, nearest, width) != ("nearest", "half_pixel_symmetric", "floor", 2))
    x = normal(1, 2, 4, 6)
    check("Resize", [x, None, None, sizes(1, 2, height, width)], opset=19, constants=[3], rtol=1e-4, **attributes)


@settings(max_examples=25, deadline=None)
@given(
    mode=st.sampled_from(["nearest", "linear", "cubic"]),
    transform=st.sampled_from(["half_pixel", "pytorch_half_pixel", "asymmetric"]),
    # Factors whose positions are exact in single precision: onnxruntime computes them there.
    factor=st.sampled_from([0.5, 0.75, 1.0, 1.5, 2.0, 3.0]),
)
def test_resize_by_scales(mode: str, transform: str, factor: float) -> None:
    attributes = {"mode": mode, "coordinate_transformation_mode": transform}
    x = normal(1, 2, 4, 8)
    check("Resize", [x, None, scales(1, 1, factor, 2)], opset=13, constants=[2], rtol=1e-4, **attributes)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("exclude", [0, 1])
def test_antialias_stretches_the_filter(mode: str, exclude: int) -> None:
    x = normal(1, 1, 9, 8)
    exclude = exclude if mode == "cubic" else 0
    check(
        "Resize",
        [x, None, None, sizes(1, 1, 4, 3)],
        opset=19,
        constants=[3],
        mode=mode,
        antialias=1,
        exclude_outside=exclude,
        atol=1e-4,
    )


def test_crop_and_resize_fills_what_lies_outside() -> None:
    x, roi = normal(1, 1, 4, 4), scales(0, 0, 0.4, 0.6, 1, 1, 1.2, 1.7)
    check(
        "Resize",
        [x, roi, None, sizes(1, 1, 3, 3)],
        opset=13,
        constants=[1, 3],
        mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=10.0,
    )


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_aspect_ratio_is_kept(policy: str) -> None:
    x = normal(1, 1, 4, 6)
    check(
        "Resize",
        [x, None, None, sizes(7, 9)],
        opset=19,
        constants=[3],
        axes=[2, 3],
        mode="linear",
        keep_aspect_ratio_policy=policy,
    )


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("factor", [2.0, 0.5, 1.5])
def test_early_versions_start_at_the_corner(mode: str, factor: float) -> None:
    x = normal(1, 1, 4, 6)
    check("Resize", [x, scales(1, 1, factor, factor)], opset=10, constants=[1], mode=mode)
    check("Upsample", [x, scales(1, 1, max(factor, 1), 2)], opset=9, constants=[1], mode=mode)
    check("Upsample", [x], opset=8, scales=[1.0, 1.0, max(factor, 1.0), 2.0], mode=mode)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("transform", ["half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("height, width", [(1, 1), (3, 8), (13, 5)])
def test_a_symbolic_image_is_doubled(mode: str, transform: str, height: int, width: int) -> None:
    x = normal(2, 1, height, width)
    symbolic = model(
        "Resize",
        [x, None, scales(1, 1, 2, 2)],
        opset=13,
        constants=[2],
        shapes={0: ("N", 1, "H", "W")},
        mode=mode,
        coordinate_transformation_mode=transform,
    )
    np.testing.assert_allclose(run(load(symbolic), [x])[0], reference(symbolic, [x])[0], rtol=1e-4, atol=1e-5)


def test_a_symbolic_image_is_brought_to_fixed_sizes() -> None:
    proto = model(
        "Resize",
        [normal(1, 1, 4, 4), None, None, sizes(1, 1, 5, 7)],
        opset=13,
        constants=[3],
        shapes={0: (1, 1, "H", "W")},
        mode="linear",
    )
    module = load(proto)
    for height, width in [(1, 1), (4, 9), (31, 2)]:
        x = normal(1, 1, height, width)
        np.testing.assert_allclose(run(module, [x])[0], reference(proto, [x])[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align_corners", [0, 1])
def test_grid_sample(mode: str, padding_mode: str, align_corners: int) -> None:
    x, grid = normal(2, 2, 4, 5), normal(2, 3, 6, 2, seed=1)
    attributes = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    check("GridSample", [x, grid], opset=20, rtol=1e-4, atol=1e-4, **attributes)


def test_grid_sample_of_a_volume() -> None:
    x, grid = normal(1, 2, 3, 4, 5), normal(1, 2, 3, 2, 3, seed=1)
    check("GridSample", [x, grid], opset=20, mode="linear", rtol=1e-4)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("transform", ["half_pixel", "output_half_pixel"])
def test_roi_align(mode: str, transform: str) -> None:
    x = normal(2, 3, 10, 12)
    rois = np.array([[0, 0, 9, 9], [-3, 2, 5.5, 8], [4, 4, 30, 30]], np.float32)
    check(
        "RoiAlign",
        [x, rois, np.array([0, 1, 1], np.int64)],
        opset=16,
        mode=mode,
        coordinate_transformation_mode=transform,
        output_height=3,
        output_width=2,
        sampling_ratio=2,
        spatial_scale=0.5,
        rtol=1e-4,
    )


@settings(max_examples=25, deadline=None)
@given(
    image=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    cells=st.tuples(st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4])),
    regions=st.integers(0, 4),
    scale=st.sampled_from([1.0, 0.5, 0.25]),
    mode=st.sampled_from(["max", "avg"]),
    half_pixel=st.booleans(),
    negative=st.booleans(),
    whole=st.booleans(),
    seed=st.integers(0, 99),
)
def test_regions_have_as_many_samples_as_their_size_asks_for(
    image: tuple[int, int],
    cells: tuple[int, int],
    regions: int,
    scale: float,
    mode: str,
    half_pixel: bool,
    negative: bool,
    whole: bool,
    seed: int,
) -> None:
    """Inside of the image and beside it, of no extent, and of whole numbers, where samples fall on pixels.

    Cells are halves and quarters of a region, so that no rounding decides whether a sample is still at the image's border. With half_pixel
    onnxruntime may refuse the number of samples of a region that ends in front of its start.
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, 3, *image), np.float32)
    x = -np.abs(x) if negative else x
    low, extent = rng.uniform(-4, 8, (regions, 2)), rng.uniform(-2, 12, (regions, 2))
    extent = np.maximum(extent, 0) if half_pixel else extent
    rois = np.concatenate([low, low + extent], 1).astype(np.float32)
    inputs = [x, np.round(rois) if whole else rois, rng.integers(0, 2, regions)]
    given: dict[str, Any] = {
        "mode": mode,
        "sampling_ratio": 0,
        "output_height": cells[0],
        "output_width": cells[1],
        "spatial_scale": scale,
    }
    given["coordinate_transformation_mode"] = "half_pixel" if half_pixel else "output_half_pixel"
    check("RoiAlign", inputs, opset=16, atol=3e-5, **given)


def test_the_largest_of_adaptive_samples_in_native_code_at_open_sizes() -> None:
    x, rois = normal(2, 3, 10, 12), np.array([[0, 0, 9, 9], [-3, 2, 5.5, 8], [4, 4, 300, 30]], np.float32)
    inputs = [x, rois, np.array([0, 1, 1], np.int64)]
    shapes = {0: ["N", 3, "H", "W"], 1: ["R", 4], 2: ["R"]}
    proto = model(
        "RoiAlign", inputs, opset=16, shapes=shapes, mode="max", sampling_ratio=0, output_height=3, output_width=2
    )
    assert_same(compiled(proto, inputs), reference(proto, inputs), 1e-4, 1e-5)


@pytest.mark.parametrize("image", [(3, 4), (1, 1), (2, 3, 4), (1, 5, 1)])
@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_affine_grids_of_images_and_volumes(image: tuple[int, ...], aligned: int, dtype: type) -> None:
    count = len(image)
    theta, size = normal(2, count, count + 1, dtype=dtype), np.array([2, 3, *image], np.int64)
    check("AffineGrid", [theta, size], opset=20, constants=[1], align_corners=aligned)
    proto = model("AffineGrid", [theta, size], opset=20, align_corners=aligned)  # the size is compiled for at the call
    assert_same(compiled(proto, [theta, size]), reference(proto, [theta, size]), 1e-5, 1e-6)


def test_affine_grids_follow_the_sizes_of_an_image() -> None:
    text = """<ir_version: 9, opset_import: ["": 20]> g (float[N, 2, 3] theta, float[N, 3, H, W] x) => (float[N, 3, H, W] y) {
        s = Shape (x)  grid = AffineGrid <align_corners = 1> (theta, s)  y = GridSample <align_corners = 1> (x, grid)
    }"""
    proto = onnx.parser.parse_model(text)
    exe = mlc.compile(proto, threads=1)
    for n, h, w in [(1, 1, 1), (2, 5, 3), (3, 1, 7)]:
        feed = {"theta": normal(n, 2, 3), "x": normal(n, 3, h, w)}
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        np.testing.assert_allclose(exe.run(None, feed)[0], session.run(None, feed)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "size, words",
    [([2, 3, 4], "size has 3 elements"), ([2, 3, -4, 4], "size holds -4"), ([2, 3, 4, 4, 4], r"expected \[N, 3, 4\]")],
)
def test_an_affine_grid_of_no_image_is_refused(size: list[int], words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        load(model("AffineGrid", [normal(2, 2, 3), np.array(size, np.int64)], opset=20, constants=[1]))


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("group, offset_group", [(1, 1), (2, 2), (1, 2)])
def test_deform_conv(masked: bool, group: int, offset_group: int) -> None:
    x, w = normal(2, 4, 6, 5), normal(2, 4 // group, 3, 2, seed=1)
    attributes = {"strides": [2, 1], "pads": [1, 0, 1, 1], "dilations": [1, 2]}
    results = (3, 4)
    offset = normal(2, offset_group * 12, *results, seed=2)
    mask = np.abs(normal(2, offset_group * 6, *results, seed=3)) if masked else None
    inputs = [x, w, offset, normal(2, seed=4), mask]
    check(
        "DeformConv", inputs if masked else inputs[:4], opset=22, group=group, offset_group=offset_group, **attributes
    )
