"""LSTM, GRU and RNN: the product with the inputs of all steps at once, then a scan over time per direction.

gates = x W' + b           one contraction over [sequence, batch]
scan t: state = cell(gates[t] + state R')
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import activation, like, plus
from mlc.frontends.onnx.table import Value, handles
from mlc.ir import builder as g
from mlc.ir.dims import Extent
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

Cell = Callable[[Value, tuple[Value, ...], tuple[Value, ...]], tuple[Value, ...]]


def entry(x: Value, i: int) -> Value:
    """x[i] along the first axis."""
    shape = shape_of(x)
    return g.squeeze(g.slice(x, [i, *[0] * (len(shape) - 1)], [1, *shape[1:]], [1] * len(shape)), [0])


def piece(x: Value, k: int, size: int) -> Value:
    """The k-th run of `size` elements along the last axis."""
    shape = shape_of(x)
    return g.slice(x, [0] * (len(shape) - 1) + [k * size], [*shape[:-1], size], [1] * len(shape))


def rows(v: Value, x: Value) -> Value:
    """A vector repeated along all axes of x but the last."""
    return g.broadcast(v, shape_of(x), [len(shape_of(x)) - 1])


def input_gates(sequences: Sequences, direction: Direction, bias: Value | None) -> Value:
    gates = g.contract(sequences.x, direction.w, "sbi,gi->sbg")
    return gates if bias is None else g.add(gates, rows(bias, gates))


def both_biases(direction: Direction) -> Value | None:
    if direction.w_bias is None or direction.r_bias is None:
        return None
    return g.add(direction.w_bias, direction.r_bias)


def recur(
    sequences: Sequences, reverse: bool, gates: Value, init: Sequence[Value], constants: Sequence[Value], cell: Cell
) -> tuple[Value, tuple[Value, ...]]:
    """(y of every step, final states). Beyond a row's length the state stays and y is 0; in reverse the row begins at its last step."""
    xs = [gates]
    if sequences.lengths is not None:
        size = shape_of(init[0])
        step = g.iota([sequences.steps, *size], 0, "i64")
        xs.append(g.lt(step, g.broadcast(g.cast(sequences.lengths, "i64"), shape_of(step), [1])))

    def body(
        states: tuple[Value, ...], slices: tuple[Value, ...], constants: tuple[Value, ...]
    ) -> tuple[Sequence[Value], Sequence[Value]]:
        after = cell(slices[0], states, constants)
        if len(slices) == 1:
            return after, [after[0]]
        kept = tuple(g.select(slices[1], new, old) for new, old in zip(after, states, strict=True))
        return kept, [g.select(slices[1], after[0], like(after[0], 0))]

    finals, ys = g.scan(body, init, xs, sequences.steps, constants, reverse=reverse)
    return ys[0], finals


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
        gates = input_gates(layer.sequences, direction, both_biases(direction))
        init = [layer.initial(initial_h, i), layer.initial(initial_c, i, "initial_c")]
        constants = [direction.r] + ([] if direction.peephole is None else [direction.peephole])
        cell = lstm_cell(layer.hidden, direction.activations, coupled, peephole is not None, weighted)
        y, (h, c) = recur(layer.sequences, direction.reverse, gates, init, constants, cell)
        ys.append(y)
        hs.append(h)
        cs.append(c)
    return [layer.outputs(ys), layer.finals(hs), layer.finals(cs)]


def weighted(h: Value, constants: tuple[Value, ...]) -> Value:
    """The state times the recurrent weights, the first of the constants."""
    return g.contract(h, constants[0], "bh,gh->bg")


def lstm_cell(
    hidden: int,
    activations: tuple[Activation, ...],
    coupled: bool,
    peepholes: bool,
    product: Callable[[Value, tuple[Value, ...]], Value],
) -> Cell:
    """The step of an LSTM; with `coupled` the forget gate is 1 - input gate. Peepholes are the last of the constants."""
    f, g_, h_ = activations

    def cell(gates: Value, states: tuple[Value, ...], constants: tuple[Value, ...]) -> tuple[Value, ...]:
        h, c = states
        total = g.add(gates, product(h, constants))
        i, o, forget, candidate = (piece(total, k, hidden) for k in range(4))
        if peepholes:
            p_i, p_o, p_f = (rows(piece(constants[-1], k, hidden), c) for k in range(3))
            i, forget = g.add(i, g.mul(p_i, c)), g.add(forget, g.mul(p_f, c))
        i = f(i)
        forget = plus(g.neg(i), 1) if coupled else f(forget)
        after = g.add(g.mul(forget, c), g.mul(i, g_(candidate)))
        if peepholes:
            o = g.add(o, g.mul(p_o, after))
        return g.mul(f(o), h_(after)), after

    return cell


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
        r_bias = direction.r_bias
        if r_bias is None:
            r_bias = g.full([3 * layer.hidden], 0, dtype_of(x))
        gates = input_gates(layer.sequences, direction, direction.w_bias)
        init = [layer.initial(initial_h, i)]
        cell = gru_cell(layer.hidden, direction.activations, linear_before_reset)
        y, (h,) = recur(layer.sequences, direction.reverse, gates, init, [direction.r, r_bias], cell)
        ys.append(y)
        hs.append(h)
    return [layer.outputs(ys), layer.finals(hs)]


def gru_cell(hidden: int, activations: tuple[Activation, ...], linear_before_reset: bool) -> Cell:
    f, g_ = activations

    def cell(gates: Value, states: tuple[Value, ...], constants: tuple[Value, ...]) -> tuple[Value, ...]:
        (h,), (weight, bias) = states, constants
        from_z, from_r, from_x = (piece(gates, k, hidden) for k in range(3))
        if linear_before_reset:
            linear = g.contract(h, weight, "bh,gh->bg")
            linear = g.add(linear, rows(bias, linear))
            to_z, to_r, to_h = (piece(linear, k, hidden) for k in range(3))
            z, reset = f(g.add(from_z, to_z)), f(g.add(from_r, to_r))
            candidate = g_(g.add(from_x, g.mul(reset, to_h)))
        else:
            upper = g.slice(weight, [0, 0], [2 * hidden, hidden], [1, 1])
            linear = g.contract(h, upper, "bh,gh->bg")
            linear = g.add(linear, rows(g.slice(bias, [0], [2 * hidden], [1]), linear))
            z = f(g.add(from_z, piece(linear, 0, hidden)))
            reset = f(g.add(from_r, piece(linear, 1, hidden)))
            lower = g.slice(weight, [2 * hidden, 0], [hidden, hidden], [1, 1])
            to_h = g.contract(g.mul(reset, h), lower, "bh,gh->bg")
            candidate = g_(g.add(g.add(from_x, to_h), rows(g.slice(bias, [2 * hidden], [hidden], [1]), to_h)))
        return (g.add(g.mul(plus(g.neg(z), 1), candidate), g.mul(z, h)),)

    return cell


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
        gates = input_gates(layer.sequences, direction, both_biases(direction))
        cell = rnn_cell(direction.activations[0])
        y, (h,) = recur(layer.sequences, direction.reverse, gates, [layer.initial(initial_h, i)], [direction.r], cell)
        ys.append(y)
        hs.append(h)
    return [layer.outputs(ys), layer.finals(hs)]


def rnn_cell(f: Activation) -> Cell:
    def cell(gates: Value, states: tuple[Value, ...], constants: tuple[Value, ...]) -> tuple[Value, ...]:
        return (f(g.add(gates, g.contract(states[0], constants[0], "bh,gh->bg"))),)

    return cell
