"""What an executable was made of and with, for its report and its package."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20


def source_digest(source: Any) -> Callable[[], str | None]:
    """The SHA-256 of a model's file or bytes, as a function that waits for it; None for models that exist in memory alone.

    A file is read on a thread beside the compilation: 0.3 s per 500 MB. Weights in files beside it are not part of it.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        digest = hashlib.sha256(source).hexdigest()
        return lambda: digest
    if not isinstance(source, str | os.PathLike) or not Path(source).is_file():
        return lambda: None
    found: list[str] = []

    def read() -> None:
        total = hashlib.sha256()
        try:
            with open(source, "rb", buffering=0) as file:
                while chunk := file.read(_CHUNK):
                    total.update(chunk)
        except OSError:
            return  # the import of the same file says what is wrong with it
        found.append(total.hexdigest())

    reader = threading.Thread(target=read, name="mlc source digest", daemon=True)
    reader.start()

    def wait() -> str | None:
        reader.join()
        return found[0] if found else None

    return wait


def versions() -> dict[str, str]:
    """Of the libraries that have a part in the code."""
    import llvmlite
    import numpy
    import xdsl

    found = {"llvmlite": llvmlite.__version__, "xdsl": xdsl.__version__, "numpy": numpy.__version__}
    return {name: str(version).removeprefix("v") for name, version in found.items()}


@cache
def build() -> str | None:
    """A digest of what turns a module into code: the files of mlc, and the releases of the libraries that it stands on. None where files were
    changed since this process began, for what runs then may be either."""
    digest = hashlib.sha256(f"{sys.version}\0{_releases(_LIBRARIES)}".encode())
    return digest.hexdigest() if add_files(digest, Path(__file__).parent, sys.modules["mlc"].BEGAN) else None


def add_files(digest: Any, folder: Path, began: float) -> bool:
    """Add the names and contents of all files in a folder to a digest. Whether all of them are older than `began`."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(files):
            with open(os.path.join(root, name), "rb") as file:
                if (
                    os.fstat(file.fileno()).st_ctime > began
                ):  # when it came here; copies keep the time when it was written
                    return False
                content = file.read()
            digest.update(f"{os.path.relpath(root, folder)}/{name}\0{len(content)}\0".encode())
            digest.update(content)
    return True


_LIBRARIES = ("llvmlite", "ml_dtypes", "numpy", "onnx", "xdsl")


def _releases(names: tuple[str, ...]) -> list[str]:
    """Where libraries lie and which releases they are, without importing them: that takes longer than a warm compilation."""
    found = []
    for name in names:
        spec = importlib.util.find_spec(name)
        place = Path(spec.origin) if spec is not None and spec.origin else None
        if place is not None:
            releases = (e for e in os.listdir(place.parent.parent) if e.startswith(f"{name}-") and e.endswith("-info"))
            state = place.stat()
            found.append(f"{place} {state.st_mtime_ns} {state.st_size} {sorted(releases)}")
    return found
