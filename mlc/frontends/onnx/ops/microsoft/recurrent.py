"""DynamicQuantizeLSTM: what onnxruntime's quantize_dynamic makes of every LSTM."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import like
from mlc.frontends.onnx.ops.microsoft import contributed
from mlc.frontends.onnx.ops.quantize import dynamically_quantized
from mlc.frontends.onnx.ops.recurrent import Layer, Sequences, both_biases, entry
from mlc.frontends.onnx.table import Value
from mlc.ir import builder as g
from mlc.ir.graph.cells import lstm_cell, recur, rows
from mlc.ir.types import rank_of, shape_of, shape_text


@contributed("DynamicQuantizeLSTM")
def dynamic_quantize_lstm(
    node: Node,
    x: Value,
    w: Value,
    r: Value,
    bias: Value | None,
    lengths: Value | None,
    initial_h: Value | None,
    initial_c: Value | None,
    peephole: Value | None,
    w_scale: Value,
    w_zero_point: Value,
    r_scale: Value,
    r_zero_point: Value,
) -> Sequence[Value | None]:
    """An LSTM whose products are of 8-bit integers: x of all steps is quantised at once, the hidden state in every step anew.

    w [directions, input, 4 * h] and r [directions, h, 4 * h] lie transposed against LSTM's; scales and zero points are
    [directions] or [directions, 4 * h].
    """
    for name, v in (("W", w), ("R", r)):
        if rank_of(v) != 3:
            raise node.error(f"{name} has {rank_of(v)} axes, expected 3")
    w_zeros, r_zeros = (zeros(node, v, z, n) for v, z, n in ((w, w_zero_point, 9), (r, r_zero_point, 11)))
    w, r = (g.transpose(v, [0, 2, 1]) for v in (w, r))
    layer = Layer(node, x, w, r, lengths, 4, ("Sigmoid", "Tanh", "Tanh"))
    scales = [gate_scales(node, scale, layer) for scale in (w_scale, r_scale)]
    coupled = bool(node.int("input_forget", 0))
    x_centred, x_scale = quantized(up_to_longest(layer.sequences))
    ys, hs, cs = [], [], []
    for i in range(len(layer.reversals)):
        direction = layer.direction(i, bias, peephole)
        weights = centred(direction.w, [] if w_zeros is None else [entry(w_zeros, i)])
        gates = dequantized(g.contract(x_centred, weights, "sbi,gi->sbg"), x_scale, entry(scales[0], i))
        biases = both_biases(direction)
        if biases is not None:
            gates = g.add(gates, rows(biases, gates))
        init = [layer.initial(initial_h, i), layer.initial(initial_c, i)]
        constants = [direction.r, entry(scales[1], i), *([] if r_zeros is None else [entry(r_zeros, i)])]
        product = partial(quantized_product, with_zeros=r_zeros is not None)
        constants += [] if direction.peephole is None else [direction.peephole]
        cell = lstm_cell(layer.hidden, direction.activations, coupled, peephole is not None, product)
        y, (h, c) = recur(gates, layer.sequences.lengths, direction.reverse, init, constants, cell)
        ys.append(y)
        hs.append(h)
        cs.append(c)
    return [layer.outputs(ys), layer.finals(hs), layer.finals(cs)]


def up_to_longest(sequences: Sequences) -> Value:
    """The input with zeros in the steps that no row has, so that they do not widen the range."""
    x = sequences.x
    if sequences.lengths is None:
        return x
    longest = g.broadcast(g.cast(g.reduce(sequences.lengths, [0], "max"), "i64"), shape_of(x), [])
    return g.select(g.lt(g.iota(shape_of(x), 0, "i64"), longest), x, like(x, 0))


def quantized_product(h: Value, constants: tuple[Value, ...], with_zeros: bool) -> Value:
    """The state, quantised by its range over all of the batch, times the weights of the constants (weights, their scales, zero points)."""
    state, scale = quantized(h)
    weights = centred(constants[0], constants[2 : 2 + with_zeros])
    return dequantized(g.contract(state, weights, "bh,gh->bg"), scale, constants[1])


def quantized(x: Value) -> tuple[Value, Value]:
    """(x as integers around 0 in i32, their scale)."""
    y, scale, zero_point = dynamically_quantized(x)
    zero = g.broadcast(g.cast(zero_point, "i32"), shape_of(x), [])
    return g.sub(g.cast(y, "i32"), zero), scale


def dequantized(product: Value, x_scale: Value, scales: Value) -> Value:
    """The i32 product in f32, times the scale of x and those of the columns."""
    factor = g.mul(scales, g.broadcast(x_scale, shape_of(scales), []))
    return g.mul(g.cast(product, "f32"), rows(factor, product))


def zeros(node: Node, v: Value, zero_point: Value, index: int) -> Value | None:
    """The zero points of weights [directions, k, columns] in i32, [directions, columns]; None where all are known to be 0."""
    shape = shape_of(v)
    if shape_of(zero_point) not in ((shape[0],), (shape[0], shape[2])):
        raise node.error(f"a zero point has shape {shape_text(shape_of(zero_point))} for weights {shape_text(shape)}")
    known = node.constant(index)
    if known is not None and not known.any():
        return None
    return g.broadcast(g.cast(zero_point, "i32"), (shape[0], shape[2]), list(range(rank_of(zero_point))))


def centred(weights: Value, zero_points: Sequence[Value]) -> Value:
    """Weights [columns, k] of one direction in i32, less a zero point for each column where there are some."""
    whole = g.cast(weights, "i32")
    return g.sub(whole, g.broadcast(zero_points[0], shape_of(whole), [0])) if zero_points else whole


def gate_scales(node: Node, scale: Value, layer: Layer) -> Value:
    """[directions, 4 * h]; a scale per direction is repeated."""
    shape = (len(layer.reversals), layer.gates * layer.hidden)
    if shape_of(scale) == shape[:1]:
        return g.broadcast(scale, shape, [0])
    return layer.fitted("a scale", scale, shape)
