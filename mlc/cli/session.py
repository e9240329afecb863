"""A model that is ready to be called, for the commands that call it: compiled now, or loaded from a package."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlc.cli import data, sizes
from mlc.cli.console import Console
from mlc.cli.parser import UsageError
from mlc.cli.source import Model, model, options, require_as_compiled
from mlc.cli.writing import write_text
from mlc.errors import MlcError
from mlc.ir.variants import variant_text

if TYPE_CHECKING:
    from mlc.ir.module import Module


@dataclass
class Session:
    """`module` is the one that was compiled; of a package, the one it carries (without the weights' bytes)."""

    source: Model
    executable: Any
    module: Module
    compiled: bool

    @property
    def output_names(self) -> list[str]:
        return [output.name for output in self.executable.get_outputs()]

    def feeds(self, args: argparse.Namespace) -> dict[str, np.ndarray]:
        """The inputs that the flags describe."""
        given = data.read(args.input, self.module.input_names)
        fixed = sizes.fixed(args.dim)
        for name in fixed:
            if not self.compiled and name not in self.module.symbols:
                raise UsageError.unknown("dimension", name, self.module.symbols)
        return data.feeds(self.module, given, fixed, args.seed, usual=sizes.usual(args.dim))

    def write_trace(self, path: str, feeds: Mapping[str, np.ndarray]) -> None:
        """A Chrome trace of one profiled call."""
        from mlc.insight import trace

        steps = self.executable.profile(*(feeds[spec.name] for spec in self.executable.get_inputs()))
        write_text(path, trace.text(f"mlc run {self.source.name}", trace.call(steps)))

    def verify(
        self, args: argparse.Namespace, console: Console, check: Callable[..., dict[str, Any]]
    ) -> dict[str, Any]:
        if not self.compiled:
            raise UsageError("--verify needs the model, not a package", remedy="mlc run model.onnx --verify.")
        return check(args, self.source, self.module, self.executable, console)


def open_session(args: argparse.Namespace, console: Console) -> Session:
    """Load or compile the MODEL of a command. Compiler flags do not fit a package: UsageError."""
    source = model(args.model)
    if source.is_package:
        return _open_package(args, source, console)
    from mlc.compiler import Compilation
    from mlc.frontends.onnx.node import NeedsValue

    compilation = Compilation(options(args), console.progress)
    try:
        module = compilation.load(source.source)
    except NeedsValue as need:
        module = _with_values(compilation, source, args, need)
    return Session(source, compilation.finish(module), module, compiled=True)


def _with_values(compilation: Any, source: Model, args: argparse.Namespace, need: Any) -> Module:
    """Import with the values that --input gives to the inputs that decide shapes."""
    from mlc.specialise import declared_inputs

    declared = declared_inputs(source.source, compilation.options)
    given = data.read(args.input, list(declared))
    known: dict[str, np.ndarray] = {}
    for _ in range(len(declared) + 1):
        missing = [name for name in need.inputs if name in declared and name not in known]
        if not missing or any(name not in given.arrays for name in missing):
            raise need
        known.update({name: given.arrays[name] for name in missing})
        try:
            return compilation.load(source.source, known)
        except type(need) as again:
            need = again
    raise need


def _open_package(args: argparse.Namespace, source: Model, console: Console) -> Session:
    from mlc.compiler import load_executable
    from mlc.ir.module import Module

    require_as_compiled(args, source)
    if variants := sizes.variants(args.dim):
        raise UsageError(f"--dim {variant_text(variants[0])}: {source.name} is compiled already")
    if getattr(args, "target", "cpu") != "cpu":
        raise UsageError(f"{source.name} holds code for cpu", remedy="Compile the model again with --target.")
    if source.path is None:
        raise MlcError(
            "a package cannot come through standard input", remedy="Name its file: its weights are mapped, not read."
        )
    executable = load_executable(source.path, args.threads, args.strict, console.progress)
    return Session(source, executable, Module.parse(executable.module_text, file=source.name), compiled=False)
