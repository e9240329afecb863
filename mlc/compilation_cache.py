"""Whole compilations on disk: one that was done before, with the same options by the same mlc, runs no pass and imports no model.

request(options, source)          a question to the cache: by the options and the file, before anything of it is read
of_module(options, module)        ... or by all that a module says and holds
find(request)                     the answer, if the files are what they were

A request of a file does not say what is in it: the record does, with a digest of each file that was read. They are read at the same time as
what is done with the answer, which counts only once `confirm` has said so. Nothing is asked or kept where code from outside of mlc has a part
in the result, and where files of mlc were changed since the process began.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlc.codegen.llvm.cache import ObjectCache
from mlc.errors import MlcError
from mlc.ir import outsiders
from mlc.ir.processors import available_cpus
from mlc.provenance import build, source_digest
from mlc.runtime.compilation_record import LARGEST, CompilationRecord
from mlc.runtime.loaders import DESCRIBED
from mlc.sources import is_ir_text

if TYPE_CHECKING:
    from mlc.ir.module import Module
    from mlc.options import CompileOptions

WARM = "whole compilation from the cache"
_log = logging.getLogger("mlc.cache")
_ELSEWHERE = ("cache", "verify_each")  # options that decide whether there is a request, not what comes of it


@dataclass(frozen=True)
class Request:
    """`key` names the record. `digest` gives the SHA-256 of the source, `file` is where it lies and `state` what that was like, if it is a file, `text` what it says, if it is a module."""

    key: str
    digest: Callable[[], str | None] = lambda: None
    file: str | None = None
    state: tuple[int, ...] = ()
    text: str | None = None  # of a module


@dataclass(frozen=True)
class Found:
    """A record, and whether the files of the source are those that it was made of: `confirm` waits for that."""

    record: CompilationRecord
    confirm: Callable[[], bool]


def request(options: CompileOptions, source: object) -> Request | None:
    """For an ONNX model in a file or in bytes. None where compilations like this one are not kept."""
    if isinstance(source, bytes | bytearray | memoryview):
        basis = None if is_ir_text(bytes(source)) else _basis(options)
        digest = source_digest(source)
        return None if basis is None else Request(_key(basis, "bytes", str(digest())), digest)
    if not isinstance(source, str | os.PathLike) or (path := Path(source)).suffix in (".mlir", ".mlc"):
        return None
    if not path.is_file() or (basis := _basis(options)) is None:
        return None
    state = _state(str(path))
    return Request(_key(basis, "file", str(path)), source_digest(path), str(path), state)


def of_module(options: CompileOptions, module: Module) -> Request | None:
    """For a module, by its text, its weights, and what they are called: names of derived weights step around those that are taken. None
    where compilations like this one are not kept."""
    from mlc.runtime.portable import weights_of

    basis = _basis(options)
    if basis is None or not all(outsiders.is_own(type(op)) or _is_xdsl(op) for op in module.op.walk()):
        return None
    weights, named = module.weights, [key for key in weights_of(module) if key in module.weights]
    with ThreadPoolExecutor(available_cpus()) as workers:
        digests = list(workers.map(lambda key: array_digest(weights.get(key)), named))
    text = module.text(locations=True)
    parts = [text, str(module.source), repr(module.forms)]
    parts += [repr(list(zip(named, digests, strict=True))), repr(sorted(weights)), repr(sorted(weights.looked_at()))]
    parts += [repr(sorted((key, source, repr(how)) for key, (source, how) in weights.packed.items()))]
    return Request(_key(basis, "module", *parts), text=text)


def _is_xdsl(op: object) -> bool:
    return type(op).__module__.partition(".")[0] == "xdsl"


def stored() -> ObjectCache:
    """Where records are kept: beside the objects, which many compilations share."""
    return ObjectCache(kind="compilations", limit=4 * LARGEST)


def find(asked: Request) -> Found | None:
    """The record that answers a request, if there is one. One that is damaged is none, and is made anew."""
    content = stored().get(asked.key)
    if content is None:
        return None
    try:
        record = CompilationRecord.from_bytes(content)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, MlcError) as error:
        _log.warning("a compilation in the cache cannot be read and is done again: %s", error)
        return None
    digests = {file: asked.digest if file == asked.file else source_digest(file) for file in record.files}
    return Found(record, lambda: all(digests[file]() == digest for file, digest in record.files.items()))


def keep(asked: Request, record: CompilationRecord) -> str | None:
    """Keep a record, unless a file was changed meanwhile. Returns why it is not kept, if it is not."""
    if asked.file is not None and _state(asked.file) != asked.state:
        return "a file of the model was changed meanwhile"
    kept = sum(array.nbytes for array in record.kept.values())
    if kept > LARGEST:
        return f"its folded weights take {kept} bytes"
    cache = stored()
    cache.put(asked.key, *record.to_parts())
    cache.trim()
    return None


def checksums(asked: Request, record: CompilationRecord) -> dict[str, str] | None:
    """Of the weights of a record in packages, if a package was written of it: they hold for files that are what the record says."""
    content = stored().get(_of_weights(asked, record))
    found = None if content is None else json.loads(content)
    return found if isinstance(found, dict) and found.keys() == {row.key for row in record.rows} else None


def keep_checksums(asked: Request, record: CompilationRecord, found: Mapping[str, str]) -> None:
    stored().put(_of_weights(asked, record), json.dumps(dict(found)).encode())


def _of_weights(asked: Request, record: CompilationRecord) -> str:
    return _key(asked.key, "checksums", json.dumps(sorted(record.files.items())))


def array_digest(array: np.ndarray) -> str:
    """SHA-256 of an array's type, shape and bytes."""
    digest = hashlib.sha256(f"{array.dtype.str} {array.dtype.name} {array.shape}\0".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b"")
    return digest.hexdigest()


def _state(file: str) -> tuple[int, ...]:
    """What changes where a file does."""
    try:
        found = os.stat(file)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _basis(options: CompileOptions) -> str | None:
    """All but the source; None where compilations with these options are not kept."""
    if not options.cache or options.verify_each or options.target not in DESCRIBED:
        return None
    if noted := outsiders.noted():
        _log.info("the compilation is not kept: %s is from outside of mlc", noted[0])
        return None
    texts = _options_text(options)
    mlc = build()
    if texts is None or mlc is None:
        return None
    try:
        machine = DESCRIBED[options.target](options.arch)
    except MlcError:
        return None  # the compilation says what is wrong
    return json.dumps([mlc, machine, texts])


def _options_text(options: CompileOptions) -> list[str] | None:
    """Every option as text; None where one is an object that text does not tell."""
    found = []
    for each in fields(options):
        value = getattr(options, each.name)
        if each.name in _ELSEWHERE:
            continue
        if each.name == "known":
            value = {name: array_digest(np.asarray(array)) for name, array in sorted(value.items())}
        elif each.name == "passes" and not isinstance(value, str | None):
            if not all(isinstance(step, str) or outsiders.is_own(type(step)) for step in value):
                return None
            value = [str(step) for step in value]
        found.append(f"{each.name}={_plain(value)}")
    return found


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return repr([(key, _plain(item)) for key, item in value.items()])
    if isinstance(value, Sequence) and not isinstance(value, str):
        return repr([_plain(item) for item in value])
    return f"{type(value).__name__} {value}"
