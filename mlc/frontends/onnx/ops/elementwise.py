"""Element-wise operators: arithmetic, comparison, logic, bits, casts. Operands broadcast as in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.table import Items, Value, handles
from mlc.ir import builder as g
from mlc.ir.graph.storage import ROUNDINGS
from mlc.ir.types import dtype_of, is_float, is_half, is_integer, itemsize, rank_of, shape_of

Unary = Callable[[Value], Value]
Binary = Callable[[Value, Value], Value]


def _unary(op_type: str, since: Sequence[int], build: Unary) -> None:
    def handler(node: Node, x: Value) -> Value:
        return build(x)

    handles(op_type, since=since)(handler)


for _op_type, _since, _build in (
    ("Abs", (1, 6, 13), g.abs),
    ("Acos", (7, 22), g.acos),
    ("Acosh", (9, 22), g.acosh),
    ("Asin", (7, 22), g.asin),
    ("Asinh", (9, 22), g.asinh),
    ("Atan", (7, 22), g.atan),
    ("Atanh", (9, 22), g.atanh),
    ("BitwiseNot", (18,), g.bit_not),
    ("Ceil", (1, 6, 13), g.ceil),
    ("Cos", (7, 22), g.cos),
    ("Cosh", (9, 22), g.cosh),
    ("Erf", (9, 13), g.erf),
    ("Exp", (1, 6, 13), g.exp),
    ("Floor", (1, 6, 13), g.floor),
    ("IsNaN", (9, 13, 20), g.is_nan),
    ("Log", (1, 6, 13), g.log),
    ("Neg", (1, 6, 13), g.neg),
    ("Not", (1,), g.logical_not),
    ("Reciprocal", (1, 6, 13), g.reciprocal),
    ("Relu", (1, 6, 13, 14), g.relu),
    ("Round", (11, 22), g.round),
    ("Sigmoid", (1, 6, 13), g.sigmoid),
    ("Sign", (9, 13), g.sign),
    ("Sin", (7, 22), g.sin),
    ("Sinh", (9, 22), g.sinh),
    ("Sqrt", (1, 6, 13), g.sqrt),
    ("Tan", (7, 22), g.tan),
    ("Tanh", (1, 6, 13), g.tanh),
):
    _unary(_op_type, _since, _build)


def _binary(op_type: str, since: Sequence[int], build: Binary) -> None:
    def handler(node: Node, lhs: Value, rhs: Value) -> Value:
        return build(*g.lift(lhs, rhs))

    handles(op_type, since=since)(handler)


for _op_type, _since, _combine in (
    ("Add", (7, 13, 14), g.add),
    ("And", (7,), g.logical_and),
    ("BitwiseAnd", (18,), g.bit_and),
    ("BitwiseOr", (18,), g.bit_or),
    ("BitwiseXor", (18,), g.bit_xor),
    ("Div", (7, 13, 14), g.div),
    ("Equal", (7, 11, 13, 19), g.eq),
    ("Greater", (7, 9, 13), g.gt),
    ("GreaterOrEqual", (12, 16), g.ge),
    ("Less", (7, 9, 13), g.lt),
    ("LessOrEqual", (12, 16), g.le),
    ("Mul", (7, 13, 14), g.mul),
    ("Or", (7,), g.logical_or),
    ("Sub", (7, 13, 14), g.sub),
    ("Xor", (7,), g.logical_xor),
):
    _binary(_op_type, _since, _combine)


def _binary_with_axis(op_type: str, since: Sequence[int], build: Binary) -> None:
    """Before opset 7 the second operand is aligned with the first at `axis`, and only where `broadcast` is set."""

    def handler(node: Node, lhs: Value, rhs: Value) -> Value:
        if node.int("broadcast", 0):
            axis = node.int("axis", rank_of(lhs) - rank_of(rhs))
            axis += rank_of(lhs) if axis < 0 else 0
            after = rank_of(lhs) - axis - rank_of(rhs)
            if axis < 0 or after < 0:
                raise node.error(f"{rank_of(rhs)} axes do not fit at axis {axis} of {rank_of(lhs)}")
            rhs = g.reshape(rhs, [*shape_of(rhs), *[1] * after])
        return build(*g.lift(lhs, rhs))

    handles(op_type, since=since)(handler)


for _op_type, _combine in (("Add", g.add), ("Sub", g.sub), ("Mul", g.mul), ("Div", g.div)):
    _binary_with_axis(_op_type, (1, 6), _combine)
_binary_with_axis("Pow", (1,), g.pow)


def _variadic(op_type: str, since: Sequence[int], build: Binary) -> None:
    def handler(node: Node, *xs: Value) -> Value:
        out, *rest = g.lift(*xs)
        for x in rest:
            out = build(out, x)
        return out

    handles(op_type, since=since)(handler)


_variadic("Max", (1, 6, 8, 12, 13), g.maximum)
_variadic("Min", (1, 6, 8, 12, 13), g.minimum)
_variadic("Sum", (1, 6, 8, 13), g.add)


@handles("Mean", since=(1, 6, 8, 13))
def mean(node: Node, *xs: Value) -> Value:
    dtype = dtype_of(xs[0])
    out, *rest = g.lift(*(g.cast(x, "f32") if is_half(dtype) else x for x in xs))
    for x in rest:
        out = g.add(out, x)
    return g.cast(g.div(out, g.full_like(out, len(xs))), dtype)


@handles("Pow", since=(7, 12, 13, 15))
def power(node: Node, x: Value, exponent: Value) -> Value:
    """The result has the base's dtype. An integer to a whole power is exact, whatever type the exponent has; to another power it is
    computed in f64 and truncated."""
    dtype, other = dtype_of(x), dtype_of(exponent)
    if is_integer(dtype) and is_float(other):
        base, power = g.lift(x, g.cast(exponent, "f64"))
        whole = g.logical_and(g.eq(power, g.round(power)), g.lt(g.abs(power), g.scalar_like(power, 2.0**62)))
        exact = g.pow(g.cast(base, "i64"), g.cast(power, "i64"))
        return g.select(whole, g.cast(exact, dtype), g.cast(g.pow(g.cast(base, "f64"), power), dtype))
    return g.pow(*g.lift(x, g.cast(exponent, dtype)))


@handles("Mod", since=(10, 13, 28))
def modulo(node: Node, lhs: Value, rhs: Value) -> Value:
    """fmod = 0: the sign of the divisor; fmod = 1: the sign of the dividend."""
    lhs, rhs = g.lift(lhs, rhs)
    return g.fmod(lhs, rhs) if node.int("fmod", 0) else g.mod(lhs, rhs)


@handles("BitShift", since=(11, 28))
def bit_shift(node: Node, x: Value, count: Value) -> Value:
    direction = node.string("direction")
    if direction not in ("LEFT", "RIGHT"):
        raise node.invalid(f"direction is '{direction}', expected LEFT or RIGHT")
    x, count = g.lift(x, count)
    if direction == "LEFT":
        return g.shift_left(x, count)
    if dtype_of(x)[0] == "i":
        # Beyond the width, and for negative counts, only the sign is left.
        last = g.scalar_like(count, 8 * itemsize(dtype_of(x)) - 1)
        beyond = g.logical_or(g.lt(count, g.scalar_like(count, 0)), g.gt(count, last))
        count = g.select(beyond, last, count)
    return g.shift_right(x, count)


@handles("IsInf", since=(10, 20))
def is_inf(node: Node, x: Value) -> Value:
    negative, positive = node.int("detect_negative", 1), node.int("detect_positive", 1)
    if negative and positive:
        return g.is_inf(x)
    if positive:
        return g.eq(x, g.full_like(x, float("inf")))
    if negative:
        return g.eq(x, g.full_like(x, float("-inf")))
    return g.full(shape_of(x), False, "bool")


@handles("Where", since=(9, 16))
def where(node: Node, condition: Value, x: Value, y: Value) -> Value:
    condition, x, y = g.lift(condition, x, y)
    return g.select(condition, x, y)


@handles("Clip", since=(1, 6))
def clip_to_attributes(node: Node, x: Value) -> Value:
    low, high = node.float("min", None), node.float("max", None)
    dtype = dtype_of(x)
    return g.clip(
        x,
        None if low is None else g.scalar(low, dtype),
        None if high is None else g.scalar(high, dtype),
    )


@handles("Clip", since=(11, 12, 13))
def clip(node: Node, x: Value, low: Value | None, high: Value | None) -> Value:
    return g.clip(x, *(bound if bound is None else g.reshape(bound, ()) for bound in (low, high)))


@handles("Cast", since=(6, 9, 13, 19, 21, 23, 24, 25, 28))
def cast(node: Node, x: Value) -> Value:
    return converted(node, x, node.dtype("to"))


@handles("CastLike", since=(15, 19, 21, 23, 24, 25))
def cast_like(node: Node, x: Value, like: Value) -> Value:
    return converted(node, x, dtype_of(like))


def converted(node: Node, x: Value, dtype: str) -> Value:
    """`saturate` concerns small floats and `round_mode` f8e8m0 alone."""
    rounding = node.string("round_mode", "up")
    if rounding not in ROUNDINGS:
        raise node.invalid(f"round_mode is '{rounding}', expected one of {', '.join(ROUNDINGS)}")
    return g.cast(x, dtype, bool(node.int("saturate", 1)), rounding)


@handles("BitCast", since=(26,))
def bit_cast(node: Node, x: Value) -> Value:
    """The bits of each element as another type of the same width."""
    return g.bitcast(x, node.dtype("to"))


@handles("Identity", since=(1, 13, 14, 16, 19, 21, 23, 24, 25), sequences=True)
def identity(node: Node, x: Value | Items) -> list[Value | Items]:
    return [x]


@handles("Dropout", since=(1, 6, 7, 10))
def dropout_inference(node: Node, x: Value) -> list[Value]:
    """Identity. The mask keeps everything; before opset 10 it has x's dtype."""
    if node.version < 7 and not node.int("is_test", 0):
        raise node.unsupported("dropout in training mode draws random numbers")
    return [x, g.full(shape_of(x), True, "bool" if node.version >= 10 else dtype_of(x))]


@handles("Dropout", since=(12, 13, 22))
def dropout(node: Node, x: Value, ratio: Value | None, training_mode: Value | None) -> list[Value]:
    """Identity at inference, and in training mode with ratio 0."""
    training = training_mode is not None and bool(node.constants(2, "training_mode").any())
    if training and (ratio is None or node.constants(1, "ratio").any()):
        raise node.unsupported("dropout in training mode draws random numbers")
    return [x, g.full(shape_of(x), True, "bool")]
