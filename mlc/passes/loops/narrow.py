"""Scalar ops that machines lack, spelled by ops they have: functions of the math dialect, and arithmetic on f16 and bf16.

%z = arith.mulf %x, %y : bf16   ->   extf both to f32, mulf, truncf
arith.truncf %x : f32 to bf16   ->   round to nearest even on the bits
arith.truncf %x : f64 to f16    ->   to f32, the last bit set if anything was lost, then to f16: rounds once
"""

from __future__ import annotations

from xdsl.dialects import arith, math
from xdsl.dialects.builtin import BFloat16Type, Float16Type, IntegerAttr, IntegerType, bf16, f32, f64, i16, i32
from xdsl.ir import Attribute, Operation, SSAValue

from mlc.ir.kernel import vector_ops as lanewise
from mlc.ir.kernel.located import Builder
from mlc.passes.loops.floats import OnTheSpot
from mlc.passes.loops.math import expand, expansion


def is_narrow(type: Attribute) -> bool:
    return isinstance(type, (Float16Type, BFloat16Type))


def needs_expansion(op: Operation) -> bool:
    if op.dialect_name() not in ("arith", "math") or len(op.results) != 1:
        return False
    if expansion(op) is not None:
        return True
    if op.name in ("arith.constant", "arith.select", "arith.bitcast"):
        return False
    if op.name in ("arith.extf", "arith.truncf"):
        source, target = op.operands[0].type, op.results[0].type
        return bf16 in (source, target) or (source == f64 and is_narrow(target))
    return any(is_narrow(v.type) for v in (*op.operands, *op.results))


def expand_scalar(b: Builder, op: Operation, operands: list[SSAValue]) -> SSAValue:
    """The result of an op that `needs_expansion`."""
    if expansion(op) is not None:
        return expand(b, OnTheSpot(), op, operands)
    result = op.results[0].type
    if op.name == "arith.extf":
        return widened_to(b, operands[0], result)
    if op.name == "arith.truncf":
        return narrowed_to(b, operands[0], result)
    wide = [widened(b, v) for v in operands]
    kind = f32 if is_narrow(result) else result
    made = type(op).create(operands=wide, result_types=[kind], properties=op.properties, attributes=op.attributes)
    b.insert(made)
    value: SSAValue = made.results[0]
    if expansion(made) is not None:
        value = expand(b, OnTheSpot(), made, wide)
        made.detach()
        made.erase()
    return narrowed_to(b, value, result) if is_narrow(result) else value


def widened(b: Builder, value: SSAValue) -> SSAValue:
    return widened_to(b, value, f32) if is_narrow(value.type) else value


def widened_to(b: Builder, value: SSAValue, type: Attribute) -> SSAValue:
    """f16 by the machine's own conversion; bf16 is the upper half of an f32."""
    if value.type == bf16:
        bits = b.insert(arith.BitcastOp(value, i16)).result
        high = b.insert(arith.ShLIOp(b.insert(arith.ExtUIOp(bits, i32)).result, _integer(b, 16, i32))).result
        value = b.insert(arith.BitcastOp(high, f32)).result
    return value if value.type == type else b.insert(arith.ExtFOp(value, type)).result


def narrowed_to(b: Builder, value: SSAValue, type: Attribute) -> SSAValue:
    """To nearest, ties to even; NaN stays a NaN."""
    if value.type == f64:
        value = _to_odd(b, value)
    if type != bf16:
        return b.insert(arith.TruncFOp(value, type)).result
    bits = b.insert(arith.BitcastOp(value, i32)).result
    low = b.insert(arith.ShRUIOp(bits, _integer(b, 16, i32))).result
    odd = b.insert(arith.AndIOp(low, _integer(b, 1, i32))).result
    up = b.insert(arith.AddiOp(b.insert(arith.AddiOp(bits, _integer(b, 0x7FFF, i32))).result, odd)).result
    quiet = b.insert(arith.OrIOp(bits, _integer(b, 0x400000, i32))).result
    nan = b.insert(lanewise.CompareFloats(value, value, "uno")).result
    kept = b.insert(arith.SelectOp(nan, quiet, up)).result
    high = b.insert(arith.TruncIOp(b.insert(arith.ShRUIOp(kept, _integer(b, 16, i32))).result, i16)).result
    return b.insert(arith.BitcastOp(high, bf16)).result


def _to_odd(b: Builder, value: SSAValue) -> SSAValue:
    """f64 as f32, towards zero, the last bit set where that loses anything: rounding this further gives what rounding `value` would."""
    near = b.insert(arith.TruncFOp(value, f32)).result
    wide = b.insert(arith.ExtFOp(near, f64)).result
    bits = b.insert(arith.BitcastOp(near, i32)).result
    inexact = b.insert(lanewise.CompareFloats(wide, value, "one")).result
    size, true_size = (b.insert(math.AbsFOp(v)).result for v in (wide, value))
    away = b.insert(lanewise.CompareFloats(size, true_size, "ogt")).result
    down = b.insert(arith.SubiOp(bits, b.insert(arith.ExtUIOp(away, i32)).result)).result
    odd = b.insert(arith.OrIOp(down, _integer(b, 1, i32))).result
    return b.insert(arith.BitcastOp(b.insert(arith.SelectOp(inexact, odd, bits)).result, f32)).result


def _integer(b: Builder, value: int, type: IntegerType) -> SSAValue:
    return b.insert(arith.ConstantOp(IntegerAttr(value, type))).result
