"""Loops, branches and recurrent layers as ONNX's Scan, Loop, If, LSTM and GRU. What is the same in every step is read from around a body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from mlc.frontends.onnx.export_nodes import NodeWriter, handles, refused
from mlc.ir.graph import cells, control
from mlc.ir.types import dtype_of, numpy_dtype, shape_of


@handles(control.IfOp)
def _if(w: NodeWriter, op: control.IfOp, xs: list[str]) -> list[str]:
    names = [w.fresh("if") for _ in op.outputs]
    then, otherwise = (w.body(block, xs[1:], 0) for block in (op.then.block, op.otherwise.block))
    w.node("If", [xs[0]], names, then_branch=then, else_branch=otherwise)
    return names


@handles(control.ScanOp)
def _scan(w: NodeWriter, op: control.ScanOp, xs: list[str]) -> list[str]:
    carried, scanned = op.carried.value.data, op.scanned.value.data
    own = xs[: carried + scanned]
    names = [w.fresh("scan") for _ in op.outputs]
    stacked, backwards = len(names) - carried, int(bool(op.reverse.value.data))
    body = w.body(op.body.block, xs, carried + scanned)
    if not scanned:  # ONNX counts steps by what it scans
        own = [*own, w.node("Range", [w.extent(0), w.extent(op.extent), w.extent(1)])]
        body.input.append(onnx.helper.make_tensor_value_info(w.fresh("step"), onnx.TensorProto.INT64, []))
    directions: dict[str, Any] = {"scan_input_directions": [backwards] * max(scanned, 1)}
    if stacked:
        directions["scan_output_directions"] = [backwards] * stacked
    w.node("Scan", own, names, body=body, num_scan_inputs=max(scanned, 1), **directions)
    return names


@handles(control.WhileOp)
def _while(w: NodeWriter, op: control.WhileOp, xs: list[str]) -> list[str]:
    carried = op.carried.value.data
    if len(op.outputs) > carried:
        raise refused(op, "that stacks what its steps give")
    names = [w.fresh("loop") for _ in op.outputs]
    most = "" if op.extent is None else w.extent(op.extent)
    flag = w.fresh("going")
    body = w.body(op.body.block, xs[1:], carried)
    step = onnx.helper.make_tensor_value_info(w.fresh("step"), onnx.TensorProto.INT64, [])
    going = onnx.helper.make_tensor_value_info(flag, onnx.TensorProto.BOOL, [])
    inputs = [step, going, *body.input]
    del body.input[:]
    body.input.extend(inputs)
    w.node("Loop", [most, *xs[: 1 + carried]], names, body=body)
    return names


@handles(cells.LstmOp)
def _lstm(w: NodeWriter, op: cells.LstmOp, xs: list[str]) -> list[str] | None:
    if not _has_nodes(op):
        return None
    x, weight, recurrent, h, c, *rest = xs
    bias = None if op.bias is None else rest[0]
    lengths = None if op.lengths is None else rest[-1]
    return _layer(w, op, "LSTM", cells.LSTM_GATES, (x, weight, recurrent), (bias, None), lengths, (h, c))


@handles(cells.GruOp)
def _gru(w: NodeWriter, op: cells.GruOp, xs: list[str]) -> list[str] | None:
    if not _has_nodes(op):
        return None
    x, weight, recurrent, h, *rest = xs
    left = iter(rest)
    bias, r_bias, lengths = (None if v is None else next(left) for v in (op.bias, op.r_bias, op.lengths))
    linear = int(bool(op.linear_before_reset.value.data))
    return _layer(
        w, op, "GRU", cells.GRU_GATES, (x, weight, recurrent), (bias, r_bias), lengths, (h,), linear_before_reset=linear
    )


def _has_nodes(op: cells.RecurrentOp) -> bool:
    """ONNX's recurrent layers have the floats of IEEE 754 alone."""
    return numpy_dtype(dtype_of(op.operands[0])).kind == "f"


def _layer(
    w: NodeWriter,
    op: cells.LstmOp | cells.GruOp,
    kind: str,
    order: str,
    operands: tuple[str, str, str],
    biases: tuple[str | None, str | None],
    lengths: str | None,
    states: Sequence[str],
    **more: int,
) -> list[str]:
    """One direction: ONNX has an axis for directions, its own order of gates, and both biases in one."""
    hidden = int(shape_of(op.h)[1])  # type: ignore[arg-type]
    rows, dtype = len(order) * hidden, numpy_dtype(dtype_of(op.x))

    def gates(name: str) -> str:
        if op.gates.data == order:
            return name
        parts = [w.fresh("gate") for _ in order]
        w.node("Split", [name], parts, axis=0, num_outputs=len(order))
        return w.node("Concat", [parts[op.gates.data.index(gate)] for gate in order], axis=0)

    first = lambda name: w.node("Unsqueeze", [name, w.integers([0])])
    bias = ""
    if any(biases):
        none = w.constant(np.zeros(rows, dtype))
        bias = first(w.node("Concat", [none if b is None else gates(b) for b in biases], axis=0))
    steps = "" if lengths is None else w.node("Cast", [lengths], to=onnx.TensorProto.INT32)
    x, weight, recurrent = operands
    names = [w.fresh(kind.lower()) for _ in op.results]
    direction = "reverse" if op.reverse.value.data else "forward"
    inputs = [x, first(gates(weight)), first(gates(recurrent)), bias, steps, *map(first, states)]
    w.node(kind, inputs, names, hidden_size=hidden, direction=direction, **more)
    axes = [1, *[0] * len(states)]  # of directions in y and in the last states
    return [w.node("Squeeze", [name, w.integers([axis])]) for name, axis in zip(names, axes, strict=True)]
