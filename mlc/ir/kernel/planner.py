"""The plan of a module whose @main is planned (`kernel.arena`): what @main says of its memory, its sizes and its calls, as data.

    kernel.call @gemm_0(%x, %w, %b, %n)   ->   Step("gemm_0", arguments=(Argument("input", 0), Argument("weight", 0), Argument("buffer", 3),
                                                                         Argument("size", N*S)), tiles=(N*S + 5)//6, ...)

Whoever runs a module needs nothing else where the plan is straight. Loops, branches and counts are not in it: the entry of native code
(mlc/codegen/llvm/entry.py) prints them from @main, with the calls as they stand here, and where there is no such entry they are data too
(steering.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xdsl.dialects import arith, func, memref, scf
from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, IndexType, IntegerAttr, MemRefType, StringAttr, i1
from xdsl.ir import Attribute, Block, Operation, SSAValue

from mlc.errors import InternalError
from mlc.ir import dims
from mlc.ir.alias import KERNEL_ALIAS, KERNEL_FRONT
from mlc.ir.dims import Dim, Extent
from mlc.ir.kernel.all_reduce import AllReduceStartOp, AllReduceWaitOp, RankOp
from mlc.ir.kernel.kernel import element_bytes, open_axes
from mlc.ir.kernel.plan import Argument, Copy, Equality, Launch, Lifetime, Plan, Step, TensorSpec
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
    clock,
    memref_of,
    viewed,
)
from mlc.ir.kernel.steering import ARITH, Instruction, Steered
from mlc.ir.module import Module

_SCRATCH, _COMPUTED = Argument("scratch"), Argument("computed")


class KernelSignature:
    """A kernel's arguments, by the attributes of its function."""

    def __init__(self, op: func.FuncOp):
        self.name = op.sym_name.data
        self.types = [arg.type for arg in op.body.block.args]
        attrs = op.arg_attrs.data if op.arg_attrs is not None else [DictionaryAttr({})] * len(self.types)
        self.roles = [
            text_of(a, "kernel.role") or ("extent" if t == IndexType() else "")
            for a, t in zip(attrs, self.types, strict=True)
        ]
        self.names = [text_of(a, "kernel.name") for a in attrs]
        tiles, scratch = op.attributes.get("kernel.tiles"), op.attributes.get("kernel.scratch")
        self.tiles = dims.parse(tiles.data) if isinstance(tiles, StringAttr) else None
        self.scratch = dims.parse(scratch.data) if isinstance(scratch, StringAttr) else 0
        self.extents = [n for n, role in zip(self.names, self.roles, strict=True) if role == "extent"]
        if ("begin" in self.roles) != (self.tiles is not None):
            raise InternalError(f"kernel '{self.name}' must take a range of tiles exactly if it has tiles")


def plan_of(module: Module) -> Plan:
    """Raises InternalError for a module that is not planned, and for calls that do not fit their kernels."""
    return _Planner(module).plan()


class Places:
    """Where the values of @main lie; weights get numbers in the order in which they are met."""

    def __init__(self, main: func.FuncOp, weights: Sequence[str] = ()):
        self.inputs, self.outputs, self._arguments = _signature(main)
        self.weights = {key: number for number, key in enumerate(weights)}

    def __getitem__(self, value: SSAValue) -> Argument:
        value = viewed(value)
        match value.owner:
            case WeightOp() as op:
                return Argument("weight", self.weights.setdefault(op.key.data, len(self.weights)))
            case BufferOp() as op:
                return Argument("buffer", op.number.data)
        return self._arguments.get(value, _COMPUTED)


class _Planner:
    def __init__(self, module: Module):
        self.module, self.main = module, module.main
        self.kernels = functions_of(module)
        self.known: dict[str, KernelSignature] = {}
        self.places = Places(self.main)
        self.clock = clock(self.main)
        self.at = 0
        self.straight = True
        self.sizes: dict[Extent, None] = {}
        self.launches: list[Launch] = []
        self.scratch: dict[Extent, None] = {}
        self.steps: list[Step] = []
        self.copies: list[Copy] = []
        self.counted: dict[str, Extent] = {}
        self.slots: dict[SSAValue, int] = {}
        self.body: list[Instruction] = []  # of the block at hand

    def plan(self) -> Plan:
        whole = self.steered(self.main.body.block)
        self.sizes_that_counts_decide()
        computed = any(a.kind == "computed" for step in self.steps for a in step.arguments)
        straight = self.straight and not computed
        return Plan(
            self.places.inputs,
            self.places.outputs,
            tuple(self.places.weights),
            tuple(self.sizes),
            tuple(self.launches),
            _lifetimes(self.main),
            tuple(self.scratch),
            tuple(self.steps),
            dict(self.module.symbols),
            tuple(Equality(check.lhs, check.rhs, check.message) for check in self.module.checks),
            self.counted,
            self.module.indices,
            copies=tuple(self.copies),
            straight=straight,
            steered=None if straight else whole,
        )

    # What is in the tables -------------------------------------------------------------------------------------------
    def size(self, extent: Extent) -> Extent:
        if not isinstance(extent, int):
            self.sizes.setdefault(extent)
        return extent

    def slot(self, value: SSAValue) -> int:
        """Of what only @main knows on its way."""
        return self.slots.setdefault(viewed(value), len(self.slots))

    def place(self, value: SSAValue) -> Argument:
        found = self.places[value]
        return Argument("computed", self.slot(value)) if found.kind == "computed" else found

    def read(self, value: SSAValue) -> Argument:
        """Enter what an operand needs."""
        if isinstance(value.type, MemRefType):
            return self.place(value)
        extent = known_extent(value)
        if extent is None:
            return Argument("computed", self.slot(value))
        return Argument("size", self.size(extent if value.type != i1 or not isinstance(extent, int) else extent & 1))

    def element(self, base: SSAValue, indices: Sequence[SSAValue]) -> list[Argument]:
        """A base, and each position with its stride in bytes."""
        found, bytes = [self.read(base)], element_bytes(memref_of(base).element_type)
        for index, stride in zip(indices, strides(base), strict=True):
            self.size(stride)
            found += [self.read(index), Argument("size", self.size(stride * bytes))]
        return found

    def instruct(
        self,
        op: str,
        results: Sequence[SSAValue] = (),
        operands: Sequence[Argument] = (),
        detail: str = "",
        number: int = 0,
        blocks: Sequence[Steered] = (),
    ) -> None:
        slots = tuple(map(self.slot, results))
        self.body.append(Instruction(op, slots, tuple(operands), detail, number, tuple(blocks)))

    # Ops, in the order in which the entry is printed -----------------------------------------------------------------
    def steered(self, block: Block) -> Steered:
        outer, self.body = self.body, []
        parameters = () if block is self.main.body.block else tuple(map(self.slot, block.args))
        yields: tuple[Argument, ...] = ()
        for op in block.ops:
            self.at = self.clock.get(op, self.at)  # inside of a loop that of the loop
            if op.name in ("scf.yield", "scf.condition", "func.return"):
                yields = tuple(map(self.read, op.operands))
            else:
                self.op(op)
        made, self.body = tuple(self.body), outer
        return Steered(parameters, made, yields)

    def op(self, op: Operation) -> None:
        match op:
            case SizeOp() | WeightOp() | BufferOp() | ViewOp() | arith.ConstantOp():
                return
            case CallOp():
                self.call(op)
                self.instruct("call", number=len(self.steps) - 1)
            case RowOp():
                elements = self.size(strides(op.base)[0])
                far = Argument("size", self.size(elements * element_bytes(memref_of(op.base).element_type)))
                self.instruct("row", op.results, [self.read(op.base), self.read(op.position), far])
            case PartOp():
                self.instruct("row", op.results, [self.read(op.base), Argument("size", 1), Argument("size", op.bytes)])
            case AllReduceStartOp() | AllReduceWaitOp():
                self.straight = False
                for extent in buffer_shape(op.bucket):
                    self.size(extent)
                which = op.name.removeprefix("kernel.")
                self.instruct(
                    which, (), [self.read(op.bucket)], str(memref_of(op.bucket).element_type), op.slot.value.data
                )
            case RankOp():
                self.straight = False
                self.instruct("rank", (), [self.read(op.buffer)])
            case CountOp():
                name = op.symbol.data
                self.straight = False
                self.counted[name] = dims.ceiling(op.most, self.counted)
                self.size(dims.symbol(name))
                self.instruct("count", (), [self.read(op.buffer), Argument("size", self.size(op.most))], name)
            case memref.LoadOp():
                type = str(memref_of(op.memref).element_type)
                self.instruct("load", op.results, self.element(op.memref, op.indices), type)
            case memref.StoreOp():
                self.straight = False
                type = str(memref_of(op.memref).element_type)
                self.instruct("store", (), [self.read(op.value), *self.element(op.memref, op.indices)], type)
            case memref.CopyOp():
                target, source = self.place(op.destination), self.place(op.source)
                bytes = dims.prod(buffer_shape(op.source)) * element_bytes(memref_of(op.source).element_type)
                self.copies.append(Copy(target, source, self.size(bytes), self.at))
                self.instruct("copy", number=len(self.copies) - 1)
                if "computed" in (target.kind, source.kind):
                    self.straight = False
            case scf.ForOp() | scf.IfOp() | scf.WhileOp():
                self.straight = False
                operands = [self.read(operand) for operand in op.operands]
                blocks = [self.steered(block) for region in op.regions for block in region.blocks]
                self.instruct(op.name.removeprefix("scf."), op.results, operands, blocks=blocks)
            case _ if op.dialect_name() == "arith" and op.name.removeprefix("arith.") in ARITH:
                operands = [self.read(operand) for operand in op.operands]
                self.instruct(op.name.removeprefix("arith."), op.results, operands, _detail(op))
            case _:
                raise InternalError(f"@main holds '{op.name}', which has no place there")

    def call(self, op: CallOp) -> None:
        kernel = self.kernel(op.kernel)
        buffers = [v for v in op.arguments if isinstance(v.type, MemRefType)]
        indices = [v for v in op.arguments if not isinstance(v.type, MemRefType)]
        roles = kernel.roles
        if len(indices) != roles.count("extent") or len(buffers) != sum(role in ("", "weight") for role in roles):
            raise InternalError(
                f"call of kernel '{kernel.name}' with {len(buffers)} buffers and {len(indices)} extents"
            )
        values = {name: known_extent(v) for name, v in zip(kernel.extents, indices, strict=True)}
        extents = {name: value for name, value in values.items() if value is not None}
        arguments: list[Argument] = []
        waiting_buffers, waiting_indices = iter(buffers), iter(indices)
        for type, role in zip(kernel.types, roles, strict=True):
            if role in ("begin", "end"):
                continue
            if role == "scratch":
                arguments.append(_SCRATCH)
            elif role == "extent":
                index = next(waiting_indices)
                extent = known_extent(index)
                computed = None if extent is not None else Argument("computed", self.slot(index))
                arguments.append(computed or Argument("size", self.size(extent)))  # type: ignore[arg-type]
            else:
                arguments.append(self.buffer(kernel, next(waiting_buffers), type))
        scratch = in_module(kernel.scratch, extents, kernel)
        if scratch != 0:
            self.scratch[scratch] = None
        tiles, launch = self.shares(kernel, extents, buffers)
        source = tuple(name.data for name in op.source.data)
        self.steps.append(Step(kernel.name, source, self.at, tuple(arguments), tiles, launch, scratch))

    def kernel(self, name: str) -> KernelSignature:
        if name not in self.known:
            if name not in self.kernels:
                raise InternalError(f"@main calls kernel '{name}', which is not in the module")
            self.known[name] = KernelSignature(self.kernels[name])
        return self.known[name]

    def buffer(self, kernel: KernelSignature, value: SSAValue, type: Attribute) -> Argument:
        """One argument in memory, with its open strides."""
        assert isinstance(type, MemRefType)
        if isinstance(value.owner, WeightOp) and not open_axes(type):
            return self.place(value)  # packed: its bytes lie as the kernel wants them
        found, fixed = strides(value), type.get_strides()
        same_element = memref_of(value).element_type == type.element_type
        if fixed is None or len(fixed) != len(found) or not same_element:
            raise InternalError(f"kernel '{kernel.name}' takes {type}, not {value.type}")
        shape = type.get_shape()
        for axis, (have, want) in enumerate(zip(found, fixed, strict=True)):
            if want is not None and have != want and shape[axis] != 1:
                raise InternalError(
                    f"kernel '{kernel.name}' takes {type}, not extents {[str(e) for e in buffer_shape(value)]}"
                )
        return self.place(value)._replace(strides=tuple(self.size(found[axis]) for axis in open_axes(type)))

    def shares(
        self, kernel: KernelSignature, extents: Mapping[str, Extent], buffers: Sequence[SSAValue]
    ) -> tuple[Extent | None, int | None]:
        """The tiles of a call, where they are known, and the number of its launch, where others may share it."""
        if kernel.tiles is None:
            return None, None
        count: Extent | None = None
        if _symbols(kernel.tiles) <= extents.keys():
            count = self.size(in_module(kernel.tiles, extents, kernel))
            if count == 1:
                return 1, None
        else:
            self.straight = False
        touched = [dims.prod(buffer_shape(v)) * element_bytes(memref_of(v).element_type) for v in buffers]
        bytes = sum(touched[1:], start=touched[0]) if touched else 0
        self.launches.append(Launch(bytes, 1 << 20 if count is None else count))
        return count, len(self.launches) - 1

    def sizes_that_counts_decide(self) -> None:
        """Behind each count the entry writes every size that depends on it; for that it needs the symbols in them."""
        late = [check for check in self.module.checks if check.needs(self.counted)]
        for extent in [*self.sizes, *(e for check in late for e in (check.lhs, check.rhs))]:
            if _symbols(extent) & self.counted.keys():
                for name in sorted(_symbols(extent)):
                    self.size(dims.symbol(name))


def functions_of(module: Module) -> dict[str, func.FuncOp]:
    """The functions of a module but @main, by name."""
    return {op.sym_name.data: op for op in module.op.ops if isinstance(op, func.FuncOp) and op is not module.main}


def known_extent(value: SSAValue) -> Extent | None:
    """The expression that an index of @main is, where it is one."""
    if isinstance(value.owner, SizeOp):
        return value.owner.extent
    if isinstance(value.owner, Operation) and value.owner.name == "arith.constant":
        constant = getattr(value.owner, "value", None)
        return constant.value.data if isinstance(constant, IntegerAttr) else None
    return None


def strides(value: SSAValue) -> list[Extent]:
    """Of a memref in @main: they are row-major."""
    shape = buffer_shape(value)
    return [dims.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def in_module(extent: Extent, extents: Mapping[str, Extent], kernel: KernelSignature) -> Extent:
    """An expression over a kernel's extents as one over the module's symbols."""
    if missing := _symbols(extent) - extents.keys():
        raise InternalError(f"kernel '{kernel.name}': {sorted(missing)} must be sizes that are known before the call")
    return dims.substitute(extent, dict(extents))


def text_of(attrs: DictionaryAttr, key: str) -> str:
    attr = attrs.data.get(key)
    return attr.data if isinstance(attr, StringAttr) else ""


def _detail(op: Operation) -> str:
    """The type that an op of arith computes in; behind it the predicate of a comparison, or the type that a cast comes from."""
    if isinstance(op, arith.CmpiOp):
        return f"{op.lhs.type} {arith.CMPI_COMPARISON_OPERATIONS[op.predicate.value.data]}"
    if len(op.operands) == 1:
        return f"{op.results[0].type} {op.operands[0].type}"
    return str(op.results[0].type)


def _symbols(extent: Extent) -> frozenset[str]:
    return extent.symbols() if isinstance(extent, Dim) else frozenset()


def _signature(
    main: func.FuncOp,
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], dict[SSAValue, Argument]]:
    """Inputs, outputs, and which argument of @main is which of them."""
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    places: dict[SSAValue, Argument] = {}
    args = main.body.block.args
    attrs = main.arg_attrs
    if args and attrs is None:
        raise InternalError("@main does not say which of its arguments are inputs")
    for arg, attr in zip(args, attrs.data if attrs else (), strict=True):
        role = text_of(attr, "kernel.role")
        if role not in ("input", "output"):
            raise InternalError(f"argument {arg.index} of @main is neither input nor output")
        alias = text_of(attr, KERNEL_ALIAS) or None
        front = text_of(attr, KERNEL_FRONT) or None
        spec = TensorSpec(text_of(attr, "kernel.name"), text_of(attr, "kernel.dtype"), buffer_shape(arg), alias, front)
        specs = inputs if role == "input" else outputs
        places[arg] = Argument("input" if role == "input" else "output", len(specs))
        specs.append(spec)
    return tuple(inputs), tuple(outputs), places


def _lifetimes(main: func.FuncOp) -> tuple[Lifetime, ...]:
    attr = main.attributes.get("kernel.arena")
    buffers = sum(isinstance(op, BufferOp) for op in main.walk())
    rows = attr.data if isinstance(attr, ArrayAttr) else ()
    if len(rows) != buffers:
        raise InternalError(f"@main has {buffers} buffers and a plan for {len(rows)}: run plan-arena")
    return tuple(Lifetime(dims.parse(r.data[0].data), r.data[1].value.data, r.data[2].value.data) for r in rows)
