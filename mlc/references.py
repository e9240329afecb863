"""Other ways to run a model, to compare with: the interpreter of the graph dialect, and onnxruntime where it is installed."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from mlc.errors import TargetUnavailable
from mlc.ir.module import Module

if TYPE_CHECKING:
    from onnx import ModelProto

Run = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]


def interpreter(module: Module) -> Run:
    """The outputs of a graph module by its ops' own meaning in NumPy."""
    from mlc.ir.interpreter import run

    names = module.input_names
    return lambda feeds: run(module, [feeds[name] for name in names])


def has_onnxruntime() -> bool:
    return importlib.util.find_spec("onnxruntime") is not None


def onnxruntime(
    source: str | os.PathLike[str] | bytes | ModelProto, threads: int | None = None, until: str | None = None
) -> Run:
    """The outputs by onnxruntime on this CPU, of the model or of what a node `until` needs. Raises TargetUnavailable where it is not
    installed or does not take the model."""
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise TargetUnavailable("onnxruntime is not installed", remedy="pip install onnxruntime") from error
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
    if until is not None:
        source = _cut(source, until)
    try:
        content = source if isinstance(source, bytes | str | os.PathLike) else source.SerializeToString()
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # it has classes of its own, one per status code
        raise TargetUnavailable(
            f"onnxruntime {ort.__version__} does not take the model: {' '.join(str(error).split())}",
            remedy="Compare with the interpreter instead.",
        ) from error
    return lambda feeds: session.run(None, dict(feeds))


def _cut(source: str | os.PathLike[str] | bytes | ModelProto, until: str) -> ModelProto:
    """With the data of its weights, wherever they lie."""
    import onnx

    from mlc.frontends.onnx.cut import cut

    if isinstance(source, bytes):
        source = onnx.load_from_string(source)
    elif isinstance(source, str | os.PathLike):
        source = onnx.load(source)
    return cut(source, until)
