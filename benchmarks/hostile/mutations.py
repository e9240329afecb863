"""Changes to files, each decided by one generator of random numbers: bytes of any file, fields of a parsed ONNX model and of its bodies, words, types
and sizes of IR text, entries of JSON."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

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
EXTENTS = (
    "N",
    "T",
    "M",
    "0",
    "1",
    "7",
    "N - 3",
    "N + 1",
    "2*N",
    "N*N",
    "N//2",
    "N//0",
    "min(1, N)",
    "max(4, N)",
    "-1*N",
    "1048576*N",
)
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
        rng.choice((_node, _node, _attribute, _attribute, _initializer, _shape, _header, _field, _body))(
            model, rng, operators
        )
    return model.SerializeToString()


def edited_text(text: str, rng: random.Random) -> str:
    """IR text with a number, a word, a line, a type or a size changed."""
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    other = lines[rng.randrange(len(lines))]
    match rng.randrange(11):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, other)
        case 2:
            to = rng.randrange(len(lines))
            lines[at], lines[to] = lines[to], lines[at]
        case 3 | 4:
            return _one(text, r"-?\d+", rng, lambda _: str(rng.choice(EXTREMES)))
        case 5:  # a type, or the argument of a body, wherever it stands: what uses a value names its type too
            types = re.findall(r"tensor<[^<>]*(?:<[^<>]*>)?[^<>]*>", text)
            return _everywhere(text, types, types, rng)
        case 6:
            types = re.findall(r"tensor<\d[^<>]*>", text)
            changed = [re.sub(r"\d+(?=x)", str(rng.choice((0, 1, 2, 9, 4096))), kind, count=1) for kind in types]
            return _everywhere(text, types, changed, rng)
        case 7:  # a size in types, and in the attributes of ops
            return _everywhere(text, re.findall(r'(?<=")[^"]*\b[NTM]\b[^"]*(?=")', text), EXTENTS, rng)
        case 8:
            return _attributes(text, rng)
        case 9:
            return _one(text, r"-?\d+\.\d+(?:e[-+]\d+)?", rng, lambda _: f"{rng.choice(FLOATS):e}")
        case _:
            words = re.findall(r"[%@#\"]?\w[\w.]*", text)
            return text.replace(rng.choice(words), rng.choice(words), rng.choice((1, -1)))
    return "\n".join(lines)


def edited_json(text: str, rng: random.Random) -> str:
    """JSON with an entry changed, doubled, taken out or exchanged with another, somewhere inside."""
    data = json.loads(text)
    places: list[tuple[Any, Any]] = []
    waiting = [data]
    while waiting:
        item = waiting.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item))
        places += [(item, key) for key in keys]
        waiting += [item[key] for key in keys if isinstance(item[key], dict | list)]
    if not places:
        return text
    (owner, key), (other, there) = rng.choice(places), rng.choice(places)
    match rng.randrange(6):
        case 0:
            del owner[key]
        case 1 if isinstance(owner, list):
            owner.append(owner[key])
        case 2:
            owner[key] = json.loads(json.dumps(other[there]))
        case 3 if isinstance(owner[key], str):
            owner[key] = rng.choice((*EXTENTS, *NAMES))
        case _:
            owner[key] = rng.choice((*EXTREMES, *NAMES, None, True, [], {}))
    return json.dumps(data)


def _one(text: str, pattern: str, rng: random.Random, change: Callable[[str], str]) -> str:
    """One of what the pattern finds changed."""
    found = list(re.finditer(pattern, text))
    if not found:
        return text
    chosen = rng.choice(found)
    return text[: chosen.start()] + change(chosen[0]) + text[chosen.end() :]


def _everywhere(text: str, old: Sequence[str], new: Sequence[str], rng: random.Random) -> str:
    """One text for another, everywhere or from one place on."""
    if not old or not new:
        return text
    taken, put = rng.choice(old), rng.choice(new)
    start = rng.choice((0, rng.randrange(len(text))))
    return text[:start] + text[start:].replace(taken, put)


def _attributes(text: str, rng: random.Random) -> str:
    """What a module says of its sizes, and a function of the places of its results."""
    match rng.randrange(4):
        case 0:
            return re.sub(r"graph\.checks = \[.*?\]\]", "graph.checks = []", text)
        case 1:
            return _one(text, r'\["[^"]*", "[^"]*", "[^"]*"\](?:, )?', rng, lambda _: "")
        case 2:
            return _one(
                text, r"= \[\d+ : i64(?:, \d+ : i64)?\]", rng, lambda _: f"= [{rng.choice((0, 1, 4, 64))} : i64]"
            )
        case _:
            names = re.findall(r'graph\.name = "([^"]*)"', text) or ["x"]
            place = f'{rng.choice(("graph.alias", "graph.front"))} = "{rng.choice(names)}"'
            return _one(text, r'graph\.name = "[^"]*"', rng, lambda name: f"{name}, {place}")


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


def _body(model: ModelProto, rng: random.Random, operators: list[str]) -> None:
    """A change of the same kinds in the body of a loop or of a branch."""
    bodies = [a.g for node in model.graph.node for a in node.attribute if a.HasField("g")]
    if bodies:
        body = rng.choice(bodies)
        inner = ModelProto(graph=body)
        rng.choice((_node, _node, _attribute, _initializer, _shape))(inner, rng, operators)
        body.CopyFrom(inner.graph)


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
