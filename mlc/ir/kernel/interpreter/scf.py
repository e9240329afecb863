"""Steps of scf and func: loops, branches, calls."""

from __future__ import annotations

from itertools import product

from xdsl.dialects import func, scf

from mlc.errors import InternalError
from mlc.ir.kernel.interpreter.engine import Action, Compiler, Frame, steps
from mlc.ir.kernel.interpreter.memory import label


@steps("scf.for")
def _for(c: Compiler, op: scf.ForOp) -> Action:
    start, stop, by = c.slots([op.lb, op.ub, op.step])
    iv, *carried = c.slots(op.body.block.args)
    first, results = c.slots(op.iter_args), c.slots(op.results)
    body, yielded = c.region(op.body)

    def step(frame: Frame) -> None:
        if frame[by] <= 0:
            raise InternalError(f"{label(op)}: the step is {frame[by]}")
        _move(frame, first, carried)
        for position in range(frame[start], frame[stop], frame[by]):
            frame[iv] = position
            for inner in body:
                inner(frame)
            _move(frame, yielded, carried)
        _move(frame, carried, results)

    return step


def _move(frame: Frame, sources: list[int], targets: list[int]) -> None:
    if sources:
        for target, value in zip(targets, [frame[slot] for slot in sources], strict=True):
            frame[target] = value


@steps("scf.parallel")
def _parallel(c: Compiler, op: scf.ParallelOp) -> Action:
    """Its points in order: whether they touch each other's elements is asked where threads are simulated."""
    starts, stops, bys = (c.slots(values) for values in (op.lowerBound, op.upperBound, op.step))
    ivs, body = c.slots(op.body.block.args), c.block(op.body.block)

    def step(frame: Frame) -> None:
        ranges = [range(frame[a], frame[b], frame[s]) for a, b, s in zip(starts, stops, bys, strict=True)]
        for point in product(*ranges):
            for slot, position in zip(ivs, point, strict=True):
                frame[slot] = position
            for inner in body:
                inner(frame)

    return step


@steps("scf.if")
def _if(c: Compiler, op: scf.IfOp) -> Action:
    condition, results = c.slot(op.cond), c.slots(op.results)
    branches = [c.region(r) if r.blocks else ([], []) for r in (op.false_region, op.true_region)]

    def step(frame: Frame) -> None:
        body, yielded = branches[bool(frame[condition])]
        for inner in body:
            inner(frame)
        _move(frame, yielded, results)

    return step


@steps("scf.while")
def _while(c: Compiler, op: scf.WhileOp) -> Action:
    first, results = c.slots(op.arguments), c.slots(op.results)
    before, after = c.slots(op.before_region.block.args), c.slots(op.after_region.block.args)
    test, (condition, *passed) = c.region(op.before_region)
    body, yielded = c.region(op.after_region)

    def step(frame: Frame) -> None:
        _move(frame, first, before)
        while True:
            for inner in test:
                inner(frame)
            if not frame[condition]:
                break
            _move(frame, passed, after)
            for inner in body:
                inner(frame)
            _move(frame, yielded, before)
        _move(frame, passed, results)

    return step


@steps("scf.index_switch")
def _switch(c: Compiler, op: scf.IndexSwitchOp) -> Action:
    value, results = c.slot(op.arg), c.slots(op.results)
    default = c.region(op.default_region)
    cases = dict(zip(op.cases.get_values(), map(c.region, op.case_regions), strict=True))

    def step(frame: Frame) -> None:
        body, yielded = cases.get(frame[value], default)
        for inner in body:
            inner(frame)
        _move(frame, yielded, results)

    return step


@steps("func.call")
def _call(c: Compiler, op: func.CallOp) -> Action:
    arguments, results = c.slots(op.arguments), c.slots(op.results)
    machine, name = c.machine, op.callee.root_reference.data

    def step(frame: Frame) -> None:
        found = machine.call(machine.function(name, op), [frame[slot] for slot in arguments])
        for slot, value in zip(results, found, strict=True):
            frame[slot] = value

    return step
