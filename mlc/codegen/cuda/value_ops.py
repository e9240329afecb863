"""What each op of arith and math prints as CUDA C.

Numbers are those of the CPU: max and min keep NaN, integers wrap, conversions to integers saturate, f16 and bf16 are computed in f32 and rounded
once. A product that is only added to something is an fma in the text, so that it is one wherever the text is compiled; nvcc is told to
make no others.
"""

from __future__ import annotations

from xdsl.dialects import arith
from xdsl.dialects.builtin import Float32Type, Float64Type, IndexType, IntegerAttr, IntegerType
from xdsl.ir import Operation, SSAValue

from mlc.codegen.cuda import polynomial
from mlc.codegen.cuda.c_function import Function, enclosed, prints, used_here
from mlc.codegen.cuda.scalar_types import constant_text, half_name, is_half, width

INFIX = {"arith.addf": "+", "arith.subf": "-", "arith.mulf": "*", "arith.divf": "/"}
WRAPPING = {"arith.addi": "+", "arith.subi": "-", "arith.muli": "*"}
BITWISE = {"arith.andi": "&", "arith.ori": "|", "arith.xori": "^"}
DIVIDING = {"arith.divsi": "/", "arith.remsi": "%", "arith.divui": "/", "arith.remui": "%"}
SHIFTS = {"arith.shli": "<<", "arith.shrui": ">>", "arith.shrsi": ">>"}
EXTREMES = {"arith.minsi": "<", "arith.maxsi": ">", "arith.minui": "<", "arith.maxui": ">"}
INTEGER_PREDICATES = ("==", "!=", "<", "<=", ">", ">=", "<", "<=", ">", ">=")
FLOAT_PREDICATES = (
    "false", "{a} == {b}", "{a} > {b}", "{a} >= {b}", "{a} < {b}", "{a} <= {b}", "{a} < {b} || {a} > {b}", "{a} == {a} && {b} == {b}",
    "!({a} < {b} || {a} > {b})", "!({a} <= {b})", "!({a} < {b})", "!({a} >= {b})", "!({a} > {b})", "{a} != {b}", "{a} != {a} || {b} != {b}",
    "true",
)  # fmt: skip
# Of floats, as the C library calls them for doubles; for floats there is an f behind
FUNCTIONS = {
    "math.exp": "exp", "math.exp2": "exp2", "math.expm1": "expm1", "math.log": "log", "math.log2": "log2", "math.log10": "log10",
    "math.log1p": "log1p", "math.asin": "asin", "math.acos": "acos",
    "math.atan": "atan", "math.atan2": "atan2", "math.sinh": "sinh", "math.cosh": "cosh", "math.tanh": "tanh", "math.asinh": "asinh",
    "math.acosh": "acosh", "math.atanh": "atanh", "math.erf": "erf", "math.erfc": "erfc", "math.powf": "pow", "math.cbrt": "cbrt",
    "math.sqrt": "sqrt", "math.floor": "floor", "math.ceil": "ceil", "math.roundeven": "rint", "math.round": "round",
    "math.trunc": "trunc", "math.absf": "fabs", "math.copysign": "copysign", "math.fma": "fma", "arith.remf": "fmod",
}  # fmt: skip
# Of floats, in numbers.cuh
OWN = {
    "arith.maximumf": "mlc_max", "arith.minimumf": "mlc_min", "math.gelu": "mlc_gelu", "math.softplus": "mlc_softplus",
    "math.rsqrt": "mlc_rsqrt", "math.sin": "mlc_sin", "math.cos": "mlc_cos", "math.tan": "mlc_tan",
}  # fmt: skip


def unsigned(f: Function, value: SSAValue) -> str:
    type, text = f.type(value), f.value(value)
    if text.startswith(f"({type})((u{type})") and enclosed(behind := text.removeprefix(f"({type})")) == behind:
        return behind  # computed without a sign, and given one
    return f"(u{type}){enclosed(text)}" if type != "int" else f"(unsigned){enclosed(text)}"


def wide(f: Function, value: SSAValue) -> str:
    """A float to compute with: f16 and bf16, which are kept as their bits, in f32."""
    return f"mlc_{half_name(value.type)}_to_f32({f.value(value)})" if is_half(value.type) else f.factor(value)


def rounded(f: Function, result: SSAValue, text: str, source: str = "f32") -> str:
    """A float that was computed, as the type of the result has it."""
    return f"mlc_{source}_to_{half_name(result.type)}({text})" if is_half(result.type) else text


# Constants and positions ---------------------------------------------------------------------------------------------
@prints("arith.constant")
def _(f: Function, op: arith.ConstantOp) -> None:
    if isinstance(op.result.type, IndexType):
        assert isinstance(op.value, IntegerAttr)
        f.positions[op.result] = polynomial.number(op.value.value.data)
    else:
        f.texts[op.result] = constant_text(op.value)


@prints(*WRAPPING)
def _(f: Function, op: arith.AddiOp) -> None:
    sign, type = WRAPPING[op.name], op.result.type
    if isinstance(type, IndexType):
        lhs, rhs = f.position(op.lhs), f.position(op.rhs)
        f.positions[op.result] = (
            polynomial.times(lhs, rhs) if sign == "*" else polynomial.plus(lhs, rhs, 1 if sign == "+" else -1)
        )
        return
    bits = width(type, f.index)
    if bits == 1:
        text = {"+": "{0} != {1}", "-": "{0} != {1}", "*": "{0} && {1}"}[sign].format(
            f.factor(op.lhs), f.factor(op.rhs)
        )
        f.define(op.result, text)
    elif bits < 32:
        f.define(op.result, f"({f.type(op.result)})({f.factor(op.lhs)} {sign} {f.factor(op.rhs)})")
    else:
        f.define(op.result, f"({f.type(op.result)})({unsigned(f, op.lhs)} {sign} {unsigned(f, op.rhs)})")


@prints(*BITWISE)
def _(f: Function, op: arith.AndIOp) -> None:
    text = f"{f.factor(op.lhs)} {BITWISE[op.name]} {f.factor(op.rhs)}"
    if op.result.type == IntegerType(1):
        text = text.replace(" & ", " && ") if op.name == "arith.andi" and "&" not in f.factor(op.lhs) else text
        f.define(op.result, text if op.name != "arith.xori" else f"{f.factor(op.lhs)} != {f.factor(op.rhs)}")
    elif isinstance(op.result.type, IndexType) or width(op.result.type, f.index) >= 32:
        f.define(op.result, text)
    else:
        f.define(op.result, f"({f.type(op.result)})({text})")


@prints(*DIVIDING)
def _(f: Function, op: arith.DivSIOp) -> None:
    sign = DIVIDING[op.name]
    if op.name.endswith("ui") and not isinstance(op.result.type, IndexType):
        f.define(op.result, f"({f.type(op.result)})({unsigned(f, op.lhs)} {sign} {unsigned(f, op.rhs)})")
    elif isinstance(op.result.type, IntegerType) and op.result.type.width.data < 32:
        f.define(op.result, f"({f.type(op.result)})({f.factor(op.lhs)} {sign} {f.factor(op.rhs)})")
    else:  # positions are not negative
        f.define(op.result, f"{f.factor(op.lhs)} {sign} {f.factor(op.rhs)}")


@prints(*SHIFTS)
def _(f: Function, op: arith.ShLIOp) -> None:
    lhs = f.factor(op.lhs) if op.name == "arith.shrsi" else unsigned(f, op.lhs)
    f.define(op.result, f"({f.type(op.result)})({lhs} {SHIFTS[op.name]} {f.factor(op.rhs)})")


@prints(*EXTREMES)
def _(f: Function, op: arith.MinSIOp) -> None:
    if isinstance(op.result.type, IndexType):
        f.define(op.result, f"{'min' if 'min' in op.name else 'max'}({f.value(op.lhs)}, {f.value(op.rhs)})")
        return
    operand = unsigned if op.name.endswith("ui") else Function.factor
    lhs, rhs = f.factor(op.lhs), f.factor(op.rhs)
    f.define(op.result, f"{operand(f, op.lhs)} {EXTREMES[op.name]} {operand(f, op.rhs)} ? {lhs} : {rhs}")


@prints("arith.mului_extended", "arith.mulsi_extended")
def _(f: Function, op: arith.MulUIExtendedOp) -> None:
    type, kind = f.type(op.lhs), "u" if "mului" in op.name else "s"
    f.define(op.results[0], f"({type})({unsigned(f, op.lhs)} * {unsigned(f, op.rhs)})", inline=False)
    f.define(op.results[1], f"mlc_high_{kind}({f.value(op.lhs)}, {f.value(op.rhs)})", inline=False)


@prints("arith.cmpi")
def _(f: Function, op: arith.CmpiOp) -> None:
    number = op.predicate.value.data
    operand = unsigned if number >= 6 and not isinstance(op.lhs.type, IndexType) else Function.factor
    f.define(op.result, f"{operand(f, op.lhs)} {INTEGER_PREDICATES[number]} {operand(f, op.rhs)}")


@prints("arith.cmpf")
def _(f: Function, op: arith.CmpfOp) -> None:
    f.define(op.result, FLOAT_PREDICATES[op.predicate.value.data].format(a=wide(f, op.lhs), b=wide(f, op.rhs)))


@prints("arith.select")
def _(f: Function, op: arith.SelectOp) -> None:
    f.define(op.result, f"{f.factor(op.cond)} ? {f.factor(op.lhs)} : {f.factor(op.rhs)}")


# Floats --------------------------------------------------------------------------------------------------------------
@prints(*INFIX)
def _(f: Function, op: arith.AddfOp) -> None:
    if isinstance(op, arith.MulfOp) and taken_in_by(op) is not None:
        f.skipped.add(op)
        return
    if isinstance(op, arith.AddfOp) and (product := product_of(f, op)) is not None:
        rest = op.rhs if op.lhs.owner is product else op.lhs
        name = "fmaf" if isinstance(op.result.type, Float32Type) else "fma"
        f.define(op.result, f"{name}({f.value(product.lhs)}, {f.value(product.rhs)}, {f.value(rest)})")
        return
    text = f"{wide(f, op.lhs)} {INFIX[op.name]} {wide(f, op.rhs)}"
    f.define(op.result, rounded(f, op.result, text))


def taken_in_by(product: arith.MulfOp) -> arith.AddfOp | None:
    """The sum that computes a product with it in one step; of two products it takes the left one in, as on the CPU."""
    if not is_taken_in(product.result):
        return None
    total = next(iter(product.result.uses)).operation
    assert isinstance(total, arith.AddfOp)
    return total if total.lhs is product.result or not is_taken_in(total.lhs) else None


def is_taken_in(value: SSAValue) -> bool:
    """Is it a product that is used by one sum, in its block?"""
    if not isinstance(value.owner, arith.MulfOp) or not isinstance(value.type, Float32Type | Float64Type):
        return False
    return used_here(value) and isinstance(next(iter(value.uses)).operation, arith.AddfOp)


def product_of(f: Function, total: arith.AddfOp) -> arith.MulfOp | None:
    """The product that was left for this sum."""
    return next((v.owner for v in total.operands if v.owner in f.skipped), None)  # type: ignore[return-value]


@prints("arith.negf")
def _(f: Function, op: arith.NegfOp) -> None:
    f.define(op.result, rounded(f, op.result, f"-{wide(f, op.operand)}"))


@prints(*FUNCTIONS)
def _(f: Function, op: Operation) -> None:
    result = op.results[0]
    name = FUNCTIONS[op.name] + ("" if isinstance(result.type, Float64Type) else "f")
    f.define(result, rounded(f, result, f"{name}({', '.join(_argument(f, v) for v in op.operands)})"))


@prints(*OWN)
def _(f: Function, op: Operation) -> None:
    result = op.results[0]
    f.define(result, rounded(f, result, f"{OWN[op.name]}({', '.join(_argument(f, v) for v in op.operands)})"))


def _argument(f: Function, value: SSAValue) -> str:
    return wide(f, value) if is_half(value.type) else f.value(value)


# Integers ------------------------------------------------------------------------------------------------------------
@prints("math.ipowi")
def _(f: Function, op: Operation) -> None:
    f.define(op.results[0], f"mlc_power({f.value(op.operands[0])}, {f.value(op.operands[1])})")


@prints("math.absi")
def _(f: Function, op: Operation) -> None:
    x, type = f.factor(op.operands[0]), f.type(op.results[0])
    f.define(op.results[0], f"{x} < 0 ? ({type})-({'u' + type}){x} : {x}")


@prints("math.ctlz", "math.cttz", "math.ctpop")
def _(f: Function, op: Operation) -> None:
    bits, name = width(op.results[0].type, f.index), op.name.removeprefix("math.")
    f.define(op.results[0], f"({f.type(op.results[0])})mlc_{name}<{bits}>({unsigned(f, op.operands[0])})")


# Conversions ---------------------------------------------------------------------------------------------------------
@prints("arith.index_cast", "arith.extsi", "arith.extui", "arith.trunci", "arith.index_castui")
def _(f: Function, op: Operation) -> None:
    (source,), (target,) = op.operands, op.results
    have, want = f.type(source), f.type(target)
    if isinstance(target.type, IndexType) and source in f.positions:
        f.positions[target] = f.positions[source]
    elif want == "bool":
        f.define(target, f"({f.factor(source)} & 1) != 0")
    elif have == "bool" and op.name == "arith.extsi":
        f.define(target, f"({want})-({want}){f.factor(source)}")
    elif op.name == "arith.extui" and have != "bool":
        f.define(target, f"({want}){unsigned(f, source)}")
    elif have == want:
        f.define(target, f.value(source))
    else:
        f.define(target, f"({want}){f.factor(source)}")


@prints("arith.extf", "arith.truncf")
def _(f: Function, op: Operation) -> None:
    (source,), (target,) = op.operands, op.results
    double = isinstance(source.type, Float64Type)
    if is_half(target.type):
        f.define(target, rounded(f, target, _argument(f, source), "f64" if double else "f32"))
    elif isinstance(target.type, Float32Type) and not double:
        f.define(target, wide(f, source))
    else:
        f.define(target, f"({f.type(target)}){wide(f, source)}")


@prints("arith.sitofp", "arith.uitofp")
def _(f: Function, op: Operation) -> None:
    (source,), (target,) = op.operands, op.results
    have = f.type(source)
    if op.name == "arith.uitofp" and have != "bool":
        text = unsigned(f, source)
    elif op.name == "arith.sitofp" and have == "bool":
        text = f"-(int){f.factor(source)}"
    else:
        text = f.factor(source)
    type = "float" if is_half(target.type) else f.type(target)
    f.define(target, rounded(f, target, f"({type}){enclosed(text) if text.startswith('-') else text}"))


@prints("arith.fptosi", "arith.fptoui")
def _(f: Function, op: Operation) -> None:
    (source,), (target,) = op.operands, op.results
    want = f.type(target)
    if want == "bool":
        kind = "unsigned char" if op.name == "arith.fptoui" else "signed char"
        f.define(target, f"(mlc_whole<{kind}>({_argument(f, source)}) & 1) != 0")
    elif op.name == "arith.fptoui":
        f.define(target, f"({want})mlc_whole<u{want}>({_argument(f, source)})")
    else:
        f.define(target, f"mlc_whole<{want}>({_argument(f, source)})")


@prints("arith.bitcast")
def _(f: Function, op: Operation) -> None:
    (source,), (target,) = op.operands, op.results
    text = f.value(source)
    f.define(target, text if f.type(source) == f.type(target) else f"mlc_bits<{f.type(target)}>({text})")
