"""Passes, ops and ONNX handlers that live outside of mlc: a Python file brings its own.

    mlc opt model.onnx --load my_ops.py --passes default,my-pass        mlc.load_extension("my_ops.py")

Loading a file registers the passes and the ops (classes derived from mlc.Pass and GraphOp) that it defines; handlers register themselves
(@handles). A name that is taken is an error.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from types import ModuleType

from mlc.errors import InternalError, MlcError
from mlc.ir import outsiders
from mlc.ir.files import require_path


def load_extension(path: str | PathLike[str]) -> ModuleType:
    """Run a Python file, and register what it defines. A file that is loaded already is returned as it is.

    It is a program like any other: it runs with all rights of the caller. Raises MlcError where it cannot be read, fails, or takes a name
    that is taken.
    """
    path = require_path(path).resolve()
    name = f"mlc_extension_{abs(hash(str(path))):x}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise MlcError(f"cannot load {path}: no such file")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise MlcError(f"cannot load {path}: it is no Python file", remedy="Its name ends with .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        register(module)
        outsiders.note(str(path))
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, Exception) and not isinstance(error, MlcError | InternalError):
            place = _line(error, path)
            raise MlcError(f"cannot load {path}: {place}{type(error).__name__}: {error}") from error
        raise
    return module


def register(module: ModuleType) -> None:
    """Enter the passes and ops that a module defines."""
    from mlc.ir.graph.base import GraphOp
    from mlc.ir.module import register_op
    from mlc.passes.base import Pass
    from mlc.passes.pipelines import register_pass

    for kind in _classes(module):
        if issubclass(kind, Pass) and isinstance(getattr(kind, "name", None), str):
            register_pass(kind)
        elif issubclass(kind, GraphOp) and isinstance(getattr(kind, "name", None), str):
            register_op(kind)


def _classes(module: ModuleType) -> Iterator[type]:
    """Those defined there, not imported."""
    return (v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__)


def _line(error: Exception, path: Path) -> str:
    """Where in the file an error comes from."""
    trace, line = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return "" if line is None else f"line {line}: "
