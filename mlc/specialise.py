"""Models in which the values of an input decide shapes (Reshape to a given shape, TopK with a given k): code per value, made at first use.

    exe = mlc.compile("model.onnx")       # input `k` decides a shape
    exe(x, k)                             # compiles for this k; again with the same k: no compilation

The executables used last are kept. `report` counts and names the compilations, so that nothing of this is hidden.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from mlc.errors import MlcError
from mlc.frontends.onnx.node import NeedsValue
from mlc.ir.module import Module
from mlc.ir.types import Shape
from mlc.options import CompileOptions

if TYPE_CHECKING:
    from mlc.compiler import Source
    from mlc.runtime.executable import Executable, NodeArg
    from mlc.structured import Grouped

KEPT = 16
_TRIES = 16  # inputs that may turn out to be needed, one after the other


class Specialising:
    """Calls like an Executable; compiles for each new value of the inputs in `deciding`."""

    def __init__(self, source: Source, options: CompileOptions, need: NeedsValue):
        self.source = source
        self.options = options
        self.inputs = declared_inputs(source, options)
        self.deciding = _deciding(need, self.inputs, ())
        self.native_compilations = 0
        self.report: dict[str, Any] = {"specialised": {"inputs": self.deciding, "kept": KEPT, "compiled": []}}
        self._made: OrderedDict[tuple[Any, ...], Executable | Grouped] = OrderedDict()
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles compile anew."""
        return {**self.__dict__, "_made": OrderedDict(), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock())

    def __call__(self, *arrays: Any) -> np.ndarray | tuple[np.ndarray, ...]:
        """The output, or the tuple of outputs, for one array per input."""
        if len(arrays) != len(self.inputs):
            names = ", ".join(self.inputs)
            raise MlcError(f"{len(self.inputs)} inputs are needed ({names}), {len(arrays)} given")
        inputs = dict(zip(self.inputs, arrays, strict=True))
        made = self.variant(inputs)
        return made(*(x for name, x in inputs.items() if name not in self.deciding))

    def run(self, output_names: Sequence[str] | None, inputs: Mapping[str, Any]) -> list[np.ndarray]:
        """The outputs named (all of them for None), in that order, for inputs by name."""
        made = self.variant(inputs)
        return made.run(output_names, {name: x for name, x in inputs.items() if name not in self.deciding})

    def variant(self, inputs: Mapping[str, Any]) -> Executable | Grouped:
        """The executable for these values of the deciding inputs."""
        for _ in range(_TRIES):
            missing = [name for name in self.deciding if name not in inputs]
            if missing:
                raise MlcError(f"input '{missing[0]}' is missing", remedy=f"Inputs: {', '.join(self.inputs)}.")
            known = {name: np.asarray(inputs[name]) for name in self.deciding}
            key = tuple((name, x.dtype.str, x.shape, x.tobytes()) for name, x in known.items())
            with self._lock:
                if key in self._made:
                    self._made.move_to_end(key)
                    return self._made[key]
            try:
                made = self._compile(known)
            except NeedsValue as need:
                self.deciding = _deciding(need, self.inputs, self.deciding)
                self.report["specialised"]["inputs"] = self.deciding
                continue
            with self._lock:
                self._made[key] = made
                while len(self._made) > KEPT:
                    self._made.popitem(last=False)
            return made
        raise MlcError(f"the values of more than {_TRIES} inputs decide shapes")

    def _compile(self, known: Mapping[str, np.ndarray]) -> Executable | Grouped:
        from mlc.compiler import Compilation
        from mlc.structured import Grouped

        compilation = Compilation(self.options)
        module = compilation.load(self.source, known)
        forms = module.forms
        made = compilation.finish(module)
        self.native_compilations += 1
        values = {name: x.tolist() if x.size <= 16 else f"{x.dtype}{list(x.shape)}" for name, x in known.items()}
        self.report["specialised"]["compiled"].append(values)
        return made if forms is None else Grouped(made, forms)

    def get_inputs(self) -> list[NodeArg]:
        return list(self.inputs.values())

    def get_outputs(self) -> list[NodeArg]:
        with self._lock:
            made = next(reversed(self._made.values()), None)
        if made is None:
            raise MlcError(
                f"the outputs are not known before the first call: their shapes depend on the values of {_quoted(self.deciding)}"
            )
        return made.get_outputs()

    def save(self, path: str | os.PathLike[str]) -> None:
        """There is no code to save yet: raises MlcError."""
        raise MlcError(
            f"{path}: a package holds finished code, and here the values of {_quoted(self.deciding)} decide shapes",
            remedy="Make them constants of the model before compiling it.",
        )

    export_library = save

    def __repr__(self) -> str:
        return f"<mlc executable that compiles per value of {_quoted(self.deciding)}: {len(self._made)} kept>"


def declared_inputs(source: Source, options: CompileOptions) -> dict[str, NodeArg]:
    """The inputs of an ONNX model as an executable describes them."""
    from mlc.runtime.arrays import DTYPES
    from mlc.runtime.executable import NodeArg

    return {
        name: NodeArg(name, [e if isinstance(e, int) else str(e) for e in shape], DTYPES[dtype][1])
        for name, (shape, dtype) in declared_types(source, options).items()
    }


def declared_types(source: Source, options: CompileOptions) -> dict[str, tuple[Shape, str]]:
    """(shape, dtype) of the inputs of an ONNX model, without importing its nodes."""
    from mlc.frontends.onnx.reader import read
    from mlc.frontends.onnx.signature import open_inputs, signature

    assert not isinstance(source, Module)  # a module has its shapes
    model = read(source, options.until)
    declared = open_inputs(model.proto.graph, options.shapes, model.file)
    found = signature(declared, shapes=options.shapes, file=model.file)
    return {i.name: (i.shape, i.dtype) for i in found.inputs}


def _deciding(need: NeedsValue, inputs: Mapping[str, NodeArg], known: Sequence[str]) -> list[str]:
    """The inputs whose values are needed. Raises the error again where something else is, or nothing new."""
    new = [name for name in need.inputs if name not in known]
    if not new or any(name not in inputs for name in new):
        raise need
    return [*known, *new]


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
