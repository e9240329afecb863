"""Casts, bits read as another dtype, packed elements."""

from __future__ import annotations

from xdsl.ir import SSAValue

from mlc.codegen.python.numpy_expression import COMPARE, Expr
from mlc.codegen.python.registry import form
from mlc.codegen.python.writer import Writer, whole
from mlc.ir.dtypes import TABLE, DType
from mlc.ir.graph.elementwise import BitcastOp, CastOp
from mlc.ir.graph.packed import UnpackOp
from mlc.ir.graph.storage import always_saturates, carrier
from mlc.ir.types import dtype_of, is_integer, shape_of


@form(CastOp, nested=True)
def _cast(w: Writer, op: CastOp) -> Expr:
    return cast(w, op.x, dtype_of(op.result), *op.mode)


def cast(w: Writer, x: SSAValue, dtype: str, saturate: bool = True, rounding: str = "up") -> Expr:
    """A value in another dtype."""
    e, source, target = w.operand(x), TABLE[dtype_of(x)], TABLE[dtype]
    if e.number and source.name == "i64" and dtype in ("f32", "f64") and len(e.text) < 16:  # an integer that f64 holds
        return e.of(f"{w.dtype(dtype)}({e.text})")
    e = w.typed(x)
    if source is target:
        return e
    if source.storage:
        source = TABLE[carrier(source)]
        e = e.of(f"{e.atom}.astype({w.dtype(source.name)})")
        if source is target:
            return e
    return _between(w, e, source, target, saturate, rounding)


def _between(w: Writer, e: Expr, source: DType, target: DType, saturate: bool, rounding: str) -> Expr:
    """From a dtype with arithmetic."""
    name, real = w.dtype(target.name), source.kind == "float"
    if target.name == "bool":
        return e.of(f"{e.at(COMPARE + 1)} != 0", COMPARE)
    if target.storage and target.format is None:
        whole = w.call("to_integer", e.text, "np.int32") if real else e.text
        return e.of(w.call("to_small_integer", whole, name, str(target.bits)))
    if target.format is not None and target.format.signed:
        clip = saturate or always_saturates(target.format)
        return e.of(w.call("to_small_float", e.text, name, str(clip)))
    if target.format is not None:
        return e.of(w.call("to_power_of_two", e.text, repr(rounding), str(saturate)))
    if real and is_integer(target.name):
        return e.of(w.call("to_integer", e.text, name))
    if source.name == "f64" and target.rounds_twice:
        return e.of(w.call("to_half", e.text, name))
    return e.of(f"{e.atom}.astype({name})")


@form(BitcastOp, nested=True)
def _bitcast(w: Writer, op: BitcastOp) -> Expr:
    e, dtype = w.typed(op.x), dtype_of(op.result)
    if dtype == "bool":
        return e.of(f"{e.atom}.view(np.uint8) != 0", COMPARE)
    return e.of(f"{e.atom}.view({w.dtype(dtype)})")


@form(UnpackOp, nested=True)
def _unpack(w: Writer, op: UnpackOp) -> Expr:
    dtype = dtype_of(op.result)
    shape, bits = w.shape(shape_of(op.result)), str(TABLE[dtype].bits)
    return whole(op.result, w.call("unpack", w.array(op.x).text, shape, w.dtype(dtype), bits))
