"""Convolutions and pooling against sums written out in NumPy, at random sizes, and their gradients against differences."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
from mlc import nn
from tests.nn.calls import check_calls, random


def windows(x: np.ndarray, kernel: tuple, stride: tuple, padding: list, dilation: tuple, fill: float = 0):
    """(position, window) of each window of x [n, c, *spatial], windows being [n, c, *kernel]."""
    x = np.pad(x, [(0, 0), (0, 0), *padding], constant_values=fill)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    counts = [(n - r) // s + 1 for n, r, s in zip(x.shape[2:], reach, stride, strict=True)]
    for at in product(*map(range, counts)):
        cut = [slice(p * s, p * s + r, d) for p, s, r, d in zip(at, stride, reach, dilation, strict=True)]
        yield at, x[(slice(None), slice(None), *cut)]


def collected(found: list, shape: tuple) -> np.ndarray:
    sizes = np.max([at for at, _ in found], axis=0) + 1
    y = np.zeros((*shape, *sizes))
    for at, value in found:
        y[(slice(None), slice(None), *at)] = value
    return y


def convolved(x, weight, bias, stride, padding, dilation, groups) -> np.ndarray:
    kernel = weight.shape[2:]
    found = []
    for at, part in windows(x, kernel, stride, padding, dilation):
        parts, weights = np.split(part, groups, 1), np.split(weight, groups, 0)
        y = [np.tensordot(p, w, (range(1, p.ndim), range(1, w.ndim))) for p, w in zip(parts, weights, strict=True)]
        found.append((at, np.concatenate(y, 1) + bias))
    return collected(found, (len(x), len(weight)))


CASES = st.fixed_dictionaries(
    {
        "sizes": st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)),
        "kernel": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "stride": st.tuples(st.integers(1, 2), st.integers(1, 3)),
        "padding": st.tuples(st.integers(0, 2), st.integers(0, 2)),
        "dilation": st.tuples(st.integers(1, 2), st.integers(1, 2)),
        "groups": st.sampled_from([1, 2, 3]),
    }
)


def fits(case: dict) -> bool:
    rows = zip(case["sizes"][2:], case["kernel"], case["padding"], case["dilation"], strict=True)
    return all(n + 2 * p >= (k - 1) * d + 1 for n, k, p, d in rows)


@given(CASES.filter(fits), st.booleans())
@settings(max_examples=30, deadline=None)
def test_convolution_of_any_sizes(case: dict, flat: bool) -> None:
    batch, each, *size = case["sizes"]
    cut = 1 if flat else 2
    options = {name: case[name][:cut] for name in ("kernel", "stride", "padding", "dilation")}
    channels = each * case["groups"]
    kind = nn.Conv1d if flat else nn.Conv2d
    layer = kind(channels, 2 * case["groups"], **options, groups=case["groups"], dtype="f64")
    x = random((batch, channels, *size[:cut]))
    ends = [(p, p) for p in options["padding"]]
    expected = convolved(
        x,
        np.asarray(layer.weight),
        np.asarray(layer.bias),
        options["stride"],
        ends,
        options["dilation"],
        case["groups"],
    )
    np.testing.assert_allclose(np.asarray(layer(x)), expected, rtol=1e-10, atol=1e-12)


@given(CASES.filter(fits), st.integers(0, 1))
@settings(max_examples=30, deadline=None)
def test_a_transposed_convolution_is_the_transpose(case: dict, extra: int) -> None:
    """<y, conv(x)> = <conv'(y), x> for the convolution of the same weight."""
    batch, each, *size = case["sizes"]
    options = {name: case[name] for name in ("kernel", "stride", "padding", "dilation", "groups")}
    outputs, channels = 2 * case["groups"], each * case["groups"]
    extra = min(extra, min(case["stride"]) - 1)
    layer = nn.ConvTranspose2d(channels, outputs, **options, output_padding=extra, bias=False, dtype="f64")
    y = random((batch, channels, *size))
    rows = zip(size, case["kernel"], case["stride"], case["padding"], case["dilation"], strict=True)
    wanted = tuple((n - 1) * s - 2 * p + d * (k - 1) + extra + 1 for n, k, s, p, d in rows)
    if min(wanted) < 1:
        with pytest.raises(mlc.ShapeError, match="which is too small: there is no result"):
            layer(y)
        return
    found = np.asarray(layer(y))
    assert found.shape[2:] == wanted
    x = random(found.shape, 1)
    ends = [(p, p) for p in case["padding"]]
    forward = convolved(x, np.asarray(layer.weight), 0, case["stride"], ends, case["dilation"], case["groups"])
    assert (forward * y).sum() == pytest.approx((found * x).sum(), rel=1e-9, abs=1e-9)


@given(CASES.filter(fits))
@settings(max_examples=20, deadline=None)
def test_pooling_of_any_sizes(case: dict) -> None:
    (batch, channels, *size), kernel, stride = case["sizes"], case["kernel"], case["stride"]
    x = random((batch, channels, *size))
    padding = tuple(min(p, k - 1) for p, k in zip(case["padding"], kernel, strict=True))
    ends = [(p, p) for p in padding]
    if fits({**case, "padding": padding}):
        found = [(at, w.max((2, 3))) for at, w in windows(x, kernel, stride, ends, case["dilation"], -np.inf)]
        layer = nn.MaxPool2d(kernel, stride, padding, case["dilation"])
        np.testing.assert_array_equal(np.asarray(layer(x)), collected(found, (batch, channels)))
    if fits({**case, "padding": padding, "dilation": (1, 1)}):
        for count in (True, False):
            counts = dict(windows(np.ones_like(x), kernel, stride, ends, (1, 1)))
            found = [
                (at, w.sum((2, 3)) / (w[0, 0].size if count else counts[at].sum((2, 3))))
                for at, w in windows(x, kernel, stride, ends, (1, 1))
            ]
            layer = nn.AvgPool2d(kernel, stride, padding, count_padding=count)
            np.testing.assert_allclose(np.asarray(layer(x)), collected(found, (batch, channels)), rtol=1e-10)


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding="same", groups=2, dtype="f64"),
        nn.MaxPool2d(2),
        nn.ConvTranspose2d(4, 3, (2, 3), stride=2, padding=(0, 1), output_padding=(1, 0), dtype="f64"),
        nn.AvgPool2d(3, 2, 1, count_padding=False),
        nn.Flatten(),
    )


def test_a_network_of_them_compiles() -> None:
    net, x = network(), random((2, 2, 7, 6))
    y = convolved(x, *map(np.asarray, net[0].parameters()), (1, 1), [(1, 1)] * 2, (1, 1), 2)
    for layer in list(net)[1:]:
        y = np.asarray(layer(y))
    check_calls(net, y, x, tolerance=1e-10)
    check_calls(
        nn.Sequential(nn.Conv1d(2, 3, 2), nn.MaxPool1d(2), nn.AvgPool1d(2, 1)),
        np.zeros((0, 3, 2)),
        np.zeros((0, 2, 7), np.float32),
    )
    for layer, expected in (
        (nn.GlobalAvgPool(), x.mean((2, 3), keepdims=True)),
        (nn.GlobalMaxPool(), x.max((2, 3), keepdims=True)),
    ):
        check_calls(layer, expected, x, tolerance=1e-12)


def test_gradients() -> None:
    net = network()
    parameters = {name: np.asarray(p) for name, p in net.named_parameters()}
    mlc.check_grads(lambda p, x: nn.functional_call(net, p, {}, x)[0], [parameters, random((2, 2, 6, 5))], directions=1)


def test_what_does_not_fit_is_said() -> None:
    for layer in (nn.Conv1d(2, 4, 3), nn.MaxPool1d(3), nn.AvgPool1d(2, padding=0)):
        with pytest.raises(mlc.ShapeError, match=r"x is f32\[1, 2, 1\], which is too small: there is no result"):
            layer(np.zeros((1, 2, 1), np.float32))
    with pytest.raises(
        mlc.ShapeError, match=r"Conv2d: x is f32\[1, 4, 5, 5\], and must be \[batch, 3 channels, spatial, spatial\]"
    ):
        nn.Conv2d(3, 4, 3)(np.zeros((1, 4, 5, 5), np.float32))
    with pytest.raises(mlc.ShapeError, match=r"MaxPool1d: x is f32\[1, 5\], and must be \[batch, channels, spatial\]"):
        nn.MaxPool1d(3)(np.zeros((1, 5), np.float32))
    with pytest.raises(mlc.MlcError, match=r"kernel is \(3, 0\), and must be 2 numbers of 1 or more"):
        nn.Conv2d(3, 4, (3, 0))
    with pytest.raises(mlc.MlcError, match="4 channels and 6 results do not form 4 groups"):
        nn.Conv2d(4, 6, 3, groups=4)
    with pytest.raises(mlc.MlcError, match="keeps the sizes only of stride 1, not 2"):
        nn.Conv1d(4, 6, 3, stride=2, padding="same")
    assert (
        repr(nn.Conv2d(3, 4, 3, 2, 1, groups=1, bias=False))
        == "Conv2d(3, 4, kernel=3, stride=2, padding=1, bias=False)"
    )
    assert repr(nn.AvgPool2d((2, 3))) == "AvgPool2d((2, 3))"
