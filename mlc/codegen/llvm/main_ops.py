"""What @main may hold beside calls of kernels: loops, branches, arithmetic on indices and flags, single elements, copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from xdsl.dialects.builtin import IndexType, IntegerAttr, IntegerType, MemRefType
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from mlc.errors import InternalError
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.kernel.kernel import element_bytes
from mlc.ir.kernel.planner import strides
from mlc.ir.kernel.program import buffer_shape, memref_of

_ARITH = {
    "arith.addi": "add",
    "arith.subi": "sub",
    "arith.muli": "mul",
    "arith.divsi": "sdiv",
    "arith.divui": "udiv",
    "arith.remsi": "srem",
    "arith.remui": "urem",
    "arith.andi": "and",
    "arith.ori": "or",
    "arith.xori": "xor",
}
_EXTREME = {"arith.minsi": "slt", "arith.maxsi": "sgt", "arith.minui": "ult", "arith.maxui": "ugt"}
_PREDICATES = ("eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge")


class Emitter(Protocol):
    """What is written so far of an entry (entry.Emitter), and how to go on."""

    lines: list[str]
    names: dict[SSAValue, str]
    label: str

    def number(self) -> int: ...
    def line(self, text: str) -> None: ...
    def open(self, label: str) -> None: ...
    def define(self, text: str) -> str: ...
    def block(self, block: Block) -> None: ...
    def operand(self, value: SSAValue) -> str: ...
    def scalar(self, value: SSAValue) -> str: ...
    def pointer(self, value: SSAValue) -> str: ...
    def extent(self, extent: Extent) -> str: ...


# Control flow ----------------------------------------------------------------------------------------------------


def _region(emitter: Emitter, region: Region) -> list[str]:
    """The ops of a region; returns the operands of its last op."""
    block = region.block
    emitter.block(block)
    assert block.last_op is not None
    return [emitter.operand(v) for v in block.last_op.operands]


def for_loop(emitter: Emitter, op: Operation) -> None:
    number = emitter.number()
    start, stop, step = (emitter.scalar(v) for v in op.operands[:3])
    first = [emitter.operand(v) for v in op.operands[3:]]
    body = op.regions[0].block
    names: dict[SSAValue, str] = {arg: f"%c{number}.{arg.index}" for arg in body.args}
    emitter.names.update(names)
    before = emitter.label
    emitter.line(f"br label %for{number}")
    emitter.open(f"for{number}")
    place = len(emitter.lines)
    position = names[body.args[0]]
    emitter.line(f"br i1 {emitter.define(f'icmp slt i64 {position}, {stop}')}, label %do{number}, label %end{number}")
    emitter.open(f"do{number}")
    carried = _region(emitter, op.regions[0])
    following = emitter.define(f"add i64 {position}, {step}")
    last = emitter.label
    emitter.line(f"br label %for{number}")
    phis = [(position, "i64", start, following)]
    phis += [(names[arg], scalar_type(arg.type), a, b) for arg, a, b in zip(body.args[1:], first, carried, strict=True)]
    emitter.lines[place:place] = [
        f"  {name} = phi {type} [ {a}, %{before} ], [ {b}, %{last} ]" for name, type, a, b in phis
    ]
    emitter.open(f"end{number}")
    emitter.names.update(zip(op.results, (names[arg] for arg in body.args[1:]), strict=True))


def if_then(emitter: Emitter, op: Operation) -> None:
    number = emitter.number()
    then, other = op.regions
    test = emitter.scalar(op.operands[0])
    emitter.line(f"br i1 {test}, label %then{number}, label %else{number}")
    found = []
    for label, region in ((f"then{number}", then), (f"else{number}", other)):
        emitter.open(label)
        values = _region(emitter, region) if region.blocks else []
        found.append((values, emitter.label))
        emitter.line(f"br label %join{number}")
    emitter.open(f"join{number}")
    (yes, from_yes), (no, from_no) = found
    for result, a, b in zip(op.results, yes, no, strict=True):
        type = scalar_type(result.type)
        emitter.names[result] = emitter.define(f"phi {type} [ {a}, %{from_yes} ], [ {b}, %{from_no} ]")


def while_loop(emitter: Emitter, op: Operation) -> None:
    number = emitter.number()
    test, body = (region.block for region in op.regions)
    first = [emitter.operand(v) for v in op.operands]
    names = [f"%c{number}.{arg.index}" for arg in test.args]
    emitter.names.update(zip(test.args, names, strict=True))
    before = emitter.label
    emitter.line(f"br label %while{number}")
    emitter.open(f"while{number}")
    place = len(emitter.lines)
    goes_on, *passed = _region(emitter, op.regions[0])
    emitter.names.update(zip(body.args, passed, strict=True))
    emitter.names.update(zip(op.results, passed, strict=True))
    emitter.line(f"br i1 {goes_on}, label %do{number}, label %end{number}")
    emitter.open(f"do{number}")
    carried = _region(emitter, op.regions[1])
    last = emitter.label
    emitter.line(f"br label %while{number}")
    emitter.lines[place:place] = [
        f"  {name} = phi {scalar_type(arg.type)} [ {a}, %{before} ], [ {b}, %{last} ]"
        for name, arg, a, b in zip(names, test.args, first, carried, strict=True)
    ]
    emitter.open(f"end{number}")


# Elements --------------------------------------------------------------------------------------------------------


def _element(emitter: Emitter, base: SSAValue, indices: Sequence[SSAValue]) -> str:
    total = "0"
    for index, stride in zip(indices, strides(base), strict=True):
        moved = emitter.define(f"mul i64 {emitter.scalar(index)}, {emitter.extent(stride)}")
        total = emitter.define(f"add i64 {total}, {moved}")
    bytes = emitter.define(f"mul i64 {total}, {element_bytes(memref_of(base).element_type)}")
    return emitter.define(f"getelementptr i8, ptr {emitter.pointer(base)}, i64 {bytes}")


def load(emitter: Emitter, op: Operation) -> None:
    base, *indices = op.operands
    place, type = _element(emitter, base, indices), scalar_type(op.results[0].type)
    if type == "i1":  # a byte in memory
        emitter.names[op.results[0]] = emitter.define(f"icmp ne i8 {emitter.define(f'load i8, ptr {place}')}, 0")
    else:
        emitter.names[op.results[0]] = emitter.define(f"load {type}, ptr {place}")


def store(emitter: Emitter, op: Operation) -> None:
    value, base, *indices = op.operands
    place, type, name = _element(emitter, base, indices), scalar_type(value.type), emitter.scalar(value)
    if type == "i1":
        type, name = "i8", emitter.define(f"zext i1 {name} to i8")
    emitter.line(f"store {type} {name}, ptr {place}")


def copy(emitter: Emitter, op: Operation) -> None:
    source, target = op.operands
    size = dims.prod(buffer_shape(source)) * element_bytes(memref_of(source).element_type)
    emitter.line(
        f"call void @llvm.memmove.p0.p0.i64(ptr {emitter.pointer(target)}, ptr {emitter.pointer(source)}, "
        f"i64 {emitter.extent(size)}, i1 false)"
    )


def constant(emitter: Emitter, op: Operation) -> None:
    value = getattr(op, "value", None)
    if not isinstance(value, IntegerAttr):
        raise InternalError(f"@main holds the constant {value}, which is no index")
    number = value.value.data
    emitter.names[op.results[0]] = str(number & 1) if scalar_type(op.results[0].type) == "i1" else str(number)


def compare(emitter: Emitter, op: Operation) -> None:
    lhs, rhs = op.operands
    predicate = _PREDICATES[op.properties["predicate"].value.data]  # type: ignore[attr-defined]
    text = f"icmp {predicate} {scalar_type(lhs.type)} {emitter.scalar(lhs)}, {emitter.scalar(rhs)}"
    emitter.names[op.results[0]] = emitter.define(text)


def select(emitter: Emitter, op: Operation) -> None:
    test, a, b = op.operands
    type = scalar_type(a.type)
    text = f"select i1 {emitter.scalar(test)}, {type} {emitter.operand(a)}, {type} {emitter.operand(b)}"
    emitter.names[op.results[0]] = emitter.define(text)


def cast(emitter: Emitter, op: Operation) -> None:
    source, target = scalar_type(op.operands[0].type), scalar_type(op.results[0].type)
    name, have, want = emitter.scalar(op.operands[0]), int(source[1:]), int(target[1:])
    if have != want:
        unsigned = op.name == "arith.extui" or (source == "i1" and op.name != "arith.extsi")
        how = "trunc" if want < have else "zext" if unsigned else "sext"
        name = emitter.define(f"{how} {source} {name} to {target}")
    emitter.names[op.results[0]] = name


def arithmetic(emitter: Emitter, op: Operation) -> None:
    lhs, rhs = (emitter.scalar(operand) for operand in op.operands)
    type = scalar_type(op.results[0].type)
    if op.name in _ARITH:
        emitter.names[op.results[0]] = emitter.define(f"{_ARITH[op.name]} {type} {lhs}, {rhs}")
    else:
        wins = emitter.define(f"icmp {_EXTREME[op.name]} {type} {lhs}, {rhs}")
        emitter.names[op.results[0]] = emitter.define(f"select i1 {wins}, {type} {lhs}, {type} {rhs}")


def scalar_type(type: Attribute) -> str:
    if isinstance(type, MemRefType):
        return "ptr"
    if isinstance(type, IndexType):
        return "i64"
    if isinstance(type, IntegerType):
        return f"i{type.width.data}"
    raise InternalError(f"@main computes with {type}")


HANDLERS: dict[str, Callable[[Emitter, Operation], None]] = {
    "scf.for": for_loop,
    "scf.if": if_then,
    "scf.while": while_loop,
    "scf.yield": lambda emitter, op: None,  # read by the loop or branch it ends
    "scf.condition": lambda emitter, op: None,
    "func.return": lambda emitter, op: emitter.line("ret void"),
    "memref.load": load,
    "memref.store": store,
    "memref.copy": copy,
    "arith.constant": constant,
    "arith.cmpi": compare,
    "arith.select": select,
    "arith.index_cast": cast,
    "arith.extui": cast,
    "arith.extsi": cast,
    "arith.trunci": cast,
    **dict.fromkeys([*_ARITH, *_EXTREME], arithmetic),
}
