"""What a program does with its arguments before and after it computes."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, DTypeLike


def check(holds: bool, message: str) -> None:
    """Raises ValueError where what was asked for does not hold."""
    if not holds:
        raise ValueError(message)


def argument(
    name: str, value: ArrayLike, dtype: DTypeLike, axes: int | None = None, shape: tuple[int, ...] | None = None
) -> np.ndarray:
    """The value as an array. Raises ValueError where it has another dtype, number of axes or shape."""
    array = np.asarray(value)
    check(array.dtype == dtype, f"{name} is {array.dtype}, not {np.dtype(dtype)}")
    check(axes in (None, array.ndim), f"{name} has the shape {list(array.shape)}, not {axes} axes")
    check(shape in (None, array.shape), f"{name} has the shape {list(array.shape)}, not {list(shape or ())}")
    return array


def shaped(name: str, array: np.ndarray, sizes: str, shape: tuple[int, ...]) -> None:
    """Raises ValueError where an array has not the shape that these sizes give."""
    check(array.shape == shape, f"{name} has the shape {list(array.shape)}, not {sizes} = {list(shape)}")


def solve(extent: Callable[[int], int], size: int) -> int:
    """The least number at which an extent, which grows with it, reaches a size."""
    low, high = 0, max(1, 2 * size + 2)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if extent(middle) < size else (low, middle)
    return low


def overwrite(results: Sequence[np.ndarray], arguments: dict[int, np.ndarray]) -> tuple[np.ndarray, ...]:
    """The results, some of them written into arguments: arguments[i] takes result i. None sees what another has overwritten."""
    for array in arguments.values():
        check(array.flags.writeable, "an argument that a result is written to is read-only")
    shared = [any(np.may_share_memory(r, array) for array in arguments.values()) for r in results]
    found = [r.copy() if both else r for r, both in zip(results, shared, strict=True)]
    for number, array in arguments.items():
        array[...] = found[number]
        found[number] = array
    return tuple(found)
