"""Arithmetic that changes nothing: x * 1 -> x, x ** 2 -> x * x, cast of a cast.

Every rule gives the same bits, NaN and signed zeros included, but for powers, which round differently: x ** 3 rounds twice.
"""

from __future__ import annotations

import math

from xdsl.ir import SSAValue

from mlc.ir import builder as g
from mlc.ir.dtypes import TABLE
from mlc.ir.graph.constants import ConstantOp, WeightOp
from mlc.ir.graph.elementwise import OPS, CastOp, ElementwiseOp
from mlc.ir.graph.shape import BroadcastOp
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, highest, is_float, is_half, is_integer, is_storage, lowest, numpy_dtype
from mlc.passes.graph.facts import made_by, number
from mlc.passes.graph.rewrite import rule

_COMMUTE = (
    "add",
    "mul",
    "maximum",
    "minimum",
    "logical_and",
    "logical_or",
    "logical_xor",
    "eq",
    "ne",
    "bit_and",
    "bit_or",
)
_MIRROR = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le"}


@rule(*(OPS[name] for name in (*_COMMUTE, *_MIRROR)))
def constants_to_the_right(op: ElementwiseOp, module: Module) -> SSAValue | None:
    """c + x -> x + c; broadcast(b) + x -> x + broadcast(b); c < x -> x > c"""
    lhs, rhs = op.operands
    if _constancy(lhs) <= _constancy(rhs):
        return None
    name = op.ROW.name
    return getattr(g, _MIRROR.get(name, name))(rhs, lhs)


def _constancy(value: SSAValue) -> int:
    return 2 if number(value) is not None else 1 if isinstance(value.owner, BroadcastOp | WeightOp | ConstantOp) else 0


@rule(
    *(
        OPS[name]
        for name in ("add", "sub", "mul", "div", "maximum", "minimum", "logical_and", "logical_or", "logical_xor")
    )
)
def neutral_elements(op: ElementwiseOp, module: Module) -> SSAValue | None:
    """x * 1, x / 1, x - 0, x + -0.0, i + 0, max(x, -inf), min(x, inf), and(x, true), or(x, false) -> x"""
    x, dtype = op.operands[0], dtype_of(op.operands[0])
    value = number(op.operands[1])
    if value is None:
        return None
    neutral: dict[str, float | int | bool] = {
        "add": -0.0 if is_float(dtype) else 0,
        "sub": 0.0 if is_float(dtype) else 0,
        "mul": 1,
        "div": 1,
        "maximum": lowest(dtype),
        "minimum": highest(dtype),
        "logical_and": True,
        "logical_or": False,
        "logical_xor": False,
    }
    wanted = neutral[op.ROW.name]
    same_sign = not is_float(dtype) or math.copysign(1.0, value) == math.copysign(1.0, wanted)
    return x if value == wanted and same_sign else None


@rule(OPS["mul"], OPS["logical_and"], OPS["logical_or"])
def absorbing_elements(op: ElementwiseOp, module: Module) -> SSAValue | None:
    """i * 0 -> 0 (integers), and(x, false) -> false, or(x, true) -> true"""
    value = number(op.operands[1])
    dtype = dtype_of(op.operands[0])
    name = op.ROW.name
    if (
        value is None
        or (name == "mul" and (value != 0 or is_float(dtype)))
        or (name != "mul" and value != (name == "logical_or"))
    ):
        return None
    return op.operands[1]


@rule(OPS["div"])
def divide_by_power_of_two(op: ElementwiseOp, module: Module) -> SSAValue | None:
    """x / 8 -> x * 0.125: both are exact but for one rounding of the same number. 1 / x -> reciprocal(x)"""
    x, y = op.operands
    dtype = dtype_of(x)
    if not is_float(dtype):
        return None
    if number(x) == 1:
        return g.reciprocal(y)
    value = number(y)
    if value is None or value == 0 or math.isinf(value) or abs(math.frexp(value)[0]) != 0.5:
        return None
    inverse = numpy_dtype(dtype).type(1 / value)
    if not 2.0**-10 <= abs(float(inverse)) <= 2.0**10:  # far from the subnormals of every dtype
        return None
    return g.mul(x, g.full_like(x, float(inverse)))


@rule(OPS["pow"])
def constant_powers(op: ElementwiseOp, module: Module) -> SSAValue | None:
    """x ** 0, 1, 2, 3, -1, 0.5 -> 1, x, x * x, x * x * x, reciprocal(x), a square root"""
    x, exponent = op.operands[0], number(op.operands[1])
    if exponent is None:
        return None
    if exponent == 0:
        return g.full_like(x, 1)
    if exponent == 1:
        return x
    if exponent == 2:
        return g.mul(x, x)
    if exponent == 3:
        return g.mul(g.mul(x, x), x)
    if not is_float(dtype_of(x)):
        return None
    if exponent == 0.5:  # of -0 the power is 0 and the root -0, of -inf inf and NaN
        infinite = g.eq(x, g.full_like(x, -math.inf))
        return g.sqrt(g.select(infinite, g.full_like(x, math.inf), g.add(x, g.full_like(x, 0.0))))
    return g.reciprocal(x) if exponent == -1 else None


@rule(OPS["neg"], OPS["logical_not"], OPS["bit_not"])
def undo_itself(op: ElementwiseOp, module: Module) -> SSAValue | None:
    """neg(neg(x)) -> x"""
    inner = made_by(op.operands[0], type(op))
    return inner.operands[0] if inner else None


@rule(OPS["relu"], OPS["abs"], OPS["sign"], OPS["floor"], OPS["ceil"], OPS["round"])
def repeat_itself(op: ElementwiseOp, module: Module) -> SSAValue | None:
    """relu(relu(x)) -> relu(x)"""
    return op.operands[0] if made_by(op.operands[0], type(op)) else None


@rule(OPS["add"], OPS["sub"])
def signs(op: ElementwiseOp, module: Module) -> SSAValue | None:
    """x + -y -> x - y; x - -y -> x + y"""
    x, y = op.operands
    inner = made_by(y, OPS["neg"])
    if inner is None or not is_float(dtype_of(x)):
        return None
    return (g.sub if op.ROW.name == "add" else g.add)(x, inner.operands[0])


@rule(OPS["maximum"], OPS["minimum"])
def nested_bounds(op: ElementwiseOp, module: Module) -> SSAValue | None:
    """max(max(x, 1), 3) -> max(x, 3); a NaN wins"""
    inner = made_by(op.operands[0], type(op))
    if inner is None:
        return None
    first, second = number(inner.operands[1]), number(op.operands[1])
    if first is None or second is None:
        return None
    if math.isnan(second):
        return op.operands[1]
    inner_bound, outer_bound = ((value, math.copysign(1.0, value)) for value in (first, second))  # 0 is above -0
    keeps_outer = outer_bound >= inner_bound if op.ROW.name == "maximum" else outer_bound <= inner_bound
    return getattr(g, op.ROW.name)(inner.operands[0], (op if keeps_outer else inner).operands[1])


@rule(OPS["select"])
def decided_selects(op: ElementwiseOp, module: Module) -> SSAValue | None:
    """select(true, x, y) -> x; select(c, x, x) -> x; select(not c, x, y) -> select(c, y, x)"""
    condition, x, y = op.operands
    if x is y:
        return x
    value = number(condition)
    if value is not None:
        return x if value else y
    if inner := made_by(condition, OPS["logical_not"]):
        return g.select(inner.operands[0], y, x)
    return None


@rule(CastOp)
def casts_that_lose_nothing(op: CastOp, module: Module) -> SSAValue | None:
    """cast(cast(x: i32, i64), f32) -> cast(x, f32); a cast to x's own dtype -> x"""
    target = dtype_of(op.result)
    if dtype_of(op.x) == target:
        return op.x
    if is_storage(target) or is_storage(dtype_of(op.x)):
        return None
    inner = made_by(op.x, CastOp)
    if inner is None or not holds(dtype_of(inner.result), dtype_of(inner.x)):
        return None
    through_float = is_float(dtype_of(op.x)) and is_integer(dtype_of(inner.x)) and is_integer(target)
    if through_float and not holds(target, dtype_of(inner.x)):
        return None  # from a float the nearest integer is taken, from an integer the low bits
    return g.cast(inner.x, target)


def holds(wide: str, narrow: str) -> bool:
    """Every value of one dtype is a value of the other."""
    if narrow in (wide, "bool"):
        return True
    if is_float(narrow):
        return wide == "f64" or (wide == "f32" and is_half(narrow))
    if not is_integer(wide):
        return is_float(wide) and int(narrow[1:]) - (narrow[0] == "i") <= TABLE[wide].digits
    if narrow[0] == wide[0]:
        return int(wide[1:]) >= int(narrow[1:])
    return narrow[0] == "u" and int(wide[1:]) > int(narrow[1:])


@rule(OPS["ne"], OPS["eq"])
def truth_of_a_cast(op: ElementwiseOp, module: Module) -> SSAValue | None:
    """cast(b: bool) != 0 -> b; cast(b) == 0 -> not b"""
    inner = made_by(op.operands[0], CastOp)
    if inner is None or dtype_of(inner.x) != "bool" or number(op.operands[1]) != 0:
        return None
    return inner.x if op.ROW.name == "ne" else g.logical_not(inner.x)


RULES = (
    constants_to_the_right,
    neutral_elements,
    absorbing_elements,
    divide_by_power_of_two,
    constant_powers,
    undo_itself,
    repeat_itself,
    signs,
    nested_bounds,
    decided_selects,
    casts_that_lose_nothing,
    truth_of_a_cast,
)
