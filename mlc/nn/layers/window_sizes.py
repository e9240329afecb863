"""Sizes of windows, as users write them: one number, or one for each spatial axis."""

from __future__ import annotations

from collections.abc import Sequence

from mlc.errors import MlcError, ShapeError
from mlc.frontends.trace.tensor import Tensor, type_text
from mlc.frontends.trace.tracing import user_line
from mlc.ir.dims import Extent

Sizes = int | Sequence[int]


def per_axis(name: str, value: Sizes, axes: int, least: int = 1) -> tuple[int, ...]:
    """A number for each spatial axis. Raises MlcError for another count of them, or for one below `least`."""
    found = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(found) != axes or min(found, default=least) < least:
        raise MlcError(
            f"{name} is {value}, and must be {axes} numbers of {least} or more, or one for all", file=user_line()
        )
    return found


def shown(values: tuple[int, ...] | tuple[tuple[int, int], ...]) -> str:
    """As the text of a layer has it: 3 where all are 3; of pairs (in front, behind) one where both are equal."""
    single = tuple(v if isinstance(v, int) or v[0] != v[1] else v[0] for v in values)
    return str(single[0] if len(set(single)) == 1 else single)


def require_axes(x: Tensor, axes: int, channels: int | None = None) -> None:
    """Raises ShapeError unless x is [batch, channels, ...] with so many spatial axes."""
    fits = x.ndim == axes + 2
    if not fits or (channels is not None and isinstance(x.shape[1], int) and x.shape[1] != channels):
        wanted = ["batch", "channels" if channels is None else f"{channels} channels", *["spatial"] * axes]
        raise ShapeError(f"x is {type_text(x)}, and must be [{', '.join(wanted)}]", file=user_line())


def require_results(x: Tensor, counts: Sequence[Extent]) -> None:
    """Raises ShapeError where there would be fewer than one result along a spatial axis."""
    if any(isinstance(count, int) and count < 1 for count in counts):
        raise ShapeError(f"x is {type_text(x)}, which is too small: there is no result", file=user_line())


def count_windows(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], ends: Sequence[tuple[int, int]], dilation: Sequence[int]
) -> list[Extent]:
    """How many windows fit along each spatial axis."""
    rows = zip(x.shape[2:], kernel, stride, ends, dilation, strict=True)
    return [(n + lo + hi - (k - 1) * d - 1) // s + 1 for n, k, s, (lo, hi), d in rows]
