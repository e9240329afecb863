"""Element-wise functions that NumPy has no name for."""

import math

import numpy as np


def relu(x: np.ndarray) -> np.ndarray:
    """x where it is positive, else 0; a NaN stays."""
    return np.maximum(x, 0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x)) without overflow."""
    return np.logaddexp(x, np.zeros_like(x))


def erf(x: np.ndarray) -> np.ndarray:
    """The error function, element by element in double precision."""
    values = [math.erf(v) for v in np.ravel(x).tolist()]
    return np.array(values, np.float64).reshape(x.shape).astype(x.dtype)


def gelu(x: np.ndarray) -> np.ndarray:
    """x times the distribution function of the normal distribution, element by element in double precision."""
    values = [v / 2 * math.erfc(-v / math.sqrt(2)) for v in np.ravel(x).tolist()]
    return np.array(values, np.float64).reshape(x.shape).astype(x.dtype)


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """gelu by tanh: x / 2 * (1 + tanh(u)) as x / (1 + exp(-2 u)), u = sqrt(2 / pi) * (x + 0.044715 x^3)."""
    slope = -2 * math.sqrt(2 / math.pi)
    return x / (1 + np.exp(x * (x * x * x.dtype.type(0.044715 * slope) + x.dtype.type(slope))))


def silu(x: np.ndarray) -> np.ndarray:
    """x * sigmoid(x)."""
    return x * sigmoid(x)
