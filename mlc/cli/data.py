"""The grammar of --input, and where outputs go.

x=@x.npy   x=@all.npz   x=random:0   x=ones   x=zeros   x=3.5   x=1,2,3 (an input of one axis)
all.npz    FOLDER (input_0.pb, input_1.pb, ... as in ONNX's test data; or x.npy, y.npy, ...)

Inputs that no flag names are random. The sizes of symbols follow from the arrays given, then from --dim (N=8, else N@8), else are chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from mlc.cli.command_line import UsageError
from mlc.errors import DTypeError, MlcError
from mlc.ir.files import replacing
from mlc.ir.types import dtype_name, numpy_dtype

if TYPE_CHECKING:
    from mlc.ir.module import Module
    from mlc.options import CompileOptions

_FILL = {"ones": 1, "zeros": 0}


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
) -> dict[str, np.ndarray]:
    """An array for every input of the module, of the module's dtypes. `sizes` are those of symbols that flags fixed; symbols that they and
    the given arrays leave open have their `usual` size, or one like `preferred`."""
    from mlc.ir import dims
    from mlc.ir.sample_sizes import sample_binding
    from mlc.ir.samples import random_inputs

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
    for position, (name, array) in enumerate(zip(names, random_inputs(module, binding, seed), strict=True)):
        if name in given.fills:
            found[name] = np.full(array.shape, given.fills[name], array.dtype)
        elif name in given.seeds:
            found[name] = random_inputs(module, binding, given.seeds[name])[position]
        else:
            found.setdefault(name, array)
    return {name: found[name] for name in names}


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
    if array.size == 0:
        return text
    values = array.astype(np.float64)
    finite = values[np.isfinite(values)]
    if finite.size:
        text += f"  {finite.min():.6g} .. {finite.max():.6g}, mean {finite.mean():.6g}"
    missing, infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
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
