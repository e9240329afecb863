"""Cut a model at a node: its outputs become the model's, and nothing is kept that they do not need.

cut(model, "relu")      x -> conv -> relu -> FancyNorm -> y     becomes     x -> conv -> relu
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

from mlc.errors import MlcError
from mlc.frontends.onnx.checks import in_order, names_read
from mlc.frontends.onnx.node import node_name
from mlc.ir.spelling import nearest


def cut(proto: ModelProto, at: str) -> ModelProto:
    """A model with the part of the graph that computes `at`: a node by its name, or one value. Raises MlcError for a name that the graph
    has not, or that several nodes have."""
    return part(proto, _outputs(proto.graph, at))


def part(proto: ModelProto, outputs: Sequence[str]) -> ModelProto:
    """A model with these values as its outputs, and with nothing that they do not need."""
    graph = proto.graph
    kept, read = _needed(graph, outputs)
    typed = {value.name: value for value in (*graph.value_info, *graph.output)}
    found = GraphProto(
        name=graph.name,
        node=[_without_unread(node, read) for index, node in enumerate(graph.node) if index in kept],
        input=[value for value in graph.input if value.name in read],
        initializer=[tensor for tensor in graph.initializer if tensor.name in read],
        sparse_initializer=[tensor for tensor in graph.sparse_initializer if tensor.values.name in read],
        output=[typed.get(name, ValueInfoProto(name=name)) for name in outputs],
    )
    return ModelProto(
        ir_version=proto.ir_version,
        opset_import=proto.opset_import,
        producer_name=proto.producer_name,
        producer_version=proto.producer_version,
        functions=proto.functions,
        graph=found,
    )


def advice(graph: GraphProto, broken: Iterable[str]) -> str | None:
    """Where to cut a graph of which these values cannot be built: at what the first node that makes one of them reads. None where
    nothing before it computes."""
    broken = set(broken)
    inputs = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
    order = [node for _, node in in_order(graph.node, None)]
    first = next((node for node in order if broken.intersection(node.output)), None)
    wanted = set() if first is None else set(names_read(first))
    for node in reversed(order):
        outputs = [name for name in node.output if name]
        if wanted.isdisjoint(outputs) or not broken.isdisjoint(outputs):
            continue
        kept, read = _needed(graph, outputs)
        if inputs & read:
            assert first is not None
            count = f"{len(kept):,} node{'s' * (len(kept) != 1)}"
            return f"Everything before '{node_name(first)}' compiles ({count}) with --until '{_spelling(graph, node)}'."
    return None


def _outputs(graph: GraphProto, at: str) -> list[str]:
    named = [node for node in graph.node if node_name(node) == at]
    if len(named) > 1:
        choices = ", ".join(f"'{name}'" for node in named for name in node.output if name)
        raise MlcError(f"{len(named)} nodes are called '{at}'", remedy=f"Name one of their outputs: {choices}.")
    if named:
        return [name for name in named[0].output if name]
    values = [name for node in graph.node for name in node.output if name]
    if at in values:
        return [at]
    near = nearest(at, [*map(node_name, graph.node), *values], 3)
    raise MlcError(
        f"there is no node or value '{at}' in the model",
        remedy=f"Did you mean {' or '.join(map(repr, near))}?" if near else None,
    )


def _needed(graph: GraphProto, values: Iterable[str]) -> tuple[set[int], set[str]]:
    """Indices of the nodes that compute these values, and all names that are read on the way."""
    maker = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    read, kept, waiting = set(values), set(), list(values)
    while waiting:
        index = maker.get(waiting.pop())
        if index is None or index in kept:
            continue
        kept.add(index)
        names = set(names_read(graph.node[index]))
        waiting += names - read
        read |= names
    return kept, read


def _without_unread(node: NodeProto, read: set[str]) -> NodeProto:
    """A classifier without the labels that nothing reads, which may be strings. Other operators keep their outputs: other engines take an
    empty name only where the operator calls an output optional."""
    if node.domain != "ai.onnx.ml":
        return node
    outputs = [name if name in read else "" for name in node.output]
    if outputs == list(node.output):
        return node
    copy = NodeProto()
    copy.CopyFrom(node)
    del copy.output[:]
    copy.output.extend(outputs)
    return copy


def _spelling(graph: GraphProto, node: NodeProto) -> str:
    """A name that `cut` takes for this node."""
    alone = sum(node_name(other) == node.name for other in graph.node) == 1
    return node.name if alone else next(name for name in node.output if name)
