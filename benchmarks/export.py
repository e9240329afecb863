"""Export a model to ONNX through either of PyTorch's exporters, with fixed or symbolic sizes."""

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import torch

from benchmarks.architectures.model import Model
from benchmarks.model_inputs import Exporter, Input, Signature, linear_term


def export(model: Model, path: Path, exporter: Exporter, symbolic: bool, external_data: bool = False) -> None:
    """Write `path`; weights go beside it if `external_data` (the dynamo exporter alone can)."""
    names: dict[str, Any] = {
        "input_names": [item.name for item in model.signature.inputs],
        "output_names": list(model.outputs),
    }
    # An example size of 1 makes torch.export assume more than it should; fixed sizes stay as they are measured.
    arguments = model.arguments(
        {symbol: max(size, 2) for symbol, size in model.signature.sizes.items()} if symbolic else None
    )
    with quiet(), torch.no_grad():
        if exporter == "dynamo":
            shapes = _dynamic_shapes(model) if symbolic else None
            torch.onnx.export(
                model.module, arguments, path, dynamo=True, dynamic_shapes=shapes, external_data=external_data, **names
            )
        else:
            axes = {item.name: _axes(item) for item in model.signature.inputs} if symbolic else None
            torch.onnx.export(model.module, arguments, path, dynamo=False, dynamic_axes=axes, **names)


def _dynamic_shapes(model: Model) -> Any:
    """torch.export's form: one dict axis -> Dim per argument; what goes into *args is one tuple."""
    symbols = {symbol: _dim(symbol, model.signature) for symbol in model.signature.sizes}

    def axes(item: Input) -> dict[int, Any]:
        found = {}
        for axis, dim in enumerate(item.dims):
            if isinstance(dim, str):
                factor, symbol, offset = linear_term(dim)
                if symbol in model.signature.fixed_in_dynamo:
                    continue
                scaled = symbols[symbol] if factor == 1 else factor * symbols[symbol]
                found[axis] = scaled + offset if offset else scaled
        return found

    shapes = [axes(item) for item in model.signature.inputs]
    named = model.module.forward.__code__.co_argcount - 1
    return (*shapes[:named], tuple(shapes[named:])) if len(shapes) > named else tuple(shapes)


def _dim(symbol: str, signature: Signature) -> Any:
    return torch.export.Dim(symbol, min=signature.low.get(symbol, 1))


def _axes(item: Input) -> dict[int, str]:
    """The legacy exporter takes plain names: an axis that is a term of a symbol gets a name of its own."""
    return {
        axis: dim if dim.isidentifier() else f"{item.name}_axis_{axis}"
        for axis, dim in enumerate(item.dims)
        if isinstance(dim, str)
    }


@contextlib.contextmanager
def quiet() -> Any:
    """Without the exporters' warnings and progress."""
    for name in ("torch.onnx", "torch._guards"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
