"""Neural networks: modules with parameters, layers, losses and first values, on top of mlc's tensors.

    net = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    loss = nn.cross_entropy(net(images), labels)

A module can be called as it is, with its own parameters; `functional_call` makes a function of parameters, buffers and inputs of it.
"""

from mlc.frontends.trace.tape import Handle
from mlc.nn import functional
from mlc.nn import initialization as init
from mlc.nn.layers.activation import GELU, ReLU, Sigmoid, SiLU, Tanh
from mlc.nn.layers.container import Residual, Sequential
from mlc.nn.layers.linear import Linear
from mlc.nn.losses import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    kl_divergence,
    l1_loss,
    mse_loss,
    nll_loss,
)
from mlc.nn.module import Module
from mlc.nn.parameter import Buffer, Parameter
from mlc.nn.pure_call import functional_call
from mlc.nn.rng import Rng, seed

__all__ = [
    "GELU",
    "Buffer",
    "Handle",
    "Linear",
    "Module",
    "Parameter",
    "ReLU",
    "Residual",
    "Rng",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Tanh",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "functional",
    "functional_call",
    "huber_loss",
    "init",
    "kl_divergence",
    "l1_loss",
    "mse_loss",
    "nll_loss",
    "seed",
]
