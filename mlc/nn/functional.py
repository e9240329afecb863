"""Functions of neural networks beyond NumPy's, on tensors, at once or traced. `mlc.nn`'s layers are made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import mlc.numpy as mnp
from mlc import random
from mlc.errors import DTypeError, MlcError, OutOfRange
from mlc.frontends.trace.functions import attention as attentions
from mlc.frontends.trace.functions import elementwise, normalization, recurrent, reductions, window
from mlc.frontends.trace.functions import linear as products
from mlc.frontends.trace.tensor import Tensor, bind, type_text
from mlc.frontends.trace.tracing import user_line
from mlc.ir.dims import Extent


def relu(x: Any) -> Tensor:
    """max(x, 0); the derivative at 0 is 0."""
    return bind(elementwise.relu, (x,))


def gelu(x: Any, approximate: str = "none") -> Tensor:
    """x * Phi(x), Phi the normal distribution function; by tanh, where `approximate` is "tanh". Hendrycks, Gimpel 2016."""
    return bind(elementwise.gelu, (x,), (("approximate", approximate),))


def silu(x: Any) -> Tensor:
    """x * sigmoid(x)."""
    return bind(elementwise.silu, (x,))


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + exp(-x))."""
    return bind(elementwise.sigmoid, (x,))


def softplus(x: Any) -> Tensor:
    """log(1 + exp(x)), without overflow."""
    return bind(elementwise.softplus, (x,))


def tanh(x: Any) -> Tensor:
    return mnp.tanh(x)


def softmax(x: Any, axis: int = -1) -> Tensor:
    """exp(x) over its sum along an axis, without overflow."""
    return bind(reductions.softmax, (x,), (("axis", axis),))


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """log(softmax(x)), without overflow and with all digits."""
    return bind(reductions.log_softmax, (x,), (("axis", axis),))


def positions(what: str, x: Any, count: Extent) -> Tensor:
    """Integers that are positions from 0 to count - 1, as an index. Raises OutOfRange for others, at once or when the compiled code is called."""
    found = mnp.asarray(x)
    if found.dtype.kind not in "iu":
        raise DTypeError(f"{what} is {type_text(found)}, not integers", file=user_line())
    if found.trace is None and isinstance(count, int):
        wrong = np.argwhere((found.numpy() < 0) | (found.numpy() >= count))
        if len(wrong):
            at = tuple(wrong[0].tolist())
            raise OutOfRange(f"{what}: {list(at)} is {found.numpy()[at]}, outside of 0..{count - 1}", file=user_line())
    return found.astype("u32")  # -1 is a large number here, and not the last position


def linear(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """x W' + bias of x [..., in], weight [out, in] and bias [out]."""
    found = x @ weight.T
    return found if bias is None else found + bias


# Normalisation -------------------------------------------------------------------------------------------------------------


def layer_norm(x: Any, axes: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """(x - mean) / sqrt(variance + eps) over trailing axes, then scale and bias, each of these axes' shape. Ba, Kiros, Hinton 2016."""
    given = [p for p in (weight, bias) if p is not None]
    if weight is None and bias is not None:
        raise MlcError("layer_norm: a bias without a weight", file=user_line(), remedy="Add the bias to the result.")
    return bind(normalization.layer_norm, (x, *given), (("axes", tuple(axes)), ("epsilon", eps)))


def rms_norm(x: Any, axes: Sequence[int], weight: Any = None, eps: float = 1e-6) -> Tensor:
    """x / sqrt(mean(x**2) + eps) over trailing axes, then scale. Zhang, Sennrich 2019."""
    given = () if weight is None else (weight,)
    return bind(normalization.rms_norm, (x, *given), (("axes", tuple(axes)), ("epsilon", eps)))


def group_norm(x: Any, groups: int, weight: Any, bias: Any, eps: float = 1e-5) -> Tensor:
    """Each of `groups` runs of channels of each item of x [batch, channels, ...] normalised; then scale and bias per channel. Wu, He 2018."""
    return bind(normalization.group_norm, (x, weight, bias), (("groups", groups), ("epsilon", eps)))


def batch_norm(x: Any, mean: Any, variance: Any, weight: Any, bias: Any, eps: float = 1e-5) -> Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias per channel, axis 1, of given statistics. Ioffe, Szegedy 2015."""
    operands = (x, weight, bias, mean, variance)
    return bind(normalization.batch_norm, operands, (("epsilon", eps), ("axis", 1)))


# Convolution and pooling: x [batch, channels, *spatial] ------------------------------------------------------------------------


def convolution(
    x: Any,
    weight: Any,
    bias: Any = None,
    strides: Sequence[int] | None = None,
    padding: Sequence[tuple[int, int]] | None = None,
    dilations: Sequence[int] | None = None,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation with weight [out, channels / groups, *kernel]; `padding` is in front and behind, for each spatial axis."""
    params = (
        ("strides", None if strides is None else tuple(strides)),
        ("padding", None if padding is None else tuple(padding)),
        ("dilations", None if dilations is None else tuple(dilations)),
        ("groups", groups),
    )
    return _per_channel(bind(products.convolution, (x, weight), params), bias)


def transposed_convolution(
    x: Any,
    weight: Any,
    bias: Any = None,
    strides: Sequence[int] | None = None,
    padding: Sequence[int] | None = None,
    output_padding: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    groups: int = 1,
) -> Tensor:
    """The transpose of a convolution, with weight [channels, out / groups, *kernel]; (n - 1) * stride - 2 * padding + dilation * (kernel - 1)
    + output_padding + 1 of n elements."""
    count = max(0, len(weight.shape) - 2)
    params = (
        ("strides", tuple(strides or (1,) * count)),
        ("padding", tuple(padding or (0,) * count)),
        ("output_padding", tuple(output_padding or (0,) * count)),
        ("dilations", tuple(dilations or (1,) * count)),
        ("groups", groups),
    )
    return _per_channel(bind(products.transposed_convolution, (x, weight), params), bias)


def _per_channel(y: Tensor, bias: Any) -> Tensor:
    return y if bias is None else y + bias.reshape(-1, *[1] * (y.ndim - 2))


def max_pool(
    x: Any,
    window_size: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
) -> Tensor:
    """The largest element of each window; strides are the window's size where none are given. Of equals the first has the derivative."""
    size = tuple(window_size)
    params = (
        ("window", size),
        ("strides", tuple(strides or size)),
        ("padding", tuple(padding or (0,) * len(size))),
        ("dilations", tuple(dilations or (1,) * len(size))),
    )
    return bind(window.max_pool, (x,), params)


def average_pool(
    x: Any,
    window_size: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Sequence[int] | None = None,
    count_padding: bool = True,
) -> Tensor:
    """The mean of each window; padding counts as zeros, or, without `count_padding`, not at all."""
    size = tuple(window_size)
    params = (
        ("window", size),
        ("strides", tuple(strides or size)),
        ("padding", tuple(padding or (0,) * len(size))),
        ("count_padding", count_padding),
    )
    return bind(window.average_pool, (x,), params)


# Attention, dropout, tables ------------------------------------------------------------------------------------------------------


def attention(
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    scale: float | None = None,
    causal: bool = False,
    drop: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """softmax(q k' * scale + mask) v. Vaswani et al. 2017.

    q [batch, heads, length, size]; k and v [batch, groups, keys, size], whose heads serve as many query heads each. The mask broadcasts to
    [batch, heads, length, keys]: bools, True where a key is seen, or numbers to add. `causal` lets a query see no keys behind its own place. `scale`
    is 1 / sqrt(size) where none is given. `drop` is applied to the weights, which are a tensor of their own then.
    """
    if not isinstance(causal, bool):
        raise MlcError(
            f"causal decides what is computed, and is True or False, not {causal!r}",
            file=user_line(),
            remedy='Make it static: mlc.jit(f, static="causal").',
        )
    if drop is None:
        given = () if mask is None else (mask,)
        return bind(attentions.attention, (q, k, v, *given), (("scale", scale), ("causal", causal)))
    if (each := q.shape[1] // k.shape[1]) != 1:
        k, v = mnp.repeat(k, each, 1), mnp.repeat(v, each, 1)
    scores = (q * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)) @ k.mT
    if mask is not None:
        mask = mnp.asarray(mask)
        scores = mnp.where(mask, scores, -mnp.inf) if mask.dtype == np.bool_ else scores + mask.astype(scores.dtype)
    if causal:
        rows, columns = mnp.arange(q.shape[2]), mnp.arange(k.shape[2])
        scores = mnp.where(rows[:, None] >= columns, scores, -mnp.inf)
    return drop(softmax(scores)) @ v


def dropout(x: Any, p: float, key: Any, stream: int = 0) -> Tensor:
    """x with each element 0 with probability p, and 1 / (1 - p) times as large else; drawn with a key. Srivastava et al. 2014."""
    x = mnp.asarray(x)
    if p == 0:
        return x
    kept = random.bernoulli(key, 1 - p, x.shape, stream)
    return mnp.where(kept, x / (1 - p) if p < 1 else x, 0)


def embedding(x: Any, weight: Any) -> Tensor:
    """The rows of weight [count, size] that x names. Raises OutOfRange for others than 0 .. count - 1."""
    return mnp.take(weight, positions("embedding: x", x, weight.shape[0]), 0)


# Recurrence over x [steps, batch, input], in one direction -------------------------------------------------------------------------


def rnn(
    x: Any,
    h: Any,
    weight_ih: Any,
    weight_hh: Any,
    *biases: Any,
    lengths: Any = None,
    reverse: bool = False,
    activation: str = "tanh",
) -> tuple[Tensor, Tensor]:
    """(h of every step, the last h) of h = activation(x W' + h R' + both biases), from h [batch, hidden]; see `mlc.nn.RNN`."""
    params = (("biases", bool(biases)), ("reverse", reverse), ("activation", activation))
    return bind(recurrent.rnn, (x, h, weight_ih, weight_hh, *biases, *_given(lengths)), params)


def gru(
    x: Any, h: Any, weight_ih: Any, weight_hh: Any, *biases: Any, lengths: Any = None, reverse: bool = False
) -> tuple[Tensor, Tensor]:
    """(h of every step, the last h); the weights hold the reset, update and candidate gates one behind another; see `mlc.nn.GRU`."""
    params = (("biases", bool(biases)), ("reverse", reverse))
    return bind(recurrent.gru, (x, h, weight_ih, weight_hh, *biases, *_given(lengths)), params)


def lstm(
    x: Any, h: Any, c: Any, weight_ih: Any, weight_hh: Any, *biases: Any, lengths: Any = None, reverse: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """(h of every step, the last h, the last c); the weights hold the input, forget, candidate and output gates; see `mlc.nn.LSTM`."""
    params = (("biases", bool(biases)), ("reverse", reverse))
    return bind(recurrent.lstm, (x, h, c, weight_ih, weight_hh, *biases, *_given(lengths)), params)


def _given(value: Any) -> tuple[Any, ...]:
    return () if value is None else (value,)
