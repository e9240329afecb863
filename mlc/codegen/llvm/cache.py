"""What was compiled, on disk: the same text for the same machine is compiled once. Objects lie here, and records of whole compilations.

Every file starts with the digest of its content, so a damaged one is a miss. Writes go to a temporary name and are renamed.
The folder is MLC_CACHE_DIR, else $XDG_CACHE_HOME/mlc, else ~/.cache/mlc; of each kind the oldest are dropped beyond LIMIT bytes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path

from mlc.ir.kernel.cpu_target import CpuTarget

LIMIT = 512 << 20
_DIGEST = 32
_log = logging.getLogger("mlc.cache")


def cache_directory() -> Path:
    """Where mlc keeps what it may lose."""
    if chosen := os.environ.get("MLC_CACHE_DIR"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mlc"


class ObjectCache:
    """Contents by key: objects, what is known of kernels, records of compilations. Counts `hits` and `misses`; a folder that cannot be written is reported once and
    then left alone."""

    def __init__(self, folder: Path | None = None, limit: int = LIMIT, kind: str = "objects"):
        self.folder = (folder or cache_directory()) / kind
        self.limit = limit
        self.hits = 0
        self.misses = 0
        self._writable = True

    @staticmethod
    def key(text: str, target: CpuTarget, optimise: bool, versions: str) -> str:
        digest = hashlib.sha256()
        for part in (versions, target.name, target.features, str(optimise), text):
            digest.update(part.encode())
            digest.update(b"\0")
        return digest.hexdigest()

    def path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key[2:]}.o"

    def get(self, key: str) -> bytes | None:
        path = self.path(key)
        try:
            with path.open("rb") as file:
                digest, content = file.read(_DIGEST), file.read()
        except OSError:
            self.misses += 1
            return None
        if hashlib.sha256(content).digest() != digest:
            self.misses += 1
            _log.warning("%s is damaged: what it held is compiled again", path)
            return None
        self.hits += 1
        try:
            os.utime(path)  # the age decides what is dropped
        except OSError as error:
            _log.debug("cannot mark %s as used: %s", path, error)
        return content

    def put(self, key: str, *parts: bytes | memoryview) -> None:
        """Keep what the parts are together; they are not put together in memory."""
        if not self._writable:
            return
        path = self.path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
            try:
                with os.fdopen(handle, "wb") as file:
                    digest = hashlib.sha256()
                    for part in parts:
                        digest.update(part)
                    file.write(digest.digest())
                    file.writelines(parts)
                os.replace(name, path)
            except BaseException:
                os.unlink(name)
                raise
        except OSError as error:
            self._writable = False
            _log.warning("compiled code is not kept: cannot write to %s (%s); set MLC_CACHE_DIR", self.folder, error)

    def entries(self) -> list[tuple[float, int, Path]]:
        """(last use, bytes, file) of every object, oldest first."""
        found = []
        for path in self.folder.glob("*/*"):
            try:
                state = path.stat()
            except OSError:
                continue  # dropped by another process meanwhile
            found.append((state.st_mtime, state.st_size, path))
        return sorted(found)

    def trim(self) -> int:
        """Drop the objects used longest ago until four fifths of the limit are left; returns how many."""
        entries = self.entries()
        total = sum(size for _, size, _ in entries)
        if total <= self.limit:
            return 0
        dropped = 0
        for _, size, path in entries:
            if total <= self.limit * 4 // 5:
                break
            path.unlink(missing_ok=True)
            total -= size
            dropped += 1
        return dropped

    def clear(self) -> int:
        """Drop everything; returns how many objects there were."""
        entries = self.entries()
        for _, _, path in entries:
            path.unlink(missing_ok=True)
        return len(entries)
