"""Models that are one cut away from a model: fewer outputs and nodes, smaller sizes, simpler weights. Whether one is still a model that
anything accepts, nobody has tested: who asks for them tries them.

A value that a node reads and that nothing computes any more becomes an input of the graph, of the type that shape inference finds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, numpy_helper
from onnx.defs import OpSchema

from mlc.frontends.onnx.checks import names_read
from mlc.frontends.onnx.cut import part
from mlc.frontends.onnx.node import canonical_domain

# Elements of a weight that shape inference may read; it needs no others, and is given none.
_READ_BY_INFERENCE = 64
_PLACES = ("axis", "axes", "perm")  # attributes whose numbers are no extents
_CONSTANTS = ("value", "value_float", "value_floats", "value_int", "value_ints")

Types = Mapping[str, TypeProto]


def tidy(proto: ModelProto) -> ModelProto:
    """Without descriptions and stated shapes of what is computed; constants are initializers."""
    constants = [_constant(node) for node in proto.graph.node]
    found = _with(proto, [node for node, tensor in zip(proto.graph.node, constants, strict=True) if tensor is None])
    found.graph.initializer.extend(tensor for tensor in constants if tensor is not None)
    del found.metadata_props[:]
    found.doc_string = found.graph.doc_string = ""
    for node in found.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    return found


def is_sound(proto: ModelProto) -> bool:
    """Whether every node has the operands and attributes that its schema asks for, where it has one."""
    versions = {canonical_domain(entry.domain): entry.version for entry in proto.opset_import}
    return all(_is_complete(node, versions) for node in proto.graph.node)


def _is_complete(node: NodeProto, versions: Mapping[str, int]) -> bool:
    domain = canonical_domain(node.domain)
    try:
        schema = onnx.defs.get_schema(node.op_type, versions.get(domain, 1), domain)
    except onnx.defs.SchemaError:
        return True
    given = {attribute.name for attribute in node.attribute}
    needed = [parameter.option == OpSchema.FormalParameterOption.Single for parameter in schema.inputs]
    return (
        schema.min_input <= len(node.input) <= schema.max_input
        and all(name or not need for name, need in zip(node.input, needed, strict=False))
        and all(name in given for name, attribute in schema.attributes.items() if attribute.required)
    )


def types(proto: ModelProto) -> dict[str, TypeProto]:
    """The types of the values of a graph, as far as shape inference finds them."""
    graph = proto.graph
    large = [tensor for tensor in graph.initializer if _count(tensor) > _READ_BY_INFERENCE]
    declared = {value.name for value in graph.input}
    described = [
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in large
        if tensor.name not in declared
    ]
    model = ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import, functions=proto.functions)
    model.graph.CopyFrom(
        GraphProto(
            name=graph.name,
            node=graph.node,
            input=[*graph.input, *described],
            output=graph.output,
            initializer=[tensor for tensor in graph.initializer if _count(tensor) <= _READ_BY_INFERENCE],
            sparse_initializer=graph.sparse_initializer,
        )
    )
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # noqa: BLE001  it has classes of its own; what it cannot infer is not known
        inferred = model.graph
    values = (*inferred.value_info, *inferred.output, *inferred.input)
    return {value.name: value.type for value in values if value.type.WhichOneof("value")}


def without_nodes(proto: ModelProto, gone: Collection[int], known: Types) -> ModelProto | None:
    """Without these nodes, by their numbers; values that only they read become outputs. None where nothing would be left, or the type of
    a new input is not known."""
    graph = proto.graph
    nodes = [node for number, node in enumerate(graph.node) if number not in gone]
    if not nodes:
        return None
    made = {name for node in nodes for name in node.output if name}
    read = list(dict.fromkeys(name for node in nodes for name in names_read(node)))
    outputs = [value.name for value in graph.output if value.name in made]
    outputs += [
        name
        for node in nodes
        if not set(node.output).intersection((*read, *outputs))
        for name in node.output
        if name and name not in outputs
    ]
    given = {value.name for value in graph.input} | _weights(graph)
    asked = [name for name in read if name not in made and name not in given]
    if not all(_is_tensor(known.get(name)) for name in asked):
        return None
    found = _with(proto, nodes, outputs, known)
    found.graph.input.extend(ValueInfoProto(name=name, type=known[name]) for name in asked)
    return _retyped(part(found, outputs))


def with_outputs(proto: ModelProto, names: Collection[str]) -> ModelProto:
    """With some of its outputs, and what they need."""
    kept = [value.name for value in proto.graph.output if value.name in names]
    return _retyped(part(proto, kept))


def bypassed(proto: ModelProto, number: int, known: Types) -> Iterator[ModelProto]:
    """Without a node: what reads its result reads one of its operands of the same type."""
    node = proto.graph.node[number]
    if sum(map(bool, node.output)) != 1 or any(a.HasField("g") or a.graphs for a in node.attribute):
        return
    result = next(name for name in node.output if name)
    made = {name for other in proto.graph.node for name in other.output}
    is_output = any(value.name == result for value in proto.graph.output)
    for operand in dict.fromkeys(name for name in node.input if name):
        if known.get(operand) is None or known.get(operand) != known.get(result) or (is_output and operand not in made):
            continue
        found = _with(proto, [other for place, other in enumerate(proto.graph.node) if place != number])
        for other in found.graph.node:
            for place, name in enumerate(other.input):
                if name == result:
                    other.input[place] = operand
        names = [operand if value.name == result else value.name for value in proto.graph.output]
        yield _retyped(part(found, list(dict.fromkeys(names))))


def extents(proto: ModelProto) -> list[int | str]:
    """The sizes above 1 and the symbols in the shapes of inputs and weights, the largest first."""
    dims = [dim for value in proto.graph.input for dim in value.type.tensor_type.shape.dim]
    symbols: list[int | str] = list(dict.fromkeys(dim.dim_param for dim in dims if dim.dim_param))
    sizes = {dim.dim_value for dim in dims} | {size for tensor in proto.graph.initializer for size in tensor.dims}
    return symbols + sorted((size for size in sizes if size > 1), reverse=True)


def resized(proto: ModelProto, old: int | str, new: int) -> Iterator[ModelProto]:
    """With another size in place of one of `extents`: in shapes alone, in integer weights too, in attributes too."""
    for reach in range(1 if isinstance(old, str) else 3):
        found = ModelProto()
        found.CopyFrom(proto)
        for value in found.graph.input:
            for dim in value.type.tensor_type.shape.dim:
                if old in (dim.dim_param, dim.dim_value):
                    dim.dim_value = new
        if isinstance(old, int):
            for tensor in found.graph.initializer:
                _resize(tensor, old, new, reach > 0)
            if reach > 1:
                _resize_attributes(found, old, new)
        yield _retyped(found)


def plain_weights(proto: ModelProto, names: Collection[str], value: int) -> ModelProto | None:
    """With these initializers filled with 0 or 1; None where each is as simple already."""
    found = ModelProto()
    found.CopyFrom(proto)
    changed = False
    for tensor in found.graph.initializer:
        if tensor.name not in names or not tensor.dims or tensor.data_type == TensorProto.STRING:
            continue
        array = numpy_helper.to_array(tensor)
        if array.size and np.any(array != 0) and (value == 0 or np.any(array != 1)):
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(array, value), tensor.name))
            changed = True
    return found if changed else None


def plainer_nodes(proto: ModelProto) -> Iterator[ModelProto]:
    """Without one attribute, or without the last operand of a node, which may be optional."""
    for number, node in enumerate(proto.graph.node):
        for place in range(len(node.attribute)):
            found = _with(proto, proto.graph.node)
            del found.graph.node[number].attribute[place]
            yield _retyped(found)
        if len(node.input) > 1:
            found = _with(proto, proto.graph.node)
            del found.graph.node[number].input[-1]
            yield _retyped(part(found, [value.name for value in proto.graph.output]))


def _with(
    proto: ModelProto, nodes: Collection[NodeProto], outputs: Collection[str] | None = None, known: Types | None = None
) -> ModelProto:
    found = ModelProto()
    found.CopyFrom(proto)
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del found.graph.node[:], found.graph.value_info[:]
    found.graph.node.extend(kept)
    if outputs is not None:
        del found.graph.output[:]
        found.graph.output.extend(ValueInfoProto(name=name, type=(known or {}).get(name)) for name in outputs)
    return found


def _retyped(proto: ModelProto) -> ModelProto:
    """The shapes of outputs are what the nodes say now; where that is not known, their element types are kept."""
    _forget_shapes(proto.graph)
    found = types(proto)
    for value in proto.graph.output:
        if _is_tensor(found.get(value.name)):
            value.type.CopyFrom(found[value.name])
    return proto


def _forget_shapes(graph: GraphProto) -> None:
    """Of what is computed, in subgraphs too."""
    del graph.value_info[:]
    for value in graph.output:
        if _is_tensor(value.type):
            value.type.tensor_type.ClearField("shape")
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                _forget_shapes(inner)


def _is_tensor(type_: TypeProto | None) -> bool:
    return type_ is not None and type_.HasField("tensor_type") and type_.tensor_type.elem_type != 0


def _weights(graph: GraphProto) -> set[str]:
    return {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}


def _count(tensor: TensorProto) -> int:
    return int(np.prod(tensor.dims, dtype=object)) if tensor.dims else 1


def _constant(node: NodeProto) -> TensorProto | None:
    """The value of a node Constant, as an initializer."""
    if (
        node.op_type != "Constant"
        or node.domain
        or len(node.attribute) != 1
        or node.attribute[0].name not in _CONSTANTS
    ):
        return None
    attribute: AttributeProto = node.attribute[0]
    tensor = TensorProto()
    if attribute.name == "value":
        tensor.CopyFrom(attribute.t)
    else:
        dtype = np.float32 if "float" in attribute.name else np.int64
        tensor = numpy_helper.from_array(np.asarray(onnx.helper.get_attribute_value(attribute), dtype))
    tensor.name = node.output[0]
    return tensor


def _resize(tensor: TensorProto, old: int, new: int, entries: bool) -> None:
    if tensor.data_type == TensorProto.STRING:
        return
    if old in tensor.dims:
        array = numpy_helper.to_array(tensor)[tuple(slice(new if size == old else None) for size in tensor.dims)]
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))
    if entries and tensor.data_type in (TensorProto.INT64, TensorProto.INT32) and len(tensor.dims) < 2:
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(np.where(array == old, array.dtype.type(new), array), tensor.name))


def _resize_attributes(proto: ModelProto, old: int, new: int) -> None:
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.name in _PLACES:
                continue
            if attribute.type == AttributeProto.INT and attribute.i == old:
                attribute.i = new
            for place, size in enumerate(attribute.ints):
                if size == old:
                    attribute.ints[place] = new
