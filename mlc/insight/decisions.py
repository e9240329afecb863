"""What the compiler decided about each kernel, as plain data: it becomes the executable's report and the package's decisions.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, MemRefType, StringAttr
from xdsl.dialects.func import FuncOp
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import SSAValue

from mlc.insight.moves import Copies
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph.base import location_name
from mlc.ir.graph.composites import CompositeOp
from mlc.ir.kernel import program
from mlc.ir.kernel.kernel import element_bytes, loops_of
from mlc.ir.kernel.target import Target
from mlc.ir.kernel.writes import written_arguments
from mlc.ir.module import Module
from mlc.passes.kernel.cost import cost_of

if TYPE_CHECKING:
    from mlc.runtime.executable import Executable

_FREE = (
    "arith.constant",
    "arith.index_cast",
    "linalg.index",
    "linalg.yield",
    "arith.select",
    "memref.load",
    "arith.bitcast",
)


def composites(module: Module) -> dict[str, str]:
    """What nodes of the user's model are as a whole, by node: attention, batch_norm; read before passes write them as primitives."""
    found: dict[str, dict[str, None]] = {}
    for op in module.op.walk():
        if isinstance(op, CompositeOp) and (node := location_name(op)) is not None:
            found.setdefault(node, {})[op.title] = None
    return {node: ", ".join(titles) for node, titles in found.items()}


def describe(
    module: Module,
    target: Target | None = None,
    fusion: Mapping[tuple[str, ...], list[str]] | None = None,
    named: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """One entry per kernel of a scheduled module: its schedule, its notes, and its calls with source nodes, the sizes they are for (of a
    variant), work, bytes, and what they copy; for a CPU what it takes of a core.

    `fusion` says, by the nodes of a call, why its results go through memory, `named` which composite a node is.
    """
    kernels = {op.sym_name.data: op for op in module.op.ops if isinstance(op, FuncOp)}
    found: dict[str, dict[str, Any]] = {}
    copies = Copies(module)
    for call in (op for op in module.main.walk() if isinstance(op, program.CallOp)):
        function = kernels[call.kernel]
        if call.kernel not in found:
            found[call.kernel] = {**_facts(function, target), "calls": []}
        known = _known(function, call)
        flops, bytes = _work(function, call, known)
        source = [name.data for name in call.source.data]
        found[call.kernel]["calls"].append(
            {
                "source": source,
                "group": program.group_of(call),
                "composites": {node: named[node] for node in source if node in named} if named else {},
                "sizes": program.sizes_asked(call),
                "extents": {name: str(extent) for name, extent in known.items()},
                "flops": str(flops),
                "bytes": str(bytes),
                "fusion": (fusion or {}).get(tuple(source), []),
                "copies": copies.of(call),
            }
        )
    return list(found.values())


def buffer_users(main: FuncOp, functions: Mapping[str, FuncOp]) -> list[dict[str, list[int]]]:
    """Of each buffer of the arena, by number: which calls make it and which read it, by their places among the calls of @main."""
    known: dict[str, frozenset[int]] = {}
    found: dict[int, dict[str, list[int]]] = {}
    for op in main.walk():
        if isinstance(op, program.BufferOp):
            found[op.number.data] = {"makers": [], "readers": []}
    calls = [op for op in main.walk() if isinstance(op, program.CallOp)]
    for number, call in enumerate(calls):
        kernel = functions.get(call.kernel)
        written = frozenset() if kernel is None else written_arguments(kernel, functions, known)
        for place, value in enumerate(call.arguments):
            memory = program.memory_of(value)
            if isinstance(memory.owner, program.BufferOp):
                users = found[memory.owner.number.data]["makers" if place in written else "readers"]
                if number not in users:
                    users.append(number)
    return [found[number] for number in sorted(found)]


def _facts(function: FuncOp, target: Target | None) -> dict[str, Any]:
    on_cores = target is not None and "parallel" in target.lowering.binds
    cost = cost_of(function, target) if target is not None and on_cores else None
    schedule, notes = function.attributes.get("kernel.schedule"), function.attributes.get("kernel.report")
    return {
        "name": function.sym_name.data,
        "schedule": schedule.data if isinstance(schedule, StringAttr) else "",
        "notes": [line.data for line in notes.data] if isinstance(notes, ArrayAttr) else [],
        "ops": [_op_text(op) for op in function.walk() if isinstance(op, GenericOp)],
        "cost": None if cost is None else cost.facts(),
    }


def _op_text(op: GenericOp) -> str:
    """The loops of a structured op and what its body computes: [m: 128, n: 768] mulf, addf."""
    loops = ", ".join(f"{name}: {extent}" for name, extent in loops_of(op).items())
    body = [inner.name.split(".")[-1] for inner in op.body.block.ops if inner.name not in _FREE]
    return f"[{loops}] {', '.join(body) or 'copy'}"


def _known(function: FuncOp, call: program.CallOp) -> dict[str, Extent]:
    """The kernel's extents in a call, as expressions of the module's symbols."""
    values = [v for v in call.arguments if not isinstance(v.type, MemRefType)]
    return {name: _size(value) for name, value in zip(_extent_names(function), values, strict=False)}


def _work(function: FuncOp, call: program.CallOp, known: Mapping[str, Extent]) -> tuple[Extent, Extent]:
    """Operations and bytes of one call, as expressions of the module's symbols."""
    flops: Extent = 0
    for op in (op for op in function.walk() if isinstance(op, GenericOp)):
        each = sum(1 for inner in op.body.block.ops if inner.name not in _FREE)
        extents = [dims.substitute(e, known) for e in loops_of(op).values()]
        flops = flops + each * dims.prod(extents)
    buffers = dict.fromkeys(v for v in call.arguments if isinstance(v.type, MemRefType))
    bytes: Extent = 0
    for value in buffers:
        bytes = bytes + dims.prod(program.buffer_shape(value)) * element_bytes(program.memref_of(value).element_type)
    return flops, bytes


def _extent_names(function: FuncOp) -> list[str]:
    """The index arguments of a kernel, in order."""
    rows = [_texts(row) for row in (function.arg_attrs.data if function.arg_attrs else ())]
    return [row["kernel.name"] for row in rows if row.get("kernel.role") == "extent"]


def _texts(row: DictionaryAttr) -> dict[str, str]:
    return {key: attr.data for key, attr in row.data.items() if isinstance(attr, StringAttr)}


def _size(value: SSAValue) -> Extent:
    if isinstance(value.owner, program.SizeOp):
        return value.owner.extent
    constant = getattr(getattr(value.owner, "value", None), "value", None)
    return constant.data if constant is not None else dims.symbol(value.name_hint or "unknown")


def weight_bytes(module: Module) -> int:
    """Of the weights that kernels read, each counted once."""
    found = {op.key.data: op.result for op in module.main.walk() if isinstance(op, program.WeightOp)}
    return sum(module.weights.nbytes(key) for key in found)


@dataclass(frozen=True)
class CallWork:
    """Operations and bytes of a call of a kernel, what it takes of a core (None where nobody can tell) and the kernel's extents."""

    flops: int
    bytes: int
    cost: Mapping[str, Any] | None
    extents: Mapping[str, int]


def work_of_calls(executable: Executable, shapes: Sequence[tuple[int, ...]]) -> list[CallWork]:
    """Of each call of an executable for inputs of these shapes, in the order of its plan."""
    from mlc.runtime.binding import Solver

    symbols = Solver(executable.plan.inputs, executable.plan).solve(tuple(shapes))
    known = {**dict.fromkeys(executable.plan.counted, 0), **symbols}
    return [work_of(kernel, call, known) for kernel, call in _calls_of(executable)]


def _calls_of(executable: Executable) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The kernel and the call of each step of a plan, as the report has them; nothing of a step that it does not have."""
    kernels = {kernel["name"]: kernel for kernel in executable.report.get("kernels", [])}
    waiting = {name: iter(kernel["calls"]) for name, kernel in kernels.items()}
    for step in executable.plan.steps:
        yield kernels.get(step.kernel, {}), next(waiting.get(step.kernel, iter(())), {})


def work_of(kernel: Mapping[str, Any], call: Mapping[str, Any], symbols: Mapping[str, int]) -> CallWork:
    """Of a call in a report, at sizes of all symbols."""
    at = lambda text: dims.evaluate(dims.parse(text), symbols)
    extents = {name: at(text) for name, text in call.get("extents", {}).items()}
    return CallWork(at(call.get("flops", "0")), at(call.get("bytes", "0")), kernel.get("cost"), extents)
