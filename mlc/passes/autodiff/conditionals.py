"""Derivatives of if, call, and functions whose derivative is stated.

pull   ys = if(p, then, otherwise)     ->   ys, residuals of both = if(p, ...); cotangents = if(p, then backwards, otherwise backwards)
       ys = call(body, checkpoint)     ->   unchanged; cotangents = call(body and body backwards, checkpoint)
push   every body takes tangents too, and gives those of its results
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import Block, SSAValue

from mlc.ir.graph.base import building, emit
from mlc.ir.graph.control import CallOp, IfOp, YieldOp, inlined, yielded
from mlc.ir.graph.custom import CustomOp
from mlc.ir.graph.derivative import Tangent, Tangents
from mlc.ir.types import dtype_of, is_float
from mlc.passes.autodiff import algebra
from mlc.passes.autodiff.bodies import Pull, Push, append_results, at_end, give, halve, nothing_like


def pull_branches(op: IfOp | CallOp | CustomOp, given: Tangents, active: Sequence[bool], pull: Pull) -> list[Tangent]:
    if isinstance(op, CallOp) and op.checkpoint is not None:
        return _pull_checkpoint(op, given, active, pull)
    blocks, first = [region.block for region in op.regions], int(isinstance(op, IfOp))
    operands = list(op.operands[first:])
    seeded = [n for n, c in enumerate(given) if c is not None]
    wanted = [n for n, a in enumerate(active[first:]) if a]
    halves = [halve(block, seeded, wanted, pull) for block in blocks]
    saved = [[x for x in half.residuals if x not in block.args] for block, half in zip(blocks, halves, strict=True)]
    for block, own in zip(blocks, saved, strict=True):
        with at_end(block):
            more = [x if mine is own else nothing_like(x) for mine in saved for x in mine]
        give(block, [*yielded(block), *more])
    kept = append_results(op, [x.type for mine in saved for x in mine])
    seeds = [c for c in given if c is not None]
    flows = [w for j, w in enumerate(wanted) if any(half.gradients[j] is not None for half in halves)]
    backs = []
    for block, half in zip(blocks, halves, strict=True):
        back = Block(arg_types=[x.type for x in (*operands, *kept, *seeds)])
        outer = (*block.args[: len(operands)], *(x for mine in saved for x in mine), *half.seeds)
        found = dict(zip(wanted, half.move(back, dict(zip(outer, back.args, strict=True))), strict=True))
        with building(back):
            emit(YieldOp([c if (c := found[n]) is not None else algebra.like(back.args[n], 0) for n in flows]))
        backs.append(back)
    inputs = [*operands, *kept, *seeds]
    if isinstance(op, IfOp):
        results = emit(IfOp(op.condition, inputs, *backs))
    else:
        results = emit(CallOp(inputs, f"{op.callee.data} backwards", backs[0]))
    cotangents: dict[int, Tangent] = dict(zip(flows, results, strict=True))
    return [*[None] * first, *(cotangents.get(n) for n in range(len(operands)))]


def _pull_checkpoint(op: CallOp, given: Tangents, active: Sequence[bool], pull: Pull) -> list[Tangent]:
    """The body runs again in front of its own pull: nothing but the operands is kept."""
    operands, seeds = list(op.operands), [c for c in given if c is not None]
    wanted = [n for n, a in enumerate(active) if a]
    back = Block(arg_types=[x.type for x in (*operands, *seeds)])
    with building(back):
        outs = inlined(op.body.block, back.args[: len(operands)])
        pairs = zip(
            [y for y, c in zip(outs, given, strict=True) if c is not None], back.args[len(operands) :], strict=True
        )
        found = pull(back, list(pairs), [back.args[n] for n in wanted])
        emit(YieldOp([c for c in found if c is not None]))
    results = iter(emit(CallOp([*operands, *seeds], op.callee.data, back, checkpoint=True)))
    cotangents = {n: next(results) for n, c in zip(wanted, found, strict=True) if c is not None}
    return [cotangents.get(n) for n in range(len(operands))]


def pull_custom(op: CustomOp, given: Tangents, active: Sequence[bool], pull: Pull) -> list[Tangent]:
    """The op turns into its forward function, in place, and is its body from then on: second derivatives are those of both functions."""
    if not op.functions:
        return pull_branches(op, given, active, pull)
    op.require_constants(active)
    own, results = op.own.value.data, len(op.outputs)
    forward, backward = op.functions
    constants = list(op.inputs[own:])
    for region in list(op.regions):
        op.detach_region(region)
    assert forward.parent is not None
    op.add_region(forward.parent)
    residuals = append_results(op, [x.type for x in yielded(forward)[results:]])
    seeds = [
        nothing_like(y) if c is None else c for y, c in zip(op.outputs, given, strict=False) if is_float(dtype_of(y))
    ]
    found = iter(inlined(backward, [*residuals, *seeds, *constants]))
    cotangents: list[Tangent] = [next(found) if is_float(dtype_of(x)) else None for x in op.inputs[:own]]
    return [*cotangents, *[None] * len(constants)]


def push_branches(op: IfOp | CallOp | CustomOp, tangents: Tangents, push: Push) -> list[Tangent]:
    first, blocks = int(isinstance(op, IfOp)), [region.block for region in op.regions]
    changes = tangents[first:]
    moved = []
    for block in blocks:
        pairs = list(zip(list(block.args), changes, strict=True))
        twins: dict[SSAValue, SSAValue] = {
            x: block.insert_arg(x.type, len(block.args)) for x, t in pairs if t is not None
        }
        moved.append(push(block, twins))
    kept = [n for n in range(len(moved[0])) if any(found[n] is not None for found in moved)]
    for block, found in zip(blocks, moved, strict=True):
        with at_end(block):
            more = [t if (t := found[n]) is not None else algebra.like(yielded(block)[n], 0) for n in kept]
        give(block, [*yielded(block), *more])
    op.operands = [*op.operands, *(t for t in changes if t is not None)]
    fresh = dict(zip(kept, append_results(op, [op.results[n].type for n in kept]), strict=True))
    return [fresh.get(n) for n in range(len(moved[0]))]
