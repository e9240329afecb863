"""Operators that are defined by other operators: functions of the model, and bodies that come with the standard's schemas.

One mechanism serves both. A body is nodes over named inputs, outputs and attributes; `instantiate` replaces its references to attributes by
the values a node gives, and the importer builds the nodes in place of the call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import AttributeProto, FunctionProto, NodeProto, TypeProto
from onnx.defs import OpSchema

from mlc.errors import InvalidModel
from mlc.frontends.onnx.node import canonical_domain

Name = tuple[str, str, str]  # domain, name, overload
ENDLESS = 10**15  # more nodes than anything can hold


@dataclass(frozen=True)
class Functions:
    """The functions of a model by (domain, name, overload)."""

    by_name: Mapping[Name, FunctionProto]

    @classmethod
    def of(cls, protos: Iterable[FunctionProto], file: str | None) -> Functions:
        """Raises InvalidModel for a name given twice and for functions that call themselves, directly or through others."""
        by_name: dict[Name, FunctionProto] = {}
        for proto in protos:
            name = (canonical_domain(proto.domain), proto.name, proto.overload)
            if name in by_name:
                raise InvalidModel(f"function '{_text(name)}' is defined twice", file=file)
            by_name[name] = proto
        functions = cls(by_name)
        functions._check_calls(file)
        return functions

    def written_out(self, nodes: Iterable[NodeProto]) -> int:
        """How many nodes these are with functions in place of their calls, every branch and body once; ENDLESS if there are more than that."""
        bodies = {name: Counter(map(_callee, all_nodes(proto.node))) for name, proto in self.by_name.items()}
        sizes: dict[Name, int] = {}

        def size(body: Counter[Name]) -> int:
            return min(ENDLESS, sum(count * (1 + sizes.get(callee, 0)) for callee, count in body.items()))

        waiting = list(bodies)
        while waiting:
            name = waiting[-1]
            missing = [] if name in sizes else [c for c in bodies[name] if c in bodies and c not in sizes]
            waiting += missing
            if not missing:
                waiting.pop()
                if name not in sizes:
                    sizes[name] = size(bodies[name])
        return size(Counter(map(_callee, all_nodes(nodes))))

    def find(self, node: NodeProto) -> FunctionProto | None:
        return self.by_name.get(_callee(node))

    def _check_calls(self, file: str | None) -> None:
        done: set[Name] = set()
        for root in self.by_name:
            path: list[Name] = []
            on_path: set[Name] = set()
            stack: list[tuple[Name, bool]] = [(root, False)]
            while stack:
                name, leaving = stack.pop()
                if leaving:
                    on_path.discard(path.pop())
                    done.add(name)
                    continue
                if name in on_path:
                    chain = " -> ".join(_text(n) for n in [*path[path.index(name) :], name])
                    raise InvalidModel(f"function '{_text(name)}' calls itself: {chain}", file=file)
                if name in done:
                    continue
                path.append(name)
                on_path.add(name)
                stack.append((name, True))
                called: set[Name] = set()
                for node in all_nodes(self.by_name[name].node):
                    callee = _callee(node)
                    if callee in self.by_name and callee not in called:
                        called.add(callee)
                        stack.append((callee, False))


def _callee(node: NodeProto) -> Name:
    return canonical_domain(node.domain), node.op_type, node.overload


def all_nodes(nodes: Iterable[NodeProto]) -> Iterable[NodeProto]:
    """The nodes and those of their subgraphs, at every depth."""
    stack = list(nodes)
    while stack:
        node = stack.pop()
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                stack.extend(attribute.g.node)
            for graph in attribute.graphs:
                stack.extend(graph.node)


def schema_body(schema: OpSchema, node: NodeProto, types: Sequence[TypeProto], opset: int) -> FunctionProto | None:
    """The body that the standard gives for this operator, written in the newest opset not above `opset`; None if there is none.

    Some bodies depend on which inputs are given and on their types: `types` has one entry per input of the node, empty for an omitted one.
    """
    own: Any = schema  # the package's stubs lack what concerns functions
    if version := _newest(own.function_opset_versions, opset):
        return FunctionProto.FromString(own.get_function_with_opset_version(version))
    if version := _newest(own.context_dependent_function_opset_versions, opset):
        body = own.get_context_dependent_function_with_opset_version(
            version, node.SerializeToString(), [t.SerializeToString() for t in types]
        )
        return FunctionProto.FromString(body) if body else None
    return None


def has_schema_body(schema: OpSchema, opset: int) -> bool:
    own: Any = schema
    return _newest([*own.function_opset_versions, *own.context_dependent_function_opset_versions], opset) is not None


def _newest(versions: Sequence[int], opset: int) -> int | None:
    return max((v for v in versions if v <= opset), default=None)


def instantiate(body: FunctionProto, call: NodeProto, schema: OpSchema | None) -> list[NodeProto]:
    """The nodes of a body with references to the function's attributes replaced by the call's values, or by defaults.

    Defaults are the function's own, or those of the schema it belongs to. An attribute that refers to one that is neither given nor has a
    default is left out.
    """
    values: dict[str, AttributeProto] = {default.name: default for default in body.attribute_proto}
    for name, attribute in schema.attributes.items() if schema is not None else ():
        if attribute.default_value.name:
            values[name] = attribute.default_value
    values.update({given.name: given for given in call.attribute})
    return [_bind(node, values) for node in body.node]


def _bind(node: NodeProto, values: Mapping[str, AttributeProto]) -> NodeProto:
    if not any(_refers(attribute) for attribute in node.attribute):
        return node
    bound = NodeProto()
    bound.CopyFrom(node)
    del bound.attribute[:]
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            value = values.get(attribute.ref_attr_name)
            if value is None:
                continue
            copy = bound.attribute.add()
            copy.CopyFrom(value)
            copy.name = attribute.name
        else:
            copy = bound.attribute.add()
            copy.CopyFrom(attribute)
            graphs = [copy.g] if copy.HasField("g") else copy.graphs
            for graph in graphs:
                nodes = [_bind(inner, values) for inner in graph.node]
                del graph.node[:]
                graph.node.extend(nodes)
    return bound


def _refers(attribute: AttributeProto) -> bool:
    if attribute.ref_attr_name:
        return True
    graphs = [attribute.g] if attribute.HasField("g") else attribute.graphs
    inner = (a for graph in graphs for node in all_nodes(graph.node) for a in node.attribute)  # at every depth
    return any(a.ref_attr_name for a in inner)


def opsets(imports: Iterable[onnx.OperatorSetIdProto], file: str | None, what: str = "the model") -> dict[str, int]:
    """Domain -> version of a model or function. Raises InvalidModel where one domain is given twice with different versions."""
    versions: dict[str, int] = {}
    for entry in imports:
        domain = canonical_domain(entry.domain)
        if versions.setdefault(domain, entry.version) != entry.version:
            raise InvalidModel(
                f"{what} imports opset {versions[domain]} and {entry.version} of domain '{domain or 'ai.onnx'}'",
                file=file,
            )
    return versions


def _text(name: Name) -> str:
    return ".".join(part for part in name if part)
