"""Functions of neural networks beyond NumPy's, on tensors, at once or traced. `mlc.nn`'s layers are made of them."""

from __future__ import annotations

from typing import Any

import numpy as np

import mlc.numpy as mnp
from mlc.errors import DTypeError, OutOfRange
from mlc.frontends.trace.functions import elementwise, reductions
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


def stop_gradient(x: Any) -> Tensor:
    """x, as a constant to derivatives."""
    return bind(elementwise.stop_gradient, (x,))


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
