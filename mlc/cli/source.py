"""The MODEL of a command: a path, or standard input, with the sizes that flags give it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlc.cli import sizes
from mlc.cli.command_line import UsageError
from mlc.cli.python_function import NAMED
from mlc.ir.spelling import nearest
from mlc.options import CompileOptions
from mlc.sources import is_ir_text

KINDS = (".onnx", ".onnxtxt", ".mlir", ".mlc", ".py")


@dataclass(frozen=True)
class Model:
    """`kind` is a suffix of KINDS; `content` is set where the model came through standard input, `function` of a Python file."""

    name: str
    kind: str
    path: Path | None
    content: bytes | None = None
    function: str | None = None

    @property
    def source(self) -> Path | bytes:
        return self.content if self.path is None and self.content is not None else self.path or b""

    @property
    def is_package(self) -> bool:
        return self.kind == ".mlc"

    @property
    def is_onnx(self) -> bool:
        return self.kind in (".onnx", ".onnxtxt")


def model(text: str) -> Model:
    """What an argument MODEL names. Raises UsageError for a file of no kind we know, or one that does not exist."""
    if text == "-":
        content = sys.stdin.buffer.read()
        kind = ".mlc" if content[:4] == b"PK\x03\x04" else ".mlir" if is_ir_text(content) else ".onnx"
        return Model("standard input", kind, None, content)
    path, function = Path(text), None
    if (named := NAMED.fullmatch(text)) and not path.exists():
        path, function = Path(named["file"]), named["function"]
    if not path.exists():
        near = _near(path)
        raise UsageError(f"{path}: no such file", remedy=f"Did you mean {near}?" if near else None)
    if path.is_dir():
        raise UsageError(f"{text} is a folder", remedy="MODEL is an .onnx, .mlir or .mlc file, or file.py:function.")
    kind = path.suffix.lower()
    if kind == ".py" and function is None:
        raise UsageError(f"{text} is a Python file", remedy=f"Name a function in it: {text}:FUNCTION --args f32[2,3].")
    return Model(text, kind if kind in KINDS else ".onnx", path, function=function)


def files_of(source: Model) -> list[Path]:
    """The files that a model is read from: its own, and those that its weights lie in."""
    if source.path is None:
        return []
    if source.kind == ".mlir":
        from mlc.compiler import weights_beside

        return [source.path, *weights_beside(source.path)]
    if not source.is_onnx:
        return [source.path]
    from mlc.frontends.onnx.reader import external_files, read

    return [source.path, *external_files(read(source.path))]


def _near(path: Path) -> str | None:

    folder = path.parent
    names = [p.name for p in folder.iterdir() if p.suffix in KINDS] if folder.is_dir() else []
    close = nearest(path.name, names)
    return str(folder / close[0]) if close else None


def require_as_compiled(args: argparse.Namespace, package: Model) -> None:
    """Raises UsageError for flags that a package comes too late for."""
    for flag in (
        "shape",
        "until",
        "passes",
        "disable_pass",
        "known",
        "denormals",
        "precision",
        "memory_budget",
        "opt",
        "tune_store",
    ):
        if getattr(args, flag, None):
            name = flag.replace("_", "-")
            raise UsageError(f"--{name} changes how a model is compiled, and {package.name} is compiled already")


def options(args: argparse.Namespace) -> CompileOptions:
    """The compile options that the flags state."""
    return CompileOptions.of(
        target=getattr(args, "target", None),
        arch=getattr(args, "arch", None),
        shapes=sizes.shapes(args.shape),
        dims=sizes.dims(args.dim),
        specialise=sizes.variants(args.dim),
        until=args.until,
        threads=getattr(args, "threads", None),
        opt_level=getattr(args, "opt_level", None),
        passes=getattr(args, "passes", None),
        disable_passes=getattr(args, "disable_pass", None),
        memory_budget=getattr(args, "memory_budget", None),
        check_indices=not getattr(args, "no_check_indices", False),
        denormals=getattr(args, "denormals", None),
        precision=getattr(args, "precision", None),
        cache=not getattr(args, "no_cache", False),
        verify_each=getattr(args, "verify_each", False),
        tune_store=getattr(args, "tune_store", None) or None,
        settings=_settings(getattr(args, "opt", [])),
    )


def _settings(given: Sequence[str]) -> dict[str, str]:
    """winograd=off -> {"winograd": "off"}."""
    found = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign:
            raise UsageError(f"--opt {text}: write NAME=VALUE, as in --opt winograd=off")
        found[name.strip()] = value.strip()
    return found
