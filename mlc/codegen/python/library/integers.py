"""Arithmetic of integers as machines have it: they wrap, quotients are truncated, and nothing is an error."""

import numpy as np


def divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x / y of integers, truncated toward zero; x / 0 is 0."""
    safe = np.where(y == 0, np.ones_like(y), y)
    quotient = x // safe
    inexact = (quotient * safe != x) & ((x < 0) != (y < 0))
    return np.where(y == 0, np.zeros_like(x), quotient + inexact.astype(x.dtype))


def modulo(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x mod y of integers, with the sign of y; of y = 0 0."""
    return np.where(y == 0, np.zeros_like(x), np.mod(x, np.where(y == 0, np.ones_like(y), y)))


def remainder(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What is left of the truncated division x / y of integers, with the sign of x; of y = 0 0."""
    return np.where(y == 0, np.zeros_like(x), np.fmod(x, np.where(y == 0, np.ones_like(y), y)))


def power(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x ** y of integers; of a negative y what is left of 1 / x ** -y."""
    negative = y < 0
    whole = np.power(x, np.where(negative, np.zeros_like(y), y))
    inverse = np.where(x == 1, 1, np.where(x == -1, np.where(y % 2 == 0, 1, -1), 0)).astype(x.dtype)
    return np.where(negative, inverse, whole)


def shift_left(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x << y; 0 where y is no number of a bit."""
    fits = (y >= 0) & (y < x.dtype.itemsize * 8)
    return np.where(fits, x << np.where(fits, y, np.zeros_like(y)), np.zeros_like(x))


def shift_right(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x >> y; 0 where y is no number of a bit."""
    fits = (y >= 0) & (y < x.dtype.itemsize * 8)
    return np.where(fits, x >> np.where(fits, y, np.zeros_like(y)), np.zeros_like(x))
