"""Recurrent layers: RNN, LSTM and GRU, of several layers and in both directions.

Inside, time is the first axis: the inputs of all steps are multiplied at once, and what is left of a step is one small product and a cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import mlc.numpy as mnp
from mlc import random
from mlc.errors import MlcError, ShapeError
from mlc.frontends.trace.tensor import Tensor, type_text
from mlc.frontends.trace.tracing import user_line
from mlc.nn import functional
from mlc.nn import initialization as init
from mlc.nn.layers.dropout import Dropout
from mlc.nn.module import Module
from mlc.nn.parameter import Parameter
from mlc.nn.rng import default_rng


class _Recurrent(Module):
    """Layers one on the other, each of one direction or two."""

    gates: ClassVar[int]  # how many gates a cell has
    states: ClassVar[int] = 1  # how many states a step gives to the next

    def __init__(
        self,
        inputs: int,
        hidden: int,
        layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = "f32",
        key: Any = None,
    ):
        if layers < 1:
            raise MlcError(f"{layers} layers", file=user_line())
        self.inputs, self.hidden, self.layers = inputs, hidden, layers
        self.batch_first, self.bidirectional, self.bias = batch_first, bidirectional, bias
        self.dropout = Dropout(dropout) if dropout else None
        bound, rows = 1 / math.sqrt(max(1, hidden)), self.gates * hidden
        keys = iter(random.split(default_rng.key() if key is None else key, 4 * layers * self.directions))
        for layer, suffix in self._cells():
            columns = inputs if layer == 0 else hidden * self.directions
            shapes = {"weight_ih": (rows, columns), "weight_hh": (rows, hidden), "bias_ih": (rows,), "bias_hh": (rows,)}
            for name, shape in shapes.items():
                if bias or name.startswith("weight"):
                    setattr(self, f"{name}_{suffix}", Parameter(init.uniform(next(keys), shape, bound, dtype)))

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _cells(self) -> list[tuple[int, str]]:
        """(layer, end of the names of its parameters) of each layer and direction: l0, l0_reverse, l1, ..."""
        ends = ("", "_reverse")[: self.directions]
        return [(layer, f"l{layer}{end}") for layer in range(self.layers) for end in ends]

    def _run(
        self, x: Any, states: Sequence[Any], lengths: Any, call: Callable[..., Any]
    ) -> tuple[Tensor, list[Tensor]]:
        """(outputs of all steps, final states); call(x, states, parameters, lengths, reverse) is one layer in one direction."""
        x = mnp.asarray(x)
        if x.ndim != 3 or (isinstance(x.shape[2], int) and x.shape[2] != self.inputs):
            axes = ("batch", "steps") if self.batch_first else ("steps", "batch")
            raise ShapeError(f"x is {type_text(x)}, and must be [{', '.join(axes)}, {self.inputs}]", file=user_line())
        x = x.swapaxes(0, 1) if self.batch_first else x
        wanted = (self.layers * self.directions, x.shape[1], self.hidden)
        given = [mnp.zeros(wanted, x.dtype) if s is None else mnp.asarray(s) for s in states or [None] * self.states]
        for state in given:
            if state.shape != wanted:
                raise ShapeError(
                    f"the state is {type_text(state)}, and must be [layers * directions, batch, hidden] = {list(wanted)}",
                    file=user_line(),
                )
        finals: list[list[Tensor]] = [[] for _ in given]
        number = 0
        for layer in range(self.layers):
            outputs = []
            x = self.dropout(x) if layer and self.dropout is not None else x
            for reverse in (False, True)[: self.directions]:
                suffix = self._cells()[number][1]
                names = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if self.bias else ()))
                parameters = [getattr(self, f"{name}_{suffix}") for name in names]
                y, *last = call(x, [s[number] for s in given], parameters, lengths, reverse)
                outputs.append(y)
                for found, state in zip(finals, last, strict=True):
                    found.append(state)
                number += 1
            x = outputs[0] if len(outputs) == 1 else mnp.concatenate(outputs, -1)
        x = x.swapaxes(0, 1) if self.batch_first else x
        return x, [mnp.stack(found) for found in finals]

    def extra_repr(self) -> str:
        text = f"{self.inputs}, {self.hidden}" + (f", layers={self.layers}" if self.layers > 1 else "")
        return text + "".join(f", {name}=True" for name in ("batch_first", "bidirectional") if getattr(self, name))


class RNN(_Recurrent):
    """h = activation(x W' + b + h R' + c) at each step; Elman 1990. `activation` is "tanh" or "relu".

    x [steps, batch, inputs] ([batch, steps, inputs] with `batch_first`) and a first state [layers * directions, batch, hidden], zeros where none is
    given, to (y [steps, batch, directions * hidden], the last state). With `lengths`, one for each item of the batch, an item ends earlier: its y is 0 behind
    its end, and its last state is that of its end; the reverse direction begins there. Parameters begin uniform up to 1 / sqrt(hidden).
    """

    gates = 1

    def __init__(
        self,
        inputs: int,
        hidden: int,
        layers: int = 1,
        activation: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = "f32",
        key: Any = None,
    ):
        super().__init__(inputs, hidden, layers, bias, batch_first, dropout, bidirectional, dtype, key)
        if activation not in ("tanh", "relu"):
            raise MlcError(f"activation is {activation!r}, and may be 'tanh' or 'relu'", file=user_line())
        self.activation = activation

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Tensor, Tensor]:
        def call(x: Any, states: list[Any], parameters: list[Any], lengths: Any, reverse: bool) -> Any:
            return functional.rnn(x, *states, *parameters, lengths=lengths, reverse=reverse, activation=self.activation)

        y, (last,) = self._run(x, [] if state is None else [state], lengths, call)
        return y, last


class GRU(_Recurrent):
    """Gated recurrent units, Cho et al. 2014, with the reset gate on the product of the state, as in PyTorch; axes and states are those of `RNN`."""

    gates = 3

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Tensor, Tensor]:
        def call(x: Any, states: list[Any], parameters: list[Any], lengths: Any, reverse: bool) -> Any:
            return functional.gru(x, *states, *parameters, lengths=lengths, reverse=reverse)

        y, (last,) = self._run(x, [] if state is None else [state], lengths, call)
        return y, last


class LSTM(_Recurrent):
    """Long short-term memory, Hochreiter, Schmidhuber 1997; axes are those of `RNN`, and states are pairs (h, c)."""

    gates, states = 4, 2

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        def call(x: Any, states: list[Any], parameters: list[Any], lengths: Any, reverse: bool) -> Any:
            return functional.lstm(x, *states, *parameters, lengths=lengths, reverse=reverse)

        if state is not None and len(state) != 2:
            raise MlcError("the state of an LSTM is a pair (h, c)", file=user_line())
        y, (h, c) = self._run(x, [] if state is None else state, lengths, call)
        return y, (h, c)
