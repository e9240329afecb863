"""Weights as a safetensors file: a JSON header with names, dtypes, shapes and offsets, then the bytes.

    write(store, path)              every weight, each aligned to 64 bytes
    add_file(store, path)           every tensor of the file, mapped when it is first asked for
    write_arrays(arrays, path)      arrays under names of any kind, one right behind the other
    tensors(path)                   what is in a file: name -> shape, dtype, and a function that maps it

The format is that of github.com/huggingface/safetensors: u64 length of the header, header, data; offsets count from the end of the header.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mlc.errors import InvalidModel
from mlc.ir.dtypes import BY_SAFETENSORS, TABLE
from mlc.ir.files import replacing
from mlc.ir.types import dtype_name, numpy_dtype
from mlc.ir.weight_origin import Place
from mlc.ir.weights import WeightStore

ALIGNMENT = 64
_PADDING = "__padding__."
_METADATA = "__metadata__"
_PRODUCER = "mlc"
_LARGEST_HEADER = 100 << 20

Row = tuple[str, tuple[int, ...], str, Callable[[], np.ndarray]]  # name, shape, dtype, what gives the array


def write(store: WeightStore, path: Path, keys: Iterable[str] | None = None) -> None:
    """The weights called `keys` (all, without it). The file appears complete or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        write_to(store, file, keys)


def is_ours(path: Path) -> bool:
    """Whether mlc wrote this file: only then may it be replaced by one that nobody named."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= _LARGEST_HEADER else {}
        return header[_METADATA]["producer"] == _PRODUCER
    except (OSError, ValueError, LookupError, TypeError):
        return False


def write_to(store: WeightStore, file: BinaryIO, keys: Iterable[str] | None = None) -> None:
    """Weights in the order of their keys; header and data start at multiples of 64 bytes from here."""
    keys = list(store if keys is None else keys)
    _write([(key, *store.type_of(key), partial(store.get, key)) for key in keys], file, ALIGNMENT)


def write_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Arrays under their names, row by row; readers of the format find these and nothing else. The file appears complete or not at all."""
    rows = [(name, x.shape, dtype_name(x.dtype), partial(np.asarray, x)) for name, x in arrays.items()]
    with replacing(path) as temporary, temporary.open("wb") as file:
        _write(rows, file, 1)


def _write(rows: Sequence[Row], file: BinaryIO, alignment: int) -> None:
    header: dict[str, Any] = {_METADATA: {"producer": _PRODUCER}}
    offset = 0
    for name, shape, dtype, _ in rows:
        end = offset + math.prod(shape) * numpy_dtype(dtype).itemsize
        header[name] = {"dtype": TABLE[dtype].safetensors, "shape": list(shape), "data_offsets": [offset, end]}
        offset = _aligned(end, alignment)
        if offset > end:  # the format allows no bytes that belong to no tensor
            filler = {"dtype": "U8", "shape": [offset - end], "data_offsets": [end, offset]}
            header[f"{_PADDING}{len(header)}"] = filler
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (_aligned(len(text) + 8, ALIGNMENT) - 8 - len(text))
    file.write(len(text).to_bytes(8, "little"))
    file.write(text)
    for _, _, _, get in rows:
        array = np.ascontiguousarray(get())
        file.write(array.view(np.uint8).reshape(-1).data if array.size else b"")
        file.write(bytes(_aligned(array.nbytes, alignment) - array.nbytes))


def add_file(store: WeightStore, path: Path) -> None:
    """Add the tensors of a file under their names. Raises InvalidModel for a damaged header."""
    for name, (shape, dtype, load) in tensors(path).items():
        key = store.add_lazy(name, shape, dtype, load, place=load.place)
        if key != name:
            raise InvalidModel(f"the file of weights has '{name}' as '{key}'", file=path)


def tensors(path: Path) -> dict[str, tuple[tuple[int, ...], str, Mapped]]:
    """(shape, dtype, what maps it) of each tensor in a file, by name. Raises InvalidModel for a damaged header."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, _LARGEST_HEADER):
            raise InvalidModel("the file of weights is damaged: its header is longer than the file", file=path)
        try:
            header = json.loads(file.read(length))
            items = [(name, _entry(item)) for name, item in header.items() if not _is_filler(name)]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidModel(f"the file of weights is damaged: {error}", file=path) from error
    found = {}
    for name, (dtype, shape, begin, end) in items:
        need = math.prod(shape) * numpy_dtype(dtype).itemsize
        if end - begin != need or begin < 0 or 8 + length + end > size:
            raise InvalidModel(
                f"the file of weights is damaged: '{name}' lies at {begin} to {end}, it has {need} bytes", file=path
            )
        found[name] = shape, dtype, Mapped(path, dtype, shape, 8 + length + begin)
    return found


def _is_filler(name: str) -> bool:
    return name == _METADATA or name.startswith(_PADDING)


def _entry(item: dict[str, Any]) -> tuple[str, tuple[int, ...], int, int]:
    begin, end = item["data_offsets"]
    shape = tuple(int(e) for e in item["shape"])
    if min(shape, default=0) < 0:
        raise ValueError(f"the shape {list(shape)} has a negative extent")
    return BY_SAFETENSORS[item["dtype"]], shape, int(begin), int(end)


@dataclass(frozen=True)
class Mapped:
    """Maps a tensor of a file."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def place(self) -> Place:
        return Place(str(self.path), self.offset)

    def __call__(self) -> np.ndarray:
        if 0 in self.shape:
            return np.zeros(self.shape, numpy_dtype(self.dtype))
        return np.memmap(self.path, numpy_dtype(self.dtype), mode="r", offset=self.offset, shape=self.shape)


def _aligned(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment
