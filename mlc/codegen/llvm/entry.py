"""The native entry function of a module: @main, which calls every kernel, with no Python between them.

    func.func @main(%x, %y) {...}  ->  void entry(const i64 *sizes, char *arena, void **io)
                                       void entry_timed(const i64 *sizes, char *arena, void **io, i64 *times)

mlc.ir.kernel.plan says what the three arguments hold. A memref is a pointer, and one i64 for each stride that the kernel leaves
open. Each kernel has a function that launches it (launch.py), so that a call is little more than its arguments. A long @main is cut into
functions of PART calls and copies, or a few more: what LLVM does with one function grows faster than its length.

`times` is two i64 per step: the nanoseconds of each call are added to the first, 1 to the second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.dialects import arith, memref
from xdsl.dialects.builtin import (
    MemRefType,
)
from xdsl.ir import Block, Operation, SSAValue

from mlc.codegen.llvm.dimensions import extent_text, symbols_of
from mlc.codegen.llvm.float_mode import FloatMode
from mlc.codegen.llvm.launch import POOL, TIMES, NativeKernel, launch, typed
from mlc.codegen.llvm.main_ops import HANDLERS
from mlc.codegen.llvm.rank_table import COLLECTIVES
from mlc.errors import InternalError
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.kernel.all_reduce import AllReduceStartOp, AllReduceWaitOp, RankOp
from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.kernel import element_bytes
from mlc.ir.kernel.plan import Argument, Plan, Step
from mlc.ir.kernel.planner import Places, functions_of, plan_of, strides
from mlc.ir.kernel.program import (
    BufferOp,
    CallOp,
    CountOp,
    PartOp,
    RowOp,
    SizeOp,
    ViewOp,
    WeightOp,
    buffer_shape,
    memref_of,
    viewed,
)
from mlc.ir.module import Module

PART = 256  # calls and copies of a function

# Written where they are read: no function needs to have them from another.
SPELLED = (SizeOp, WeightOp, BufferOp, ViewOp, PartOp, arith.ConstantOp)

# Marks the place of a count until the sizes that depend on it are known.
_COUNT = "; count "


@dataclass(frozen=True)
class Entry:
    """LLVM IR of the entry function, and what its arguments hold."""

    text: str
    plan: Plan


def emit_entry(
    module: Module,
    name: str = "mlc_entry",
    symbols: Mapping[str, str] | None = None,
    mode: FloatMode | None = None,
) -> Entry:
    """The functions `name` and `name`_timed of a module whose @main is planned (`kernel.arena`) and whose kernels are functions of the same
    module. `symbols` says what the machine code of a kernel is called where that is not the kernel's name; `mode` is by default that of
    the machine at hand."""
    return Emitter(module, name, symbols or {}, mode or FloatMode(cpu_target().arch)).emit()


class Emitter:
    def __init__(self, module: Module, name: str, symbols: Mapping[str, str], mode: FloatMode):
        self.module, self.name, self.symbols, self.mode = module, name, symbols, mode
        self.main, self.plan = module.main, plan_of(module)
        self.kernels = functions_of(module)
        self.known: dict[str, NativeKernel] = {}
        self.lines: list[str] = []
        self.label = "entry"
        self.done = 0  # calls
        self.count = 0
        self.flying: list[int] = []  # slots of sums over ranks that have started
        self.names: dict[SSAValue, str] = {}
        self.sizes = {extent: number for number, extent in enumerate(self.plan.sizes)}
        self.places = Places(self.main, self.plan.weights)
        self.counts: dict[int, tuple[str, str]] = {}

    # Results ---------------------------------------------------------------------------------------------------------
    def emit(self) -> Entry:
        seams, cuts, calls = self._seams(), [0], 0
        for op in self.main.body.block.ops:
            calls += isinstance(op, CallOp | memref.CopyOp)
            if op in seams and calls > PART:
                self.line("ret void")
                self.label = "entry"
                cuts.append(len(self.lines))
                calls = 1
            self.op(op)
        self.write_counts()
        parts = [self.lines[a:b] for a, b in zip(cuts, [*cuts[1:], len(self.lines)], strict=True)]
        sizes, launches = 1, 1 + len(self.sizes)
        offsets = launches + len(self.plan.launches)
        head = [
            f"%sizes = getelementptr i64, ptr %table, i64 {sizes}",
            f"%launches = getelementptr i64, ptr %table, i64 {launches}",
            f"%offsets = getelementptr i64, ptr %table, i64 {offsets}",
            f"%weights.at = getelementptr ptr, ptr %io, i64 {len(self.plan.inputs) + len(self.plan.outputs)}",
            "%weights = load ptr, ptr %weights.at",
        ]
        kernels = {kernel.symbol: kernel for kernel in self.known.values()}.values()
        declared = [TIMES] if self.known else []
        if any(kernel.tiles is not None for kernel in kernels):
            declared.append(POOL)
        declared += self.mode.declared()
        declared += [launch(kernel, self.mode) for kernel in kernels]
        if any("@llvm.memmove" in line for line in self.lines):
            declared.append("declare void @llvm.memmove.p0.p0.i64(ptr, ptr, i64, i1)")
        if any("@collective." in line for line in self.lines):
            declared.append(COLLECTIVES)
        for number, lines in enumerate(parts):
            declared += [
                f"define internal void @{self.name}.part{number}(ptr %table, ptr %arena, ptr %io, ptr %times) nounwind {{",
                "entry:",
                *(f"  {line}" for line in head),
                *lines,
                "}",
            ]
        text = "\n".join(
            [*declared, self._function(self.name, len(parts)), self._function(f"{self.name}_timed", len(parts), True)]
        )
        return Entry(text, self.plan)

    def _seams(self) -> set[Operation]:
        """Calls and copies before which another part may begin: what is computed before them is not read behind them."""
        if any(isinstance(op, CountOp) for op in self.main.walk()):
            return set()  # a count may end the call
        last: dict[Operation | Block, int] = {}
        for number, op in enumerate(self.main.body.block.ops):
            last.update((value.owner, number) for inner in op.walk() for value in inner.operands)
        seams, needed = set[Operation](), 0
        for number, op in enumerate(self.main.body.block.ops):
            if isinstance(op, CallOp | memref.CopyOp) and needed < number:
                seams.add(op)
            if not isinstance(op, SPELLED):
                needed = max(needed, last.get(op, 0))
        return seams

    def _function(self, name: str, parts: int, timed: bool = False) -> str:
        """All parts one after the other, in the mode of floats that the call wants (float_mode.py)."""
        given, more = ("ptr %times", ", ptr %times") if timed else ("ptr null", "")
        calls = [
            f"  call void @{self.name}.part{number}(ptr %table, ptr %arena, ptr %io, {given}) noinline"
            for number in range(parts)
        ]
        head = f"define void @{name}(ptr %table, ptr %arena, ptr %io{more}) nounwind {{"
        enter, leave = ([f"  {line}" for line in lines] for lines in (self.mode.enter(), self.mode.leave()))
        return "\n".join([head, *enter, *calls, *leave, "  ret void", "}\n"])

    # Text ------------------------------------------------------------------------------------------------------------
    def line(self, text: str) -> None:
        self.lines.append(f"  {text}")

    def define(self, text: str) -> str:
        self.count += 1
        self.lines.append(f"  %v{self.count} = {text}")
        return f"%v{self.count}"

    def number(self) -> int:
        self.count += 1
        return self.count

    def open(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self.label = label

    def extent(self, extent: Extent) -> str:
        if isinstance(extent, int):
            return str(extent)
        if extent not in self.sizes:
            raise InternalError(f"@main needs the size {extent}, which its plan does not have")
        place = self.define(f"getelementptr i64, ptr %sizes, i64 {self.sizes[extent]}")
        return self.define(f"load i64, ptr {place}")

    def scalar(self, value: SSAValue) -> str:
        if isinstance(value.owner, SizeOp):
            return self.extent(value.owner.extent)
        if value not in self.names:
            raise InternalError(f"@main uses {value} before it is known")
        return self.names[value]

    def memory(self, argument: Argument) -> str:
        """A pointer to memory that the plan has."""
        number = argument.at
        match argument.kind:
            case "weight":
                return self.define(f"load ptr, ptr {self.define(f'getelementptr ptr, ptr %weights, i64 {number}')}")
            case "buffer":
                place = self.define(f"getelementptr i64, ptr %offsets, i64 {number}")
                offset = self.define(f"load i64, ptr {place}")
                return self.define(f"getelementptr i8, ptr %arena, i64 {offset}")
            case "output":
                number += len(self.plan.inputs)
        return self.define(f"load ptr, ptr {self.define(f'getelementptr ptr, ptr %io, i64 {number}')}")

    def pointer(self, value: SSAValue) -> str:
        value = viewed(value)
        if isinstance(value.owner, PartOp):
            return self.define(f"getelementptr i8, ptr {self.pointer(value.owner.base)}, i64 {value.owner.bytes}")
        argument = self.places[value]
        return self.scalar(viewed(value)) if argument.kind == "computed" else self.memory(argument)

    def operand(self, value: SSAValue) -> str:
        return self.pointer(value) if isinstance(value.type, MemRefType) else self.scalar(value)

    # Ops -------------------------------------------------------------------------------------------------------------
    def block(self, block: Block) -> None:
        for op in block.ops:
            self.op(op)

    def op(self, op: Operation) -> None:
        match op:
            case SizeOp() | WeightOp() | BufferOp() | ViewOp() | PartOp():
                return  # spelled where it is used
            case RowOp():
                elements = self.extent(strides(op.base)[0])
                size = element_bytes(memref_of(op.base).element_type)
                moved = self.define(f"mul i64 {self.scalar(op.position)}, {elements}")
                bytes = self.define(f"mul i64 {moved}, {size}")
                self.names[op.result] = self.define(f"getelementptr i8, ptr {self.pointer(op.base)}, i64 {bytes}")
            case CallOp():
                self.call(op)
            case CountOp():
                self.counting(op)
            case AllReduceStartOp():
                count = self.extent(dims.prod(list(buffer_shape(op.bucket))))
                slot = op.slot.value.data
                passed = f"i64 {slot}, ptr {self.pointer(op.bucket)}, i64 {count}, i64 {op.element}"
                self.line(f"call void @collective.start({passed})")
                self.flying.append(slot)
            case AllReduceWaitOp():
                self.line(f"call void @collective.wait(i64 {op.slot.value.data})")
                self.flying.remove(op.slot.value.data)
            case RankOp():
                self.line(f"call void @collective.rank(ptr {self.pointer(op.buffer)})")
            case _:
                handler = HANDLERS.get(op.name)
                if handler is None:
                    raise InternalError(f"@main holds '{op.name}', which has no place there")
                handler(self, op)

    # Calls -----------------------------------------------------------------------------------------------------------
    def call(self, op: CallOp) -> None:
        """As the plan has it: what only @main knows is in the values of the op."""
        step, kernel, values = self.plan.steps[self.done], self.kernel(op.kernel), iter(op.arguments)
        arguments: list[str] = []
        for argument in step.arguments:
            value = None if argument.kind == "scratch" else next(values)
            arguments += [self.argument(argument, value), *map(self.extent, argument.strides)]
        types = kernel.llvm_types()
        if kernel.tiles is not None:
            types += ["i64", "i64", "i64"]
            arguments += self.shares(step, kernel, op)
        passed = typed([*types, "ptr", "i64"], [*arguments, "%times", str(self.done)])
        self.line(f"call void @{kernel.symbol}.launch({passed})")
        if self.flying:  # engines get on while they are asked
            self.line(f"call void @collective.test(i64 {self.flying[0]})")
        self.done += 1

    def kernel(self, name: str) -> NativeKernel:
        if name not in self.known:
            self.known[name] = NativeKernel(self.kernels[name], self.symbols.get(name, name))
        return self.known[name]

    def argument(self, argument: Argument, value: SSAValue | None) -> str:
        match argument.kind:
            case "scratch":
                return "%arena"
            case "size":
                return self.extent(argument.at)
            case "computed":
                assert value is not None
                return self.operand(value)
        return self.memory(argument)

    def shares(self, step: Step, kernel: NativeKernel, op: CallOp) -> list[str]:
        """Tiles of a call, helper threads for them, and bytes of scratch that each thread has."""
        assert kernel.tiles is not None
        if step.tiles is None:
            indices = [v for v in op.arguments if not isinstance(v.type, MemRefType)]
            operands = dict(zip(kernel.extents, indices, strict=True))
            tiles = extent_text(kernel.tiles, lambda name: self.scalar(operands[name]), self.define)
        else:
            tiles = self.extent(step.tiles)
        if step.launch is None:
            return [tiles, "0", "0"]
        place = self.define(f"getelementptr i64, ptr %launches, i64 {step.launch}")
        return [tiles, self.define(f"load i64, ptr {place}"), self.define("load i64, ptr %table")]

    def counting(self, op: CountOp) -> None:
        """Write the symbol, and every size that depends on it, into the table. Sizes used further on are not known yet."""
        name = op.symbol.data
        found = self.define(f"load i64, ptr {self.pointer(op.buffer)}")
        most = self.extent(op.most)
        least = self.define(f"icmp slt i64 {found}, 0")
        whole = self.define(f"select i1 {least}, i64 0, i64 {found}")
        over = self.define(f"icmp sgt i64 {whole}, {most}")
        value = self.define(f"select i1 {over}, i64 {most}, i64 {whole}")
        self.counts[len(self.counts)] = (name, value)
        self.lines.append(f"{_COUNT}{len(self.counts) - 1}")  # the sizes that depend on it are known at the end
        label = f"counted{self.number()}"
        self.line(f"br label %{label}")
        self.open(label)

    def write_counts(self) -> None:
        """Behind each count, store every size that depends on it, and return where a check fails: memory is not touched then."""
        late = [check for check in self.module.checks if check.needs(self.plan.counted)]
        waiting = list(self.plan.counted)
        lines, self.lines = self.lines, []
        for line in lines:
            if not line.startswith(_COUNT):
                self.lines.append(line)
                continue
            counted, value = self.counts[int(line.removeprefix(_COUNT))]

            def symbol(name: str, counted: str = counted, value: str = value) -> str:
                return value if name == counted else self.extent(dims.symbol(name))

            for extent, number in self.sizes.items():
                if counted in symbols_of(extent):
                    result = extent_text(extent, symbol, self.define)
                    self.line(f"store i64 {result}, ptr {self.define(f'getelementptr i64, ptr %sizes, i64 {number}')}")
            waiting.remove(counted)
            for check in late:
                if check.needs((counted,)) and not check.needs(waiting):
                    sides = [extent_text(e, symbol, self.define) for e in (check.lhs, check.rhs)]
                    same, number = self.define(f"icmp eq i64 {sides[0]}, {sides[1]}"), self.number()
                    self.line(f"br i1 {same}, label %met{number}, label %broken{number}")
                    self.lines += [f"broken{number}:", "  ret void", f"met{number}:"]
