"""One function as LLVM IR text: names, types, addresses, and the blocks it is made of. What each op prints is in ops.py and memref_ops.py.

A memref is a pointer to its first element, and an i64 for each stride that its type leaves open; so a subview is one getelementptr and there
are no descriptors. Index arithmetic is kept as sum(coefficient * value) + constant until an address needs it: the constant part becomes the
last getelementptr, which instruction selection folds into the addressing mode, so unrolled accesses share one pointer.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence

import ml_dtypes
import numpy as np
from xdsl.dialects import func
from xdsl.dialects.builtin import (
    BFloat16Type,
    Float16Type,
    Float32Type,
    Float64Type,
    IndexType,
    IntegerType,
    MemRefType,
    VectorType,
)
from xdsl.ir import Attribute, Block, BlockArgument, Operation, Region, SSAValue

from mlc.errors import InternalError
from mlc.ir.kernel.kernel import open_axes, strides_of, type_of

Linear = tuple[Mapping[str, int], int]  # {value: coefficient}, constant

# What an op prints, by its name: arith.cmpf may be one of two classes (mlc.ir.kernel.vector_ops)
PRINT: dict[str, Callable[[FunctionPrinter, Operation], None]] = {}


def prints(*names: str) -> Callable:
    def register(function: Callable[..., None]) -> Callable[..., None]:
        PRINT.update(dict.fromkeys(names, function))
        return function

    return register


def argument_types(op: func.FuncOp) -> list[str]:
    """What the machine code takes: a memref is a pointer and an i64 per open stride."""
    return [text for arg in op.body.block.args for text in (type_text(arg.type), *["i64"] * len(open_axes(arg.type)))]


def type_text(type: Attribute) -> str:
    match type:
        case Float32Type():
            return "float"
        case Float64Type():
            return "double"
        case Float16Type():
            return "half"
        case BFloat16Type():
            return "bfloat"
        case IndexType():
            return "i64"
        case IntegerType():
            return f"i{type.width.data}"
        case VectorType():
            return f"<{type.get_shape()[0]} x {type_text(type.element_type)}>"
        case MemRefType():
            return "ptr"
    raise InternalError(f"no LLVM type for {type}")


def memory_text(type: Attribute) -> str:
    """An element as it lies in memory: i1 takes a byte."""
    return "i8" if type == IntegerType(1) else type_text(type)


def mangled(type: Attribute) -> str:
    """As intrinsics spell types in their names."""
    if isinstance(type, VectorType):
        return f"v{type.get_shape()[0]}{mangled(type.element_type)}"
    names = {"float": "f32", "double": "f64", "half": "f16", "bfloat": "bf16"}
    return names.get(type_text(type), type_text(type))


def float_text(value: float, type: Attribute) -> str:
    """LLVM wants floats as bits: of a double that equals it, for f32."""
    match type:
        case Float16Type():
            return f"0xH{np.float16(value).view(np.uint16):04X}"
        case BFloat16Type():
            return f"0xR{np.array(value, ml_dtypes.bfloat16).view(np.uint16):04X}"
        case Float32Type():
            with np.errstate(over="ignore"):
                value = float(np.float32(value))
    return "0x" + struct.pack(">d", value).hex().upper()


def integer_text(value: int, type: Attribute) -> str:
    if not isinstance(type, IntegerType):
        return str(value)
    width = type.width.data
    if width == 1:
        return "true" if value & 1 else "false"
    value &= (1 << width) - 1
    return str(value - (1 << width) if value >> (width - 1) else value)


class FunctionPrinter:
    """`fused`: the machine has fused multiply-add; without it llvm.fma would call a library. `dot`: how it multiplies bytes (CpuTarget.dot)."""

    def __init__(self, op: func.FuncOp, declared: dict[str, str], attributes: str, fused: bool, dot: str = "none"):
        self.op, self.declared, self.attributes, self.fused, self.dot = op, declared, attributes, fused, dot
        self.lines: list[str] = []
        self.head: list[str] = []  # at the entry, whatever the loop: memory, pointers to rows of arguments
        self.count = 0
        self.label = "entry"
        self.names: dict[SSAValue, str] = {}
        self.linears: dict[SSAValue, Linear] = {}
        self.pointers: list[dict[tuple, str]] = [{}]  # addresses and products computed so far, per open loop
        self.strides: dict[SSAValue, list[int | str]] = {}

    def text(self) -> str:
        block = self.op.body.block
        args = []
        for number, arg in enumerate(block.args):
            self.names[arg] = name = f"%{(arg.name_hint or 'a').replace('.', '_')}.{number}"
            args.append(f"{type_text(arg.type)}{' noalias' if isinstance(arg.type, MemRefType) else ''} {name}")
            if isinstance(arg.type, MemRefType):
                strides = [f"{name}.s{axis}" if s is None else s for axis, s in enumerate(strides_of(arg))]
                self.strides[arg] = strides
                args += [f"i64 {s}" for s in strides if isinstance(s, str)]
        self.block(block)
        private = self.op.sym_visibility is not None and self.op.sym_visibility.data == "private"
        linkage, tail = ("internal ", "noinline ") if private else ("", "")
        head = f"define {linkage}void @{self.op.sym_name.data}({', '.join(args)}) {tail}{self.attributes} {{"
        return "\n".join([head, "entry:", *self.head, *self.lines, "}\n"])

    def block(self, block: Block) -> None:
        for op in block.ops:
            if op.name not in PRINT:
                raise InternalError(f"LLVM IR of '{self.op.sym_name.data}': no text for {op.name}")
            PRINT[op.name](self, op)

    # Naming and text -------------------------------------------------------------------------------------------------
    def fresh(self) -> str:
        self.count += 1
        return f"%v{self.count}"

    def line(self, text: str) -> None:
        self.lines.append("  " + text)

    def put(self, place: int, lines: Sequence[str]) -> None:
        """Lines that were not known when what is behind them was printed."""
        self.lines[place:place] = lines

    def let(self, text: str) -> str:
        """A new value."""
        name = self.fresh()
        self.lines.append(f"  {name} = {text}")
        return name

    def define(self, result: SSAValue, text: str) -> None:
        self.names[result] = self.let(text)

    def value(self, value: SSAValue) -> str:
        if value not in self.names and value in self.linears:
            return self.known((value,), self.pointers[-1], lambda: self.sum_text(self.linears[value]))
        return self.names[value]

    def typed(self, value: SSAValue) -> str:
        return f"{type_text(value.type)} {self.value(value)}"

    def call(self, name: str, args: Sequence[tuple[str, str]], type: str) -> str:
        self.declared.setdefault(name, f"declare {type} @{name}({', '.join(t for t, _ in args)})")
        text = f"call {type} @{name}({', '.join(f'{t} {v}' for t, v in args)})"
        if type == "void":
            self.line(text)
            return ""
        return self.let(text)

    def intrinsic(self, op: Operation, name: str, *more: tuple[str, str]) -> None:
        """A call of llvm.<name> on the operands, all of the result's type."""
        text = type_text(op.results[0].type)
        args = [(text, self.value(v)) for v in op.operands]
        self.names[op.results[0]] = self.call(f"llvm.{name}.{mangled(op.results[0].type)}", [*args, *more], text)

    # Addresses -------------------------------------------------------------------------------------------------------
    def linear(self, value: SSAValue) -> Linear:
        return self.linears.get(value) or ({self.names[value]: 1}, 0)

    def sum_text(self, linear: Linear) -> str:
        terms, constant = linear
        total = ""
        for name, coefficient in terms.items():
            term = name if coefficient == 1 else self.let(f"mul i64 {name}, {coefficient}")
            total = self.let(f"add i64 {total}, {term}") if total else term
        if constant and total:
            total = self.let(f"add i64 {total}, {constant}")
        return total or str(constant)

    def address(self, base: SSAValue, indices: Sequence[SSAValue | int]) -> str:
        """Rows at a fixed distance first (their pointers are made once, at the entry), then what moves, then the constant."""
        terms: dict[str, int] = {}
        rows: dict[str, int] = {}
        constant = 0
        for stride, position in zip(self.strides[base], indices, strict=True):
            more, fixed = ({}, position) if isinstance(position, int) else self.linear(position)
            if isinstance(stride, int):
                constant += stride * fixed
            elif fixed:
                rows[stride] = rows.get(stride, 0) + fixed
            for name, coefficient in more.items():
                name, scale = (name, stride) if isinstance(stride, int) else (self.product(name, stride), 1)
                terms[name] = terms.get(name, 0) + scale * coefficient
        pointer, element = self.names[base], memory_text(type_of(base).element_type)
        if rows and isinstance(base, BlockArgument) and base.block is self.op.body.block:
            body, self.lines = self.lines, self.head
            pointer = self.pointer(pointer, element, tuple(rows.items()), self.pointers[0])
            self.lines = body
        elif rows:
            pointer = self.pointer(pointer, element, tuple(rows.items()), self.pointers[-1])
        pointer = self.pointer(pointer, element, tuple(terms.items()), self.pointers[-1])
        return self.step(pointer, element, constant)

    def pointer(self, base: str, element: str, terms: tuple, scope: dict[tuple, str]) -> str:
        if not terms:
            return base
        return self.known((base, terms), scope, lambda: self.step(base, element, self.sum_text((dict(terms), 0))))

    def product(self, lhs: str, rhs: str) -> str:
        return self.known((lhs, "*", rhs), self.pointers[-1], lambda: self.let(f"mul i64 {lhs}, {rhs}"))

    def known(self, key: tuple, scope: dict[tuple, str], make: Callable[[], str]) -> str:
        """Computed once per loop or branch, for it and what is inside it."""
        for outer in self.pointers:
            if key in outer:
                return outer[key]
        scope[key] = name = make()
        return name

    def step(self, pointer: str, element: str, elements: int | str) -> str:
        if elements == 0:
            return pointer
        return self.let(f"getelementptr inbounds {element}, ptr {pointer}, i64 {elements}")

    # Control flow ----------------------------------------------------------------------------------------------------
    def open(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self.label = label

    def inside(self, block: Block) -> None:
        """A block that may not run: what it computes is not known after it."""
        self.pointers.append({})
        self.block(block)
        self.pointers.pop()

    def branches(self, regions: Mapping[str, Region], join: str) -> dict[str, list[str]]:
        """Print each region and go on at `join`; what each yields, by the label it leaves from."""
        yielded = {}
        for label, region in regions.items():
            self.open(label)
            self.inside(region.block)
            last = region.block.last_op
            yielded[self.label] = [self.value(v) for v in last.operands] if last else []
            self.line(f"br label %{join}")
        self.open(join)
        return yielded

    def merge(self, results: Sequence[SSAValue], yielded: Mapping[str, Sequence[str]]) -> None:
        """A phi for each result of a branch."""
        for number, result in enumerate(results):
            choices = ", ".join(f"[ {values[number]}, %{label} ]" for label, values in yielded.items())
            self.define(result, f"phi {type_text(result.type)} {choices}")
