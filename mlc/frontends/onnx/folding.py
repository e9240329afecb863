"""Evaluate ops on constants while importing, where their result decides a shape; erase ops that nothing uses."""

from __future__ import annotations

from collections.abc import MutableMapping
from math import prod

import numpy as np
from xdsl.ir import Block, Operation, OpResult, SSAValue
from xdsl.traits import is_side_effect_free

from mlc.errors import ShapeError
from mlc.ir.dims import Dim, Extent
from mlc.ir.graph.base import GraphOp
from mlc.ir.graph.constants import WeightOp
from mlc.ir.types import extent, shape_of
from mlc.ir.weights import WeightStore

Values = MutableMapping[SSAValue, np.ndarray]
LARGEST = 1 << 24  # elements of a result on the way to a shape; more is a mistake or an attack, not shape arithmetic
TOTAL = 1 << 25  # elements of all results that one import keeps
MOST_WORK = 1 << 28  # operations of one op


class Folded(dict[SSAValue, np.ndarray]):
    """Results by value, and how many more elements may be kept."""

    def __init__(self) -> None:
        super().__init__()
        self.room = TOTAL


class _Unknown(Exception):
    """The value depends on an argument or on a symbolic extent, or is too large."""


def constant_value(value: SSAValue, weights: WeightStore, values: Values) -> np.ndarray | None:
    """The contents of a value that depends on constants alone, else None. `values` holds results by value and is extended."""
    pending = [value]
    try:
        while pending:
            current = pending[-1]
            if current in values:
                pending.pop()
                continue
            if not isinstance(current, OpResult):
                return None
            missing = [operand for operand in current.op.operands if operand not in values]
            if missing:
                pending.extend(missing)
                continue
            _evaluate(current.op, weights, values)
    except _Unknown:
        return None
    return values[value]


def _number(size: Extent | str) -> int:
    size = extent(size)
    if isinstance(size, Dim):
        raise _Unknown
    return size


def _evaluate(op: Operation, weights: WeightStore, values: Values) -> None:
    if isinstance(op, WeightOp):
        values[op.result] = weights.get(op.weight_key)
        weights.look_at([op.weight_key])
        return
    if not isinstance(op, GraphOp) or op.regions:
        raise _Unknown
    size = sum(prod(_number(e) for e in shape_of(result)) for result in op.results)
    if size > LARGEST or _number(op.flops) > MOST_WORK:
        raise _Unknown
    if isinstance(values, Folded):
        if size > values.room:
            raise _Unknown
        values.room -= size
    try:
        with np.errstate(all="ignore"):
            results = op.evaluate(_number, *(values[operand] for operand in op.operands))
    except ShapeError as error:  # gathering from nothing
        raise _Unknown from error
    for result, array in zip(op.results, results if isinstance(results, tuple) else (results,), strict=True):
        values[result] = np.asarray(array)


def erase_unused(block: Block) -> None:
    """Erase ops without side effects whose results nothing uses, from the end to the beginning."""
    for op in reversed(list(block.ops)):
        if op.results and not any(result.uses for result in op.results) and is_side_effect_free(op):
            op.detach()
            op.erase()
