"""Convolutions of x [batch, channels, *spatial]. weight and bias begin uniform up to 1 / sqrt(fan-in)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import mlc.numpy as mnp
from mlc import random
from mlc.errors import MlcError
from mlc.frontends.trace.tensor import Tensor
from mlc.frontends.trace.tracing import user_line
from mlc.nn import functional
from mlc.nn import initialization as init
from mlc.nn.layers.window_sizes import Sizes, count_windows, per_axis, require_axes, require_results, shown
from mlc.nn.module import Module
from mlc.nn.parameter import Parameter
from mlc.nn.rng import default_rng


class Convolution(Module):
    """What convolutions of any number of spatial axes share."""

    axes: ClassVar[int]

    def _set(
        self, channels: int, outputs: int, kernel: Sizes, stride: Sizes, dilation: Sizes, groups: int
    ) -> tuple[int, ...]:
        """Set the sizes; the kernel, one number for each axis."""
        if groups < 1 or channels % groups or outputs % groups:
            raise MlcError(f"{channels} channels and {outputs} results do not form {groups} groups", file=user_line())
        self.channels, self.outputs, self.groups = channels, outputs, groups
        self.kernel = per_axis("kernel", kernel, self.axes)
        self.stride, self.dilation = per_axis("stride", stride, self.axes), per_axis("dilation", dilation, self.axes)
        return self.kernel

    def _draw(self, shape: tuple[int, ...], outputs: int, bias: bool, dtype: Any, key: Any) -> None:
        """Set weight and bias."""
        keys = random.split(default_rng.key() if key is None else key)
        fan_in = init.fans(shape)[0]
        self.weight = Parameter(init.per_fan_in(keys[0], shape, fan_in, dtype))
        self.bias = Parameter(init.per_fan_in(keys[1], (outputs,), fan_in, dtype)) if bias else None

    def extra_repr(self) -> str:
        text = f"{self.channels}, {self.outputs}, kernel={shown(self.kernel)}"
        for name, usual in (("stride", 1), ("padding", 0), ("output_padding", 0), ("dilation", 1)):
            values = getattr(self, name, (usual,))
            if any(v not in (usual, (usual, usual)) for v in values):
                text += f", {name}={shown(values)}"
        text += f", groups={self.groups}" if self.groups > 1 else ""
        return text + ("" if self.bias is not None else ", bias=False")


class _Forward(Convolution):
    """weight [outputs, channels / groups, *kernel]. `padding` "same" keeps the sizes, of stride 1."""

    def __init__(
        self,
        channels: int,
        outputs: int,
        kernel: Sizes,
        stride: Sizes = 1,
        padding: Sizes | Literal["same"] = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        dtype: Any = "f32",
        key: Any = None,
    ):
        size = self._set(channels, outputs, kernel, stride, dilation, groups)
        if padding == "same":
            if set(self.stride) != {1}:
                raise MlcError(f"padding 'same' keeps the sizes only of stride 1, not {stride}", file=user_line())
            reach = [(k - 1) * d for k, d in zip(size, self.dilation, strict=True)]
            self.padding = tuple((r // 2, r - r // 2) for r in reach)
        elif isinstance(padding, str):
            raise MlcError(f"padding is {padding!r}, and may be numbers or 'same'", file=user_line())
        else:
            self.padding = tuple((p, p) for p in per_axis("padding", padding, self.axes, least=0))
        self._draw((outputs, channels // groups, *size), outputs, bias, dtype, key)

    def forward(self, x: Any) -> Tensor:
        x = mnp.asarray(x)
        require_axes(x, self.axes, self.channels)
        require_results(x, count_windows(x, self.kernel, self.stride, self.padding, self.dilation))
        return functional.convolution(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Conv1d(_Forward):
    """Cross-correlation of x [batch, channels, length]; weight [outputs, channels / groups, kernel]."""

    axes = 1


class Conv2d(_Forward):
    """Cross-correlation of x [batch, channels, height, width]; weight [outputs, channels / groups, *kernel]."""

    axes = 2


class ConvTranspose2d(Convolution):
    """The transpose of a convolution: x [batch, channels, height, width] with weight [channels, outputs / groups, *kernel].

    (n - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1 of n elements.
    """

    axes = 2

    def __init__(
        self,
        channels: int,
        outputs: int,
        kernel: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        dtype: Any = "f32",
        key: Any = None,
    ):
        size = self._set(channels, outputs, kernel, stride, dilation, groups)
        self.padding = per_axis("padding", padding, self.axes, least=0)
        self.output_padding = per_axis("output_padding", output_padding, self.axes, least=0)
        self._draw((channels, outputs // groups, *size), outputs, bias, dtype, key)

    def forward(self, x: Any) -> Tensor:
        x = mnp.asarray(x)
        require_axes(x, self.axes, self.channels)
        sizes = (self.stride, self.padding, self.output_padding, self.dilation)
        rows = zip(x.shape[2:], self.kernel, *sizes, strict=True)
        require_results(x, [(n - 1) * s - 2 * p + more + d * (k - 1) + 1 for n, k, s, p, more, d in rows])
        return functional.transposed_convolution(x, self.weight, self.bias, *sizes, self.groups)
