"""Packages: an executable in one file, `model.mlc`.

    manifest.json          format, versions, target, signature and plan
    module.mlir            the module before it was compiled for this target (mlc/portable.py), without weights
    code/0.o ...           relocatable objects
    weights.safetensors    stored, on a 64-byte boundary: mapped when loaded, never copied
    sources.json           kernel -> nodes of the user's model
    decisions.json         the compiler's report

Any zip program can look inside, and test the checksum of the weights, which loading does not read. A package holds native code: load
only what you trust as you would trust a program.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from mlc.errors import InvalidModel
from mlc.ir.files import replacing
from mlc.ir.kernel.plan import ALIGNMENT, Plan
from mlc.ir.kernel.target import CpuTarget
from mlc.runtime.arrays import DTYPES
from mlc.runtime.executable import Executable

FORMAT = 1
_WEIGHTS = "weights.safetensors"
_PADDING = "__padding__."
_LOCAL_HEADER = 30
_ZIP64_FIELD = 20
_PADDING_FIELD = 0xD935  # the extra field that zip alignment tools use
_EPOCH = (1980, 1, 1, 0, 0, 0)  # same input, same bytes out

_SAFETENSORS = {"bool": "BOOL", **{name: name.upper() for name in DTYPES if name != "bool"}}
_NAMES = {text: name for name, text in _SAFETENSORS.items()}
_OF_NUMPY = {dtype: name for name, (dtype, _) in DTYPES.items()}


def save(executable: Executable, path: str | os.PathLike[str]) -> None:
    """Write a package. The file appears complete or not at all. Raises MlcError where it cannot be written."""
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as file:
        _write(executable, file)


def _write(executable: Executable, file: zipfile.ZipFile) -> None:
    def put(name: str, content: str | bytes) -> None:
        info = zipfile.ZipInfo(name, _EPOCH)
        info.compress_type = zipfile.ZIP_DEFLATED
        file.writestr(info, content)

    target = executable.target
    manifest = {
        "format": FORMAT,
        "mlc": sys.modules["mlc"].__version__,
        "target": {
            "kind": "cpu",
            "name": target.name,
            "features": target.features,
            "lanes": target.lanes,
            "registers": target.registers,
            "l1": target.l1,
            "l2": target.l2,
            "fma": target.fma,
            "arch": target.arch,
        },
        "entry": executable.entry,
        "objects": [f"code/{number}.o" for number in range(len(executable.objects))],
        "plan": executable.plan.to_json(),
    }
    put("manifest.json", json.dumps(manifest, indent=1))
    put("module.mlir", executable.module_text)
    for name, content in zip(manifest["objects"], executable.objects, strict=True):
        put(name, content)
    sources: dict[str, list[str]] = {}
    for step in executable.plan.steps:
        sources.setdefault(step.kernel, []).extend(step.source)
    put("sources.json", json.dumps(sources, indent=1))
    put("decisions.json", json.dumps(_lasting(executable.report), indent=1, default=str))
    _put_aligned(file, executable.weights)


def _lasting(report: Any) -> Any:
    """A report without what differs from one compilation of the same model to the next: times, and what the cache had."""
    if isinstance(report, dict):
        return {key: _lasting(value) for key, value in report.items() if key not in ("seconds", "objects")}
    return [_lasting(value) for value in report] if isinstance(report, list) else report


def _put_aligned(file: zipfile.ZipFile, weights: Mapping[str, np.ndarray]) -> None:
    """The weights as a stored entry whose bytes begin at a multiple of ALIGNMENT in the file."""
    header, arrays = _header(weights)
    size = len(header) + sum(_aligned(array.nbytes) for array in arrays)
    large = size >= 1 << 31
    info = zipfile.ZipInfo(_WEIGHTS, _EPOCH)
    info.compress_type = zipfile.ZIP_STORED
    info.file_size = size
    assert file.fp is not None
    before = file.fp.tell() + _LOCAL_HEADER + len(_WEIGHTS) + 4 + (_ZIP64_FIELD if large else 0)
    room = -before % ALIGNMENT
    info.extra = _PADDING_FIELD.to_bytes(2, "little") + room.to_bytes(2, "little") + bytes(room)
    with file.open(info, "w", force_zip64=large) as out:
        out.write(header)
        for array in arrays:
            if array.size:
                out.write(array.reshape(-1).view(np.uint8).data)
            out.write(bytes(_aligned(array.nbytes) - array.nbytes))


def _header(weights: Mapping[str, np.ndarray]) -> tuple[bytes, list[np.ndarray]]:
    """The header of a safetensors file; gaps of alignment are tensors of their own, since the format allows none."""
    header: dict[str, Any] = {}
    arrays: list[np.ndarray] = []
    offset = 0
    for key, array in weights.items():
        array = np.ascontiguousarray(array)
        end = offset + array.nbytes
        dtype = _SAFETENSORS[_OF_NUMPY[array.dtype]]
        header[key] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = _aligned(end)
        if offset > end:
            header[f"{_PADDING}{len(arrays)}"] = {
                "dtype": "U8",
                "shape": [offset - end],
                "data_offsets": [end, offset],
            }
        arrays.append(array)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (_aligned(len(text) + 8) - 8 - len(text))
    return len(text).to_bytes(8, "little") + text, arrays


@dataclass(frozen=True)
class Package:
    """What a package holds, whether its code runs here or not."""

    path: Path
    plan: Plan
    objects: list[bytes]
    weights: Mapping[str, np.ndarray]
    target: CpuTarget
    entry: str
    report: dict[str, Any]
    module_text: str
    version: str = ""  # of the mlc that wrote it

    def executable(self, threads: int | None = None) -> Executable:
        """Raises TargetUnavailable where the code does not run on this machine."""
        return Executable(
            self.plan,
            self.objects,
            self.weights,
            target=self.target,
            threads=threads,
            entry=self.entry,
            report=self.report,
            module_text=self.module_text,
        )


def load(path: str | os.PathLike[str], threads: int | None = None) -> Executable:
    """The executable in a package. Raises InvalidModel for a file that is damaged or none, TargetUnavailable where its code
    does not run on this machine."""
    return read(path).executable(threads)


def read(path: str | os.PathLike[str]) -> Package:
    """A package, its weights mapped. Raises InvalidModel for a file that is damaged or none."""
    path = Path(path)
    try:
        with path.open("rb") as raw, zipfile.ZipFile(raw) as file:
            manifest = _manifest(file, path)
            package = Package(
                path,
                Plan.from_json(manifest["plan"]),
                [file.read(name) for name in manifest["objects"]],
                _mapped(raw, *_place(file, raw)),
                CpuTarget(**{k: v for k, v in manifest["target"].items() if k != "kind"}),
                manifest["entry"],
                json.loads(file.read("decisions.json")),
                file.read("module.mlir").decode(),
                str(manifest.get("mlc", "")),
            )
    except OSError as error:
        raise InvalidModel(f"cannot read {path}: {(error.strerror or str(error)).lower()}", file=path) from error
    except (zipfile.BadZipFile, RuntimeError) as error:  # RuntimeError: methods that zipfile does not have, encryption
        raise InvalidModel(
            f"{path} is no mlc package, or it is truncated: {str(error)[:1].lower()}{str(error)[1:]}", file=path
        ) from error
    except (KeyError, TypeError, ValueError, EOFError, zipfile.zlib.error) as error:  # type: ignore[attr-defined]
        raise InvalidModel(f"{path} is damaged: {error}", file=path, remedy="Compile the model again.") from error
    missing = [key for key in package.plan.weights if key not in package.weights]
    if missing:
        raise InvalidModel(f"{path} is damaged: it lacks the weight '{missing[0]}'", file=path)
    return package


def _manifest(file: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    if "manifest.json" not in file.namelist():
        raise InvalidModel(f"{path} is a zip file, but no mlc package: it has no manifest.json", file=path)
    manifest = json.loads(file.read("manifest.json"))
    if not isinstance(manifest, dict) or "format" not in manifest:
        raise InvalidModel(f"{path} is no mlc package: its manifest names no format", file=path)
    if manifest["format"] != FORMAT:
        raise InvalidModel(
            f"{path} has package format {manifest['format']}, this mlc reads {FORMAT}",
            file=path,
            remedy=f"It was written by mlc {manifest.get('mlc', 'of an unknown version')}. Compile the model again.",
        )
    kind = manifest["target"]["kind"]
    if kind != "cpu":
        raise InvalidModel(f"{path} holds code for '{kind}', which this mlc cannot run", file=path)
    return manifest


def _place(file: zipfile.ZipFile, raw: IO[bytes]) -> tuple[int, int]:
    """Offset and length of the weights in the file. The local header may be longer than the directory's."""
    info = file.getinfo(_WEIGHTS)
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError("its weights are compressed")
    raw.seek(info.header_offset)
    local = raw.read(_LOCAL_HEADER)
    if len(local) != _LOCAL_HEADER or local[:4] != b"PK\x03\x04":
        raise ValueError("its weights are not where the directory says")
    name, extra = int.from_bytes(local[26:28], "little"), int.from_bytes(local[28:30], "little")
    start = info.header_offset + _LOCAL_HEADER + name + extra
    if start + info.file_size > os.fstat(raw.fileno()).st_size:
        raise ValueError("its weights end behind the file")
    return start, info.file_size


def _mapped(raw: IO[bytes], start: int, size: int) -> dict[str, np.ndarray]:
    """The arrays of the safetensors part of a file, as read-only maps."""
    raw.seek(start)
    length = int.from_bytes(raw.read(8), "little")
    if length + 8 > size:
        raise ValueError("the header of its weights is longer than they are")
    header = json.loads(raw.read(length))
    whole = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)
    found = {}
    for key, entry in header.items():
        if key == "__metadata__" or key.startswith(_PADDING):
            continue
        dtype, shape = DTYPES[_NAMES[entry["dtype"]]][0], tuple(int(extent) for extent in entry["shape"])
        begin, end = entry["data_offsets"]
        count = int(np.prod(shape, dtype=object))
        if begin < 0 or end - begin != count * dtype.itemsize or 8 + length + end > size:
            raise ValueError(f"the weight '{key}' lies outside of its file")
        found[key] = np.frombuffer(whole, dtype, count, start + 8 + length + begin).reshape(shape)
    return found


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
