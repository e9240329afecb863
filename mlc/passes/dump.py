"""The folder of a dump: one numbered file of IR text per pass, and what others put beside them.

A dump takes the place of the one before it; files that mlc did not write stay, and one in the way is an error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mlc.errors import MlcError
from mlc.ir import safetensors

INDEX = "index.html"
WEIGHTS = "weights.safetensors"
MARK = '<meta name="generator" content="mlc">'  # of an index that mlc wrote
_LISTED = re.compile(r'href="(\d+-[\w-]+\.mlir)"')


def file_name(number: int, name: str) -> str:
    return f"{number:02}-{name}.mlir"


def prepare(folder: Path, names: Sequence[str]) -> None:
    """Make the folder ready for the files of these stages: the files of an earlier dump go. Raises MlcError where another file has a name
    that is needed."""
    if folder.exists() and not folder.is_dir():
        raise MlcError(f"cannot write IR to {folder}: it is no folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stages = [folder / file_name(*row) for row in enumerate(names)]
        levels = [path for stage in stages for path in folder.glob(f"{stage.stem}-level-*.mlir")]
        for path in [folder / INDEX, folder / WEIGHTS, *stages, *levels]:
            if (path.exists() or path.is_symlink()) and not _is_ours(path):
                raise MlcError(
                    f"{path} is not of an earlier dump, and would be replaced",
                    remedy="Name another folder, or move the file.",
                )
        index = folder / INDEX
        if index.exists():
            for listed in _LISTED.findall(index.read_text(encoding="utf-8")):
                (folder / listed).unlink(missing_ok=True)
            index.unlink()
    except OSError as error:
        raise MlcError(f"cannot write IR to {folder}: {(error.strerror or str(error)).lower()}") from error


def _is_ours(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    if path.name == WEIGHTS:
        return safetensors.is_ours(path)
    with path.open("rb") as file:
        start = file.read(4096)
    return MARK.encode() in start if path.name == INDEX else start.startswith(b"builtin.module")
