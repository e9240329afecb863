"""What a kernel's function says about itself, so that each stage can be printed, parsed back and carried on.

    func.func @gemm(%A: memref<?x768xf32> {kernel.name = "A", kernel.shape = ["M", "768"], kernel.dtype = "f32"},
                    %B: memref<24x768x32xf32, ..., "panel"> {kernel.name = "B", ..., kernel.role = "weight", kernel.pack = {...}},
                    %scratch: memref<?xi8> {kernel.role = "scratch"}, %M: index {kernel.role = "extent", kernel.name = "M"},
                    %begin: index {kernel.role = "begin"}, %end: index {kernel.role = "end"})
        attributes {kernel.tiles = "((M + 5)//6)", kernel.launch = {block.x = "((M + 127)//128)", thread.x = "16"}, kernel.scratch = "0", kernel.optimise, kernel.schedule = "...", kernel.applied = 2, kernel.report = [...]}

Of the schedule so many parts have been applied. tiles and scratch (bytes) are texts of mlc.ir.dims over the names of the extents. A kernel without tiles takes no %begin and %end.
launch counts what runs it on a GPU along each axis, absent where one does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from xdsl.dialects import arith, func, gpu, memref
from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, IndexType, IntegerAttr, StringAttr, UnitAttr, i64
from xdsl.ir import Attribute, Block, SSAValue

from mlc.errors import InternalError
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.kernel.extents import spelled
from mlc.ir.kernel.pack import Pack


class Signed(Protocol):
    """The state of a kernel (kernel.Kernel) that its function states."""

    op: func.FuncOp
    block: Block
    leaves: list[func.FuncOp]
    buffers: dict[str, SSAValue]
    extents: dict[str, SSAValue]
    range: tuple[SSAValue, ...]
    shapes: dict[SSAValue, tuple[Extent, ...]]
    dtypes: dict[str, str]
    weights: set[str]
    packs: dict[str, Pack]
    tiles: Extent | None
    launch: dict[str, Extent]
    scratch: Extent
    optimise: bool
    schedule: str
    applied: int
    report: list[str]
    local: dict[str, SSAValue]
    partial: dict[str, SSAValue]
    _shared: dict[object, SSAValue]


def write_signature(kernel: Signed) -> None:
    """Type, argument attributes and function attributes, from the kernel's state."""
    by_value = {value: name for name, value in kernel.buffers.items()}
    extents = {value: name for name, value in kernel.extents.items()}
    attrs = []
    for arg in kernel.block.args:
        if arg in by_value:
            attrs.append(_buffer_attrs(kernel, by_value[arg]))
        elif arg in extents:
            attrs.append(_texts(role="extent", name=extents[arg]))
        else:
            attrs.append(_texts(role=arg.name_hint or ""))
    kernel.op.properties["arg_attrs"] = ArrayAttr(attrs)
    kernel.op.update_function_type()
    states: dict[str, Attribute | None] = {
        "tiles": None if kernel.tiles is None else StringAttr(spelled(kernel.tiles)),
        "launch": _launch(kernel.launch),
        "scratch": None if kernel.scratch == 0 else StringAttr(spelled(kernel.scratch)),
        "optimise": UnitAttr() if kernel.optimise else None,
        "schedule": StringAttr(kernel.schedule) if kernel.schedule else None,
        "applied": IntegerAttr(kernel.applied, i64) if kernel.applied else None,
        "report": ArrayAttr([StringAttr(line) for line in kernel.report]) if kernel.report else None,
    }
    for key, attr in states.items():
        if attr is None:
            kernel.op.attributes.pop(f"kernel.{key}", None)
        else:
            kernel.op.attributes[f"kernel.{key}"] = attr


def read_signature(kernel: Signed, op: func.FuncOp, leaves: Sequence[func.FuncOp] = ()) -> None:
    """Into an empty kernel, what a function states. Raises InternalError for a function that is no kernel."""
    if op.arg_attrs is None:
        raise InternalError(f"function '{op.sym_name.data}' does not say what its arguments are")
    kernel.op, kernel.block, kernel.leaves = op, op.body.block, list(leaves)
    for arg, attrs in zip(kernel.block.args, op.arg_attrs.data, strict=True):
        role, name = _text(attrs, "role"), _text(attrs, "name")
        arg.name_hint = name or role
        if role == "extent":
            kernel.extents[name] = arg
        elif role in ("begin", "end"):
            kernel.range = (*kernel.range, arg)
        elif role != "scratch":
            kernel.buffers[name] = arg
            if (shape := attrs.data.get("kernel.shape")) is not None:
                assert isinstance(shape, ArrayAttr)
                kernel.shapes[arg] = tuple(_extent(e.data) for e in shape.data)
            if dtype := _text(attrs, "dtype"):
                kernel.dtypes[name] = dtype
            if role == "weight":
                kernel.weights.add(name)
            if isinstance(packed := attrs.data.get("kernel.pack"), DictionaryAttr):
                kernel.packs[name] = Pack.from_attr(packed)
    tiles, scratch = op.attributes.get("kernel.tiles"), op.attributes.get("kernel.scratch")
    schedule, report = op.attributes.get("kernel.schedule"), op.attributes.get("kernel.report")
    kernel.tiles = _extent(tiles.data) if isinstance(tiles, StringAttr) else None
    if isinstance(launch := op.attributes.get("kernel.launch"), DictionaryAttr):
        kernel.launch = {bind: _extent(count.data) for bind, count in launch.data.items()}  # type: ignore[attr-defined]
    kernel.scratch = _extent(scratch.data) if isinstance(scratch, StringAttr) else 0
    kernel.optimise = "kernel.optimise" in op.attributes
    kernel.schedule = schedule.data if isinstance(schedule, StringAttr) else ""
    applied = op.attributes.get("kernel.applied")
    kernel.applied = applied.value.data if isinstance(applied, IntegerAttr) else 0
    kernel.report = [line.data for line in report.data] if isinstance(report, ArrayAttr) else []
    _find_shared(kernel)
    for inner in op.walk():
        if isinstance(part := inner.attributes.get("extent"), StringAttr):
            kernel.local[part.data] = inner.results[0]
        if isinstance(loop := inner.attributes.get("partial"), StringAttr):
            kernel.partial[loop.data] = inner.results[0]


def _find_shared(kernel: Signed) -> None:
    """The arithmetic at the entry: what was shared before stays shared."""
    places: dict[SSAValue, str] = {}
    for op in kernel.block.ops:
        if len(op.results) != 1:
            break
        key: object = op.results[0]
        match op:
            case arith.ConstantOp(value=IntegerAttr() as attr) if attr.type == IndexType():
                key = attr.value.data
            case gpu.BlockIdOp() | gpu.ThreadIdOp():
                key = places[op.result] = place_of(op)
            case arith.MuliOp() if op.lhs in places and isinstance(op.rhs.owner, arith.ConstantOp):
                key = (places[op.lhs], op.rhs.owner.value.value.data)  # type: ignore[union-attr]
            case memref.AllocOp() if op.memref.type.memory_space == StringAttr("workgroup"):
                continue
            case _ if not op.name.startswith("arith."):
                break
        kernel._shared[key] = op.results[0]


def place_of(op: gpu.BlockIdOp | gpu.ThreadIdOp) -> str:
    """As schedules call what it numbers: "block.x"."""
    return f"{'block' if isinstance(op, gpu.BlockIdOp) else 'thread'}.{op.dimension.data}"


def _launch(launch: dict[str, Extent]) -> DictionaryAttr | None:
    return DictionaryAttr({bind: StringAttr(spelled(launch[bind])) for bind in sorted(launch)}) if launch else None


def _buffer_attrs(kernel: Signed, name: str) -> DictionaryAttr:
    found: dict[str, Attribute] = dict(_texts(name=name).data)
    value = kernel.buffers[name]
    if value in kernel.shapes:
        found["kernel.shape"] = ArrayAttr([StringAttr(str(e)) for e in kernel.shapes[value]])
    if name in kernel.dtypes:
        found["kernel.dtype"] = StringAttr(kernel.dtypes[name])
    if name in kernel.weights:
        found["kernel.role"] = StringAttr("weight")
    if name in kernel.packs:
        found["kernel.pack"] = kernel.packs[name].attr()
    return DictionaryAttr(found)


def _texts(**texts: str) -> DictionaryAttr:
    return DictionaryAttr({f"kernel.{key}": StringAttr(text) for key, text in texts.items()})


def _text(attrs: DictionaryAttr, key: str) -> str:
    attr = attrs.data.get(f"kernel.{key}")
    return attr.data if isinstance(attr, StringAttr) else ""


def _extent(text: str) -> Extent:
    return dims.parse(text)
