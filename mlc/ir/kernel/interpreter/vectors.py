"""Steps of vector: loads and stores of neighbouring elements, masks, and what happens between lanes."""

from __future__ import annotations

from typing import Any

import numpy as np
from xdsl.dialects import vector
from xdsl.dialects.builtin import DYNAMIC_INDEX, VectorType

from mlc.errors import InternalError
from mlc.ir.kernel.interpreter.arith import KINDS, fold
from mlc.ir.kernel.interpreter.engine import Action, Compiler, Frame, steps
from mlc.ir.kernel.interpreter.memory import View, dtype_of, label
from mlc.ir.kernel.vector_ops import DotBytes


@steps("vector.load", "vector.maskedload")
def _vector_load(c: Compiler, op: vector.LoadOp | vector.MaskedLoadOp) -> Action:
    source, at, result = c.slot(op.base), c.slots(op.indices), c.slot(op.results[0])
    lanes = _lanes(op.results[0].type)
    mask, rest = c.slots([op.mask, op.pass_thru]) if isinstance(op, vector.MaskedLoadOp) else (None, 0)
    watched = c.machine.watched

    def step(frame: Frame) -> None:
        v: View = frame[source]
        chosen = None if mask is None else frame[mask]
        valid = lanes if chosen is None else _reach(chosen)
        where = v.run([frame[slot] for slot in at], lanes, valid, op)
        if watched:
            v.storage.read(np.arange(where.start, where.start + valid), valid)
        if chosen is None:
            frame[result] = v.elements[where].copy()
        else:
            found = frame[rest].copy()
            found[:valid][chosen[:valid]] = v.elements[where.start : where.start + valid][chosen[:valid]]
            frame[result] = found

    return step


@steps("vector.store", "vector.maskedstore")
def _vector_store(c: Compiler, op: vector.StoreOp | vector.MaskedStoreOp) -> Action:
    stored = op.value_to_store if isinstance(op, vector.MaskedStoreOp) else op.vector
    value, target, at = c.slot(stored), c.slot(op.base), c.slots(op.indices)
    lanes = _lanes(stored.type)
    mask = c.slot(op.mask) if isinstance(op, vector.MaskedStoreOp) else None
    watched = c.machine.watched

    def step(frame: Frame) -> None:
        v: View = frame[target]
        chosen = None if mask is None else frame[mask]
        valid = lanes if chosen is None else _reach(chosen)
        where = v.run([frame[slot] for slot in at], lanes, valid, op)
        if watched:
            v.storage.wrote(np.arange(where.start, where.start + valid), valid)
        if chosen is None:
            v.elements[where] = frame[value]
        else:
            v.elements[where.start : where.start + valid][chosen[:valid]] = frame[value][:valid][chosen[:valid]]

    return step


def _lanes(type: object) -> int:
    assert isinstance(type, VectorType)
    (lanes,) = type.get_shape()
    return lanes


def _reach(mask: np.ndarray) -> int:
    """How many lanes from the first to the last that counts."""
    chosen = np.flatnonzero(mask)
    return int(chosen[-1]) + 1 if chosen.size else 0


# Between lanes -------------------------------------------------------------------------------------------------------
@steps("vector.broadcast")
def _broadcast(c: Compiler, op: vector.BroadcastOp) -> Action:
    type = op.vector.type
    assert isinstance(type, VectorType)
    dtype, shape = dtype_of(type.element_type), type.get_shape()
    return c.computed(op, lambda x: np.full(shape, x, dtype))


@steps("vector.create_mask")
def _mask(c: Compiler, op: vector.CreateMaskOp) -> Action:
    lanes = np.arange(_lanes(op.mask_vector.type))
    return c.computed(op, lambda count: lanes < count)


@steps("vector.extract")
def _extract(c: Compiler, op: vector.ExtractOp) -> Action:
    source, result = c.slot(op.vector), c.slot(op.result)
    at = c.mixed(op.dynamic_position, op.static_position.get_values(), DYNAMIC_INDEX)

    def step(frame: Frame) -> None:
        frame[result] = frame[source][tuple(at(frame))]

    return step


@steps("vector.insert")
def _insert(c: Compiler, op: vector.InsertOp) -> Action:
    source, into, result = c.slot(op.source), c.slot(op.dest), c.slot(op.result)
    at = c.mixed(op.dynamic_position, op.static_position.get_values(), DYNAMIC_INDEX)

    def step(frame: Frame) -> None:
        found = frame[into].copy()
        found[tuple(at(frame))] = frame[source]
        frame[result] = found

    return step


@steps("vector.shuffle")
def _shuffle(c: Compiler, op: vector.ShuffleOp) -> Action:
    order = np.array(op.mask.get_values())
    return c.computed(op, lambda x, y: np.concatenate([x, y])[order])


@steps("vector.reduction")
def _reduction(c: Compiler, op: vector.ReductionOp) -> Action:
    kind = op.kind.data.value
    if kind not in KINDS:
        raise InternalError(f"the interpreter does not run {label(op)} {kind}")
    combine = KINDS[kind]
    if op.acc is None:
        return c.computed(op, lambda x: fold(combine, x, 0))
    return c.computed(op, lambda x, start: combine(fold(combine, x, 0), start))


@steps("vector.dot_bytes")
def _dot_bytes(c: Compiler, op: DotBytes) -> Action:
    def dot(x: np.ndarray, y: np.ndarray, acc: np.ndarray) -> np.ndarray:
        products = x.view(np.uint8).astype(np.int32) * y.view(np.int8).astype(np.int32)
        return acc + products.reshape(-1, 4).sum(1, np.int32)

    return c.computed(op, dot)


@steps("arith.select")
def _select(c: Compiler, op: Any) -> Action:
    if isinstance(op.cond.type, VectorType):
        return c.computed(op, np.where)
    return c.computed(op, lambda condition, x, y: x if condition else y)
