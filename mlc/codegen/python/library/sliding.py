"""Borders, sliding windows, convolution and pooling."""

import math
from collections.abc import Sequence

import numpy as np

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


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
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    padding: Sequence[tuple[int, int]] | None = None,
    fill: float = 0,
) -> np.ndarray:
    """A view of the windows over all axes of x, outside of which is `fill`: [*positions, *window]."""
    strides, dilations = strides or [1] * x.ndim, dilations or [1] * x.ndim
    if padding is not None:
        x = np.pad(x, padding, constant_values=fill)
    reach = [(w - 1) * d + 1 for w, d in zip(window, dilations, strict=True)]
    counts = [max(0, (n - r) // s + 1) for n, r, s in zip(x.shape, reach, strides, strict=True)]
    if 0 in counts or 0 in window:
        return np.empty((*counts, *window), x.dtype)
    every = np.lib.stride_tricks.sliding_window_view(x, reach)
    return every[tuple(slice(None, None, step) for step in (*strides, *dilations))]


def conv(
    x: np.ndarray,
    weight: np.ndarray,
    spec: str,
    strides: Sequence[int] | None = None,
    padding: Sequence[tuple[int, int]] | None = None,
    dilations: Sequence[int] | None = None,
) -> np.ndarray:
    """Cross-correlation: an einsum whose digits are axes that windows run over, as in "nc01,oc01->no01". Strides and the rest are theirs."""
    names, weight_names, result = spec.replace("->", ",").split(",")
    digits = [c for c in names if c.isdigit()]
    taps = dict(zip(weight_names, weight.shape, strict=True))
    per_axis = lambda values, other: [values[int(c)] if values and c in digits else other for c in names]
    window = [taps[c] if c in digits else 1 for c in names]
    around = None if padding is None else per_axis(padding, (0, 0))
    taken = windows(x, window, per_axis(strides, 1), per_axis(dilations, 1), around)
    taken = taken.reshape(*taken.shape[: len(names)], *(taps[c] for c in digits))  # [*places, *taps]
    free = [c for c in LETTERS if c not in spec]
    places, inside = dict(zip(digits, free, strict=False)), dict(zip(digits, free[len(digits) :], strict=False))
    lhs = [places.get(c, c) for c in names] + [inside[c] for c in digits]
    rhs, out = [inside.get(c, c) for c in weight_names], [places.get(c, c) for c in result]
    return np.einsum(f"{''.join(lhs)},{''.join(rhs)}->{''.join(out)}", taken, weight, optimize=True)


def pool(
    fold: np.ufunc,
    x: np.ndarray,
    window: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Sequence[tuple[int, int]] | None = None,
    dilations: Sequence[int] | None = None,
    fill: float = 0,
) -> np.ndarray:
    """Fold each window over x, which has one size per axis; outside x is `fill`."""
    taken = windows(x, window, strides, dilations, padding, fill)
    return fold.reduce(taken, axis=tuple(range(x.ndim, 2 * x.ndim)), dtype=x.dtype)


def max_pool(
    x: np.ndarray,
    window: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Sequence[tuple[int, int]] | None = None,
    dilations: Sequence[int] | None = None,
) -> np.ndarray:
    """The largest element of each window over x, which has one size per axis."""
    return pool(np.maximum, x, window, strides, padding, dilations, fill=-np.inf)


def window_place(
    x: np.ndarray,
    y: np.ndarray,
    window: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Sequence[tuple[int, int]] | None = None,
    dilations: Sequence[int] | None = None,
    fill: float = 0,
) -> np.ndarray:
    """The number in each window of x of its first element that is y there, or NaN; of none the last. Outside x is `fill`."""
    taken = windows(x, window, strides, dilations, padding, fill)
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


def winograd(
    x: np.ndarray,
    weight: np.ndarray,
    there: Sequence[Sequence[int]],
    back: Sequence[Sequence[int]],
    size: Sequence[int],
) -> np.ndarray:
    """A convolution by tiles: x [n, h, w, c] and products with transformed windows [panels, points, c, o], `size` of whose outputs are kept."""
    bt, at = np.array(there, x.dtype), np.array(back, x.dtype)
    m, a = at.shape
    tall, wide = ((extent - 2) // m for extent in x.shape[1:3])
    if 0 in (tall, wide, len(x)):
        return np.zeros((len(x), *size, len(weight) * weight.shape[3]), x.dtype)
    tiles = np.lib.stride_tricks.sliding_window_view(x, (a, a), (1, 2))[:, ::m, ::m][:, :tall, :wide]
    v = np.einsum("ia,nyxcab,jb->ijnyxc", bt, tiles, bt, optimize=True)
    product = np.einsum("ijnyxc,pijco->ijnyxpo", v, weight.reshape(len(weight), a, a, *weight.shape[2:]), optimize=True)
    y = np.einsum("ui,ijnyxpo,vj->nyuxvpo", at, product, at, optimize=True)
    return np.ascontiguousarray(y.reshape(len(x), tall * m, wide * m, -1)[:, : size[0], : size[1]])
