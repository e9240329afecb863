"""What an executable was made of and with, for its report and its package."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
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
