"""Reverse mode: cotangents of inputs, given those of results, by one walk backwards.

    pull(block, [(loss, 1)], [w])        block: loss = f(w)   ->   block: loss = f(w); ...; returns d loss / d w

Each op's pullback is written where the walk meets it: a linear op applies its transpose rule, an element-wise one its partial derivatives; any
other writes its jvp on placeholders, of which the ops that depend on them are pulled at once. Cotangents of a value with several uses are a
running sum. The walk appends, and replaces nothing: a cotangent may be a value of the forward ops.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from xdsl.ir import Block, Operation, SSAValue

from mlc.errors import InternalError
from mlc.ir.graph.base import GraphOp, building, emit, location, role
from mlc.ir.graph.control import CallOp, IfOp, ScanOp, WhileOp
from mlc.ir.graph.custom import CustomOp
from mlc.ir.graph.derivative import Tangent, Tangents
from mlc.passes.autodiff import algebra
from mlc.passes.autodiff.activity import activity, is_flat
from mlc.passes.autodiff.conditionals import pull_branches, pull_custom
from mlc.passes.autodiff.cotangents import Cotangents
from mlc.passes.autodiff.loops import pull_scan, pull_while


def pull(block: Block, seeds: Iterable[tuple[SSAValue, SSAValue]], wanted: Sequence[SSAValue]) -> list[Tangent]:
    """The cotangents of `wanted`, given (value, cotangent) pairs; None for those that nothing depends on. Writes at the current position, which
    is behind the ops of the block.

    Raises NoDerivative naming the first op on the way that has none.
    """
    active = activity(block, wanted)
    cotangents = Cotangents(active, seeds)
    for op in reversed(list(block.ops)):
        with role("backward"), location(op.location):
            given = [cotangents.of(y) for y in op.results]
            if all(c is None for c in given):
                continue
            found = pullback(op, given, [x in active for x in op.operands])
            for x, c in zip(list(op.operands)[: len(found)], found, strict=True):
                if c is not None:
                    if c.type != x.type:
                        raise InternalError(f"the derivative rule of {op.name} gives {c.type} for an operand {x.type}")
                    cotangents.add(x, c)
    results = [cotangents.of(x) for x in wanted]
    cotangents.drop_joined(results)
    return results


def pullback(op: Operation, given: Tangents, active: Sequence[bool]) -> Sequence[Tangent]:
    """The cotangents of the active operands, given those of the results."""
    assert isinstance(op, GraphOp), op.name
    if is_flat(op) or not any(active):
        return [None] * len(active)
    match op:
        case ScanOp():
            return pull_scan(op, given, active, pull)
        case IfOp() | CallOp():
            return pull_branches(op, given, active, pull)
        case WhileOp():
            return pull_while(op, given, active)
        case CustomOp() if len(op.functions) != 1:
            return pull_custom(op, given, active, pull)
    positions = [n for n, a in enumerate(active) if a]
    if len(op.results) == 1 and set(positions) <= set(op.linear):
        (c,) = given
        assert c is not None
        return [op.transpose_rule(algebra, c, n) if a else None for n, a in enumerate(active)]
    return _transposed(op, given, positions)


def _transposed(op: GraphOp, given: Tangents, positions: Sequence[int]) -> list[Tangent]:
    """The transpose of the op's jvp, which is written on placeholders: what does not depend on them belongs to the program."""
    scratch = Block(arg_types=[op.operands[n].type for n in positions])
    tangents: list[Tangent] = [None] * len(op.operands)
    for n, placeholder in zip(positions, scratch.args, strict=True):
        tangents[n] = placeholder
    with building(scratch):
        outs = op.jvp(algebra, tangents)
    moving = activity(scratch, scratch.args)
    for inner in list(scratch.ops):
        if not any(y in moving for y in inner.results):
            inner.detach()
            emit(inner)
    seeds = [(t, c) for t, c in zip(outs, given, strict=True) if t is not None and c is not None]
    found = pull(scratch, seeds, scratch.args)
    for inner in reversed(list(scratch.ops)):
        inner.detach()
        inner.erase()
    result: list[Tangent] = [None] * len(op.operands)
    for n, c in zip(positions, found, strict=True):
        result[n] = c
    return result
