"""Models in which the values of an input decide shapes (Reshape to a given shape, TopK with a given k), or sizes decide ranks (Squeeze without
axes, If between results of different ranks): code per value, and per set of answers to the questions about sizes, made at first use.

    exe = mlc.compile("model.onnx")       # input `k` decides a shape
    exe(x, k)                             # compiles for this k; again with the same k: no compilation

The executables used last are kept. `report` counts and names the compilations, so that nothing of this is hidden.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from mlc.errors import MlcError, ShapeError
from mlc.frontends.onnx.node import NeedsSize, NeedsValue, Question
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.interpreter import solve_symbols
from mlc.ir.module import Module
from mlc.ir.types import Shape
from mlc.options import CompileOptions
from mlc.runtime.arguments import in_order, require_inputs

if TYPE_CHECKING:
    from mlc.grouped import Grouped
    from mlc.runtime.executable import Executable, NodeArg

# Values of inputs and answers to questions about sizes -> the executable for them.
Compile = Callable[[Mapping[str, np.ndarray], Mapping[Extent, bool]], Any]
KEPT = 16
_TRIES = 32  # inputs and sizes that may turn out to be needed, one after the other


@dataclass(frozen=True)
class _Asked:
    """A question about the sizes of a call, whose symbols stand in the shapes of inputs."""

    question: Question
    signature: Mapping[str, Shape]

    def answer(self, sizes: Mapping[str, Sequence[int]]) -> bool:
        """Raises ShapeError where the sizes do not fit the shapes."""
        binding = solve_symbols(self.signature, [sizes[name] for name in self.signature])
        return bool(dims.evaluate(self.question.truth, binding))


class Specialising:
    """Calls like an Executable; compiles for each new value of the inputs in `deciding`, and for each new set of answers about sizes."""

    def __init__(self, inputs: Mapping[str, NodeArg], need: NeedsValue | NeedsSize, compile: Compile):
        """`need` is what the import of the model lacked; `compile` imports it again with values and answers, and makes the executable."""
        self.inputs = dict(inputs)
        self.compile = compile
        self.deciding: list[str] = []
        self.native_compilations = 0
        self.report: dict[str, Any] = {"specialised": {"inputs": [], "sizes": [], "kept": KEPT, "compiled": []}}
        self._asked: list[_Asked] = []
        self._learn(need)
        self._made: OrderedDict[tuple[Any, ...], Executable | Grouped] = OrderedDict()
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles compile anew."""
        return {**self.__dict__, "_made": OrderedDict(), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock())

    def __call__(self, /, *arrays: Any, **named: Any) -> np.ndarray | tuple[np.ndarray, ...]:
        """The output, or the tuple of outputs, for one array per input, in order or by name."""
        inputs = dict(zip(self.inputs, in_order(self.inputs, arrays, named), strict=True))
        made = self.variant(inputs)
        return made(*(x for name, x in inputs.items() if name not in self.deciding))

    def run(
        self, output_names: Sequence[str] | None = None, inputs: Mapping[str, Any] | None = None
    ) -> list[np.ndarray]:
        """The outputs named (all of them for None), in that order, for inputs by name."""
        require_inputs(self.inputs, inputs)
        assert inputs is not None
        made = self.variant(inputs)
        return made.run(output_names, {name: x for name, x in inputs.items() if name not in self.deciding})

    def variant(self, inputs: Mapping[str, Any]) -> Executable | Grouped:
        """The executable for these values of the deciding inputs."""
        require_inputs(self.inputs, inputs, optional=self.inputs)
        for _ in range(_TRIES):
            missing = [name for name in (self.inputs if self._asked else self.deciding) if name not in inputs]
            if missing:
                raise MlcError(f"input '{missing[0]}' is missing", remedy=f"Inputs: {', '.join(self.inputs)}.")
            known = {name: np.asarray(inputs[name]) for name in self.deciding}
            answers = self._answers({name: np.shape(x) for name, x in inputs.items()})
            values = tuple((name, x.dtype.str, x.shape, x.tobytes()) for name, x in known.items())
            key = (values, tuple(answers.items()))
            with self._lock:
                if key in self._made:
                    self._made.move_to_end(key)
                    return self._made[key]
            try:
                made = self._compile(known, answers)
            except (NeedsValue, NeedsSize) as need:
                self._learn(need)
                continue
            with self._lock:
                self._made[key] = made
                while len(self._made) > KEPT:
                    self._made.popitem(last=False)
            return made
        raise MlcError(f"more than {_TRIES} values and sizes decide shapes")

    def _learn(self, need: NeedsValue | NeedsSize) -> None:
        """What the next import has to be given. Raises the error again where that is nothing new."""
        if isinstance(need, NeedsValue):
            self.deciding = _deciding(need, self.inputs, self.deciding)
        else:
            known = [asked.question.truth for asked in self._asked]
            new = [_Asked(q, need.signature) for q in need.questions if q.truth not in known]
            if not new:
                raise need
            self._asked = [*self._asked, *new]
        self.report["specialised"] |= {"inputs": self.deciding, "sizes": [asked.question.text for asked in self._asked]}

    def _answers(self, sizes: Mapping[str, Sequence[int]]) -> dict[Extent, bool]:
        """Of the questions so far, those that arise at these sizes."""
        found: dict[Extent, bool] = {}
        for asked in self._asked:
            try:
                found[asked.question.truth] = asked.answer(sizes)
            except (ShapeError, dims.DivisionByZero):  # asked of an import that other values or sizes led to
                continue
        if self._asked and not found:
            self._asked[0].answer(sizes)
        return found

    def _compile(self, known: Mapping[str, np.ndarray], answers: Mapping[Extent, bool]) -> Executable | Grouped:
        made = self.compile(known, answers)
        self.native_compilations += 1
        values = {name: x.tolist() if x.size <= 16 else f"{x.dtype}{list(x.shape)}" for name, x in known.items()}
        values |= {asked.question.text: answers.get(asked.question.truth) for asked in self._asked}
        self.report["specialised"]["compiled"].append(values)
        return made

    def get_inputs(self) -> list[NodeArg]:
        return list(self.inputs.values())

    def get_outputs(self) -> list[NodeArg]:
        with self._lock:
            made = next(reversed(self._made.values()), None)
        if made is None:
            raise MlcError(f"the outputs are not known before the first call: their shapes depend on {self._what()}")
        return made.get_outputs()

    def save(self, path: str | os.PathLike[str]) -> None:
        """There is no code to save yet: raises MlcError."""
        raise MlcError(
            f"{path}: a package holds finished code, and here {self._what()} decide shapes",
            remedy="Give the values (known=, --known) or fix the sizes (dims=, --dim, shapes=, --shape), which makes one case of it; "
            "exe.variant({input: array, ...}).save(path) keeps that of a call.",
        )

    export_library = save

    def _what(self) -> str:
        values = [f"the values of {_quoted(self.deciding)}"] if self.deciding else []
        return " and ".join([*values, *(f"whether {asked.question.text}" for asked in self._asked)])

    def __repr__(self) -> str:
        return f"<mlc executable that compiles per case of {self._what()}: {len(self._made)} kept>"


def declared_inputs(source: Any, options: CompileOptions) -> dict[str, NodeArg]:
    """The inputs of an ONNX model as an executable describes them."""
    from mlc.runtime.arrays import DTYPES
    from mlc.runtime.executable import NodeArg

    return {
        name: NodeArg(name, [e if isinstance(e, int) else str(e) for e in shape], DTYPES[dtype][1])
        for name, (shape, dtype) in declared_types(source, options).items()
    }


def declared_types(source: Any, options: CompileOptions) -> dict[str, tuple[Shape, str]]:
    """(shape, dtype) of the inputs of an ONNX model, without importing its nodes."""
    from mlc.frontends.onnx.inputs import open_inputs, signature
    from mlc.frontends.onnx.reader import read

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
