"""How many steps a Loop has whose condition counts: the body is read, not built.

    Loop("", 0 < n, i = 0, n, state)        n steps: the condition that the body gives is i + 1 < n, n stays, i grows by 1
      body(., ., i, n, state) -> (cast(i + 1) < cast(n), i + 1, n, ...)

Exporters of frameworks with while loops write counted loops so. A value is followed through the body as a line a * t + b in the number of
steps done, t; the condition is comparisons of lines, joined by And. Sizes are integers, which casts to floating point leave as they are
(f32 holds those up to 2 ** 24).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto

from mlc.frontends.onnx.node import Node
from mlc.ir import dims
from mlc.ir.dims import Dim, Extent

ENDLESS = 1 << 31  # a trip count from here on is written where no limit is meant
_DEPTH = 32  # nodes between the condition and what it compares
_SAME = ("Identity", "Squeeze", "Unsqueeze", "Reshape")
_WIDE = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64)  # casts to these keep a size


@dataclass(frozen=True)
class Trips:
    """The number of steps: exactly, and at most, as far as sizes say."""

    exact: Extent | None
    most: Extent | None


@dataclass(frozen=True)
class Line:
    """slope * t + start."""

    slope: int
    start: Extent

    def plus(self, other: Line, sign: int = 1) -> Line:
        return Line(self.slope + sign * other.slope, self.start + sign * other.start)


# What must be positive for the loop to go on, as far as it was understood; the flag says whether that is all.
Gaps = tuple[list[Line], bool]


def condition_stays(body: GraphProto) -> bool:
    """Whether the body hands its condition on, or a constant true."""
    name = body.output[0].name
    makers = {output: n for n in body.node for output in n.output}
    while name in makers and makers[name].op_type == "Identity":
        name = makers[name].input[0]
    if name == body.input[1].name:
        return True
    values = {t.name: t for t in body.initializer}
    tensor = values.get(name)
    if tensor is None and name in makers and makers[name].op_type == "Constant":
        tensor = next((a.t for a in makers[name].attribute if a.name == "value"), None)
    return tensor is not None and any(tensor.int32_data or tensor.raw_data)


def trips_of(node: Node, body: GraphProto) -> Trips:
    """Of a Loop node whose body computes its condition; its trip count is not looked at."""
    inside = _Inside(node, body)
    gaps, complete = inside.gaps(body.output[0].name, _DEPTH)
    counts: list[Extent] = []  # of steps after which the condition holds, from the first on
    for gap in gaps:
        if gap.slope < 0:
            counts.append(dims.dmax(0, dims.ceildiv(gap.start, -gap.slope)))
        elif gap.slope > 0 or not isinstance(gap.start, int):
            complete = False
        elif gap.start <= 0:
            counts.append(0)
    if not counts:
        return Trips(None, None)
    most = 1 + dims.dmin(*counts)
    if not complete:
        return Trips(None, most)
    if not node.given(1) or (node.constant(1) is not None and node.number(1, "condition")):
        return Trips(most, most)
    first, understood = _Outside(node).gaps(node.inputs[1], _DEPTH)
    before = [
        Line(0, gap.start - gap.slope) for gap in gaps
    ]  # the condition behind step -1, which the first one must be
    if not understood or _open(first) != _open(before) or any(gap.slope == 0 for gap in gaps):
        return Trips(None, most)
    exact = dims.dmin(*(dims.ceildiv(gap.start - gap.slope, -gap.slope) for gap in gaps))
    return Trips(dims.dmax(0, exact), most)


def _open(gaps: list[Line]) -> set[Extent]:
    """What must be positive, but for numbers that are."""
    return {gap.start for gap in gaps if not isinstance(gap.start, int) or gap.start <= 0}


class _Reader:
    """Reads conditions and lines off nodes."""

    def maker(self, name: str) -> NodeProto | None:
        raise NotImplementedError

    def leaf(self, name: str) -> Line | None:
        """A value that is not followed further."""
        raise NotImplementedError

    def line(self, name: str, depth: int) -> Line | None:
        found = self.leaf(name)
        made = self.maker(name) if found is None and depth else None
        if made is None:
            return found
        if made.op_type in _SAME or _casts_to(made, _WIDE):
            return self.line(made.input[0], depth - 1)
        if made.op_type in ("Add", "Sub"):
            lhs, rhs = (self.line(operand, depth - 1) for operand in made.input)
            if lhs is not None and rhs is not None:
                return lhs.plus(rhs, 1 if made.op_type == "Add" else -1)
        return None

    def gaps(self, name: str, depth: int) -> Gaps:
        made = self.maker(name) if depth else None
        if made is None:
            return [], self.is_true(name)
        if made.op_type in _SAME or _casts_to(made, (TensorProto.BOOL,)):
            return self.gaps(made.input[0], depth - 1)
        if made.op_type == "And":
            (first, a), (second, b) = (self.gaps(operand, depth - 1) for operand in made.input)
            return first + second, a and b
        negated, compared = made.op_type == "Not", made
        if negated:
            compared = self.maker(made.input[0]) or made
        compare = _COMPARISONS.get(compared.op_type)
        if compare is None:
            return [], self.is_true(name)
        lhs, rhs = (self.line(operand, depth - 1) for operand in compared.input)
        if lhs is None or rhs is None:
            return [], False
        gap = compare(lhs, rhs)
        return [Line(0, 1).plus(gap, -1) if negated else gap], True

    def is_true(self, name: str) -> bool:
        return False


def _less(lhs: Line, rhs: Line) -> Line:
    return rhs.plus(lhs, -1)


def _at_most(lhs: Line, rhs: Line) -> Line:
    return rhs.plus(lhs, -1).plus(Line(0, 1))


# What is positive where the comparison of integers holds.
_COMPARISONS: Mapping[str, Callable[[Line, Line], Line]] = {
    "Less": _less,
    "LessOrEqual": _at_most,
    "Greater": lambda lhs, rhs: _less(rhs, lhs),
    "GreaterOrEqual": lambda lhs, rhs: _at_most(rhs, lhs),
}


def _casts_to(made: NodeProto, types: Sequence[int]) -> bool:
    return made.op_type == "Cast" and any(a.name == "to" and a.i in types for a in made.attribute)


class _Outside(_Reader):
    """In front of the loop."""

    def __init__(self, node: Node):
        self.scope = node.scope

    def maker(self, name: str) -> NodeProto | None:
        return self.scope.maker(name)

    def leaf(self, name: str) -> Line | None:
        entries = self.scope.entries(name)
        if entries is None or entries.size != 1:
            return None
        entry = entries.item()
        return Line(0, entry) if isinstance(entry, int | Dim) and not isinstance(entry, bool) else None

    def is_true(self, name: str) -> bool:
        value = self.scope.constant(name)
        return value is not None and value.size == 1 and bool(value.item())


class _Inside(_Reader):
    """In the body, behind step t = 0, 1, ..."""

    def __init__(self, node: Node, body: GraphProto):
        self.node, self.outside = node, _Outside(node)
        self.makers = {output: n for n in body.node for output in n.output}
        self.places = {value.name: number for number, value in enumerate(body.input)}
        self.outputs = [value.name for value in body.output]
        self.own = {t.name: t for t in body.initializer}

    def maker(self, name: str) -> NodeProto | None:
        return self.makers.get(name)

    def leaf(self, name: str) -> Line | None:
        if name in self.places:
            return self._carried(self.places[name])
        if name in self.own:
            return _number(self.node.scope.tensor(self.own[name]).load())
        made = self.makers.get(name)
        if made is None:
            return self.outside.leaf(name)
        if made.op_type == "Constant":
            tensor = next((a.t for a in made.attribute if a.name == "value"), None)
            return None if tensor is None else _number(self.node.scope.tensor(tensor).load())
        return None

    def is_true(self, name: str) -> bool:
        if name in self.places:
            return self.places[name] == 1  # the condition that let the step run
        line = self._fixed(name)
        return line.start != 0 if line is not None and isinstance(line.start, int) else self.outside.is_true(name)

    def _carried(self, place: int) -> Line | None:
        """What a carried value is at the start of step t: it grows by a fixed number in each."""
        if place == 0:
            return Line(1, 0)
        if place == 1 or not self.node.given(place):
            return None
        start, grows = self.outside.leaf(self.node.inputs[place]), self._growth(place)
        return None if start is None or grows is None else Line(grows, start.start)

    def _growth(self, place: int) -> int | None:
        own = next(name for name, number in self.places.items() if number == place)
        name, total = self.outputs[place - 1], 0
        for _ in range(_DEPTH):
            if name == own:
                return total
            made = self.makers.get(name)
            if made is None:
                return None
            if made.op_type == "Identity":
                name = made.input[0]
            elif made.op_type in ("Add", "Sub"):
                lhs, rhs = made.input
                fixed = {operand: line for operand in (lhs, rhs) if (line := self._fixed(operand)) is not None}
                if made.op_type == "Add" and lhs in fixed:
                    lhs, rhs = rhs, lhs
                if rhs not in fixed or lhs in fixed or not isinstance(fixed[rhs].start, int):
                    return None
                total += int(fixed[rhs].start) * (1 if made.op_type == "Add" else -1)  # type: ignore[arg-type]
                name = lhs
            else:
                return None
        return None

    def _fixed(self, name: str) -> Line | None:
        """A number that is the same in every step."""
        return None if name in self.places else self.leaf(name)


def _number(array: np.ndarray) -> Line | None:
    """The one element of a constant, where it is a whole number."""
    value = array.item() if array.size == 1 else None
    if isinstance(value, float):
        return Line(0, int(value)) if value.is_integer() else None
    return Line(0, int(value)) if isinstance(value, int) else None
