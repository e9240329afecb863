"""Other ways to run a model, to compare with: the interpreter of the graph dialect, and onnxruntime where it is installed."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mlc.errors import TargetUnavailable
from mlc.ir.module import Module

if TYPE_CHECKING:
    from onnx import ModelProto

Run = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]


def interpreter(module: Module) -> Run:
    """The outputs of a module by its ops' own meaning in NumPy: of a graph op by op, of kernels and loops step by step, which is slow.
    Inputs stay as they are, also where a result lives in one."""
    from mlc.ir.interpreter import run, unshared
    from mlc.ir.kernel.interpreter import run_program

    names = module.input_names
    evaluate = run_program if module.is_program else run
    return lambda feeds: evaluate(module, unshared(module, [feeds[name] for name in names]))


def has_onnxruntime() -> bool:
    return importlib.util.find_spec("onnxruntime") is not None


def onnxruntime(
    source: str | os.PathLike[str] | bytes | ModelProto, threads: int | None = None, until: str | None = None
) -> Run:
    """The outputs by onnxruntime on this CPU, of the model or of what a node `until` needs. Raises TargetUnavailable where it is not
    installed, does not take the model or fails in a call."""
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
        session = ort.InferenceSession(_content(source), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # it has classes of its own, one per status code
        raise TargetUnavailable(
            f"onnxruntime {ort.__version__} does not take the model: {_message(error)}", remedy=_REMEDY
        ) from error
    return lambda feeds: _call(session, feeds, ort.__version__)


_REMEDY = "This is onnxruntime's message, and says nothing about mlc. Compare with the interpreter instead."


def _call(session: Any, feeds: Mapping[str, np.ndarray], version: str) -> list[np.ndarray]:
    try:
        return session.run(None, dict(feeds))
    except Exception as error:
        raise TargetUnavailable(f"onnxruntime {version} fails: {_message(error)}", remedy=_REMEDY) from error


def _message(error: Exception) -> str:
    """In one line, without the places in onnxruntime's own source files."""
    return _SOURCE.sub("", " ".join(str(error).split()))


_SOURCE = re.compile(r"/[\w./-]+\.(?:cc|h|cpp):\d+ [^:]*?(?:\([^)]*\))? ?(?=\S)")


def _content(source: str | os.PathLike[str] | bytes | ModelProto) -> str | os.PathLike[str] | bytes:
    """What onnxruntime takes: a path, or the bytes of a binary model."""
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            if not file.read(64).lstrip().startswith(b"<"):
                return source
    elif isinstance(source, bytes) and not source.lstrip().startswith(b"<"):
        return source
    from mlc.frontends.onnx.reader import read

    return read(source).proto.SerializeToString()


def _cut(source: str | os.PathLike[str] | bytes | ModelProto, until: str) -> ModelProto:
    """With the data of its weights, wherever they lie."""
    import onnx

    from mlc.frontends.onnx.cut import cut

    if isinstance(source, bytes):
        source = onnx.load_from_string(source)
    elif isinstance(source, str | os.PathLike):
        source = onnx.load(source)
    return cut(source, until)
