"""Models as NumPy programs that run by themselves: what `mlc compile --emit python` and mlc.export_python write.

mlc.export_python("model.onnx", "model.py")   # and its weights, model.npz
python -c "import model; y = model.main(x)"
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlc.ir.files import replacing, require_path
from mlc.ir.module import Module

if TYPE_CHECKING:
    from mlc.compiler import Source
    from mlc.passes.base import Pass
    from mlc.references import Run


def python_source(model: Source) -> str:
    """The text of a program whose function `main` computes the model with NumPy: the graph as it is imported, simplified. `model` is what
    mlc.load takes. main(..., weights=) takes the weights by name, where no file of them lies beside the program.

    Raises UnsupportedOp naming an op that has no form in NumPy, and what mlc.load raises.
    """
    from mlc.codegen.python.source import source

    return source(readable(_loaded(model)))


def export_python(model: Source, path: str | os.PathLike[str]) -> list[Path]:
    """Write the program to `path`, and its weights, where it has any, to the .npz file of the same name. Returns the files written."""
    path = Path(require_path(path))
    return write(readable(_loaded(model)), path, path.with_suffix(".npz"))


def _loaded(model: Source) -> Module:
    from mlc.compiler import load

    return load(model)


def readable(module: Module, passes: Sequence[Pass] | None = None) -> Module:
    """The module after the passes that make it shorter to read, or others."""
    from mlc.passes.manager import PassManager
    from mlc.passes.pipelines import readable_passes

    return PassManager(readable_passes() if passes is None else passes).run(module)


def write(module: Module, path: Path, beside: Path | None) -> list[Path]:
    """The program of a module as it is, and its weights, where it has any, to the file `beside`. The program is put in place last."""
    from mlc.codegen.python.source import source, weight_ops, write_weights

    text = source(module)
    written = [path]
    if beside is not None and weight_ops(module):
        with replacing(beside) as target:
            write_weights(module, target)
        written.append(beside)
    with replacing(path) as target:
        target.write_text(text, encoding="utf-8")
    return written


def executed(module: Module) -> Run:
    """The outputs of a module by its printed program."""
    from mlc.codegen.python.source import source, weight_ops

    namespace: dict[str, Any] = {}
    exec(compile(source(module), "<NumPy source>", "exec"), namespace)  # noqa: S102 - the text is our own
    weights = {op.weight_key: module.weights.get(op.weight_key) for op in weight_ops(module)}
    given = {"weights": weights} if weights else {}

    def run(feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        found = namespace["main"](*(feeds[name] for name in module.input_names), **given)
        return [np.asarray(y) for y in (found if isinstance(found, tuple) else (found,))]

    return run
