"""Dropout, whose random numbers are those of the call's key."""

from __future__ import annotations

from typing import Any

from mlc.errors import MlcError
from mlc.frontends.trace.tensor import Tensor
from mlc.frontends.trace.tracing import current_trace, user_line
from mlc.nn import functional
from mlc.nn.call_scope import random_source
from mlc.nn.module import Module
from mlc.nn.rng import default_rng


class Dropout(Module):
    """In training, each element is 0 with probability p, and 1 / (1 - p) times as large else. Srivastava et al. 2014.

    The random numbers are those of the key that `functional_call` was given, each use of it in a call being another stream; else of the next key of
    `nn.seed`, which code that is compiled would draw once and for all: there the key is needed. In a body of mlc.scan every step has the same mask.
    """

    def __init__(self, p: float = 0.5):
        if not 0 <= p <= 1:
            raise MlcError(f"the probability {p} is outside of 0 .. 1", file=user_line())
        self.p = p

    def forward(self, x: Any) -> Tensor:
        if not self.training or self.p == 0:
            return x
        source = random_source()
        if source is not None:
            return functional.dropout(x, self.p, *source)
        if current_trace() is not None:
            raise MlcError(
                "the random numbers of a traced call come from its key, and there is none",
                file=user_line(),
                remedy="mlc.nn.functional_call(module, parameters, buffers, x, key=key) gives one; module.eval() needs none.",
            )
        return functional.dropout(x, self.p, default_rng.key())

    def extra_repr(self) -> str:
        return str(self.p)
