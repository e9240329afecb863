"""One kernel on NumPy arrays: its arguments from its signature, all of its tiles or some."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from xdsl.dialects.builtin import DYNAMIC_INDEX, ArrayAttr, DictionaryAttr, MemRefType, ModuleOp, NoneAttr, StringAttr
from xdsl.dialects.func import FuncOp

from mlc.errors import ShapeError
from mlc.ir import dims
from mlc.ir.kernel.interpreter import asynchronous, memref, scf, structured, thread_blocks, vectors, warps  # noqa: F401  their steps register themselves
from mlc.ir.kernel.interpreter.engine import Machine
from mlc.ir.kernel.interpreter.memory import (
    Counters,
    Shadow,
    Storage,
    View,
    dtype_of,
    flat,
    row_major,
    space_of,
    unwritten,
)
from mlc.ir.kernel.kernel import Kernel
from mlc.ir.kernel.pack import Pack, pack


def run_kernel(
    kernel: Kernel | FuncOp,
    buffers: Mapping[str, np.ndarray] | Sequence[np.ndarray],
    extents: Mapping[str, int] | None = None,
    *,
    tiles: Iterable[tuple[int, int]] | None = None,
    counters: Counters | None = None,
    races: bool = False,
) -> None:
    """Run a kernel; what it writes is in the arrays afterwards.

    buffers   by name, or in order; a weight as it is stored, it is packed here where the kernel wants panels
    extents   the index arguments by name; those that are the extent of an axis may be left out
    tiles     ranges [begin, end) to run, in this order; all of them if not given
    counters  counts the elements that are read and written
    races     run each tile by itself, last to first, and find elements that two tiles touch where one writes; on a grid so with its blocks,
              and with the threads of a block between barriers

    A function without a signature takes its arguments by the names of its values. Raises ShapeError where an array is not what an argument
    takes, InternalError where the kernel does what it must not.
    """
    if isinstance(kernel, Kernel):
        kernel.finish()
        functions = {f.sym_name.data: f for f in kernel.functions()}
        kernel = kernel.op
    else:
        functions = _neighbours(kernel)
    arguments = Arguments(kernel, buffers, dict(extents or {}), counters)
    machine = Machine(functions, counters, watched=races)
    with np.errstate(all="ignore"):
        if not arguments.tiled:
            thread_blocks.call(machine, kernel, arguments.values(None), arguments.evaluate, races)
            return
        total = arguments.tile_count()
        ranges = list(tiles) if tiles is not None else [(0, total)]
        if races:
            arguments.watch()
            ranges = [(tile, tile + 1) for begin, end in ranges for tile in range(begin, end)][::-1] or ranges
        for begin, end in ranges:
            if not 0 <= begin <= end <= total:
                raise ShapeError(f"kernel '{kernel.sym_name.data}' has {total} tiles, not {begin} to {end}")
            arguments.tile(begin)
            machine.call(kernel, arguments.values((begin, end)))


class Arguments:
    """What a kernel's function is called with."""

    def __init__(
        self,
        function: FuncOp,
        buffers: Mapping[str, np.ndarray] | Sequence[np.ndarray],
        extents: dict[str, int],
        counters: Counters | None,
    ):
        self.function, self.counters = function, counters
        self.signature = [Argument(function, number) for number in range(len(function.args))]
        self.tiled = any(a.role == "begin" for a in self.signature)
        named = [a for a in self.signature if a.role == "buffer"]
        if not isinstance(buffers, Mapping):
            if len(buffers) != len(named):
                raise ShapeError(f"kernel '{self.name}' takes {len(named)} buffers, {len(buffers)} were given")
            buffers = dict(zip([a.name for a in named], buffers, strict=True))
        for a in named:
            if a.name not in buffers:
                raise ShapeError(f"kernel '{self.name}' takes a buffer '{a.name}'")
            a.find_extents(buffers[a.name], extents)
        self.extents = extents
        self.views = {a.name: a.view(buffers[a.name], extents, counters) for a in named}

    @property
    def name(self) -> str:
        return self.function.sym_name.data

    def tile_count(self) -> int:
        return self._evaluate("tiles")

    def evaluate(self, text: str) -> int:
        return evaluated(text, self.extents)

    def _evaluate(self, what: str) -> int:
        attr = self.function.attributes.get(f"kernel.{what}")
        return self.evaluate(attr.data) if isinstance(attr, StringAttr) else 0

    def watch(self) -> None:
        for view in self.views.values():
            view.storage.shadows = [Shadow(len(view.elements))]

    def tile(self, number: int) -> None:
        for view in self.views.values():
            for shadow in view.storage.shadows:
                shadow.now = number

    def values(self, tiles: tuple[int, int] | None) -> list[Any]:
        """In the order of the signature; scratch memory is new for each call."""
        found: list[Any] = []
        for a in self.signature:
            match a.role:
                case "buffer":
                    found.append(self.views[a.name])
                case "scratch":
                    bytes = unwritten(self._evaluate("scratch"), np.dtype(np.int8))
                    found.append(View(Storage("scratch", self.counters), bytes, 0, [len(bytes)], [1]))
                case "begin" | "end":
                    assert tiles is not None
                    found.append(tiles[a.role == "end"])
                case _:
                    if a.name not in self.extents:
                        raise ShapeError(f"kernel '{self.name}' takes the extent '{a.name}'")
                    found.append(int(self.extents[a.name]))
        return found


class Argument:
    """What a kernel's signature says about one argument."""

    def __init__(self, function: FuncOp, number: int):
        attrs = function.arg_attrs.data[number] if function.arg_attrs is not None else DictionaryAttr({})
        value = function.args[number]
        self.type = value.type
        role, name = _text(attrs, "role"), _text(attrs, "name")
        self.name = name or value.name_hint or f"arg{number}"
        self.role = "buffer" if isinstance(self.type, MemRefType) and role != "scratch" else role or "extent"
        shape = attrs.data.get("kernel.shape")
        self.shape = [e.data for e in shape.data] if isinstance(shape, ArrayAttr) else None
        packed = attrs.data.get("kernel.pack")
        self.pack = Pack.from_attr(packed) if isinstance(packed, DictionaryAttr) else None

    def find_extents(self, array: np.ndarray, extents: dict[str, int]) -> None:
        """An extent that is one axis of a buffer need not be given."""
        if self.shape is None or self.pack is not None or len(self.shape) != array.ndim:
            return
        for text, size in zip(self.shape, array.shape, strict=True):
            if text.isidentifier():
                extents.setdefault(text, size)

    def view(self, array: np.ndarray, extents: Mapping[str, int], counters: Counters | None) -> View:
        assert isinstance(self.type, MemRefType)
        storage, dtype = Storage(self.name, counters), dtype_of(self.type.element_type)
        if self.pack is not None:
            return packed_view(storage, pack(array, self.pack), self.type)
        shape = self.type.get_shape()
        if DYNAMIC_INDEX in shape:
            shape = tuple(evaluated(e, extents) for e in self.shape) if self.shape is not None else array.shape
        if array.shape != shape:
            if array.size != int(np.prod(shape)) or not array.flags.c_contiguous:
                raise ShapeError(
                    f"buffer '{self.name}' has the extents {list(array.shape)}, the kernel takes {list(shape)}"
                )
            array = array.reshape(shape)
        strides = [s // array.itemsize for s in array.strides]
        stated = row_major(shape) if isinstance(self.type.layout, NoneAttr) else self.type.get_strides() or []
        wrong = [s is not None and n > 1 and s != t for s, t, n in zip(stated, strides, shape, strict=True)]
        if any(wrong) and array.size:
            raise ShapeError(
                f"buffer '{self.name}' has the strides {strides} in elements, the kernel takes {list(stated)}"
            )
        strides = [t if s is None else s for s, t in zip(stated, strides, strict=True)]
        if array.dtype.itemsize != dtype.itemsize:
            raise ShapeError(f"buffer '{self.name}' holds {array.dtype}, the kernel takes {self.type.element_type}")
        return View(storage, flat(array, dtype, self.name), 0, shape, strides, space_of(self.type))


def packed_view(storage: Storage, elements: np.ndarray, type: MemRefType) -> View:
    strides = [s for s in type.get_strides() or () if s is not None]
    return View(storage, elements.view(dtype_of(type.element_type)), 0, type.get_shape(), strides, space_of(type))


def evaluated(text: str, extents: Mapping[str, int]) -> int:
    found = dims.parse(text)
    missing = [] if isinstance(found, int) else [name for name in sorted(found.symbols()) if name not in extents]
    if missing:
        raise ShapeError(f"the extent '{missing[0]}' is not given")
    return dims.evaluate(found, extents)


def _neighbours(function: FuncOp) -> dict[str, FuncOp]:
    """The functions of the module that a function stands in."""
    module = function.parent_op()
    ops = module.ops if isinstance(module, ModuleOp) else [function]
    return {op.sym_name.data: op for op in ops if isinstance(op, FuncOp)}


def _text(attrs: DictionaryAttr, key: str) -> str:
    attr = attrs.data.get(f"kernel.{key}")
    return attr.data if isinstance(attr, StringAttr) else ""
