"""What a command writes: checked before any work is done, written complete or not at all, and named when it is there."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlc.cli.parser import UsageError
from mlc.errors import MlcError
from mlc.ir.files import is_replaced, replacing, require_writable, write_text

if TYPE_CHECKING:
    from mlc.ir.module import Module

STDOUT = "-"


def require_outputs(outputs: Mapping[str, str | Path | None], inputs: Sequence[str | Path | None] = ()) -> None:
    """Test the files that flags name as outputs, each by its flag: writable, and neither one another nor what the command reads.
    Raises UsageError or MlcError."""
    seen: dict[str, str] = {}
    for flag, target in outputs.items():
        if target is None:
            continue
        if str(target) == STDOUT:
            place = STDOUT
        else:
            path = Path(target)
            if str(target).endswith(os.sep) or path.is_dir():
                raise UsageError(f"{flag} {target} is a folder", remedy=f"Name a file: {flag} {path / 'NAME'}.")
            require_writable(path)
            place = os.path.realpath(path)
            if _is_plain(path) and any(_is_same(path, source) for source in inputs):
                raise UsageError(f"{flag} {target} is what the command reads", remedy="Name another file.")
        if place in seen and (place == STDOUT or _is_plain(Path(place))):
            raise UsageError(f"{flag} and {seen[place]} name the same file, {target}", remedy="Name another for one.")
        seen[place] = flag


def files_read(args: argparse.Namespace) -> list[Path]:
    """The files that inputs come from."""
    found: list[Path] = []
    for text in [*args.input, *args.known]:
        for path in (Path(text), Path(text.partition("=")[2].removeprefix("@"))):
            if path.is_dir() and path != Path():
                found += path.iterdir()
            elif path.is_file():
                found.append(path)
    return found


def _is_plain(path: Path) -> bool:
    """Whether two outputs here would take each other's place; devices take any number of them."""
    return is_replaced(path)


def _is_same(path: Path, source: str | Path | None) -> bool:
    return source is not None and path.exists() and os.path.exists(source) and path.samefile(source)


@contextmanager
def writing(target: str | Path) -> Iterator[Path]:
    """As `replacing`; `-` is standard output."""
    if str(target) != STDOUT:
        with replacing(target) as path:
            yield path
        return
    with tempfile.TemporaryDirectory(prefix="mlc-") as folder:
        path = Path(folder) / "output"
        yield path
        sys.stdout.flush()
        with path.open("rb") as content:
            shutil.copyfileobj(content, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def weights_beside(target: str | Path) -> Path | None:
    """Where the weights of IR text go that is written to `target`; None for standard output and other streams, which have no beside."""
    if str(target) == STDOUT or not is_replaced(Path(target)):
        return None
    return Path(target).with_suffix(".safetensors")


def require_module(target: str | Path) -> None:
    """Raises MlcError where weights beside IR text would replace a file that mlc did not write."""
    from mlc.ir import safetensors

    beside = weights_beside(target)
    if beside is not None and beside.exists() and not safetensors.is_ours(beside):
        raise MlcError(
            f"the weights of {target} go to {beside}, and there is one that mlc did not write",
            remedy="Name another file with -o, or move that one.",
        )


def write_module(target: str | Path, module: Module, locations: bool = True) -> list[Path]:
    """IR text, and its weights in a .safetensors file of the same name, from which mlc.load reads them again. The files written."""
    from mlc.ir import safetensors
    from mlc.runtime.portable import weights_of

    named = [key for key in weights_of(module) if key in module.weights]
    beside = weights_beside(target) if named else None
    if beside is not None:
        require_module(target)
        safetensors.write(module.weights, beside, named)
    with writing(target) as path:
        path.write_text(module.text(locations=locations), encoding="utf-8")
    return [Path(target), *([beside] if beside else [])]


__all__ = ["files_read", "require_module", "require_outputs", "weights_beside", "write_module", "write_text", "writing"]
