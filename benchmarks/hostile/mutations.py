"""Changes to files, each decided by one generator of random numbers: bytes of any file, fields of a parsed ONNX model, words of IR text."""

from __future__ import annotations

import random
import re

from google.protobuf.message import Message
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto

EXTREMES = (
    0,
    1,
    -1,
    2,
    3,
    7,
    255,
    4096,
    65537,
    1 << 20,
    1 << 31,
    -(1 << 31),
    (1 << 31) - 1,
    1 << 40,
    (1 << 63) - 1,
    -(1 << 63),
)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 3.4e38, float("inf"), float("-inf"), float("nan"))
NAMES = ("", "x", "y", "N", "N*N", "N//0", "a b", "\u00e9", "-1", "..", "n" * 300)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bits flipped, or a piece cut out, cut off, repeated, moved or overwritten."""
    found = bytearray(data)
    if not found:
        return bytes(rng.randrange(256) for _ in range(8))
    at, length = rng.randrange(len(found)), rng.choice((1, 2, 4, 8, 64, 512))
    match rng.randrange(6):
        case 0:
            for _ in range(rng.choice((1, 1, 2, 4, 16))):
                found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
        case 1:
            del found[at:]
        case 2:
            del found[at : at + length]
        case 3:
            found[at:at] = found[at : at + length]
        case 4:
            piece = found[at : at + length]
            del found[at : at + length]
            to = rng.randrange(len(found) + 1)
            found[to:to] = piece
        case _:
            found[at : at + length] = bytes([rng.choice((0, 0xFF, 0x7F, 0x80))]) * length
    return bytes(found)


def edited_model(data: bytes, rng: random.Random, operators: list[str]) -> bytes:
    """An ONNX model with one to three of its fields changed; still a well-formed message."""
    model = ModelProto.FromString(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        rng.choice((_node, _node, _attribute, _attribute, _initializer, _shape, _header, _field))(model, rng, operators)
    return model.SerializeToString()


def edited_text(text: str, rng: random.Random) -> str:
    """IR text with a number, a word or a line changed."""
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    other = lines[rng.randrange(len(lines))]
    match rng.randrange(6):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, other)
        case 2:
            to = rng.randrange(len(lines))
            lines[at], lines[to] = lines[to], lines[at]
        case 3 | 4:
            numbers = list(re.finditer(r"-?\d+", text))
            if numbers:
                chosen = rng.choice(numbers)
                return text[: chosen.start()] + str(rng.choice(EXTREMES)) + text[chosen.end() :]
        case _:
            words = re.findall(r"[%@#\"]?\w[\w.]*", text)
            old, new = rng.choice(words), rng.choice(words)
            return text.replace(old, new, rng.choice((1, -1)))
    return "\n".join(lines)


def _values(model: ModelProto) -> list[str]:
    graph = model.graph
    return [
        "",
        *(i.name for i in graph.input),
        *(t.name for t in graph.initializer),
        *(o for n in graph.node for o in n.output),
    ]


def _node(model: ModelProto, rng: random.Random, operators: list[str]) -> None:
    nodes = model.graph.node
    if not nodes:
        return
    at = rng.randrange(len(nodes))
    node = nodes[at]
    match rng.randrange(8):
        case 0:
            del nodes[at]
        case 1:
            nodes.append(node)
        case 2:
            node.op_type = rng.choice(operators)
        case 3 | 4 if node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice(_values(model))
        case 5 if node.input:
            del node.input[rng.randrange(len(node.input))]
        case 6:
            node.input.append(rng.choice(_values(model)))
        case _ if node.output:
            node.output[rng.randrange(len(node.output))] = rng.choice(_values(model))


def _attribute(model: ModelProto, rng: random.Random, operators: list[str]) -> None:
    owners = [node for node in model.graph.node if node.attribute]
    if not owners:
        return
    node: NodeProto = rng.choice(owners)
    at = rng.randrange(len(node.attribute))
    attribute = node.attribute[at]
    match rng.randrange(6):
        case 0:
            del node.attribute[at]
        case 1:
            attribute.type = rng.choice(AttributeProto.AttributeType.values())
        case 2 if attribute.ints:
            del attribute.ints[rng.randrange(len(attribute.ints)) :]
        case 3:
            attribute.ints.append(rng.choice(EXTREMES))
        case _:
            attribute.i, attribute.f = rng.choice(EXTREMES), rng.choice(FLOATS)
            attribute.s = rng.choice(NAMES).encode()
            if attribute.ints:
                attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(EXTREMES)


def _initializer(model: ModelProto, rng: random.Random, operators: list[str]) -> None:
    tensors = [*model.graph.initializer, *(a.t for n in model.graph.node for a in n.attribute if a.HasField("t"))]
    if not tensors:
        return
    tensor: TensorProto = rng.choice(tensors)
    match rng.randrange(7):
        case 0:
            tensor.data_type = rng.choice(TensorProto.DataType.values())
        case 1 if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(EXTREMES)
        case 2:
            tensor.dims.append(rng.choice((0, 1, 2, -1)))
        case 3:
            tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]
        case 4:
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (
                ("location", rng.choice(NAMES)),
                ("offset", str(rng.choice(EXTREMES))),
                ("__class__", "int"),
            ):
                tensor.external_data.add(key=key, value=value)
        case 5 if tensor.data_type == TensorProto.INT64 and tensor.raw_data:
            count = len(tensor.raw_data) // 8
            at = rng.randrange(count) if count else 0
            value = rng.choice(EXTREMES).to_bytes(8, "little", signed=True)
            tensor.raw_data = tensor.raw_data[: 8 * at] + value + tensor.raw_data[8 * at + 8 :]
        case _ if tensor.int64_data:
            tensor.int64_data[rng.randrange(len(tensor.int64_data))] = rng.choice(EXTREMES)


def _shape(model: ModelProto, rng: random.Random, operators: list[str]) -> None:
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    if not values:
        return
    kind = rng.choice(values).type.tensor_type
    dims = kind.shape.dim
    match rng.randrange(5):
        case 0:
            kind.elem_type = rng.choice(TensorProto.DataType.values())
        case 1:
            dims.add().dim_value = rng.choice(EXTREMES)
        case 2 if dims:
            del dims[rng.randrange(len(dims))]
        case 3 if dims:
            rng.choice(dims).dim_param = rng.choice(NAMES)
        case _ if dims:
            rng.choice(dims).dim_value = rng.choice(EXTREMES)


def _header(model: ModelProto, rng: random.Random, operators: list[str]) -> None:
    match rng.randrange(4):
        case 0:
            model.ir_version = rng.choice(EXTREMES)
        case 1 if model.opset_import:
            rng.choice(model.opset_import).version = rng.choice((0, 1, 6, 7, 11, 13, 18, 21, 99, -1))
        case 2:
            model.opset_import.add(domain=rng.choice(NAMES), version=1)
        case _ if model.graph.output:
            del model.graph.output[rng.randrange(len(model.graph.output))]


def _field(model: ModelProto, rng: random.Random, operators: list[str]) -> None:
    """Any repeated field of any message: one element gone, doubled or swapped with another."""
    found: list = []
    waiting: list[Message] = [model]
    while waiting:
        for field, value in waiting.pop().ListFields():
            if isinstance(value, Message):
                waiting.append(value)
            elif field.is_repeated and field.message_type is not None:
                found.append(value)
                waiting += list(value)
    if not found:
        return
    field = rng.choice(found)
    at, to = rng.randrange(len(field)), rng.randrange(len(field))
    match rng.randrange(3):
        case 0:
            del field[at]
        case 1:
            field.add().CopyFrom(field[at])
        case _:
            kept = type(field[at])()
            kept.CopyFrom(field[at])
            field[at].CopyFrom(field[to])
            field[to].CopyFrom(kept)
