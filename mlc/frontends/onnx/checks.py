"""Whether a graph is well formed: names made once, every name made by something, no cycles, nodes as their schema says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush

import onnx
from onnx import GraphProto, NodeProto
from onnx.defs import OpSchema

from mlc.errors import DTypeError, InvalidModel
from mlc.frontends.onnx.element_types import ELEMENT_TYPES
from mlc.frontends.onnx.node import Node

# PyTorch's exporter leaves out the region of interest, which is optional from version 13 on.
_MAY_OMIT = {("Resize", 11, 1)}
_TYPE_TEXT = {
    name: f"tensor({onnx.helper.tensor_dtype_to_string(number).split('.')[1].lower()})"
    for name, number in ELEMENT_TYPES.items()
}
_VARIADIC = OpSchema.FormalParameterOption.Variadic


def check_names(graph: GraphProto, file: str | None) -> None:
    """Raises InvalidModel for an input, initializer or node output whose name is taken already, and for a missing output."""
    made: dict[str, str] = {}

    def make(name: str, maker: str) -> None:
        if name in made:
            raise InvalidModel(f"value '{name}' is made twice, by {made[name]} and by {maker}", file=file)
        made[name] = maker

    for declared in graph.input:
        make(declared.name, "a graph input")
    inputs = {declared.name for declared in graph.input}
    weights = [tensor.name for tensor in graph.initializer] + [
        sparse.values.name for sparse in graph.sparse_initializer
    ]
    if len(set(weights)) < len(weights):
        twice = next(name for i, name in enumerate(weights) if name in weights[:i])
        raise InvalidModel(f"initializer '{twice}' is given twice", file=file)
    for name in weights:
        if name not in inputs:  # an input with an initializer has it as default
            make(name, "an initializer")
    for index, node in enumerate(graph.node):
        for name in node.output:
            if name:
                make(name, f"node {index} ({node.op_type})")
    outputs: set[str] = set()
    for output in graph.output:
        if output.name not in made:
            raise InvalidModel(f"graph output '{output.name}' is made by nothing", file=file)
        if output.name in outputs:
            raise InvalidModel(f"graph output '{output.name}' is listed twice", file=file)
        outputs.add(output.name)


def in_order(nodes: Sequence[NodeProto], file: str | None) -> list[tuple[int, NodeProto]]:
    """Index and node, makers before users; the file's order where it is right, as the standard demands.

    Raises InvalidModel naming nodes of a cycle.
    """
    maker = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    needs = [{maker[name] for name in names_read(node) if name in maker} for node in nodes]
    if all(max(before, default=-1) < index for index, before in enumerate(needs)):
        return list(enumerate(nodes))
    users: list[list[int]] = [[] for _ in nodes]
    waiting = [len(before) for before in needs]
    for index, before in enumerate(needs):
        for needed in before:
            users[needed].append(index)
    ready = [index for index, count in enumerate(waiting) if count == 0]
    heapify(ready)
    order: list[int] = []
    while ready:
        index = heappop(ready)
        order.append(index)
        for user in users[index]:
            waiting[user] -= 1
            if waiting[user] == 0:
                heappush(ready, user)
    if len(order) < len(nodes):
        left = next(index for index, count in enumerate(waiting) if count > 0)
        path = [left]
        while True:
            following = next(index for index in sorted(needs[path[-1]]) if waiting[index] > 0)
            if following in path:
                cycle = path[path.index(following) :]
                break
            path.append(following)
        names = " <- ".join(f"'{_name(nodes[i])}'" for i in [*cycle, cycle[0]])
        raise InvalidModel(f"the graph has a cycle: {names}", file=file, node=cycle[0])
    return [(index, nodes[index]) for index in order]


def names_read(node: NodeProto) -> Iterable[str]:
    """Inputs of a node, and the outer names its subgraphs read."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in [attribute.g] if attribute.HasField("g") else attribute.graphs:
            yield from captured(graph)


def captured(graph: GraphProto) -> list[str]:
    """The names of the surroundings that a subgraph reads, in order of first use."""
    own = {i.name for i in graph.input} | {i.name for i in graph.initializer}
    own |= {s.values.name for s in graph.sparse_initializer} | {name for node in graph.node for name in node.output}
    read = [name for node in graph.node for name in names_read(node)] + [output.name for output in graph.output]
    return list(dict.fromkeys(name for name in read if name not in own))


def check_against_schema(node: Node, schema: OpSchema) -> None:
    """Raises InvalidModel for too few or too many operands and for attributes that the operator does not have."""
    if schema.deprecated:
        raise node.invalid(f"the operator is deprecated since opset {schema.since_version}")
    count = len(node.inputs)
    while count and not node.inputs[count - 1]:
        count -= 1
    if not schema.min_input <= len(node.inputs) or count > schema.max_input:
        raise node.invalid(
            f"{len(node.inputs)} inputs, the operator takes {_range(schema.min_input, schema.max_input)}"
        )
    for i, name in enumerate(node.inputs[: schema.max_input]):
        formal = schema.inputs[min(i, len(schema.inputs) - 1)]
        required = formal.option != OpSchema.FormalParameterOption.Optional
        if required and not name and (node.op_type, node.version, i) not in _MAY_OMIT:
            raise node.invalid(f"input {i} ({formal.name}) is missing")
    if len(node.outputs) > schema.max_output:
        raise node.invalid(
            f"{len(node.outputs)} outputs, the operator has {_range(schema.min_output, schema.max_output)}"
        )
    for attribute in node.proto.attribute:
        if attribute.name not in schema.attributes:
            known = ", ".join(f"'{name}'" for name in sorted(schema.attributes)) or "none"
            raise node.invalid(
                f"unknown attribute '{attribute.name}'", remedy=f"Version {schema.since_version} has: {known}."
            )


def check_dtypes(node: Node, schema: OpSchema, dtypes: Sequence[str | None]) -> None:
    """Raises DTypeError for an operand of a dtype that the operator does not take there; None stands for what is no tensor."""
    for i, dtype in enumerate(dtypes):
        declared = schema.inputs[min(i, len(schema.inputs) - 1)] if schema.inputs else None
        if dtype is None or declared is None or _TYPE_TEXT[dtype] in declared.types:
            continue
        known = [name for name, text in _TYPE_TEXT.items() if text in declared.types]
        raise DTypeError(
            f"{node.title}: input {i} ({declared.name}) is {dtype}, the operator takes {', '.join(known) or 'no tensor'}",
            node=node.index,
            file=node.file,
        )


def plain_inputs(schema: OpSchema) -> int:
    """How many inputs the operator has before a variadic one."""
    return sum(declared.option != _VARIADIC for declared in schema.inputs)


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} or more" if high > 1 << 16 else f"{low} to {high}"


def _name(node: NodeProto) -> str:
    return node.name or f"{node.op_type}({', '.join(node.output)})"
