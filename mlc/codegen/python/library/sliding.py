"""Borders, sliding windows, convolution and pooling."""

import math
from collections.abc import Sequence

import numpy as np

LETTERS = "abcdefhjklmpqrstuvwxyz"  # of axes, but for those that conv names itself


def pad(
    x: np.ndarray, low: Sequence[int], high: Sequence[int], value: float = 0, between: Sequence[int] | None = None
) -> np.ndarray:
    """`low` elements before x, `high` behind it and `between` its own, per axis; negative numbers of them take away."""
    apart = [1] * x.ndim if between is None else [n + 1 for n in between]
    sizes = [max(0, lo + (n and (n - 1) * d + 1) + hi) for n, lo, hi, d in zip(x.shape, low, high, apart, strict=True)]
    result = np.full(sizes, value, x.dtype)
    here, there = [], []
    for n, lo, d, size in zip(x.shape, low, apart, sizes, strict=True):
        first = max(0, -(lo // d))  # the first element that is not taken away, and how many are left
        count = max(0, min(n, -((lo - size) // d)) - first)
        here.append(slice(first, first + count))
        there.append(slice(lo + first * d, lo + (first + count - 1) * d + 1, d) if count else slice(0, 0))
    result[tuple(there)] = x[tuple(here)]
    return result


def windows(
    x: np.ndarray,
    window: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilations: Sequence[int],
    x_dilation: Sequence[int],
    fill: float,
) -> np.ndarray:
    """A view of the windows over all axes of x: [*positions, *window]. Outside x, and between its elements, is `fill`."""
    x = pad(x, [lo for lo, _ in padding], [hi for _, hi in padding], fill, [d - 1 for d in x_dilation])
    reach = [(w - 1) * d + 1 for w, d in zip(window, dilations, strict=True)]
    positions = [max(0, (n - r) // s + 1) for n, r, s in zip(x.shape, reach, strides, strict=True)]
    if 0 in positions or 0 in window:
        return np.empty((*positions, *window), x.dtype)
    every = np.lib.stride_tricks.sliding_window_view(x, reach)
    return every[tuple(slice(None, None, s) for s in (*strides, *dilations))]


def conv(
    x: np.ndarray,
    weight: np.ndarray,
    strides: Sequence[int] | None = None,
    padding: Sequence[tuple[int, int]] | None = None,
    dilations: Sequence[int] | None = None,
    x_dilation: Sequence[int] | None = None,
    groups: int = 1,
) -> np.ndarray:
    """Cross-correlation of x [n, c, *sizes] with weight [o, c / groups, *taps]: [n, o, *positions].

    x_dilation puts zeros between the elements of x first, which makes it a transposed convolution.
    """
    n, (o, i, *taps) = len(x), weight.shape
    ones = [1] * len(taps)
    taken = windows(
        x,
        (1, 1, *taps),
        (1, 1, *(strides or ones)),
        ((0, 0), (0, 0), *(padding or [(0, 0)] * len(taps))),
        (1, 1, *(dilations or ones)),
        (1, 1, *(x_dilation or ones)),
        0,
    )
    places = taken.shape[2 : 2 + len(taps)]
    taken = taken.reshape(n, groups, i, *places, *taps)
    weight = weight.reshape(groups, o // groups, i, *taps)
    p, t = LETTERS[: len(taps)], LETTERS[len(taps) : 2 * len(taps)]
    result = np.einsum(f"ngi{p}{t},goi{t}->ngo{p}", taken, weight, optimize=True)
    return result.reshape(n, o, *places)


def pool(
    fold: np.ufunc,
    x: np.ndarray,
    fill: float,
    window: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Sequence[tuple[int, int]] | None = None,
    dilations: Sequence[int] | None = None,
    x_dilation: Sequence[int] | None = None,
) -> np.ndarray:
    """Fold each window over x: np.maximum with fill -inf is max pooling, np.add with fill 0 a sum. One size per axis."""
    ones = [1] * x.ndim
    taken = windows(
        x, window, strides or ones, padding or [(0, 0)] * x.ndim, dilations or ones, x_dilation or ones, fill
    )
    return fold.reduce(taken, axis=tuple(range(x.ndim, 2 * x.ndim)), dtype=x.dtype)


def window_place(
    x: np.ndarray,
    y: np.ndarray,
    fill: float,
    window: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Sequence[tuple[int, int]] | None = None,
    dilations: Sequence[int] | None = None,
) -> np.ndarray:
    """The number in each window of x of its first element that is y there, or NaN; of none the last."""
    ones = [1] * x.ndim
    taken = windows(x, window, strides or ones, padding or [(0, 0)] * x.ndim, dilations or ones, ones, fill)
    taken = taken.reshape(*y.shape, math.prod(window))
    equal = (taken == y[..., None]) | np.isnan(taken)
    return np.where(equal.any(-1), equal.argmax(-1), math.prod(window) - 1)


def window_elements(
    places: np.ndarray,
    shape: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Sequence[tuple[int, int]] | None = None,
    dilations: Sequence[int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(which elements of a flat tensor of this shape the places in windows are, are they there at all)"""
    ones = [1] * len(shape)
    grid = np.indices(places.shape, sparse=True)
    taps = np.unravel_index(np.minimum(places.astype(np.int64), math.prod(window) - 1), window)
    flat, inside = np.zeros(places.shape, np.int64), np.ones(places.shape, bool)
    steps = zip(grid, taps, shape, strides or ones, padding or [(0, 0)] * len(shape), dilations or ones, strict=True)
    for place, tap, size, stride, (low, _), dilation in steps:
        spot = place * stride + tap * dilation - low
        flat, inside = flat * size + spot, inside & (spot >= 0) & (spot < size)
    return flat, inside


def window_pick(
    x: np.ndarray,
    places: np.ndarray,
    window: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Sequence[tuple[int, int]] | None = None,
    dilations: Sequence[int] | None = None,
) -> np.ndarray:
    """The element of each window of x at this place in it; 0 where that lies in the padding."""
    flat, inside = window_elements(places, x.shape, window, strides, padding, dilations)
    result = np.zeros(places.shape, x.dtype)
    result[inside] = x.reshape(-1)[flat[inside]]
    return result


def window_put(
    values: np.ndarray,
    places: np.ndarray,
    shape: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Sequence[tuple[int, int]] | None = None,
    dilations: Sequence[int] | None = None,
) -> np.ndarray:
    """Zeros of this shape, with each value added to the element of its window at this place in it."""
    flat, inside = window_elements(places, shape, window, strides, padding, dilations)
    result = np.zeros(math.prod(shape), values.dtype)
    np.add.at(result, flat[inside], values[inside])
    return result.reshape(shape)
