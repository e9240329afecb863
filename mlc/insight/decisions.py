"""What the compiler decided about each kernel, as plain data: it becomes the executable's report and the package's decisions.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from mlc.ir.kernel.writes import written_arguments
from mlc.ir.module import Module

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
    fusion: Mapping[tuple[str, ...], list[str]] | None = None,
    named: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """One entry per kernel of a scheduled module: its schedule, its notes, and its calls with source nodes, the sizes they are for (of a
    variant), work, bytes, and what they copy.

    `fusion` says, by the nodes of a call, why its results go through memory, `named` which composite a node is.
    """
    kernels = {op.sym_name.data: op for op in module.op.ops if isinstance(op, FuncOp)}
    found: dict[str, dict[str, Any]] = {}
    copies = Copies(module)
    for call in (op for op in module.main.walk() if isinstance(op, program.CallOp)):
        function = kernels[call.kernel]
        entry = found.setdefault(call.kernel, {**_facts(function), "calls": []})
        flops, bytes = _work(function, call)
        source = [name.data for name in call.source.data]
        entry["calls"].append(
            {
                "source": source,
                "group": program.group_of(call),
                "composites": {node: named[node] for node in source if node in named} if named else {},
                "sizes": program.sizes_asked(call),
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


def _facts(function: FuncOp) -> dict[str, Any]:
    schedule, notes = function.attributes.get("kernel.schedule"), function.attributes.get("kernel.report")
    return {
        "name": function.sym_name.data,
        "schedule": schedule.data if isinstance(schedule, StringAttr) else "",
        "notes": [line.data for line in notes.data] if isinstance(notes, ArrayAttr) else [],
        "ops": [_op_text(op) for op in function.walk() if isinstance(op, GenericOp)],
    }


def _op_text(op: GenericOp) -> str:
    """The loops of a structured op and what its body computes: [m: 128, n: 768] mulf, addf."""
    loops = ", ".join(f"{name}: {extent}" for name, extent in loops_of(op).items())
    body = [inner.name.split(".")[-1] for inner in op.body.block.ops if inner.name not in _FREE]
    return f"[{loops}] {', '.join(body) or 'copy'}"


def _work(function: FuncOp, call: program.CallOp) -> tuple[Extent, Extent]:
    """Operations and bytes of one call, as expressions of the module's symbols."""
    values = [v for v in call.arguments if not isinstance(v.type, MemRefType)]
    names = _extent_names(function)
    known = {name: _size(value) for name, value in zip(names, values, strict=False)}
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


def work_of_calls(executable: Executable, shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, int]]:
    """(operations, bytes) of each call of an executable for inputs of these shapes, in the order of its plan."""
    from mlc.runtime.binding import Solver

    symbols = Solver(executable.plan.inputs, executable.plan).solve(tuple(shapes))
    waiting = {kernel["name"]: iter(kernel["calls"]) for kernel in executable.report.get("kernels", [])}
    found = []
    for step in executable.plan.steps:
        call = next(waiting.get(step.kernel, iter(())), None)
        texts = (call["flops"], call["bytes"]) if call else ("0", "0")
        known = {**dict.fromkeys(executable.plan.counted, 0), **symbols}
        flops, bytes = (dims.evaluate(dims.parse(text), known) for text in texts)
        found.append((flops, bytes))
    return found
