"""Optimisers: pure functions of gradients, state and parameters, which run at once or are traced into a training step.

optimizer = Adam(lr=1e-3)
state = optimizer.init(params)                                   params is a pytree of tensors
params, state = optimizer.update(grads, state, params)

optimizer = Adam(parameters, lr=1e-3)                            bound: optimizer.step(), optimizer.zero_grad()
"""

from mlc.optim.adam import Adam, AdaMax, AdamW, NAdam, RAdam
from mlc.optim.adaptive import AdaDelta, Adafactor, AdaGrad, Lion, RMSprop, Rprop
from mlc.optim.descent import SGD, Momentum, Nesterov
from mlc.optim.matrices import Muon
from mlc.optim.newton import DiagonalNewton, NewtonCG
from mlc.optim.schedule_free import ScheduleFreeAdamW
from mlc.optim.schedules import Cosine, Exponential, InverseTime, StepDecay, Warmup
from mlc.optim.update_rule import Bound, Optimizer
from mlc.optim.wrappers import Accumulate, Averaged, ClipByNorm, ClipByValue, Groups

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
