"""A module called in each way: at once, as a traced function of its parameters and buffers, and compiled."""

from typing import Any

import numpy as np

import mlc
from mlc import nn
from mlc.frontends.trace.pytree import leaves_of


def check_calls(
    module: nn.Module, expected: Any, *args: Any, tolerance: float = 1e-5, key: Any = None, **kwargs: Any
) -> None:
    """The module gives what is expected, a pytree of arrays, at once and compiled, with the key and without its own parameters."""
    loaded, state = ({name: np.asarray(value) for name, value in part.items()} for part in module.values())
    keys = {} if key is None else {"key": key}

    def call(parameters: dict, buffers: dict, args: tuple, keys: dict) -> Any:
        return nn.functional_call(module, parameters, buffers, *args, **keys, **kwargs)

    found, after = call(loaded, state, args, keys)
    compiled, compiled_after = mlc.jit(call)(loaded, state, args, keys)
    for one, other, wanted in zip(leaves_of(found), leaves_of(compiled), leaves_of(expected), strict=True):
        assert one.shape == other.shape == wanted.shape and one.dtype == other.dtype
        np.testing.assert_allclose(np.asarray(one), wanted, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(np.asarray(other), wanted, rtol=tolerance, atol=tolerance)
    for name, value in state.items():
        np.testing.assert_allclose(np.asarray(after[name]), np.asarray(compiled_after[name]), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(np.asarray(dict(module.named_buffers())[name]), value)


def random(shape: tuple[int, ...], seed: int = 0, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)
