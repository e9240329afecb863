"""Recurrent layers of one direction over x [steps, batch, input], with gates in PyTorch's order."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import SSAValue

from mlc.frontends.trace.functions.promotion import Operand, promoted, value
from mlc.ir import builder as g
from mlc.ir.graph import cells
from mlc.ir.graph.elementwise import apply

LSTM_GATES, GRU_GATES = "ifco", "rzh"


def rnn(
    x: Operand, h: Operand, w: Operand, r: Operand, *rest: Operand, biases: bool, reverse: bool, activation: str
) -> Sequence[SSAValue]:
    """h = activation(x W' + h R' + bias); (h of every step, the last h)."""
    (data, state, inputs, recurrent, *bias), lengths = _parted((x, h, w, r), rest, biases)
    gates = cells.input_gates(data, inputs, g.add(*bias) if bias else None)

    def cell(given: SSAValue, states: cells.Values, constants: cells.Values) -> cells.Values:
        return (apply(activation, apply("add", given, cells.weighted(states[0], constants))),)

    y, (last,) = cells.recur(gates, lengths, reverse, [state], [recurrent], cell)
    return y, last


def lstm(
    x: Operand, h: Operand, c: Operand, w: Operand, r: Operand, *rest: Operand, biases: bool, reverse: bool
) -> Sequence[SSAValue]:
    """(h of every step, the last h, the last c)"""
    (data, hidden, cell, inputs, recurrent, *bias), lengths = _parted((x, h, c, w, r), rest, biases)
    total = g.add(*bias) if bias else None
    return g.lstm(data, inputs, recurrent, hidden, cell, total, lengths, reverse, LSTM_GATES)


def gru(
    x: Operand, h: Operand, w: Operand, r: Operand, *rest: Operand, biases: bool, reverse: bool
) -> Sequence[SSAValue]:
    """(h of every step, the last h); the reset gate multiplies the product of the state, its bias included."""
    (data, state, inputs, recurrent, *bias), lengths = _parted((x, h, w, r), rest, biases)
    first, second = bias or (None, None)
    return g.gru(data, inputs, recurrent, state, first, second, lengths, reverse, True, GRU_GATES)


def _parted(
    operands: Sequence[Operand], rest: Sequence[Operand], biases: bool
) -> tuple[list[SSAValue], SSAValue | None]:
    """(the operands and two biases in their common dtype, the lengths)"""
    count = 2 if biases else 0
    return promoted(*operands, *rest[:count]), value(rest[count]) if len(rest) > count else None
