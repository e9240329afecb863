"""Neural networks: modules with parameters, layers, losses and first values, on top of mlc's tensors.

    net = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    loss = nn.cross_entropy(net(images), labels)

A module can be called as it is, with its own parameters; `functional_call` makes a function of parameters, buffers and inputs of it.
"""

from typing import Any

from mlc.frontends.trace.tape import Handle
from mlc.nn import functional
from mlc.nn import initialization as init
from mlc.nn.layers.activation import GELU, ReLU, Sigmoid, SiLU, Tanh
from mlc.nn.layers.attention import Cache, MultiHeadAttention
from mlc.nn.layers.container import Residual, Sequential
from mlc.nn.layers.convolution import Conv1d, Conv2d, ConvTranspose2d
from mlc.nn.layers.dropout import Dropout
from mlc.nn.layers.linear import Embedding, Linear
from mlc.nn.layers.norm import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm, RMSNorm
from mlc.nn.layers.pooling import AvgPool1d, AvgPool2d, Flatten, GlobalAvgPool, GlobalMaxPool, MaxPool1d, MaxPool2d
from mlc.nn.layers.position import RotaryEncoding, SinusoidalEncoding
from mlc.nn.layers.recurrent import GRU, LSTM, RNN
from mlc.nn.layers.transformer import TransformerDecoderBlock, TransformerEncoderBlock
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
from mlc.nn.state_file import read_state, write_state
from mlc.other_frameworks import missing_name

__all__ = [
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "AvgPool1d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Buffer",
    "Cache",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "GroupNorm",
    "Handle",
    "LayerNorm",
    "Linear",
    "MaxPool1d",
    "MaxPool2d",
    "Module",
    "MultiHeadAttention",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "Residual",
    "Rng",
    "RotaryEncoding",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SinusoidalEncoding",
    "Tanh",
    "TransformerDecoderBlock",
    "TransformerEncoderBlock",
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
    "read_state",
    "seed",
    "write_state",
]

_LOSS = "A loss is a function: mlc.nn."
_FUNCTION = "A forward may call any function: mlc.nn."
_ELSEWHERE = {
    "AdaptiveAvgPool2d": "GlobalAvgPool is the mean of each channel; AvgPool2d has windows.",
    "AdaptiveMaxPool2d": "GlobalMaxPool is the largest of each channel; MaxPool2d has windows.",
    "BCEWithLogitsLoss": f"{_LOSS}binary_cross_entropy_with_logits.",
    "CrossEntropyLoss": f"{_LOSS}cross_entropy.",
    "HuberLoss": f"{_LOSS}huber_loss.",
    "Identity": "Sequential() gives what it takes.",
    "KLDivLoss": f"{_LOSS}kl_divergence.",
    "L1Loss": f"{_LOSS}l1_loss.",
    "LogSoftmax": f"{_FUNCTION}functional.log_softmax.",
    "MSELoss": f"{_LOSS}mse_loss.",
    "ModuleDict": "A dict of modules is an attribute like any other.",
    "ModuleList": "A list of modules is an attribute like any other.",
    "NLLLoss": f"{_LOSS}nll_loss.",
    "Softmax": f"{_FUNCTION}functional.softmax.",
    "Softplus": f"{_FUNCTION}functional.softplus.",
    "TransformerDecoderLayer": "It is called TransformerDecoderBlock here.",
    "TransformerEncoderLayer": "It is called TransformerEncoderBlock here.",
    "manual_seed": "mlc.nn.seed(n) seeds first values; mlc.random takes keys.",
}


def __getattr__(name: str) -> Any:
    raise missing_name("mlc.nn", name, __all__, _ELSEWHERE)
