"""Output files: written under a temporary name and renamed when complete, so that an old file is never half replaced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlc.errors import MlcError

if TYPE_CHECKING:
    from mlc.ir.module import Module


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


def write_module(target: str | Path, module: Module, locations: bool = True) -> None:
    """IR text, and its weights in a .safetensors file of the same name, from which mlc.load reads them again."""
    from mlc.ir import safetensors
    from mlc.portable import weights_of

    named = [key for key in weights_of(module) if key in module.weights]
    if named:
        safetensors.write(module.weights, Path(target).with_suffix(".safetensors"), named)
    write_text(target, module.text(locations=locations))
