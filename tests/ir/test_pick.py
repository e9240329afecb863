"""The largest element of each window: where it is, reading it and putting values back, element by element, in every stage and layout."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlc.errors import DTypeError, ShapeError
from mlc.ir import builder as g
from mlc.ir.types import numpy_dtype
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import graph_passes
from tests.ir.every_stage import agree, built

Axes = list[tuple[int, int, int, int, int]]  # window, stride, before, after, dilation
AXIS = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(0, 2), st.integers(1, 2))


def lists(axes: Axes) -> tuple[Any, ...]:
    window, strides, low, high, dilations = (list(column) for column in zip(*axes, strict=True))
    return window, strides, list(zip(low, high, strict=True)), dilations


def positions(shape: tuple[int, ...], axes: Axes) -> list[int]:
    return [(n + lo + hi - (w - 1) * d - 1) // s + 1 for n, (w, s, lo, hi, d) in zip(shape, axes, strict=True)]


def windows(shape: tuple[int, ...], axes: Axes):  # type: ignore[no-untyped-def]
    """For each position the elements of its window in order; None for padding."""
    for at in np.ndindex(*positions(shape, axes)):
        taps = product(*([p * s - lo + t * d for t in range(w)] for p, (w, s, lo, _, d) in zip(at, axes, strict=True)))
        yield at, [place if all(0 <= p < n for p, n in zip(place, shape, strict=True)) else None for place in taps]


def first_largest(x: np.ndarray, axes: Axes) -> np.ndarray:
    """Number of the first element that a NaN or the maximum stands at; padding is the lowest there is."""
    wide = x.astype(np.float64)
    out = np.zeros(positions(x.shape, axes), np.int64)
    for at, places in windows(x.shape, axes):
        lowest = -np.inf if x.dtype.kind not in "iu" else float(np.iinfo(x.dtype).min)
        values = [lowest if place is None else wide[place] for place in places]
        nans = [i for i, value in enumerate(values) if np.isnan(value)]
        out[at] = nans[0] if nans else values.index(max(values))
    return out


def picked(t: np.ndarray, places: np.ndarray, axes: Axes) -> np.ndarray:
    out = np.zeros(places.shape, t.dtype)
    for at, elements in windows(t.shape, axes):
        place = elements[int(places[at])]
        out[at] = 0 if place is None else t[place]
    return out


def put(c: np.ndarray, places: np.ndarray, shape: tuple[int, ...], axes: Axes) -> np.ndarray:
    out = np.zeros(shape, c.dtype)
    for at, elements in windows(shape, axes):
        place = elements[int(places[at])]
        if place is not None:
            out[place] += c[at]
    return out


def build(axes: Axes):  # type: ignore[no-untyped-def]
    def make(x, t, c):  # type: ignore[no-untyped-def]
        y = g.reduce_window(x, "max", *lists(axes))
        places = g.window_place(x, y, *lists(axes))
        return [
            places,
            g.window_pick(t, places, *lists(axes)),
            g.window_put(c, places, g.shape_of(x), *lists(axes)),
        ]

    return make


def reference(axes: Axes):  # type: ignore[no-untyped-def]
    def expected(x: np.ndarray, t: np.ndarray, c: np.ndarray) -> list[np.ndarray]:
        places = first_largest(x, axes)
        return [places.astype(np.uint8), picked(t, places, axes), put(c, places, x.shape, axes)]

    return expected


def some(shape: tuple[int, ...], dtype: str = "f32", seed: int = 0) -> np.ndarray:
    """Few values: many are equal, and sums are exact."""
    return np.random.default_rng((seed, *shape)).integers(0, 5, shape).astype(numpy_dtype(dtype))


def feed(shape: tuple[int, ...], axes: Axes, dtype: str = "f32") -> list[np.ndarray]:
    return [some(shape, dtype), some(shape, dtype, 1), some(tuple(positions(shape, axes)), dtype, 2)]


def fits(shape: tuple[int, ...], axes: Axes) -> bool:
    return all(n + lo + hi >= (w - 1) * d + 1 for n, (w, _, lo, hi, d) in zip(shape, axes, strict=True))


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 6), AXIS), min_size=1, max_size=3), st.sampled_from([0, 2]))
def test_windows_of_fixed_sizes(drawn: list[Any], level: int) -> None:
    shape, axes = tuple(n for n, _ in drawn), [axis for _, axis in drawn]
    assume(fits(shape, axes))
    specs = [(shape, "f32"), (shape, "f32"), (positions(shape, axes), "f32")]
    agree(build(axes), specs, [feed(shape, axes)], reference(axes), levels=[level])


@settings(max_examples=8)
@given(AXIS, AXIS)
def test_windows_at_every_size(first: Any, second: Any) -> None:
    axes = [(1, 1, 0, 0, 1), first, second]
    w, s, lo, hi, d = first
    shapes = [(n, h, 5) for n in (0, 1, 2) for h in (1, 2, 4, 7) if fits((n, h, 5), axes)]
    assume(shapes)
    across = positions((5,), [second])[0]
    down = f"(H + {lo + hi} - {(w - 1) * d + 1})//{s} + 1"
    specs = [(("N", "H", 5), "f32"), (("N", "H", 5), "f32"), (("N", down, across), "f32")]
    agree(build(axes), specs, [feed(shape, axes) for shape in shapes], reference(axes))


@pytest.mark.parametrize("dtype", ["f64", "f16", "bf16", "i8", "u8", "i32", "i64"])
def test_every_dtype(dtype: str) -> None:
    axes = [(1, 1, 0, 0, 1), (3, 2, 1, 1, 1), (2, 1, 0, 1, 2)]
    shape = (2, 7, 6)
    specs = [(shape, dtype), (shape, dtype), (positions(shape, axes), dtype)]
    agree(build(axes), specs, [feed(shape, axes, dtype)], reference(axes))


@pytest.mark.parametrize("dtype", ["f32", "f16"])
def test_the_first_nan_is_the_largest_and_infinities_are_numbers(dtype: str) -> None:
    axes = [(3, 2, 1, 1, 1)]
    rows = [[1, np.nan, 3, np.nan, 0], [-np.inf] * 5, [np.inf, 2, np.inf, np.inf, np.nan]]
    x = np.array(rows).astype(numpy_dtype(dtype))
    for row in x:
        agree(
            build(axes), [((5,), dtype)] * 2 + [((3,), dtype)], [[row, *feed((5,), axes, dtype)[1:]]], reference(axes)
        )


def test_windows_of_more_than_256_elements_have_wider_numbers() -> None:
    for side, dtype in ((16, "uint8"), (17, "uint16"), (257, "uint32")):
        shape, axes = (side, side + 1), [(side, 1, 0, 0, 1)] * 2
        x = np.zeros(shape, np.float32)
        x[side - 1, side - 1] = 1
        module = built(build(axes), [(shape, "f32")] * 2 + [((1, 2), "f32")])
        places, found, back = module.run(x, x, np.array([[2, 3]], np.float32))
        assert str(places.dtype) == dtype and places.tolist() == [[side * side - 1, side * side - 2]]
        assert found.tolist() == [[1, 1]] and back[side - 1, side - 1] == 5 and back.sum() == 5


def test_pick_and_put_are_transposes() -> None:
    """<c, pick t> = <put c, t>, whatever the places are."""
    axes = [(3, 2, 1, 1, 1), (2, 3, 0, 1, 2)]
    shape = (9, 8)
    out = tuple(positions(shape, axes))
    rng = np.random.default_rng(0)
    places = rng.integers(0, 256, out, np.uint8)  # those beyond the window count as its last
    t, c = (rng.integers(-9, 9, s).astype(np.float64) for s in (shape, out))

    def make(t, c, places):  # type: ignore[no-untyped-def]
        return [g.window_pick(t, places, *lists(axes)), g.window_put(c, places, shape, *lists(axes))]

    clipped = np.minimum(places, 5)
    expected = [picked(t, clipped, axes), put(c, clipped, shape, axes)]
    agree(make, [(shape, "f64"), (out, "f64"), (out, "u8")], [[t, c, places]], lambda *_: expected)
    assert (c * expected[0]).sum() == (expected[1] * t).sum()


def test_channels_last_moves_through_windows() -> None:
    """Pooling and its gradient between two convolutions: no transpose is left between them."""
    axes: Axes = [(1, 1, 0, 0, 1), (1, 1, 0, 0, 1), (3, 2, 1, 1, 1), (3, 2, 1, 1, 1)]

    def make(x, w):  # type: ignore[no-untyped-def]
        y = g.convolution(x, w, padding=[(1, 1), (1, 1)])
        top = g.reduce_window(y, "max", *lists(axes))
        places = g.window_place(y, top, *lists(axes))
        back = g.window_put(g.mul(top, top), places, g.shape_of(y), *lists(axes))
        return g.convolution(back, w, padding=[(1, 1), (1, 1)])

    module = built(make, [((1, 4, 9, 9), "f32"), ((4, 4, 3, 3), "f32")])
    after = str(PassManager(graph_passes(2, disable=["expand-places"]), verify_each=True).run(module))
    between = after[after.index("graph.convolution") : after.rindex("graph.convolution")]
    assert "graph.window_put" in between and "transpose" not in between
    x, w = some((1, 4, 9, 9)), some((4, 4, 3, 3))
    want = module.run(x, w)
    agree(make, [((1, 4, 9, 9), "f32"), ((4, 4, 3, 3), "f32")], [[x, w]], lambda *_: want, 1e-5)


def test_values_put_back_take_the_layout_of_the_maxima() -> None:
    """Behind a product the values lie channels first; what they are put into is read by a convolution, channels last."""
    axes: Axes = [(1, 1, 0, 0, 1), (1, 1, 0, 0, 1), (2, 2, 0, 0, 1), (2, 2, 0, 0, 1)]

    def make(x, w, c, v):  # type: ignore[no-untyped-def]
        y = g.convolution(x, w, padding=[(1, 1), (1, 1)])
        top = g.reduce_window(y, "max", *lists(axes))
        places = g.window_place(y, top, *lists(axes))
        values = g.reshape(g.matmul(c, v), g.shape_of(top))
        return g.convolution(g.window_put(values, places, g.shape_of(y), *lists(axes)), w, padding=[(1, 1), (1, 1)])

    shapes = [((2, 4, 8, 8), "f32"), ((4, 4, 3, 3), "f32"), ((2, 5), "f32"), ((5, 64), "f32")]
    module = built(make, shapes)
    text = str(PassManager(graph_passes(2, disable=["expand-places"]), verify_each=True).run(module))
    assert "transpose" not in text[text.index("graph.window_put") : text.rindex("graph.convolution")]


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ShapeError, match=r"window_place: y is f32\[3\], the windows ask for f32\[2\]"):
        built(lambda x, y: g.window_place(x, y, [2], [2]), [((4,), "f32"), ((3,), "f32")])
    with pytest.raises(ShapeError, match=r"window_pick: places is u16\[2\], the windows ask for u8\[2\]"):
        built(lambda x, p: g.window_pick(x, p, [2], [2]), [((4,), "f32"), ((2,), "u16")])
    with pytest.raises(ShapeError, match=r"window_put: values is f32\[3\], the windows ask for f32\[2\]"):
        built(lambda c, p: g.window_put(c, p, (4,), [2], [2]), [((3,), "f32"), ((2,), "u8")])
    with pytest.raises(DTypeError, match="window_place: takes numbers, not bool"):
        built(lambda x, y: g.window_place(x, y, [2], [2]), [((4,), "bool"), ((2,), "bool")])
