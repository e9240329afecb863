"""Optimisers: pure functions of gradients, state and parameters, which run at once or are traced into a training step.

optimizer = Adam(lr=1e-3)
state = optimizer.init(params)                                   params is a pytree of tensors
params, state = optimizer.update(grads, state, params)

optimizer = Adam(parameters, lr=1e-3)                            bound: optimizer.step(), optimizer.zero_grad()
"""

from typing import Any

from mlc.optim.adam import Adam, AdaMax, AdamW, NAdam, RAdam
from mlc.optim.adaptive import AdaDelta, Adafactor, AdaGrad, Lion, RMSprop, Rprop
from mlc.optim.descent import SGD, Momentum, Nesterov
from mlc.optim.matrices import Muon
from mlc.optim.newton import DiagonalNewton, NewtonCG
from mlc.optim.schedule_free import ScheduleFreeAdamW
from mlc.optim.schedules import Cosine, Exponential, InverseTime, StepDecay, Warmup
from mlc.optim.update_rule import Bound, Optimizer
from mlc.optim.wrappers import Accumulate, Averaged, ClipByNorm, ClipByValue, Groups
from mlc.other_frameworks import missing_name

__all__ = [
    "SGD",
    "Accumulate",
    "AdaDelta",
    "AdaGrad",
    "AdaMax",
    "Adafactor",
    "Adam",
    "AdamW",
    "Averaged",
    "Bound",
    "ClipByNorm",
    "ClipByValue",
    "Cosine",
    "DiagonalNewton",
    "Exponential",
    "Groups",
    "InverseTime",
    "Lion",
    "Momentum",
    "Muon",
    "NAdam",
    "Nesterov",
    "NewtonCG",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "ScheduleFreeAdamW",
    "StepDecay",
    "Warmup",
]

_CALLED = "It is called {} here."
_ELSEWHERE = {
    "CosineAnnealingLR": "Cosine(lr, steps) is the schedule; it is given as the lr of an optimiser.",
    "EMA": _CALLED.format("Averaged"),
    "ExponentialLR": "Exponential(lr, factor) is the schedule; it is given as the lr of an optimiser.",
    "LambdaLR": "The lr of an optimiser may be any function of the number of updates.",
    "LinearLR": "Warmup(lr, steps) rises in a line; it is given as the lr of an optimiser.",
    "MultiSteps": _CALLED.format("Accumulate"),
    "StepLR": "StepDecay(lr, every, factor) is the schedule; it is given as the lr of an optimiser.",
    "chain": "Optimisers go around one another: ClipByNorm(Adam(1e-3), 1.0).",
    "clip_by_global_norm": "ClipByNorm(optimizer, norm) goes around an optimiser.",
    "cosine_decay_schedule": _CALLED.format("Cosine"),
    "exponential_decay": _CALLED.format("Exponential"),
    "lr_scheduler": "A schedule is the lr of an optimiser: Adam(Warmup(Cosine(1e-3, 1000), 100)).",
    "swa_utils": "Averaged(optimizer, decay) keeps a mean of the weights.",
}


def __getattr__(name: str) -> Any:
    raise missing_name("mlc.optim", name, __all__, _ELSEWHERE)
