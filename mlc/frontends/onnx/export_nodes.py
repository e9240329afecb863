"""What each op of the graph dialect is in ONNX. A handler writes nodes and gives the names of the op's results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import onnx
from xdsl.ir import Block, Operation

from mlc.errors import UnsupportedOp
from mlc.ir.dims import Dim, Extent
from mlc.ir.dtypes import TABLE
from mlc.ir.graph import (
    composites,
    constants,
    elementwise,
    index,
    linear,
    norms,
    parts,
    reduce,
    shape,
    window,
)
from mlc.ir.graph.elementwise import OPS
from mlc.ir.types import dtype_of, is_float, numpy_dtype, rank_of, shape_of


class NodeWriter(Protocol):
    """What a handler writes with (exporter.py)."""

    def node(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str] = (), count: int = 1, **attributes: Any
    ) -> str: ...
    def body(self, block: Block, arguments: Sequence[str], given: int) -> onnx.GraphProto: ...
    def fresh(self, wanted: str) -> str: ...
    def constant(self, value: np.ndarray) -> str: ...
    def integers(self, values: Sequence[int]) -> str: ...
    def extents(self, shape: Sequence[Extent]) -> str: ...
    def extent(self, extent: Extent) -> str: ...


Handler = Callable[
    [NodeWriter, Any, list[str]], str | list[str] | None
]  # None: of a composite, which is written as what it is made of
HANDLERS: dict[type[Operation], Handler] = {}


def handles(*kinds: type[Operation]) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(kinds, handler))
        return handler

    return register


def refused(op: Operation, why: str) -> UnsupportedOp:
    return UnsupportedOp(f"no ONNX nodes for {op.name.removeprefix('graph.')} {why}")


def _number(w: NodeWriter, op: Operation, value: float) -> str:
    """A scalar of the dtype of the op's operands."""
    return w.constant(np.array(value).astype(numpy_dtype(dtype_of(op.operands[-1]))))


# Element by element ------------------------------------------------------------------------------------------------------

_SAME = {
    "neg": "Neg", "abs": "Abs", "sign": "Sign", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "reciprocal": "Reciprocal",
    "sin": "Sin", "cos": "Cos", "tan": "Tan", "asin": "Asin", "acos": "Acos", "atan": "Atan", "sinh": "Sinh",
    "cosh": "Cosh", "tanh": "Tanh", "asinh": "Asinh", "acosh": "Acosh", "atanh": "Atanh", "erf": "Erf", "gelu": "Gelu",
    "sigmoid": "Sigmoid", "softplus": "Softplus", "relu": "Relu", "floor": "Floor", "ceil": "Ceil", "round": "Round",
    "bit_not": "BitwiseNot", "logical_not": "Not", "is_nan": "IsNaN", "is_inf": "IsInf", "add": "Add", "sub": "Sub",
    "mul": "Mul", "div": "Div", "pow": "Pow", "maximum": "Max", "minimum": "Min", "bit_and": "BitwiseAnd",
    "bit_or": "BitwiseOr", "bit_xor": "BitwiseXor", "logical_and": "And", "logical_or": "Or", "logical_xor": "Xor",
    "eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual", "select": "Where",
}  # fmt: skip
for _name, _kind in _SAME.items():
    HANDLERS[OPS[_name]] = lambda w, op, xs, kind=_kind: w.node(kind, xs)  # type: ignore[misc]


@handles(OPS["rsqrt"])
def _rsqrt(w: NodeWriter, op: Operation, xs: list[str]) -> str:
    return w.node("Reciprocal", [w.node("Sqrt", xs)])


@handles(OPS["ne"])
def _ne(w: NodeWriter, op: Operation, xs: list[str]) -> str:
    return w.node("Not", [w.node("Equal", xs)])


@handles(OPS["expm1"])
def _expm1(w: NodeWriter, op: Operation, xs: list[str]) -> str:
    """2 exp(x/2) sinh(x/2), which keeps its digits where x is tiny."""
    half = w.node("Mul", [xs[0], _number(w, op, 0.5)])
    return w.node("Mul", [w.node("Mul", [w.node("Exp", [half]), w.node("Sinh", [half])]), _number(w, op, 2)])


@handles(OPS["log1p"])
def _log1p(w: NodeWriter, op: Operation, xs: list[str]) -> str:
    """Near 0 2 atanh(x / (x + 2)), which keeps its digits."""
    one, two = _number(w, op, 1), _number(w, op, 2)
    near = w.node("Less", [w.node("Abs", xs), _number(w, op, 0.5)])
    exact = w.node("Mul", [w.node("Atanh", [w.node("Div", [xs[0], w.node("Add", [xs[0], two])])]), two])
    return w.node("Where", [near, exact, w.node("Log", [w.node("Add", [xs[0], one])])])


@handles(OPS["mod"])
def _mod(w: NodeWriter, op: Operation, xs: list[str]) -> str:
    if not is_float(dtype_of(op.operands[0])):
        return w.node("Mod", xs)
    rest = w.node("Mod", xs, fmod=1)
    zero = _number(w, op, 0)
    apart = w.node("Less", [w.node("Mul", [w.node("Sign", [rest]), w.node("Sign", [xs[1]])]), zero])
    return w.node("Where", [apart, w.node("Add", [rest, xs[1]]), rest])


@handles(OPS["fmod"])
def _fmod(w: NodeWriter, op: Operation, xs: list[str]) -> str:
    return w.node("Mod", xs, fmod=1)


if "clip" in OPS:

    @handles(OPS["clip"])
    def _clip(w: NodeWriter, op: Operation, xs: list[str]) -> str:
        return w.node("Min", [w.node("Max", xs[:2]), xs[2]])


@handles(elementwise.CastOp)
def _cast(w: NodeWriter, op: elementwise.CastOp, xs: list[str]) -> str:
    return _as_type(w, xs[0], dtype_of(op.result))


def _as_type(w: NodeWriter, x: str, dtype: str) -> str:
    return w.node("Cast", [x], to=onnx.TensorProto.DataType.Value(TABLE[dtype].onnx))


# Shapes ------------------------------------------------------------------------------------------------------------------


@handles(constants.DimensionOp)
def _dimension(w: NodeWriter, op: constants.DimensionOp, xs: list[str]) -> str:
    from mlc.ir.types import extent

    return w.extent(extent(op.extent.data))


@handles(constants.IotaOp)
def _iota(w: NodeWriter, op: constants.IotaOp, xs: list[str]) -> str:
    sizes, axis = shape_of(op.result), op.axis.value.data
    line = w.node("Range", [w.extent(0), w.extent(sizes[axis]), w.extent(1)])
    line = w.node("Cast", [line], to=onnx.TensorProto.DataType.Value(TABLE[dtype_of(op.result)].onnx))
    placed = w.node("Reshape", [line, w.extents([e if a == axis else 1 for a, e in enumerate(sizes)])], allowzero=1)
    return w.node("Expand", [placed, w.extents(sizes)])


@handles(shape.BroadcastOp)
def _broadcast(w: NodeWriter, op: shape.BroadcastOp, xs: list[str]) -> str:
    """Operands of element-wise ops are left to ONNX's broadcasting, which aligns the last axes."""
    sizes, axes = shape_of(op.result), list(op.axes.get_values())
    trailing = axes == list(range(len(sizes) - len(axes), len(sizes)))
    placed = [e if a in axes else 1 for a, e in enumerate(sizes)]
    found = xs[0] if trailing else w.node("Reshape", [xs[0], w.extents(placed)], allowzero=1)
    return (
        found
        if all(_broadcasts(use.operation) for use in op.result.uses)
        else w.node("Expand", [found, w.extents(sizes)])
    )


def _broadcasts(op: Operation) -> bool:
    """Whether an op's own operands give the result its shape, one of them whole."""
    return isinstance(op, elementwise.ElementwiseOp) and any(
        not isinstance(x.owner, shape.BroadcastOp) for x in op.operands
    )


@handles(shape.ReshapeOp)
def _reshape(w: NodeWriter, op: shape.ReshapeOp, xs: list[str]) -> str:
    return w.node("Reshape", [xs[0], w.extents(shape_of(op.result))], allowzero=1)


@handles(shape.TransposeOp)
def _transpose(w: NodeWriter, op: shape.TransposeOp, xs: list[str]) -> str:
    return w.node("Transpose", xs, perm=list(op.permutation.get_values()))


@handles(parts.SliceOp)
def _slice(w: NodeWriter, op: parts.SliceOp, xs: list[str]) -> str:
    starts, steps, ends = list(op.starts.extents()), op.steps.get_values(), []
    for axis, (start, size, step) in enumerate(zip(starts, shape_of(op.result), steps, strict=True)):
        end = start + size * step
        if step < 0 and (isinstance(end, Dim) or end < 0):
            if isinstance(end, Dim):
                raise refused(op, "backwards over a size that is not known")
            end = -(1 << 62)  # the beginning: -1 would be the last element
        if isinstance(size, int) and size == 0:
            starts[axis], end = 0, 0
        ends.append(end)
    if not ends:
        return xs[0]
    axes = w.integers(range(len(ends)))
    return w.node("Slice", [xs[0], w.extents(starts), w.extents(ends), axes, w.integers(steps)])


@handles(parts.PadOp)
def _pad(w: NodeWriter, op: parts.PadOp, xs: list[str]) -> str:
    if any(op.between):
        raise refused(op, "between elements")
    return w.node("Pad", [xs[0], w.extents([*op.low.extents(), *op.high.extents()]), xs[1]])


@handles(parts.ConcatenateOp)
def _concatenate(w: NodeWriter, op: parts.ConcatenateOp, xs: list[str]) -> str:
    return w.node("Concat", xs, axis=op.axis.value.data)


# Products ----------------------------------------------------------------------------------------------------------------


@handles(linear.ContractOp)
def _contract(w: NodeWriter, op: linear.ContractOp, xs: list[str]) -> str:
    return w.node("Einsum", xs, equation=op.spec.data) if not linear.is_matmul(op.spec.data) else w.node("MatMul", xs)


# Along axes ----------------------------------------------------------------------------------------------------------------

_REDUCE = {
    "sum": "ReduceSum",
    "prod": "ReduceProd",
    "max": "ReduceMax",
    "min": "ReduceMin",
    "and": "ReduceMin",
    "or": "ReduceMax",
}


@handles(reduce.ReduceOp)
def _reduce(w: NodeWriter, op: reduce.ReduceOp, xs: list[str]) -> str:
    axes, kind = list(op.axes.get_values()), _REDUCE[op.kind.data]
    return w.node(kind, [xs[0], w.integers(axes)], keepdims=0) if axes else xs[0]


@handles(reduce.ArgReduceOp)
def _arg_reduce(w: NodeWriter, op: reduce.ArgReduceOp, xs: list[str]) -> str:
    kind = "ArgMax" if op.kind.data == "max" else "ArgMin"
    return w.node(kind, xs, axis=op.axis.value.data, keepdims=0, select_last_index=int(op.last.value.data))


@handles(reduce.CumulativeOp)
def _cumulative(w: NodeWriter, op: reduce.CumulativeOp, xs: list[str]) -> str:
    if op.kind.data != "sum":
        raise refused(op, op.kind.data)
    axis = w.constant(np.array(op.axis.value.data, np.int64))
    return w.node(
        "CumSum", [xs[0], axis], exclusive=int(bool(op.exclusive.value.data)), reverse=int(bool(op.reverse.value.data))
    )


@handles(reduce.TopKOp)
def _top_k(w: NodeWriter, op: reduce.TopKOp, xs: list[str]) -> list[str]:
    names = [w.fresh("values"), w.fresh("indices")]
    k = w.extents([op.k.extents()[0]])
    w.node("TopK", [xs[0], k], names, axis=op.axis.value.data, largest=int(bool(op.largest.value.data)))
    return names


@handles(composites.SoftmaxOp, composites.LogSoftmaxOp)
def _softmax(w: NodeWriter, op: composites.RowwiseOp, xs: list[str]) -> str:
    return w.node("Softmax" if isinstance(op, composites.SoftmaxOp) else "LogSoftmax", xs, axis=op.axis.value.data)


@handles(norms.LayerNormOp)
def _layer_norm(w: NodeWriter, op: norms.LayerNormOp, xs: list[str]) -> str:
    axes = op.axes.get_values()
    if len(xs) == 1:
        sizes = [e for a, e in enumerate(shape_of(op.inputs[0])) if a in axes]
        one = w.constant(np.ones((), numpy_dtype(dtype_of(op.inputs[0]))))
        xs = [xs[0], w.node("Expand", [one, w.extents(sizes)])]
    return w.node("LayerNormalization", xs, axis=axes[0], epsilon=op.epsilon.value.data)


@handles(norms.BatchNormOp)
def _batch_norm(w: NodeWriter, op: norms.BatchNormOp, xs: list[str]) -> str:
    """Whole, so that whoever imports it can tell statistics from parameters. ONNX has channels on axis 1, parameters of one type, and statistics
    of one."""
    axis, rank, kinds = op.axis.value.data, rank_of(op.x), [dtype_of(x) for x in op.operands]
    for pair in ((1, 2), (3, 4)):
        if len({kinds[n] for n in pair}) > 1:  # f16 or bf16 beside another, which are computed in f32
            for n in pair:
                xs[n] = xs[n] if kinds[n] == "f32" else _as_type(w, xs[n], "f32")
    if axis == 1:
        return w.node("BatchNormalization", xs, epsilon=op.epsilon.value.data)
    front = w.node("Unsqueeze", [xs[0], w.integers([0])])
    order = list(range(rank + 1))
    order[1], order[axis + 1] = order[axis + 1], order[1]
    turned = w.node("Transpose", [front], perm=order)
    y = w.node("BatchNormalization", [turned, *xs[1:]], epsilon=op.epsilon.value.data)
    return w.node("Squeeze", [w.node("Transpose", [y], perm=order), w.integers([0])])


@handles(composites.StopGradientOp)
def _stop_gradient(w: NodeWriter, op: Operation, xs: list[str]) -> str:
    return xs[0]


@handles(window.ReduceWindowOp)
def _reduce_window(w: NodeWriter, op: window.ReduceWindowOp, xs: list[str]) -> str:
    """Pooling over the last axes, where the first two are whole."""
    sizes, strides, dilations = (list(v.get_values()) for v in (op.window, op.strides, op.dilations))
    edges = [*op.low.extents(), *op.high.extents()]
    kind = op.kind.data
    plain = len(sizes) > 2 and sizes[:2] == [1, 1] and strides[:2] == [1, 1] and op.x_dilation is None
    rank = len(sizes)
    if not plain or kind not in ("max", "sum") or any(isinstance(e, Dim) or e < 0 for e in edges):
        raise refused(op, f"({kind}) over windows of {sizes}")
    pads = [*edges[2:rank], *edges[rank + 2 :]]
    options: dict[str, Any] = {
        "kernel_shape": sizes[2:],
        "strides": strides[2:],
        "pads": pads,
        "dilations": dilations[2:],
    }
    if kind == "max":
        return w.node("MaxPool", xs, **options)
    mean = w.node("AveragePool", xs, count_include_pad=1, **options)
    return w.node("Mul", [mean, w.constant(np.array(np.prod(sizes)).astype(numpy_dtype(dtype_of(op.result))))])


# Positions -----------------------------------------------------------------------------------------------------------------


@handles(index.GatherOp)
def _gather(w: NodeWriter, op: index.GatherOp, xs: list[str]) -> str:
    loops, axes, rank = list(op.loops.get_values()), list(op.axes.get_values()), rank_of(op.x)
    count, columns = len(loops), axes.count(-1)
    looked = axes.index(-1) if columns else 0
    where = w.node("Cast", [xs[1]], to=onnx.TensorProto.INT64)
    single = w.node("Squeeze", [where, w.integers([count])]) if columns == 1 else where
    if (
        columns == 1
        and axes == [*range(looked), -1, *range(looked + count, rank - 1 + count)]
        and loops == list(range(looked, looked + count))
    ):
        return w.node("Gather", [xs[0], single], axis=looked)
    if (
        columns == 1
        and loops == list(range(rank))
        and [a for a in axes if a != -1] == [a for a in range(rank) if a != looked]
    ):
        return w.node("GatherElements", [xs[0], single], axis=looked)
    lead = next((n for n, a in enumerate(axes) if a == -1), 0)
    if axes == [*range(lead), *[-1] * columns, *range(count, count + rank - lead - columns)] and loops == list(
        range(count)
    ):
        return w.node("GatherND", [xs[0], where], batch_dims=lead)
    raise refused(op, f"by the maps {loops}, {axes}")


@handles(index.ScatterOp)
def _scatter(w: NodeWriter, op: index.ScatterOp, xs: list[str]) -> str:
    loops, axes, rank = list(op.loops.get_values()), list(op.axes.get_values()), rank_of(op.x)
    count, columns, kind = len(loops), axes.count(-1), op.kind.data
    where = w.node("Cast", [xs[1]], to=onnx.TensorProto.INT64)
    reduction = "none" if kind == "set" else kind
    if axes == [*[-1] * columns, *range(count, count + rank - columns)] and loops == list(range(count)):
        return w.node("ScatterND", [xs[0], where, xs[2]], reduction=reduction)
    looked = axes.index(-1) if columns else 0
    if (
        columns == 1
        and loops == list(range(rank))
        and [a for a in axes if a != -1] == [a for a in range(rank) if a != looked]
    ):
        single = w.node("Squeeze", [where, w.integers([count])])
        return w.node("ScatterElements", [xs[0], single, xs[2]], axis=looked, reduction=reduction)
    raise refused(op, f"by the maps {loops}, {axes}")
