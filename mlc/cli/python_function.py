"""MODEL as a function in a Python file: `file.py:function`, traced for the arguments that --args describes.

--args f32[2,3]        a tensor's dtype and shape; f32[N,3] keeps N symbolic; [2,3] is f32
--args 0.5             a Python number
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlc.cli.command_line import UsageError
from mlc.errors import MlcError
from mlc.extensions import load_extension
from mlc.ir.spelling import nearest
from mlc.options import DimRange

if TYPE_CHECKING:
    from mlc.frontends.trace.traced import TensorSpec
    from mlc.ir.module import Module

NAMED = re.compile(r"(?P<file>.+\.py):(?P<function>[A-Za-z_][\w.]*)")
_SPEC = re.compile(r"(?P<dtype>\w*)\[(?P<shape>[^\[\]]*)\]")


def traced(file: Path, name: str, args: Sequence[str], dims: Mapping[str, DimRange]) -> Module:
    """The module of the function. The file is run, with all rights of the caller. Raises UsageError, and MlcError where tracing fails."""
    from mlc.frontends.trace.traced import arguments_of
    from mlc.jitted import traced_call

    function, static = _function(file, name)
    fixed = {symbol: bounds.low for symbol, bounds in dims.items() if bounds.low == bounds.high}
    bounds = {symbol: (range.low, range.high) for symbol, range in dims.items() if symbol not in fixed}
    given = [_argument(text, fixed) for text in args]
    try:
        call = arguments_of(function, static, given, {})
    except MlcError as error:
        error.file, error.remedy = error.file and str(file), "Describe each argument, in order: --args f32[N,3] 0.5."
        raise
    module = traced_call(function, call, {}, bounds).module
    if unknown := [symbol for symbol in bounds if symbol not in _symbols(call.leaves)]:
        raise UsageError.unknown("dimension", unknown[0], _symbols(call.leaves))
    module.source = str(file)
    return module


def _symbols(leaves: Sequence[Any]) -> list[str]:
    from mlc.ir.dims import Dim

    shapes = [getattr(leaf, "shape", ()) for leaf in leaves]
    return sorted({s for shape in shapes for e in shape if isinstance(e, Dim) for s in e.symbols()})


def _function(file: Path, name: str) -> tuple[Any, Sequence[str]]:
    """The function of this name in the file, and the names of its static arguments."""
    folder = str(file.resolve().parent)
    if folder not in sys.path:  # as Python has it for a file that it runs
        sys.path.insert(0, folder)
    found: Any = load_extension(file)
    for part in name.split("."):
        if not hasattr(found, part):
            names = [n for n, v in vars(found).items() if callable(v) and not n.startswith("_")]
            close = nearest(part, names)
            hint = f"Did you mean '{close[0]}'?" if close else f"It has {', '.join(names) or 'no function'}."
            raise UsageError(f"{file} has no function '{name}'", remedy=hint)
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"'{name}' in {file} is of type {type(found).__name__}, and no function")
    return getattr(found, "function", found), getattr(found, "static", ())


def _argument(text: str, fixed: Mapping[str, int]) -> TensorSpec | float:
    from mlc.frontends.trace.traced import TensorSpec
    from mlc.ir import dims

    if text in ("true", "false"):
        return text == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    match = _SPEC.fullmatch(text)
    if match is None:
        raise UsageError(
            f"--args {text}: no argument",
            remedy="Write a dtype and a shape or a number for each, with spaces between: --args f32[N,3] f32[3,4] 0.5.",
        )
    try:
        extents = [dims.parse(part.strip()) for part in match["shape"].split(",") if part.strip()]
        return TensorSpec([dims.substitute(extent, fixed) for extent in extents], match["dtype"] or "f32")
    except MlcError as error:
        raise UsageError(f"--args {text}: {error.message}", remedy=error.remedy) from error
    except ValueError as error:
        raise UsageError(f"--args {text}: {error}") from error
