"""What is known of a value: the op that makes it, the number that fills it, the axis groups that a reshape keeps together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np
from xdsl.dialects.builtin import StringAttr
from xdsl.ir import Attribute, Block, Operation, SSAValue

from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph.constants import ConstantOp
from mlc.ir.graph.shape import BroadcastOp, ReshapeOp
from mlc.ir.types import Shape

OpT = TypeVar("OpT", bound=Operation)


def made_by(value: SSAValue, kind: type[OpT]) -> OpT | None:
    """The op of this class that makes the value, if it is one."""
    return value.owner if isinstance(value.owner, kind) else None


def number(value: SSAValue) -> float | int | bool | None:
    """The number that every element is, where that is known; None else (also for NaN, which equals nothing)."""
    op = value.owner
    while isinstance(op, BroadcastOp | ReshapeOp):
        op = op.x.owner
    if not isinstance(op, ConstantOp):
        return None
    return _uniform(op.elements, op.result.type)


@lru_cache(maxsize=4096)
def _uniform(elements: StringAttr, type: Attribute) -> float | int | bool | None:
    values = elements.data.split(",")
    if not elements.data or any(v.strip() != values[0].strip() for v in values):
        return None
    text = values[0].strip()
    if text in ("true", "false"):
        return text == "true"
    found = float(text) if any(c in text for c in ".einf") else int(text)
    return None if math.isnan(found) else found


def constant_array(value: SSAValue) -> np.ndarray | None:
    """The elements of a constant that stands in the text, through reshapes."""
    op = value.owner
    while isinstance(op, ReshapeOp):
        op = op.x.owner
    return op.value if isinstance(op, ConstantOp) else None


def behind(value: SSAValue, through: tuple[type[Operation], ...], most: int) -> Iterator[Operation | Block]:
    """What makes a value, looked for through ops of these classes. Where there are more than `most` of them, one of them is among it."""
    waiting = [value]
    while waiting:
        owner = waiting.pop().owner
        if most and isinstance(owner, through):
            most -= 1
            waiting += owner.operands
        else:
            yield owner


class AxisGroup(NamedTuple):
    """Axes of the source and axes of the target with the same elements: (768) and (12, 64), or (N, S) and (N*S)."""

    source: tuple[int, ...]
    target: tuple[int, ...]


def axis_groups(source: Shape, target: Shape) -> list[AxisGroup] | None:
    """The finest groups that a reshape keeps together, in order; an axis of extent 1 may stand alone. None where extents do not tell."""
    if 0 in source or 0 in target:
        return [AxisGroup((a,), (a,)) for a in range(len(source))] if source == target else None
    groups: list[AxisGroup] = []
    i = j = 0
    while i < len(source) or j < len(target):
        if i < len(source) and j < len(target) and source[i] == target[j]:
            groups.append(AxisGroup((i,), (j,)))
            i, j = i + 1, j + 1
        elif i < len(source) and source[i] == 1:
            groups.append(AxisGroup((i,), ()))
            i += 1
        elif j < len(target) and target[j] == 1:
            groups.append(AxisGroup((), (j,)))
            j += 1
        elif i == len(source) or j == len(target):
            return None
        else:
            first = (i, j)
            left, right = source[i], target[j]
            i, j = i + 1, j + 1
            while left != right:
                take_left = _divides(left, right) or j == len(target)
                if take_left and i < len(source):
                    left, i = left * source[i], i + 1
                elif j < len(target):
                    right, j = right * target[j], j + 1
                else:
                    return None
            groups.append(AxisGroup(tuple(range(first[0], i)), tuple(range(first[1], j))))
    return groups


def _divides(a: Extent, b: Extent) -> bool:
    """a is a factor of b, so that more factors on a's side may make them equal."""
    if isinstance(a, int) and isinstance(b, int):
        return a < b
    return dims.exact_quotient(b, a) is not None
