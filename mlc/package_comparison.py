"""Two executables on the same inputs, as two packages hold them: versions of mlc, sets of options, CPUs. Names the first kernel that differs.

What a kernel leaves in memory is seen by running both once more with memory of its own for every buffer. Such a value belongs to a result
of the fused graph in the package, by the nodes that the kernel computes, and two of them are the same value where the same node gives
them and the interpreter finds the same numbers in both graphs. The graphs also tell which of two that differ is wrong.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from xdsl.ir import Operation, SSAValue

from mlc.errors import MlcError
from mlc.ir.graph.base import location_name
from mlc.ir.graph.control import GroupOp
from mlc.ir.graph.evaluation import observing
from mlc.ir.graph.shape import ReshapeOp
from mlc.ir.interpreter import run, unshared
from mlc.ir.module import Module
from mlc.numeric import Difference, compare_arrays, compare_outputs, largest

if TYPE_CHECKING:
    from mlc.ir.kernel.plan import Plan
    from mlc.runtime.executable import Executable


@dataclass(frozen=True)
class Side:
    """An executable under the name that the user knows, and the module it carries, with its weights."""

    name: str
    executable: Executable
    module: Module


@dataclass(frozen=True)
class FirstDifference:
    """The first that differs: the node that gives it, all that the kernel of each side computes, the numbers, and what the graphs say of them."""

    node: str
    nodes: tuple[tuple[str, ...], tuple[str, ...]]
    kernels: tuple[str, str]
    error: float
    tolerance: float
    text: str
    verdict: str


@dataclass(frozen=True)
class PackageComparison:
    """Of two executables: the largest difference of their outputs, and the first step that differs where these do."""

    error: float
    agrees: bool
    outputs: tuple[Difference, ...]
    first: FirstDifference | None = None
    values: int = 0  # intermediate results that both have


def compare_executables(
    old: Side, new: Side, feeds: Mapping[str, np.ndarray], rtol: float | None = None, atol: float | None = None
) -> PackageComparison:
    """The outputs of `new` against those of `old`. Raises MlcError where they do not have the same inputs and outputs, by name."""
    _require_same("input", old, new, old.module.input_names, new.module.input_names)
    _require_same("output", old, new, old.module.output_names, new.module.output_names)
    names = old.module.output_names
    results = [
        _in_order(side, names, side.executable.run(None, side.executable.unshared(feeds))) for side in (old, new)
    ]
    differences = tuple(compare_outputs(names, results[1], results[0], rtol, atol))
    error, agrees = largest(differences), all(d.agrees for d in differences)
    if agrees:
        return PackageComparison(error, agrees, differences)
    looks = [_look(side, feeds) for side in (old, new)]
    search = _Search((old.name, new.name), looks, rtol, atol)
    shared = (search.memory(side, result, names) for side, result in enumerate(results))
    worst = max((d for d in differences if not d.agrees), key=lambda d: d.error)
    first = next((step for step in shared if step), None) or search.kernel() or search.graph() or _output(worst)
    return PackageComparison(error, agrees, differences, first, search.common)


def _require_same(what: str, old: Side, new: Side, mine: Sequence[str], others: Sequence[str]) -> None:
    for one, other, names in ((old, new, set(mine) - set(others)), (new, old, set(others) - set(mine))):
        if names:
            raise MlcError(
                f"{one.name} has the {what} '{min(names)}', {other.name} has not",
                remedy="Packages that are compared are compiled from one model.",
            )


def _in_order(side: Side, names: Sequence[str], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    by_name = dict(zip(side.module.output_names, arrays, strict=True))
    return [by_name[name] for name in names]


def _output(worst: Difference) -> FirstDifference:
    return FirstDifference(
        "", ((), ()), ("", ""), worst.error, worst.tolerance, f"output '{worst.name}' {worst.text}", ""
    )


# What a call leaves in memory ----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Value:
    """A result of the fused graph that is in memory: the node that gives it, and its numbers by the interpreter and by native code."""

    name: str
    nodes: tuple[str, ...]
    kernel: str
    step: int
    graph: np.ndarray
    native: np.ndarray


@dataclass(frozen=True)
class _Look:
    values: list[_Value]  # in the order in which the plan computes them
    outputs: dict[str, np.ndarray]  # with no memory shared


@dataclass(frozen=True)
class _Result:
    name: str
    array: np.ndarray


def _look(side: Side, feeds: Mapping[str, np.ndarray]) -> _Look:
    plan = side.executable.plan
    outputs, buffers = side.executable.run_apart(feeds)
    results, returned = _results(side.module, [feeds[name] for name in side.module.input_names])
    calls: dict[tuple[str, ...], list[int]] = defaultdict(list)  # steps by their nodes, in order
    for number, step in enumerate(plan.steps):
        calls[step.source].append(number)
    results_of: list[list[_Result]] = []  # by step
    for number, step in enumerate(plan.steps):
        groups, alike = results.get(step.source, []), calls[step.source]
        if len(groups) == len(alike):  # one call for each group
            groups = [groups[alike.index(number)]]
        results_of.append([result for group in groups for result in group])
    values = _contents(plan, buffers, results_of)
    by_name = dict(zip(side.module.output_names, outputs, strict=True))
    for name, (nodes, given) in zip(side.module.output_names, returned, strict=True):
        native = by_name[name]
        if given is not None and nodes in calls and given.array.size == native.size:
            number = calls[nodes][-1]
            graph = given.array.reshape(native.shape)
            values.append(_Value(given.name, nodes, plan.steps[number].kernel, number, graph, native))
    return _Look(sorted(values, key=lambda value: value.step), by_name)


def _contents(plan: Plan, buffers: Sequence[np.ndarray], given: Sequence[Sequence[_Result]]) -> list[_Value]:
    """What the buffers hold after a call, of the results that each step gives: one of the buffer's length that a step of its life writes.

    Those whose numbers agree are taken first, then what its first step writes. A loop runs all its steps at one moment and writes over
    what was there before it, so that the rest of a buffer that lives through one is written in it.
    """
    moments = Counter(step.at for step in plan.steps)
    found = []
    for place, (life, content) in enumerate(zip(plan.buffers, buffers, strict=True)):
        loops = {at for at, count in moments.items() if count > 1 and life.first < at <= life.last}
        for number, step in enumerate(plan.steps):
            if not life.first <= step.at <= life.last:
                continue
            for result in given[number]:
                if result.array.nbytes != content.nbytes or not content.nbytes:
                    continue
                native = content.view(result.array.dtype).reshape(result.array.shape)
                difference = compare_arrays("", native, result.array)
                if difference.agrees or not loops or step.at in loops:
                    key = (not difference.agrees, step.at != life.first, difference.error, place, number)
                    found.append((key, place, number, result, native))
    values: dict[int, _Value] = {}
    taken: set[tuple[int, int]] = set()
    for _, place, number, result, native in sorted(found, key=lambda row: row[0]):
        if place not in values and (number, id(result)) not in taken:
            step = plan.steps[number]
            values[place] = _Value(result.name, step.source, step.kernel, number, result.array, native)
            taken.add((number, id(result)))
    return list(values.values())


_Results = dict[tuple[str, ...], list[list[_Result]]]


def _results(module: Module, inputs: list[np.ndarray]) -> tuple[_Results, list[tuple[tuple[str, ...], _Result | None]]]:
    """What the groups give, by the nodes they compute and in order; and for each output the group that gives it, or nothing."""
    latest: dict[Operation, list[_Result]] = {}  # of a group in a loop the last turn, whose numbers stay in memory

    def observe(op: Operation, arrays: tuple[np.ndarray, ...]) -> None:
        if isinstance(op, GroupOp):
            given = op.body.block.last_op
            assert given is not None
            names = [_name(value) for value in given.operands]
            latest[op] = [_Result(*row) for row in zip(names, arrays, strict=True)]

    with observing(observe):
        run(module, unshared(module, inputs), observe)
    found: _Results = {}
    for op in module.main.walk():
        if isinstance(op, GroupOp) and op in latest:
            found.setdefault(op.sources, []).append(latest[op])
    last = module.main.body.block.last_op
    assert last is not None
    return found, [_maker(value, latest) for value in last.operands]


def _name(value: SSAValue) -> str:
    return location_name(value.owner) or "" if isinstance(value.owner, Operation) else ""


def _maker(value: SSAValue, results: Mapping[Operation, list[_Result]]) -> tuple[tuple[str, ...], _Result | None]:
    while isinstance(value.owner, ReshapeOp):
        value = value.owner.operands[0]
    group = value.owner
    if not isinstance(group, GroupOp) or group not in results:
        return (), None
    return group.sources, results[group][group.results.index(value)]


# Which differs -------------------------------------------------------------------------------------------------------
class _Search:
    def __init__(self, names: tuple[str, str], looks: Sequence[_Look], rtol: float | None, atol: float | None):
        self.names, self.looks, self.rtol, self.atol = names, looks, rtol, atol
        self.common = sum(1 for _ in self._pairs())

    def _compare(self, got: np.ndarray, want: np.ndarray) -> Difference:
        return compare_arrays("", got.reshape(want.shape), want, self.rtol, self.atol)

    def memory(self, side: int, outputs: Sequence[np.ndarray], names: Sequence[str]) -> FirstDifference | None:
        """Outputs that change when every buffer has memory of its own: two buffers lie over each other while both are in use."""
        apart = [self.looks[side].outputs[name] for name in names]
        wrong = [d for d in compare_outputs(names, outputs, apart, self.rtol, self.atol) if not d.agrees]
        if not wrong:
            return None
        text = f"output '{wrong[0].name}' {wrong[0].text}"
        verdict = f"{self.names[side]} gives other numbers when no two of its buffers share memory, and these are the reference here"
        return FirstDifference("", ((), ()), ("", ""), wrong[0].error, wrong[0].tolerance, text, verdict)

    def kernel(self) -> FirstDifference | None:
        """The first value whose numbers differ where the graphs agree about them. Where neither is what its graph says, something may have
        been written over it: such values come last."""
        unclear = None
        for value, others in self._pairs():
            found = [(self._compare(other.native, value.native), other) for other in others]
            if not any(difference.agrees for difference, _ in found):
                difference, other = min(found, key=lambda row: row[0].error)
                if any(self._compare(v.native, v.graph).agrees for v in (value, other)):
                    return self._step(difference, value, other)
                unclear = unclear or self._step(difference, value, other)
        return unclear

    def graph(self) -> FirstDifference | None:
        """The first value about which the graphs differ, of nodes that give the same number of values in both."""
        mine, others = (self._by_name(look) for look in self.looks)
        for value in self.looks[0].values:
            here, there = mine[value.name], others[value.name]
            if not value.name or len(here) != len(there):
                continue
            other = there[here.index(value)]
            if not _alike(value, other):
                continue
            difference = self._compare(other.graph, value.graph)
            if not difference.agrees:
                return self._step(
                    difference, value, other, "the graphs in the packages differ here, by their passes or weights"
                )
        return None

    def _pairs(self) -> Iterator[tuple[_Value, list[_Value]]]:
        by_name = self._by_name(self.looks[1])
        for value in self.looks[0].values:
            others = [w for w in by_name[value.name] if _alike(value, w) and self._compare(w.graph, value.graph).agrees]
            if value.name and others:
                yield value, others

    @staticmethod
    def _by_name(look: _Look) -> dict[str, list[_Value]]:
        found: dict[str, list[_Value]] = defaultdict(list)
        for value in look.values:
            found[value.name].append(value)
        return found

    def _step(self, difference: Difference, value: _Value, other: _Value, verdict: str = "") -> FirstDifference:
        text = f"its result in {self.names[1]} {difference.text.replace('the reference', self.names[0])}"
        return FirstDifference(
            value.name,
            (value.nodes, other.nodes),
            (value.kernel, other.kernel),
            difference.error,
            difference.tolerance,
            text,
            verdict or self._verdict(value, other),
        )

    def _verdict(self, value: _Value, other: _Value) -> str:
        wrong = [
            name
            for name, v in zip(self.names, (value, other), strict=True)
            if not self._compare(v.native, v.graph).agrees
        ]
        if len(wrong) == 1:
            right = self.names[0] if wrong[0] == self.names[1] else self.names[1]
            return f"{right} computes what its graph says, {wrong[0]} does not"
        return "neither computes what its graph says" if wrong else "both are within the tolerance of their graphs"


def _alike(value: _Value, other: _Value) -> bool:
    return value.graph.size == other.graph.size and value.graph.dtype == other.graph.dtype
