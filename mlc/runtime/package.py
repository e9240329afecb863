"""Packages: an executable in one file, `model.mlc`.

    manifest.json          format, versions, target and its kind, threads, signature and plan, a SHA-256 of each weight
    module.mlir            the module before it was compiled for this target (mlc/runtime/portable.py), without weights
    code/0.o ...           relocatable objects, or what else the loader of the target's kind loads
    sources.json           kernel -> nodes of the user's model
    decisions.json         the compiler's report
    digest                 SHA-256 of all of these, and of the names, types and places of the weights
    weights.safetensors    stored, on a 64-byte boundary: mapped when loaded, never copied

Loading tests the digest before it reads anything else, so that what is damaged or edited is refused; the weights themselves, which it does
not read, are tested by Package.verify. Any zip program can look inside. A digest is no signature, and a package holds native code: load
only what you trust as you would trust a program.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from mlc.errors import InvalidModel, MlcError
from mlc.ir import work
from mlc.ir.dtypes import BY_NUMPY, BY_SAFETENSORS, TABLE
from mlc.ir.files import replacing
from mlc.ir.kernel.plan import ALIGNMENT, Plan
from mlc.ir.kernel.target import Target
from mlc.runtime.artifact import Artifact, types_of
from mlc.runtime.loaders import LOADERS

FORMAT = 4
LARGEST = 256 << 20  # bytes of everything but the weights, unpacked: 50 times the largest package measured
DIGEST = "digest"
_WEIGHTS = "weights.safetensors"
_PADDING = "__padding__."
_LOCAL_HEADER = 30
_ZIP64_FIELD = 20
_PADDING_FIELD = 0xD935  # the extra field that zip alignment tools use
_EPOCH = (1980, 1, 1, 0, 0, 0)  # same input, same bytes out


def save(
    artifact: Artifact,
    path: str | os.PathLike[str],
    state: Mapping[str, str | None] | None = None,
    checksums: Mapping[str, str] | None = None,
) -> Mapping[str, str]:
    """Write a package, with what it keeps between calls. The file appears complete or not at all. Returns the checksums of its weights, which are
    not taken again where the caller knows them. Raises MlcError where it cannot be written."""
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as file:
        return _write(artifact, file, Path(path), state, checksums)


def to_bytes(artifact: Artifact) -> bytes:
    """The package as it would lie in a file."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        _write(artifact, file, Path("memory"))
    return content.getvalue()


def from_bytes(content: bytes) -> Package:
    """The package whose bytes these are. They go through a file without a name, which lives as long as the weights are mapped."""
    with tempfile.NamedTemporaryFile(prefix="mlc-", suffix=".mlc") as file:
        file.write(content)
        file.flush()
        try:
            return replace(read(file.name), path=Path("the package in memory"))
        except MlcError as error:
            error.message, error.file = error.message.replace(file.name, "the package in memory"), None
            raise


def _write(
    artifact: Artifact,
    file: zipfile.ZipFile,
    path: Path,
    state: Mapping[str, str | None] | None = None,
    checksums: Mapping[str, str] | None = None,
) -> Mapping[str, str]:
    target = artifact.target
    header, sizes = _header(types_of(artifact.weights))
    checksums = _put_aligned(file, header, sizes, artifact.weights, checksums)
    plan = artifact.plan if state is None else replace(artifact.plan, state=dict(state))
    manifest = {
        "format": FORMAT,
        "mlc": sys.modules["mlc"].__version__,
        "target": {"kind": target.kind, **asdict(cast(Any, target))},
        "threads": artifact.threads,
        "entry": artifact.entry,
        "weights": checksums,
        "objects": [f"code/{name}" for name in artifact.names or [f"{n}.o" for n in range(len(artifact.objects))]],
        "plan": plan.to_json(),
    }
    sources: dict[str, list[str]] = {}
    for step in artifact.plan.steps:
        sources.setdefault(step.kernel, []).extend(step.source)
    members: dict[str, bytes] = {
        "manifest.json": json.dumps(manifest, indent=1).encode(),
        "module.mlir": artifact.module_text.encode(),
        **dict(zip(manifest["objects"], artifact.objects, strict=True)),
        "sources.json": json.dumps(sources, indent=1).encode(),
        "decisions.json": json.dumps(_lasting(artifact.report), indent=1, default=str).encode(),
    }
    if (size := sum(map(len, members.values()))) > LARGEST:
        raise MlcError(f"{path}: {size} bytes of code and plan, a package holds {LARGEST} at most", file=path)
    members[DIGEST] = digest(members, header).encode()
    for name, content in members.items():
        info = zipfile.ZipInfo(name, _EPOCH)
        info.compress_type = zipfile.ZIP_DEFLATED
        file.writestr(info, content)
    return checksums


def digest(members: Mapping[str, bytes], header: bytes) -> str:
    """SHA-256 over the name, length and content of every member but the digest itself, and over the header of the weights."""
    found = hashlib.sha256()
    for name, content in [*sorted(members.items()), (_WEIGHTS, header)]:
        if name != DIGEST:
            found.update(f"{name}\0{len(content)}\0".encode())
            found.update(content)
    return found.hexdigest()


_PASSING = ("seconds", "objects", "passes", "warm")


def _lasting(report: Any) -> Any:
    """A report without what differs from one compilation of the same model to the next: times, and what the cache had (`passes` counts
    ops of kernels that were not known)."""
    if isinstance(report, dict):
        return {key: _lasting(value) for key, value in report.items() if key not in _PASSING}
    return [_lasting(value) for value in report] if isinstance(report, list) else report


def _put_aligned(
    file: zipfile.ZipFile,
    header: bytes,
    sizes: Sequence[int],
    weights: Mapping[str, np.ndarray],
    known: Mapping[str, str] | None,
) -> dict[str, str]:
    """The weights as a stored entry whose bytes begin at a multiple of ALIGNMENT in the file. Returns the checksum of each, those that are `known` as
    they are. While one is written the next is made, where they are made one by one, and its checksum taken: two at a time are in memory."""
    size = len(header) + sum(map(_aligned, sizes))
    large = size >= 1 << 31
    info = zipfile.ZipInfo(_WEIGHTS, _EPOCH)
    info.compress_type = zipfile.ZIP_STORED
    info.file_size = size
    assert file.fp is not None
    before = file.fp.tell() + _LOCAL_HEADER + len(_WEIGHTS) + 4 + (_ZIP64_FIELD if large else 0)
    room = -before % ALIGNMENT
    info.extra = _PADDING_FIELD.to_bytes(2, "little") + room.to_bytes(2, "little") + bytes(room)
    checksums: dict[str, str] = {}

    def made(key: str) -> tuple[memoryview, str]:
        content = _bytes(weights[key])
        return content, known[key] if known else _checksum(content)

    with file.open(info, "w", force_zip64=large) as out, ThreadPoolExecutor(1, "mlc weights") as beside:
        out.write(header)
        waiting = (beside.submit(made, key) for key in weights)
        ahead: Future[tuple[memoryview, str]] | None = next(waiting, None)
        for number, key in enumerate(weights):
            work.at("weights", number, len(sizes))
            assert ahead is not None
            content, checksums[key] = ahead.result()
            ahead = next(waiting, None)
            out.write(content)
            out.write(bytes(_aligned(content.nbytes) - content.nbytes))
    return checksums


def _checksum(content: memoryview) -> str:
    return hashlib.sha256(content).hexdigest()


def _bytes(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else memoryview(b"")


def _header(types: Iterable[tuple[str, np.dtype, tuple[int, ...]]]) -> tuple[bytes, list[int]]:
    """The header of a safetensors file, and the bytes of each tensor; gaps of alignment are tensors of their own, since the format allows none."""
    header: dict[str, Any] = {}
    sizes: list[int] = []
    offset = 0
    for key, dtype, shape in types:
        end = offset + prod(shape) * dtype.itemsize
        name = TABLE[BY_NUMPY[dtype]].safetensors
        header[key] = {"dtype": name, "shape": list(shape or (1,)), "data_offsets": [offset, end]}
        sizes.append(end - offset)
        offset = _aligned(end)
        if offset > end:
            filler = {"dtype": "U8", "shape": [offset - end], "data_offsets": [end, offset]}
            header[f"{_PADDING}{len(sizes) - 1}"] = filler
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (_aligned(len(text) + 8) - 8 - len(text))
    return len(text).to_bytes(8, "little") + text, sizes


@dataclass(frozen=True, kw_only=True)
class Package(Artifact):
    """What a package holds. `checksums` are of each weight; `version` is that of the mlc that wrote it."""

    path: Path
    checksums: Mapping[str, str]
    version: str = ""

    def verify(self) -> None:
        """Read every weight and test its checksum. Raises InvalidModel naming the first that is damaged."""
        for key, array in self.weights.items():
            if hashlib.sha256(_bytes(array)).hexdigest() != self.checksums.get(key):
                raise InvalidModel(f"{self.path} is damaged: the weight '{key}' has another checksum", file=self.path)


_AGAIN = "Compile the model again."


def read(path: str | os.PathLike[str]) -> Package:
    """A package, its weights mapped. Raises InvalidModel for a file that is damaged or none."""
    path = Path(path)
    try:
        with path.open("rb") as raw, zipfile.ZipFile(raw) as file:
            members = _members(file, path)
            manifest = _manifest(members, path)
            start, size = _place(file, raw)
            raw.seek(start)
            header = raw.read(8)
            length = int.from_bytes(header, "little")
            if length + 8 > min(size, LARGEST):
                raise ValueError("the header of its weights is longer than they are")
            header += raw.read(length)
            if members.get(DIGEST) != digest(members, header).encode():
                raise ValueError("it is not what its digest says")
            package = Package(
                plan=Plan.from_json(manifest["plan"]),
                objects=[members[name] for name in manifest["objects"]],
                names=[name.removeprefix("code/") for name in manifest["objects"]],
                weights=_mapped(raw, header, start, size),
                target=_target(manifest["target"]),
                entry=str(manifest["entry"]),
                report=_report(json.loads(members["decisions.json"])),
                module_text=members["module.mlir"].decode(),
                threads=_threads(manifest["threads"]),
                path=path,
                checksums={key: str(text) for key, text in manifest["weights"].items()},
                version=str(manifest.get("mlc", "")),
            )
    except InvalidModel:
        raise
    except OSError as error:
        raise InvalidModel(f"cannot read {path}: {(error.strerror or str(error)).lower()}", file=path) from error
    except (zipfile.BadZipFile, RuntimeError) as error:  # RuntimeError: methods that zipfile does not have, encryption
        raise InvalidModel(
            f"{path} is no mlc package, or it is truncated: {str(error)[:1].lower()}{str(error)[1:]}", file=path
        ) from error
    except _DAMAGE as error:
        raise InvalidModel(f"{path} is damaged: {error}", file=path, remedy=_AGAIN) from error
    missing = [key for key in package.plan.weights if key not in package.weights]
    if missing:
        raise InvalidModel(f"{path} is damaged: it lacks the weight '{missing[0]}'", file=path)
    return package


_DAMAGE: tuple[type[Exception], ...] = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    EOFError,
    MlcError,
    zipfile.zlib.error,  # type: ignore[attr-defined]
)


_CALL = {"source": [str], "composites": dict, "sizes": dict, "extents": dict, "fusion": [str], "copies": list}
_COST = {"ops": [list], "touched": [list], "weights": list}
_KERNEL = {"name": str, "schedule": str, "notes": [str], "ops": [str], "cost": (_COST, None), "calls": [_CALL]}
# What the parts of a report are that commands read, where it has them
_REPORT = {
    "pipeline": [str],
    "kernels": [_KERNEL],
    "weight_bytes": int,
    "buffers": [{"makers": [int], "readers": [int]}],
    "specialise": [dict],
    "versions": dict,
}


def _report(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("its report is no object")
    for name, form in _REPORT.items():
        if name in value and not _is(value[name], form):
            raise TypeError(f"its report has no {name} that can be read")
    return value


def _is(value: Any, form: Any) -> bool:
    """Whether JSON has a form: a type, a list of one form, an object that has some keys, or one of several."""
    if isinstance(form, tuple):
        return any(value is each if each is None else _is(value, each) for each in form)
    if isinstance(form, list):
        return isinstance(value, list) and all(_is(each, form[0]) for each in value)
    if isinstance(form, dict):
        return isinstance(value, dict) and all(key in value and _is(value[key], inner) for key, inner in form.items())
    return isinstance(value, form)


def _threads(value: Any) -> int | None:
    if value is not None and (type(value) is not int or value < 1):
        raise ValueError(f"it asks for {value!r} threads")
    return value


def _members(file: zipfile.ZipFile, path: Path) -> dict[str, bytes]:
    """Everything but the weights, unpacked. What is too large is not unpacked."""
    infos = [info for info in file.infolist() if info.filename != _WEIGHTS]
    if "manifest.json" not in file.namelist():
        raise InvalidModel(f"{path} is a zip file, but no mlc package: it has no manifest.json", file=path)
    if len({info.filename for info in infos}) != len(infos):
        raise ValueError("it holds two members of one name")
    if (size := sum(info.file_size for info in infos)) > LARGEST:
        raise ValueError(f"it unpacks to {size} bytes of code and plan, and {LARGEST} are allowed")
    return {info.filename: file.read(info) for info in infos}


def _manifest(members: Mapping[str, bytes], path: Path) -> dict[str, Any]:
    manifest = json.loads(members["manifest.json"])
    if not isinstance(manifest, dict) or "format" not in manifest:
        raise InvalidModel(f"{path} is no mlc package: its manifest names no format", file=path)
    if manifest["format"] != FORMAT:
        raise InvalidModel(
            f"{path} has package format {manifest['format']}, this mlc reads {FORMAT}",
            file=path,
            remedy=f"It was written by mlc {manifest.get('mlc', 'of an unknown version')}. Compile the model again.",
        )
    kind = manifest["target"]["kind"]
    if kind not in LOADERS:
        raise InvalidModel(
            f"{path} holds code for '{kind}', and this mlc has no such backend",
            file=path,
            remedy=f"It runs code for: {', '.join(LOADERS)}. Register the backend, or compile the model for one of these.",
        )
    return manifest


def _target(facts: Mapping[str, Any]) -> Target:
    return LOADERS[facts["kind"]].target({name: value for name, value in facts.items() if name != "kind"})


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


def _mapped(raw: IO[bytes], header: bytes, start: int, size: int) -> dict[str, np.ndarray]:
    """The arrays of the safetensors part of a file, as read-only maps. Every process that maps the package shares their memory."""
    whole = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)
    found = {}
    for key, entry in json.loads(header[8:]).items():
        if key == "__metadata__" or key.startswith(_PADDING):
            continue
        dtype, shape = TABLE[BY_SAFETENSORS[entry["dtype"]]].numpy, tuple(int(extent) for extent in entry["shape"])
        begin, end = entry["data_offsets"]
        count = int(np.prod(shape, dtype=object))
        if begin < 0 or end - begin != count * dtype.itemsize or len(header) + end > size:
            raise ValueError(f"the weight '{key}' lies outside of its file")
        found[key] = np.frombuffer(whole, dtype, count, start + len(header) + begin).reshape(shape)
    return found


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
