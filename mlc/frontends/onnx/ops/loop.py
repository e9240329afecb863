"""Loop and Scan. A loop whose number of steps is an expression of sizes is a scan, as Scan is; any other is run while its condition holds.

What a loop stacks has as many rows as there were steps. Where its condition decides that, memory is reserved for the bound that the trip count
gives, or a counter in the condition. A loop of few steps that changes the types of what it carries is written out.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import GraphProto

from mlc.errors import UnsupportedOp
from mlc.frontends.onnx.closed import Surroundings, kind_of, restored, tidy
from mlc.frontends.onnx.node import NeedsValue, Node
from mlc.frontends.onnx.table import Content, Items, Value, flattened, handles
from mlc.frontends.onnx.trips import ENDLESS, Trips, condition_stays, trips_of
from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.types import rank_of, shape_of

_WRITTEN_OUT = 1 << 12  # steps of a loop that is written out


class _Varies(Exception):
    """A step gives a carry another type than it takes."""

    def __init__(self, number: int, before: Content, after: Content):
        self.number, self.before, self.after = number, before, after


@handles("Loop", since=(1, 11, 13, 16, 19, 21, 23, 24, 25), sequences=True)
def loop(node: Node, trip_count: Value | None, condition: Value | None, *carried: Content) -> Sequence[Content | None]:
    body = node.graph("body")
    if len(body.input) != 2 + len(carried) or len(body.output) < 1 + len(carried):
        raise node.invalid(
            f"{len(carried)} carried values, the body has {len(body.input)} inputs and {len(body.output)} outputs"
        )
    trips = _trips(node, body, condition)
    if trips.exact is None:
        return _while(node, body, trip_count, condition, list(carried), trips.most)
    few = isinstance(trips.exact, int) and trips.exact <= _WRITTEN_OUT
    try:
        with node.scope.trial(NeedsValue):
            carries, stacked = _scanned(node, body, [g.scalar(0, "i64"), *carried], [], trips.exact, counted=True)
    except _Varies as change:
        if not few:
            raise _growing(node, change) from None
        return _written_out(node, body, list(carried), int(trips.exact))  # type: ignore[arg-type]
    except NeedsValue as need:
        if not few or need.inputs:
            raise
        return _written_out(node, body, list(carried), int(trips.exact))  # type: ignore[arg-type]  # each step knows its number
    return [*carries[1:], *stacked]


def _trips(node: Node, body: GraphProto, condition: Value | None) -> Trips:
    """How many steps there are, as far as sizes say; None for what data decides."""
    if node.given(1) and node.constant(1) is not None and not node.number(1, "condition"):
        return Trips(0, 0)
    limit = _limit(node)
    if condition_stays(body) and (not node.given(1) or node.constant(1) is not None):
        if not node.given(0):
            raise node.unsupported(
                "the loop never ends: it has no trip count, and its condition stays true",
                remedy="Give it a trip count, or a condition that the body computes.",
            )
        return Trips(limit, limit)
    found = trips_of(node, body)
    exact, most = found.exact, found.most
    if isinstance(limit, int) and limit >= ENDLESS and most is not None:
        limit = None
    elif node.given(0):
        exact = None if exact is None or limit is None else dims.dmin(limit, exact)
        most = limit if most is None else most if limit is None else dims.dmin(limit, most)
    return Trips(*(None if e is None else node.simplify(dims.dmax(0, e)) for e in (exact, most)))


def _limit(node: Node) -> Extent | None:
    """The trip count, where sizes give it; None where data does or there is none."""
    try:
        count = node.extent(0, "trip count") if node.given(0) else None
    except NeedsValue:
        return None
    return None if count is None else node.simplify(dims.dmax(0, count))


def _while(
    node: Node,
    body: GraphProto,
    trip_count: Value | None,
    condition: Value | None,
    carried: list[Content],
    most: Extent | None,
) -> list[Content | None]:
    """The body while its condition holds. `most` is how often at most, where sizes say so; the trip count itself may be data."""
    wanted = [k for k in range(len(body.output) - 1 - len(carried)) if node.wants(len(carried) + k)]
    if wanted and (most is None or (isinstance(most, int) and most >= ENDLESS)):
        if node.given(0) and node.constant(0) is None:
            raise node.needs_value(0, "trip count")
        raise node.unsupported(
            "the loop stacks a row in each step, its condition decides how many steps there are, and nothing says how many at most",
            remedy="Give it a trip count: memory is reserved for so many rows.",
        )
    around = Surroundings.of(node, body)
    limits = [] if trip_count is None or _limit(node) is not None else [g.reshape(trip_count, ())]
    states = flattened(carried)

    def below(number: Value, limits: Sequence[Value], goes_on: Value) -> Value:
        return goes_on if not limits else g.logical_and(goes_on, g.lt(number, limits[0]))

    def step(carries: tuple[Value, ...], constants: tuple[Value, ...]) -> tuple[Value, list[Value], list[Value]]:
        number, *now = carries
        operands = [number, g.scalar(True, "bool"), *restored(carried, now)]
        goes_on, *results = around.body(body, operands, constants[len(limits) :])
        after, stacked = results[: len(carried)], _tensors(node, results[len(carried) :])
        _require_same(carried, after)
        following = g.add(number, g.scalar(1, "i64"))
        goes_on = below(following, constants[: len(limits)], g.reshape(_tensors(node, [goes_on])[0], ()))
        return goes_on, [following, *flattened(after)], [stacked[k] for k in wanted]

    first = g.scalar(True, "bool") if condition is None else g.reshape(condition, ())
    zero = g.scalar(0, "i64")
    try:
        final, rows = g.while_loop(
            step, below(zero, limits, first), [zero, *states], most, [*limits, *around.constants]
        )
    except _Varies as change:
        raise _growing(node, change) from None
    except NeedsValue as need:
        if need.inputs:
            raise
        raise _open_end(
            node, need.message.split("': ", 1)[-1]
        ) from need  # written out it knows the number of each step
    tidy(final)
    kept = dict(zip(wanted, g.prefix(final[0], *rows) if rows else (), strict=True))
    stacked = [kept.get(k) for k in range(len(body.output) - 1 - len(carried))]
    return [*restored(carried, final[1:]), *stacked]


def _written_out(node: Node, body: GraphProto, carried: list[Content], count: int) -> list[Content]:
    """The steps of a loop one behind the other."""
    columns: list[list[Value]] = [[] for _ in body.output[1 + len(carried) :]]
    if count == 0 and columns:
        raise node.unsupported("what a loop of no steps stacks has no known shape where carried values change theirs")
    for number in range(count):
        _, *results = node.inline(body, [g.scalar(number, "i64"), g.scalar(True, "bool"), *carried])
        carried = results[: len(carried)]
        for column, row in zip(columns, _tensors(node, results[len(carried) :]), strict=True):
            column.append(g.unsqueeze(row, [0]))
    return [*carried, *(g.concatenate(column, 0) for column in columns)]


def _require_same(before: Sequence[Content], after: Sequence[Content]) -> None:
    for number, (x, y) in enumerate(zip(before, after, strict=True)):
        if kind_of(x) != kind_of(y):
            raise _Varies(number, x, y)


def _growing(node: Node, change: _Varies) -> UnsupportedOp:
    texts = [
        f"a sequence of {len(x)}" if isinstance(x, Items) else str(kind_of(x)) for x in (change.before, change.after)
    ]
    return _open_end(node, f"carried value {change.number} is {texts[0]} before a step and {texts[1]} after it")


def _open_end(node: Node, message: str) -> UnsupportedOp:
    """What could be compiled if the number of steps were known, by the input that leaves it open."""
    message = f"{message}, and how many steps there are is known only at run time"
    for i in (0, 1) if node.op_type == "Loop" else ():
        if node.given(i) and node.entries(i) is None and node.constant(i) is None:
            return node.decided_by(i, message)
    return node.unsupported(message)


def _tensors(node: Node, contents: Sequence[Content]) -> list[Value]:
    """Contents that must be tensors: what a loop stacks, and conditions."""
    if any(kind_of(x) == "nothing" or isinstance(x, Items) for x in contents):
        raise node.invalid("the body gives a sequence or an optional value where a tensor is expected")
    return flattened(contents)


@handles("Scan", since=(9, 11, 16, 19, 21, 23, 24, 25))
def scan(node: Node, *operands: Value) -> list[Content]:
    body, scanned = node.graph("body"), node.int("num_scan_inputs")
    states, sequences = len(operands) - scanned, list(operands[len(operands) - scanned :])
    if scanned < 1 or states < 0:
        raise node.invalid(f"num_scan_inputs is {scanned}, there are {len(operands)} inputs")
    if len(body.input) != len(operands) or len(body.output) < states:
        raise node.invalid(
            f"{states} states and {scanned} scanned inputs, the body has {len(body.input)} inputs "
            f"and {len(body.output)} outputs"
        )
    stacked_outputs = len(body.output) - states
    directions, axes = _each(node, "scan_input_directions", scanned), _each(node, "scan_input_axes", scanned)
    out_directions = _each(node, "scan_output_directions", stacked_outputs)
    out_axes = _each(node, "scan_output_axes", stacked_outputs)
    length: Extent | None = None
    for i, (x, axis, backward) in enumerate(zip(sequences, axes, directions, strict=True)):
        x = _axis_to_front(x, node.axis(axis, rank_of(x)))
        sequences[i] = g.reverse(x, [0]) if backward else x
        extent = shape_of(x)[0]
        length = extent if length is None else g.require_equal(length, extent, "length of the scanned inputs")
    assert length is not None
    sequences = [g.reshape(x, [length, *shape_of(x)[1:]]) for x in sequences]
    try:
        carries, stacked = _scanned(node, body, list(operands[:states]), sequences, length, counted=False)
    except _Varies as change:
        raise _growing(node, change) from None
    results = []
    for y, axis, backward in zip(stacked, out_axes, out_directions, strict=True):
        y = g.reverse(y, [0]) if backward else y
        axis = node.axis(axis, rank_of(y))
        results.append(g.transpose(y, [*range(1, axis + 1), 0, *range(axis + 1, rank_of(y))]))
    return [*carries, *results]


@handles("Scan", since=(8,))
def scan_in_batches(node: Node, lengths: Value | None, *operands: Value) -> list[Content]:
    """The body over axis 1 of what is scanned, for each index of the batch, axis 0, on its own. Behind a row's length its states stay and what
    is stacked is 0."""
    body, scanned = node.graph("body"), node.int("num_scan_inputs")
    states = len(operands) - scanned
    if scanned < 1 or states < 0 or len(body.input) != len(operands) or len(body.output) < states:
        raise node.invalid(
            f"num_scan_inputs is {scanned}, there are {len(operands)} inputs; the body has {len(body.input)} inputs and {len(body.output)} outputs"
        )
    backward = _each(node, "directions", scanned)
    if lengths is not None and any(backward):
        raise node.unsupported("a scan backwards over rows of different lengths")
    for i, x in enumerate(operands):
        if rank_of(x) < (1 if i < states else 2):
            raise node.error(
                f"operand {i} has {rank_of(x)} axes, and no axis of the batch"
                + (" or of the steps" if i >= states else "")
            )
    batch, steps = shape_of(operands[states])[:2]
    leading = [(batch,) if i < states else (batch, steps) for i in range(len(operands))]
    rows = [_with_leading(x, extents) for x, extents in zip(operands, leading, strict=True)]
    rows[states:] = [g.reverse(x, [1]) if back else x for x, back in zip(rows[states:], backward, strict=True)]
    if lengths is not None:
        rows.append(_with_leading(g.cast(lengths, "i64"), (batch,)))
    around = Surroundings.of(node, body)

    def one(
        _: tuple[Value, ...], row: tuple[Value, ...], constants: tuple[Value, ...]
    ) -> tuple[list[Value], list[Value]]:
        own = row[len(operands) :]

        def step(
            carries: tuple[Value, ...], slices: tuple[Value, ...], constants: tuple[Value, ...]
        ) -> tuple[list[Value], list[Value]]:
            results = around.body(body, [*carries, *slices[:scanned]], constants[len(own) :])
            after, stacked = _tensors(node, results[:states]), _tensors(node, results[states:])
            _require_same(carries, after)
            if own:
                goes_on = g.lt(slices[scanned], constants[0])
                after = [
                    g.select(g.broadcast(goes_on, shape_of(x), []), x, old)
                    for x, old in zip(after, carries, strict=True)
                ]
                stacked = [g.select(g.broadcast(goes_on, shape_of(y), []), y, g.scalar_like(y, 0)) for y in stacked]
            return after, stacked

        sequences = [*row[states : len(operands)], *([g.iota([steps], 0, "i64")] if own else [])]
        final, stacked = g.scan(step, list(row[:states]), sequences, steps, [*own, *constants])
        tidy([*final, *stacked])
        return [], [*final, *stacked]

    try:
        _, results = g.scan(one, [], rows, batch, around.constants)
    except _Varies as change:
        raise _growing(node, change) from None
    tidy(results)
    return list(results)


def _with_leading(x: Value, extents: Sequence[Extent]) -> Value:
    """x, whose first axes must have these extents."""
    found = [
        g.require_equal(want, have, f"axis {axis} of what is scanned")
        for axis, (want, have) in enumerate(zip(extents, shape_of(x), strict=False))
    ]
    shape = [*extents, *shape_of(x)[len(found) :]]
    return x if tuple(shape) == shape_of(x) else g.reshape(x, shape)


def _each(node: Node, name: str, count: int) -> list[int]:
    """An attribute with a number for each of `count` inputs or outputs, 0 by default."""
    values = node.ints(name, None) or [0] * count
    if len(values) != count:
        raise node.invalid(f"{name} has {len(values)} entries, expected {count}")
    return values


def _axis_to_front(x: Value, axis: int) -> Value:
    return g.transpose(x, [axis, *(a for a in range(rank_of(x)) if a != axis)])


def _scanned(
    node: Node, body: GraphProto, carried: list[Content], sequences: list[Value], length: Extent, *, counted: bool
) -> tuple[list[Content], list[Value]]:
    """The body as a scan: final carries and stacked outputs. A counted body (Loop) takes the iteration number and the condition first."""
    around = Surroundings.of(node, body)

    def step(
        carries: tuple[Value, ...], slices: tuple[Value, ...], constants: tuple[Value, ...]
    ) -> tuple[list[Value], list[Value]]:
        now = restored(carried, carries)
        if counted:
            _, *results = around.body(body, [now[0], g.scalar(True, "bool"), *now[1:]], constants)
            results = [g.add(carries[0], g.scalar(1, "i64")), *results]
        else:
            results = around.body(body, [*now, *slices], constants)
        after = results[: len(carried)]
        _require_same(carried, after)
        return flattened(after), _tensors(node, results[len(carried) :])

    final, stacked = g.scan(step, flattened(carried), sequences, length, around.constants)
    tidy([*final, *stacked])
    return restored(carried, final), list(stacked)
