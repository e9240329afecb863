"""Steps of memref: allocations, views that share memory, single elements."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from xdsl.dialects import memref
from xdsl.dialects.builtin import DYNAMIC_INDEX, DenseIntOrFPElementsAttr, IndexType, MemRefType
from xdsl.ir import Operation

from mlc.errors import InternalError
from mlc.ir.kernel.interpreter.engine import Action, Compiler, Frame, steps
from mlc.ir.kernel.interpreter.memory import View, allocated, dtype_of, label, row_major, space_of
from mlc.ir.kernel.prefetch import PrefetchOp


@steps("memref.alloc", "memref.alloca")
def _alloc(c: Compiler, op: memref.AllocOp) -> Action:
    type, result = op.memref.type, c.slot(op.memref)
    assert isinstance(type, MemRefType)
    sizes = c.mixed(op.dynamic_sizes, type.get_shape(), DYNAMIC_INDEX)
    name, counters = op.memref.name_hint or "memory", c.machine.counters
    values = op.attributes.get("constant")

    def step(frame: Frame) -> None:
        view = allocated(name, type, sizes(frame), counters)
        if values is not None:
            assert isinstance(values, DenseIntOrFPElementsAttr)
            view.array()[...] = np.array(list(values.get_values())).reshape(view.shape)
        frame[result] = view

    return step


@steps("memref.dealloc", "memref.assume_alignment")
def _nothing(c: Compiler, op: Operation) -> Action:
    return _renamed(c, op) if op.results else lambda frame: None


@steps("memref.cast", "memref.memory_space_cast")
def _renamed(c: Compiler, op: Operation) -> Action:
    source, result = c.slot(op.operands[0]), c.slot(op.results[0])
    space = space_of(op.results[0].type)  # type: ignore[arg-type]

    def step(frame: Frame) -> None:
        v: View = frame[source]
        frame[result] = View(v.storage, v.elements, v.offset, v.shape, v.strides, space, v.depth)

    return step


@steps("memref.subview")
def _subview(c: Compiler, op: memref.SubviewOp) -> Action:
    source, result = c.slot(op.source), c.slot(op.result)
    offsets = c.mixed(op.offsets, op.static_offsets.get_values(), DYNAMIC_INDEX)
    sizes = c.mixed(op.sizes, op.static_sizes.get_values(), DYNAMIC_INDEX)
    by = c.mixed(op.strides, op.static_strides.get_values(), DYNAMIC_INDEX)
    type = op.result.type
    assert isinstance(type, MemRefType)
    shape, static_strides = type.get_shape(), type.get_strides()
    kept = _kept(op, shape)
    counters, here = c.machine.counters, [None]

    def step(frame: Frame) -> None:
        base: View = frame[source]
        view = base.subview(offsets(frame), sizes(frame), by(frame), op)
        if counters is not None:
            place = (view.storage, view.offset, view.shape)
            if here[0] != place:
                here[0] = place  # type: ignore[call-overload]
                counters.moved[view.storage.name, view.depth] += int(np.prod(view.shape))
        if kept is not None:
            view.shape = tuple(view.shape[axis] for axis in kept)
            view.strides = tuple(view.strides[axis] for axis in kept)
        _agree(op, view, shape, static_strides)
        frame[result] = view

    return step


def _kept(op: memref.SubviewOp, shape: tuple[int, ...]) -> list[int] | None:
    """The axes of a subview that its result keeps: it may drop axes of extent 1."""
    sizes = op.static_sizes.get_values()
    if len(sizes) == len(shape):
        return None
    kept: list[int] = []
    wanted = list(shape)
    for axis, size in enumerate(sizes):
        left = len(sizes) - axis
        if wanted and (size == wanted[0]) and (size != 1 or len(wanted) == left):
            kept.append(axis)
            wanted.pop(0)
        elif size != 1:
            raise InternalError(f"{label(op)}: axis {axis} has the extent {size} and is dropped")
    return kept


def _agree(op: Operation, view: View, shape: tuple[int, ...], strides: Any) -> None:
    """What the type states must be what is there."""
    wrong_shape = any(n not in (DYNAMIC_INDEX, m) for n, m in zip(shape, view.shape, strict=True))
    if wrong_shape or (strides and any(s not in (None, t) for s, t in zip(strides, view.strides, strict=True))):
        raise InternalError(
            f"{label(op)}: extents {list(view.shape)}, strides {list(view.strides)} are not {op.results[0].type}"
        )


@steps("memref.reinterpret_cast")
def _reinterpret(c: Compiler, op: memref.ReinterpretCastOp) -> Action:
    source, result = c.slot(op.source), c.slot(op.result)
    offsets = c.mixed(op.offsets, op.static_offsets.get_values(), DYNAMIC_INDEX)
    sizes = c.mixed(op.sizes, op.static_sizes.get_values(), DYNAMIC_INDEX)
    strides = c.mixed(op.strides, op.static_strides.get_values(), DYNAMIC_INDEX)

    def step(frame: Frame) -> None:
        v: View = frame[source]
        # the offset counts from the allocation, not from the view
        frame[result] = View(v.storage, v.elements, offsets(frame)[0], sizes(frame), strides(frame), v.space, v.depth)

    return step


@steps("memref.view")
def _retyped(c: Compiler, op: memref.ViewOp) -> Action:
    source, shift, result = c.slot(op.source), c.slot(op.byte_shift), c.slot(op.result)
    type = op.result.type
    assert isinstance(type, MemRefType)
    sizes = c.mixed(op.sizes, type.get_shape(), DYNAMIC_INDEX)
    dtype, strides = dtype_of(type.element_type), type.get_strides()

    def step(frame: Frame) -> None:
        v: View = frame[source]
        start, shape = v.offset + frame[shift], sizes(frame)
        stated = [s for s in strides or () if s is not None]
        by = stated if len(stated) == len(shape) else row_major(shape)
        bytes = v.elements[start : start + (len(v.elements) - start) // dtype.itemsize * dtype.itemsize]
        needed = 1 + sum((n - 1) * s for n, s in zip(shape, by, strict=True)) if 0 not in shape else 0
        if start < 0 or needed * dtype.itemsize > bytes.size:
            raise InternalError(
                f"{label(op)}: bytes {start} on, {needed * dtype.itemsize} of them, of {len(v.elements)}"
            )
        frame[result] = View(v.storage, bytes.view(dtype), 0, shape, by, space_of(type), v.depth)

    return step


@steps("memref.collapse_shape")
def _collapsed(c: Compiler, op: memref.CollapseShapeOp) -> Action:
    source, result = c.slot(op.src), c.slot(op.result)

    def step(frame: Frame) -> None:
        v: View = frame[source]
        sizes, strides = [], []
        for group in _groups(op):
            extent = stride = 1
            for axis in reversed(group):
                n, s = v.shape[axis], v.strides[axis]
                if n != 1 and extent not in (0, 1) and s != stride * extent:
                    raise InternalError(f"{label(op)}: axes {group} of strides {list(v.strides)} are not one axis")
                stride = s if extent == 1 else stride
                extent *= n
            sizes.append(extent)
            strides.append(stride)
        frame[result] = View(v.storage, v.elements, v.offset, sizes, strides, v.space, v.depth)

    return step


@steps("memref.expand_shape")
def _expanded(c: Compiler, op: memref.ExpandShapeOp) -> Action:
    source, result = c.slot(op.src), c.slot(op.result)
    shape = c.mixed(op.output_shape, op.static_output_shape.get_values(), DYNAMIC_INDEX)

    def step(frame: Frame) -> None:
        v: View = frame[source]
        sizes = shape(frame)
        strides = [0] * len(sizes)
        for group, extent, stride in zip(_groups(op), v.shape, v.strides, strict=True):
            if prod(sizes[axis] for axis in group) != extent:
                raise InternalError(f"{label(op)}: {extent} elements are not {[sizes[axis] for axis in group]}")
            for axis in reversed(group):
                strides[axis] = stride
                stride *= sizes[axis]
        frame[result] = View(v.storage, v.elements, v.offset, sizes, strides, v.space, v.depth)

    return step


def _groups(op: memref.CollapseShapeOp | memref.ExpandShapeOp) -> list[list[int]]:
    """The axes of the longer shape that each axis of the shorter one is made of."""
    return [[axis.value.data for axis in group.data] for group in op.reassociation.data]


@steps("memref.dim")
def _dim(c: Compiler, op: memref.DimOp) -> Action:
    source, axis, result = c.slot(op.source), c.slot(op.index), c.slot(op.result)

    def step(frame: Frame) -> None:
        frame[result] = frame[source].shape[frame[axis]]

    return step


# Single elements and copies -----------------------------------------------------------------------------------------
@steps("memref.load")
def _load(c: Compiler, op: memref.LoadOp) -> Action:
    source, at, result = c.slot(op.memref), c.slots(op.indices), c.slot(op.res)
    index = isinstance(op.res.type, IndexType)
    watched = c.machine.watched

    def step(frame: Frame) -> None:
        v: View = frame[source]
        position = v.position([frame[slot] for slot in at], op)
        if watched:
            v.storage.read(position, 1)
        value = v.elements[position]
        frame[result] = int(value) if index else value

    return step


@steps("memref.prefetch")
def _prefetch(c: Compiler, op: PrefetchOp) -> Action:
    """Nothing happens; the element must be there."""
    source, at = c.slot(op.memref), c.slots(op.indices)

    def step(frame: Frame) -> None:
        view: View = frame[source]
        view.position([frame[slot] for slot in at], op)

    return step


@steps("memref.store")
def _store(c: Compiler, op: memref.StoreOp) -> Action:
    value, target, at = c.slot(op.value), c.slot(op.memref), c.slots(op.indices)
    watched = c.machine.watched

    def step(frame: Frame) -> None:
        v: View = frame[target]
        position = v.position([frame[slot] for slot in at], op)
        if watched:
            v.storage.wrote(position, 1)
        v.elements[position] = frame[value]

    return step


@steps("memref.copy")
def _copy(c: Compiler, op: memref.CopyOp) -> Action:
    source, target = c.slots(op.operands)

    def step(frame: Frame) -> None:
        x, y = frame[source], frame[target]
        if x.shape != y.shape:
            raise InternalError(f"{label(op)}: {list(x.shape)} is copied to {list(y.shape)}")
        if c.machine.watched:
            x.touched("read")
            y.touched("wrote")
        y.array()[...] = x.array().copy()

    return step
