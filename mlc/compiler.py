"""Joins the stages: the only file that knows them all.

load      ONNX file, IR text       -> Module of the graph dialect
optimise  Module, CompileOptions   -> Module after the passes of the pipeline
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

from mlc.errors import InvalidModel, MlcError
from mlc.ir import safetensors
from mlc.ir.graph.shape import WeightOp
from mlc.ir.module import Module
from mlc.ir.weights import WeightStore
from mlc.options import CompileOptions, DimRange
from mlc.progress import Progress, stage

if TYPE_CHECKING:
    from onnx import ModelProto

    from mlc.passes.manager import Pass, PassManager, Selection

WEIGHTS_FILE = "weights.safetensors"  # beside IR text


def load(
    source: str | os.PathLike[str] | bytes | ModelProto | Module,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    dims: Mapping[str, int | tuple[int, int | None] | DimRange] | None = None,
    known: Mapping[str, np.ndarray] | None = None,
) -> Module:
    """The module of a model: an ONNX file (binary or text syntax), its bytes or ModelProto, or a file of IR text (.mlir).

    shapes  extents of inputs in place of the declared ones: numbers, names, expressions
    dims    a size that fixes a symbol, or its bounds (low, high)
    known   values of inputs that decide shapes; the module is right for these values only

    The weights of IR text are read from weights.safetensors in its folder. Raises InvalidModel, ShapeError, UnsupportedOp.
    """
    if isinstance(source, Module):
        _no_sizes("a module", shapes, dims, known)
        return source
    if isinstance(source, bytes) and source.lstrip().startswith(b"builtin.module"):
        _no_sizes("IR text", shapes, dims, known)
        return Module.parse(source.decode(errors="replace"))
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.suffix == ".mlir":
            _no_sizes("IR text", shapes, dims, known)
            return _parse(path)
        if path.suffix == ".mlc":
            raise MlcError(f"{path} is a compiled package", remedy="mlc.load_executable loads it.")
    from mlc.frontends import onnx

    return onnx.load(source, shapes, {name: _bounds(value) for name, value in (dims or {}).items()}, known)


def _no_sizes(what: str, *given: object) -> None:
    if any(given):
        raise MlcError(f"{what} has its sizes already", remedy="Give shapes and dims where the ONNX model is loaded.")


def _bounds(value: int | tuple[int, int | None] | DimRange) -> int | tuple[int, int | None]:
    if isinstance(value, DimRange):
        return value.low if value.low == value.high else (value.low, value.high)
    return value


def _parse(path: Path) -> Module:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InvalidModel(f"cannot read {path}: {reason}", file=str(path)) from error
    except UnicodeDecodeError as error:
        raise InvalidModel(f"{path} is not text", file=str(path)) from error
    weights = WeightStore()
    beside = path.parent / WEIGHTS_FILE
    if beside.exists():
        safetensors.add_file(weights, beside)
    module = Module.parse(text, weights, str(path))
    module.source = str(path)
    return module


def _weights_of(module: Module) -> dict[str, None]:
    """Keys of the weights that a module names, in order."""
    return dict.fromkeys(op.weight_key for op in module.op.walk() if isinstance(op, WeightOp))


@dataclass(frozen=True)
class Inspection:
    """What a caller wants to see of the IR on its way; the fields are those of PassManager."""

    print_before: Selection = ()
    print_after: Selection = ()
    print_on_change: bool = False
    dump: Path | None = None
    stop_after: str | None = None
    time: bool = False
    stream: TextIO | None = None


@dataclass
class Compilation:
    """One model on its way to native code. Each stage is a method, so that commands can stop and look after any of them."""

    options: CompileOptions = field(default_factory=CompileOptions)
    progress: Progress | None = None
    inspection: Inspection = field(default_factory=Inspection)
    seconds: dict[str, float] = field(default_factory=dict)  # of each stage

    def load(
        self,
        source: str | os.PathLike[str] | bytes | ModelProto | Module,
        known: Mapping[str, np.ndarray] | None = None,
    ) -> Module:
        """The module of a model, with the shapes and bounds of the options."""
        from mlc.insight.summary import headline

        with stage("import", self.progress, self.seconds) as step:
            module = load(source, self.options.shapes, self.options.dims, known)
            step.text = headline(module)
        return module

    def optimise(self, module: Module) -> Module:
        """The module after the pipeline; the one given stays as it is."""
        with stage("optimise", self.progress, self.seconds) as step:
            manager = self.manager()
            total = len(manager.sequence)
            named = _weights_of(module)

            def after(number: int, done: Pass, changed: Module) -> None:
                step.at(number, total, done.name)
                named.update(_weights_of(changed))

            manager.callback = after
            result = manager.run(module)
            first, last = manager.records[0].ops_before, manager.records[-1].ops_after
            step.text = (
                f"{len(manager.records)} of {total} passes, {first} -> {last} ops" if manager.records else "no passes"
            )
        if self.inspection.dump:
            safetensors.write(result.weights, self.inspection.dump / WEIGHTS_FILE, named)
        return result

    def manager(self) -> PassManager:
        """The pass manager of the options' pipeline."""
        from mlc.passes.manager import PassManager
        from mlc.passes.pipelines import graph_passes

        options, look = self.options, self.inspection
        return PassManager(
            graph_passes(options.opt_level, options.disable_passes) if options.passes is None else options.passes,
            print_before=look.print_before,
            print_after=look.print_after,
            print_on_change=look.print_on_change,
            dump=look.dump,
            verify_each=options.verify_each,
            stop_after=look.stop_after,
            time=look.time,
            stream=look.stream,
        )
