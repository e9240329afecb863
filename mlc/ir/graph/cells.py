"""Recurrent layers of one direction as composites: the product with the inputs of all steps at once, then a scan over time.

    gates = x W' + bias                       one contraction over [steps, batch]
    scan t: states = cell(gates[t], states)   which multiplies the state by R'

x is [steps, batch, input], states are [batch, hidden]. W [n * hidden, input] and R [n * hidden, hidden] hold the n gates one behind another, in
the order that `gates` names by letters, as do the biases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xdsl.dialects.builtin import BoolAttr, IntegerAttr, StringAttr, TensorType
from xdsl.ir import SSAValue
from xdsl.irdl import (
    AttrSizedOperandSegments,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure

from mlc.errors import MlcError, ShapeError
from mlc.ir.dims import Extent
from mlc.ir.graph import linear, parts
from mlc.ir.graph import shape as shapes
from mlc.ir.graph.base import emit
from mlc.ir.graph.composites import CompositeOp, require_float
from mlc.ir.graph.constants import iota
from mlc.ir.graph.control import scan
from mlc.ir.graph.elementwise import apply, apply_cast
from mlc.ir.types import Shape, dtype_of, is_integer, shape_of, shape_text, tensor, tensor_type, type_text

Activation = Callable[[SSAValue], SSAValue]
Values = tuple[SSAValue, ...]
Cell = Callable[[SSAValue, Values, Values], Values]  # (gates of a step, states, constants) -> states
LSTM_GATES, GRU_GATES = "iofc", "zrh"  # input, output, forget, candidate; update, reset, candidate


def sigmoid(x: SSAValue) -> SSAValue:
    return apply("sigmoid", x)


def tanh(x: SSAValue) -> SSAValue:
    return apply("tanh", x)


# Steps ------------------------------------------------------------------------------------------------------------------


def piece(x: SSAValue, k: int, size: int) -> SSAValue:
    """The k-th run of `size` elements along the last axis."""
    shape = shape_of(x)
    return parts.slice(x, [0] * (len(shape) - 1) + [k * size], [*shape[:-1], size], [1] * len(shape))


def rows(v: SSAValue, x: SSAValue) -> SSAValue:
    """A vector repeated along all axes of x but the last."""
    return shapes.broadcast(v, shape_of(x), [len(shape_of(x)) - 1])


def input_gates(x: SSAValue, w: SSAValue, bias: SSAValue | None) -> SSAValue:
    """What the inputs of all steps give to the gates."""
    gates = linear.contract(x, w, "sbi,gi->sbg")
    return gates if bias is None else apply("add", gates, rows(bias, gates))


def recur(
    gates: SSAValue,
    lengths: SSAValue | None,
    reverse: bool,
    init: Sequence[SSAValue],
    constants: Sequence[SSAValue],
    cell: Cell,
) -> tuple[SSAValue, Values]:
    """(the first state of every step, final states). Beyond a row's length the states stay and y is 0; in reverse the row begins at its last
    step."""
    xs, steps = [gates], shape_of(gates)[0]
    if lengths is not None:
        step = iota([steps, *shape_of(init[0])], 0, "i64")
        xs.append(apply("lt", step, shapes.broadcast(apply_cast(lengths, "i64"), shape_of(step), [1])))

    def body(states: Values, slices: Values, constants: Values) -> tuple[Sequence[SSAValue], Sequence[SSAValue]]:
        after = cell(slices[0], states, constants)
        if len(slices) == 1:
            return after, [after[0]]
        kept = tuple(apply("select", slices[1], new, old) for new, old in zip(after, states, strict=True))
        return kept, [apply("select", slices[1], after[0], shapes.full_like(after[0], 0))]

    finals, ys = scan(body, init, xs, steps, constants, reverse=reverse)
    return ys[0], finals


def weighted(h: SSAValue, constants: Values) -> SSAValue:
    """The state times the recurrent weights, the first of the constants."""
    return linear.contract(h, constants[0], "bh,gh->bg")


def lstm_cell(
    hidden: int,
    activations: Sequence[Activation] = (sigmoid, tanh, tanh),
    coupled: bool = False,
    peepholes: bool = False,
    product: Callable[[SSAValue, Values], SSAValue] = weighted,
    gates: str = LSTM_GATES,
) -> Cell:
    """The step of an LSTM; with `coupled` the forget gate is 1 - input gate. Peepholes are the last of the constants."""
    f, g_, h_ = activations

    def cell(given: SSAValue, states: Values, constants: Values) -> Values:
        h, c = states
        total = apply("add", given, product(h, constants))
        i, o, forget, candidate = (piece(total, gates.index(name), hidden) for name in LSTM_GATES)
        if peepholes:
            p_i, p_o, p_f = (rows(piece(constants[-1], k, hidden), c) for k in range(3))
            i, forget = apply("add", i, apply("mul", p_i, c)), apply("add", forget, apply("mul", p_f, c))
        i = f(i)
        forget = _rest(i) if coupled else f(forget)
        after = apply("add", apply("mul", forget, c), apply("mul", i, g_(candidate)))
        if peepholes:
            o = apply("add", o, apply("mul", p_o, after))
        return apply("mul", f(o), h_(after)), after

    return cell


def _rest(x: SSAValue) -> SSAValue:
    """1 - x"""
    return apply("add", apply("neg", x), shapes.full_like(x, 1))


def gru_cell(
    hidden: int,
    activations: Sequence[Activation] = (sigmoid, tanh),
    linear_before_reset: bool = False,
    gates: str = GRU_GATES,
) -> Cell:
    """The step of a GRU; constants are the recurrent weights and their bias."""
    f, g_ = activations

    def at(name: str) -> int:
        return gates.index(name)

    def cell(given: SSAValue, states: Values, constants: Values) -> Values:
        (h,), (weight, bias) = states, constants
        from_z, from_r, from_x = (piece(given, at(name), hidden) for name in GRU_GATES)
        if linear_before_reset:
            inner = linear.contract(h, weight, "bh,gh->bg")
            inner = apply("add", inner, rows(bias, inner))
            to_z, to_r, to_h = (piece(inner, at(name), hidden) for name in GRU_GATES)
            z, reset = f(apply("add", from_z, to_z)), f(apply("add", from_r, to_r))
            candidate = g_(apply("add", from_x, apply("mul", reset, to_h)))
        else:
            first = min(at("z"), at("r"))  # both lie side by side, in front of the candidate or behind it
            inner = linear.contract(h, parts.slice(weight, [first * hidden, 0], [2 * hidden, hidden]), "bh,gh->bg")
            inner = apply("add", inner, rows(parts.slice(bias, [first * hidden], [2 * hidden]), inner))
            z = f(apply("add", from_z, piece(inner, at("z") - first, hidden)))
            reset = f(apply("add", from_r, piece(inner, at("r") - first, hidden)))
            last = at("h") * hidden
            lower = parts.slice(weight, [last, 0], [hidden, hidden])
            to_h = linear.contract(apply("mul", reset, h), lower, "bh,gh->bg")
            ours = rows(parts.slice(bias, [last], [hidden]), to_h)
            candidate = g_(apply("add", apply("add", from_x, to_h), ours))
        return (apply("add", apply("mul", _rest(z), candidate), apply("mul", z, h)),)

    return cell


# Layers -----------------------------------------------------------------------------------------------------------------


class RecurrentOp(CompositeOp):
    """A layer of one direction. Results: the state of every step [steps, batch, hidden], then the final states.

    With `lengths` [batch], integers, each row of the batch has as many steps: behind them the states stay, and y is 0. With `reverse` steps run
    from the last to the first.
    """

    def sizes(self) -> tuple[Extent, Extent, Extent, int]:
        """steps, batch, input, hidden. Raises ShapeError where x and the state have other axes, or dtypes that are no floats."""
        x, h = self.operands[0], self.operands[3]
        require_float(self.title, x)
        if len(shape_of(x)) != 3 or len(shape_of(h)) != 2 or not isinstance(shape_of(h)[1], int):
            raise ShapeError(
                f"{self.title}: x is {type_text(tensor_type(x))} and the state {type_text(tensor_type(h))}, "
                "not [steps, batch, input] and [batch, hidden] with a fixed hidden size"
            )
        steps, batch, size = shape_of(x)
        return steps, batch, size, int(shape_of(h)[1])  # type: ignore[arg-type]

    def require(self, operands: dict[str, tuple[SSAValue | None, Shape]], lengths: SSAValue | None) -> None:
        """Raises ShapeError where an operand has not this shape and x's dtype, or lengths are not one integer for each row of the batch."""
        x = self.operands[0]
        for name, (value, shape) in operands.items():
            if value is not None and tensor_type(value) != tensor(shape, dtype_of(x)):
                wanted = f"{dtype_of(x)}{shape_text(shape)}"
                raise ShapeError(f"{self.title}: {name} is {type_text(tensor_type(value))}, expected {wanted}")
        batch = shape_of(x)[1]
        if lengths is not None and (not is_integer(dtype_of(lengths)) or shape_of(lengths) != (batch,)):
            found = type_text(tensor_type(lengths))
            raise ShapeError(f"{self.title}: lengths are {found}, not one integer for each of {batch} rows")

    def require_gates(self, gates: str, known: str) -> None:
        """Raises MlcError where the letters are not those of the gates."""
        if sorted(gates) != sorted(known):
            raise MlcError(f"{self.title}: the gates {gates!r} are not {known!r} in some order")


@irdl_op_definition
class LstmOp(RecurrentOp):
    """Long short-term memory: i, f, o = sigmoid(gates), c = f * c + i * tanh(gate c), h = o * tanh(c); results y, h, c. Hochreiter, Schmidhuber 1997.

    The four gates (input, output, forget, candidate) lie in the order of `gates`: "iofc" as ONNX has it, "ifco" as PyTorch. bias [4 * hidden].
    """

    name = "graph.lstm"
    x = operand_def(TensorType)
    w = operand_def(TensorType)
    r = operand_def(TensorType)
    h = operand_def(TensorType)
    c = operand_def(TensorType)
    bias = opt_operand_def(TensorType)
    lengths = opt_operand_def(TensorType)
    reverse = prop_def(BoolAttr)
    gates = prop_def(StringAttr)
    y = result_def(TensorType)
    last_h = result_def(TensorType)
    last_c = result_def(TensorType)
    traits = traits_def(Pure())
    irdl_options = (AttrSizedOperandSegments(as_property=True),)

    def __init__(
        self,
        x: SSAValue,
        w: SSAValue,
        r: SSAValue,
        h: SSAValue,
        c: SSAValue,
        bias: SSAValue | None,
        lengths: SSAValue | None,
        reverse: bool,
        gates: str,
    ):
        super().__init__(
            operands=[x, w, r, h, c, bias, lengths],
            properties={"reverse": IntegerAttr.from_bool(reverse), "gates": StringAttr(gates)},
            result_types=[tensor((*shape_of(x)[:1], *shape_of(h)), dtype_of(x)), h.type, c.type],
        )
        self.infer_types()

    def infer_types(self) -> Sequence[TensorType]:
        steps, batch, size, hidden = self.sizes()
        self.require_gates(self.gates.data, LSTM_GATES)
        rows, state = 4 * hidden, (batch, hidden)
        weights = {"w": (self.w, (rows, size)), "r": (self.r, (rows, hidden)), "bias": (self.bias, (rows,))}
        self.require({**weights, "h": (self.h, state), "c": (self.c, state)}, self.lengths)
        final = tensor(state, dtype_of(self.x))
        return [tensor((steps, *state), dtype_of(self.x)), final, final]

    def decompose(self, *operands: SSAValue) -> Sequence[SSAValue]:
        x, w, r, h, c, *others = operands
        rest = iter(others)
        bias = None if self.bias is None else next(rest)
        lengths = None if self.lengths is None else next(rest)
        cell = lstm_cell(int(shape_of(h)[1]), gates=self.gates.data)  # type: ignore[arg-type]
        y, (h, c) = recur(input_gates(x, w, bias), lengths, bool(self.reverse.value.data), [h, c], [r], cell)
        return y, h, c


@irdl_op_definition
class GruOp(RecurrentOp):
    """Gated recurrent unit: z, r = sigmoid(gates), h = (1 - z) * tanh(gate h, of r * h) + z * h; results y, h. Cho et al. 2014.

    With `linear_before_reset` r multiplies the product of the state with its weights, as in cuDNN and PyTorch. The three gates (update, reset,
    candidate) lie in the order of `gates`: "zrh" as ONNX has it, "rzh" as PyTorch; the candidate is first or last. bias and r_bias [3 * hidden] are
    added to what the inputs and the state give.
    """

    name = "graph.gru"
    x = operand_def(TensorType)
    w = operand_def(TensorType)
    r = operand_def(TensorType)
    h = operand_def(TensorType)
    bias = opt_operand_def(TensorType)
    r_bias = opt_operand_def(TensorType)
    lengths = opt_operand_def(TensorType)
    reverse = prop_def(BoolAttr)
    linear_before_reset = prop_def(BoolAttr)
    gates = prop_def(StringAttr)
    y = result_def(TensorType)
    last_h = result_def(TensorType)
    traits = traits_def(Pure())
    irdl_options = (AttrSizedOperandSegments(as_property=True),)

    def __init__(
        self,
        x: SSAValue,
        w: SSAValue,
        r: SSAValue,
        h: SSAValue,
        bias: SSAValue | None,
        r_bias: SSAValue | None,
        lengths: SSAValue | None,
        reverse: bool,
        linear_before_reset: bool,
        gates: str,
    ):
        super().__init__(
            operands=[x, w, r, h, bias, r_bias, lengths],
            properties={
                "reverse": IntegerAttr.from_bool(reverse),
                "linear_before_reset": IntegerAttr.from_bool(linear_before_reset),
                "gates": StringAttr(gates),
            },
            result_types=[tensor((*shape_of(x)[:1], *shape_of(h)), dtype_of(x)), h.type],
        )
        self.infer_types()

    def infer_types(self) -> Sequence[TensorType]:
        steps, batch, size, hidden = self.sizes()
        self.require_gates(self.gates.data, GRU_GATES)
        if self.gates.data[1] == "h":
            raise MlcError(f"gru: the candidate is the first or last of the gates, not amid {self.gates.data!r}")
        rows, state = 3 * hidden, (batch, hidden)
        weights = {"w": (self.w, (rows, size)), "r": (self.r, (rows, hidden)), "h": (self.h, state)}
        self.require({**weights, "bias": (self.bias, (rows,)), "r_bias": (self.r_bias, (rows,))}, self.lengths)
        return [tensor((steps, *state), dtype_of(self.x)), tensor(state, dtype_of(self.x))]

    def decompose(self, *operands: SSAValue) -> Sequence[SSAValue]:
        x, w, r, h, *others = operands
        rest = iter(others)
        bias, r_bias, lengths = (None if v is None else next(rest) for v in (self.bias, self.r_bias, self.lengths))
        hidden = int(shape_of(h)[1])  # type: ignore[arg-type]
        if r_bias is None:
            r_bias = shapes.full([3 * hidden], 0, dtype_of(x))
        cell = gru_cell(hidden, (sigmoid, tanh), bool(self.linear_before_reset.value.data), self.gates.data)
        y, (h,) = recur(input_gates(x, w, bias), lengths, bool(self.reverse.value.data), [h], [r, r_bias], cell)
        return y, h


# Builder functions -------------------------------------------------------------------------------------------------------


def lstm(
    x: SSAValue,
    w: SSAValue,
    r: SSAValue,
    h: SSAValue,
    c: SSAValue,
    bias: SSAValue | None = None,
    lengths: SSAValue | None = None,
    reverse: bool = False,
    gates: str = LSTM_GATES,
) -> tuple[SSAValue, SSAValue, SSAValue]:
    """(y of every step, last h, last c) of x [steps, batch, input] from the states h and c [batch, hidden]; see LstmOp."""
    y, last_h, last_c = emit(LstmOp(x, w, r, h, c, bias, lengths, reverse, gates))
    return y, last_h, last_c


def gru(
    x: SSAValue,
    w: SSAValue,
    r: SSAValue,
    h: SSAValue,
    bias: SSAValue | None = None,
    r_bias: SSAValue | None = None,
    lengths: SSAValue | None = None,
    reverse: bool = False,
    linear_before_reset: bool = False,
    gates: str = GRU_GATES,
) -> tuple[SSAValue, SSAValue]:
    """(y of every step, last h) of x [steps, batch, input] from the state h [batch, hidden]; see GruOp."""
    y, last = emit(GruOp(x, w, r, h, bias, r_bias, lengths, reverse, linear_before_reset, gates))
    return y, last
