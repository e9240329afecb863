"""Convolution, depthwise convolution and pooling in NHWC, against float64."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.ir.kernel.access import L
from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.kernel import Buffer, Kernel
from tests.kernel import hand_made
from tests.kernel.native import RUNNABLE, by_rules, close, floats, run

CHANNELS = st.sampled_from([1, 3, 16, 20, 33])
QUICK = settings(max_examples=8, deadline=None)


def windows(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    """[..., h, w, c] -> [..., oh, ow, c, kh, kw]."""
    found = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (size, size), (-3, -2))
    return found[..., ::stride, ::stride, :, :, :]


@QUICK
@given(
    oh=st.integers(1, 9), ow=st.integers(1, 20), ic=CHANNELS, oc=CHANNELS, size=st.sampled_from([1, 2, 3]),
    stride=st.sampled_from([1, 2]), named=st.booleans(), target=st.sampled_from(RUNNABLE),
)  # fmt: skip
def test_convolution(oh, ow, ic, oc, size, stride, named, target):
    h, w = (oh - 1) * stride + size, (ow - 1) * stride + size
    x, weight, bias = floats(2, h, w, ic), floats(size, size, ic, oc), floats(oc)
    exact = np.maximum(np.einsum("nyxcij,ijco->nyxo", windows(x, size, stride), weight.astype(np.float64)) + bias, 0)
    arrays = {"X": x, "W": weight, "bias": bias, "Y": np.zeros(exact.shape, np.float32)}
    kernel = (
        hand_made.conv("H", "V", ic, oc, size, stride, "N") if named else hand_made.conv(h, w, ic, oc, size, stride, 2)
    )
    extents = {"H": h, "V": w, "N": 2, "OH": oh, "OW": ow} if named else {}
    close(run(kernel, arrays, "Y", target, parts=3, **extents), exact)


@QUICK
@given(oh=st.integers(1, 5), ow=st.integers(1, 17), c=CHANNELS, stride=st.sampled_from([1, 2]), maximum=st.booleans())
def test_depthwise_convolution_and_pooling(oh, ow, c, stride, maximum):
    h, w = (oh - 1) * stride + 3, (ow - 1) * stride + 3
    x, weight = floats(h, w, c), floats(3, 3, c)
    kernel = Kernel("window", {"X": Buffer((h, w, c)), "W": Buffer((3, 3, c)), "Y": Buffer((oh, ow, c))})
    at, out, pixel = kernel.buffers, {"oh": oh, "ow": ow, "c": c}, ("oh", "ow", "c")
    image = (at["X"], (L("oh") * stride + "kh", L("ow") * stride + "kw", "c"))
    start = float("-inf") if maximum else 0.0
    total = kernel.temporary(tuple(out.values()), name="acc")
    kernel.structured(out, [], (total, pixel), lambda b, y: hand_made.number(b, start))
    taps = {**out, "kh": 3, "kw": 3}
    if maximum:
        kernel.structured(taps, [image], (total, pixel), lambda b, x, y: hand_made.maximum(b, y, x), {"kh", "kw"})
        exact = windows(x, 3, stride).max((-1, -2))
    else:
        operands = [image, (at["W"], ("kh", "kw", "c"))]
        kernel.structured(taps, operands, (total, pixel), hand_made.multiply_add, {"kh", "kw"})
        exact = np.einsum("yxcij,ijc->yxc", windows(x, 3, stride), weight.astype(np.float64))
    kernel.structured(out, [(total, pixel)], (at["Y"], pixel), hand_made.copied)
    kernel.return_()
    close(run(kernel, {"X": x, "W": weight, "Y": np.zeros((oh, ow, c), np.float32)}, "Y", parts=2), exact)


def test_grouped_convolution_packs_a_panel_per_group():
    n, oh, ow, g, ic, oc = 1, 4, 6, 3, 5, 20
    x, weight = floats(n, oh + 2, ow + 2, g, ic), floats(3, 3, g, ic, oc)
    kernel = Kernel(
        "grouped", {"X": Buffer(x.shape), "W": Buffer(weight.shape, weight=True), "Y": Buffer((n, oh, ow, g, oc))}
    )
    at, out, who = kernel.buffers, {"n": n, "oh": oh, "ow": ow, "g": g, "oc": oc}, ("n", "oh", "ow", "g", "oc")
    total = kernel.temporary(tuple(out.values()), name="acc")
    kernel.structured(out, [], (total, who), hand_made.zero)
    operands = [(at["X"], ("n", L("oh") + "kh", L("ow") + "kw", "g", "ic")), (at["W"], ("kh", "kw", "g", "ic", "oc"))]
    kernel.structured(
        {**out, "kh": 3, "kw": 3, "ic": ic}, operands, (total, who), hand_made.multiply_add, {"kh", "kw", "ic"}
    )
    kernel.structured(out, [(total, who)], (at["Y"], who), hand_made.copied)
    kernel.return_()
    view = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (3, 3), (1, 2))
    exact = np.einsum("nyxgcij,ijgco->nyxgo", view, weight.astype(np.float64))
    packed = by_rules(kernel.clone(), cpu_target()).packs["W"]
    assert packed.tiles.keys() >= {1} or packed.tiles
    close(run(kernel, {"X": x, "W": weight, "Y": np.zeros(exact.shape, np.float32)}, "Y"), exact)


def test_a_nan_in_a_window_reaches_the_maximum():
    x = floats(4, 8, 16)
    x[1, 2, 3] = np.nan
    kernel = Kernel("pool", {"X": Buffer((4, 8, 16)), "Y": Buffer((2, 4, 16))})
    at, out = kernel.buffers, {"oh": 2, "ow": 4, "c": 16}
    kernel.structured(out, [], (at["Y"], tuple(out)), lambda b, y: hand_made.number(b, float("-inf")))
    image = (at["X"], (L("oh") * 2 + "kh", L("ow") * 2 + "kw", "c"))
    kernel.structured(
        {**out, "kh": 2, "kw": 2},
        [image],
        (at["Y"], tuple(out)),
        lambda b, x, y: hand_made.maximum(b, y, x),
        {"kh", "kw"},
    )
    kernel.return_()
    found = run(kernel, {"X": x, "Y": np.zeros((2, 4, 16), np.float32)}, "Y")
    assert np.isnan(found[0, 1, 3]) and np.isnan(found).sum() == 1
