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

from xdsl.dialects import arith, func, memref
from xdsl.dialects.builtin import (
    ArrayAttr,
    IntegerAttr,
    MemRefType,
    ModuleOp,
)
from xdsl.ir import Attribute, Block, Operation, SSAValue

from mlc.codegen.llvm.dimensions import extent_text, symbols_of
from mlc.codegen.llvm.float_mode import FloatMode
from mlc.codegen.llvm.function import open_axes
from mlc.codegen.llvm.launch import POOL, TIMES, KernelSignature, launch, text_of, typed
from mlc.codegen.llvm.main_ops import HANDLERS
from mlc.errors import InternalError
from mlc.ir import dims
from mlc.ir.alias import KERNEL_ALIAS, KERNEL_FRONT
from mlc.ir.dims import Extent
from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.kernel import element_bytes
from mlc.ir.kernel.plan import Equality, Launch, Lifetime, Plan, Step, TensorSpec
from mlc.ir.kernel.program import (
    BufferOp,
    CallOp,
    CountOp,
    RowOp,
    SizeOp,
    ViewOp,
    WeightOp,
    buffer_shape,
    clock,
    memref_of,
)
from mlc.ir.module import Module

PART = 256  # calls and copies of a function

# Written where they are read: no function needs to have them from another.
SPELLED = (SizeOp, WeightOp, BufferOp, ViewOp, arith.ConstantOp)

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
        self.main = module.main
        self.kernels = {op.sym_name.data: op for op in _functions(module.op) if op is not self.main}
        self.known: dict[str, KernelSignature] = {}
        self.lines: list[str] = []
        self.label = "entry"
        self.clock = clock(self.main)
        self.at = 0  # when the op that is written runs, as lifetimes count
        self.count = 0
        self.names: dict[SSAValue, str] = {}
        self.sizes: dict[Extent, int] = {}
        self.launches: list[Launch] = []
        self.scratch: dict[Extent, None] = {}
        self.steps: list[Step] = []
        self.weights: dict[str, int] = {}
        self.counted: dict[str, Extent] = {}
        self.counts: dict[int, tuple[str, str]] = {}
        self.inputs, self.outputs, self.io = self._signature()

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
        offsets = launches + len(self.launches)
        head = [
            f"%sizes = getelementptr i64, ptr %table, i64 {sizes}",
            f"%launches = getelementptr i64, ptr %table, i64 {launches}",
            f"%offsets = getelementptr i64, ptr %table, i64 {offsets}",
            f"%weights.at = getelementptr ptr, ptr %io, i64 {len(self.inputs) + len(self.outputs)}",
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
        plan = Plan(
            self.inputs,
            self.outputs,
            tuple(self.weights),
            tuple(self.sizes),
            tuple(self.launches),
            self._lifetimes(),
            tuple(self.scratch),
            tuple(self.steps),
            dict(self.module.symbols),
            tuple(Equality(check.lhs, check.rhs, check.message) for check in self.module.checks),
            self.counted,
            self.module.indices,
        )
        return Entry(text, plan)

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

    def _signature(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], dict[SSAValue, int]]:
        inputs: list[tuple[SSAValue, TensorSpec]] = []
        outputs: list[tuple[SSAValue, TensorSpec]] = []
        args = self.main.body.block.args
        attrs = self.main.arg_attrs
        if args and attrs is None:
            raise InternalError("@main does not say which of its arguments are inputs")
        for arg, attr in zip(args, attrs.data if attrs else (), strict=True):
            role = text_of(attr, "kernel.role")
            if role not in ("input", "output"):
                raise InternalError(f"argument {arg.index} of @main is neither input nor output")
            alias = text_of(attr, KERNEL_ALIAS) or None
            front = text_of(attr, KERNEL_FRONT) or None
            spec = TensorSpec(
                text_of(attr, "kernel.name"), text_of(attr, "kernel.dtype"), buffer_shape(arg), alias, front
            )
            (inputs if role == "input" else outputs).append((arg, spec))
        io = {arg: number for number, (arg, _) in enumerate([*inputs, *outputs])}
        return tuple(spec for _, spec in inputs), tuple(spec for _, spec in outputs), io

    def _lifetimes(self) -> tuple[Lifetime, ...]:
        attr = self.main.attributes.get("kernel.arena")
        buffers = sum(isinstance(op, BufferOp) for op in self.main.walk())
        rows = attr.data if isinstance(attr, ArrayAttr) else ()
        if len(rows) != buffers:
            raise InternalError(f"@main has {buffers} buffers and a plan for {len(rows)}: run plan-arena")
        return tuple(Lifetime(dims.parse(r.data[0].data), r.data[1].value.data, r.data[2].value.data) for r in rows)

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
        number = self.sizes.setdefault(extent, len(self.sizes))
        return self.define(f"load i64, ptr {self.define(f'getelementptr i64, ptr %sizes, i64 {number}')}")

    def scalar(self, value: SSAValue) -> str:
        if isinstance(value.owner, SizeOp):
            return self.extent(value.owner.extent)
        if value not in self.names:
            raise InternalError(f"@main uses {value} before it is known")
        return self.names[value]

    def pointer(self, value: SSAValue) -> str:
        while isinstance(value.owner, ViewOp):
            value = value.owner.base
        match value.owner:
            case WeightOp() as op:
                number = self.weights.setdefault(op.key.data, len(self.weights))
                return self.define(f"load ptr, ptr {self.define(f'getelementptr ptr, ptr %weights, i64 {number}')}")
            case BufferOp() as op:
                place = self.define(f"getelementptr i64, ptr %offsets, i64 {op.number.data}")
                offset = self.define(f"load i64, ptr {place}")
                return self.define(f"getelementptr i8, ptr %arena, i64 {offset}")
        if value in self.io:
            return self.define(f"load ptr, ptr {self.define(f'getelementptr ptr, ptr %io, i64 {self.io[value]}')}")
        return self.scalar(value)

    def operand(self, value: SSAValue) -> str:
        return self.pointer(value) if isinstance(value.type, MemRefType) else self.scalar(value)

    def known_extent(self, value: SSAValue) -> Extent | None:
        """The expression an index is, where it is one."""
        if isinstance(value.owner, SizeOp):
            return value.owner.extent
        if isinstance(value.owner, Operation) and value.owner.name == "arith.constant":
            constant = getattr(value.owner, "value", None)
            return constant.value.data if isinstance(constant, IntegerAttr) else None
        return None

    def strides(self, value: SSAValue) -> list[Extent]:
        shape = buffer_shape(value)
        return [dims.prod(shape[axis + 1 :]) for axis in range(len(shape))]

    # Ops -------------------------------------------------------------------------------------------------------------
    def block(self, block: Block) -> None:
        for op in block.ops:
            self.op(op)

    def op(self, op: Operation) -> None:
        self.at = self.clock.get(op, self.at)  # inside of a loop that of the loop
        match op:
            case SizeOp() | WeightOp() | BufferOp() | ViewOp():
                return  # spelled where it is used
            case RowOp():
                elements = self.extent(self.strides(op.base)[0])
                size = element_bytes(memref_of(op.base).element_type)
                moved = self.define(f"mul i64 {self.scalar(op.position)}, {elements}")
                bytes = self.define(f"mul i64 {moved}, {size}")
                self.names[op.result] = self.define(f"getelementptr i8, ptr {self.pointer(op.base)}, i64 {bytes}")
            case CallOp():
                self.call(op)
            case CountOp():
                self.counting(op)
            case _:
                handler = HANDLERS.get(op.name)
                if handler is None:
                    raise InternalError(f"@main holds '{op.name}', which has no place there")
                handler(self, op)

    # Calls -----------------------------------------------------------------------------------------------------------
    def call(self, op: CallOp) -> None:
        kernel = self.kernel(op.kernel)
        given = list(op.arguments)
        buffers = [v for v in given if isinstance(v.type, MemRefType)]
        indices = [v for v in given if not isinstance(v.type, MemRefType)]
        roles = kernel.roles
        if len(indices) != roles.count("extent") or len(buffers) != sum(role in ("", "weight") for role in roles):
            raise InternalError(
                f"call of kernel '{kernel.name}' with {len(buffers)} buffers and {len(indices)} extents"
            )
        extents = {name: self.known_extent(v) for name, v in zip(kernel.extents, indices, strict=True)}
        arguments: list[str] = []
        waiting_buffers, waiting_indices = iter(buffers), iter(indices)
        for type, role in zip(kernel.types, roles, strict=True):
            if role in ("begin", "end"):
                continue
            if role == "scratch":
                arguments.append("%arena")
            elif role == "extent":
                arguments.append(self.scalar(next(waiting_indices)))
            else:
                arguments += self.buffer(kernel, next(waiting_buffers), type)
        if kernel.scratch != 0:
            self.scratch[self.in_module(kernel.scratch, extents, kernel)] = None
        types = kernel.llvm_types()
        if kernel.tiles is not None:
            types += ["i64", "i64", "i64"]
            arguments += self.shares(kernel, indices, extents, buffers)
        passed = typed([*types, "ptr", "i64"], [*arguments, "%times", str(len(self.steps))])
        self.line(f"call void @{kernel.symbol}.launch({passed})")
        self.steps.append(Step(kernel.name, tuple(name.data for name in op.source.data), self.at))

    def kernel(self, name: str) -> KernelSignature:
        if name not in self.known:
            if name not in self.kernels:
                raise InternalError(f"@main calls kernel '{name}', which is not in the module")
            self.known[name] = KernelSignature(self.kernels[name], self.symbols.get(name, name))
        return self.known[name]

    def buffer(self, kernel: KernelSignature, value: SSAValue, type: Attribute) -> list[str]:
        """Pointer and open strides of one argument."""
        assert isinstance(type, MemRefType)
        if isinstance(value.owner, WeightOp) and not open_axes(type):
            return [self.pointer(value)]  # packed: its bytes lie as the kernel wants them
        strides, fixed = self.strides(value), type.get_strides()
        same_element = memref_of(value).element_type == type.element_type
        if fixed is None or len(fixed) != len(strides) or not same_element:
            raise InternalError(f"kernel '{kernel.name}' takes {type}, not {value.type}")
        shape = type.get_shape()
        for axis, (have, want) in enumerate(zip(strides, fixed, strict=True)):
            if want is not None and have != want and shape[axis] != 1:
                raise InternalError(
                    f"kernel '{kernel.name}' takes {type}, not extents {[str(e) for e in buffer_shape(value)]}"
                )
        return [self.pointer(value), *(self.extent(strides[axis]) for axis in open_axes(type))]

    def in_module(self, extent: Extent, extents: dict[str, Extent | None], kernel: KernelSignature) -> Extent:
        """An expression over a kernel's extents as one over the module's symbols."""
        values = {name: value for name, value in extents.items() if value is not None}
        if missing := symbols_of(extent) - values.keys():
            raise InternalError(
                f"kernel '{kernel.name}': {sorted(missing)} must be sizes that are known before the call"
            )
        return dims.substitute(extent, values)

    def shares(
        self,
        kernel: KernelSignature,
        indices: list[SSAValue],
        extents: dict[str, Extent | None],
        buffers: list[SSAValue],
    ) -> list[str]:
        """Tiles of a call, helper threads for them, and bytes of scratch that each thread has."""
        assert kernel.tiles is not None
        if symbols_of(kernel.tiles) - {name for name, value in extents.items() if value is not None}:
            operands = dict(zip(kernel.extents, indices, strict=True))
            count: Extent | None = None
            tiles = extent_text(kernel.tiles, lambda name: self.scalar(operands[name]), self.define)
        else:
            count = self.in_module(kernel.tiles, extents, kernel)
            tiles = self.extent(count)
        if count == 1:
            return [tiles, "0", "0"]
        touched = [dims.prod(buffer_shape(v)) * element_bytes(memref_of(v).element_type) for v in buffers]
        self.launches.append(
            Launch(sum(touched[1:], start=touched[0]) if touched else 0, 1 << 20 if count is None else count)
        )
        place = self.define(f"getelementptr i64, ptr %launches, i64 {len(self.launches) - 1}")
        return [tiles, self.define(f"load i64, ptr {place}"), self.define("load i64, ptr %table")]

    def counting(self, op: CountOp) -> None:
        """Write the symbol, and every size that depends on it, into the table. Sizes used further on are not known yet."""
        name = op.symbol.data
        self.counted[name] = dims.ceiling(op.most, self.counted)
        self.sizes.setdefault(dims.symbol(name), len(self.sizes))
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
        late = [check for check in self.module.checks if check.needs(self.counted)]
        for extent in [*self.sizes, *(e for check in late for e in (check.lhs, check.rhs))]:
            if symbols_of(extent) & self.counted.keys():
                for name in sorted(symbols_of(extent)):
                    self.sizes.setdefault(dims.symbol(name), len(self.sizes))
        waiting = list(self.counted)
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


def _functions(module: ModuleOp) -> list[func.FuncOp]:
    return [op for op in module.ops if isinstance(op, func.FuncOp)]
