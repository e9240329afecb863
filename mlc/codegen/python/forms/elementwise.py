"""Element-wise ops: an operator or a function per row of the table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.ir import SSAValue

from mlc.codegen.python.numpy_expression import AND, ATOM, COMPARE, OR, PRODUCT, SIGN, SUM, XOR, Expr, is_builtin
from mlc.codegen.python.registry import form
from mlc.codegen.python.writer import Writer, joined
from mlc.errors import UnsupportedOp
from mlc.ir.graph.clip import ClipOp
from mlc.ir.graph.elementwise import ElementwiseOp
from mlc.ir.graph.random import PhiloxOp
from mlc.ir.types import dtype_of, is_half, is_integer

_OPERATORS = {
    "add": ("+", SUM),
    "sub": ("-", SUM),
    "mul": ("*", PRODUCT),
    "div": ("/", PRODUCT),
    "bit_and": ("&", AND),
    "bit_or": ("|", OR),
    "bit_xor": ("^", XOR),
    "logical_and": ("&", AND),
    "logical_or": ("|", OR),
    "logical_xor": ("^", XOR),
    "eq": ("==", COMPARE),
    "ne": ("!=", COMPARE),
    "lt": ("<", COMPARE),
    "le": ("<=", COMPARE),
    "gt": (">", COMPARE),
    "ge": (">=", COMPARE),
}
_SIGNS = {"neg": "-", "bit_not": "~", "logical_not": "~"}
_INTEGERS = {"div": "divide", "mod": "modulo", "fmod": "remainder", "pow": "power"}
_OURS = ("relu", "sigmoid", "softplus", "erf", "gelu", "shift_left", "shift_right")
_NUMPY = {
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "asinh": "arcsinh",
    "acosh": "arccosh",
    "atanh": "arctanh",
    "round": "rint",
    "is_nan": "isnan",
    "is_inf": "isinf",
    "pow": "power",
    "select": "where",
}
_QUOTIENTS = {"rsqrt": "np.sqrt({})", "reciprocal": "{}"}


@form(ElementwiseOp, nested=True)
def elementwise(w: Writer, op: ElementwiseOp) -> Expr:
    name, dtype = op.ROW.name, dtype_of(op.operands[-1])
    parts = operands(w, op.operands)
    wide = is_half(dtype) and op.ROW.arity == 1 and op.ROW.takes == "float" and not op.ROW.to_bool
    if wide:  # functions of 16-bit floats are computed in 32 bits
        parts = [e.of(f"{e.atom}.astype(np.float32)") for e in parts]
    text, level = _spelled(w, name, dtype, parts)
    if wide:
        text, level = f"{text if level == ATOM else f'({text})'}.astype({w.dtype(dtype)})", ATOM
    return Expr(text, joined(op.results[0], parts), level)


def operands(w: Writer, values: Sequence[SSAValue]) -> list[Expr]:
    """The operands of an element-wise op. A bare number takes its dtype from an array beside it; without one it says it itself."""
    parts = [w.operand(v) for v in values]
    if any(e.rank and not e.number and dtype_of(v) != "bool" for v, e in zip(values, parts, strict=True)):
        return [e if is_builtin(dtype_of(v)) else w.typed(v) for v, e in zip(values, parts, strict=True)]
    return [w.typed(v) for v in values]


def _spelled(w: Writer, name: str, dtype: str, parts: Sequence[Expr]) -> tuple[str, int]:
    """The text, and how tightly it binds."""
    if name in _SIGNS:
        return f"{_SIGNS[name]}{parts[0].at(SIGN)}", SIGN
    if name in _QUOTIENTS:
        inner = _QUOTIENTS[name]
        return f"1 / {inner.format(parts[0].text if '(' in inner else parts[0].at(SIGN))}", PRODUCT
    if name in _INTEGERS and is_integer(dtype):
        return _of_integers(w, name, dtype, parts)
    if name == "pow" and parts[1].number and float(parts[1].text.replace("np.", "")) == 2:
        return f"{parts[0].atom}**2", SIGN
    if name in _OPERATORS:
        sign, level = _OPERATORS[name]
        lhs, rhs = parts
        if name == "add" and rhs.number and rhs.text.startswith("-"):
            return f"{lhs.at(SUM)} - {rhs.text[1:]}", SUM
        return f"{lhs.at(level + (level == COMPARE))} {sign} {rhs.at(level + 1)}", level
    if name in _OURS:
        return w.call(name, *(e.text for e in parts)), ATOM
    function = _NUMPY.get(name, name)
    if not hasattr(np, function):
        raise UnsupportedOp(
            f"graph.{name} has no form in NumPy", remedy="Enter its function in _NUMPY or _OURS of this file."
        )
    return f"np.{function}({', '.join(e.text for e in parts)})", ATOM


def _of_integers(w: Writer, name: str, dtype: str, parts: Sequence[Expr]) -> tuple[str, int]:
    """Quotients and remainders are operators where the divisor is a positive number."""
    lhs, rhs = parts
    if rhs.number and rhs.text.isdecimal() and int(rhs.text) > 0:
        if name == "mod" or (name == "fmod" and dtype.startswith("u")):
            return f"{lhs.at(PRODUCT)} % {rhs.text}", PRODUCT
        if name == "div" and dtype.startswith("u"):
            return f"{lhs.at(PRODUCT)} // {rhs.text}", PRODUCT
        if name == "fmod":
            return f"np.fmod({lhs.text}, {rhs.text})", ATOM
    typed = [e.of(f"{w.dtype(dtype)}({e.text})") if e.number else e for e in parts]
    return w.call(_INTEGERS[name], *(e.text for e in typed)), ATOM


@form(ClipOp, nested=True)
def _clip(w: Writer, op: ClipOp) -> Expr:
    parts = operands(w, op.operands)
    bounds = [name for name, bound in (("maximum", op.low), ("minimum", op.high)) if bound is not None]
    if len(bounds) == 2 and is_builtin(dtype_of(op.x)):
        text = f"np.clip({', '.join(e.text for e in parts)})"
    else:
        text = parts[0].text
        for name, bound in zip(bounds, parts[1:], strict=True):
            text = f"np.{name}({text}, {bound.text})"
    return Expr(text, joined(op.result, parts))


@form(PhiloxOp, nested=True)
def _philox(w: Writer, op: PhiloxOp) -> Expr:
    *counters, word = [w.typed(v) for v in op.operands]
    parts = [*counters, word]
    text = w.call("philox", *(e.text for e in counters))
    return Expr(f"np.choose({word.at(AND)} & 3, {text})", joined(op.result, parts))
