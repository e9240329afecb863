"""A target of its own: loops as C, which the system's compiler makes a library of. docs/add-a-target.md walks through it.

    mlc.compile(model, target="c")      mlc compile model.onnx --load tests/targets/c_target.py --target c --emit c

It prints what the operators of its tests need, in f32 and f64, and refuses the rest in words. Whatever it does it asks of the seam alone:
nothing here names the CPU backend.
"""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast
from weakref import WeakKeyDictionary

import numpy as np
from xdsl.dialects import arith, func, memref, scf
from xdsl.dialects.builtin import DYNAMIC_INDEX, FloatAttr, IndexType, IntegerAttr, IntegerType, MemRefType, f32, f64
from xdsl.dialects.linalg.attrs import IteratorType
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import Attribute, Block, Operation, SSAValue

import mlc
from mlc.codegen.code import Code, called_kernels
from mlc.ir.kernel.kernel import Kernel, groups, loops_of, open_axes
from mlc.ir.kernel.plan import Argument, Copy, Step
from mlc.ir.kernel.planner import plan_of
from mlc.ir.kernel.schedule import Level, Scalar, Schedule
from mlc.ir.kernel.target import Lowering, Target
from mlc.runtime.arrays import Memory, address, in_place
from mlc.runtime.artifact import Artifact
from mlc.runtime.binding import Binding
from mlc.runtime.machines import Workspace
from mlc.runtime.space import HOST


# The target ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class CTarget:
    """What passes ask of it."""

    name: str
    lanes: int = 1
    registers: int = 16
    l1: int = 32 << 10
    l2: int = 512 << 10
    kind: ClassVar[str] = "c"
    lowering: ClassVar[Lowering] = Lowering(
        spaces=(), binds=("parallel",), pads=False, partial="guard", stack=4096, math="keep"
    )

    def missing(self) -> list[str]:
        return [] if shutil.which(self.name) else [f"C compiler {self.name}"]

    def __str__(self) -> str:
        return f"C, for {self.name}"


# Schedules -----------------------------------------------------------------------------------------------------------
class CRules:
    """Loops as they stand; what is one loop nest without a sum is cut into tiles that could run at the same time."""

    def target(self, arch: str) -> CTarget:
        return CTarget("cc" if arch == "native" else arch)

    def prepare(self, kernel: Kernel) -> None:
        """The loops are taken as they come."""

    def choose(self, kernel: Kernel, target: Target) -> Schedule:
        ops = [op for op in kernel.op.walk() if isinstance(op, GenericOp)]
        if len(ops) != 1 or any(kind.data is not IteratorType.PARALLEL for kind in ops[0].iterator_types.data):
            return self.plain(kernel)
        name, extent = next(iter(loops_of(ops[0]).items()), ("", 0))  # the outermost loop
        size = min(extent, 16) if isinstance(extent, int) else 16
        if not size:
            return self.plain(kernel)
        return Schedule((Level({name: size}, {name: "parallel"}, ragged=True),), Scalar())

    def plain(self, kernel: Kernel) -> Schedule:
        return Schedule((), Scalar())


# Code ----------------------------------------------------------------------------------------------------------------
INFIX = {
    **{f"arith.{name}{kind}": sign for name, sign in (("add", "+"), ("sub", "-"), ("mul", "*")) for kind in "if"},
    "arith.divf": "/", "arith.divsi": "/", "arith.remsi": "%", "arith.divui": "/", "arith.remui": "%", "arith.andi": "&", "arith.ori": "|",
}  # fmt: skip
CALLS = {
    "arith.maximumf": "mlc_max", "arith.minimumf": "mlc_min", "arith.minsi": "mlc_least", "arith.maxsi": "mlc_most",
    "math.exp": "exp", "math.tanh": "tanh", "math.sqrt": "sqrt", "math.log": "log", "math.erf": "erf",
    "math.absf": "fabs", "math.powf": "pow", "math.floor": "floor", "math.ceil": "ceil",
}  # fmt: skip
COMPARED = ("==", "!=", "<", "<=", ">", ">=", "<", "<=", ">", ">=")
ORDERED = ("0", "==", ">", ">=", "<", "<=", "!=")
HEAD = """#include <math.h>
#include <stdint.h>
#include <tgmath.h>
#define mlc_max(a, b) ((a) > (b) || (a) != (a) ? (a) : (b))
#define mlc_min(a, b) ((a) < (b) || (a) != (a) ? (a) : (b))
#define mlc_most(a, b) ((a) > (b) ? (a) : (b))
#define mlc_least(a, b) ((a) < (b) ? (a) : (b))
"""


def c_type(type: Attribute) -> str:
    if type in (f32, f64):
        return "float" if type == f32 else "double"
    if isinstance(type, IndexType):
        return "int64_t"
    if isinstance(type, IntegerType) and type.width.data in (1, 8, 32, 64):
        return f"int{max(8, type.width.data)}_t"
    raise mlc.UnsupportedOp(f"target c has no {type}")


class CFunction:
    """One kernel. A memref is a pointer to its first element, and a stride for each axis that its type leaves open."""

    def __init__(self, op: func.FuncOp):
        self.op = op
        self.names: dict[SSAValue, str] = {}
        self.strides: dict[SSAValue, list[str]] = {}
        self.lines: list[str] = []
        self.depth = 1

    def text(self) -> str:
        given = []
        for number, arg in enumerate(self.op.body.block.args):
            self.names[arg] = name = f"a{number}"
            if isinstance(arg.type, MemRefType):
                given.append(f"{c_type(arg.type.element_type)} *{name}")
                given += [f"int64_t {name}_{axis}" for axis in open_axes(arg.type)]
                self.strides[arg] = self.fixed(arg.type, [f"{name}_{axis}" for axis in open_axes(arg.type)])
            else:
                given.append(f"int64_t {name}")
        self.block(self.op.body.block)
        return "\n".join([f"void {self.op.sym_name.data}({', '.join(given)}) {{", *self.lines, "}", ""])

    def fixed(self, type: MemRefType, given: Sequence[str]) -> list[str]:
        """A stride per axis: those that the type knows, and those that are given for the others."""
        rest = iter(given)
        return [next(rest) if stride is None else str(stride) for stride in type.get_strides() or ()]

    def line(self, text: str) -> None:
        self.lines.append("  " * self.depth + text)

    def let(self, value: SSAValue, text: str) -> None:
        self.names[value] = name = f"v{len(self.names)}"
        self.line(f"{c_type(value.type)} {name} = {text};")

    def element(self, memory: SSAValue, at: Sequence[SSAValue | int]) -> str:
        terms = [f"{self.value(i)} * {s}" for i, s in zip(at, self.strides[memory], strict=True)]
        return f"{self.names[memory]}[{' + '.join(terms) or '0'}]"

    def value(self, value: SSAValue | int) -> str:
        return str(value) if isinstance(value, int) else self.names[value]

    def block(self, block: Block) -> None:
        for op in block.ops:
            self.print(op)

    def print(self, op: Operation) -> None:
        match op:
            case arith.ConstantOp():
                self.let(op.result, number(op.value))
            case memref.LoadOp():
                self.let(op.res, self.element(op.memref, op.indices))
            case memref.StoreOp():
                self.line(f"{self.element(op.memref, op.indices)} = {self.names[op.value]};")
            case memref.AllocaOp():
                type = op.memref.type
                self.memory(op.memref, f"({c_type(type.element_type)}[{math.prod(type.get_shape()) or 1}]){{0}}", [])
            case memref.ViewOp():
                type = cast(MemRefType, op.results[0].type)
                pointer = f"({c_type(type.element_type)} *)({self.names[op.source]} + {self.names[op.byte_shift]})"
                self.memory(op.results[0], pointer, [])
            case memref.ReinterpretCastOp():
                self.memory(op.result, self.names[op.source], [self.value(s) for s in op.strides])
            case memref.SubviewOp():
                offsets = mixed(op.static_offsets.get_values(), op.offsets)
                scales = mixed(op.static_strides.get_values(), op.strides)
                strides = [f"({self.value(s)} * {t})" for s, t in zip(scales, self.strides[op.source], strict=True)]
                self.memory(op.result, f"&{self.element(op.source, offsets)}", strides, every=True)
            case memref.CollapseShapeOp():
                source = self.strides[op.src]
                self.memory(op.result, self.names[op.src], [source[axes[-1]] for axes in groups(op)], every=True)
            case scf.ForOp() if not op.iter_args:
                start, stop, step = (self.names[v] for v in (op.lb, op.ub, op.step))
                self.names[op.body.block.args[0]] = i = f"i{len(self.names)}"
                self.inside(f"for (int64_t {i} = {start}; {i} < {stop}; {i} += {step}) {{", op.body.block)
            case scf.IfOp() if not op.results:
                self.inside(f"if ({self.names[op.cond]}) {{", op.true_region.block)
                if op.false_region.blocks:
                    self.inside("else {", op.false_region.block)
            case scf.YieldOp() | func.ReturnOp():
                pass
            case arith.CmpiOp():
                self.let(op.result, f"{self.names[op.lhs]} {COMPARED[op.predicate.value.data]} {self.names[op.rhs]}")
            case arith.CmpfOp() if op.predicate.value.data < len(ORDERED):
                self.let(op.result, f"{self.names[op.lhs]} {ORDERED[op.predicate.value.data]} {self.names[op.rhs]}")
            case arith.SelectOp():
                self.let(op.result, f"{self.names[op.cond]} ? {self.names[op.lhs]} : {self.names[op.rhs]}")
            case arith.IndexCastOp() | arith.SIToFPOp() | arith.ExtFOp() | arith.TruncFOp():
                self.let(op.results[0], f"({c_type(op.results[0].type)}){self.names[op.operands[0]]}")
            case arith.NegfOp():
                self.let(op.result, f"-{self.names[op.operand]}")
            case _ if op.name in INFIX:
                self.let(op.results[0], f" {INFIX[op.name]} ".join(self.names[v] for v in op.operands))
            case _ if op.name in CALLS:
                self.let(op.results[0], f"{CALLS[op.name]}({', '.join(self.names[v] for v in op.operands)})")
            case _:
                raise mlc.UnsupportedOp(f"kernel '{self.op.sym_name.data}': target c has no text for {op.name}")

    def memory(self, value: SSAValue, pointer: str, strides: Sequence[str], every: bool = False) -> None:
        type = cast(MemRefType, value.type)
        self.names[value] = name = f"v{len(self.names)}"
        self.strides[value] = (
            list(strides) if every or len(strides) == type.get_num_dims() else self.fixed(type, strides)
        )
        self.line(f"{c_type(type.element_type)} *{name} = {pointer};")

    def inside(self, head: str, block: Block) -> None:
        self.line(head)
        self.depth += 1
        self.block(block)
        self.depth -= 1
        self.line("}")


def mixed(fixed: Sequence[int], given: Sequence[SSAValue]) -> list[SSAValue | int]:
    """MLIR's lists of numbers among which a mark stands for the next value."""
    rest = iter(given)
    return [next(rest) if number == DYNAMIC_INDEX else number for number in fixed]


def number(attr: Attribute) -> str:
    if isinstance(attr, FloatAttr):
        value = attr.value.data
        text = "NAN" if math.isnan(value) else f"{'-' * (value < 0)}INFINITY" if math.isinf(value) else value.hex()
        return f"({c_type(attr.type)}){text}"
    assert isinstance(attr, IntegerAttr)
    return str(attr.value.data)


class CGenerator:
    """All kernels as one text of C, and the library that the compiler makes of it."""

    @property
    def emits(self) -> Mapping[str, str]:
        return {"c": ".c"}

    def known(self, target: Target) -> None:
        """No code is kept."""

    def write(self, what: str, module: mlc.Module, target: Target, denormals: str = "flush") -> bytes:
        kernels = [CFunction(op).text() for _, functions in called_kernels(module) for op in functions]
        return "\n".join([HEAD, *kernels]).encode()

    def compile(
        self, module: mlc.Module, target: Target, *, known: object = None, cache: bool = True, denormals: str = "flush"
    ) -> Code:
        plan = plan_of(module)
        if not plan.straight:
            raise mlc.UnsupportedOp(
                "the model has loops, branches or sizes that its data decides between its kernels, and target c runs them one after the other"
            )
        if missing := target.missing():
            raise mlc.TargetUnavailable(
                f"target c needs a {missing[0]}", remedy="Install one, as with apt-get install gcc."
            )
        text = self.write("c", module, target).decode()
        with tempfile.TemporaryDirectory(prefix="mlc-") as folder:
            source, library = Path(folder) / "kernels.c", Path(folder) / "kernels.so"
            source.write_text(text)
            options = ["-std=c11", "-O2", "-ffp-contract=off", "-fPIC", "-shared"]
            done = subprocess.run(
                [target.name, *options, "-o", library, source, "-lm"], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise mlc.InternalError(f"{target.name} refuses the kernels: {done.stderr.strip()[-500:]}")
            names = [name for name, _ in called_kernels(module)]
            return Code([library.read_bytes()], plan, dict.fromkeys([*names, "all kernels"], text), compiled=1)


# Running -------------------------------------------------------------------------------------------------------------
class CWorkspace(Workspace):
    """With the arena of one call."""

    memory = Memory(0)


class CMachine:
    """Walks the steps of the plan: what each call gets is there."""

    threads, grain, space = 1, 1 << 30, HOST

    def __init__(self, artifact: Artifact):
        self.target, self.plan = artifact.target, artifact.plan
        if missing := self.target.missing():
            raise mlc.TargetUnavailable(f"code of target c does not run here: this machine has no {missing[0]}")
        with tempfile.NamedTemporaryFile(prefix="mlc-", suffix=".so") as file:
            file.write(artifact.objects[0])
            file.flush()
            self.library = ctypes.CDLL(file.name)
        self.read(artifact.weights.__getitem__)
        self._calls: WeakKeyDictionary[Binding, list] = WeakKeyDictionary()

    def read(self, get: Callable[[str], np.ndarray]) -> None:
        self.weights = {key: in_place(get(key)) for key in self.plan.weights}

    def workspace(self) -> CWorkspace:
        return CWorkspace(len(self.plan.inputs), len(self.plan.outputs))

    def arena(self, workspace: CWorkspace) -> np.ndarray:
        memory = workspace.memory
        return memory.block[memory.offset : memory.offset + memory.bytes]

    def run(self, workspace: CWorkspace, binding: Binding, table: Any) -> None:
        if binding not in self._calls:
            self._calls[binding] = [self.prepared(item, binding) for item in self.plan.sequence]
        if workspace.memory.bytes < binding.arena:
            workspace.memory = Memory(binding.arena)
        weights = list(self.weights.values())  # alive while kernels read them

        def value(place: str, at: int) -> int:
            match place:
                case "input":
                    return workspace.io[at] or 0
                case "output":
                    return workspace.io[len(self.plan.inputs) + at] or 0
                case "weight":
                    return address(weights[at])
                case "buffer":
                    return workspace.memory.place + binding.offsets[at]
                case "scratch":
                    return workspace.memory.place
            return at

        for function, arguments in self._calls[binding]:
            function(*[value(place, at) for place, at in arguments])

    def prepared(self, item: Step | Copy, binding: Binding) -> tuple[Callable[..., object], list[tuple[str, int]]]:
        """What a step calls at one set of sizes: its function, and kinds and numbers of its arguments."""
        sizes = dict(zip(self.plan.sizes, binding.sizes, strict=True))

        def known(extent: Any) -> int:
            return extent if isinstance(extent, int) else sizes[extent]

        def flat(argument: Argument) -> list[tuple[str, int]]:
            return [(argument.kind, known(argument.at)), *(("size", known(stride)) for stride in argument.strides)]

        if isinstance(item, Copy):
            return ctypes.memmove, [*flat(item.target), *flat(item.source), ("size", known(item.bytes))]
        arguments = [pair for argument in item.arguments for pair in flat(argument)]
        if item.tiles is not None:  # all of them, on the one thread there is
            arguments += [("size", 0), ("size", known(item.tiles))]
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(arguments))((item.kernel, self.library))
        return function, arguments

    def timed(self) -> Any:
        raise mlc.MlcError("target c takes no times")


class CLoader:
    def target(self, facts: Mapping[str, Any]) -> CTarget:
        return CTarget(**facts)

    def lacking(self) -> list[str]:
        return []

    def load(self, artifact: Artifact, threads: int | None) -> CMachine:
        return CMachine(artifact)

    def export_library(self, artifact: Artifact, path: Any, header: Any) -> None:
        raise mlc.TargetUnavailable(
            "target c writes no shared library with an interface", remedy="--emit c writes its kernels."
        )


BACKEND = mlc.register_backend(
    mlc.Backend("c", "C, for the system's compiler", CRules(), CGenerator(), CLoader()),
)
