"""One function as CUDA C: names, expressions, addresses. What each op prints is in value_ops.py, memory_ops.py and control_ops.py.

Views vanish: a memref is a pointer, an offset and a stride per axis, kept as polynomials of names, so `x[(m + i) * 768 + k]` is printed where
the IR has two subviews and a load. A value that is used once is printed where it is used; others get a name from their hint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from xdsl.dialects import memref
from xdsl.dialects.builtin import IndexType, MemRefType, VectorType
from xdsl.ir import Block, Operation, SSAValue

from mlc.codegen.cuda import polynomial
from mlc.codegen.cuda.polynomial import Polynomial
from mlc.codegen.cuda.scalar_types import type_text
from mlc.errors import InternalError
from mlc.ir.kernel.kernel import space_of, strides_of

# What an op prints, by its name.
PRINT: dict[str, Callable[[Function, Operation], None]] = {}


def prints(*names: str) -> Callable:
    def register(function: Callable[..., None]) -> Callable[..., None]:
        PRINT.update(dict.fromkeys(names, function))
        return function

    return register


@dataclass(frozen=True)
class View:
    """Where a memref lies: elements behind a pointer. `single`: a variable of one element."""

    pointer: str
    offset: Polynomial
    strides: tuple[Polynomial, ...]
    single: bool = False


# Words that C, C++ and CUDA keep for themselves, as far as a hint may be one
RESERVED = frozenset(
    [
        "auto", "bool", "break", "case", "char", "class", "const", "continue", "default", "delete", "do", "double", "else", "enum", "extern",
        "false", "float", "for", "goto", "half", "if", "inline", "int", "long", "max", "min", "new", "operator", "private", "public",
        "register", "return", "short", "signed", "sizeof", "static", "struct", "switch", "template", "this", "true", "typedef", "union",
        "unsigned", "void", "volatile", "while", "blockDim", "blockIdx", "gridDim", "threadIdx", "warpSize",
    ]
)  # fmt: skip


class Function:
    """`index` is the type of positions, "int" or "int64_t"; `kernel` names the kernel in messages."""

    def __init__(self, kernel: str, index: str):
        self.kernel, self.index = kernel, index
        self.lines: list[str] = []
        self.depth = 1
        self.taken: set[str] = set(RESERVED)
        self.texts: dict[SSAValue, str] = {}
        self.positions: dict[SSAValue, Polynomial] = {}
        self.views: dict[SSAValue, View] = {}
        self.vectors: dict[SSAValue, str] = {}  # variables that hold a vector; in `texts` is its lane l
        self.spread, self.aligned = 1, True  # vectors lie over so many threads (lane_ops.py)
        self.together = 1  # so many threads share the steps of loops that are apart
        self.skipped: set[Operation] = set()  # products that a sum takes in
        self.shared = ""  # the dynamic shared memory of the block
        self.dynamic: dict[SSAValue, int] = {}  # arrays in it -> where, in bytes
        self.undeclared: dict[str, str] = {}  # variables whose first store declares them -> type

    # Arguments -------------------------------------------------------------------------------------------------------
    def arguments(self, values: Iterable[SSAValue], written: set[SSAValue]) -> list[str]:
        """As the head of the function lists them: a memref is a pointer and what is open of its strides."""
        found = []
        for number, value in enumerate(values):
            name = self.fresh(value.name_hint or f"arg{number}")
            if not isinstance(value.type, MemRefType):
                self.positions[value] = polynomial.name(name)
                found.append(f"{type_text(value.type, self.index)} {name}")
                continue
            const = "" if value in written else "const "
            found.append(f"{const}{type_text(value.type, self.index)} *__restrict__ {name}")
            strides = []
            for axis, stride in enumerate(strides_of(value)):
                if stride is None:
                    given = self.fresh(f"{name}_stride{axis}")
                    found.append(f"{self.index} {given}")
                strides.append(polynomial.name(given) if stride is None else polynomial.number(stride))
            self.views[value] = View(name, {}, tuple(strides))
        return found

    # Text ------------------------------------------------------------------------------------------------------------
    def line(self, text: str) -> None:
        self.lines.append("  " * self.depth + text)

    @contextmanager
    def braces(self, head: str) -> Iterator[None]:
        """A block in braces; names of its own are free again behind it."""
        self.line(f"{head} {{" if head else "{")
        self.depth += 1
        outside = set(self.taken)
        yield
        self.taken = outside
        self.depth -= 1
        self.line("}")

    def block(self, block: Block) -> None:
        for op in block.ops:
            self.op(op)

    def op(self, op: Operation) -> None:
        vectors = any(isinstance(value.type, VectorType) for value in (*op.operands, *op.results))
        name = "lanes" if vectors and op.name.startswith(("arith.", "math.", "vector.fma")) else op.name
        if name not in PRINT:
            raise InternalError(f"CUDA C of '{self.kernel}': no text for {op.name}")
        PRINT[name](self, op)

    def fresh(self, hint: str) -> str:
        stem = re.sub(r"\W", "_", hint)
        stem = f"v{stem}" if stem[0].isdigit() else stem
        name, number = stem, 1
        while name in self.taken:
            name, number = f"{stem}_{number}", number + 1
        self.taken.add(name)
        return name

    # Values ----------------------------------------------------------------------------------------------------------
    def type(self, value: SSAValue) -> str:
        return type_text(value.type, self.index)

    def value(self, value: SSAValue) -> str:
        """Its text, as an argument or between operators of the lowest rank."""
        if value in self.positions:
            return polynomial.text(self.positions[value])
        if value not in self.texts:
            raise InternalError(f"CUDA C of '{self.kernel}': %{value.name_hint} is used before it is known")
        return self.texts[value]

    def factor(self, value: SSAValue) -> str:
        """Its text, as an operand of any operator."""
        return enclosed(self.value(value))

    def position(self, value: SSAValue) -> Polynomial:
        return self.positions[value] if value in self.positions else polynomial.name(enclosed(self.texts[value]))

    def define(self, result: SSAValue, text: str, inline: bool = True) -> None:
        """Print in place what is used once, in the same block; name what is used again."""
        if result.first_use is None:
            return
        if isinstance(result.type, IndexType):
            self.texts[result] = name = self.fresh(result.name_hint or "i")
            self.positions[result] = polynomial.name(name)
            self.line(f"const {self.index} {name} = {text};")
        elif inline and used_here(result) and len(text) < 160:
            self.texts[result] = text
        else:
            self.texts[result] = name = self.fresh(result.name_hint or "v")
            self.line(f"const {self.type(result)} {name} = {text};")

    # Memory ----------------------------------------------------------------------------------------------------------
    def element(self, base: SSAValue, indices: Sequence[SSAValue | int]) -> str:
        view = self.views[base]
        if view.single:
            return view.pointer
        return f"{view.pointer}[{polynomial.text(self.offset(base, indices))}]"

    def offset(self, base: SSAValue, indices: Sequence[SSAValue | int]) -> Polynomial:
        """Elements from the pointer of a view on."""
        view = self.views[base]
        total = view.offset
        for stride, position in zip(view.strides, indices, strict=True):
            place = polynomial.number(position) if isinstance(position, int) else self.position(position)
            total = polynomial.plus(total, polynomial.times(stride, place))
        return total

    def pointer(self, value: SSAValue) -> str:
        """To the first element of a view, as an argument."""
        view = self.views[value]
        if view.single:
            return f"&{view.pointer}"
        offset = polynomial.text(view.offset)
        return view.pointer if offset == "0" else f"{view.pointer} + {offset}"


def enclosed(text: str) -> str:
    """In brackets, unless it is one name, number, element or call."""
    if re.fullmatch(r"[\w.]+", text):
        return text
    depth = 0
    for place, sign in enumerate(text):
        depth += sign in "(["
        depth -= sign in ")]"
        if not depth and not (sign.isalnum() or sign in "_.)]"):
            return f"({text})"
        if not depth and sign in ")]" and place + 1 < len(text) and text[place + 1] not in "([.":
            return f"({text})"
    return text if text[0] not in "(" or _one_pair(text) else f"({text})"


def _one_pair(text: str) -> bool:
    """Does the first bracket close at the end?"""
    depth = 0
    for place, sign in enumerate(text):
        depth += sign in "(["
        depth -= sign in ")]"
        if not depth:
            return place == len(text) - 1
    return False


def used_here(result: SSAValue) -> bool:
    """By one op of the same block."""
    if not result.has_one_use():
        return False
    return next(iter(result.uses)).operation.parent is result.owner.parent


def written_buffers(op: Operation) -> set[SSAValue]:
    """The arguments and allocations that ops inside of `op` write to."""
    found: set[SSAValue] = set()
    for inner in op.walk():
        targets: Sequence[SSAValue] = ()
        match inner.name:
            case "memref.store":
                targets = [inner.operands[1]]
            case "vector.store":
                targets = [inner.operands[1]]
            case "vector.maskedstore":
                targets = [inner.operands[0]]
            case "func.call":
                targets = [v for v in inner.operands if isinstance(v.type, MemRefType)]
        found.update(map(root_of, targets))
    return found


def root_of(value: SSAValue) -> SSAValue:
    while isinstance(
        value.owner,
        memref.SubviewOp | memref.CastOp | memref.CollapseShapeOp | memref.ViewOp | memref.ReinterpretCastOp,
    ):
        value = value.owner.operands[0]
    return value


def is_shared(value: SSAValue) -> bool:
    """Does it lie in the memory of a block?"""
    return space_of(value) == "workgroup"
