"""Pooling of x [batch, channels, *spatial], and Flatten, which often follows it."""

from __future__ import annotations

from typing import Any, ClassVar

import mlc.numpy as mnp
from mlc.errors import ShapeError
from mlc.frontends.trace.tensor import Tensor, type_text
from mlc.frontends.trace.tracing import user_line
from mlc.ir.dims import prod
from mlc.nn import functional
from mlc.nn.layers.window_sizes import Sizes, count_windows, per_axis, require_axes, require_results, shown
from mlc.nn.module import Module


class _Pool(Module):
    axes: ClassVar[int]

    def _set(self, kernel: Sizes, stride: Sizes | None, padding: Sizes) -> None:
        self.kernel = per_axis("kernel", kernel, self.axes)
        self.stride = self.kernel if stride is None else per_axis("stride", stride, self.axes)
        self.padding = per_axis("padding", padding, self.axes, least=0)

    def _fitting(self, x: Any, dilation: tuple[int, ...]) -> Tensor:
        x = mnp.asarray(x)
        require_axes(x, self.axes)
        ends = [(p, p) for p in self.padding]
        require_results(x, count_windows(x, self.kernel, self.stride, ends, dilation))
        return x

    def extra_repr(self) -> str:
        text = shown(self.kernel)
        text += "" if self.stride == self.kernel else f", stride={shown(self.stride)}"
        return text + (f", padding={shown(self.padding)}" if any(self.padding) else "")


class _MaxPool(_Pool):
    """The largest element of each window. The stride is the kernel where none is given; padding counts as the lowest number."""

    def __init__(self, kernel: Sizes, stride: Sizes | None = None, padding: Sizes = 0, dilation: Sizes = 1):
        self._set(kernel, stride, padding)
        self.dilation = per_axis("dilation", dilation, self.axes)

    def forward(self, x: Any) -> Tensor:
        x = self._fitting(x, self.dilation)
        return functional.max_pool(x, self.kernel, self.stride, self.padding, self.dilation)


class MaxPool1d(_MaxPool):
    """The largest element of each window of x [batch, channels, length]. The stride is the kernel where none is given."""

    axes = 1


class MaxPool2d(_MaxPool):
    """The largest element of each window of x [batch, channels, height, width]. The stride is the kernel where none is given."""

    axes = 2


class _AvgPool(_Pool):
    def __init__(self, kernel: Sizes, stride: Sizes | None = None, padding: Sizes = 0, count_padding: bool = True):
        self._set(kernel, stride, padding)
        self.count_padding = count_padding

    def forward(self, x: Any) -> Tensor:
        x = self._fitting(x, (1,) * self.axes)
        return functional.average_pool(x, self.kernel, self.stride, self.padding, self.count_padding)


class AvgPool1d(_AvgPool):
    """The mean of each window of x [batch, channels, length]; padding counts as zeros, or, without `count_padding`, not at all."""

    axes = 1


class AvgPool2d(_AvgPool):
    """The mean of each window of x [batch, channels, height, width]; padding counts as zeros, or, without `count_padding`, not at all."""

    axes = 2


class GlobalAvgPool(Module):
    """The mean of each channel of x [batch, channels, *spatial], whose spatial axes become 1."""

    def forward(self, x: Any) -> Tensor:
        x = mnp.asarray(x)
        return mnp.mean(x, tuple(range(2, x.ndim)), keepdims=True)


class GlobalMaxPool(Module):
    """The largest element of each channel of x [batch, channels, *spatial], whose spatial axes become 1."""

    def forward(self, x: Any) -> Tensor:
        x = mnp.asarray(x)
        return mnp.max(x, tuple(range(2, x.ndim)), keepdims=True)


class Flatten(Module):
    """The axes from `start` on as one: [batch, channels, height, width] to [batch, channels * height * width]."""

    def __init__(self, start: int = 1):
        self.start = start

    def forward(self, x: Any) -> Tensor:
        x = mnp.asarray(x)
        if not 0 <= self.start < max(1, x.ndim):
            raise ShapeError(f"{type_text(x)} has no axis {self.start}", file=user_line())
        return mnp.reshape(x, (*x.shape[: self.start], prod(x.shape[self.start :])))

    def extra_repr(self) -> str:
        return "" if self.start == 1 else str(self.start)
