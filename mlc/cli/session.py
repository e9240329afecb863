"""The MODEL of a command, opened: imported, or loaded from a package; compiled when it is first called.

What the flags say of inputs is read and tested before anything is compiled.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlc.cli import data, sizes
from mlc.cli.command_line import UsageError
from mlc.cli.console import Console
from mlc.cli.source import Model, model, options, require_as_compiled
from mlc.errors import MlcError
from mlc.ir.files import write_text
from mlc.ir.variants import variant_text

if TYPE_CHECKING:
    from mlc.compiler import Compilation, Inspection
    from mlc.ir.module import Module
    from mlc.references import Run
    from mlc.runtime.executable import Executable


@dataclass
class Session:
    """`module` is the one that gets compiled; of a package, the one it carries, with the package's weights. `compilation` is None then.

    `known` are the values of inputs that decide shapes; `reference` is the model that a package is compared with.
    """

    source: Model
    module: Module
    compilation: Compilation | None
    loaded: Executable | None = None
    known: Mapping[str, np.ndarray] = field(default_factory=dict)
    reference: Session | None = None

    @cached_property
    def executable(self) -> Executable:
        """Compiled on first use."""
        if self.loaded is not None:
            return self.loaded
        assert self.compilation is not None
        return self.compilation.finish(self.module)

    @property
    def is_onnx(self) -> bool:
        """Whether other engines can run it."""
        return self.source.is_onnx

    @property
    def output_names(self) -> list[str]:
        return self.module.output_names

    def given(self, args: argparse.Namespace) -> data.Given:
        """What --input says of the model's inputs, read."""
        names = self.module.input_names
        found = data.read(args.input, list(dict.fromkeys([*names, *self.known])))
        for name, array in self.known.items():
            if name in found.fills or name in found.seeds or not np.array_equal(found.arrays.get(name, array), array):
                raise UsageError(f"--input and --known give '{name}' two values")
            found.arrays[name] = array
        return found

    def feeds(self, args: argparse.Namespace, at: Mapping[str, int] | None = None) -> dict[str, np.ndarray]:
        """The inputs that the flags describe, tested against the model's signature; `at` fixes further sizes."""
        from mlc.ir.interpreter import bind

        fixed = {**sizes.fixed(args.dim), **(at or {})}
        for name in fixed:
            if (self.compilation is None or name in (at or {})) and name not in self.module.symbols:
                raise UsageError.unknown("dimension", name, self.module.symbols)
        usual = {} if at else sizes.usual(args.dim)
        stated = bool(args.dim or args.shape or at)
        found = data.feeds(self.module, self.given(args), fixed, args.seed, usual=usual, stated=stated)
        bind(self.module, list(found.values()))
        return found

    def with_known(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Inputs for the model as its file declares it."""
        return {**feeds, **self.known}

    def run_reference(self, engine: str, threads: int | None = None, until: str | None = None) -> Run:
        """The model (of a package, its --reference, else the module that it carries) by another engine."""
        from mlc import references

        if self.reference is not None:
            return self.reference.run_reference(engine, threads, until)
        if engine == "interpreter":
            return references.interpreter(self.module)
        if self.compilation is None:
            raise UsageError(
                f"{engine} runs ONNX models, and {self.source.name} is a package",
                remedy="Name the model that it was compiled from: --reference model.onnx.",
            )
        if not self.source.is_onnx:
            what = "IR text" if self.source.function is None else "functions"
            raise UsageError(f"{engine} runs ONNX models, not {what}")
        run = references.onnxruntime(self.source.source, threads, until)
        return lambda feeds: run(self.with_known(feeds))

    def write_trace(self, path: str, feeds: Mapping[str, np.ndarray]) -> None:
        """A Chrome trace of one profiled call."""
        from mlc.insight import trace

        given = self.executable.unshared(feeds)
        steps = self.executable.profile(*(given[spec.name] for spec in self.executable.get_inputs()))
        write_text(path, trace.text(f"mlc run {self.source.name}", trace.call(steps)))


def open_session(
    args: argparse.Namespace,
    console: Console,
    inspection: Inspection | None = None,
    packages: bool = True,
    source: Model | None = None,
) -> Session:
    """Import or load the MODEL of a command, or the `source` that it was found to be. Raises UsageError for compiler flags beside a package,
    or a package where none is taken."""
    source = source or model(args.model)
    if source.is_package:
        if not packages:
            raise UsageError(f"{source.name} is compiled already", remedy=f"mlc run {source.name} runs it.")
        return _open_package(args, source, console)
    if getattr(args, "reference", None):
        raise UsageError("--reference is for packages", remedy=f"{source.name} is its own reference.")
    from mlc.compiler import Compilation, Inspection
    from mlc.frontends.onnx.node import NeedsSize, NeedsValue

    compilation = Compilation(options(args), console.progress, inspection or Inspection())
    if source.function is not None:
        return Session(source, _traced(compilation, source, args), compilation)
    if args.args:
        raise UsageError("--args is for functions in Python files", remedy="Write MODEL as file.py:function.")
    if args.known:
        if source.kind == ".mlir":
            raise UsageError("--known is for ONNX models", remedy="IR text has its sizes already.")
        _know(compilation, data.known(args.known, data.declared(source.source, compilation.options)))
    try:
        module = compilation.load(_as_read(source))
    except NeedsValue as need:
        module = _with_values(compilation, source, args, need)
    except NeedsSize as need:
        need.remedy = f"Fix it: --dim {need.symbols[0]}=SIZE."
        raise
    return Session(source, module, compilation, known=compilation.options.known)


def _as_read(source: Model) -> Path | bytes | Module:
    """The model, for the compiler; of IR text on standard input its module, whose errors then name standard input."""
    if source.kind != ".mlir" or source.path is not None:
        return source.source
    from mlc.compiler import parse_text

    return parse_text(source.content or b"", "<stdin>")


def _traced(compilation: Compilation, source: Model, args: argparse.Namespace) -> Module:
    """The module of a function. Its arguments have their sizes; --dim fixes and bounds the symbols in them."""
    from mlc.cli.python_function import traced

    for flag in ("shape", "known", "until"):
        if getattr(args, flag):
            raise UsageError(f"--{flag} is for ONNX models", remedy="Arguments of a function: --args f32[N,3].")
    assert source.path is not None and source.function is not None
    module = traced(source.path, source.function, args.args, compilation.options.dims)
    compilation.options = replace(compilation.options, dims={})
    return compilation.load(module)


def _know(compilation: Compilation, values: Mapping[str, np.ndarray]) -> None:
    compilation.options = replace(compilation.options, known={**compilation.options.known, **values})


def _with_values(compilation: Compilation, source: Model, args: argparse.Namespace, need: Any) -> Module:
    """Import with the values that --input gives to the inputs that decide shapes."""
    declared = data.declared(source.source, compilation.options)
    given = data.read(getattr(args, "input", []), list(declared))
    while True:
        missing = [name for name in need.inputs if name in declared and name not in compilation.options.known]
        found = {name: array for name in missing if (array := data.value_of(given, name, declared)) is not None}
        if not missing or len(found) < len(missing):
            if missing:
                need.remedy = f"It decides a shape: give its value, as in --known {missing[0]}=3 or --input {missing[0]}=@file.npy."
            raise need
        _know(compilation, found)
        try:
            return compilation.load(source.source)
        except type(need) as again:
            need = again


def _open_package(args: argparse.Namespace, source: Model, console: Console) -> Session:
    from mlc.compiler import load_executable
    from mlc.runtime import portable

    require_as_compiled(args, source)
    if variants := sizes.variants(args.dim):
        raise UsageError(f"--dim {variant_text(variants[0])}: {source.name} is compiled already")
    path = require_file(source)
    reference = None
    if named := getattr(args, "reference", None):
        reference = open_session(
            argparse.Namespace(**{**vars(args), "model": named, "reference": None, "input": []}), console
        )
        if reference.compilation is None:
            raise UsageError(f"--reference {named} is a package", remedy="Name the ONNX model.")
    executable = load_executable(path, args.threads, getattr(args, "strict", False), console.progress)
    if getattr(args, "target", None) not in (None, kind := executable.target.kind):
        raise UsageError(f"{source.name} holds code for {kind}", remedy="Compile the model again with --target.")
    module = portable.read(executable.module_text, executable.weights, f"{source.name}: module.mlir")
    return Session(source, module, None, executable, reference=reference)


def require_file(source: Model) -> Path:
    """The path of a package."""
    if source.path is None:
        raise MlcError(
            "a package cannot come through standard input", remedy="Name its file: its weights are mapped, not read."
        )
    return source.path
