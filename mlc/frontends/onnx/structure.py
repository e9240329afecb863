"""Inputs that are sequences or optional values: a model with tensors in their place, for a form that a call has.

    seq(float[N]) xs, with two elements      ->      float[N] xs[0], float[N] xs[1];  xs = SequenceConstruct(xs[0], xs[1])
    optional(float[3]) x, that is empty      ->      x = Optional<type>()

A sequence in an ONNX file says nothing of its length, which decides what a graph of tensors is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from onnx import ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto
from onnx.helper import make_node

from mlc.errors import MlcError, UnsupportedOp
from mlc.frontends.onnx.reader import Model

# What a call gives: nothing, the rank of a tensor, or the ranks of the elements of a sequence.
Form = None | int | tuple[int, ...]


class NeedsForm(UnsupportedOp):
    """An input is a sequence or an optional value, of which the file does not say how many tensors it holds."""


def structured(values: Sequence[ValueInfoProto]) -> list[str]:
    """The names of those that are no plain tensors."""
    return [v.name for v in values if v.type.WhichOneof("value") in ("sequence_type", "optional_type")]


def form_text(type: TypeProto) -> str:
    """As onnxruntime names types: seq(tensor(float))."""
    kind = type.WhichOneof("value")
    if kind == "sequence_type":
        return f"seq({form_text(type.sequence_type.elem_type)})"
    if kind == "optional_type":
        return f"optional({form_text(type.optional_type.elem_type)})"
    return f"tensor({TensorProto.DataType.Name(type.tensor_type.elem_type).lower()})"


def part(name: str, number: int) -> str:
    """What an element of a sequence is called where it stands alone."""
    return f"{name}[{number}]"


@dataclass(frozen=True)
class _Parts:
    """Tensors in place of one input, and the nodes that make it of them."""

    inputs: list[ValueInfoProto]
    nodes: list[NodeProto]


def written_out(model: Model, forms: Mapping[str, Form]) -> Model:
    """The model with plain tensors in place of these inputs. Raises MlcError for a form that the type of the input does not have."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    inputs: list[ValueInfoProto] = []
    nodes: list[NodeProto] = []
    for declared in model.proto.graph.input:
        if declared.name not in forms:
            inputs.append(declared)
            continue
        parts = _parts(declared, forms[declared.name])
        inputs += parts.inputs
        nodes += parts.nodes
    nodes += model.proto.graph.node
    del proto.graph.input[:], proto.graph.node[:]
    proto.graph.input.extend(inputs)
    proto.graph.node.extend(nodes)
    return replace(model, proto=proto)


def _parts(declared: ValueInfoProto, form: Form) -> _Parts:
    name, type = declared.name, declared.type
    if type.WhichOneof("value") == "optional_type":
        if form is None:
            return _Parts([], [make_node("Optional", [], [name], name=name, type=type.optional_type.elem_type)])
        type = type.optional_type.elem_type
    if type.WhichOneof("value") == "sequence_type" and isinstance(form, tuple):
        element = type.sequence_type.elem_type
        inputs = [_tensor(part(name, number), element, rank) for number, rank in enumerate(form)]
        if inputs:
            return _Parts(inputs, [make_node("SequenceConstruct", [i.name for i in inputs], [name], name=name)])
        kind = element.tensor_type.elem_type
        return _Parts([], [make_node("SequenceEmpty", [], [name], name=name, dtype=kind)])
    if type.WhichOneof("value") == "tensor_type" and isinstance(form, int):
        return _Parts([_tensor(name, type, form)], [])
    given = "nothing" if form is None else "a tensor" if isinstance(form, int) else "a list"
    raise MlcError(
        f"input '{name}' is {form_text(declared.type)}, given is {given}",
        remedy="A sequence is a list of arrays, and an optional value None, or what it holds.",
    )


def _tensor(name: str, type: TypeProto, rank: int) -> ValueInfoProto:
    """Of the declared shape where that has as many axes; files often leave it out, or write a scalar. Sizes of elements differ, also where the
    file has one name for them."""
    found = ValueInfoProto(name=name, type=type)
    shape = found.type.tensor_type.shape
    for dim in shape.dim:
        dim.ClearField("dim_param")
    if len(shape.dim) != rank:
        del shape.dim[:]
        for _ in range(rank):
            shape.dim.add()
    return found
