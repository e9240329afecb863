"""Models with sequences or optional values among their inputs or outputs, called with lists and None.

    exe = mlc.compile("model.onnx")                       # xs: seq(tensor(float))
    exe.run(None, {"xs": [a, b, c]})                      # compiles for three elements; again with three: no compilation

How many elements there are, and of how many axes, decides what is compiled; their sizes do not.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from mlc.errors import MlcError
from mlc.frontends.onnx.inputs import open_inputs
from mlc.frontends.onnx.reader import Model, read
from mlc.frontends.onnx.structure import Form, form_text, part, structured, written_out
from mlc.options import CompileOptions
from mlc.runtime.arguments import in_order, require_inputs

if TYPE_CHECKING:
    from mlc.runtime.executable import NodeArg

KEPT = 16


class Structured:
    """Calls like an Executable, with lists and None among the inputs; compiles for each new number of elements."""

    def __init__(self, source: Any, options: CompileOptions, compile: Callable[[Model], Any]):
        """`compile` makes the executable of a model without sequences and optional values."""
        self.compile = compile
        self.model: Model = source if isinstance(source, Model) else read(source, options.until)
        self.inputs = {i.name: i.type for i in open_inputs(self.model.proto.graph, options.shapes, self.model.file)}
        self.parted = [i for i in structured(self.model.proto.graph.input) if i in self.inputs]
        self._made: OrderedDict[tuple[Form, ...], Any] = OrderedDict()
        self._lock = Lock()

    def __call__(self, /, *values: Any, **named: Any) -> Any:
        """The output, or the tuple of outputs, for one value per input, in order or by name."""
        outputs = self.run(None, dict(zip(self.inputs, in_order(self.inputs, values, named), strict=True)))
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def run(self, output_names: Sequence[str] | None = None, inputs: Mapping[str, Any] | None = None) -> list[Any]:
        """The outputs named (all of them for None), in that order, for inputs by name. An empty optional may be left out."""
        require_inputs(self.inputs, inputs, optional=self.parted)
        assert inputs is not None
        feeds = {name: value for name, value in inputs.items() if name not in self.parted}
        for name in self.parted:
            value = inputs.get(name)
            if isinstance(value, list | tuple):
                feeds |= {part(name, number): element for number, element in enumerate(value)}
            elif value is not None:
                feeds[name] = value
        return self.variant(inputs).run(output_names, feeds)

    def variant(self, inputs: Mapping[str, Any]) -> Any:
        """The executable for sequences and optional values of this form."""
        require_inputs(self.inputs, inputs, optional=self.inputs)
        forms = {name: _form(inputs.get(name)) for name in self.parted}
        key = tuple(forms.values())
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
        made = self.compile(written_out(self.model, forms))
        with self._lock:
            self._made[key] = made
            while len(self._made) > KEPT:
                self._made.popitem(last=False)
        return made

    def get_inputs(self) -> list[NodeArg]:
        from mlc.runtime.executable import NodeArg

        return [NodeArg(name, [], form_text(type)) for name, type in self.inputs.items()]

    def save(self, path: str | os.PathLike[str]) -> None:
        """There is no code to save yet: raises MlcError."""
        names = ", ".join(f"'{name}'" for name in self.parted)
        raise MlcError(
            f"{path}: a package holds finished code, and here how many tensors there are in {names} decides it",
            remedy="Save `variant(inputs)`, which takes the tensors one by one.",
        )

    export_library = save

    def __repr__(self) -> str:
        return f"<mlc executable that compiles per length of {', '.join(self.parted)}: {len(self._made)} kept>"


def _form(value: Any) -> Form:
    if isinstance(value, list | tuple):
        return tuple(np.ndim(element) for element in value)
    return None if value is None else np.ndim(value)
