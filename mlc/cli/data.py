"""The grammar of --input, and where outputs go.

x=@x.npy   x=@all.npz   x=random:0   x=ones   x=zeros   x=3.5   x=1,2,3 (an input of one axis)
all.npz    FOLDER (input_0.pb, input_1.pb, ... as in ONNX's test data; or x.npy, y.npy, ...)

Inputs that no flag names are random, up to a bound that flags lift. The sizes of symbols follow from the arrays given, then from --dim (N=8, else N@8), else are chosen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from mlc.cli.command_line import UsageError
from mlc.errors import DTypeError, MlcError
from mlc.ir.byte_counts import bytes_text
from mlc.ir.files import replacing
from mlc.ir.types import dtype_name, itemsize, numpy_dtype

if TYPE_CHECKING:
    from mlc.ir.module import Module
    from mlc.options import CompileOptions

_FILL = {"ones": 1, "zeros": 0}
UNASKED = 192 << 20  # bytes; 256 images of 224 x 224 take 147 MiB
_PIECE = 1 << 20  # elements that are looked at in f64 at once


@dataclass
class Given:
    """What --input said: arrays as they were read, values to fill with, seeds."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    fills: dict[str, float] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)

    def names(self) -> list[str]:
        return [*self.arrays, *self.fills, *self.seeds]


def read(texts: Sequence[str], names: Sequence[str]) -> Given:
    """The inputs that the flags state, by the names of the model. Raises UsageError, or MlcError for files that cannot be read."""
    given = Given()
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or (name not in names and Path(text).exists()):
            given.arrays.update(_whole(Path(text), names))
            continue
        if name not in names:
            raise UsageError.unknown("input", name, names)
        if value.startswith("@"):
            given.arrays[name] = _array(Path(value[1:]), name)
        elif value in _FILL:
            given.fills[name] = _FILL[value]
        elif value == "random" or value.startswith("random:"):
            seed = value.removeprefix("random").removeprefix(":") or "0"
            if not seed.isdecimal():
                raise UsageError(f"--input {text}: the seed '{seed}' is not a number")
            given.seeds[name] = int(seed)
        elif "," in value:
            given.arrays[name] = np.array([_number(part, text) for part in value.split(",") if part.strip()])
        else:
            given.fills[name] = _number(value, text)
    return given


@dataclass(frozen=True)
class Declared:
    """An input as the model's file declares it: extents that are no numbers are None."""

    dtype: np.dtype
    shape: tuple[int | None, ...]


def declared(source: Any, options: CompileOptions) -> dict[str, Declared]:
    """The inputs of an ONNX model, without importing its nodes."""
    from mlc.cases import declared_types

    return {
        name: Declared(numpy_dtype(dtype), tuple(e if isinstance(e, int) else None for e in shape))
        for name, (shape, dtype) in declared_types(source, options).items()
    }


def known(texts: Sequence[str], inputs: Mapping[str, Declared]) -> dict[str, np.ndarray]:
    """The values that --known gives. Raises UsageError for one that is no value."""
    given = read(texts, list(inputs))
    for name in given.seeds:
        raise UsageError(f"--known {name}=random: a shape needs its value")
    found = {}
    for name in given.names():
        array = value_of(given, name, inputs)
        if array is None:
            raise UsageError(
                f"--known {name}: its shape is not known, and one number does not tell it",
                remedy=f"Write --known {name}=@file.npy.",
            )
        found[name] = array
    return found


def value_of(given: Given, name: str, inputs: Mapping[str, Declared]) -> np.ndarray | None:
    """What the flags give for one input, where they give a value."""
    dtype, shape = inputs[name].dtype, inputs[name].shape
    if name in given.arrays:
        return _fitting(name, given.arrays[name], dtype_name(dtype))
    if name not in given.fills:
        return None
    if len(shape) == 1 and shape[0] is None:
        shape = (1,)
    filled = np.array(given.fills[name])
    sizes = [e for e in shape if e is not None]
    return _fitting(name, np.full(sizes, filled), dtype_name(dtype)) if len(sizes) == len(shape) else None


def feeds(
    module: Module,
    given: Given,
    sizes: Mapping[str, int],
    seed: int = 0,
    preferred: int | None = None,
    usual: Mapping[str, int] | None = None,
    stated: bool = False,
) -> dict[str, np.ndarray]:
    """An array for every input of the module, of the module's dtypes. `sizes` are those of symbols that flags fixed; symbols that they and
    the given arrays leave open have their `usual` size, or one like `preferred`. Inputs that no flag names are made up: where no flag has
    `stated` sizes, MlcError is raised before they take more than UNASKED."""
    from mlc.ir import dims
    from mlc.ir.sample_sizes import sample_binding
    from mlc.ir.samples import samples

    names = module.input_names
    found: dict[str, np.ndarray] = {}
    binding = dict(sizes)
    types = dict(zip(names, module.input_types, strict=True))
    for name, array in given.arrays.items():
        if name not in types:
            continue  # its value was taken in when the model was imported
        shape, dtype = types[name]
        found[name] = _fitting(name, array, dtype)
        for extent, size in zip(shape, array.shape, strict=False):
            if isinstance(extent, dims.Dim) and str(extent) in module.symbols:
                binding.setdefault(str(extent), size)
    binding = sample_binding(module, {**(usual or {}), **binding}, preferred)
    shapes = {name: tuple(dims.evaluate(e, binding) for e in shape) for name, (shape, _) in types.items()}
    named = {*found, *given.fills, *given.seeds}
    if not stated:
        _require_small({name: prod(shapes[name]) * itemsize(types[name][1]) for name in names if name not in named})
    for name in given.fills:
        if name in types:
            found[name] = np.full(shapes[name], given.fills[name], numpy_dtype(types[name][1]))
    for name, one in given.seeds.items():
        found |= samples(module, binding, one, [other for other in names if other != name])
    found |= samples(module, binding, seed, named)
    return {name: found[name] for name in names}


def _require_small(made_up: Mapping[str, int]) -> None:
    """Raises MlcError where inputs of these bytes are more than is made up unasked."""
    if sum(made_up.values()) <= UNASKED:
        return
    largest = max(made_up, key=lambda name: made_up[name])
    raise MlcError(
        f"random inputs would take {bytes_text(sum(made_up.values()))}, '{largest}' {bytes_text(made_up[largest])}:"
        f" no more than {bytes_text(UNASKED)} are made up unasked",
        remedy=f"Ask for them, --input {largest}=random; give values, --input {largest}=@file.npy; or state sizes: --shape, --dim.",
    )


def save(outputs: Mapping[str, np.ndarray], folder: Path) -> list[Path]:
    """One .npy file per output; each appears complete or not at all."""
    require_folder(folder)
    written: list[Path] = []
    for name, array in outputs.items():
        path = file_of(name, folder, written)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, np.asarray(array))
        written.append(path)
    return written


def require_folder(folder: Path) -> None:
    """Make it where it is missing. Raises MlcError where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is no folder" if isinstance(error, FileExistsError) else (error.strerror or str(error)).lower()
        raise MlcError(f"cannot write to {folder}: {reason}") from error


def file_of(name: str, folder: Path, taken: Sequence[Path]) -> Path:
    """Where an array is saved; names that differ have files that differ."""
    stem = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)[:200]
    path, number = folder / f"{stem}.npy", 2
    while path in taken:
        path, number = folder / f"{stem}.{number}.npy", number + 1
    return path


def describe(array: np.ndarray) -> str:
    """Dtype, shape, range and what is not a number: f32[1, 10]  -3.1 .. 4.2."""
    array = np.asarray(array)
    text = f"{dtype_name(array.dtype)}{list(array.shape)}"
    least, most, total, count, missing, infinite = math.inf, -math.inf, 0.0, 0, 0, 0
    flat = array.reshape(-1)
    for start in range(0, flat.size, _PIECE):
        values = flat[start : start + _PIECE].astype(np.float64)
        finite = values[np.isfinite(values)]
        if finite.size:
            least, most = min(least, finite.min()), max(most, finite.max())
            total, count = total + finite.sum(), count + finite.size
        missing, infinite = missing + int(np.isnan(values).sum()), infinite + int(np.isinf(values).sum())
    if count:
        text += f"  {least:.6g} .. {most:.6g}, mean {total / count:.6g}"
    return text + (f", {missing} NaN" if missing else "") + (f", {infinite} infinite" if infinite else "")


def _fitting(name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    """The array in the model's dtype, where that loses nothing."""
    wanted = numpy_dtype(dtype)
    if array.dtype == wanted:
        return array
    cast = array.astype(wanted)
    if wanted.kind == "f" and array.dtype.kind == "f" and wanted.itemsize < array.dtype.itemsize:
        return cast  # f64 files for f32 models: NumPy writes f64 unless told otherwise
    if not np.array_equal(cast.astype(array.dtype), array):
        raise DTypeError(
            f"input '{name}' is {dtype}, the array given has dtype {array.dtype}", remedy="Save it with that dtype."
        )
    return cast


def _array(path: Path, name: str) -> np.ndarray:
    if path.suffix == ".npz":
        arrays = _archive(path)
        if name not in arrays:
            raise UsageError(f"{path} holds no array '{name}'", remedy=f"It has: {', '.join(arrays) or 'none'}.")
        return arrays[name]
    if path.suffix == ".pb":
        return _proto(path)
    return _load(path)


def _whole(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """All inputs of an archive or a folder."""
    if path.is_dir():
        numbered = sorted(path.glob("input_*.pb"), key=lambda p: int(p.stem.removeprefix("input_")))
        if numbered:
            return {name: _proto(file) for name, file in zip(names, numbered, strict=False)}
        return {name: _load(path / f"{name}.npy") for name in names if (path / f"{name}.npy").exists()}
    if path.suffix == ".npz":
        arrays = _archive(path)
        for name in arrays:
            if name not in names:
                raise UsageError.unknown(f"input in {path}:", name, names)
        return arrays
    raise UsageError(
        f"--input {path}: neither an .npz file nor a folder",
        remedy="Write --input NAME=@file.npy, NAME=ones or NAME=random:0.",
    )


def _load(path: Path) -> np.ndarray:
    with _reading(path):
        return np.load(path, allow_pickle=False)


def _archive(path: Path) -> dict[str, np.ndarray]:
    with _reading(path), np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MlcError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, EOFError, BadZipFile, AttributeError) as error:
        raise MlcError(f"{path} is not a NumPy file of plain numbers", remedy="numpy.save writes one.") from error


def _proto(path: Path) -> np.ndarray:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        return onnx.numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))
    except OSError as error:
        raise MlcError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except (DecodeError, ValueError, TypeError) as error:
        raise MlcError(f"{path} is not a tensor in ONNX's format") from error


def _number(value: str, text: str) -> float:
    try:
        return float(value)
    except ValueError:
        remedy = "Write NAME=@file.npy, NAME=random:0, NAME=ones, NAME=zeros or NAME=3.5."
        raise UsageError(f"--input {text}: '{value}' is no value", remedy=remedy) from None
