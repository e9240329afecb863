"""Output files: complete or not at all, and nothing else harmed.

    with replacing("model.mlc") as path:      # a file beside it, which takes its place in the end
        path.write_bytes(content)

What is there and is no plain file keeps its kind: a device or FIFO is written into, a link stays and what it names is replaced.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlc.errors import MlcError

_STREAMS = (
    "/dev/std",
    "/dev/fd/",
    "/proc/",
)  # names of open files, which are written into even where they are plain ones


def require_path(value: object) -> Path:
    """A path that a caller gives. Raises MlcError for an object of another kind."""
    if not isinstance(value, str | os.PathLike):
        raise MlcError(f"an object of type {type(value).__name__} is no path")
    return Path(value)


@contextmanager
def replacing(target: str | os.PathLike[str], mode: int | None = None) -> Iterator[Path]:
    """A path to write to; when the block ends without an exception its content is at `target`.

    mode    permissions of the file; those of the file that it replaces without it, else what is usual for new files

    Raises MlcError where `target` cannot be written; then it is as it was.
    """
    target = require_path(target)
    try:
        through = not is_replaced(target)
        beside = None if through else Path(os.path.realpath(target))
        temporary = _temporary(beside)
    except OSError as error:
        raise _unwritable(target, error) from error
    try:
        yield temporary
        if beside is None:
            with temporary.open("rb") as content, target.open("wb") as stream:
                shutil.copyfileobj(content, stream)
            temporary.unlink()
        else:
            _take_mode(temporary, beside, mode)
            temporary.replace(beside)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.filename not in (None, str(temporary), str(target)):
            raise  # about a file that was read
        raise _unwritable(target, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(target: str | os.PathLike[str], text: str) -> None:
    """A text file in UTF-8."""
    with replacing(target) as path:
        path.write_text(text, encoding="utf-8")


def write_bytes(target: str | os.PathLike[str], content: bytes) -> None:
    with replacing(target) as path:
        path.write_bytes(content)


def is_replaced(target: Path) -> bool:
    """Whether writing makes a new file in place of the old; else what is there is written into. Raises OSError for a folder."""
    try:
        kind = target.stat().st_mode
    except FileNotFoundError:
        return True
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(None, "it is a folder", str(target))
    return stat.S_ISREG(kind) and not os.path.abspath(target).startswith(_STREAMS)


def require_writable(target: str | os.PathLike[str]) -> None:
    """Raises MlcError where `replacing` would; leaves nothing behind."""
    target = Path(target)
    try:
        if is_replaced(target):
            _temporary(Path(os.path.realpath(target))).unlink()
        elif not os.access(target, os.W_OK):
            raise PermissionError(None, "permission denied", str(target))
    except OSError as error:
        raise _unwritable(target, error) from error


def _temporary(beside: Path | None) -> Path:
    """A new empty file, in the folder of the file that it will replace; a name that is taken, by a link too, is never used."""
    if beside is None:
        handle, name = tempfile.mkstemp(prefix="mlc-")
        os.close(handle)
        return Path(name)
    while True:
        path = beside.with_name(f".{beside.name[:200]}.{secrets.token_hex(4)}.tmp")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o666))
        except FileExistsError:
            continue
        return path


def _take_mode(temporary: Path, old: Path, mode: int | None) -> None:
    if mode is None and old.exists():
        mode = stat.S_IMODE(old.stat().st_mode)
    if mode is not None:
        temporary.chmod(mode)


def _unwritable(target: Path, error: OSError) -> MlcError:
    reason = (error.strerror or str(error)).lower()
    if isinstance(error, FileNotFoundError) and not target.parent.exists():
        reason = "its folder does not exist"
    return MlcError(f"cannot write {target}: {reason}")
