"""If, Loop and Scan. A branch that is known at import is built alone; of an open If both branches are built and one is selected.

Every op is defined for all inputs, so that building the branch not taken does no harm. A Loop needs a trip count that is known as a number or
an expression of sizes, and its condition must stay as it is; it becomes a scan, as does Scan.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import GraphProto

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.table import Items, Value, handles
from mlc.ir import builder as g
from mlc.ir.dims import Extent
from mlc.ir.types import dtype_of, rank_of, shape_of, shape_text


@handles("If", since=(1, 11, 13, 16, 19, 21, 23, 24, 25))
def if_(node: Node, condition: Value) -> Sequence[Value | Items]:
    if node.constant(0) is not None:
        return node.inline(node.graph("then_branch" if node.number(0, "condition") else "else_branch"))
    chosen, other = node.inline(node.graph("then_branch")), node.inline(node.graph("else_branch"))
    if len(chosen) != len(other):
        raise node.invalid(f"one branch has {len(chosen)} outputs, the other {len(other)}")
    results = []
    for i, (x, y) in enumerate(zip(chosen, other, strict=True)):
        if isinstance(x, Items) or isinstance(y, Items):
            raise node.unsupported(f"output {i} is a sequence, and which branch is taken is known only at run time")
        if dtype_of(x) != dtype_of(y):
            raise node.invalid(f"output {i} is {dtype_of(x)} in one branch and {dtype_of(y)} in the other")
        if shape_of(x) != shape_of(y):
            raise node.unsupported(
                f"the branches give output {i} the shapes {shape_text(shape_of(x))} and {shape_text(shape_of(y))}, "
                "and which one is taken is known only at run time"
            )
        results.append(g.select(g.broadcast(g.reshape(condition, ()), shape_of(x), []), x, y))
    return results


@handles("Loop", since=(1, 11, 13, 16, 19, 21, 23, 24, 25))
def loop(node: Node, trip_count: Value | None, condition: Value | None, *carried: Value) -> list[Value]:
    body = node.graph("body")
    if not node.given(0):
        raise node.unsupported("a loop without a trip count, ended by its condition, is not supported")
    count = node.extent(0, "trip count")
    if node.given(1) and not node.number(1, "condition"):
        count = 0
    if len(body.input) != 2 + len(carried) or len(body.output) < 1 + len(carried):
        raise node.invalid(
            f"{len(carried)} carried values, the body has {len(body.input)} inputs and {len(body.output)} outputs"
        )
    if not _condition_stays(body):
        raise node.unsupported("a loop that its condition may end early is not supported")
    if isinstance(count, int):
        count = max(count, 0)
    carries, stacked = _scanned(node, body, [g.scalar(0, "i64"), *carried], [], count, counted=True)
    return [*carries[1:], *stacked]


def _condition_stays(body: GraphProto) -> bool:
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


@handles("Scan", since=(9, 11, 16, 19, 21, 23, 24, 25))
def scan(node: Node, *operands: Value) -> list[Value]:
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
    carries, stacked = _scanned(node, body, list(operands[:states]), sequences, length, counted=False)
    results = []
    for y, axis, backward in zip(stacked, out_axes, out_directions, strict=True):
        y = g.reverse(y, [0]) if backward else y
        axis = node.axis(axis, rank_of(y))
        results.append(g.transpose(y, [*range(1, axis + 1), 0, *range(axis + 1, rank_of(y))]))
    return [*carries, *results]


def _each(node: Node, name: str, count: int) -> list[int]:
    """An attribute with a number for each of `count` inputs or outputs, 0 by default."""
    values = node.ints(name, None) or [0] * count
    if len(values) != count:
        raise node.invalid(f"{name} has {len(values)} entries, expected {count}")
    return values


def _axis_to_front(x: Value, axis: int) -> Value:
    return g.transpose(x, [axis, *(a for a in range(rank_of(x)) if a != axis)])


def _scanned(
    node: Node, body: GraphProto, carried: list[Value], sequences: list[Value], length: Extent, *, counted: bool
) -> tuple[list[Value], list[Value]]:
    """The body as a scan: final carries and stacked outputs. A counted body (Loop) takes the iteration number and the condition first."""
    outer = node.scope.captured(body)
    names = list(outer)

    def step(
        carries: tuple[Value, ...], slices: tuple[Value, ...], constants: tuple[Value, ...]
    ) -> tuple[list[Value], list[Value]]:
        there = dict(zip(names, constants, strict=True))
        if not counted:
            results = node.scope.enclosed(body, [*carries, *slices], there)
            return results[: len(carried)], results[len(carried) :]
        number, *states = carries
        results = node.scope.enclosed(body, [number, g.scalar(True, "bool"), *states], there)[1:]
        following = g.add(number, g.scalar(1, "i64"))
        return [following, *results[: len(states)]], results[len(states) :]

    final, stacked = g.scan(step, carried, sequences, length, [outer[name] for name in names])
    return list(final), list(stacked)
