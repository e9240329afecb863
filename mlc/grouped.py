"""Outputs as a model declares them: sequences as lists, optional values as None."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlc.ir.module import OutputForm
from mlc.runtime.arguments import require_outputs

if TYPE_CHECKING:
    from mlc.runtime.executable import Executable


class Grouped:
    """An executable whose outputs are handed out as the model declares them: tensors, lists, and None for an empty optional."""

    def __init__(self, executable: Executable, forms: Sequence[OutputForm]):
        self.executable = executable
        self.forms = {form.name: form for form in forms}

    def __getattr__(self, name: str) -> Any:
        if name == "executable":  # not there yet: a copy is being made
            raise AttributeError(name)
        return getattr(self.executable, name)

    def __call__(self, /, *arrays: Any, **named: Any) -> Any:
        """The output, or the tuple of outputs, for one array per input, in order or by name."""
        found = self.executable(*arrays, **named)
        outputs = self._grouped(found if isinstance(found, tuple) else (found,))
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def run(self, output_names: Sequence[str] | None = None, inputs: Mapping[str, Any] | None = None) -> list[Any]:
        """The outputs named (all of them for None), in that order, for inputs by name."""
        require_outputs(self.forms, output_names)
        outputs = dict(zip(self.forms, self._grouped(self.executable.run(None, inputs)), strict=True))
        return [outputs[name] for name in (outputs if output_names is None else output_names)]

    def _grouped(self, arrays: Sequence[np.ndarray]) -> list[Any]:
        left, found = iter(arrays), []
        for form in self.forms.values():
            tensors = [next(left) for _ in form.tensors]
            found.append(tensors if form.kind == "sequence" else tensors[0] if tensors else None)
        return found
