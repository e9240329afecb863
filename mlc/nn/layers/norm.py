"""Normalisation by the statistics of a batch, an item or a group, and then scale and bias that are learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import mlc.numpy as mnp
from mlc import dist
from mlc.errors import MlcError, ShapeError
from mlc.frontends.trace.tensor import Tensor, type_text
from mlc.frontends.trace.tracing import user_line
from mlc.ir.dims import prod
from mlc.ir.dtypes import TABLE
from mlc.ir.types import dtype_name
from mlc.nn import functional
from mlc.nn.layers.window_sizes import require_axes
from mlc.nn.module import Module
from mlc.nn.parameter import Buffer, Parameter


class _TrailingNorm(Module):
    """Over the last axes, whose extents are `shape`."""

    def __init__(self, shape: int | Sequence[int], eps: float, affine: bool, bias: bool, dtype: Any):
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.eps = eps
        self.weight = Parameter(mnp.ones(self.shape, dtype)) if affine else None
        self.bias = Parameter(mnp.zeros(self.shape, dtype)) if affine and bias else None

    def _axes(self, x: Tensor) -> range:
        last = x.shape[-len(self.shape) :]
        if x.ndim < len(self.shape) or any(
            isinstance(e, int) and e != s for e, s in zip(last, self.shape, strict=True)
        ):
            raise ShapeError(f"x is {type_text(x)}, and its last axes must be {list(self.shape)}", file=user_line())
        return range(x.ndim - len(self.shape), x.ndim)

    def extra_repr(self) -> str:
        text = str(self.shape[0] if len(self.shape) == 1 else self.shape)
        return text + ("" if self.weight is not None else ", affine=False")


class LayerNorm(_TrailingNorm):
    """(x - mean) / sqrt(variance + eps) over the last axes, whose extents are `shape`; then weight (ones) and bias (zeros) of it."""

    def __init__(
        self,
        shape: int | Sequence[int],
        eps: float = 1e-5,
        affine: bool = True,
        bias: bool = True,
        dtype: Any = "f32",
    ):
        super().__init__(shape, eps, affine, bias, dtype)

    def forward(self, x: Any) -> Tensor:
        x = mnp.asarray(x)
        return functional.layer_norm(x, self._axes(x), self.weight, self.bias, self.eps)


class RMSNorm(_TrailingNorm):
    """x / sqrt(mean(x**2) + eps) over the last axes, whose extents are `shape`; then weight (ones) of it."""

    def __init__(self, shape: int | Sequence[int], eps: float = 1e-6, affine: bool = True, dtype: Any = "f32"):
        super().__init__(shape, eps, affine, False, dtype)

    def forward(self, x: Any) -> Tensor:
        x = mnp.asarray(x)
        return functional.rms_norm(x, self._axes(x), self.weight, self.eps)


class GroupNorm(Module):
    """Each of `groups` runs of channels of each item of x [batch, channels, ...] normalised; then weight (ones) and bias (zeros) per channel."""

    weight: Tensor | None
    bias: Tensor | None

    def __init__(self, groups: int, channels: int, eps: float = 1e-5, affine: bool = True, dtype: Any = "f32"):
        if groups < 1 or channels % groups:
            raise MlcError(f"{channels} channels do not form {groups} groups", file=user_line())
        self.groups, self.channels, self.eps = groups, channels, eps
        self.weight = Parameter(mnp.ones(channels, dtype)) if affine else None
        self.bias = Parameter(mnp.zeros(channels, dtype)) if affine else None

    def forward(self, x: Any) -> Tensor:
        x = mnp.asarray(x)
        require_axes(x, max(0, x.ndim - 2), self.channels)
        weight = mnp.ones(self.channels, x.dtype) if self.weight is None else self.weight
        bias = mnp.zeros(self.channels, x.dtype) if self.bias is None else self.bias
        return functional.group_norm(x, self.groups, weight, bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.groups}, {self.channels}" + ("" if self.weight is not None else ", affine=False")


class _BatchNorm(Module):
    """(x - mean) / sqrt(variance + eps) per channel, axis 1; then weight (ones) and bias (zeros). Ioffe, Szegedy 2015.

    In training the statistics are the batch's; as in PyTorch the variance that normalises is the biased one (over n), and the running variance
    follows the unbiased one (over n - 1): running = (1 - momentum) * running + momentum * batch; without a momentum it is the mean of all
    batches. Otherwise they are the running ones, if they are tracked. With `sync` the batch is that of all ranks of a step with `parallel=`
    (mlc.dist), each of which has as many rows: two small sums over the ranks in each direction.
    """

    ranks: ClassVar[tuple[int, ...]]
    num_batches_tracked: Tensor

    def __init__(
        self,
        channels: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: Any = "f32",
        sync: bool = False,
    ):
        self.channels, self.eps, self.momentum, self.sync = channels, eps, momentum, sync
        self.track_running_stats = track_running_stats
        self.weight = Parameter(mnp.ones(channels, dtype)) if affine else None
        self.bias = Parameter(mnp.zeros(channels, dtype)) if affine else None
        if track_running_stats:
            self.running_mean = Buffer(mnp.zeros(channels, dtype))
            self.running_var = Buffer(mnp.ones(channels, dtype))
            self.num_batches_tracked = Buffer(mnp.zeros((), "i64"))

    def forward(self, x: Any) -> Tensor:
        x = mnp.asarray(x)
        if x.ndim not in self.ranks:
            raise ShapeError(
                f"x is {type_text(x)}, and must have {' or '.join(map(str, self.ranks))} axes", file=user_line()
            )
        require_axes(x, x.ndim - 2, self.channels)
        weight = mnp.ones(self.channels, x.dtype) if self.weight is None else self.weight
        bias = mnp.zeros(self.channels, x.dtype) if self.bias is None else self.bias
        if self.track_running_stats and not self.training:
            return functional.batch_norm(x, self.running_mean, self.running_var, weight, bias, self.eps)
        wide = x.astype("f32") if TABLE[dtype_name(x.dtype)].wide else x
        axes = (0, *range(2, x.ndim))
        mean = self._of_all(wide.mean(axes, keepdims=True))
        centred = wide - mean
        variance = self._of_all((centred**2).mean(axes, keepdims=True))
        if self.track_running_stats and self.training:
            self._follow(x, mean.reshape(-1), variance.reshape(-1))
        shape = (1, self.channels, *[1] * (x.ndim - 2))
        factor = weight.reshape(shape) / mnp.sqrt(variance + self.eps)
        return (centred * factor + bias.reshape(shape)).astype(x.dtype)

    def _of_all(self, mean: Tensor) -> Tensor:
        """The mean over the batch of all ranks, given that over the rows of one."""
        return dist.all_reduce(mean) / dist.size() if self.sync and self.training and dist.size() > 1 else mean

    def _follow(self, x: Tensor, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of a batch."""
        count = prod([x.shape[0], *x.shape[2:]]) * (dist.size() if self.sync else 1)
        if isinstance(count, int) and count < 2:
            raise ShapeError(f"x is {type_text(x)}: one element per channel has no variance to learn", file=user_line())
        unbiased = variance.detach() * count / (count - 1)
        self.num_batches_tracked = self.num_batches_tracked + 1
        share = 1 / self.num_batches_tracked.astype(mean.dtype) if self.momentum is None else self.momentum
        for name, value in (("running_mean", mean.detach()), ("running_var", unbiased)):
            old = getattr(self, name)
            setattr(self, name, (old + share * (value - old)).astype(old.dtype))

    def extra_repr(self) -> str:
        return str(self.channels) + ("" if self.weight is not None else ", affine=False") + ", sync=True" * self.sync


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of x [batch, channels] or [batch, channels, length].

    In training the batch's mean and biased variance normalise, and the running ones follow: running = (1 - momentum) * running + momentum * batch,
    with the unbiased variance, as in PyTorch. In `eval()` the running ones normalise.
    """

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of x [batch, channels, height, width].

    In training the batch's mean and biased variance normalise, and the running ones follow: running = (1 - momentum) * running + momentum * batch,
    with the unbiased variance, as in PyTorch. In `eval()` the running ones normalise.
    """

    ranks = (4,)
