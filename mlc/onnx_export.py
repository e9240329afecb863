"""Modules and Python functions as ONNX files: `mlc.export_onnx(f, "f.onnx", x)`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mlc.errors import MlcError
from mlc.ir.module import Module

if TYPE_CHECKING:
    from onnx import ModelProto


def export_onnx(source: Any, path: str | os.PathLike[str] | None, *args: Any, **kwargs: Any) -> ModelProto:
    """The ONNX model of a module, or of a function traced for arguments like these (tensors, arrays, numbers, mlc.TensorSpec, pytrees of them);
    written to `path`, unless that is None. Raises UnsupportedOp with every kind of op that ONNX has no nodes for.

    Inputs and outputs have the names of the module's; sizes that are symbols stay symbolic.
    """
    from mlc.frontends.onnx.exporter import export
    from mlc.ir.files import replacing

    if isinstance(source, Module):
        if args or kwargs:
            raise MlcError("a module is exported as it is", remedy="Arguments are for functions.")
        module = source
    else:
        from mlc.jitted import Jitted, jit

        module = (source if isinstance(source, Jitted) else jit(source)).trace(*args, **kwargs).module
    model = export(module)
    if path is not None:
        with replacing(path) as file:
            file.write_bytes(model.SerializeToString())
    return model
