"""What each op of arith, math, vector, scf and func prints as LLVM IR."""

from __future__ import annotations

from math import isnan

from xdsl.dialects import arith, func, math, scf, vector
from xdsl.dialects.builtin import (
    DenseIntOrFPElementsAttr,
    FloatAttr,
    IndexType,
    IntegerAttr,
    IntegerType,
    VectorType,
    f64,
    i32,
)
from xdsl.ir import Attribute, Operation, SSAValue

from mlc.codegen.llvm.function import (
    FunctionPrinter,
    Linear,
    float_text,
    integer_text,
    mangled,
    prints,
    type_text,
)
from mlc.codegen.llvm.intrinsics import INTRINSICS, LIBM
from mlc.ir.kernel.kernel import open_axes

INTEGER_PREDICATES = ("eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge")
FLOAT_PREDICATES = (
    "false",
    "oeq",
    "ogt",
    "oge",
    "olt",
    "ole",
    "one",
    "ord",
    "ueq",
    "ugt",
    "uge",
    "ult",
    "ule",
    "une",
    "uno",
    "true",
)
BINARY = {
    "arith.addf": "fadd", "arith.subf": "fsub", "arith.mulf": "fmul", "arith.divf": "fdiv",
    "arith.divui": "udiv", "arith.divsi": "sdiv", "arith.remui": "urem", "arith.remsi": "srem",
    "arith.shli": "shl", "arith.shrui": "lshr", "arith.shrsi": "ashr", "arith.ori": "or",
}  # fmt: skip
CASTS = {
    "arith.extf": "fpext", "arith.truncf": "fptrunc", "arith.sitofp": "sitofp", "arith.uitofp": "uitofp",
    "arith.extsi": "sext", "arith.extui": "zext", "arith.trunci": "trunc", "arith.bitcast": "bitcast", "vector.bitcast": "bitcast",
}  # fmt: skip
EXTREMES = {"arith.minsi": "smin", "arith.maxsi": "smax", "arith.minui": "umin", "arith.maxui": "umax"}
COUNTS = {"math.ctlz": "ctlz", "math.cttz": "cttz", "math.absi": "abs"}


# Index arithmetic ----------------------------------------------------------------------------------------------------
def plus(lhs: Linear, rhs: Linear, sign: int = 1) -> Linear:
    names = {**lhs[0], **rhs[0]}
    terms = {n: lhs[0].get(n, 0) + sign * rhs[0].get(n, 0) for n in names}
    return {n: c for n, c in terms.items() if c}, lhs[1] + sign * rhs[1]


def times(value: Linear, by: int) -> Linear:
    return ({n: c * by for n, c in value[0].items()} if by else {}), value[1] * by


@prints("arith.addi", "arith.subi", "arith.muli", "arith.andi", "arith.xori")
def _(f: FunctionPrinter, op: arith.AddiOp) -> None:
    name = op.name.removeprefix("arith.").removesuffix("i")
    if not isinstance(op.result.type, IndexType):
        f.define(op.result, f"{name} {f.typed(op.lhs)}, {f.value(op.rhs)}")
        return
    lhs, rhs = f.linear(op.lhs), f.linear(op.rhs)
    if name in ("add", "sub"):
        f.linears[op.result] = plus(lhs, rhs, 1 if name == "add" else -1)
    elif name == "mul" and not rhs[0]:
        f.linears[op.result] = times(lhs, rhs[1])
    elif name == "mul" and not lhs[0]:
        f.linears[op.result] = times(rhs, lhs[1])
    else:
        f.define(op.result, f"{name} i64 {f.value(op.lhs)}, {f.value(op.rhs)}")


@prints("arith.index_cast")
def _(f: FunctionPrinter, op: arith.IndexCastOp) -> None:
    source, target = type_text(op.input.type), type_text(op.result.type)
    if source == target:
        if op.input in f.linears:
            f.linears[op.result] = f.linears[op.input]
        else:
            f.names[op.result] = f.value(op.input)
        return
    wider = int(target[1:]) > int(source[1:])
    f.define(op.result, f"{'sext' if wider else 'trunc'} {f.typed(op.input)} to {target}")


@prints("arith.constant")
def _(f: FunctionPrinter, op: arith.ConstantOp) -> None:
    match op.value:
        case IntegerAttr() as attr:
            f.names[op.result] = integer_text(attr.value.data, op.result.type)
            if isinstance(op.result.type, IndexType):
                f.linears[op.result] = ({}, attr.value.data)
        case FloatAttr() as attr:
            f.names[op.result] = float_text(attr.value.data, op.result.type)
        case DenseIntOrFPElementsAttr() as attr:
            element = attr.get_element_type()
            values = [_number(v, element) for v in attr.get_values()]
            type = type_text(element)
            same = len(set(values)) == 1
            f.names[op.result] = (
                f"splat ({type} {values[0]})" if same else f"<{', '.join(f'{type} {v}' for v in values)}>"
            )


def _number(value: float, type: Attribute) -> str:
    return float_text(value, type) if isinstance(value, float) else integer_text(int(value), type)


# Element arithmetic --------------------------------------------------------------------------------------------------
@prints(*BINARY)
def _(f: FunctionPrinter, op: Operation) -> None:
    f.define(op.results[0], f"{BINARY[op.name]} {f.typed(op.operands[0])}, {f.value(op.operands[1])}")


@prints(*CASTS)
def _(f: FunctionPrinter, op: Operation) -> None:
    source, target = op.operands[0], op.results[0]
    if type_text(source.type) == type_text(target.type):
        f.names[target] = f.value(source)
    else:
        f.define(target, f"{CASTS[op.name]} {f.typed(source)} to {type_text(target.type)}")


@prints("arith.fptosi", "arith.fptoui")
def _(f: FunctionPrinter, op: arith.FPToSIOp) -> None:
    """Saturating: what C leaves undefined is the nearest integer, and 0 for NaN."""
    target = op.result.type
    if (
        isinstance(target, VectorType)
        and isinstance(kind := target.element_type, IntegerType)
        and kind.width.data <= 32
    ):
        f.names[op.result] = _saturated(f, op, target.get_shape()[0], kind.width.data)
        return
    name = f"llvm.{op.name.removeprefix('arith.')}.sat.{mangled(target)}.{mangled(op.input.type)}"
    f.names[op.result] = f.call(name, [(type_text(op.input.type), f.value(op.input))], type_text(target))


def _saturated(f: FunctionPrinter, op: arith.FPToSIOp, lanes: int, bits: int) -> str:
    """In vectors, whose llvm.fptosi.sat LLVM 22 takes apart lane by lane: bounded before it is converted, by way of 32 bits."""
    source = op.input.type
    assert isinstance(source, VectorType)
    signed = op.name == "arith.fptosi"
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    element, wide, x = source.element_type, f"<{lanes} x i32>", f.value(op.input)
    most = (
        high if bits < 32 or element == f64 else (high + 1) - (1 << bits - 24 - signed)
    )  # the largest float that is one of them
    kind = type_text(source)

    def bounded(text: str, predicate: str, bound: int) -> str:
        limit = f"splat ({type_text(element)} {float_text(float(bound), element)})"
        test = f.let(f"fcmp {predicate} {kind} {text}, {limit}")
        return f.let(f"select <{lanes} x i1> {test}, {kind} {limit}, {kind} {text}")

    below = bounded(bounded(x, "ogt", most), "ult", low)
    convert = "fptosi" if signed or bits < 32 else "fptoui"
    found = f.let(f"{convert} {kind} {below} to {wide}")
    if most != high:
        above = f.let(f"fcmp ogt {kind} {x}, splat ({type_text(element)} {float_text(float(most), element)})")
        found = f.let(f"select <{lanes} x i1> {above}, {wide} splat (i32 {integer_text(high, i32)}), {wide} {found}")
    if low:
        nan = f.let(f"fcmp uno {kind} {x}, {x}")
        found = f.let(f"select <{lanes} x i1> {nan}, {wide} zeroinitializer, {wide} {found}")
    return found if bits == 32 else f.let(f"trunc {wide} {found} to <{lanes} x i{bits}>")


@prints(*EXTREMES)
def _(f: FunctionPrinter, op: Operation) -> None:
    f.intrinsic(op, EXTREMES[op.name])


@prints("arith.negf")
def _(f: FunctionPrinter, op: arith.NegfOp) -> None:
    f.define(op.result, f"fneg {f.typed(op.operand)}")


@prints("arith.maximumf", "arith.minimumf", "arith.maxnumf", "arith.minnumf")
def _(f: FunctionPrinter, op: arith.MaximumfOp) -> None:
    """rhs > lhs ? rhs : lhs is one vmaxps and keeps a NaN in lhs. That is enough where the other is a number known at compile time (put on the right) or
    the op says nnan; otherwise a NaN in rhs is selected too. llvm.maximum would cost four instructions."""
    lhs, rhs = op.lhs, op.rhs
    if is_number(lhs) and not is_number(rhs):
        lhs, rhs = rhs, lhs
    predicate = "ogt" if "max" in op.name else "olt"
    truth = _truth(op.result.type)
    test = f.let(f"fcmp {predicate} {f.typed(rhs)}, {f.value(lhs)}")
    found = f.let(f"select {truth} {test}, {f.typed(rhs)}, {f.typed(lhs)}")
    if op.name in ("arith.maximumf", "arith.minimumf") and not is_number(rhs) and "nnan" not in fast_math(op):
        nan = f.let(f"fcmp uno {f.typed(rhs)}, {f.value(rhs)}")
        found = f.let(f"select {truth} {nan}, {f.typed(rhs)}, {type_text(op.result.type)} {found}")
    f.names[op.result] = found


def is_number(value: SSAValue) -> bool:
    """Is it a constant, and not NaN?"""
    owner = value.owner
    if isinstance(owner, vector.BroadcastOp):
        return is_number(owner.source)
    if not isinstance(owner, arith.ConstantOp):
        return False
    return not isinstance(owner.value, FloatAttr) or not isnan(owner.value.value.data)


def fast_math(op: Operation) -> set[str]:
    attr = op.properties.get("fastmath")
    flags = {flag.value for flag in attr.data} if isinstance(attr, arith.FastMathFlagsAttr) else set()
    return {"nnan", *flags} if "fast" in flags else flags


def _truth(type: Attribute) -> str:
    return f"<{type.get_shape()[0]} x i1>" if isinstance(type, VectorType) else "i1"


@prints("arith.cmpi")
def _(f: FunctionPrinter, op: arith.CmpiOp) -> None:
    predicate = INTEGER_PREDICATES[op.predicate.value.data]
    f.define(op.result, f"icmp {predicate} {f.typed(op.lhs)}, {f.value(op.rhs)}")


@prints("arith.cmpf")
def _(f: FunctionPrinter, op: arith.CmpfOp) -> None:
    predicate = FLOAT_PREDICATES[op.predicate.value.data]
    f.define(op.result, f"fcmp {predicate} {f.typed(op.lhs)}, {f.value(op.rhs)}")


@prints("arith.select")
def _(f: FunctionPrinter, op: arith.SelectOp) -> None:
    f.define(op.result, f"select {f.typed(op.cond)}, {f.typed(op.lhs)}, {f.typed(op.rhs)}")


@prints("arith.mului_extended", "arith.mulsi_extended")
def _(f: FunctionPrinter, op: arith.MulUIExtendedOp) -> None:
    assert isinstance(op.lhs.type, IntegerType)
    width = op.lhs.type.width.data
    extend = "zext" if op.name == "arith.mului_extended" else "sext"
    wide = [f.let(f"{extend} {f.typed(v)} to i{2 * width}") for v in (op.lhs, op.rhs)]
    product = f.let(f"mul i{2 * width} {wide[0]}, {wide[1]}")
    high = f.let(f"lshr i{2 * width} {product}, {width}")
    f.define(op.results[0], f"trunc i{2 * width} {product} to i{width}")
    f.define(op.results[1], f"trunc i{2 * width} {high} to i{width}")


@prints("vector.fma", "math.fma")
def _(f: FunctionPrinter, op: Operation) -> None:
    """One rounding or two, as the machine has it, unless the op is `exact`: in f64 the product of two f32 is not rounded."""
    if f.fused or "exact" not in op.attributes:
        f.intrinsic(op, "fma" if f.fused else "fmuladd")
        return
    result = op.results[0]
    text, wide = type_text(result.type), type_text(result.type).replace("float", "double")
    x, y, z = (f.let(f"fpext {f.typed(v)} to {wide}") for v in op.operands)
    total = f.let(f"fadd {wide} {f.let(f'fmul {wide} {x}, {y}')}, {z}")
    f.define(result, f"fptrunc {wide} {total} to {text}")


@prints(*INTRINSICS)
def _(f: FunctionPrinter, op: Operation) -> None:
    f.intrinsic(op, INTRINSICS[op.name])


@prints(*COUNTS)
def _(f: FunctionPrinter, op: Operation) -> None:
    f.intrinsic(op, COUNTS[op.name], ("i1", "false"))


@prints("math.ctpop")
def _(f: FunctionPrinter, op: Operation) -> None:
    f.intrinsic(op, "ctpop")


@prints(*LIBM)
def _(f: FunctionPrinter, op: Operation) -> None:
    f.names[op.results[0]] = f.call(LIBM[op.name], [(type_text(v.type), f.value(v)) for v in op.operands], "double")


# Vectors -------------------------------------------------------------------------------------------------------------
@prints("vector.broadcast")
def _(f: FunctionPrinter, op: vector.BroadcastOp) -> None:
    if isinstance(op.source.owner, arith.ConstantOp):
        f.names[op.vector] = f"splat ({f.typed(op.source)})"
        return
    wide = type_text(op.vector.type)
    one = f.let(f"insertelement {wide} poison, {f.typed(op.source)}, i32 0")
    lanes = op.vector.type.get_shape()[0]
    f.define(op.vector, f"shufflevector {wide} {one}, {wide} poison, <{lanes} x i32> zeroinitializer")


@prints("vector.insert")
def _(f: FunctionPrinter, op: vector.InsertOp) -> None:
    f.define(
        op.result, f"insertelement {f.typed(op.dest)}, {f.typed(op.source)}, i32 {op.static_position.get_values()[0]}"
    )


@prints("vector.extract")
def _(f: FunctionPrinter, op: vector.ExtractOp) -> None:
    f.define(op.result, f"extractelement {f.typed(op.vector)}, i32 {op.static_position.get_values()[0]}")


@prints("vector.shuffle")
def _(f: FunctionPrinter, op: vector.ShuffleOp) -> None:
    mask = op.mask.get_values()
    order = ", ".join(f"i32 {m}" if m >= 0 else "i32 poison" for m in mask)
    f.define(op.result, f"shufflevector {f.typed(op.v1)}, {f.typed(op.v2)}, <{len(mask)} x i32> <{order}>")


@prints("vector.create_mask")
def _(f: FunctionPrinter, op: vector.CreateMaskOp) -> None:
    assert isinstance(op.mask_vector.type, VectorType)
    lanes, size = op.mask_vector.type.get_shape()[0], op.mask_dim_sizes[0]
    names, valid = f.linear(size)
    if not names:
        f.names[op.mask_vector] = f"<{', '.join(f'i1 {int(lane < valid)}' for lane in range(lanes))}>"
        return
    wide = f"<{lanes} x i32>"
    count = f.let(f"trunc i64 {f.value(size)} to i32")
    one = f.let(f"insertelement {wide} poison, i32 {count}, i32 0")
    every = f.let(f"shufflevector {wide} {one}, {wide} poison, {wide} zeroinitializer")
    numbers = ", ".join(f"i32 {lane}" for lane in range(lanes))
    f.define(op.mask_vector, f"icmp slt {wide} <{numbers}>, {every}")


@prints("vector.reduction")
def _(f: FunctionPrinter, op: vector.ReductionOp) -> None:
    wide, scalar, tail = type_text(op.vector.type), type_text(op.dest.type), mangled(op.vector.type)
    kind = op.kind.data.value
    if kind == "or":
        name = f"llvm.vector.reduce.or.{tail}"
        f.names[op.dest] = f.call(name, [(wide, f.value(op.vector))], scalar)
        return
    if kind in ("add", "mul"):
        name = f"llvm.vector.reduce.f{kind}.{tail}"
        f.declared.setdefault(name, f"declare {scalar} @{name}({scalar}, {wide})")
        start = float_text(-0.0 if kind == "add" else 1.0, op.dest.type)
        f.define(op.dest, f"call reassoc {scalar} @{name}({scalar} {start}, {wide} {f.value(op.vector)})")
        return
    short = {"maximumf": "fmax", "minimumf": "fmin"}[kind]
    exact = "nnan" not in fast_math(op)
    name = f"llvm.vector.reduce.{short}{'imum' if exact else ''}.{tail}"
    f.declared.setdefault(name, f"declare {scalar} @{name}({wide})")
    f.define(op.dest, f"call {'' if exact else 'nnan '}{scalar} @{name}({wide} {f.value(op.vector)})")


@prints("math.ipowi")
def _(f: FunctionPrinter, op: math.IPowIOp) -> None:
    type = type_text(op.result.type)
    name = f"mlc.power.{type}"
    f.declared.setdefault(name, POWER.format(name=name, type=type))
    f.define(op.result, f"call {type} @{name}({f.typed(op.lhs)}, {f.typed(op.rhs)})")


# By squaring; a negative exponent gives the reciprocal, which is 0 unless the base is 1 or -1.
POWER = """
define internal {type} @{name}({type} %base, {type} %exponent) {{
entry:
  %negative = icmp slt {type} %exponent, 0
  br i1 %negative, label %inverse, label %loop
loop:
  %rest = phi {type} [ %exponent, %entry ], [ %half, %step ]
  %square = phi {type} [ %base, %entry ], [ %next, %step ]
  %power = phi {type} [ 1, %entry ], [ %longer, %step ]
  %more = icmp sgt {type} %rest, 0
  br i1 %more, label %step, label %end
step:
  %bit = and {type} %rest, 1
  %odd = icmp ne {type} %bit, 0
  %product = mul {type} %power, %square
  %longer = select i1 %odd, {type} %product, {type} %power
  %next = mul {type} %square, %square
  %half = lshr {type} %rest, 1
  br label %loop
inverse:
  %unit = icmp eq {type} %base, 1
  %minus = icmp eq {type} %base, -1
  %last = and {type} %exponent, 1
  %even = icmp eq {type} %last, 0
  %signed = select i1 %even, {type} 1, {type} -1
  %other = select i1 %minus, {type} %signed, {type} 0
  %reciprocal = select i1 %unit, {type} 1, {type} %other
  br label %end
end:
  %result = phi {type} [ %power, %loop ], [ %reciprocal, %inverse ]
  ret {type} %result
}}
"""


# Functions and control flow ------------------------------------------------------------------------------------------
@prints("func.call")
def _(f: FunctionPrinter, op: func.CallOp) -> None:
    arguments = []
    for value in op.arguments:
        arguments.append(f.typed(value))
        arguments += [f"i64 {f.strides[value][axis]}" for axis in open_axes(value.type)]
    f.line(f"call void @{op.callee.root_reference.data}({', '.join(arguments)})")


@prints("func.return")
def _(f: FunctionPrinter, op: func.ReturnOp) -> None:
    f.line("ret void")


@prints("scf.yield", "scf.condition")
def _(f: FunctionPrinter, op: scf.YieldOp) -> None:
    """The op around it reads the operands."""


@prints("scf.if")
def _(f: FunctionPrinter, op: scf.IfOp) -> None:
    number = f.count = f.count + 1
    then, join = f"then{number}", f"join{number}"
    regions = {then: op.true_region}
    other = join
    if op.false_region.blocks:
        other = f"else{number}"
        regions[other] = op.false_region
    f.line(f"br i1 {f.value(op.cond)}, label %{then}, label %{other}")
    f.merge(op.results, f.branches(regions, join))


@prints("scf.index_switch")
def _(f: FunctionPrinter, op: scf.IndexSwitchOp) -> None:
    number = f.count = f.count + 1
    cases = op.cases.get_values()
    regions = {f"case{number}.{case}": region for case, region in zip(cases, op.case_regions, strict=True)}
    targets = " ".join(f"i64 {case}, label %{name}" for case, name in zip(cases, regions, strict=True))
    default = f"default{number}"
    f.line(f"switch i64 {f.value(op.arg)}, label %{default} [{targets}]")
    f.merge(op.results, f.branches({**regions, default: op.default_region}, f"join{number}"))


@prints("scf.for")
def _(f: FunctionPrinter, op: scf.ForOp) -> None:
    """Bottom-tested where the range is known not to be empty; otherwise it is tested first."""
    number = f.count = f.count + 1
    body, end = f"for{number}", f"end{number}"
    before = outside = f.label
    start, stop, step = (f.value(v) for v in (op.lb, op.ub, op.step))
    first = [f.value(v) for v in op.iter_args]
    iv, *carried = op.body.block.args
    bounds = [f.linears.get(v) for v in (op.lb, op.ub)]
    known = all(bound is not None and not bound[0] for bound in bounds) and int(start) < int(stop)
    if not known:
        test = f.let(f"icmp slt i64 {start}, {stop}")
        f.line(f"br i1 {test}, label %enter{number}, label %{end}")
        f.open(f"enter{number}")
        before = f"enter{number}"
    f.line(f"br label %{body}")
    f.open(body)
    names: dict[SSAValue, str] = {arg: f.fresh() for arg in (iv, *carried)}
    f.names.update(names)
    place = len(f.lines)  # the phis are written once the values they carry round are known
    f.inside(op.body.block)
    last = op.body.block.last_op
    yielded = [f.value(v) for v in last.operands] if last else []
    following = f.let(f"add nuw nsw i64 {names[iv]}, {step}")
    phis = [f"  {names[iv]} = phi i64 [ {start}, %{before} ], [ {following}, %{f.label} ]"]
    for arg, was, becomes in zip(carried, first, yielded, strict=True):
        phis.append(f"  {names[arg]} = phi {type_text(arg.type)} [ {was}, %{before} ], [ {becomes}, %{f.label} ]")
    f.put(place, phis)
    test = f.let(f"icmp slt i64 {following}, {stop}")
    f.line(f"br i1 {test}, label %{body}, label %{end}")
    after = f.label
    f.open(end)
    if known:
        f.names.update(zip(op.results, yielded, strict=True))
    else:
        f.merge(op.results, {outside: first, after: yielded})


@prints("scf.while")
def _(f: FunctionPrinter, op: scf.WhileOp) -> None:
    number = f.count = f.count + 1
    before, after, end = f"before{number}", f"after{number}", f"end{number}"
    entry, first = f.label, [f.value(v) for v in op.arguments]
    f.line(f"br label %{before}")
    f.open(before)
    names: dict[SSAValue, str] = {arg: f.fresh() for arg in op.before_region.block.args}
    f.names.update(names)
    place = len(f.lines)
    f.inside(op.before_region.block)
    condition = op.before_region.block.last_op
    assert isinstance(condition, scf.ConditionOp)
    passed = [f.value(v) for v in condition.args]
    f.line(f"br i1 {f.value(condition.condition)}, label %{after}, label %{end}")
    f.open(after)
    f.names.update(zip(op.after_region.block.args, passed, strict=True))
    f.inside(op.after_region.block)
    last = op.after_region.block.last_op
    again = [f.value(v) for v in last.operands] if last else []
    f.line(f"br label %{before}")
    phis = [
        f"  {name} = phi {type_text(arg.type)} [ {was}, %{entry} ], [ {becomes}, %{f.label} ]"
        for (arg, name), was, becomes in zip(names.items(), first, again, strict=True)
    ]
    f.put(place, phis)
    f.open(end)
    f.names.update(zip(op.results, passed, strict=True))
