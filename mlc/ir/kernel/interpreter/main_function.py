"""A planned @main: memory for its buffers, the sizes of this call, and its kernels one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
from xdsl.dialects.builtin import MemRefType, NoneAttr, StringAttr
from xdsl.dialects.func import FuncOp
from xdsl.ir import SSAValue

from mlc.errors import InternalError, MlcError, ShapeError
from mlc.ir import dims
from mlc.ir.alias import fronts_of
from mlc.ir.dims import Extent
from mlc.ir.interpreter import require, require_writable, solve_symbols
from mlc.ir.kernel.all_reduce import AllReduceStartOp, AllReduceWaitOp, RankOp
from mlc.ir.kernel.interpreter import thread_blocks
from mlc.ir.kernel.interpreter.engine import Action, Compiler, Frame, Machine, steps
from mlc.ir.kernel.interpreter.memory import (
    Counters,
    Shadow,
    Storage,
    View,
    dtype_of,
    flat,
    label,
    row_major,
    unwritten,
)
from mlc.ir.kernel.interpreter.one_kernel import Argument, evaluated, packed_view
from mlc.ir.kernel.pack import Pack, pack
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
)
from mlc.ir.module import Module
from mlc.ir.types import numpy_dtype


class Run(Machine):
    """One call of a program."""

    def __init__(self, module: Module, sizes: dict[str, int], counters: Counters | None, races: bool):
        super().__init__(
            {op.sym_name.data: op for op in module.op.ops if isinstance(op, FuncOp)}, counters, watched=races
        )
        self.module, self.sizes, self.races = module, sizes, races
        # a size that depends on data has its bound until it is counted
        self.most = module.counted
        self.counted: set[str] = set()
        self.sizes.update({name: self.at(bound) for name, bound in self.most.items()})

    def at(self, extent: Extent) -> int:
        return extent if isinstance(extent, int) else dims.evaluate(extent, self.sizes)

    def reserved(self, extents: Sequence[Extent]) -> list[int]:
        """What memory of this shape must hold, whatever is counted."""
        return self.shape([dims.ceiling(extent, self.most) for extent in extents])

    def shape(self, extents: Sequence[Extent]) -> list[int]:
        return [self.at(extent) for extent in extents]

    def memory(self, name: str, elements: np.ndarray, shape: Sequence[int]) -> View:
        return View(Storage(name, self.counters), elements, 0, shape, row_major(shape))


def run_program(
    module: Module, inputs: Sequence[np.ndarray], *, counters: Counters | None = None, races: bool = False
) -> list[np.ndarray]:
    """The outputs of a planned module, in order; `inputs` in the order of its signature.

    counters  counts the elements that kernels read and write
    races     run each tile of a kernel by itself, last to first, and find elements that two tiles touch where one writes

    A result that lives in an input is written there by the kernels themselves: the array given is overwritten, and is the output.

    Raises ShapeError where the inputs do not fit, MlcError where one that is overwritten is read-only or not row-major, InternalError
    where a kernel does what it must not.
    """
    main, aliases = module.main, module.aliases
    attrs = main.arg_attrs.data if main.arg_attrs is not None else ()
    texts = [{k: v.data for k, v in attr.data.items() if isinstance(v, StringAttr)} for attr in attrs]
    shapes = {
        t["kernel.name"]: buffer_shape(arg)
        for t, arg in zip(texts, main.args, strict=True)
        if t["kernel.role"] == "input"
    }
    if len(inputs) != len(shapes):
        raise ShapeError(f"the program takes {len(shapes)} inputs ({', '.join(shapes)}), {len(inputs)} were given")
    run = Run(module, solve_symbols(shapes, [np.shape(array) for array in inputs]), counters, races)
    given, arguments, outputs = iter(inputs), [], []
    number_of = {name: number for number, name in enumerate(shapes)}
    for text, arg in zip(texts, main.args, strict=True):
        name, role, dtype = (text[f"kernel.{key}"] for key in ("name", "role", "dtype"))
        shape = run.shape(buffer_shape(arg))
        if role == "input":
            array = next(given)
            if number_of[name] in aliases.values():
                require_writable(array, name)
                if not array.flags.c_contiguous:
                    raise MlcError(f"input '{name}' is overwritten, and the array is not row-major")
            array = np.ascontiguousarray(array).reshape(np.shape(array))
            if array.dtype != numpy_dtype(dtype):
                raise ShapeError(f"{name}: dtype is {array.dtype}, the program takes {numpy_dtype(dtype)}")
            elements = flat(array, dtype_of(memref_of(arg).element_type), name)
        else:
            shape = run.reserved(buffer_shape(arg))
            elements = unwritten(int(np.prod(shape)), dtype_of(memref_of(arg).element_type))
            outputs.append((arg, elements.view(numpy_dtype(dtype))))
        arguments.append(run.memory(name, elements, shape))
    fronts = fronts_of(main)
    for output, source in fronts.items():  # the argument is the front of the result's memory
        arg, elements = outputs[output]
        name, shape = list(shapes)[source], run.shape(shapes[list(shapes)[source]])
        here = next(n for n, text in enumerate(texts) if (text["kernel.name"], text["kernel.role"]) == (name, "input"))
        own = elements.view(dtype_of(memref_of(arg).element_type))
        own[: int(np.prod(shape))] = arguments[here].elements
        arguments[here] = run.memory(name, own, shape)
    with np.errstate(all="ignore"):
        run.call(main, arguments)
    found = []
    for number, (arg, elements) in enumerate(outputs):
        shape = run.shape(buffer_shape(arg))
        alias = aliases.get(number)
        found.append(inputs[alias] if alias is not None else elements[: int(np.prod(shape))].reshape(shape))
    return found


def _run_of(c: Compiler) -> Run:
    if not isinstance(c.machine, Run):
        raise InternalError(f"@{c.function.sym_name.data} is no planned main function")
    return c.machine


# Memory and sizes ----------------------------------------------------------------------------------------------------
@steps("kernel.size")
def _size(c: Compiler, op: SizeOp) -> Action:
    run, result, extent = _run_of(c), c.slot(op.result), op.extent

    def step(frame: Frame) -> None:
        frame[result] = run.at(extent)

    return step


@steps("kernel.weight")
def _weight(c: Compiler, op: WeightOp) -> Action:
    run, result, type = _run_of(c), c.slot(op.result), cast(MemRefType, op.result.type)
    dtype, key = dtype_of(type.element_type), op.key.data

    def step(frame: Frame) -> None:
        array = np.ascontiguousarray(run.module.weights.get(key))
        if isinstance(type.layout, NoneAttr):
            frame[result] = run.memory(key, flat(array, dtype, key), type.get_shape())
        elif array.ndim == 1:  # packed by the compiler
            frame[result] = packed_view(Storage(key, run.counters), array, type)
        else:
            frame[result] = packed_view(Storage(key, run.counters), pack(array, _wanted_pack(run, op)), type)

    return step


def _wanted_pack(run: Run, op: WeightOp) -> Pack:
    """How the kernel that takes a weight wants it."""
    for use in op.result.uses:
        if isinstance(use.operation, CallOp):
            buffers = [v for v in use.operation.arguments if isinstance(v.type, MemRefType)]
            taken = [a for a in _signature(run.function(use.operation.kernel, op)) if a.role == "buffer"]
            found = taken[buffers.index(op.result)].pack
            if found is not None:
                return found
    raise InternalError(f"{label(op)}: no kernel says how '{op.key.data}' is packed")


@steps("kernel.buffer")
def _buffer(c: Compiler, op: BufferOp) -> Action:
    run, result, name = _run_of(c), c.slot(op.result), f"buffer {op.number.data}"
    dtype, extents = dtype_of(memref_of(op.result).element_type), op.dims.extents()

    def step(frame: Frame) -> None:
        shape = run.reserved(extents)
        frame[result] = run.memory(name, unwritten(int(np.prod(shape)), dtype), shape)

    return step


@steps("kernel.view")
def _view(c: Compiler, op: ViewOp) -> Action:
    run, base, result, extents = _run_of(c), c.slot(op.base), c.slot(op.result), op.dims.extents()

    def step(frame: Frame) -> None:
        v: View = frame[base]
        shape = run.shape(extents)
        frame[result] = View(v.storage, v.elements, v.offset, shape, row_major(shape))

    return step


@steps("kernel.row")
def _row(c: Compiler, op: RowOp) -> Action:
    run, base, position, result = _run_of(c), c.slot(op.base), c.slot(op.position), c.slot(op.result)
    extents = buffer_shape(op.base)

    def step(frame: Frame) -> None:
        whole: View = frame[base]
        shape = run.shape(extents)
        v = View(whole.storage, whole.elements, whole.offset, shape, row_major(shape))
        start = v.position([frame[position]] + [0] * (len(v.shape) - 1), op) if 0 not in v.shape else v.offset
        frame[result] = View(v.storage, v.elements, start, v.shape[1:], v.strides[1:])

    return step


@steps("kernel.part")
def _part(c: Compiler, op: PartOp) -> Action:
    run, base, result, extents = _run_of(c), c.slot(op.base), c.slot(op.result), op.dims.extents()

    def step(frame: Frame) -> None:
        whole: View = frame[base]
        shape = run.shape(extents)
        frame[result] = View(whole.storage, whole.elements, whole.offset + op.offset.data, shape, row_major(shape))

    return step


@steps("kernel.all_reduce_start", "kernel.all_reduce_wait")
def _all_reduce(c: Compiler, op: AllReduceStartOp | AllReduceWaitOp) -> Action:
    """Of one rank: a sum is what it sums up."""
    return lambda frame: None


@steps("kernel.rank")
def _rank(c: Compiler, op: RankOp) -> Action:
    buffer = c.slot(op.buffer)

    def step(frame: Frame) -> None:
        v: View = frame[buffer]
        v.elements[v.offset] = 0

    return step


@steps("kernel.count")
def _count(c: Compiler, op: CountOp) -> Action:
    run, buffer, symbol = _run_of(c), c.slot(op.buffer), op.symbol.data

    def step(frame: Frame) -> None:
        v: View = frame[buffer]
        run.sizes[symbol] = min(max(0, int(v.elements[v.offset])), run.at(op.most))
        run.counted.add(symbol)
        late = run.most.keys() - run.counted
        require([c for c in run.module.checks if c.needs((symbol,)) and not c.needs(late)], run.sizes)

    return step


# Calls ---------------------------------------------------------------------------------------------------------------
def _signature(function: FuncOp) -> list[Argument]:
    return [Argument(function, number) for number in range(len(function.args))]


@steps("kernel.call")
def _call(c: Compiler, op: CallOp) -> Action:
    run, kernel = _run_of(c), _run_of(c).function(op.kernel, op)
    signature = _signature(kernel)
    buffers = [v for v in op.arguments if isinstance(v.type, MemRefType)]
    indices = c.slots([v for v in op.arguments if not isinstance(v.type, MemRefType)])
    slots, shapes = c.slots(buffers), [_stated(v) for v in buffers]
    kinds = [[a for a in signature if a.role == role] for role in ("buffer", "extent")]
    if [len(buffers), len(indices)] != [len(kind) for kind in kinds]:
        raise InternalError(f"{label(op)}: @{op.kernel} takes {len(kinds[0])} buffers and {len(kinds[1])} extents")
    tiles, scratch = (kernel.attributes.get(f"kernel.{key}") for key in ("tiles", "scratch"))

    def step(frame: Frame) -> None:
        extents = {a.name: frame[slot] for a, slot in zip(kinds[1], indices, strict=True)}
        views = [
            _argument(run, op, a, frame[slot], shape, extents)
            for a, slot, shape in zip(kinds[0], slots, shapes, strict=True)
        ]
        total = evaluated(cast(StringAttr, tiles).data, extents) if tiles is not None else 1
        bytes = evaluated(cast(StringAttr, scratch).data, extents) if scratch is not None else 0
        for begin, end in _ranges(run, views, total, tiles is not None):
            memory = run.memory("scratch", unwritten(bytes, np.dtype(np.int8)), [bytes])
            others = {"scratch": memory, "begin": begin, "end": end}
            left = iter(views)
            arguments = [
                next(left) if a.role == "buffer" else others.get(a.role, extents.get(a.name)) for a in signature
            ]
            thread_blocks.call(run, kernel, arguments, lambda text: evaluated(text, extents), run.races)

    return step


def _ranges(run: Run, views: Sequence[View], tiles: int, tiled: bool) -> Iterator[tuple[int, int]]:
    """All tiles at once; one by one, with a record of who touched what, where races are looked for."""
    if not run.races or not tiles or not tiled:
        yield 0, tiles
        return
    for view in views:
        view.storage.shadows = [Shadow(len(view.elements))]
    for tile in reversed(range(tiles)):
        for view in views:
            view.storage.shadows[0].now = tile
        yield tile, tile + 1
    for view in views:
        view.storage.shadows = []


def _stated(value: SSAValue) -> tuple[Extent, ...] | None:
    """The extents that a memref has by its op: a size that was counted since changes them. Packed weights have none."""
    if isinstance(value.owner, WeightOp):
        return None
    return buffer_shape(value)


def _argument(
    run: Run, op: CallOp, argument: Argument, view: View, shape: Sequence[Extent] | None, extents: dict[str, int]
) -> View:
    """What a kernel sees of a buffer: the extents of its signature must be those of the program."""
    if argument.pack is not None:
        type = cast(MemRefType, argument.type)
        if view.space == "panel":
            return view
        return packed_view(Storage(view.storage.name, run.counters), pack(view.array(), argument.pack), type)
    there = run.shape(shape) if shape is not None else list(view.shape)
    wanted = [evaluated(e, extents) for e in argument.shape] if argument.shape is not None else there
    if wanted != there:
        raise InternalError(
            f"{label(op)}: @{op.kernel} takes {wanted} for '{argument.name}', the program gives {there}"
        )
    if view.offset + int(np.prod(there)) > len(view.elements):
        raise InternalError(f"{label(op)}: '{argument.name}' has {there} elements, more than its memory")
    return View(view.storage, view.elements, view.offset, there, row_major(there))
