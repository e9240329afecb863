"""Learning rates that change: functions of the number of updates done before, an i64 scalar. They are computed in f64, as a part of the step.

Adam(lr=Warmup(Cosine(1e-3, steps=10_000), steps=500))
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import mlc.numpy as mnp
from mlc.frontends.trace.tensor import Tensor
from mlc.optim.descent import power
from mlc.optim.update_rule import Rate
from mlc.other_frameworks import check_keywords


class Schedule:
    """A rate by the number of updates done before, a tensor or a Python number. Subclasses state `at`."""

    def __new__(cls, *args: Any, **options: Any) -> Any:
        check_keywords(cls, options)
        return super().__new__(cls)

    def __call__(self, step: Any) -> Tensor:
        return self.at(mnp.asarray(step))

    def at(self, step: Tensor) -> Any:
        """The rate, given an i64 scalar."""
        raise NotImplementedError(type(self).__name__)


@dataclass(frozen=True)
class StepDecay(Schedule):
    """lr * factor**(t // every): torch.optim.lr_scheduler.StepLR."""

    lr: float
    every: int
    factor: float = 0.1

    def at(self, step: Tensor) -> Tensor:
        return self.lr * power(self.factor, (step // self.every).astype("f64"))


@dataclass(frozen=True)
class Exponential(Schedule):
    """lr * factor**t: torch.optim.lr_scheduler.ExponentialLR."""

    lr: float
    factor: float

    def at(self, step: Tensor) -> Tensor:
        return self.lr * power(self.factor, step.astype("f64"))


@dataclass(frozen=True)
class InverseTime(Schedule):
    """lr / (1 + t / half): half of lr after `half` updates, a third after twice as many."""

    lr: float
    half: float

    def at(self, step: Tensor) -> Tensor:
        return self.lr / (1 + step.astype("f64") / self.half)


@dataclass(frozen=True)
class Cosine(Schedule):
    """From lr down to `final` along half a cosine in `steps` updates, and `final` from then on: Loshchilov and Hutter 2017, without restarts."""

    lr: float
    steps: int
    final: float = 0.0

    def at(self, step: Tensor) -> Tensor:
        done = mnp.minimum(step.astype("f64") / self.steps, 1.0)
        return self.final + (self.lr - self.final) * (1 + mnp.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class Warmup(Schedule):
    """A rate, or a schedule, times (t + 1) / steps for the first `steps` updates. The schedule counts its own updates from the end of the warm-up."""

    lr: Rate
    steps: int

    def at(self, step: Tensor) -> Any:
        following = self.lr(mnp.maximum(step - self.steps, 0)) if callable(self.lr) else self.lr
        return following * mnp.minimum((step.astype("f64") + 1) / max(self.steps, 1), 1.0)
