"""Read an ONNX model from a file, bytes or a proto, and its tensors as arrays; large data of a file is mapped, never loaded at once.

A source is binary protobuf or ONNX's own text syntax (told apart by content). External data stays within the model's folder: a location that
is absolute, climbs out with "..", or leads out through a symbolic link is refused. Sizes are checked before anything is allocated.
"""

from __future__ import annotations

import math
import mmap
import os
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from onnx import ModelProto, NodeProto, SparseTensorProto, TensorProto

from mlc.errors import InvalidModel, MlcError, UnsupportedOp
from mlc.frontends.onnx import embedded
from mlc.frontends.onnx.cut import cut
from mlc.frontends.onnx.element_types import DTYPES, element_type_name
from mlc.frontends.onnx.tensor import Tensor
from mlc.ir.dtypes import TABLE, unpacked
from mlc.ir.types import numpy_dtype
from mlc.ir.weight_origin import Place

OLDEST_IR = 3  # older files do not say which opset they use
MAPPED_FROM = 1 << 20  # bytes; smaller files are read at once
LARGEST_TENSOR = 1 << 40  # bytes; a declared size above this is a damaged or hostile file


@dataclass(frozen=True)
class Model:
    """A parsed model: the proto, the name to call it by in errors, the folder of its external data (None: not from a file), and the
    mapped file, where large tensors are left in it."""

    proto: ModelProto
    file: str | None
    folder: Path | None
    mapped: memoryview | None = None


def read(source: str | os.PathLike[str] | bytes | ModelProto | Model, until: str | None = None) -> Model:
    """Parse a model, and cut it at a node or value; one that was read before is as it is. Raises InvalidModel for a file that is missing, truncated or of another kind."""
    if isinstance(source, Model):
        return source
    if isinstance(source, ModelProto):
        model = Model(source, None, None)
    elif isinstance(source, bytes | bytearray | memoryview):
        model = Model(_parse(bytes(source), None), None, None)
    else:
        path = Path(source)
        try:
            model = _read_file(path)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InvalidModel(f"cannot read {path}: {reason}", file=str(path)) from error
    _check_header(model)
    _check_text(model)
    return model if until is None else replace(model, proto=cut(model.proto, until))


def _read_file(path: Path) -> Model:
    if path.stat().st_size >= MAPPED_FROM:
        with path.open("rb") as file:
            mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        try:
            return Model(_parse(embedded.without_large_tensors(mapped), str(path)), str(path), path.parent, mapped)
        except embedded.Malformed:
            pass  # text syntax, or damaged: the parsers below say what is wrong with it
    return Model(_parse(path.read_bytes(), str(path)), str(path), path.parent)


def _parse(data: bytes, file: str | None) -> ModelProto:
    if not data:
        raise InvalidModel("the model is empty", file=file, remedy="0 bytes: the download or export did not finish.")
    if (
        data.lstrip()[:1] == b"<"
    ):  # the text syntax opens with <ir_version: ...>; no protobuf message can start with this byte
        try:
            return onnx.parser.parse_model(data.decode())
        except (onnx.parser.ParseError, UnicodeDecodeError) as error:
            detail = " ".join(str(error).split())
            raise InvalidModel(f"not a model in ONNX text syntax: {detail}", file=file) from error
    try:
        return ModelProto.FromString(data)
    except DecodeError as error:
        remedy = "The file is truncated, damaged or of another format."
        if data.startswith(b"version https://git-lfs"):
            remedy = "It is a Git LFS pointer: fetch the file itself with `git lfs pull`."
        raise InvalidModel(f"not an ONNX model ({len(data)} bytes)", file=file, remedy=remedy) from error


def _check_header(model: Model) -> None:
    proto = model.proto
    if not proto.HasField("graph"):
        raise InvalidModel(
            "the model has no graph", file=model.file, remedy="The file is truncated, damaged or of another format."
        )
    if proto.ir_version < OLDEST_IR:
        raise UnsupportedOp(
            f"IR version {proto.ir_version} is older than {OLDEST_IR}",
            file=model.file,
            remedy="Export the model again.",
        )
    if proto.ir_version > onnx.IR_VERSION:
        raise UnsupportedOp(
            f"IR version {proto.ir_version} is newer than {onnx.IR_VERSION}, the newest that onnx {onnx.__version__} knows",
            file=model.file,
            remedy="Upgrade the onnx package, or export with an older opset.",
        )


def _check_text(model: Model) -> None:
    """Names and attributes are UTF-8; protobuf hands what is not on as bytes, or fails when it is first read."""
    stack: list[Any] = [model.proto]
    while stack:
        message = stack.pop()
        if isinstance(message, TensorProto):  # its other fields are data, which is not to be copied here
            texts: list[Any] = [message.name]
        else:
            try:
                fields = [value for _, value in message.ListFields()]
            except UnicodeDecodeError as error:
                raise InvalidModel(f"the model holds text that is not UTF-8: {error}", file=model.file) from error
            texts = [message.name] if hasattr(message, "name") else []
            texts += [message.op_type, message.domain] if isinstance(message, NodeProto) else []
            for value in fields:
                if isinstance(value, Message):
                    stack.append(value)
                elif not isinstance(value, str | bytes | int | float):
                    elements = list(value)
                    stack.extend(e for e in elements if isinstance(e, Message))
                    texts += elements if isinstance(message, NodeProto) else []
        if any(isinstance(text, bytes) for text in texts):
            raise InvalidModel(
                "the model holds a name that is not UTF-8", file=model.file, remedy="The file is damaged."
            )


def tensor(proto: TensorProto, model: Model) -> Tensor:
    """A tensor of the file, checked: element type supported, dims against the bytes that are there."""
    name = proto.name or "(unnamed)"
    dtype = DTYPES.get(proto.data_type)
    if dtype is None:
        raise UnsupportedOp(
            f"tensor '{name}': element type {element_type_name(proto.data_type)} is not supported", file=model.file
        )
    shape = tuple(proto.dims)
    count = _element_count(name, shape, model)
    need = stored_bytes(dtype, count)
    if count * numpy_dtype(dtype).itemsize > LARGEST_TENSOR:
        raise _damaged(name, model, f"shape {list(shape)} needs {count * numpy_dtype(dtype).itemsize} bytes")
    if proto.data_location == TensorProto.EXTERNAL:
        return _external(proto, name, shape, dtype, model)
    if proto.HasField("raw_data"):
        have = len(proto.raw_data)
        if have != need:
            raise _damaged(name, model, f"{dtype} of shape {list(shape)} needs {need} bytes, the file has {have}")
        raw = proto.raw_data
        return Tensor(name, shape, dtype, lambda: elements(np.frombuffer(raw, np.uint8), dtype, shape))
    field = onnx.helper.tensor_dtype_to_field(proto.data_type)
    have, entries = len(getattr(proto, field)), need if TABLE[dtype].packed else count
    if have != entries:
        raise _damaged(name, model, f"shape {list(shape)} needs {entries} elements, the file has {have}")
    return Tensor(name, shape, dtype, lambda: onnx.numpy_helper.to_array(proto))


def stored_bytes(dtype: str, count: int) -> int:
    """Bytes of a tensor's elements in the file: those of less than a byte follow each other bit by bit."""
    row = TABLE[dtype]
    return -(-count * row.bits // 8) if row.bits < 8 and row.storage else count * row.numpy.itemsize


def elements(data: np.ndarray, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """The tensor whose little-endian bytes these are; a view of them where an element is whole bytes."""
    row = TABLE[dtype]
    if row.bits < 8 and row.storage:
        return unpacked(data, row, math.prod(shape)).reshape(shape)
    array = data.view(row.numpy.newbyteorder("<") if row.numpy.isbuiltin == 1 else row.numpy)
    return array.reshape(shape)


def dense(proto: SparseTensorProto, model: Model) -> Tensor:
    """A sparse initializer written out."""
    values = tensor(proto.values, model)
    where = tensor(proto.indices, model)
    shape = tuple(proto.dims)
    count = _element_count(values.name, shape, model)
    if count * numpy_dtype(values.dtype).itemsize > LARGEST_TENSOR:
        raise _damaged(values.name, model, f"shape {list(shape)} is too large")
    if len(values.shape) != 1 or where.shape not in (values.shape, (*values.shape, len(shape))):
        raise _damaged(values.name, model, f"{list(values.shape)} values with indices of shape {list(where.shape)}")

    def load() -> np.ndarray:
        flat = where.load()
        if flat.ndim == 2:
            if flat.size and ((flat < 0).any() or (flat >= np.array(shape)).any()):
                raise _damaged(values.name, model, f"an index lies outside of shape {list(shape)}")
            flat = np.ravel_multi_index(tuple(flat.T), shape)
        elif flat.size and (flat.min() < 0 or flat.max() >= count):
            raise _damaged(values.name, model, f"an index lies outside of shape {list(shape)}")
        out = np.zeros(count, numpy_dtype(values.dtype))
        out[flat] = values.load()
        return out.reshape(shape)

    return Tensor(values.name, shape, values.dtype, load)


def _external(proto: TensorProto, name: str, shape: tuple[int, ...], dtype: str, model: Model) -> Tensor:
    entries = {entry.key: entry.value for entry in proto.external_data}
    location = entries.get("location", "")
    inside = model.mapped if location == embedded.EMBEDDED else None
    holder = _confined(location, name, model) if inside is None else inside
    kind = numpy_dtype(dtype)
    need = stored_bytes(dtype, math.prod(shape))
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", need))
    except ValueError as error:
        raise _damaged(name, model, f"offset or length of its external data is no number: {error}") from error
    if length != need:
        where = "the file" if inside is not None else "its external data"
        raise _damaged(name, model, f"{dtype} of shape {list(shape)} needs {need} bytes, {where} has {length}")
    size = len(holder) if isinstance(holder, memoryview) else holder.stat().st_size
    if offset < 0 or offset + need > size:
        raise _damaged(
            name, model, f"bytes {offset} to {offset + need} of '{location}' are wanted, the file has {size}"
        )
    if need == 0:
        return Tensor(name, shape, dtype, lambda: np.zeros(shape, kind))
    if isinstance(holder, memoryview):
        load = lambda: elements(np.frombuffer(holder, np.uint8, need, offset), dtype, shape)
        return Tensor(name, shape, dtype, load, _place(model.file, offset, dtype))
    load = lambda: elements(np.memmap(holder, np.uint8, "r", offset, (need,)), dtype, shape)
    return Tensor(name, shape, dtype, load, _place(str(holder), offset, dtype))


def _place(file: str | None, offset: int, dtype: str) -> Place | None:
    """Where a tensor's elements lie, unless several of them share a byte."""
    return None if file is None or TABLE[dtype].storage else Place(file, offset)


def _confined(location: str, name: str, model: Model) -> Path:
    """The file of an external tensor, inside of the model's folder."""
    title = f"tensor '{name}'"
    if model.folder is None:
        raise InvalidModel(
            f"{title}: its data is in the file '{location}', and the model does not come from a file",
            remedy="Give the path of the model, or load the data into the proto first (onnx.load_external_data_for_model).",
        )
    parts = PurePosixPath(location).parts
    windows = PureWindowsPath(location)
    outside = location.startswith(("/", "\\")) or windows.drive or ".." in parts or ".." in windows.parts
    if not location or outside or not location.isprintable():
        raise InvalidModel(f"{title}: external data {location!r} is not inside of the model's folder", file=model.file)
    folder = Path(os.path.realpath(model.folder))
    path = Path(os.path.realpath(folder / location))
    if not path.is_relative_to(folder):
        raise InvalidModel(
            f"{title}: external data '{location}' leads out of the model's folder through a link", file=model.file
        )
    if not os.path.isfile(path):
        raise InvalidModel(
            f"{title}: external data '{location}' is missing",
            file=model.file,
            remedy="Keep the data file beside the model, under the name it was exported with.",
        )
    return path


def external_files(model: Model) -> set[Path]:
    """The files, of those that are there, in which external data of a model lies."""
    found = set()
    waiting: list[Message] = [model.proto]
    while waiting:
        message = waiting.pop()
        if isinstance(message, TensorProto):
            found |= {entry.value for entry in message.external_data if entry.key == "location"}
            continue
        for field, value in message.ListFields():
            if field.message_type is not None:
                waiting += [value] if isinstance(value, Message) else value
    folder = model.folder
    return set() if folder is None else {path for name in found if (path := folder / name).is_file()}


def _element_count(name: str, shape: tuple[int, ...], model: Model) -> int:
    if any(extent < 0 for extent in shape):
        raise _damaged(name, model, f"shape {list(shape)} has a negative extent")
    return math.prod(shape)


def _damaged(name: str, model: Model, message: str) -> MlcError:
    return InvalidModel(f"tensor '{name}': {message}", file=model.file)
