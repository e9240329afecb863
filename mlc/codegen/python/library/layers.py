"""Layers by their names: normalisations, softmax, attention, recurrent layers."""

import math
from collections.abc import Sequence

import numpy as np

from mlc.codegen.python.library.activations import sigmoid


def mean(x: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """The mean over axes, which stay as 1; of nothing NaN."""
    return x.sum(axis=tuple(axes), keepdims=True) / math.prod(x.shape[a] for a in axes)


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """exp(x) over its sum along an axis."""
    e = np.exp(x - x.max(axis, keepdims=True, initial=-np.inf))
    return e / e.sum(axis, keepdims=True)


def log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """log(softmax(x)); log1p adds the 1 of the largest element, so that small results keep their digits."""
    x = x - x.max(axis, keepdims=True, initial=-np.inf)
    others = np.where(x == 0, 0, np.exp(x)).sum(axis, keepdims=True)
    equals = (x == 0).sum(axis, keepdims=True).astype(x.dtype)
    return x - np.log1p(others + (equals - 1))


def layer_norm(
    x: np.ndarray,
    scale: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    *,
    axes: Sequence[int],
    epsilon: float,
) -> np.ndarray:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias over the last axes."""
    centred = x - mean(x, axes)
    y = centred / np.sqrt(mean(centred * centred, axes) + epsilon)
    y = y if scale is None else y * scale
    return y if bias is None else y + bias


def rms_norm(x: np.ndarray, scale: np.ndarray | None = None, *, axes: Sequence[int], epsilon: float) -> np.ndarray:
    """x / sqrt(mean(x * x) + epsilon) * scale over the last axes."""
    y = x / np.sqrt(mean(x * x, axes) + epsilon)
    return y if scale is None else y * scale


def batch_norm(
    x: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    *,
    epsilon: float,
    axis: int = 1,
) -> np.ndarray:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, one of each per channel, those of `axis`."""
    factor = scale / np.sqrt(variance + epsilon)
    offset = bias - mean * factor
    shape = [-1 if a == axis else 1 for a in range(x.ndim)]
    return x * factor.reshape(shape).astype(x.dtype) + offset.reshape(shape).astype(x.dtype)


def instance_norm(x: np.ndarray, scale: np.ndarray, bias: np.ndarray, *, epsilon: float) -> np.ndarray:
    """Each channel of each item, x [n, c, ...], by its own mean and variance; scale and bias per channel."""
    y = layer_norm(x, axes=range(2, x.ndim), epsilon=epsilon)
    shape = [-1 if a == 1 else 1 for a in range(x.ndim)]
    return y * scale.reshape(shape) + bias.reshape(shape)


def group_norm(x: np.ndarray, scale: np.ndarray, bias: np.ndarray, *, groups: int, epsilon: float) -> np.ndarray:
    """Each group of channels of each item, x [n, c, ...], by its own mean and variance; scale and bias per channel."""
    n, c, *sizes = x.shape
    grouped = x.reshape(n, groups, c // groups, *sizes)
    y = layer_norm(grouped, axes=range(2, grouped.ndim), epsilon=epsilon).reshape(x.shape)
    shape = [-1 if a == 1 else 1 for a in range(x.ndim)]
    return y * scale.reshape(shape) + bias.reshape(shape)


def attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    scale: float,
    causal: bool = False,
) -> np.ndarray:
    """softmax(q k' * scale + mask) v, each [batch, heads, length, size]; several heads of q may share one of k and v.

    A mask of bool keeps what is True; with `causal` a query sees no keys behind its own place.
    """
    shared = q.shape[1] // k.shape[1] if k.shape[1] else 1
    k, v = np.repeat(k, shared, axis=1), np.repeat(v, shared, axis=1)
    scores = (q * q.dtype.type(scale)) @ k.swapaxes(2, 3)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    if causal:
        scores = np.where(np.tri(*scores.shape[2:], dtype=np.bool_), scores, -np.inf)
    return softmax(scores, 3) @ v


def lstm(
    x: np.ndarray,
    w: np.ndarray,
    r: np.ndarray,
    h: np.ndarray,
    c: np.ndarray,
    bias: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    *,
    gates: str,
    reverse: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Long short-term memory over x [steps, batch, input]: (h of every step, last h, last c).

    `gates` names the order of the rows of w and r: i(nput), o(utput), f(orget), c(andidate). Behind a row's length its state stays.
    """
    given = x @ w.T if bias is None else x @ w.T + bias
    y = np.zeros((len(x), *h.shape), x.dtype)
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        gate = dict(zip(gates, np.split(given[t] + h @ r.T, 4, axis=1), strict=True))
        new_c = sigmoid(gate["f"]) * c + sigmoid(gate["i"]) * np.tanh(gate["c"])
        new_h = sigmoid(gate["o"]) * np.tanh(new_c)
        goes_on = np.True_ if lengths is None else (t < lengths)[:, None]
        h, c, y[t] = np.where(goes_on, new_h, h), np.where(goes_on, new_c, c), np.where(goes_on, new_h, 0)
    return y, h, c


def gru(
    x: np.ndarray,
    w: np.ndarray,
    r: np.ndarray,
    h: np.ndarray,
    bias: np.ndarray | None = None,
    r_bias: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    *,
    gates: str,
    reverse: bool = False,
    linear_before_reset: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Gated recurrent unit over x [steps, batch, input]: (h of every step, last h).

    `gates` names the order of the rows of w and r: z (update), r(eset), h (candidate). With linear_before_reset the reset gate
    multiplies the product of the state with its weights, else the state. Behind a row's length its state stays.
    """
    given = x @ w.T if bias is None else x @ w.T + bias
    weight = dict(zip(gates, np.split(r, 3), strict=True))
    shift = dict(zip(gates, np.split(np.zeros(len(r), x.dtype) if r_bias is None else r_bias, 3), strict=True))
    y = np.zeros((len(x), *h.shape), x.dtype)
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        gate = dict(zip(gates, np.split(given[t], 3, axis=1), strict=True))
        z = sigmoid(gate["z"] + h @ weight["z"].T + shift["z"])
        reset = sigmoid(gate["r"] + h @ weight["r"].T + shift["r"])
        if linear_before_reset:
            candidate = np.tanh(gate["h"] + reset * (h @ weight["h"].T + shift["h"]))
        else:
            candidate = np.tanh(gate["h"] + (reset * h) @ weight["h"].T + shift["h"])
        new_h = (1 - z) * candidate + z * h
        goes_on = np.True_ if lengths is None else (t < lengths)[:, None]
        h, y[t] = np.where(goes_on, new_h, h), np.where(goes_on, new_h, 0)
    return y, h
