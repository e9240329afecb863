"""Output files: written under a temporary name and renamed when complete, so that an old file is never half replaced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlc.errors import MlcError


@contextmanager
def replacing(target: str | Path) -> Iterator[Path]:
    """A path to write to; it takes the place of `target` when the block ends without an exception."""
    target = Path(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.touch()
    except OSError as error:
        raise MlcError(f"cannot write {target}: {(error.strerror or str(error)).lower()}") from error
    try:
        yield temporary
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(target: str | Path, text: str) -> None:
    with replacing(target) as path:
        path.write_text(text, encoding="utf-8")


def write_bytes(target: str | Path, content: bytes) -> None:
    with replacing(target) as path:
        path.write_bytes(content)
