"""Composites keep their names: as functions of the library, and any other, or one of 16-bit floats, as a function of its own decomposition."""

from __future__ import annotations

from xdsl.ir import SSAValue

from mlc.codegen.python.numpy_expression import Expr
from mlc.codegen.python.registry import form
from mlc.codegen.python.writer import Writer, whole
from mlc.ir.graph.attention import AttentionOp
from mlc.ir.graph.cells import GruOp, LstmOp
from mlc.ir.graph.composites import (
    CompositeOp,
    GeluTanhOp,
    RowwiseOp,
    SiluOp,
    StopGradientOp,
)
from mlc.ir.graph.norms import BatchNormOp, GroupNormOp, InstanceNormOp, NormalizationOp
from mlc.ir.graph.random import RandomBitsOp
from mlc.ir.types import dtype_of, is_half, rank_of, shape_of


def _arrays(w: Writer, op: CompositeOp) -> list[str]:
    return [w.array(v).text for v in op.operands]


def _any_half(op: CompositeOp) -> bool:
    return any(is_half(dtype_of(v)) for v in op.operands)


@form(CompositeOp)
def decomposed(w: Writer, op: CompositeOp) -> Expr | str:
    """A function of the decomposition, which composites of the same types and attributes share."""
    attributes = {**op.attributes, **op.properties}
    key = (
        op.name,
        *(f"{name}={attributes[name]}" for name in sorted(attributes)),
        *(str(v.type) for v in (*op.operands, *op.results)),
    )
    text = w.function(op.body(), op.title, op.operands, key)
    return whole(op.results[0], text) if len(op.results) == 1 else text


@form(StopGradientOp, nested=True)
def _stop_gradient(w: Writer, op: StopGradientOp) -> Expr:
    return w.operand(op.x)


@form(RowwiseOp)
def _rowwise(w: Writer, op: RowwiseOp) -> Expr | str:
    if _any_half(op) or op.title not in ("softmax", "log_softmax"):
        return decomposed(w, op)
    axis = op.axis.value.data
    last = axis == rank_of(op.x) - 1
    return whole(op.result, w.call(op.title, *_arrays(w, op), f"axis={-1 if last else axis}"))


@form(GeluTanhOp, SiluOp)
def _activation(w: Writer, op: GeluTanhOp) -> Expr | str:
    return decomposed(w, op) if _any_half(op) else whole(op.result, w.call(op.title, *_arrays(w, op)))


@form(NormalizationOp)
def _normalization(w: Writer, op: NormalizationOp) -> Expr | str:
    if _any_half(op) or op.title not in ("layer_norm", "rms_norm"):
        return decomposed(w, op)
    axes = op.axes.get_values()
    behind = [a - rank_of(op.inputs[0]) for a in axes]
    epsilon = repr(op.epsilon.value.data)
    return whole(op.result, w.call(op.title, *_arrays(w, op), f"axes={behind}", f"epsilon={epsilon}"))


@form(BatchNormOp)
def _batch_norm(w: Writer, op: BatchNormOp) -> Expr | str:
    if _any_half(op):
        return decomposed(w, op)
    axis = op.axis.value.data
    named = {"epsilon": repr(op.epsilon.value.data), "axis": None if axis == 1 else str(axis)}
    return whole(op.result, w.call("batch_norm", *_arrays(w, op), **named))


@form(InstanceNormOp, GroupNormOp)
def _spatial_norm(w: Writer, op: InstanceNormOp) -> Expr | str:
    if _any_half(op):
        return decomposed(w, op)
    groups = str(op.groups.value.data) if isinstance(op, GroupNormOp) else None
    epsilon = repr(op.epsilon.value.data)
    return whole(op.result, w.call(op.title, *_arrays(w, op), groups=groups, epsilon=epsilon))


@form(AttentionOp)
def _attention(w: Writer, op: AttentionOp) -> Expr | str:
    q, k, _, *masks = op.inputs
    if _any_half(op) or len(masks) > 1 or 0 in (shape_of(q)[1], shape_of(k)[1]):
        return decomposed(w, op)
    causal = "True" if op.causal.value.data else None
    return whole(op.result, w.call("attention", *_arrays(w, op), scale=repr(op.scale.value.data), causal=causal))


@form(LstmOp, GruOp)
def _recurrent(w: Writer, op: LstmOp) -> Expr | str:
    if _any_half(op):
        return decomposed(w, op)
    every = ["x", "w", "r", "h"] + (["c"] if isinstance(op, LstmOp) else [])
    optional = ["bias", "lengths"] if isinstance(op, LstmOp) else ["bias", "r_bias", "lengths"]
    given: dict[str, SSAValue | None] = {name: getattr(op, name) for name in optional}
    named: dict[str, str | None] = {name: None if v is None else w.array(v).text for name, v in given.items()}
    named |= {"gates": f'"{op.gates.data}"', "reverse": "True" if op.reverse.value.data else None}
    if isinstance(op, GruOp):
        named["linear_before_reset"] = "True" if op.linear_before_reset.value.data else None
    return w.call(op.title, *(w.array(getattr(op, name)).text for name in every), **named)


@form(RandomBitsOp)
def _random_bits(w: Writer, op: RandomBitsOp) -> Expr:
    return whole(op.result, w.call("random_bits", *_arrays(w, op), w.shape(shape_of(op.result))))
