"""LSTM, GRU and RNN: the product with the inputs of all steps at once, then a scan over time per direction.

gates = x W' + b           one contraction over [sequence, batch]
scan t: state = cell(gates[t] + state R')
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import activation, like
from mlc.frontends.onnx.table import Value, handles
from mlc.ir import builder as g
from mlc.ir.dims import Extent
from mlc.ir.graph.cells import Cell, gru_cell, input_gates, lstm_cell, piece, recur
from mlc.ir.types import dtype_of, rank_of, shape_of, shape_text

Activation = Callable[[Value], Value]


@dataclass(frozen=True)
class Direction:
    """One direction's parameters: w [gates * h, input], r [gates * h, h], biases [gates * h] or None, peepholes [3 * h] or None."""

    reverse: bool
    w: Value
    r: Value
    w_bias: Value | None
    r_bias: Value | None
    peephole: Value | None
    activations: tuple[Activation, ...]


@dataclass(frozen=True)
class Sequences:
    """The input, time first [steps, batch, input], and how many of the steps each batch row has."""

    x: Value
    lengths: Value | None

    @property
    def steps(self) -> Extent:
        return shape_of(self.x)[0]

    @property
    def batch(self) -> Extent:
        return shape_of(self.x)[1]


class Layer:
    """What the three operators share: layout, directions, activations, initial states and the order of results."""

    def __init__(
        self, node: Node, x: Value, w: Value, r: Value, lengths: Value | None, gates: int, defaults: Sequence[str]
    ):
        self.node = node
        self.gates = gates
        self.batch_first = node.int("layout", 0) == 1
        direction = node.string("direction", "forward")
        if direction not in ("forward", "reverse", "bidirectional"):
            raise node.invalid(f"direction '{direction}' is none of forward, reverse, bidirectional")
        self.reversals = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
        for name, v in (("X", x), ("W", w), ("R", r)):
            if rank_of(v) != 3:
                raise node.error(f"{name} has {rank_of(v)} axes, expected 3")
        hidden = shape_of(r)[2]
        if not isinstance(hidden, int) or node.int("hidden_size", hidden) != hidden:
            raise node.error(f"hidden_size is {node.int('hidden_size', None)}, R has {hidden} columns")
        self.hidden: int = hidden
        self.sequences = Sequences(g.transpose(x, [1, 0, 2]) if self.batch_first else x, None)
        if lengths is not None:
            self.sequences = replace(self.sequences, lengths=self.fitted("sequence_lens", lengths, (self.batch,)))
        count, rows = len(self.reversals), gates * hidden
        self.w = self.fitted("W", w, (count, rows, shape_of(x)[2]))
        self.r = self.fitted("R", r, (count, rows, hidden))
        self.activations = self._activations(defaults)
        names = node.strings("activations", None) or list(defaults) * count
        self.standard = [n.lower() for n in names] == [d.lower() for d in defaults] * count and not node.float(
            "clip", 0.0
        )

    @property
    def batch(self) -> Extent:
        return self.sequences.batch

    def fitted(self, name: str, v: Value, shape: Sequence[Extent]) -> Value:
        """An operand with the shape that X and the attributes ask for, in which extents may have other names. Raises ShapeError."""
        fitted = g.fitted(v, shape, f"{self.node.title}: {name}")
        if shape_of(fitted) != tuple(shape):
            raise self.node.error(f"{name} has shape {shape_text(shape_of(v))}, expected {shape_text(shape)}")
        return fitted

    def _activations(self, defaults: Sequence[str]) -> list[tuple[Activation, ...]]:
        """Per direction. alphas and betas are listed for those activations that take one, in order, as onnxruntime reads them."""
        node, count = self.node, len(self.reversals)
        names = node.strings("activations", None) or list(defaults) * count
        if len(names) != len(defaults) * count:
            raise node.invalid(f"{len(names)} activations for {count} directions of {len(defaults)} each")
        alphas, betas = node.floats("activation_alpha", None) or [], node.floats("activation_beta", None) or []
        clip = node.float("clip", 0.0)
        functions, width = [], len(defaults)
        for number, name in enumerate(names):
            alpha = alphas.pop(0) if alphas and name.lower() in TAKES_ALPHA else None
            beta = betas.pop(0) if betas and name.lower() in TAKES_BETA else None
            # an LSTM's third is of the cell state, which engines do not clip
            functions.append(self._clipped(name, alpha, beta, clip if number % width < 2 else 0.0))
        return [tuple(functions[i * width : (i + 1) * width]) for i in range(count)]

    def _clipped(self, name: str, alpha: float | None, beta: float | None, clip: float) -> Activation:
        def apply(x: Value) -> Value:
            if clip:
                x = g.maximum(g.minimum(x, like(x, clip)), like(x, -clip))
            return activation(self.node, name, alpha, beta, x)

        return apply

    def direction(self, i: int, bias: Value | None, peephole: Value | None = None) -> Direction:
        rows = self.gates * self.hidden
        bias = None if bias is None else self.fitted("B", bias, (len(self.reversals), 2 * rows))
        peephole = None if peephole is None else self.fitted("P", peephole, (len(self.reversals), 3 * self.hidden))
        w_bias = None if bias is None else piece(entry(bias, i), 0, rows)
        r_bias = None if bias is None else piece(entry(bias, i), 1, rows)
        p = None if peephole is None else entry(peephole, i)
        return Direction(self.reversals[i], entry(self.w, i), entry(self.r, i), w_bias, r_bias, p, self.activations[i])

    def initial(self, state: Value | None, i: int, name: str = "initial_h") -> Value:
        """[batch, hidden] of one direction; zeros where the input is omitted."""
        if state is None:
            return g.full([self.batch, self.hidden], 0, dtype_of(self.sequences.x))
        state = g.transpose(state, [1, 0, 2]) if self.batch_first else state
        return entry(self.fitted(name, state, (len(self.reversals), self.batch, self.hidden)), i)

    def outputs(self, ys: Sequence[Value]) -> Value:
        """One [steps, batch, hidden] per direction -> Y [steps, directions, batch, hidden], or [batch, steps, directions, hidden]."""
        y = g.concatenate([g.unsqueeze(v, [1]) for v in ys], 1)
        return g.transpose(y, [2, 0, 1, 3]) if self.batch_first else y

    def finals(self, states: Sequence[Value]) -> Value:
        """One [batch, hidden] per direction -> [directions, batch, hidden], or [batch, directions, hidden]."""
        return g.concatenate(
            [g.unsqueeze(v, [1 if self.batch_first else 0]) for v in states], 1 if self.batch_first else 0
        )


TAKES_ALPHA = {"affine", "leakyrelu", "thresholdedrelu", "scaledtanh", "hardsigmoid", "elu"}
TAKES_BETA = {"affine", "scaledtanh", "hardsigmoid"}


def entry(x: Value, i: int) -> Value:
    """x[i] along the first axis."""
    shape = shape_of(x)
    return g.squeeze(g.slice(x, [i, *[0] * (len(shape) - 1)], [1, *shape[1:]], [1] * len(shape)), [0])


def both_biases(direction: Direction) -> Value | None:
    if direction.w_bias is None or direction.r_bias is None:
        return None
    return g.add(direction.w_bias, direction.r_bias)


@handles("LSTM", since=(1, 7, 14, 22))
def lstm(
    node: Node,
    x: Value,
    w: Value,
    r: Value,
    bias: Value | None = None,
    lengths: Value | None = None,
    initial_h: Value | None = None,
    initial_c: Value | None = None,
    peephole: Value | None = None,
) -> Sequence[Value | None]:
    """Gates in ONNX's order i, o, f, c. Hochreiter, Schmidhuber 1997; peepholes: Gers, Schmidhuber 2000."""
    layer = Layer(node, x, w, r, lengths, 4, ("Sigmoid", "Tanh", "Tanh"))
    coupled = bool(node.int("input_forget", 0))
    ys, hs, cs = [], [], []
    for i in range(len(layer.reversals)):
        direction = layer.direction(i, bias, peephole)
        total = both_biases(direction)
        init = [layer.initial(initial_h, i), layer.initial(initial_c, i, "initial_c")]
        steps, lengths = layer.sequences.x, layer.sequences.lengths
        if layer.standard and direction.peephole is None and not coupled:
            y, h, c = g.lstm(steps, direction.w, direction.r, init[0], init[1], total, lengths, direction.reverse)
        else:
            gates = input_gates(steps, direction.w, total)
            constants = [direction.r] + ([] if direction.peephole is None else [direction.peephole])
            cell = lstm_cell(layer.hidden, direction.activations, coupled, direction.peephole is not None)
            y, (h, c) = recur(gates, lengths, direction.reverse, init, constants, cell)
        ys.append(y)
        hs.append(h)
        cs.append(c)
    return [layer.outputs(ys), layer.finals(hs), layer.finals(cs)]


@handles("GRU", since=(1, 3, 7, 14, 22))
def gru(
    node: Node,
    x: Value,
    w: Value,
    r: Value,
    bias: Value | None = None,
    lengths: Value | None = None,
    initial_h: Value | None = None,
) -> Sequence[Value | None]:
    """Gates in ONNX's order z, r, h. Cho et al. 2014; linear_before_reset is the variant of cuDNN and PyTorch."""
    layer = Layer(node, x, w, r, lengths, 3, ("Sigmoid", "Tanh"))
    linear_before_reset = bool(node.int("linear_before_reset", 0))
    ys, hs = [], []
    for i in range(len(layer.reversals)):
        direction = layer.direction(i, bias)
        h = layer.initial(initial_h, i)
        steps, lengths, biases = layer.sequences.x, layer.sequences.lengths, (direction.w_bias, direction.r_bias)
        if layer.standard:
            y, h = g.gru(steps, direction.w, direction.r, h, *biases, lengths, direction.reverse, linear_before_reset)
        else:
            r_bias = g.full([3 * layer.hidden], 0, dtype_of(x)) if direction.r_bias is None else direction.r_bias
            gates = input_gates(steps, direction.w, direction.w_bias)
            cell = gru_cell(layer.hidden, direction.activations, linear_before_reset)
            y, (h,) = recur(gates, lengths, direction.reverse, [h], [direction.r, r_bias], cell)
        ys.append(y)
        hs.append(h)
    return [layer.outputs(ys), layer.finals(hs)]


@handles("RNN", since=(1, 7, 14, 22))
def rnn(
    node: Node,
    x: Value,
    w: Value,
    r: Value,
    bias: Value | None = None,
    lengths: Value | None = None,
    initial_h: Value | None = None,
) -> Sequence[Value | None]:
    layer = Layer(node, x, w, r, lengths, 1, ("Tanh",))
    ys, hs = [], []
    for i in range(len(layer.reversals)):
        direction = layer.direction(i, bias)
        gates = input_gates(layer.sequences.x, direction.w, both_biases(direction))
        cell = rnn_cell(direction.activations[0])
        y, (h,) = recur(
            gates, layer.sequences.lengths, direction.reverse, [layer.initial(initial_h, i)], [direction.r], cell
        )
        ys.append(y)
        hs.append(h)
    return [layer.outputs(ys), layer.finals(hs)]


def rnn_cell(f: Activation) -> Cell:
    def cell(gates: Value, states: tuple[Value, ...], constants: tuple[Value, ...]) -> tuple[Value, ...]:
        return (f(g.add(gates, g.contract(states[0], constants[0], "bh,gh->bg"))),)

    return cell
