"""The ONNX frontend: files, bytes or protos become modules of the graph dialect.

module = load("model.onnx", shapes={"x": ("N", 3, 224, 224)}, dims={"N": (1, 32)})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from onnx import ModelProto

    from mlc.frontends.onnx.inputs import Signature
    from mlc.frontends.onnx.reader import Model
    from mlc.ir.dims import Dim, Extent
    from mlc.ir.graph.base import Check
    from mlc.ir.module import Module

_IMPORTS = 4  # of one model: again where what its checks say of sizes lets it in, or has it built of other ops


def load(
    source: str | PathLike[str] | bytes | ModelProto | Model,
    shapes: Mapping[str, Sequence[int | str | Dim]] | None = None,
    dims: Mapping[str, int | tuple[int, int | None]] | None = None,
    known: Mapping[str, np.ndarray] | None = None,
    until: str | None = None,
    answers: Mapping[Extent, bool] | None = None,
    trainable: bool = False,
) -> Module:
    """The module of an ONNX model, from a path, bytes (binary or text syntax) or a ModelProto.

    shapes  extents of inputs in place of the declared ones: numbers, names, expressions; an input that has an initializer, which is a
            constant otherwise, becomes one that calls give
    dims    a size that fixes a symbol, or its bounds (low, high)
    known   values of inputs that decide shapes (axes, sizes, pads): constants of the module, which no longer has these inputs
    answers what sizes are taken to decide, as the questions of a NeedsSize ask; with {} it is raised where an assumption would do too
    until   a node at which the model ends, by its name, or one value: only what it needs is imported
    trainable  initializers of several floats are weights, however small: else up to 16 elements are constants in the text. An Identity of one
            that is a single number throughout, as of untrained norms, is a weight of its own

    Symbols that the model's operators need to be equal become one symbol; what cannot be unified stays a check of the module. Raises
    InvalidModel, ShapeError, UnsupportedOp (with everything unsupported in `kinds`), NeedsValue where an input outside of `known` decides
    a shape, NeedsSize where a size decides a rank.
    """
    from mlc.errors import ShapeError, UnsupportedOp
    from mlc.frontends.onnx.importer import Importer
    from mlc.frontends.onnx.inputs import open_inputs, signature
    from mlc.frontends.onnx.node import NeedsSize, NeedsValue
    from mlc.frontends.onnx.reader import read
    from mlc.frontends.onnx.structure import NeedsForm, structured
    from mlc.frontends.onnx.unify import solve

    model = read(source, until)
    if names := structured(model.proto.graph.input):
        raise NeedsForm(
            f"input '{names[0]}' is a sequence or an optional value, and a module has tensors",
            file=model.file,
            remedy="mlc.compile makes an executable for each number of elements that it is called with.",
        )
    declared = open_inputs(model.proto.graph, {**(shapes or {}), **(known or {})}, model.file)
    found = signature(declared, shapes=shapes, sizes=dims, file=model.file).with_values(known or {})
    for attempt in range(1, _IMPORTS + 1):
        importer = Importer(model, found, known or {}, answers=answers, trainable=trainable)
        try:
            module = importer.run()
        except (NeedsValue, NeedsSize):
            raise
        except (ShapeError, UnsupportedOp):  # an extent that another node may have decided
            solution = solve(found, _about(found, importer.checks, answers))
            if not solution.is_news or attempt == _IMPORTS:
                raise
        else:
            solution = solve(found, _about(found, importer.checks, answers))
            try:
                other_ops = solution.put_into(module) or (solution.is_news and solution.decides(importer.open))
            except ShapeError:  # an extent that no size gives any more: the node that has it says so
                if attempt == _IMPORTS:
                    raise
                other_ops = True
            if not other_ops or attempt == _IMPORTS:
                break
        found = solution.signature
    module.source = model.file
    return module


def _about(found: Signature, checks: Sequence[Check], answers: Mapping[Extent, bool] | None) -> list[Check]:
    """The checks that say something of the inputs' sizes: not of those that a run counts, nor of those that an answer decided, for the bounds
    that come from one would make other questions of those that it answers."""
    return [check for check in checks if check.symbols <= found.bounds.keys() and check.lhs not in (answers or {})]
