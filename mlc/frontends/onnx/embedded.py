"""Leave the bytes of large initializers in the model's file: a model of 500 MB parses like one of 1 MB.

Protobuf would copy every tensor out of the message, and NumPy once more. Instead the message is walked at the level of its
wire format, and each large `raw_data` of the main graph's initializers is replaced by a reference into the file:

    initializer { name: "w" dims: 768 dims: 768 data_type: 1 raw_data: <2359296 bytes> }
    initializer { name: "w" dims: 768 dims: 768 data_type: 1 data_location: EXTERNAL
                  external_data { location: EMBEDDED }  external_data { offset: 81234 }  external_data { length: 2359296 } }

Wire format: https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from onnx import GraphProto, ModelProto, StringStringEntryProto, TensorProto

EMBEDDED = "\0embedded"  # no path holds a zero byte
LARGE = 1 << 14  # bytes of raw_data from which a tensor stays in the file

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH = ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_INITIALIZER = GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
_RAW_DATA = TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number
_EXTERNAL_DATA = TensorProto.DESCRIPTOR.fields_by_name["external_data"].number
_DATA_LOCATION = TensorProto.DESCRIPTOR.fields_by_name["data_location"].number


_Rewrite = Callable[[memoryview, int, int], bytes]


class Malformed(Exception):
    """The bytes are no protobuf message; protobuf's own parser says it in its way."""


class Field(NamedTuple):
    """One field of a message: its number, where it starts, and where its value starts and ends."""

    number: int
    wire: int
    start: int
    value: int
    end: int


def without_large_tensors(data: memoryview) -> bytes:
    """The message of a ModelProto with references in place of large initializers. Raises Malformed."""
    return _rewritten(data, 0, len(data), _GRAPH, _graph)


def _graph(data: memoryview, start: int, end: int) -> bytes:
    return _rewritten(data, start, end, _INITIALIZER, _initializer)


def _rewritten(data: memoryview, start: int, end: int, number: int, rewrite: _Rewrite) -> bytes:
    """The message in data[start:end] with the sub-messages of one field number rewritten."""
    parts: list[bytes | memoryview] = []
    copied = start
    for field in _fields(data, start, end):
        if field.number == number and field.wire == _BYTES and field.end - field.value >= LARGE:
            value = rewrite(data, field.value, field.end)
            parts += [data[copied : field.start], _tag(number, _BYTES), _varint(len(value)), value]
            copied = field.end
    return b"".join([*parts, data[copied:end]])


def _initializer(data: memoryview, start: int, end: int) -> bytes:
    fields = list(_fields(data, start, end))
    raw = [field for field in fields if field.number == _RAW_DATA and field.wire == _BYTES]
    if len(raw) != 1 or any(field.number in (_EXTERNAL_DATA, _DATA_LOCATION) for field in fields):
        return bytes(data[start:end])
    (field,) = raw
    reference = TensorProto(data_location=TensorProto.EXTERNAL)
    for key, text in (("location", EMBEDDED), ("offset", f"{field.value}"), ("length", f"{field.end - field.value}")):
        reference.external_data.append(StringStringEntryProto(key=key, value=text))
    return b"".join([data[start : field.start], data[field.end : end], reference.SerializeToString()])


def _fields(data: memoryview, start: int, end: int) -> Iterator[Field]:
    position = start
    while position < end:
        tag, value = _read_varint(data, position, end)
        number, wire = tag >> 3, tag & 7
        if wire == _BYTES:
            length, value = _read_varint(data, value, end)
            after = value + length
        elif wire == _VARINT:
            _, after = _read_varint(data, value, end)
        elif wire in (_FIXED32, _FIXED64):
            after = value + (4 if wire == _FIXED32 else 8)
        else:
            raise Malformed(f"wire type {wire} at byte {position}")
        if number == 0 or after > end:
            raise Malformed(f"field {number} at byte {position} ends at {after} of {end}")
        yield Field(number, wire, position, value, after)
        position = after


def _read_varint(data: memoryview, position: int, end: int) -> tuple[int, int]:
    """(value, position after it)."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise Malformed(f"number cut off at byte {position}")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise Malformed(f"number of more than ten bytes at byte {position}")


def _tag(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
