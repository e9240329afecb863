"""Derivatives of scan and while.

    pull   carries, ys = scan(body)   ->   carries, ys, residuals = scan(body); cotangents = scan(body backwards), in the other direction
    push   one loop with values and tangents side by side

Backwards, constants stay constants, sequences are read again, and other values of a step come from the forward loop, which stacks them. A
constant's gradient that every step computes by a contraction (the weights of a recurrent layer) is one contraction behind the loop, with the
steps as one more index that is summed over.
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
from mlc.ir.types import dtype_of, is_float, shape_of, tensor
from mlc.passes.autodiff import algebra
from mlc.passes.autodiff.activity import activity
from mlc.passes.autodiff.bodies import Pull, Push, append_results, at_end, give, halve, insert_results


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
    gradient = dict(zip(wanted, half.gradients, strict=True))

    stacked = [x for x in half.residuals if places.get(x, -1) < carried]
    give(body, [*yielded(body), *stacked])
    types = [tensor((op.extent, *shape_of(x)), dtype_of(x)) for x in stacked]
    whole: dict[SSAValue, SSAValue] = dict(zip(stacked, append_results(op, types), strict=True))
    whole.update((x, operands[places[x]]) for x in half.residuals if x not in whole)

    flows = [n for n in wanted if gradient[n] is not None]
    others = {gradient[n] for n in flows if n < first}
    found_products = {n: _product(gradient[n], half.ops, places, first, others) for n in flows if n >= first}
    products = {n: product for n, product in found_products.items() if product is not None}
    summed = [n for n in flows if n >= first and n not in products]
    scanned = [n for n in flows if carried <= n < first]
    states = [n for n in wanted if n < carried]
    state_seeds = [s for s, n in zip(half.seeds, seeded, strict=True) if n < carried]
    y_seeds = [s for s, n in zip(half.seeds, seeded, strict=True) if n >= carried]
    constant = [x for x in half.residuals if places.get(x, -1) >= first]
    sequences = [x for x in half.residuals if x not in constant]

    given_states = [c if (c := given[n]) is not None else algebra.like(op.results[n], 0) for n in states]
    given_ys = [c for n in seeded if n >= carried and (c := given[n]) is not None]
    sums = [algebra.like(operands[n], 0) for n in summed]
    back = Block(arg_types=[x.type for x in (*state_seeds, *sums, *y_seeds, *sequences, *constant)])
    outer = (*state_seeds, *sums, *y_seeds, *sequences, *constant)
    inner: dict[SSAValue, SSAValue] = dict(zip(outer, back.args, strict=True))
    totals_before = [inner[s] for s in sums]
    found = dict(zip(wanted, half.move(back, dict(inner)), strict=True))
    own_ys = [c for n in scanned if (c := found[n]) is not None]
    outside = {inner[x]: value for x, value in whole.items()}
    outside.update((inner[s], c) for s, c in zip(y_seeds, given_ys, strict=True))
    factors: dict[SSAValue, None] = {}
    for product in dict.fromkeys(products.values()):
        factors.update((x, None) for x in product.operands if x not in outside and x not in own_ys)
        product.detach()
    with building(back, steps=[op.extent]):
        after = [
            c if (c := found[n]) is not None else algebra.like(inner[s], 0)
            for n, s in zip(states, state_seeds, strict=True)
        ]
        totals = [_sum(total, found[n]) for total, n in zip(totals_before, summed, strict=True)]
        emit(YieldOp([*after, *totals, *own_ys, *factors]))
    inputs = [*given_states, *sums, *given_ys, *(whole[x] for x in sequences), *(whole[x] for x in constant)]
    loop = ScanOp(
        inputs, len(after) + len(totals), len(y_seeds) + len(sequences), op.extent, not op.reverse.value.data, back
    )
    results = list(emit(loop))
    cotangents: dict[int, Tangent] = dict(zip([*states, *summed, *scanned], results, strict=False))
    outside.update(zip(factors, results[len(cotangents) :], strict=True))
    outside.update((c, t) for n in scanned if (c := found[n]) is not None and (t := cotangents[n]) is not None)
    kept = set(back.args[len(back.args) - len(constant) :])
    contracted = {product: _contracted(product, outside, kept) for product in dict.fromkeys(products.values())}
    cotangents.update((n, contracted[product]) for n, product in products.items())
    for product in contracted:
        product.erase()
    return [cotangents.get(n) for n in range(len(operands))]


def _product(
    gradient: Tangent, ops: Sequence[Operation], places: Mapping[SSAValue, int], first: int, others: Collection[Tangent]
) -> ContractOp | None:
    """The contraction that gives nothing but a constant's gradient in every step, if one does, of factors that are not all constants."""
    product = gradient.owner if gradient is not None else None
    if not isinstance(product, ContractOp) or product not in ops or gradient in others:
        return None
    if product.result.first_use is not None or all(places.get(x, -1) >= first for x in product.operands):
        return None
    return product


def _contracted(product: ContractOp, outside: Mapping[SSAValue, SSAValue], kept: Collection[SSAValue]) -> SSAValue:
    """The contraction of all steps, of the factors as they are outside of the loop, where those that are not the same in every step have an axis more."""
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
