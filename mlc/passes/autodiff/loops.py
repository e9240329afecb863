"""Derivatives of scan and while.

    pull   carries, ys = scan(body)   ->   carries, ys, residuals = scan(body); cotangents = scan(body backwards), in the other direction
    push   one loop with values and tangents side by side

Backwards, constants stay constants, sequences are read again, and other values of a step come from the forward loop, which stacks them. A
constant's gradient that every step computes by a contraction (the weights of a recurrent layer) is one contraction behind the loop, with the
steps as one more index that is summed over; so is one that sums what a contraction has stacked anyway (their biases).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from string import ascii_letters

from xdsl.dialects.builtin import IntegerAttr, i64
from xdsl.ir import Block, Operation, SSAValue

from mlc.errors import NoDerivative
from mlc.ir.graph.base import building, emit, location_file, location_name
from mlc.ir.graph.control import ScanOp, WhileOp, YieldOp, yielded
from mlc.ir.graph.derivative import Tangent, Tangents
from mlc.ir.graph.linear import ContractOp, labels
from mlc.ir.graph.reduce import ReduceOp
from mlc.ir.types import dtype_of, is_float, shape_of, tensor
from mlc.passes.autodiff import algebra
from mlc.passes.autodiff.activity import activity
from mlc.passes.autodiff.bodies import Half, Pull, Push, append_results, at_end, give, halve, insert_results


def carried_activity(body: Block, carried: int, active: Sequence[bool], flags: int = 0) -> list[bool]:
    """Which arguments of a body carry a derivative once the loop is closed; `flags` of its results come before the carries."""
    found = list(active)
    while True:
        reached = activity(body, [x for x, a in zip(body.args, found, strict=True) if a])
        states = yielded(body)[flags : flags + carried]
        grown = [a or (n < carried and states[n] in reached) for n, a in enumerate(found)]
        if grown == found:
            return found
        found = grown


def pull_scan(op: ScanOp, given: Tangents, active: Sequence[bool], pull: Pull) -> list[Tangent]:
    body, carried, first = op.body.block, op.carried.value.data, op.first_constant()
    operands = list(op.operands)
    places: dict[SSAValue, int] = {x: n for n, x in enumerate(body.args)}
    active = carried_activity(body, carried, active)
    seeded = [n for n, c in enumerate(given) if (active[n] if n < carried else c is not None)]
    wanted = [n for n, a in enumerate(active) if a]
    half = halve(body, seeded, wanted, pull, [op.extent])
    whole = _kept(op, half, operands, places)

    # What flows back to the operands: states, sums and products of constants, sequences.
    gradient = dict(zip(wanted, half.gradients, strict=True))
    flows = [n for n in wanted if gradient[n] is not None]
    others = {gradient[n] for n in flows if n < first}
    made = set(half.ops)
    states, scanned = [n for n in wanted if n < carried], [n for n in flows if carried <= n < first]
    asked = {n: _product(gradient[n], made, places, first, others) for n in flows if n >= first}
    products: dict[int, ContractOp | ReduceOp] = {n: product for n, product in asked.items() if product is not None}
    stacked = {gradient[n] for n in scanned} | {x for product in products.values() for x in product.operands}
    for n in (n for n in flows if n >= first and n not in products):
        if (total := _total(gradient[n], made, stacked, others)) is not None:
            products[n] = total
    summed = [n for n in flows if n >= first and n not in products]

    # The operands of the loop backwards, by what they are in its body.
    seeds = dict(zip(seeded, half.seeds, strict=True))
    zeros = lambda n: algebra.like(op.results[n], 0)
    carries = {seeds[n]: c if (c := given[n]) is not None else zeros(n) for n in states}
    sums = {(zero := algebra.like(operands[n], 0)): zero for n in summed}
    sequences = {seeds[n]: c for n in seeded if n >= carried and (c := given[n]) is not None}
    sequences.update((x, whole[x]) for x in half.residuals if places.get(x, -1) < first)
    constants = {x: whole[x] for x in half.residuals if places.get(x, -1) >= first}
    inputs: dict[SSAValue, SSAValue] = {**carries, **sums, **sequences, **constants}
    back = Block(arg_types=[x.type for x in inputs])
    inner: dict[SSAValue, SSAValue] = dict(zip(inputs, back.args, strict=True))
    found = dict(zip(wanted, half.move(back, dict(inner)), strict=True))

    rows = [c for n in scanned if (c := found[n]) is not None]
    outside = {inner[x]: value for x, value in {**sequences, **constants}.items()}
    factors: dict[SSAValue, None] = {}
    for product in dict.fromkeys(products.values()):
        factors.update((x, None) for x in product.operands if x not in outside and x not in rows)
        product.detach()
    with building(back, steps=[op.extent]):
        after = [c if (c := found[n]) is not None else algebra.like(inner[seeds[n]], 0) for n in states]
        totals = [_sum(inner[zero], found[n]) for zero, n in zip(sums, summed, strict=True)]
        emit(YieldOp([*after, *totals, *rows, *factors]))
    turned = not op.reverse.value.data
    results = emit(ScanOp(list(inputs.values()), len(carries) + len(sums), len(sequences), op.extent, turned, back))
    cotangents: dict[int, Tangent] = dict(zip([*states, *summed, *scanned], results, strict=False))
    outside.update(zip([*rows, *factors], results[len(states) + len(summed) :], strict=True))
    kept = {inner[x] for x in constants}
    contracted = {product: _contracted(product, outside, kept) for product in dict.fromkeys(products.values())}
    cotangents.update((n, contracted[product]) for n, product in products.items())
    for product in contracted:
        product.erase()
    return [cotangents.get(n) for n in range(len(operands))]


def _kept(
    op: ScanOp, half: Half, operands: Sequence[SSAValue], places: Mapping[SSAValue, int]
) -> dict[SSAValue, SSAValue]:
    """The residuals as they are outside of the loop: constants, sequences, and what the loop stacks, some of it from now on."""
    carried = op.carried.value.data
    moving = [x for x in half.residuals if places.get(x, -1) < carried]
    known = dict(zip(yielded(op.body.block)[carried:], op.results[carried:], strict=True))
    stacked = [x for x in moving if x not in known]
    give(op.body.block, [*yielded(op.body.block), *stacked])
    types = [tensor((op.extent, *shape_of(x)), dtype_of(x)) for x in stacked]
    whole = dict(zip(stacked, append_results(op, types), strict=True))
    whole.update((x, known[x]) for x in moving if x in known)
    whole.update((x, operands[places[x]]) for x in half.residuals if x not in whole)
    return whole


def _product(
    gradient: Tangent,
    ops: Collection[Operation],
    places: Mapping[SSAValue, int],
    first: int,
    others: Collection[Tangent],
) -> ContractOp | None:
    """The contraction that gives nothing but a constant's gradient in every step, if one does, of factors that are not all constants."""
    product = gradient.owner if gradient is not None else None
    if not isinstance(product, ContractOp) or product not in ops or gradient in others:
        return None
    if product.result.first_use is not None or all(places.get(x, -1) >= first for x in product.operands):
        return None
    return product


def _total(
    gradient: Tangent, ops: Collection[Operation], stacked: Collection[Tangent], others: Collection[Tangent]
) -> ReduceOp | None:
    """The sum that gives nothing but a constant's gradient in every step, if one does, of what is stacked."""
    total = gradient.owner if gradient is not None else None
    if not isinstance(total, ReduceOp) or total not in ops or gradient in others or total.kind.data != "sum":
        return None
    return total if total.result.first_use is None and total.x in stacked else None


def _contracted(
    product: ContractOp | ReduceOp, outside: Mapping[SSAValue, SSAValue], kept: Collection[SSAValue]
) -> SSAValue:
    """The contraction or sum of all steps, of the factors as they are outside of the loop, where those that are not the same in every step have an
    axis more."""
    if isinstance(product, ReduceOp):
        return algebra.reduce(outside[product.x], [0, *(a + 1 for a in product.axes.get_values())])
    left, right, out = labels(product.spec.data)
    step = next(letter for letter in ascii_letters if letter not in product.spec.data)
    maps = [m if x in kept else step + m for m, x in zip((left, right), product.operands, strict=True)]
    lhs, rhs = (outside[x] for x in product.operands)
    return algebra.contract(lhs, rhs, f"{maps[0]},{maps[1]}->{out}")


def _sum(total: SSAValue, more: Tangent) -> SSAValue:
    return total if more is None else algebra.add(total, more)


def pull_while(op: WhileOp, given: Tangents, active: Sequence[bool]) -> list[Tangent]:
    """Raises NoDerivative where a derivative would flow through."""
    body, carried = op.body.block, op.carried.value.data
    reached = carried_activity(body, carried, active[1:], flags=1)
    states = activity(body, [x for x, a in zip(body.args, reached, strict=True) if a])
    if not any(
        c is not None and (reached[n] if n < carried else y in states)
        for n, (c, y) in enumerate(zip(given, yielded(body)[1:], strict=True))
    ):
        return [None] * len(active)
    raise NoDerivative(
        "while_loop",
        "the number of iterations is not known when the backward graph is built",
        node=location_name(op),
        file=location_file(op),
        remedy="Use mlc.scan with a fixed length (mask the steps after the end), or mlc.jvp.",
    )


def push_loop(op: ScanOp | WhileOp, tangents: Tangents, push: Push) -> list[Tangent]:
    """One loop of values and tangents."""
    body, carried, flags = op.body.block, op.carried.value.data, int(isinstance(op, WhileOp))
    scanned = op.scanned.value.data if isinstance(op, ScanOp) else 0
    head, operands, changes = list(op.operands[:flags]), list(op.operands[flags:]), list(tangents[flags:])
    active = carried_activity(body, carried, [t is not None for t in changes], flags)
    ends, arguments, outs = (0, carried, carried + scanned, len(operands)), list(body.args), yielded(body)
    groups = [[n for n in range(start, end) if active[n]] for start, end in pairwise(ends)]
    twins: dict[SSAValue, SSAValue] = {}
    for group, end in reversed(list(zip(groups, ends[1:], strict=True))):
        for n in reversed(group):
            twins[arguments[n]] = body.insert_arg(arguments[n].type, end)
    moved = push(body, twins)[flags:]
    steps = [] if op.extent is None else [op.extent]
    with at_end(body, steps):
        states = [t if (t := moved[n]) is not None else algebra.like(outs[flags + n], 0) for n in groups[0]]
    ys = [n for n in range(carried, len(outs) - flags) if moved[n] is not None and is_float(dtype_of(outs[flags + n]))]
    plain = list(outs[flags:])
    more = [t for n in ys if (t := moved[n]) is not None]
    give(body, [*outs[:flags], *plain[:carried], *states, *plain[carried:], *more])
    placed: list[SSAValue] = []
    for group, start, end in zip(groups, ends, ends[1:], strict=False):
        placed += operands[start:end]
        placed += [t if (t := changes[n]) is not None else algebra.like(operands[n], 0) for n in group]
    op.operands = [*head, *placed]
    op.properties["carried"] = IntegerAttr(carried + len(groups[0]), i64)
    if isinstance(op, ScanOp):
        op.properties["scanned"] = IntegerAttr(scanned + len(groups[1]), i64)
    rows = [op.results[n].type for n in ys]
    fresh = dict(zip(groups[0], insert_results(op, carried, [x.type for x in states]), strict=True))
    fresh.update(zip(ys, append_results(op, rows), strict=True))
    return [fresh.get(n) for n in range(len(plain))]
