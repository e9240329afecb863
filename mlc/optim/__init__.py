"""Optimisers: pure functions of gradients, state and parameters, which run at once or are traced into a training step.

optimizer = Adam(lr=1e-3)
state = optimizer.init(params)                                   params is a pytree of tensors
params, state = optimizer.update(grads, state, params)

optimizer = Adam(parameters, lr=1e-3)                            bound: optimizer.step(), optimizer.zero_grad()
"""

from mlc.optim.adam import Adam, AdamW
from mlc.optim.descent import SGD, Momentum
from mlc.optim.update_rule import Bound, Optimizer

__all__ = ["SGD", "Adam", "AdamW", "Bound", "Momentum", "Optimizer"]
