"""What may be given as a model, and what to say of everything else."""

from __future__ import annotations

import re
from os import PathLike
from typing import Any

from mlc.errors import MlcError

_COMMENTS = re.compile(rb"(?:\s+|//[^\n]*(?:\n|$))*")
# How IR text may begin behind its comments: a module, a function, an attribute alias, an op in generic form.
_IR = re.compile(rb'builtin\.module\b|module\s*[@{]|module\s+attributes\b|func\.func\b|#[\w.$-]+\s*=|"[\w.$-]+"\s*\(')

_ONNX = "Give the path of an .onnx or .mlir file, its bytes, an onnx.ModelProto, or a Module of mlc.load."
_REMEDIES = {  # of objects from these packages, by the class (of any base) and its name where that matters
    ("torch.onnx", "ONNXProgram"): "mlc.compile(program.model_proto) compiles it.",
    ("torch.export", "ExportedProgram"): "Export it: torch.onnx.export(program, (x,), 'model.onnx', dynamo=True), then mlc.compile('model.onnx').",
    ("torch", "Tensor"): f"An array is what a compiled model is called with. {_ONNX}",
    ("torch", ""): "Export it: torch.onnx.export(model, (x,), 'model.onnx'), then mlc.compile('model.onnx').",
    ("keras", ""): "Export it with model.export('model.onnx', format='onnx'), or with tf2onnx.",
    ("tensorflow", ""): "Export it with tf2onnx: python -m tf2onnx.convert --saved-model FOLDER --output model.onnx.",
    ("jax", ""): "Export it with jax2onnx, or through TensorFlow with tf2onnx.",
    ("sklearn", ""): "Convert it with skl2onnx: skl2onnx.to_onnx(model, x), and give the result.",
    ("onnxruntime", "InferenceSession"): "Give the file that the session was made from.",
    ("onnx", "GraphProto"): "Make a model of the graph: onnx.helper.make_model(graph).",
    ("builtins", "function"): "mlc.jit(function) compiles it; mlc.jit(function).trace(x).module is its module.",
    ("mlc.nn.module", "Module"): "mlc.jit(module) compiles it at a call; mlc.jit(module.eval()).trace(x).module is its graph.",
    ("mlc.jitted", ""): "It compiles itself when it is called; .trace(x).module is a module.",
    ("mlc.runtime.executable", "Executable"): "It is compiled already: call it.",
    ("xdsl", "ModuleOp"): "Give its text to mlc.Module.parse first.",
    ("numpy", "ndarray"): f"An array is what a compiled model is called with. {_ONNX}",
}  # fmt: skip


def is_ir_text(content: bytes) -> bool:
    """Whether a file's content is IR text rather than an ONNX model."""
    start = _COMMENTS.match(content)
    return _IR.match(content, start.end() if start else 0) is not None


def require_source(source: Any) -> None:
    """Raises MlcError for an object that is no model, and says how to make one of it."""
    from onnx import ModelProto

    from mlc.frontends.onnx.reader import Model
    from mlc.ir.module import Module

    if isinstance(source, str | PathLike | bytes | bytearray | memoryview | Module | ModelProto | Model):
        return
    kind = source if isinstance(source, type) else type(source)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    title = "None" if source is None else f"the class {name}" if kind is source else f"an object of type {name}"
    raise MlcError(f"{title} is no model that mlc can read", remedy=_remedy(kind))


def _remedy(kind: type) -> str:
    for base in kind.__mro__:
        for (package, name), remedy in _REMEDIES.items():
            if (base.__module__ == package or base.__module__.startswith(f"{package}.")) and name in (
                "",
                base.__name__,
            ):
                return remedy
    return _ONNX
